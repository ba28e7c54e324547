package light

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	jsonclient "github.com/cometbft/cometbft/rpc/jsonrpc/client"
	rpctypes "github.com/cometbft/cometbft/rpc/jsonrpc/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/gotong-network/gotong/internal/ledger"
)

const (
	callTimeout = 10 * time.Second
	// maxAnswer bounds an answer: a full block in base64, and its results.
	maxAnswer = 48 << 20
	// metasPage is how many headers a node gives at once.
	metasPage = 20
	// maxValidators bounds a set, as CometBFT does.
	maxValidators  = 10_000
	validatorsPage = 100
)

// node is one RPC node. Its methods check the form of its answers, so that what they
// return can be handled; whether it is true the caller finds out.
type node struct {
	url  string
	rpc  *rpchttp.HTTP
	http *http.Client

	// What pool thinks of it, guarded by its mu.
	state  State
	why    string
	until  time.Time // left alone until then
	lies   int       // ever
	away   int       // times it lagged or was silent in a row
	height int64     // newest it told
}

func newNode(url string) (*node, error) {
	c, err := jsonclient.DefaultHTTPClient(url)
	if err != nil {
		return nil, fmt.Errorf("chain at %s: %w", url, err)
	}
	c.Transport = bounded{c.Transport}
	c.Timeout = callTimeout
	rpc, err := rpchttp.NewWithClient(url, "/websocket", c)
	if err != nil {
		return nil, fmt.Errorf("chain at %s: %w", url, err)
	}
	return &node{url: url, rpc: rpc, http: c, state: Good}, nil
}

// bounded cuts answers off at maxAnswer.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

// CloseIdleConnections lets http.Client's reach the inner transport.
func (b bounded) CloseIdleConnections() {
	if t, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// answered sorts a node's refusals.
func answered(err error) error {
	var answer *rpctypes.RPCError
	if !errors.As(err, &answer) {
		return err
	}
	switch text := answer.Error(); {
	case strings.Contains(text, "lowest height is"), strings.Contains(text, "could not find results for height"):
		return fmt.Errorf("%w: %s", ledger.ErrPruned, text)
	case strings.Contains(text, "must be less than or equal to"), strings.Contains(text, "can't be greater than max height"):
		return fmt.Errorf("%w: %s", errBehind, text)
	}
	return err
}

// header gives a signed header, the newest for height 0.
func (n *node) header(ctx context.Context, height int64) (*cmttypes.SignedHeader, error) {
	at := &height
	if height == 0 {
		at = nil
	}
	r, err := n.rpc.Commit(ctx, at)
	switch {
	case err != nil:
		return nil, answered(err)
	case r.Header == nil || r.Commit == nil:
		return nil, fmt.Errorf("%w: no header of %d", errBehind, height)
	case height != 0 && r.Header.Height != height:
		return nil, lied("asked for the header of %d it gave that of %d", height, r.Header.Height)
	case r.Header.Height < 1 || len(r.Commit.Signatures) > maxValidators:
		return nil, lied("a header of height %d with %d signatures", r.Header.Height, len(r.Commit.Signatures))
	}
	return &r.SignedHeader, nil
}

// validators gives the set of a height.
func (n *node) validators(ctx context.Context, height int64) (*cmttypes.ValidatorSet, error) {
	var l []*cmttypes.Validator
	for page, size := 1, validatorsPage; ; page++ {
		r, err := n.rpc.Validators(ctx, &height, &page, &size)
		if err != nil {
			return nil, answered(err)
		}
		l = append(l, r.Validators...)
		if len(l) >= r.Total || len(r.Validators) == 0 || len(l) > maxValidators {
			break
		}
	}
	var power int64
	for _, v := range l {
		if err := v.ValidateBasic(); err != nil {
			return nil, lied("validators of %d: %w", height, err)
		}
		if v.PubKey.Type() != ed25519.KeyType || v.VotingPower > cmttypes.MaxTotalVotingPower-power {
			return nil, lied("validators of %d: key of type %q, power %d", height, v.PubKey.Type(), v.VotingPower)
		}
		power += v.VotingPower
	}
	if len(l) > maxValidators || power == 0 {
		return nil, lied("%d validators of power %d at height %d", len(l), power, height)
	}
	set, err := cmttypes.ValidatorSetFromExistingValidators(l)
	if err != nil {
		return nil, lied("validators of %d: %w", height, err)
	}
	return set, nil
}

// metas gives the headers of some heights, oldest first, at most metasPage.
func (n *node) metas(ctx context.Context, from, to int64) ([]cmttypes.Header, error) {
	r, err := n.rpc.BlockchainInfo(ctx, from, to)
	if err != nil {
		return nil, answered(err)
	}
	want := int(to - from + 1)
	if len(r.BlockMetas) != want {
		if k := len(r.BlockMetas); k > 0 && k < want && r.BlockMetas[0] != nil && r.BlockMetas[0].Header.Height == to {
			return nil, fmt.Errorf("%w: its lowest height is over %d", ledger.ErrPruned, from)
		}
		return nil, fmt.Errorf("%w: %d headers from %d to %d", errBehind, len(r.BlockMetas), from, to)
	}
	l := make([]cmttypes.Header, want)
	for i, m := range r.BlockMetas {
		if m == nil || m.Header.Height != to-int64(i) {
			return nil, lied("asked for the headers from %d to %d it gave others", from, to)
		}
		l[want-1-i] = m.Header
	}
	return l, nil
}

// results gives the results of a height.
func (n *node) results(ctx context.Context, height int64) (*ctypes.ResultBlockResults, error) {
	r, err := n.rpc.BlockResults(ctx, &height)
	if err != nil {
		return nil, answered(err)
	}
	if r.Height != height {
		return nil, lied("asked for the results of %d it gave those of %d", height, r.Height)
	}
	for _, t := range r.TxsResults {
		if t == nil {
			return nil, lied("results of %d: a transaction without one", height)
		}
	}
	return r, nil
}

// transactions gives what is in a block.
func (n *node) transactions(ctx context.Context, height int64) (cmttypes.Txs, error) {
	r, err := n.rpc.Block(ctx, &height)
	if err != nil {
		return nil, answered(err)
	}
	if r.Block == nil {
		return nil, fmt.Errorf("%w: no block %d", ledger.ErrPruned, height)
	}
	return r.Block.Txs, nil
}

// query asks the application at a height. A refusal is part of the answer.
func (n *node) query(ctx context.Context, path string, data []byte, height int64, prove bool) (*abci.ResponseQuery, error) {
	r, err := n.rpc.ABCIQueryWithOptions(ctx, path, data, rpcclient.ABCIQueryOptions{Height: height, Prove: prove})
	if err != nil {
		return nil, answered(err)
	}
	return &r.Response, nil
}

// close lets go of the connections.
func (n *node) close() { n.http.CloseIdleConnections() }
