package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Bounds of looking after deliveries.
const (
	maxGuarded  = 4096    // batches of one watch at a time; more are not looked after
	sampleBytes = 1 << 20 // of an output that is fetched to see whether it is there
	claimPause  = 500 * time.Millisecond
	maxLooks    = 16              // batches that are looked at at once
	maxAsks     = 16              // items that one look asks the provider for
	askTimeout  = 5 * time.Second // of one such question
)

// guard looks after the deliveries of a watched job: a provider is paid when its
// batch's window is over, whether the outputs came or not, unless the client claims
// them before. When half of the window is over, it looks whether the indexer has given
// no result of some item yet, or not the output of one that is picked at random; what
// is missing it asks the provider itself for, which proves what it gives. If the
// provider gave nothing for a quarter of the window, all its silences together, and
// still does not in the last quarter, it claims an item. A wrong claim costs a stake:
// what is merely slow must not be claimed, since the provider is just started again, nor
// what this client, just started again, has hardly asked for. A provider that would keep
// items and not be claimed must answer for the other quarter: it is asked for so many
// items in it that it keeps none.
//
// If the referees say that the output is there, they give it, and it is fetched
// from them; else the batch is void.
type guard struct {
	w *watch

	mu        sync.Mutex // guards the fields below
	open      map[work.BatchID]*guarded
	delivered map[uint64]bool             // items that the referees found and gave
	where     map[sign.PublicKey][]string // providers' addresses, as their offers said last
}

// guarded is a batch that has entered its window. One look at a time changes it.
type guarded struct {
	height  int64  // at which it did
	sample  uint64 // position whose output is fetched, once picked
	picked  bool
	sampled bool // and it came
	claimed bool
	given   map[uint64]bool // positions that it gave
	refused int64           // height of the last look, if the provider gave nothing then
	silent  int64           // blocks for which it gave nothing, of those that were looked at
}

// lookAt is the height at which a batch is looked at first, if its window ends at
// deadline.
func (o *guarded) lookAt(deadline int64) int64 { return o.height + (deadline-o.height)/2 }

// refuse notes that the provider gave nothing at a look.
func (o *guarded) refuse(height, deadline int64) {
	passed := int64(1)
	if o.refused > 0 { // since then; whoever slept meanwhile did not ask
		passed = min(height-o.refused, max(1, (deadline-o.height)/8))
	}
	o.refused = height
	o.silent += passed
}

// due says whether an item that the provider has just refused is to be claimed.
func (o *guarded) due(height, deadline int64) bool {
	window := deadline - o.height
	return height >= deadline-max(3, window/4) && o.silent >= window/4
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
		r := &round{dead: map[work.Address]bool{}}
		var looks errgroup.Group
		looks.SetLimit(maxLooks)
		for _, id := range ids {
			looks.Go(func() error {
				if err := g.look(ctx, id, r); err != nil && ctx.Err() == nil {
					g.w.c.log.Warn("cannot look after a delivery: trying again", "batch", id.Short(), "err", err)
				}
				return nil
			})
		}
		_ = looks.Wait() // none gives an error
	}
}

