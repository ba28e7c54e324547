package provider_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// gated is a toy whose items run until they are let go, or are stopped.
type gated struct {
	toy
	gate chan struct{} // closed: items end

	now, most, stopped atomic.Int64 // items that run, the most that did, and that were cut short
}

func (r *gated) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	n := r.now.Add(1)
	defer r.now.Add(-1)
	for m := r.most.Load(); n > m && !r.most.CompareAndSwap(m, n); m = r.most.Load() {
	}
	select {
	case <-r.gate:
	case <-ctx.Done():
		r.stopped.Add(1)
		return nil, ctx.Err()
	}
	return r.toy.Run(ctx, t)
}

// owner is a governor that a test plays.
type owner struct {
	mu sync.Mutex // guards the fields below
	a  provider.Allowance
	ch chan struct{}
}

func newOwner(slots int, why string) *owner {
	return &owner{a: provider.Allowance{Slots: slots, Why: why}, ch: make(chan struct{})}
}

func (o *owner) Now() (provider.Allowance, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.a, o.ch
}

func (o *owner) allow(slots int, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.a = provider.Allowance{Slots: slots, Why: why}
	close(o.ch)
	o.ch = make(chan struct{})
}

// unrun are the items that came back without a fault; others are a failure of the
// test.
func (x *indexer) unrun(why string) (back work.RangeSet) {
	x.w.t.Helper()
	_, fs := x.failed()
	for _, f := range fs {
		if !f.Unrun || !strings.Contains(f.Why, why) {
			x.w.t.Errorf("failure: %+v, want unrun because %q", f, why)
		}
		back = back.Union(f.Items)
	}
	return back
}

func (w *world) running(rt *gated, n int64) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%d items run", n), func() error {
		if m := rt.now.Load(); m != n {
			return fmt.Errorf("%d items run", m)
		}
		return nil
	})
}

func TestPauseGivesBackAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rt := &gated{toy: toy{slots: 2}, gate: make(chan struct{})}
	a := w.provider("prov-a", rt)
	c1 := w.checker("check-1", &toy{}, w.chain)
	w.tick()
	c1()
	a.start()
	s := w.job(20, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 20})
	w.running(rt, 2)
	a.role.Pause()
	all := work.NewRangeSet(work.Range{Lo: 0, Hi: 20})
	w.eventually("all items come back", func() error {
		if back := x.unrun("paused by its owner"); len(all.Minus(back)) > 0 {
			return fmt.Errorf("only %s", back)
		}
		return nil
	})
	if n := rt.stopped.Load(); n != 2 {
		t.Errorf("%d items were stopped, 2 ran", n)
	}
	if st := a.role.Status(); st.State != provider.Paused || st.SlotsAllowed != 0 || st.ItemsQueued+st.ItemsRunning != 0 || st.Why == "" {
		t.Errorf("status: %+v", st)
	}
	if o := a.role.Offer(time.Now()); o.Slots != 0 || o.Load != 1000 {
		t.Errorf("a paused provider offers %d slots under load %d", o.Slots, o.Load)
	}
	x.assign(s, "prov-a", 1, 100, work.Range{Lo: 0, Hi: 20})
	w.eventually("what is assigned while paused comes back", func() error {
		if n, _ := x.failed(); n < 40 {
			return fmt.Errorf("%d items came back", n)
		}
		return nil
	})
	a.role.Resume()
	close(rt.gate)
	x.assign(s, "prov-a", 2, 100, work.Range{Lo: 0, Hi: 20})
	x.flush(s)
	w.settled(s, 20)
	if st := a.role.Status(); st.State != provider.Idle || a.role.Offer(time.Now()).Slots != 2 {
		t.Errorf("after resuming: %+v", st)
	}
}

// TestPausedAssignmentComesAgain has the indexer lose its stream while the provider
// pauses: what it assigns again on the next one is given back, then run.
func TestPausedAssignmentComesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rt := &gated{toy: toy{slots: 1}, gate: make(chan struct{})}
	a := w.provider("prov-a", rt)
	c1 := w.checker("check-1", &toy{}, w.chain)
	w.tick()
	c1()
	first := a.start()
	s := w.job(5, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 5})
	w.running(rt, 1)
	x.close()
	first.stop()
	a.edit = func(c *provider.Config) { c.Paused = true } // it starts as its owner left it
	a.start()
	if st := a.role.Status(); st.State != provider.Paused || st.ItemsQueued != 0 {
		t.Errorf("after a start: %+v", st)
	}
	x = w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 5})
	w.eventually("it comes back", func() error {
		if back := x.unrun("paused"); back.Len() != 5 {
			return fmt.Errorf("%s came back", back)
		}
		return nil
	})
	close(rt.gate)
	a.role.Resume()
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 5})
	x.flush(s)
	w.settled(s, 5)
}

