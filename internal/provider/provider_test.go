package provider_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gotong-network/gotong/internal/adversary"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func TestHonestBatchIsPaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.provider("prov-a", &toy{slots: 2})
	c1, c2 := w.checker("check-1", &toy{}, w.chain), w.checker("check-2", &toy{}, w.chain)
	w.tick()
	c1()
	c2()
	a.start()
	s := w.job(150, work.TierEconomic)
	before, _ := w.chain.Balance(t.Context(), "prov-a")
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 150})
	x.flush(s)
	w.eventually("all receipts", func() error {
		if n := x.have(s.ID()); n != 150 {
			return fmt.Errorf("%d results", n)
		}
		return nil
	})
	bs := w.settled(s, 150)
	var pay work.Amount
	for _, b := range bs {
		pay += b.Pay
	}
	after, _ := w.chain.Balance(t.Context(), "prov-a")
	if after-before < pay*92/100 || pay < 150*100 {
		t.Errorf("provider earned %d of %d ugtg", after-before, pay)
	}
	if n, fs := x.failed(); n > 0 {
		t.Errorf("failures: %v", fs)
	}
	res := x.results[s.ID()][17]
	if !x.inline[res.Output.Files[0].Blob] {
		t.Error("a small output did not travel with its receipt")
	}
}

func TestCheatIsConvicted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.provider("prov-a", adversary.CorruptRuntime(&toy{slots: 2}))
	referee := &toy{}
	c1, r1 := w.checker("check-1", &toy{}, w.chain), w.referee("val-1", referee)
	w.tick()
	c1()
	r1()
	a.start()
	s := w.job(120, work.TierEconomic)
	before, _ := w.chain.Balance(t.Context(), "check-1")
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 120})
	x.flush(s)
	w.eventually("a void batch", func() error {
		bs := w.batches(s)
		if len(bs) == 0 || bs[0].Phase != lifecycle.Void {
			return fmt.Errorf("batches: %v", bs)
		}
		return nil
	})
	q, err := w.chain.Party(t.Context(), lifecycle.RoleProvider, "prov-a")
	if err != nil || q.Convictions == 0 || q.Bond >= 100*gtg {
		t.Errorf("the cheat kept its bond: %+v, %v", q, err)
	}
	if after, _ := w.chain.Balance(t.Context(), "check-1"); after <= before {
		t.Error("the finder got no bounty")
	}
	b := w.batches(s)[0]
	if got, most := referee.runs.Load(), int64(len(b.Dispute.Items)); got > most {
		t.Errorf("the referee ran %d items of %d", got, most)
	}
}

// flaky cuts a provider off the chain at its k-th message: the process dies right
// before or right after the chain took it.
func TestRestartAtEachStep(t *testing.T) {
	t.Parallel()
	for step := 1; step <= 3; step++ { // commit, open, reveal
		for _, taken := range []bool{false, true} {
			t.Run(fmt.Sprintf("step %d taken %v", step, taken), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				rt := &toy{slots: 2}
				a := w.provider("prov-a", rt)
				led := newCut(w.chain, step, taken)
				a.led = led
				c1 := w.checker("check-1", &toy{}, w.chain)
				w.tick()
				c1()
				first := a.start()
				s := w.job(90, work.TierEconomic)
				x := w.dial(a)
				x.introduce(s)
				x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 90})
				x.flush(s)
				<-led.reached
				first.stop()
				x.close()
				a.led = w.chain
				a.start()
				bs := w.settled(s, 90)
				if len(bs) != 1 || bs[0].N != 90 {
					t.Errorf("%d batches; want the one that was on disk", len(bs))
				}
				if n := rt.runs.Load(); n != 90 {
					t.Errorf("%d runs of 90 items", n)
				}
			})
		}
	}
}

func TestRestartWithWorkLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick()
	rt := &toy{slots: 2, delay: 5e6}
	a := w.provider("prov-a", rt)
	w.checker("check-1", &toy{}, w.chain)()
	first := a.start()
	s := w.job(200, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 200})
	w.eventually("some results", func() error {
		if x.have(s.ID()) < 20 {
			return errors.New("too few")
		}
		return nil
	})
	first.stop()
	x.close()
	rt.delay = 0
	a.start()
	y := w.dial(a)
	y.introduce(s)
	y.flush(s)
	w.eventually("all receipts, those before the stop again", func() error {
		if n := y.have(s.ID()); n != 200 {
			return fmt.Errorf("%d results", n)
		}
		return nil
	})
	w.settled(s, 200)
}

func TestReceiptsAreSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick()
	a := w.provider("prov-a", &toy{slots: 1})
	a.start()
	s := w.job(50, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 3, 100, work.Range{Lo: 10, Hi: 40})
	got := func(x *indexer) func() error {
		return func() error {
			if n := x.have(s.ID()); n != 30 {
				return fmt.Errorf("%d results", n)
			}
			return nil
		}
	}
	w.eventually("receipts", got(x))
	w.hub.Cut(w.key.Public(), a.key.Public())
	x.close()
	w.hub.Heal(w.key.Public(), a.key.Public())
	y := w.dial(a)
	w.eventually("receipts again", got(y))
	// The same assignment again is no new work.
	y.introduce(s)
	y.assign(s, "prov-a", 3, 100, work.Range{Lo: 10, Hi: 40})
	y.assign(s, "prov-a", 3, 100, work.Range{Lo: 40, Hi: 41})
	w.eventually("the new item only", func() error {
		if n := y.have(s.ID()); n != 31 {
			return fmt.Errorf("%d results", n)
		}
		return nil
	})
	if y.repeats > 0 {
		t.Errorf("%d results came twice on one stream", y.repeats)
	}
}

func TestSilentCheckerIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.params.CheckBlocks = 60
	w.chain = rebuild(w)
	a := w.provider("prov-a", &toy{slots: 2})
	w.checker("check-1", &toy{}, w.chain) // never starts
	c2 := w.checker("check-2", &toy{}, w.chain)
	w.checker("check-3", &toy{}, w.chain)
	w.referee("val-1", &toy{})()
	w.tick()
	c2()
	a.start()
	s := w.job(100, work.TierFull)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 100})
	x.flush(s)
	missed := false
	for _, b := range w.settled(s, 100) {
		for _, c := range b.Checks {
			missed = missed || c.Missed
		}
	}
	if !missed {
		t.Error("no check was missed")
	}
}

func TestPartsOfSeveralAssignments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.provider("prov-a", &toy{slots: 2})
	w.checker("check-1", &toy{}, w.chain)()
	w.tick()
	a.start()
	s := w.job(100, work.TierAssured)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 10}, work.Range{Lo: 20, Hi: 30})
	x.assign(s, "prov-a", 2, 100, work.Range{Lo: 10, Hi: 20}, work.Range{Lo: 95, Hi: 100})
	x.assign(s, "prov-a", 1, 300, work.Range{Lo: 50, Hi: 60}) // another price: another batch
	x.flush(s)
	w.referee("val-1", &toy{})() // one checker is too few for tier assured
	prices := map[work.Price]uint64{}
	for _, b := range w.settled(s, 45) {
		prices[b.Price] += b.N
	}
	if prices[100] != 35 || prices[300] != 10 {
		t.Errorf("items by price: %v", prices)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.provider("prov-a", &toy{slots: 2})
	w.checker("check-1", &toy{}, w.chain)()
	w.tick()
	a.start()
	s := w.job(100, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 7})
	w.eventually("receipts", func() error {
		if n := x.have(s.ID()); n != 7 {
			return fmt.Errorf("%d results", n)
		}
		return nil
	})
	h := w.chain.Height()
	w.eventually("some blocks", func() error {
		if w.chain.Height() < h+100 {
			return errors.New("too few")
		}
		return nil
	})
	if bs := w.batches(s); len(bs) > 0 {
		t.Fatal("seven items were committed in the middle of a job")
	}
	x.flush(s)
	w.settled(s, 7)
}

func TestHostFaultsAreNeverCommitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.provider("prov-a", &toy{slots: 2, fail: func(arg string) error {
		if arg == "5" { // item 4
			return &runtime.HostFault{Err: errors.New("worker killed")}
		}
		return nil
	}})
	w.checker("check-1", &toy{}, w.chain)()
	w.tick()
	a.start()
	s := w.job(10, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 10})
	x.flush(s)
	for _, b := range w.settled(s, 9) {
		if b.Items.Contains(4) {
			t.Error("an item without a result was committed")
		}
	}
	n, fs := x.failed()
	if n != 1 || fs[0].Refused || !fs[0].Items.Contains(4) {
		t.Errorf("failures: %+v", fs)
	}
}

func TestRefusedProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick()
	a := w.provider("prov-a", &toy{slots: 2, fail: func(string) error { return &runtime.Refused{Reason: "threads"} }})
	a.start()
	s := w.job(1000, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 1000})
	w.eventually("all items refused", func() error {
		n, fs := x.failed()
		for _, f := range fs {
			if !f.Refused {
				t.Fatalf("not final: %+v", f)
			}
		}
		if n != 1000 {
			return fmt.Errorf("%d failures", n)
		}
		return nil
	})
}

func TestBadAssignments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick()
	rt := &toy{slots: 1}
	a := w.provider("prov-a", rt)
	a.start()
	s := w.job(100, work.TierEconomic)
	x := w.dial(a)
	unposted := s
	unposted.Nonce = 99
	x.assign(unposted, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 1}) // not introduced
	x.introduce(s)
	x.assign(s, "prov-b", 0, 100, work.Range{Lo: 0, Hi: 1})       // for another
	x.assign(s, "prov-a", 0, 1, work.Range{Lo: 0, Hi: 1})         // too cheap
	x.assign(s, "prov-a", 0, 9999, work.Range{Lo: 0, Hi: 1})      // over the cap
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 99, Hi: 101})    // beyond the job
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 1 << 40}) // endless
	w.eventually("failures", func() error {
		if _, fs := x.failed(); len(fs) != 6 {
			return fmt.Errorf("%d failures", len(fs))
		}
		return nil
	})
	if rt.runs.Load() > 0 {
		t.Error("something ran")
	}
}

func TestTierNoneForOwnersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick()
	a := w.provider("prov-a", &toy{slots: 1})
	b := w.provider("prov-b", &toy{slots: 1})
	a.edit = func(c *Config) { c.Own = func(client work.Address) bool { return client == "client" } }
	a.start()
	b.start()
	s := w.job(20, work.TierNone)
	x, y := w.dial(a), w.dial(b)
	x.introduce(s)
	y.introduce(s)
	x.assign(s, "prov-a", 0, 0, work.Range{Lo: 0, Hi: 20})
	y.assign(s, "prov-b", 0, 0, work.Range{Lo: 0, Hi: 20})
	x.flush(s)
	w.eventually("results of the own provider", func() error {
		n, _ := y.failed()
		if x.have(s.ID()) != 20 || n != 20 {
			return fmt.Errorf("%d results, %d failures", x.have(s.ID()), n)
		}
		return nil
	})
}

// TestAnAssignmentOfAClosedJob sends a provider that was restarted the assignment of a job
// that is paid and closed meanwhile, as an indexer does that was killed before it had all
// results: it gets them, and no word that they will not be run.
func TestAnAssignmentOfAClosedJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.provider("prov-a", &toy{slots: 2})
	w.checker("check-1", &toy{}, w.chain)()
	w.tick()
	first := a.start()
	s := w.job(20, work.TierEconomic)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 10})
	x.flush(s)
	w.settled(s, 10)
	first.stop()
	release := w.key.Sign(lifecycle.ReleaseTag, lifecycle.ReleaseMessage(chainID, s.ID()))
	w.submit("client", ledger.CancelJob{Job: s.ID(), Release: &release})
	a.start()
	for _, found := range []bool{false, true} { // before and after it has asked the chain about the job
		y := w.dial(a)
		y.introduce(s)
		y.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 12})
		w.eventually("what it holds, and what it will not run", func() error {
			n, _ := y.failed()
			if have := y.have(s.ID()); have < 10 || n < 2 {
				return fmt.Errorf("%d results, %d items not run", have, n)
			}
			return nil
		})
		_, l := y.failed()
		for _, f := range l {
			if f.Items[0].Lo < 10 {
				t.Errorf("it has a result of each of the first ten, and says of %s (closed: %v): %s", f.Items, found, f.Why)
			}
		}
		y.close()
	}
}
