package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Progress is what is new about a job.
type Progress struct {
	Items    uint64 `json:"items"`
	Verified uint64 `json:"verified"` // proven by this client
	Failed   uint64 `json:"failed"`   // finally, on hosts
	// Counts are the indexer's word, for people.
	Counts wire.Counts `json:"counts"`
	// Changed are the items that are in another state, or have another result,
	// than was told before. ItemVerified is told at most once of an item and never
	// taken back; its result is proven. ItemProvisional may be taken back by any
	// other state.
	Changed []wire.Update `json:"changed"`
	// Lost is set while the indexer cannot be reached: the job goes on without us.
	Lost error `json:"-"`
}

// Outcome is how following a job ended.
type Outcome struct {
	Items    uint64            `json:"items"`
	Verified work.RangeSet     `json:"verified"` // proven by this client
	Failed   map[uint64]string `json:"failed"`   // finally failed, and why
	Missing  work.RangeSet     `json:"missing"`  // neither: the job was closed before
	Counts   wire.Counts       `json:"counts"`
}

// Watch follows a job until every item is verified or finally failed, or the job
// is closed. on hears what changes, in the caller's goroutine; its error ends the
// watch. A lost connection is made again, for as long as Config.Patience lasts.
func (c *Client) Watch(ctx context.Context, id work.JobID, on func(Progress) error) (*Outcome, error) {
	spec, list, err := c.Describe(ctx, id)
	if err != nil {
		return nil, err
	}
	w := &watch{c: c, v: newVerifier(*spec, list, c.log.Debug), on: on}
	if spec.Tier == work.TierNone || c.cfg.NoClaims || spec.Client != c.cfg.Account {
		return w.run(ctx)
	}
	g := &guard{w: w, open: map[work.BatchID]*guarded{}, delivered: map[uint64]bool{}, where: map[sign.PublicKey][]string{}}
	guarding, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { g.run(guarding) })
	out, err := w.run(ctx)
	stop()
	wg.Wait()
	return out, err
}

// watch is one call of Watch.
type watch struct {
	c      *Client
	mu     sync.Mutex // guards v while the watch is guarded
	v      *verifier
	on     func(Progress) error
	counts wire.Counts
	own    error // of the caller's function: ends everything
	heard  time.Time
}

func (w *watch) run(ctx context.Context) (*Outcome, error) {
	w.heard = time.Now()
	wait := firstWait
	for refused := 0; ; {
		before := w.heard
		err := w.c.stream(ctx, &wire.Request{Op: wire.OpWatch, Job: w.v.id}, func(a *wire.Answer) error { return w.frame(ctx, a) })
		switch {
		case w.own != nil:
			return nil, w.own
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil:
			return w.finish(ctx)
		case errors.Is(err, ErrRemote):
			refused++
		}
		moved, merr := w.c.follow(ctx, w.v.id, refused > 3 || time.Since(w.heard) > w.c.cfg.moveAfter(), &w.v.spec)
		switch {
		case moved:
			w.heard, refused, wait = time.Now(), 0, firstWait
		case refused > 3:
			return nil, errors.Join(err, merr)
		}
		if w.heard != before {
			wait = firstWait
		}
		if time.Since(w.heard) > w.c.cfg.Patience {
			return nil, fmt.Errorf("job %s goes on, but its indexer was not reached for %s: %w", w.v.id.Short(), w.c.cfg.Patience, err)
		}
		changed, serr := w.settle(ctx) // what providers gave themselves needs no indexer
		if serr != nil && ctx.Err() == nil {
			w.c.log.Debug("nothing can be proven for now", "job", w.v.id.Short(), "err", serr)
		}
		if err := w.tell(changed, err); err != nil {
			return nil, err
		}
		if w.v.resolved() {
			return w.finish(ctx)
		}
		if !pause(ctx, wait) {
			return nil, ctx.Err()
		}
		wait = min(2*wait, longestWait)
	}
}

// frame handles one frame of the indexer.
func (w *watch) frame(ctx context.Context, a *wire.Answer) error {
	w.heard = time.Now()
	if a.Counts != nil {
		w.counts = *a.Counts
	}
	w.mu.Lock()
	changed := w.v.apply(a.Updates)
	w.mu.Unlock()
	more, err := w.settle(ctx)
	if errors.Is(err, ledger.ErrUnreachable) { // a later frame tries again
		err = nil
	}
	if terr := w.tell(append(changed, more...), nil); terr != nil {
		return terr
	}
	return err
}

func (w *watch) tell(changed []wire.Update, lost error) error {
	p := Progress{Items: w.v.spec.ItemCount, Verified: w.v.proven.n, Failed: uint64(len(w.v.failed)), Counts: w.counts, Changed: changed, Lost: lost}
	if w.on == nil {
		return nil
	}
	w.own = w.on(p)
	return w.own
}

// settle proves what can be proven, asking for results again where they do not fit.
func (w *watch) settle(ctx context.Context) (changed []wire.Update, err error) {
	for {
		w.mu.Lock()
		more, again, err := w.v.settle(ctx, w.c.cfg.Ledger)
		w.mu.Unlock()
		changed = append(changed, more...)
		if err != nil || len(again) == 0 {
			return changed, err
		}
		w.c.log.Warn("results do not fit what was paid: asking once more", "job", w.v.id.Short(), "items", again.Len())
		err = w.c.ask(ctx, &wire.Request{Op: wire.OpResults, Job: w.v.id, Items: again}, func(a *wire.Answer) error {
			w.mu.Lock()
			changed = append(changed, w.v.apply(a.Updates)...)
			w.mu.Unlock()
			return nil
		})
		if err != nil {
			return changed, err
		}
	}
}