// round is one look at all batches.
type round struct {
	mu     sync.Mutex            // guards the fields below
	dead   map[work.Address]bool // providers that gave nothing: they are not asked again in this round
	listed bool                  // the offers were read
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
func (g *guard) look(ctx context.Context, id work.BatchID, r *round) error {
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
	if st.Height < o.lookAt(b.Deadline) || st.Height >= b.Deadline {
		return nil // not yet, or too late
	}
	pos, ok := g.missing(ctx, b, o, r)
	if !ok {
		o.refused = 0
		return nil
	}
	if o.refuse(st.Height, b.Deadline); !o.due(st.Height, b.Deadline) {
		return nil // it may still come
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

// missing is a position of the batch whose output cannot be had, of the provider
// neither.
func (g *guard) missing(ctx context.Context, b *lifecycle.Batch, o *guarded, r *round) (pos uint64, ok bool) {
	late := g.late(b, o)
	if len(late) == 0 {
		pos, ok = g.sample(ctx, b, o)
		if !ok {
			return 0, false
		}
		late = []uint64{pos}
	}
	for _, pos := range late {
		if err := g.ask(ctx, b, pos, r); err != nil {
			g.w.c.log.Info("an output did not come from its provider", "batch", b.ID.Short(), "item", b.Items.At(pos), "provider", b.Provider, "err", err)
			return pos, ctx.Err() == nil
		}
		if o.given == nil {
			o.given = map[uint64]bool{}
		}
		o.given[pos] = true
		o.sampled = o.sampled || pos == o.sample
	}
	return 0, false
}

// late are up to maxAsks positions whose results did not come, in a random order, so
// that a provider cannot know which ones it will be asked for.
func (g *guard) late(b *lifecycle.Batch, o *guarded) []uint64 {
	w := g.w
	w.mu.Lock()
	defer w.mu.Unlock()
	var late []uint64
	at := uint64(0)
	for _, r := range b.Items {
		for i := r.Lo; i < r.Hi; i++ {
			if k := w.v.at(i); !k.have && k.state != wire.ItemVerified && !o.given[at] {
				late = append(late, at)
			}
			at++
		}
	}
	rand.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
	return late[:min(len(late), maxAsks)]
}

// sample fetches the output of one item that is picked at random; ok says that it did
// not come.
func (g *guard) sample(ctx context.Context, b *lifecycle.Batch, o *guarded) (pos uint64, ok bool) {
	w := g.w
	if !o.picked {
		o.sample, o.picked = rand.Uint64N(b.N), true
	}
	pos = o.sample
	w.mu.Lock()
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

var errSilent = errors.New("it gave nothing for another item just now")

// ask brings an item from the provider of its batch, whatever the indexer says.
func (g *guard) ask(ctx context.Context, b *lifecycle.Batch, pos uint64, r *round) error {
	c := g.w.c
	r.mu.Lock()
	dead := r.dead[b.Provider]
	r.mu.Unlock()
	if dead {
		return errSilent
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	party, err := c.cfg.Ledger.Party(ctx, lifecycle.RoleProvider, b.Provider)
	if err != nil {
		return err
	}
	from := p2p.Peer{Key: party.Peer, Addrs: g.addrs(ctx, party.Peer, r)}
	item := b.Items.At(pos)
	result, err := c.fetchProven(ctx, g.w.v, b, pos, from)
	if err != nil {
		r.mu.Lock()
		r.dead[b.Provider] = true
		r.mu.Unlock()
		return err
	}
	c.log.Info("an output came from its provider itself", "batch", b.ID.Short(), "item", item, "provider", b.Provider)
	g.w.mu.Lock()
	g.w.v.deliver(&wire.Update{Index: item, State: wire.ItemProvisional, Provider: b.Provider, Batch: b.ID, Result: result})
	g.w.mu.Unlock()
	return nil
}

// addrs are a provider's addresses as its offer says; none if it is not known, then
// the network has to find it.
func (g *guard) addrs(ctx context.Context, k sign.PublicKey, r *round) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.listed {
		r.listed = true
		if offers, err := g.w.c.Offers(ctx); err == nil {
			g.mu.Lock()
			clear(g.where)
			for _, o := range offers {
				g.where[o.Peer] = o.Addrs
			}
			g.mu.Unlock()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.where[k]
}

// fetchProven brings the result at a position of a batch from its provider, and makes
// its bytes present there and then.
func (c *Client) fetchProven(ctx context.Context, v *verifier, b *lifecycle.Batch, pos uint64, from p2p.Peer) (*work.Result, error) {
	var wanted []work.BlobID
	defer func() { c.store.release(wanted) }()
	q := wire.OutputRequest{Job: b.Job, Item: b.Items.At(pos), Batch: b.ID, Grant: c.grant()}
	verify := func(p *wire.Proof) error { return p.Verify(b.Job, b.Root, b.N, pos, b.Salt) }
	accept := func(o *work.Output) error {
		c.store.want(o.Blobs())
		wanted = append(wanted, o.Blobs()...)
		return nil
	}
	r, err := wire.FetchProven(ctx, c.cfg.Net, c.store, c.fetcher, q, v.spec.Limits.OutputBytes, from, verify, accept)
	if err == nil {
		err = v.fits(&wire.Update{Index: q.Item, Result: r})
	}
	if err != nil {
		return nil, err
	}
	c.remember(from)
	return r, nil
}

// fetch brings outputs that the referees found.
func (g *guard) fetch(ctx context.Context, b *lifecycle.Batch) error {
	for _, d := range b.Decided {
		item := b.Items.At(d.Position)
		g.mu.Lock()
		have := g.delivered[item]
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
		result := &work.Result{Index: item, Leaf: leaf, Output: *out}
		g.delivered[item] = true
		g.mu.Unlock()
		g.w.mu.Lock()
		g.w.v.deliver(&wire.Update{Index: item, State: wire.ItemProvisional, Provider: b.Provider, Batch: b.ID, Result: result})
		g.w.mu.Unlock()
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
