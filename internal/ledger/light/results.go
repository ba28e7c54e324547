package light

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sync"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/gotong-network/gotong/internal/ledger/cosmos"
)

// keepResults bounds the heights whose transactions are kept.
const keepResults = 64

// results is how transactions ended: those of a block by the hash in its header, their
// codes by the hash in the next one.
type results struct {
	chain *chain

	mu    sync.Mutex // guards all
	all   map[int64]map[[32]byte]cosmos.Result
	order []int64 // oldest first
}

func newResults(c *chain) *results {
	return &results{chain: c, all: make(map[int64]map[[32]byte]cosmos.Result)}
}

func hashOf(tx []byte) [32]byte { return sha256.Sum256(tx) }

func (r *results) get(ctx context.Context, height int64) (m map[[32]byte]cosmos.Result, err error) {
	r.mu.Lock()
	m, ok := r.all[height]
	r.mu.Unlock()
	if ok {
		return m, nil
	}
	err = r.chain.pool.try(ctx, func(ctx context.Context, n *node) (err error) {
		m, err = r.fetch(ctx, n, height)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.all[height]; !ok {
		r.all[height] = m
		if r.order = append(r.order, height); len(r.order) > keepResults {
			delete(r.all, r.order[0])
			r.order = r.order[1:]
		}
	}
	return m, nil
}

func (r *results) fetch(ctx context.Context, n *node, height int64) (map[[32]byte]cosmos.Result, error) {
	next, err := r.chain.header(ctx, n, height+1)
	if err != nil {
		return nil, err
	}
	header, err := r.chain.header(ctx, n, height)
	if err != nil {
		return nil, err
	}
	txs, err := n.transactions(ctx, height)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(txs.Hash(), header.DataHash) {
		return nil, lied("the transactions of %d are not those of its header", height)
	}
	res, err := n.results(ctx, height)
	if err != nil {
		return nil, err
	}
	if len(res.TxsResults) != len(txs) || !bytes.Equal(cmttypes.NewResults(res.TxsResults).Hash(), next.LastResultsHash) {
		return nil, lied("the results of %d are not those of the next header", height)
	}
	m := make(map[[32]byte]cosmos.Result, len(txs))
	for i, t := range res.TxsResults {
		m[hashOf(txs[i])] = cosmos.Result{Codespace: t.Codespace, Code: t.Code, Log: t.Log}
	}
	return m, nil
}
