package chainnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	rpcclient "github.com/cometbft/cometbft/rpc/client"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"
)

// ErrSignsElsewhere reports that another node signs blocks with this home's key.
var ErrSignsElsewhere = errors.New("another node signs with this validator's key")

// watchBlocks is how many blocks are watched at least, and how many more at most:
// two nodes that start at once do not end their watch at once.
const (
	watchBlocks  = 3
	watchMore    = 3
	watchCall    = 5 * time.Second
	watchPoll    = 100 * time.Millisecond
	maxWatchRPCs = 8
)

// Watch looks whether another node signs with a home's key, before this one does:
// it asks other nodes' RPC servers for the next few blocks and gives
// ErrSignsElsewhere if one carries a signature that this home did not make. It ends
// without an error when no new block comes within patience, since a chain that
// stands may be waiting for this validator. A home that is older than the chain
// never signs for heights that the watch has seen.
//
// It believes only signatures, so a lying server can hide a second node but not
// invent one.
func Watch(ctx context.Context, home string, rpcs []string, patience time.Duration, log *slog.Logger) error {
	doc, err := loadGenesis(home)
	if err != nil {
		return err
	}
	keys, err := loadKeys(home)
	if err != nil {
		return err
	}
	w := watcher{chain: doc.ChainID, keys: keys}
	for _, url := range rpcs[:min(len(rpcs), maxWatchRPCs)] {
		c, err := rpchttp.NewWithTimeout(url, "/websocket", uint(watchCall/time.Second))
		if err != nil {
			return fmt.Errorf("chain at %s: %w", url, err)
		}
		w.nodes = append(w.nodes, c)
	}
	first := w.tip(ctx)
	if first == 0 {
		return ctx.Err() // nobody else knows of blocks
	}
	log.Info("watching whether another node signs with this key", "from", first)
	seen, err := w.watch(ctx, first, first+watchBlocks+rand.Int64N(watchMore+1), patience)
	if err != nil {
		return err
	}
	done := first
	if exists(RestoredFile(home)) {
		// The lost machine may have voted on the height that is under way.
		done = max(seen, w.tip(ctx)) + 1
		log.Warn("this validator was restored from a copy: it does not sign at or below this height", "height", done)
		if seen == first {
			log.Warn("the chain stands. If it waits for this validator's vote, and the lost machine surely cast none at this height, remove the file and start again",
				"file", RestoredFile(home))
		} else if err := os.Remove(RestoredFile(home)); err != nil {
			return fmt.Errorf("chain node: %w", err)
		}
	}
	if last := &keys.validator.LastSignState; last.Height < done {
		last.Height, last.Round, last.Step, last.Signature, last.SignBytes = done, math.MaxInt32, stepPrecommit, nil, nil
		keys.validator.Save()
	}
	return nil
}

// RestoredFile marks a home that was made of a copy: its last vote may not be the
// last one that its key gave.
func RestoredFile(home string) string { return filepath.Join(home, "data", "restored") }

// stepPrecommit is the last step of a height in CometBFT's sign state.
const stepPrecommit = 3

type watcher struct {
	chain string
	keys  secrets
	nodes []rpcclient.Client
}

// watch looks at the blocks after `from` up to `to` and gives the last one it saw.
func (w *watcher) watch(ctx context.Context, from, to int64, patience time.Duration) (int64, error) {
	last := time.Now()
	for h := from + 1; h <= to; {
		switch c := w.commit(ctx, h); {
		case ctx.Err() != nil:
			return h - 1, ctx.Err()
		case c != nil:
			if w.signed(c) && c.Height > w.keys.validator.LastSignState.Height {
				return h, fmt.Errorf("block %d: %w: stop that node for good before this one is started, and never run two with one key: signing twice costs the stake", h, ErrSignsElsewhere)
			}
			h, last = h+1, time.Now()
			continue
		case time.Since(last) > patience:
			return h - 1, nil
		}
		select {
		case <-ctx.Done():
			return h - 1, ctx.Err()
		case <-time.After(watchPoll):
		}
	}
	return to, nil
}

// tip is the highest block that a node tells of; 0 if none answers.
func (w *watcher) tip(ctx context.Context) (tip int64) {
	for _, n := range w.nodes {
		call, cancel := context.WithTimeout(ctx, watchCall)
		if s, err := n.Status(call); err == nil && s.NodeInfo.Network == w.chain {
			tip = max(tip, s.SyncInfo.LatestBlockHeight)
		}
		cancel()
	}
	return tip
}

// commit is the commit of a height from the first node that has it; nil if none
// has.
func (w *watcher) commit(ctx context.Context, height int64) *cmttypes.Commit {
	for _, n := range w.nodes {
		call, cancel := context.WithTimeout(ctx, watchCall)
		r, err := n.Commit(call, &height)
		cancel()
		if err == nil && r.Commit != nil && r.Commit.Height == height {
			return r.Commit
		}
	}
	return nil
}

// signed reports whether a commit carries a true signature of the home's key.
func (w *watcher) signed(c *cmttypes.Commit) bool {
	public := w.keys.validator.Key.PubKey
	for i, s := range c.Signatures {
		if s.BlockIDFlag == cmttypes.BlockIDFlagAbsent || !bytes.Equal(s.ValidatorAddress, public.Address()) {
			continue
		}
		return public.VerifySignature(c.VoteSignBytes(w.chain, int32(i)), s.Signature)
	}
	return false
}
