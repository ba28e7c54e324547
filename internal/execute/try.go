package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// try is what came of a duty so far: a next try goes on from it.
type try struct {
	leaves map[uint64]work.Leaf // by position
	since  int64                // height of the first try; 0: none yet
	last   int64                // height of the last one
	n      int
}

// How a duty's time is shared: fetching ends when a quarter of it, but at least
// leastLeft blocks, is left for running and for the commitment; until then it is
// tried with about fetchTries orders of the holders, so that one that stalls does
// not take all the time.
const (
	leastLeft  = 3
	fetchTries = 4
)

func (t *try) lastFetch(deadline int64) int64 {
	return deadline - max((deadline-t.since)/4, leastLeft)
}

// run gives the leaf of each position of the duty: executed here, each once, or
// lifecycle.Unavailable. An error asks for another try.
func (b *Blind) run(ctx context.Context, batch *lifecycle.Batch, d Duty, t *try) ([]work.Leaf, error) {
	j, err := b.Ledger.Job(ctx, batch.Job)
	if err != nil {
		return nil, fmt.Errorf("job of the batch: %w", err)
	}
	st, err := b.Ledger.Status(ctx)
	if err != nil {
		return nil, err
	}
	if t.since == 0 {
		t.since = st.Height
	}
	t.last = t.lastFetch(d.Deadline)
	// One block at least, however late it is.
	fetching, cancel := b.until(ctx, max(min(t.last, st.Height+max((t.last-t.since)/fetchTries, 1)), st.Height+1))
	defer cancel()
	holders := rotate(b.Holders(ctx, j, batch), t.n)
	t.n++
	missing := b.attempt(ctx, fetching, j, batch, d, holders, t)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for pos, err := range missing {
		if !errors.Is(err, ErrUnavailable) && !errors.Is(err, errNever) {
			return nil, err
		}
		if errors.Is(err, errNever) || st.Height >= t.last || b.height.Load() >= t.last {
			b.Log.Warn(b.game.Name+" says unavailable: it cannot be had, or not be run", "batch", batch.ID.Short(), "item", batch.Items.At(pos), "tries", t.n, "err", err)
			t.leaves[pos] = lifecycle.Unavailable
		}
	}
	out := make([]work.Leaf, len(d.Positions))
	for i, p := range d.Positions {
		l, ok := t.leaves[p]
		if !ok {
			return nil, missing[p]
		}
		out[i] = l
	}
	return out, nil
}

// errNever marks what no machine can run: the item's list is malformed, or the
// profile refuses the program. Whoever says that it has a result of it lies, and
// nobody can say what the right one is.
var errNever = errors.New("nobody can run it")

// attempt fetches and runs what has no leaf yet, several items at a time, and gives
// the error of each position that it did not get.
func (b *Blind) attempt(ctx, fetching context.Context, j *lifecycle.Job, batch *lifecycle.Batch, d Duty, holders []p2p.Peer, t *try) map[uint64]error {
	missing := map[uint64]error{}
	var todo []uint64
	for _, p := range d.Positions {
		if _, ok := t.leaves[p]; ok || slices.Contains(todo, p) {
			continue
		}
		todo = append(todo, p)
		missing[p] = nil
		if p >= batch.N {
			missing[p] = fmt.Errorf("position %d of a batch of %d items: the chain's record is wrong", p, batch.N)
			return missing
		}
	}
	all := func(err error) map[uint64]error {
		for p := range missing {
			missing[p] = b.cause(fetching, err)
		}
		return missing
	}
	var prog *Program
	if d.Delivery == nil {
		var err error
		if prog, err = b.Execute.Prepare(fetching, &j.Spec, holders); err != nil {
			return all(err)
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards missing and t.leaves
	for _, p := range todo {
		wg.Go(func() {
			i := batch.Items.At(p)
			leaf, err := work.Leaf{}, error(nil)
			if d.Delivery == nil {
				leaf, err = b.leaf(ctx, fetching, prog, i)
			} else if leaf, err = *d.Delivery, b.Deliver(fetching, j, i, *d.Delivery, holders); err != nil {
				err = fmt.Errorf("output of item %d %w: %w", i, ErrUnavailable, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing[p] = b.cause(fetching, err)
				return
			}
			delete(missing, p)
			t.leaves[p] = leaf
		})
	}
	wg.Wait()
	return missing
}

// cause puts an error into the words of run.
func (b *Blind) cause(fetching context.Context, err error) error {
	refused := (*runtime.Refused)(nil)
	switch {
	case errors.As(err, &refused) || errors.Is(err, ErrBadList):
		return fmt.Errorf("%w: %w", errNever, err)
	case fetching.Err() != nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("%w in time: %w", ErrUnavailable, err)
	}
	return err
}

// leaf runs an item, or gives what running it gave before.
func (b *Blind) leaf(ctx, fetching context.Context, prog *Program, i uint64) (work.Leaf, error) {
	input, err := prog.InputDigest(i)
	if err != nil {
		return work.Leaf{}, err
	}
	b.mu.Lock()
	l, ok := b.known[input]
	b.mu.Unlock()
	if ok {
		return l, nil
	}
	if err := prog.Fetch(fetching, i); err != nil {
		return work.Leaf{}, err
	}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return work.Leaf{}, ctx.Err()
	}
	r, err := prog.Run(ctx, i)
	if err != nil {
		return work.Leaf{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Remember > 0 {
		if len(b.known) >= b.Remember {
			clear(b.known)
		}
		b.known[input] = r.Leaf
	}
	return r.Leaf, nil
}

// until gives a context that ends when the chain has reached a height.
func (b *Blind) until(ctx context.Context, height int64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(20 * time.Millisecond)
		defer t.Stop()
		for b.height.Load() < height {
			select {
			case <-t.C:
			case <-over:
				return
			case <-ctx.Done():
				return
			}
		}
		cancel()
	})
	return ctx, func() {
		close(over)
		wg.Wait()
		cancel()
	}
}

// rotate puts the holders into the order of the nth try.
func rotate(hs []p2p.Peer, n int) []p2p.Peer {
	if len(hs) == 0 {
		return nil
	}
	n %= len(hs)
	return append(hs[n:len(hs):len(hs)], hs[:n]...)
}
