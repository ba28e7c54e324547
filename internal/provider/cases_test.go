package provider_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// TestCheckerRestartsAtEachStep kills the only checker around its commit and its
// reveal; it must go on with the leaves and the salt on disk.
func TestCheckerRestartsAtEachStep(t *testing.T) {
	t.Parallel()
	for step := 1; step <= 2; step++ {
		for _, taken := range []bool{false, true} {
			t.Run(fmt.Sprintf("step %d taken %v", step, taken), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				a := w.provider("prov-a", &toy{slots: 2})
				rt := &toy{}
				led := &swap{Ledger: newCut(w.chain, step, taken)}
				check := w.checker("check-1", rt, led)
				w.tick()
				first := check()
				a.start()
				s := w.job(100, work.TierEconomic)
				x := w.dial(a)
				x.introduce(s)
				x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 100})
				x.flush(s)
				<-led.Ledger.(*cut).reached
				first.stop()
				led.Ledger = w.chain
				check()
				for _, b := range w.settled(s, 100) {
					if len(b.Checks) != 1 || !b.Checks[0].Revealed {
						t.Errorf("checks: %+v", b.Checks)
					}
				}
				if n := rt.runs.Load(); n > 3 {
					t.Errorf("%d runs of 3 drawn items", n)
				}
			})
		}
	}
}

// swap lets a restarted role speak to another ledger.
type swap struct{ ledger.Ledger }

func TestPaidCopiesAreTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.provider("prov-a", &toy{slots: 2}), w.provider("prov-b", &toy{slots: 2})
	w.checker("check-1", &toy{}, w.chain)()
	w.tick()
	a.start()
	b.start()
	s := w.job(130, work.TierEconomic, func(s *work.JobSpec) { s.MaxCopies = 1 })
	x, y := w.dial(a), w.dial(b)
	x.introduce(s)
	y.introduce(s)
	y.assign(s, "prov-b", 1, 100, work.Range{Lo: 0, Hi: 30}, work.Range{Lo: 90, Hi: 110}) // a straggler's copy, not yet flushed
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 100})
	x.flush(s)
	w.settled(s, 100)
	y.flush(s)
	w.settled(s, 110)
	w.eventually("the copies that nobody pays", func() error {
		if n, _ := y.failed(); n != 40 {
			return fmt.Errorf("%d given up", n)
		}
		return nil
	})
}

func TestChallengeIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.params.WindowBlocks = 2000
	w.chain = rebuild(w)
	a := w.provider("prov-a", &toy{slots: 2})
	w.checker("check-1", &toy{}, w.chain)()
	w.referee("val-1", &toy{})()
	w.tick()
	a.start()
	s := w.job(100, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 100})
	x.flush(s)
	var b *lifecycle.Batch
	w.eventually("the window", func() error {
		bs := w.batches(s)
		if len(bs) != 1 || bs[0].Phase != lifecycle.Window {
			return errors.New("not yet")
		}
		b = bs[0]
		return nil
	})
	wrong := b.Draws[0].Leaf
	wrong.Memory[0] ^= 1
	w.submit("client", ledger.Challenge{Batch: b.ID, Position: 42, Leaf: wrong})
	w.eventually("the challenger loses", func() error {
		b := w.batches(s)[0]
		if b.Phase == lifecycle.Void {
			t.Fatalf("the batch is void: %s", b.Why)
		}
		if b.Dispute == nil || b.Dispute.Items[0].Decided == nil || b.Dispute.Stake != 0 {
			return fmt.Errorf("phase %s", b.Phase)
		}
		return nil
	})
}

// TestOneBondAnswersForAllBatches gives a provider the bond of one batch: it may
// have several unsettled ones under it.
func TestOneBondAnswersForAllBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *lifecycle.Params) { p.WindowBlocks = 400 })
	a := w.provider("prov-a", &toy{slots: 2})
	q, err := w.chain.Party(t.Context(), lifecycle.RoleProvider, "prov-a")
	if err != nil {
		t.Fatal(err)
	}
	w.submit("prov-a", ledger.Unbond{Role: lifecycle.RoleProvider, Amount: q.Bond - 3*gtg/2})
	a.edit = func(c *Config) { c.MaxBatchItems = 20 }
	w.checker("check-1", &toy{}, w.chain)()
	w.tick()
	a.start()
	s := w.job(60, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 60})
	x.flush(s)
	w.eventually("three unsettled batches at a time", func() error {
		if q, err = w.chain.Party(t.Context(), lifecycle.RoleProvider, "prov-a"); err != nil || len(q.Open) < 3 {
			return fmt.Errorf("%+v, %v", q, err)
		}
		return nil
	})
	if bs := w.settled(s, 60); len(bs) < 3 {
		t.Errorf("%d batches of at most 20 items", len(bs))
	}
	if n, fs := x.failed(); n > 0 {
		t.Errorf("given up: %+v", fs)
	}
}
