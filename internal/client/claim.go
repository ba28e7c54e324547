package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Bounds of looking after deliveries.
const (
	maxGuarded  = 4096    // batches of one watch at a time; more are not looked after
	sampleBytes = 1 << 20 // of an output that is fetched to see whether it is there
	claimPause  = 500 * time.Millisecond
)

// guard looks after the deliveries of a watched job: a provider is paid when its
// batch's window is over, whether the outputs came or not, unless the client claims
// them before. When half of the window is over, it looks whether the indexer has given
// no result of some item yet, or not the output of one that is picked at random; if
// that is still so near the window's end, it claims the item. A wrong claim costs a
// stake: what is merely slow must not be claimed, since indexer or provider are just
// started again, nor what this client, just started again, has hardly asked for.
//
// If the referees say that the output is there, they give it, and it is fetched
// from them; else the batch is void.
type guard struct {
	w *watch

	mu        sync.Mutex // guards the fields below
	since     int64      // height when it began; 0: the chain was not reached yet
	open      map[work.BatchID]*guarded
	delivered map[uint64]*work.Result
}

// guarded is a batch that has entered its window.
type guarded struct {
	height  int64  // at which it did
	sample  uint64 // position whose output is fetched, once picked
	picked  bool
	sampled bool // and it came
	claimed bool
}

// lookAt is the height at which a batch is looked at first, if its window ends at
// deadline; claimAt that from which an item may be claimed by who began at `since`.
func (o *guarded) lookAt(deadline int64) int64 { return o.height + (deadline-o.height)/2 }

func (o *guarded) claimAt(deadline, since int64) int64 {
	window := deadline - o.height
	return max(deadline-max(3, window/4), min(since+window/4, deadline-2))
}

// run guards until ctx ends.
func (g *guard) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { g.hear(ctx) })
	t := time.NewTicker(claimPause)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		g.mu.Lock()
		ids := make([]work.BatchID, 0, len(g.open))
		for id := range g.open {
			ids = append(ids, id)
		}
		g.mu.Unlock()
		for _, id := range ids {
			if err := g.look(ctx, id); err != nil && ctx.Err() == nil {
				g.w.c.log.Warn("cannot look after a delivery: trying again", "batch", id.Short(), "err", err)
			}
		}
	}
}

// hear notes the job's batches that enter their window, from the chain.
func (g *guard) hear(ctx context.Context) {
	from := int64(0)
	for ctx.Err() == nil {
		if from == 0 {
			if ids, st, err := g.present(ctx); err == nil {
				for _, id := range ids {
					g.note(id, st)
				}
				from = st + 1
			}
		}
		if from > 0 {
			err := g.w.c.cfg.Ledger.Follow(ctx, from, func(b ledger.Block) error {
				for _, e := range b.Events {
					if e.Kind == lifecycle.EventBatch && e.Job == g.w.v.id && e.Phase == lifecycle.Window {
						g.note(e.Batch, b.Height)
					}
				}
				from = b.Height + 1
				return nil
			})
			if errors.Is(err, ledger.ErrPruned) {
				from = 0
			}
		}
		pause(ctx, time.Second)
	}
}

// present are the job's batches as of now.
func (g *guard) present(ctx context.Context) ([]work.BatchID, int64, error) {
	st, err := g.w.c.cfg.Ledger.Status(ctx)
	if err != nil {
		return nil, 0, err
	}
	ids, err := g.w.c.cfg.Ledger.Batches(ctx, g.w.v.id)
	return ids, st.Height, err
}

func (g *guard) note(id work.BatchID, height int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.open[id]; !ok && len(g.open) < maxGuarded {
		g.open[id] = &guarded{height: height}
	}
}

