package provider_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/provider"
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
