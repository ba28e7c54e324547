package indexer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// watcher collects what changed of a job since its client was told: numbers of
// items, so that a slow client costs intervals, never copies of results.
type watcher struct {
	mu      sync.Mutex // guards pending and urgent
	pending spans
	urgent  bool // a result or a failure is among them
	wake    chan struct{}
}

func (w *watcher) add(items work.RangeSet, urgent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending.addAll(items)
	w.urgent = w.urgent || urgent
}

func (w *watcher) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) state() (n uint64, urgent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending.size(), w.urgent
}

// next takes up to a frame's items out.
func (w *watcher) next() work.RangeSet {
	w.mu.Lock()
	defer w.mu.Unlock()
	items, _ := work.RangeSet(w.pending.view()).Take(wire.MaxUpdates)
	items = slices.Clone(items)
	w.pending.delAll(items)
	w.urgent = w.pending.size() > 0 && w.urgent
	return items
}

// How often a client is told: results at once, up to burstFrames in a period;
// everything else once a period.
const (
	watchPeriod  = 100 * time.Millisecond
	burstFrames  = 20
	watchTimeout = 30 * time.Second // of one frame, to a client that does not read
)

// watch tells a client all that is known of a job, then what changes, until every
// item is verified or failed, the job is closed, or the client goes.
func (x *Indexer) watch(ctx context.Context, s p2p.Stream, id work.JobID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x.spawn(func() { // the client says nothing more: this ends when it goes
		for {
			if _, err := s.Receive(); err != nil {
				cancel()
				return
			}
		}
	})
	w := &watcher{wake: make(chan struct{}, 1)}
	err := x.withJob(ctx, id, func(j *job) error {
		if x.watchers >= maxWatchers {
			return errors.New("too many clients are watching: try again later")
		}
		x.watchers++
		j.watchers[w] = struct{}{}
		w.add(work.RangeSet{{Lo: 0, Hi: j.state.n}}.Minus(j.state.waiting.set()), true)
		w.notify()
		return nil
	})
	if err != nil {
		return err
	}
	defer x.post(func() {
		x.watchers--
		if j := x.jobs[id]; j != nil {
			delete(j.watchers, w)
		}
	})
	return x.tell(ctx, s, id, w)
}

func (x *Indexer) tell(ctx context.Context, s p2p.Stream, id work.JobID, w *watcher) error {
	began, frames := time.Now(), 0
	for first := true; ; first = false {
		if !first {
			select {
			case <-w.wake:
			case <-ctx.Done():
				return nil
			}
		}
		if time.Since(began) >= watchPeriod {
			began, frames = time.Now(), 0
		}
		if !first && !w.worthTelling(ctx, watchPeriod-time.Since(began), frames < burstFrames) {
			return nil
		}
		for {
			done, err := x.frame(ctx, s, id, w)
			if err != nil || done {
				return err
			}
			frames++
			if n, _ := w.state(); n == 0 {
				break
			}
		}
	}
}

// worthTelling waits until a frame is full, or a result came and may be told at
// once, or for d; false when ctx ended.
func (w *watcher) worthTelling(ctx context.Context, d time.Duration, atOnce bool) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		if n, urgent := w.state(); n >= wire.MaxUpdates || urgent && atOnce {
			return true
		}
		select {
		case <-w.wake:
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// frame sends one frame of what is pending; done when it was the last.
func (x *Indexer) frame(ctx context.Context, s p2p.Stream, id work.JobID, w *watcher) (done bool, err error) {
	items := w.next()
	var st []stands
	a := &wire.Answer{}
	err = x.withJob(ctx, id, func(j *job) error {
		if j.moved {
			return errMoved
		}
		st, a.Counts = j.state.describe(items), x.counts(j)
		n, _ := w.state()
		a.Done = n == 0 && j.over()
		return nil
	})
	if err == nil {
		a.Updates, err = x.updates(id, st)
	}
	if err == nil {
		s.SetDeadline(time.Now().Add(watchTimeout))
		err = replyFit(s, a)
		s.SetDeadline(time.Time{})
	}
	return a.Done, err
}

// replyFit sends an answer in as many frames as its outputs' file lists need.
func replyFit(s p2p.Stream, a *wire.Answer) error {
	b, err := wire.EncodeJSON(a)
	if errors.Is(err, p2p.ErrFrame) && len(a.Updates) > 1 {
		half := len(a.Updates) / 2
		if err := replyFit(s, &wire.Answer{Updates: a.Updates[:half]}); err != nil {
			return err
		}
		rest := *a
		rest.Updates = a.Updates[half:]
		return replyFit(s, &rest)
	}
	if err != nil {
		return err
	}
	if err := s.Send(b); err != nil {
		return err
	}
	return s.Flush()
}

// updates reads the results that belong to what is known of items.
func (x *Indexer) updates(id work.JobID, st []stands) ([]wire.Update, error) {
	var out []wire.Update
	for _, r := range st {
		base := wire.Update{State: r.state, Batch: r.batch, Why: r.why}
		if r.prov != nil {
			base.Provider = r.prov.addr
		}
		at := len(out)
		for i := r.items.Lo; i < r.items.Hi; i++ {
			u := base
			u.Index, u.Attempt = i, r.attempt
			out = append(out, u)
		}
		if r.state != wire.ItemProvisional && r.state != wire.ItemVerified {
			continue
		}
		err := x.db.results(id, r.prov.no, work.RangeSet{r.items}, func(v stored) error {
			u := &out[at+int(v.result.Index-r.items.Lo)]
			u.Attempt, u.Result = v.attempt, &v.result
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// giveResults answers OpResults: the named items, or all that have a result.
func (x *Indexer) giveResults(ctx context.Context, s p2p.Stream, id work.JobID, items work.RangeSet) error {
	err := x.withJob(ctx, id, func(j *job) error {
		all := work.RangeSet{{Lo: 0, Hi: j.state.n}}
		if len(items) == 0 {
			items = j.state.verified.set().Union(j.state.provisional.set()).Union(j.state.failed.set())
		} else if len(items.Minus(all)) > 0 {
			return work.ErrItem
		}
		return nil
	})
	for err == nil {
		var part work.RangeSet
		part, items = items.Take(wire.MaxUpdates)
		a := &wire.Answer{Done: len(items) == 0}
		var st []stands
		err = x.withJob(ctx, id, func(j *job) error {
			st = j.state.describe(part)
			if a.Done {
				a.Counts = x.counts(j)
			}
			return nil
		})
		if err == nil {
			a.Updates, err = x.updates(id, st)
		}
		if err == nil {
			s.SetDeadline(time.Now().Add(watchTimeout))
			err = replyFit(s, a)
		}
		if a.Done {
			break
		}
	}
	return err
}