// look does what is due about one batch.
func (g *guard) look(ctx context.Context, id work.BatchID) error {
	l := g.w.c.cfg.Ledger
	b, err := l.Batch(ctx, id)
	if err != nil {
		return err
	}
	g.mu.Lock()
	o := g.open[id]
	g.mu.Unlock()
	if o.claimed && len(b.Decided) > 0 {
		if err := g.fetch(ctx, b); err != nil {
			return err
		}
	}
	if b.Phase.Final() {
		g.mu.Lock()
		delete(g.open, id)
		g.mu.Unlock()
		return nil
	}
	if b.Phase != lifecycle.Window || o.claimed {
		return nil
	}
	st, err := l.Status(ctx)
	if err != nil {
		return err
	}
	g.mu.Lock()
	if g.since == 0 {
		g.since = st.Height
	}
	since := g.since
	g.mu.Unlock()
	if st.Height < o.lookAt(b.Deadline) || st.Height >= b.Deadline {
		return nil // not yet, or too late
	}
	pos, ok := g.missing(ctx, b, o)
	if !ok || st.Height < o.claimAt(b.Deadline, since) {
		return nil // nothing, or it may still come
	}
	item := b.Items.At(pos)
	g.w.c.log.Warn("an output does not come: claiming its delivery", "batch", id.Short(), "item", item, "provider", b.Provider)
	_, err = l.Submit(ctx, g.w.c.cfg.Account, ledger.ClaimDelivery{Batch: id, Position: pos})
	switch {
	case errors.Is(err, ledger.ErrRefused) || errors.Is(err, ledger.ErrFunds):
		g.w.c.log.Warn("the claim was refused", "batch", id.Short(), "item", item, "err", err)
	case err != nil:
		return err
	}
	o.claimed = true
	return nil
}

// missing is a position of the batch whose output cannot be had.
func (g *guard) missing(ctx context.Context, b *lifecycle.Batch, o *guarded) (pos uint64, ok bool) {
	w := g.w
	w.mu.Lock()
	at := uint64(0)
	for _, r := range b.Items {
		for i := r.Lo; i < r.Hi; i++ {
			if k := w.v.at(i); !k.have && k.state != wire.ItemVerified {
				w.mu.Unlock()
				return at, true
			}
			at++
		}
	}
	if !o.picked {
		o.sample, o.picked = rand.Uint64N(b.N), true
	}
	pos = o.sample
	var result *work.Result
	if u := w.v.results[b.Items.At(pos)]; u != nil {
		result = u.Result
	}
	w.mu.Unlock()
	if result == nil || o.sampled {
		return 0, false
	}
	size := uint64(0)
	for _, id := range result.Output.Blobs() {
		size += id.Size
	}
	if size > sampleBytes {
		o.sampled = true
		return 0, false
	}
	call, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := w.c.with(call, result.Output.Blobs(), func() error { return nil })
	o.sampled = err == nil
	return pos, err != nil && ctx.Err() == nil
}

// fetch brings outputs that the referees found.
func (g *guard) fetch(ctx context.Context, b *lifecycle.Batch) error {
	for _, d := range b.Decided {
		item := b.Items.At(d.Position)
		g.mu.Lock()
		have := g.delivered[item] != nil
		g.mu.Unlock()
		if !d.Delivery || have {
			continue
		}
		leaf := d.Leaf
		out, err := g.w.c.FetchOutput(ctx, g.w.v.id, item, &leaf, g.w.v.spec.Limits.OutputBytes)
		if err != nil {
			return fmt.Errorf("output of item %d, which the referees found: %w", item, err)
		}
		g.mu.Lock()
		g.delivered[item] = &work.Result{Index: item, Leaf: leaf, Output: *out}
		g.mu.Unlock()
	}
	return nil
}

// FetchOutput finds what the output of an item is made of, by its leaf, at the
// indexer, the referees and the providers that it can reach, and makes its bytes
// present there and then: an output that cannot be had whole is wire.ErrNoOutput.
func (c *Client) FetchOutput(ctx context.Context, job work.JobID, item uint64, leaf *work.Leaf, maxBytes uint64) (*work.Output, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*answerTimeout)
	defer cancel()
	var wanted []work.BlobID
	defer func() { c.store.release(wanted) }()
	accept := func(o *work.Output) error {
		c.store.want(o.Blobs())
		wanted = append(wanted, o.Blobs()...)
		return nil
	}
	return wire.FetchOutput(ctx, c.cfg.Net, c.store, c.fetcher, wire.OutputRequest{Job: job, Item: item, Digest: leaf.Output}, leaf, maxBytes, c.holders(ctx), accept)
}

// maxHolders bounds the peers that are asked for something that the indexer does
// not give.
const maxHolders = 32

// holders are all peers that may have a job's outputs: the indexer, the referees,
// then the providers with an offer.
func (c *Client) holders(ctx context.Context) []p2p.Peer {
	var out []p2p.Peer
	if p, err := c.cfg.Indexer(); err == nil {
		out = append(out, p)
	}
	if c.cfg.Holders != nil {
		out = append(out, c.cfg.Holders()...)
	}
	if offers, err := c.Offers(ctx); err == nil {
		for _, o := range offers {
			out = append(out, p2p.Peer{Key: o.Peer, Addrs: o.Addrs})
		}
	}
	return out[:min(len(out), maxHolders)]
}
