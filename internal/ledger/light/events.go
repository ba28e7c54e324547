package light

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmttypes "github.com/cometbft/cometbft/types"
	"golang.org/x/sync/errgroup"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/work"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
)

const (
	// window is how many heights one proof answers for, at most.
	window = 100
	// atOnce is how many heights' results are asked for at a time: a far node takes a
	// round trip for each.
	atOnce = 4
	// keepBlocks and keepBlockBytes bound the heights whose events are kept for the
	// roles that follow; more are asked for again.
	keepBlocks     = 512
	keepBlockBytes = 16 << 20
	// keepDigests bounds the digests that are known by proof.
	keepDigests = 1024
)

// events is the events of the heights, each held against the digest in the state.
type events struct {
	chain *chain
	state *state
	turn  chan struct{} // held by who fetches: followers want the same

	mu      sync.Mutex // guards the variables below
	blocks  map[int64]heard
	order   []int64 // of blocks, oldest first
	bytes   int
	digests map[int64]work.Hash
	proved  []int64 // of digests, oldest first
}

// heard is a height's events with the size of their text.
type heard struct {
	ledger.Block
	bytes int
}

func newEvents(c *chain, s *state) *events {
	e := &events{chain: c, state: s, turn: make(chan struct{}, 1), blocks: make(map[int64]heard), digests: map[int64]work.Hash{0: {}}}
	return e
}

// block gives a height's events, with those that follow as far as one proof goes.
func (e *events) block(ctx context.Context, height int64) (ledger.Block, error) {
	if b, ok := e.kept(height); ok {
		return b, nil
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return ledger.Block{}, ctx.Err()
	}
	if b, ok := e.kept(height); ok {
		return b, nil
	}
	var first ledger.Block
	err := e.chain.pool.try(ctx, func(ctx context.Context, n *node) error {
		l, err := e.fetch(ctx, n, height)
		if err == nil {
			first = l[0].Block
			e.keep(l)
		}
		return err
	})
	return first, err
}

func (e *events) kept(height int64) (ledger.Block, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, ok := e.blocks[height]
	return b.Block, ok
}

func (e *events) keep(l []heard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range l {
		if _, ok := e.blocks[b.Height]; ok {
			continue
		}
		e.blocks[b.Height] = b
		e.order = append(e.order, b.Height)
		e.bytes += b.bytes
	}
	for len(e.order) > keepBlocks || e.bytes > keepBlockBytes && len(e.order) > 1 {
		e.bytes -= e.blocks[e.order[0]].bytes
		delete(e.blocks, e.order[0])
		e.order = e.order[1:]
	}
}

// fetch asks a node for a window of heights and checks all of it. A node that is far or
// slow answers for the first ones of them: what came in half of ctx's time.
func (e *events) fetch(ctx context.Context, n *node, from int64) ([]heard, error) {
	newest := e.chain.newest()
	to := min(from+window-1, newest.Height-1)
	if from > to {
		return nil, fmt.Errorf("%w: %d, the newest state that can be proved is of %d", errBehind, from, to)
	}
	last, err := e.digest(ctx, n, newest, from-1)
	if err != nil {
		return nil, err
	}
	want, err := e.digest(ctx, n, newest, to)
	if err != nil {
		return nil, err
	}
	headers, err := e.headers(ctx, n, from, to)
	if err != nil {
		return nil, err
	}
	if l := quiet(headers); digestOf(last, l, nil) == want {
		return l, nil
	}
	l, texts, err := listen(ctx, n, headers)
	if err != nil {
		return nil, err
	}
	if len(l) < len(headers) {
		to = from + int64(len(l)) - 1
		if want, err = e.digest(ctx, n, newest, to); err != nil {
			return nil, err
		}
	}
	if got := digestOf(last, l, texts); got != want {
		return nil, lied("the events of heights %d to %d give digest %s, the state proves %s: some are forged or withheld", from, to, got, want)
	}
	return l, nil
}