func TestGovernor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rt := &gated{toy: toy{slots: 4}, gate: make(chan struct{})}
	a := w.provider("prov-a", rt)
	gov := newOwner(1, "in use: keyboard")
	a.edit = func(c *provider.Config) { c.Governor = gov }
	c1 := w.checker("check-1", &toy{}, w.chain)
	w.tick()
	c1()
	a.start()
	s := w.job(12, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 12})
	w.running(rt, 1)
	if o := a.role.Offer(time.Now()); o.Slots != 1 {
		t.Errorf("%d slots are offered, 1 is allowed", o.Slots)
	}
	if st := a.role.Status(); st.State != provider.Working || st.Slots != 4 || st.SlotsAllowed != 1 || st.SlotsUsed != 1 || st.Why != "in use: keyboard" {
		t.Errorf("status: %+v", st)
	}
	gov.allow(4, "")
	w.running(rt, 4)
	gov.allow(0, "power: on battery")
	w.running(rt, 0)
	w.eventually("all come back", func() error {
		if back := x.unrun("its owner's limits"); back.Len() != 12 {
			return fmt.Errorf("%s came back", back)
		}
		return nil
	})
	if st := a.role.Status(); st.State != provider.Paused || st.Why != "power: on battery" {
		t.Errorf("status: %+v", st)
	}
	gov.allow(2, "")
	w.eventually("two slots", func() error {
		if n := a.role.Status().SlotsAllowed; n != 2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	close(rt.gate)
	x.assign(s, "prov-a", 1, 100, work.Range{Lo: 0, Hi: 12})
	x.flush(s)
	w.settled(s, 12)
	if n := rt.most.Load(); n > 4 {
		t.Errorf("%d items ran at once", n)
	}
}

// TestPauseCommits holds that finished work is committed and settled during a pause.
func TestPauseCommits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.provider("prov-a", &toy{slots: 2})
	a.edit = func(c *provider.Config) { c.MaxUncommitted, c.MinBatchItems = time.Hour, 1000 }
	c1 := w.checker("check-1", &toy{}, w.chain)
	w.tick()
	c1()
	a.start()
	s := w.job(30, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 30})
	w.eventually("all receipts", func() error {
		if n := x.have(s.ID()); n != 30 {
			return fmt.Errorf("%d results", n)
		}
		return nil
	})
	a.role.Pause()
	w.settled(s, 30)
}

func TestDrainLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rt := &gated{toy: toy{slots: 2}, gate: make(chan struct{})}
	a := w.provider("prov-a", rt)
	c1 := w.checker("check-1", &toy{}, w.chain)
	w.tick()
	c1()
	a.start()
	s := w.job(60, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 40})
	w.running(rt, 2)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.role.Drain(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "40 items") {
		t.Errorf("a drain that was given no time: %v", err)
	}
	if st := a.role.Status(); st.State != provider.Draining || a.role.Offer(time.Now()).Slots != 0 {
		t.Errorf("status: %+v", st)
	}
	drained := make(chan error, 1)
	go func() { drained <- a.role.Drain(t.Context()) }()
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 40, Hi: 60})
	w.eventually("what is new comes back", func() error {
		if back := x.unrun("drains"); back.Len() != 20 {
			return fmt.Errorf("%s came back", back)
		}
		return nil
	})
	select {
	case err := <-drained:
		t.Fatalf("drained with work in hand: %v", err)
	default:
	}
	close(rt.gate)
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if n := x.have(s.ID()); n != 40 {
		t.Errorf("%d results arrived, 40 were assigned", n)
	}
	var n uint64
	for _, b := range w.batches(s) {
		if b.Phase != lifecycle.Settled {
			t.Errorf("a batch is %s after the drain", b.Phase)
		}
		n += b.N
	}
	if n != 40 {
		t.Errorf("%d items are settled, 40 were assigned", n)
	}
	if st := a.role.Status(); st.State != provider.Drained || st.Undelivered != 0 {
		t.Errorf("status: %+v", st)
	}
	a.role.Resume()
	x.assign(s, "prov-a", 1, 100, work.Range{Lo: 40, Hi: 60})
	x.flush(s)
	w.settled(s, 60)
}
