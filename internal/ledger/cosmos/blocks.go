package cosmos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/gotong-network/gotong/internal/ledger"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
)

// cachedBlocks is how many of the blocks that were asked for last are kept: the
// roles of one process follow the same ones.
const cachedBlocks = 256

// retryPause is the wait before another try at a node that cannot be reached.
const retryPause = 200 * time.Millisecond

// block is a height as its readers need it; it is shared and never changed.
type block struct {
	height  int64
	time    time.Time
	events  []ledger.Event
	results map[[32]byte]result // by transaction
}

// result is how a transaction ended.
type result struct {
	codespace string
	code      uint32
	log       string
}

// Follow implements ledger.Follower. What f gets is shared with other followers:
// it must not change it.
func (c *Client) Follow(ctx context.Context, from int64, f func(ledger.Block) error) error {
	if from < 1 {
		return fmt.Errorf("heights begin at 1, not %d", from)
	}
	for height := from; ; height++ {
		if err := c.await(ctx, height, 0); err != nil {
			return err
		}
		b, err := c.block(ctx, height)
		if err != nil {
			return err
		}
		if err := f(ledger.Block{Height: b.height, Time: b.time, Events: b.events}); err != nil {
			return err
		}
	}
}

// block gives a committed height, trying until the node answers.
func (c *Client) block(ctx context.Context, height int64) (*block, error) {
	for {
		b, err := c.blocks.get(ctx, height)
		if !errors.Is(err, ledger.ErrUnreachable) {
			return b, err
		}
		if err := pause(ctx, retryPause); err != nil {
			return nil, err
		}
	}
}

// fetch reads a height from the node.
func (c *Client) fetch(ctx context.Context, height int64) (*block, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	results, err := c.rpc.BlockResults(ctx, &height)
	if err != nil {
		return nil, blockError(ctx, height, err)
	}
	full, err := c.rpc.Block(ctx, &height)
	if err != nil {
		return nil, blockError(ctx, height, err)
	}
	if full.Block == nil || len(full.Block.Txs) != len(results.TxsResults) {
		return nil, fmt.Errorf("height %d: the node's block and results do not fit", height)
	}
	b := &block{height: height, time: full.Block.Time, results: make(map[[32]byte]result, len(results.TxsResults))}
	for i, r := range results.TxsResults {
		b.results[[32]byte(full.Block.Txs[i].Hash())] = result{r.Codespace, r.Code, r.Log}
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
				return fmt.Errorf("event of height %d: %w", b.height, err)
			}
			b.events = append(b.events, v)
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
