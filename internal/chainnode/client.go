package chainnode

import (
	"context"
	"errors"
	"sync"

	cmtbytes "github.com/cometbft/cometbft/libs/bytes"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	"github.com/cometbft/cometbft/rpc/client/local"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	cmttypes "github.com/cometbft/cometbft/types"
)

// ErrStopped reports a call to a node that was stopped.
var ErrStopped = errors.New("the chain node was stopped")

// guarded is the client inside the process. What a ledger needs of it answers
// ErrStopped once the node stops: CometBFT panics when its databases are closed
// under a reader. The other calls must end before the node does.
type guarded struct {
	*local.Local

	mu      sync.RWMutex // held for reading during a call; guards stopped
	stopped bool
}

var _ rpcclient.Client = (*guarded)(nil)

// close waits for the calls under way and refuses later ones.
func (g *guarded) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
}

// guard runs a call unless the node was stopped.
func guard[T any](g *guarded, call func() (T, error)) (v T, err error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.stopped {
		return v, ErrStopped
	}
	return call()
}

func (g *guarded) Status(ctx context.Context) (*ctypes.ResultStatus, error) {
	return guard(g, func() (*ctypes.ResultStatus, error) { return g.Local.Status(ctx) })
}

func (g *guarded) ABCIInfo(ctx context.Context) (*ctypes.ResultABCIInfo, error) {
	return guard(g, func() (*ctypes.ResultABCIInfo, error) { return g.Local.ABCIInfo(ctx) })
}

func (g *guarded) ABCIQuery(ctx context.Context, path string, data cmtbytes.HexBytes) (*ctypes.ResultABCIQuery, error) {
	return guard(g, func() (*ctypes.ResultABCIQuery, error) { return g.Local.ABCIQuery(ctx, path, data) })
}

func (g *guarded) BroadcastTxSync(ctx context.Context, tx cmttypes.Tx) (*ctypes.ResultBroadcastTx, error) {
	return guard(g, func() (*ctypes.ResultBroadcastTx, error) { return g.Local.BroadcastTxSync(ctx, tx) })
}

func (g *guarded) Block(ctx context.Context, height *int64) (*ctypes.ResultBlock, error) {
	return guard(g, func() (*ctypes.ResultBlock, error) { return g.Local.Block(ctx, height) })
}

func (g *guarded) BlockResults(ctx context.Context, height *int64) (*ctypes.ResultBlockResults, error) {
	return guard(g, func() (*ctypes.ResultBlockResults, error) { return g.Local.BlockResults(ctx, height) })
}

func (g *guarded) Subscribe(ctx context.Context, subscriber, query string, capacity ...int) (<-chan ctypes.ResultEvent, error) {
	return guard(g, func() (<-chan ctypes.ResultEvent, error) {
		return g.Local.Subscribe(ctx, subscriber, query, capacity...)
	})
}

func (g *guarded) Unsubscribe(ctx context.Context, subscriber, query string) error {
	_, err := guard(g, func() (struct{}, error) { return struct{}{}, g.Local.Unsubscribe(ctx, subscriber, query) })
	return err
}
