package provider_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// slower is a chain on which somebody else was always faster: it refuses each commit,
// and after many of them says that all paid copies are taken.
type slower struct {
	ledger.Ledger
	many    int64
	refused atomic.Int64
}

func (l *slower) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	for _, m := range msgs {
		if _, ok := m.(ledger.CommitBatch); ok {
			l.refused.Add(1)
			return ledger.Included{}, fmt.Errorf("%w: all paid copies of an item are taken", ledger.ErrRefused)
		}
	}
	return l.Ledger.Submit(ctx, from, msgs...)
}

func (l *slower) Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error) {
	j, err := l.Ledger.Job(ctx, id)
	if err == nil && l.refused.Load() >= l.many {
		j.Copies = nil
		for range j.Spec.MaxCopies {
			j.Copies = append(j.Copies, work.NewRangeSet(work.Range{Lo: 0, Hi: j.Spec.ItemCount}))
		}
	}
	return j, err
}

// TestRefusedResultsAreGivenUpOnce has results refused for good just while the provider
// finds by itself that nobody will pay for them: each is given up once, and the
// provider goes on.
func TestRefusedResultsAreGivenUpOnce(t *testing.T) {
	t.Parallel()
	const items = 100
	w := newWorld(t)
	a := w.provider("prov-a", &toy{slots: 2})
	led := &slower{Ledger: w.chain, many: items}
	a.led, a.edit = led, func(c *provider.Config) { c.MaxBatchItems = 1 }
	w.tick()
	a.start()
	s := w.job(items, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: items})
	x.flush(s)
	w.eventually("all results are given up", func() error {
		if n, _ := x.failed(); n < items {
			return fmt.Errorf("%d are, %d commits were refused", n, led.refused.Load())
		}
		return nil
	})
	if n, fs := x.failed(); n != items {
		t.Errorf("%d failures of %d items: %+v", n, items, fs)
	}
}

// taken is a chain on which others' batches hold all paid copies while it is told so.
type taken struct {
	ledger.Ledger
	all atomic.Bool
}

func (l *taken) Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error) {
	j, err := l.Ledger.Job(ctx, id)
	if err == nil && l.all.Load() {
		c := *j
		c.Copies = nil
		for range j.Spec.MaxCopies {
			c.Copies = append(c.Copies, work.NewRangeSet(work.Range{Lo: 0, Hi: j.Spec.ItemCount}))
		}
		return &c, nil
	}
	return j, err
}

// TestTakenItemsAreNoFault has a provider find that others' batches hold all paid copies
// of what it ran: it gives that up without blame, and when those batches are void the
// same items can come to it again and are paid.
func TestTakenItemsAreNoFault(t *testing.T) {
	t.Parallel()
	const items = 20
	w := newWorld(t)
	c1 := w.checker("check-1", &toy{}, w.chain)
	rt := &toy{slots: 2}
	a := w.provider("prov-a", rt)
	led := &taken{Ledger: w.chain}
	led.all.Store(true)
	a.led = led
	w.tick()
	c1()
	a.start()
	s := w.job(items, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: items})
	x.flush(s)
	w.eventually("all are given up", func() error {
		if n, _ := x.failed(); n < items {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	if _, fs := x.failed(); slices.ContainsFunc(fs, func(f wire.Failure) bool { return !f.Unrun || f.Refused }) {
		t.Errorf("it takes the blame: %+v", fs)
	}
	led.all.Store(false)
	x.assign(s, "prov-a", 1, 100, work.Range{Lo: 0, Hi: items})
	x.flush(s)
	w.settled(s, items)
	if n := rt.runs.Load(); n != 2*items {
		t.Errorf("%d runs of %d items, each twice", n, items)
	}
}
