package cosmos

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/gotong-network/gotong/internal/ledger"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
)

// How often the node is asked what height it has, if its events do not tell.
const (
	pollWithEvents    = 500 * time.Millisecond
	pollWithoutEvents = 50 * time.Millisecond
)

// cachedBlocks is how many of the blocks that were asked for last are kept: the
// roles of one process follow the same ones.
const cachedBlocks = 256

// rpcNode is a node that is trusted, over CometBFT's RPC or in this process.
type rpcNode struct {
	rpc    rpcclient.Client
	blocks cache
}

var _ Node = (*rpcNode)(nil)

func newRPCNode(c rpcclient.Client) *rpcNode {
	n := &rpcNode{rpc: c}
	n.blocks.fetch = n.fetch
	return n
}

// Status implements Node.
func (n *rpcNode) Status(ctx context.Context) (ledger.Status, error) {
	s, err := n.rpc.Status(ctx)
	if err != nil {
		return ledger.Status{}, unreachable(ctx, err)
	}
	info, err := n.rpc.ABCIInfo(ctx)
	if err != nil {
		return ledger.Status{}, unreachable(ctx, err)
	}
	return ledger.Status{Chain: s.NodeInfo.Network, Height: info.Response.LastBlockHeight, Time: s.SyncInfo.LatestBlockTime, CatchingUp: s.SyncInfo.CatchingUp}, nil
}

// Query implements Node.
func (n *rpcNode) Query(ctx context.Context, path string, request []byte) (*abci.ResponseQuery, error) {
	r, err := n.rpc.ABCIQuery(ctx, path, request)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	return &r.Response, nil
}

// Broadcast implements Node.
func (n *rpcNode) Broadcast(ctx context.Context, tx []byte) (*ctypes.ResultBroadcastTx, error) {
	return n.rpc.BroadcastTxSync(ctx, tx)
}

// Block implements Node.
func (n *rpcNode) Block(ctx context.Context, height int64) (ledger.Block, error) {
	b, err := n.blocks.get(ctx, height)
	if err != nil {
		return ledger.Block{}, err
	}
	return b.Block, nil
}

// Results implements Node.
func (n *rpcNode) Results(ctx context.Context, height int64) (map[[32]byte]Result, error) {
	b, err := n.blocks.get(ctx, height)
	if err != nil {
		return nil, err
	}
	return b.results, nil
}

// Watch implements Node. A block's event is told after its state was committed;
// without events the application is asked.
func (n *rpcNode) Watch(ctx context.Context, tell func(int64)) {
	events, unsubscribe := n.subscribe(ctx)
	defer func() { unsubscribe() }()
	for {
		wait := pollWithEvents
		if events == nil {
			wait = pollWithoutEvents
		}
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if h, ok := e.Data.(cmttypes.EventDataNewBlockHeader); ok {
				tell(h.Header.Height)
			}
		case <-time.After(wait):
			n.ask(ctx, tell)
			if events == nil {
				unsubscribe()
				events, unsubscribe = n.subscribe(ctx)
			}
		}
	}
}

// ask tells what the application has committed.
func (n *rpcNode) ask(ctx context.Context, tell func(int64)) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// An unreachable node is asked again soon.
	if r, err := n.rpc.ABCIInfo(ctx); err == nil {
		tell(r.Response.LastBlockHeight)
	}
}

// subscribe asks for a wake-up at every block. A node that cannot be reached or
// gives none is polled instead.
func (n *rpcNode) subscribe(ctx context.Context) (<-chan ctypes.ResultEvent, func()) {
	nothing := func() {}
	if s, ok := n.rpc.(interface {
		IsRunning() bool
		Start() error
	}); ok && !s.IsRunning() {
		if err := s.Start(); err != nil {
			return nil, nothing
		}
	}
	name, query := "ledger-"+rand.Text(), cmttypes.EventQueryNewBlockHeader.String()
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	events, err := n.rpc.Subscribe(call, name, query, 64)
	if err != nil {
		return nil, nothing
	}
	return events, func() {
		call, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		// A node that is gone has no subscription left.
		_ = n.rpc.Unsubscribe(call, name, query)
	}
}

// block is a height as its readers need it.
type block struct {
	ledger.Block
	results map[[32]byte]Result // by transaction
}

// fetch reads a height from the node.
func (n *rpcNode) fetch(ctx context.Context, height int64) (*block, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	results, err := n.rpc.BlockResults(ctx, &height)
	if err != nil {
		return nil, blockError(ctx, height, err)
	}
	full, err := n.rpc.Block(ctx, &height)
	if err != nil {
		return nil, blockError(ctx, height, err)
	}
	if full.Block == nil || len(full.Block.Txs) != len(results.TxsResults) {
		return nil, fmt.Errorf("height %d: the node's block and results do not fit", height)
	}
	b := &block{Block: ledger.Block{Height: height, Time: full.Block.Time}, results: make(map[[32]byte]Result, len(results.TxsResults))}
	for i, r := range results.TxsResults {
		b.results[[32]byte(full.Block.Txs[i].Hash())] = Result{r.Codespace, r.Code, r.Log}
		if r.Code != 0 {
			continue // what it did was undone
		}
		if err := b.add(r.Events); err != nil {
			return nil, err
		}
	}
	return b, b.add(results.FinalizeBlockEvents)
}

// add keeps the events that are ours.
func (b *block) add(events []abci.Event) error {
	for _, e := range events {
		if e.Type != prooftypes.EventType {
			continue
		}
		for _, a := range e.Attributes {
			if a.Key != prooftypes.EventAttribute {
				continue
			}
			var v ledger.Event
			if err := json.Unmarshal([]byte(a.Value), &v); err != nil {
				return fmt.Errorf("event of height %d: %w", b.Height, err)
			}
			b.Events = append(b.Events, v)
		}
	}
	return nil
}

// blockError tells a height that is gone from a node that is.
func blockError(ctx context.Context, height int64, err error) error {
	if text := err.Error(); strings.Contains(text, "lowest height is") || strings.Contains(text, "could not find results for height") {
		return fmt.Errorf("height %d: %w", height, ledger.ErrPruned)
	}
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("height %d: %w: no answer in %s", height, ledger.ErrUnreachable, callTimeout)
	}
	return unreachable(ctx, err)
}

// cache keeps the blocks that were asked for last; each is fetched once, whoever
// asks.
type cache struct {
	fetch func(ctx context.Context, height int64) (*block, error)

	mu      sync.Mutex // guards entries and order
	entries map[int64]*entry
	order   []int64 // oldest first
}

type entry struct {
	mu    sync.Mutex // held while fetching; guards block
	block *block
}

func (c *cache) get(ctx context.Context, height int64) (*block, error) {
	e := c.entry(height)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.block != nil {
		return e.block, nil
	}
	b, err := c.fetch(ctx, height)
	if err == nil {
		e.block = b
	}
	return b, err
}

func (c *cache) entry(height int64) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[height]; ok {
		return e
	}
	if c.entries == nil {
		c.entries = make(map[int64]*entry)
	}
	if len(c.order) == cachedBlocks {
		delete(c.entries, c.order[0])
		c.order = c.order[1:]
	}
	e := new(entry)
	c.entries[height] = e
	c.order = append(c.order, height)
	return e
}