// finish waits until the client's own node knows what the indexer said last.
func (w *watch) finish(ctx context.Context) (*Outcome, error) {
	end := time.Now().Add(w.c.cfg.Lag)
	wait := firstWait / 4
	for len(w.v.batches) > 0 && !w.v.resolved() {
		changed, err := w.settle(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		late := time.Now().After(end)
		if err != nil && (late || !errors.Is(err, ledger.ErrUnreachable) && !errors.Is(err, p2p.ErrUnreachable)) {
			return nil, err
		}
		if late {
			w.mu.Lock()
			changed = append(changed, w.v.refuteAll("the indexer says that it is verified, and the chain does not: retry it")...)
			w.mu.Unlock()
		}
		if err := w.tell(changed, nil); err != nil {
			return nil, err
		}
		if len(w.v.batches) > 0 && !w.v.resolved() && !pause(ctx, wait) {
			return nil, ctx.Err()
		}
		wait = min(2*wait, time.Second)
	}
	all := work.RangeSet{{Lo: 0, Hi: w.v.spec.ItemCount}}
	out := &Outcome{Items: w.v.spec.ItemCount, Verified: w.v.proven.set(), Failed: w.v.failed, Counts: w.counts}
	var failed []work.Range
	for i := range out.Failed {
		failed = append(failed, work.Range{Lo: i, Hi: i + 1})
	}
	out.Missing = all.Minus(out.Verified).Minus(work.NewRangeSet(failed...))
	return out, nil
}

// Results gives what the indexer has of some items, or of all, without waiting for
// more: proven where the chain has settled, provisional elsewhere.
func (c *Client) Results(ctx context.Context, id work.JobID, items work.RangeSet) ([]wire.Update, error) {
	spec, list, err := c.Describe(ctx, id)
	if err != nil {
		return nil, err
	}
	v := newVerifier(*spec, list, c.log.Debug)
	if over := items.Minus(work.RangeSet{{Lo: 0, Hi: spec.ItemCount}}); len(over) > 0 {
		return nil, fmt.Errorf("item %d of a job of %d items: %w", over[0].Lo, spec.ItemCount, work.ErrItem)
	}
	latest := map[uint64]wire.Update{}
	w := &watch{c: c, v: v}
	get := func(items work.RangeSet) error {
		return c.stream(ctx, &wire.Request{Op: wire.OpResults, Job: id, Items: items}, func(a *wire.Answer) error {
			for _, u := range v.apply(a.Updates) {
				latest[u.Index] = u
			}
			return nil
		})
	}
	if err := get(items); err != nil {
		return nil, err
	}
	// A batch is proven whole: the others of its items are needed too.
	proven, err := w.settle(ctx)
	if err != nil {
		return nil, err
	}
	var rest work.RangeSet
	for _, b := range v.batches {
		if b.chain != nil && b.missing > 0 {
			rest = rest.Union(b.chain.Items)
		}
	}
	if rest = rest.Minus(items); len(items) > 0 && len(rest) > 0 {
		if err := get(rest); err != nil {
			return nil, err
		}
	}
	more, err := w.settle(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range append(proven, more...) {
		latest[u.Index] = u
	}
	var out []wire.Update
	for _, u := range sortedUpdates(latest) {
		if len(items) == 0 || items.Contains(u.Index) {
			out = append(out, u)
		}
	}
	return out, nil
}

// maxListBytes bounds an item list that is fetched.
const maxListBytes = 1 << 30

// Describe gives a job's spec and item list: remembered, or from the chain and,
// under its name, from the indexer.
func (c *Client) Describe(ctx context.Context, id work.JobID) (*work.JobSpec, *work.ItemList, error) {
	c.mu.Lock()
	m, ok := c.jobs[id]
	c.mu.Unlock()
	if ok {
		return m.spec, m.list, nil
	}
	j, err := c.cfg.Ledger.Job(ctx, id)
	if err != nil {
		return nil, nil, fmt.Errorf("job %s: %w", id.Short(), err)
	}
	c.setIndexer(id, j.Indexer().Key)
	if j.Spec.Items.Size > maxListBytes {
		return nil, nil, fmt.Errorf("job %s: item list of %d bytes: %w", id.Short(), j.Spec.Items.Size, blob.ErrTooLarge)
	}
	b, err := c.Bytes(ctx, j.Spec.Items)
	if err != nil && errors.Is(err, p2p.ErrUnreachable) {
		if moved, merr := c.follow(ctx, id, true, &j.Spec); moved {
			b, err = c.bytesSoon(ctx, j.Spec.Items)
		} else {
			err = errors.Join(err, merr)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("item list of job %s: %w", id.Short(), err)
	}
	list, err := work.DecodeItemList(b)
	if err != nil {
		return nil, nil, fmt.Errorf("job %s: %w", id.Short(), err)
	}
	if list.Len() != j.Spec.ItemCount {
		return nil, nil, fmt.Errorf("job %s says %d items and its list has %d: %w", id.Short(), j.Spec.ItemCount, list.Len(), work.ErrMalformed)
	}
	c.Remember(j.Spec, list)
	return &j.Spec, list, nil
}

// Remember tells the client of a job that it need not, or (tier none) cannot, ask
// the network about. Post does it by itself.
func (c *Client) Remember(spec work.JobSpec, list *work.ItemList) work.JobID {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := spec.ID()
	c.jobs[id] = material{&spec, list}
	if _, ok := c.indexed[id]; !ok {
		c.indexed[id] = spec.Indexer
	}
	return id
}

type material struct {
	spec *work.JobSpec
	list *work.ItemList
}