func (e *events) headers(ctx context.Context, n *node, from, to int64) (l []cmttypes.Header, err error) {
	for at := to; at >= from; at -= metasPage {
		page, err := n.metas(ctx, max(from, at-metasPage+1), at)
		if err != nil {
			return nil, err
		}
		if err := e.chain.link(page); err != nil {
			return nil, err
		}
		l = append(page, l...)
	}
	return l, nil
}

// digest gives the proved digest of a height.
func (e *events) digest(ctx context.Context, n *node, at *cmttypes.LightBlock, height int64) (work.Hash, error) {
	e.mu.Lock()
	d, ok := e.digests[height]
	e.mu.Unlock()
	if ok {
		return d, nil
	}
	b, err := e.state.readFrom(ctx, n, at.Header, prooftypes.ModuleName, prooftypes.DigestKey(height))
	if err != nil {
		return d, err
	}
	if len(b) != len(d) {
		return d, &finalError{fmt.Errorf("%w: the chain keeps the digest of events for %d heights, that of %d is gone", ledger.ErrPruned, prooftypes.KeepDigests, height)}
	}
	copy(d[:], b)
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.digests[height]; !ok {
		e.digests[height] = d
		if e.proved = append(e.proved, height); len(e.proved) > keepDigests {
			delete(e.digests, e.proved[0])
			e.proved = e.proved[1:]
		}
	}
	return d, nil
}

// quiet is the heights as if nothing had happened.
func quiet(headers []cmttypes.Header) []heard {
	l := make([]heard, len(headers))
	for i, h := range headers {
		l[i] = heard{Block: ledger.Block{Height: h.Height, Time: h.Time}}
	}
	return l
}

// listen asks what happened at each height, from the first on and until half of ctx's
// time is over or it heard as much as is kept; texts are the events' bytes.
func listen(ctx context.Context, n *node, headers []cmttypes.Header) (l []heard, texts [][][]byte, err error) {
	enough, stop := halfOf(ctx)
	defer stop()
	all, bytes := quiet(headers), 0
	for len(l) < len(all) && (len(l) == 0 || enough.Err() == nil && bytes < keepBlockBytes) {
		some := all[len(l):min(len(l)+atOnce, len(all))]
		said := make([][][]byte, len(some))
		g, ctx := errgroup.WithContext(ctx)
		for i := range some {
			g.Go(func() (err error) {
				said[i], err = hear(ctx, n, &some[i])
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, nil, err
		}
		for _, h := range some {
			bytes += h.bytes
		}
		l, texts = all[:len(l)+len(some)], append(texts, said...)
	}
	return l, texts, nil
}

// halfOf is a context that ends when half of the time is over that another has.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}

// hear asks what happened at one height.
func hear(ctx context.Context, n *node, h *heard) (texts [][]byte, err error) {
	r, err := n.results(ctx, h.Height)
	if err != nil {
		return nil, err
	}
	for _, t := range r.TxsResults {
		if t.Code == 0 {
			texts = append(texts, ours(t.Events)...)
		}
	}
	texts = append(texts, ours(r.FinalizeBlockEvents)...)
	for _, text := range texts {
		var v ledger.Event
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, lied("event of height %d: %w", h.Height, err)
		}
		h.Events = append(h.Events, v)
		h.bytes += len(text)
	}
	return texts, nil
}

// ours picks the texts of our events.
func ours(events []abci.Event) (l [][]byte) {
	for _, e := range events {
		if e.Type != prooftypes.EventType {
			continue
		}
		for _, a := range e.Attributes {
			if a.Key == prooftypes.EventAttribute {
				l = append(l, []byte(a.Value))
			}
		}
	}
	return l
}

// digestOf continues a digest over heights; without texts nothing happened.
func digestOf(d work.Hash, l []heard, texts [][][]byte) work.Hash {
	for i, b := range l {
		if texts != nil {
			for _, text := range texts[i] {
				d = prooftypes.NextDigest(d, b.Height, text)
			}
		}
		d = prooftypes.CloseDigest(d, b.Height, b.Time)
	}
	return d
}
