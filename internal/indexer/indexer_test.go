package indexer_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func TestHostFailuresGoElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.timing.Patience = 10 * time.Second // until the other is known
	a, b := w.worker("a", 4), w.worker("b", 4)
	a.act = func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
		return nil, failure(r.Index, "disk full")
	}
	b.act = func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
		for end := time.Now().Add(10 * time.Second); len(a.assignments()) == 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // a gets its share first
		}
		return &r, nil
	}
	w.indexer(t.TempDir())
	a.run()
	b.run()
	id := w.post(w.spec(30, work.TierEconomic), wire.Chunk{Items: 1})
	w.reach(id, "all results", func(c wire.Counts) bool { return c.Provisional == 30 })
	if n := a.items().Len(); n == 0 || b.items().Len() != 30 {
		t.Errorf("a was given %d items, b %d of 30", n, b.items().Len())
	}
	seen := map[uint64]int{}
	for _, as := range a.assignments() {
		for _, r := range as.Ranges {
			for i := r.Lo; i < r.Hi; i++ {
				if seen[i]++; seen[i] > 1 {
					t.Errorf("item %d went to the host that had failed it again", i)
				}
			}
		}
	}
	w.fair()
}

func TestItemsThatFailEverywhereFailWithTheReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.worker("a", 2)
	var broken atomic.Bool
	broken.Store(true)
	a.act = func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
		if broken.Load() && r.Index == 3 {
			return nil, failure(r.Index, "out of memory on this host")
		}
		return &r, nil
	}
	w.indexer(t.TempDir())
	a.run()
	id := w.post(w.spec(5, work.TierEconomic), wire.Chunk{})
	w.reach(id, "item 3 fails", func(c wire.Counts) bool { return c.Failed == 1 && c.Provisional == 4 })
	u := w.must(&wire.Request{Op: wire.OpResults, Job: id, Items: work.RangeSet{{Lo: 3, Hi: 4}}}).Updates
	if len(u) != 1 || u[0].State != wire.ItemFailed || u[0].Why != "out of memory on this host" {
		t.Errorf("update %+v", u)
	}
	broken.Store(false)
	w.must(&wire.Request{Op: wire.OpRetry, Job: id})
	w.reach(id, "the retry works", func(c wire.Counts) bool { return c.Provisional == 5 })
	w.fair()
}

func TestRefusedProgramNeedsTwoWitnesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.timing.Patience = 10 * time.Second // until the other is known
	liar, honest := w.worker("a", 2), w.worker("b", 2)
	refuse := func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
		f := failure(r.Index, "imports threads")
		f.Refused = true
		return nil, f
	}
	liar.act = refuse
	w.indexer(t.TempDir())
	liar.run()
	honest.run()
	id := w.post(w.spec(10, work.TierEconomic), wire.Chunk{})
	w.reach(id, "the honest provider does it all", func(c wire.Counts) bool { return c.Provisional == 10 })

	other := w.worker("c", 2)
	other.act, honest.act = refuse, refuse
	other.run()
	id = w.post(w.spec(10, work.TierEconomic), wire.Chunk{})
	last, c := w.watched(id)
	if c.Failed != 10 || !strings.Contains(last[0].Why, "imports threads") && !strings.Contains(last[0].Why, "refused") {
		t.Errorf("counts %+v, item 0: %q", c, last[0].Why)
	}
}

func TestStragglersAreCopiedToAnotherOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a, b := w.worker("a", 2), w.worker("b", 2)
	var stuck atomic.Int64
	stuck.Store(-1)
	a.act = func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
		if stuck.CompareAndSwap(-1, int64(r.Index)) || stuck.Load() == int64(r.Index) {
			return nil, nil
		}
		return &r, nil
	}
	b.act = func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
		for end := time.Now().Add(10 * time.Second); stuck.Load() == -1 && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // a gets its share first
		}
		return &r, nil
	}
	w.indexer(t.TempDir())
	a.run()
	b.run()
	id := w.post(w.spec(40, work.TierEconomic), wire.Chunk{Items: 1})
	w.reach(id, "all results", func(c wire.Counts) bool { return c.Provisional == 40 })
	i := uint64(stuck.Load())
	found := false
	for _, as := range b.assignments() {
		if as.Ranges.Contains(i) {
			found = true
			if as.Attempt != 1 {
				t.Errorf("the copy of item %d has attempt %d, want 1", i, as.Attempt)
			}
		}
	}
	if !found {
		t.Errorf("item %d was not copied to b", i)
	}
	w.fair()
}

func TestLostProvidersItemsGoToOthersAndItsResultsStillCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a, b := w.worker("a", 4), w.worker("b", 4)
	a.act = func(*work.Assignment, work.Result) (*work.Result, *wire.Failure) { return nil, nil }
	w.indexer(t.TempDir())
	stop := a.run()
	id := w.post(w.spec(4, work.TierEconomic), wire.Chunk{Items: 1})
	w.eventually("a has them", func() error {
		if a.items().Len() < 4 {
			return fmt.Errorf("%v", a.items())
		}
		return nil
	})
	stop()
	b.run()
	w.reach(id, "b does them", func(c wire.Counts) bool { return c.Provisional == 4 })
	for _, as := range b.assignments() {
		if as.Attempt == 0 {
			t.Errorf("b got %v under the attempt of a", as.Ranges)
		}
	}
	w.fair()
}

func TestRestartGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.worker("a", 4)
	var hold atomic.Bool
	hold.Store(true)
	a.act = func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
		if hold.Load() && r.Index >= 6 {
			return nil, nil
		}
		return &r, nil
	}
	dir := t.TempDir()
	stop := w.indexer(dir)
	a.run()
	s := w.spec(20, work.TierEconomic)
	id := w.post(s, wire.Chunk{Items: 2})
	w.reach(id, "six results", func(c wire.Counts) bool { return c.Provisional == 6 && c.Assigned > 0 })
	time.Sleep(50 * time.Millisecond) // past the lazy sync: what providers rely on
	crashed := crashCopy(t, dir)
	stop()
	hold.Store(false)
	w.indexer(crashed)
	w.reach(id, "all results after the restart", func(c wire.Counts) bool { return c.Provisional == 20 })
	us := w.must(&wire.Request{Op: wire.OpResults, Job: id}).Updates
	for i, u := range us {
		if u.Index != uint64(i) || u.Result == nil || u.Result.Index != u.Index {
			t.Fatalf("update %d: %+v", i, u)
		}
	}
	w.fair()
}

// Providers that fail, stall and vanish, and an indexer that crashes: no item ever
// goes to two providers under one attempt, and all are done in the end.
func TestNoEquivocationUnderChaos(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	var calm atomic.Bool
	var workers []*worker
	var stops []func()
	for k, n := range []work.Address{"a", "b", "c"} {
		p := w.worker(n, 3)
		dice := rand.New(rand.NewPCG(9, uint64(k)))
		p.act = func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
			p.mu.Lock()
			defer p.mu.Unlock()
			switch n := dice.IntN(10); {
			case calm.Load() || n > 3:
				return &r, nil
			case n == 0:
				f := failure(r.Index, "told to stop")
				f.Unrun = true
				return nil, f
			default:
				return nil, nil
			}
		}
		workers, stops = append(workers, p), append(stops, p.run())
	}
	dir := t.TempDir()
	stop := w.indexer(dir)
	id := w.post(w.spec(300, work.TierEconomic), wire.Chunk{Items: 3})
	for range 8 {
		time.Sleep(time.Duration(20+rng.IntN(100)) * time.Millisecond)
		if k := rng.IntN(6); k < 3 {
			stops[k]()
			stops[k] = workers[k].run()
		} else {
			// Dead at once: what it writes after the copy nobody hears of.
			for _, p := range workers {
				w.hub.Cut(w.key.Public(), p.key.Public())
			}
			next := crashCopy(t, dir)
			stop()
			for _, p := range workers {
				w.hub.Heal(w.key.Public(), p.key.Public())
			}
			dir, stop = next, w.indexer(next)
		}
	}
	calm.Store(true)
	for k := range stops {
		stops[k]()
		stops[k] = workers[k].run()
	}
	w.reach(id, "all results", func(c wire.Counts) bool { return c.Provisional == 300 })
	w.fair()
}

func TestMalformedReceiptsCutTheProvider(t *testing.T) {
	t.Parallel()
	mangle := map[string]func(p *worker, r *wire.Receipt) []byte{
		"another input": func(p *worker, r *wire.Receipt) []byte {
			r.Results[0].Leaf.Input[0]++
			return wire.EncodeReceipt(r, p.key)
		},
		"another output": func(p *worker, r *wire.Receipt) []byte {
			r.Results[0].Output.Stdout = work.BlobOf([]byte("x"))
			return wire.EncodeReceipt(r, p.key)
		},
		"fuel over the limit": func(p *worker, r *wire.Receipt) []byte {
			r.Results[0].Leaf.Fuel = 1 << 60
			return wire.EncodeReceipt(r, p.key)
		},
		"no fuel": func(p *worker, r *wire.Receipt) []byte {
			r.Results[0].Leaf.Fuel = 0
			return wire.EncodeReceipt(r, p.key)
		},
		"no such item": func(p *worker, r *wire.Receipt) []byte {
			r.Results[0].Index = 1 << 40
			return wire.EncodeReceipt(r, p.key)
		},
		"an item twice": func(p *worker, r *wire.Receipt) []byte {
			r.Results = append(r.Results, r.Results[0])
			return wire.EncodeReceipt(r, p.key)
		},
		"another attempt":     func(p *worker, r *wire.Receipt) []byte { r.Attempt += 5; return wire.EncodeReceipt(r, p.key) },
		"another provider":    func(p *worker, r *wire.Receipt) []byte { r.Provider = "b"; return wire.EncodeReceipt(r, p.key) },
		"another's signature": func(p *worker, r *wire.Receipt) []byte { return wire.EncodeReceipt(r, newKey(p.w.t)) },
		"not a receipt": func(p *worker, r *wire.Receipt) []byte {
			return wire.EncodeHello(wire.Hello{Chain: chainID, Account: p.name})
		},
		"noise": func(p *worker, r *wire.Receipt) []byte { return []byte{6, 1, 2, 3} },
		"failures of items beyond the job": func(p *worker, r *wire.Receipt) []byte {
			r.Failures = append(r.Failures, *failure(1<<40, "x"))
			return wire.EncodeReceipt(r, p.key)
		},
	}
	for what, f := range mangle {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			bad, good := w.worker("a", 4), w.worker("b", 4)
			bad.raw = func(r *wire.Receipt) []byte { return f(bad, r) }
			w.indexer(t.TempDir())
			bad.run()
			id := w.post(w.spec(4, work.TierEconomic), wire.Chunk{Items: 1})
			w.eventually("a gets items", func() error {
				if len(bad.assignments()) == 0 {
					return fmt.Errorf("none yet")
				}
				return nil
			})
			good.run()
			w.reach(id, "b does them", func(c wire.Counts) bool { return c.Provisional == 4 })
			if n := good.items().Len(); n != 4 {
				t.Errorf("b did %d items of 4: something of a's nonsense counted", n)
			}
			bad.mu.Lock()
			defer bad.mu.Unlock()
			if bad.streams != 1 {
				t.Errorf("a was dialled %d times: it should be left alone", bad.streams)
			}
		})
	}
}

func TestAcceptChecksTheSpec(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.indexer(t.TempDir())
	good := w.spec(3, work.TierEconomic)
	for why, c := range map[string]func(s *work.JobSpec, r *wire.Request){
		"not":            func(_ *work.JobSpec, r *wire.Request) { r.Job[0]++ },
		"names indexer":  func(s *work.JobSpec, _ *wire.Request) { s.Indexer = newKey(t).Public() },
		"for chain":      func(s *work.JobSpec, _ *wire.Request) { s.Chain = "other" },
		"owns this":      func(s *work.JobSpec, _ *wire.Request) { s.IndexerOwner = "x" },
		"push it first":  func(s *work.JobSpec, _ *wire.Request) { s.Items = work.BlobOf([]byte("missing")) },
		"no price":       func(s *work.JobSpec, _ *wire.Request) { s.MaxPrice = 0 },
		"own for tier":   func(s *work.JobSpec, _ *wire.Request) { s.Tier = work.TierNone },
		"push it first ": func(s *work.JobSpec, _ *wire.Request) { s.ItemCount = 4 },
	} {
		s := good
		r := &wire.Request{Op: wire.OpAccept}
		c(&s, r)
		id := s.ID()
		for i := range r.Job {
			r.Job[i] += id[i]
		}
		r.Spec = s.Encode()
		if _, err := w.ask(r); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(why)) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if _, err := w.ask(&wire.Request{Op: wire.OpExplain, Job: good.ID()}); err == nil {
		t.Error("an unknown job was explained")
	}
}

func TestNothingIsHandedOutBeforeTheJobIsOnTheChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.worker("a", 2)
	w.indexer(t.TempDir())
	a.run()
	s := w.spec(3, work.TierEconomic)
	w.accept(s, wire.Chunk{})
	w.eventually("the indexer sees a", func() error {
		if st := w.must(&wire.Request{Op: wire.OpStatus}).Status; !st.Ready {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	notes := w.must(&wire.Request{Op: wire.OpExplain, Job: s.ID()}).Notes
	if len(notes) != 1 || !strings.Contains(notes[0].Text, "not on the chain yet") {
		t.Errorf("notes %+v", notes)
	}
	if len(a.assignments()) != 0 {
		t.Error("items were handed out before the job was on the chain")
	}
	w.submit("client", ledger.CreateJob{Spec: s})
	w.reach(s.ID(), "all results", func(c wire.Counts) bool { return c.Provisional == 3 })
}

func TestTierNoneUsesOwnProvidersOnlyAndVerifiesWhatIsDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.own = []work.Address{"b"}
	a, b := w.worker("a", 2), w.worker("b", 2)
	w.indexer(t.TempDir())
	a.run()
	b.run()
	s := w.spec(10, work.TierNone)
	s.MaxPrice, s.Escrow, s.CheckEscrow, s.DeadlineHeight = 0, 0, 0, 0
	id := w.post(s, wire.Chunk{})
	last, c := w.watched(id)
	if c.Verified != 10 || len(last) != 10 || last[7].Provider != "b" || last[7].Result == nil {
		t.Errorf("%+v, item 7: %+v", c, last[7])
	}
	if len(a.assignments()) > 0 {
		t.Error("a stranger got items of tier none")
	}
}

func TestExplainSaysWhyNothingFits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a, b := w.worker("a", 2), w.worker("b", 2)
	a.price, b.price = 500, 600
	w.indexer(t.TempDir())
	a.run()
	b.run()
	w.eventually("both offers are known", func() error {
		if n := len(w.must(&wire.Request{Op: wire.OpOffers}).Offers); n != 2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	id := w.post(w.spec(3, work.TierEconomic), wire.Chunk{})
	n := w.must(&wire.Request{Op: wire.OpExplain, Job: id}).Notes
	if len(n) != 1 || n[0].Text != "0 of 2 offers fit: 2 ask more than the job's price cap" {
		t.Errorf("notes %+v", n)
	}
}

func TestEscrowExhaustionWaitsAndIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.worker("a", 2)
	a.act = func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
		r.Leaf.Fuel = 1_000_000_000
		return &r, nil
	}
	w.indexer(t.TempDir())
	a.run()
	s := w.spec(1000, work.TierEconomic)
	s.Escrow = 600 // twelve items at 50
	id := w.post(s, wire.Chunk{Items: 1})
	w.eventually("the escrow is used up", func() error {
		n := w.must(&wire.Request{Op: wire.OpExplain, Job: id}).Notes
		if len(n) == 0 || !strings.Contains(n[0].Text, "escrow is exhausted") {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	if n := a.items().Len(); n > 24 {
		t.Errorf("%d items were handed out for an escrow of twelve", n)
	}
}

func TestLoadIsEven(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ws := []*worker{w.worker("a", 2), w.worker("b", 2), w.worker("c", 2)}
	w.indexer(t.TempDir())
	for _, p := range ws {
		p.run()
	}
	w.eventually("all are known", func() error {
		if st := w.must(&wire.Request{Op: wire.OpOffers}); len(st.Offers) != 3 {
			return fmt.Errorf("%d offers", len(st.Offers))
		}
		return nil
	})
	time.Sleep(100 * time.Millisecond)
	for range 30 { // one-item jobs: who has had little comes first
		id := w.post(w.spec(1, work.TierEconomic), wire.Chunk{})
		w.reach(id, "its result", func(c wire.Counts) bool { return c.Provisional == 1 })
	}
	for _, p := range ws {
		if n := len(p.assignments()); n < 8 || n > 12 {
			t.Errorf("%s got %d of 30 jobs", p.name, n)
		}
	}
}

func TestReleaseIsRefusedWhileSomethingIsOutstanding(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.worker("a", 2)
	w.indexer(t.TempDir())
	a.run()
	id := w.post(w.spec(3, work.TierEconomic), wire.Chunk{})
	w.reach(id, "all results", func(c wire.Counts) bool { return c.Provisional == 3 })
	if _, err := w.ask(&wire.Request{Op: wire.OpRelease, Job: id}); err == nil || !strings.Contains(err.Error(), "may still commit") {
		t.Errorf("release with uncommitted results: %v", err)
	}
	// A job of which nothing was handed out is released at once, and then never
	// handed out.
	s := w.spec(3, work.TierEconomic)
	s.MaxPrice = 20
	id = w.post(s, wire.Chunk{})
	sig := w.must(&wire.Request{Op: wire.OpRelease, Job: id}).Release
	if err := w.key.Public().Verify(lifecycle.ReleaseTag, lifecycle.ReleaseMessage(chainID, id), *sig); err != nil {
		t.Error(err)
	}
	w.submit("client", ledger.CancelJob{Job: id, Release: sig})
	if _, err := w.ask(&wire.Request{Op: wire.OpAccept, Job: id, Spec: s.Encode()}); err == nil {
		t.Error("a released job was accepted again")
	}
}

// A provider reports results and then gives them up, because it has no bond left to commit
// them under: others get the items.
func TestResultsThatAreGivenUpGoToOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a, b := w.worker("a", 2), w.worker("b", 2)
	a.act = func(_ *work.Assignment, r work.Result) (*work.Result, *wire.Failure) {
		return &r, failure(r.Index, "the batch needs a bond of 100gtg, this provider has 0ugtg")
	}
	w.timing.Patience = 10 * time.Second // until the other is known
	w.indexer(t.TempDir())
	a.run()
	id := w.post(w.spec(6, work.TierEconomic), wire.Chunk{})
	w.eventually("a has had all", func() error {
		if n := a.items().Len(); n < 6 {
			return fmt.Errorf("%d items", n)
		}
		return nil
	})
	b.run()
	w.eventually("the other has all", func() error {
		if n := b.items().Len(); n != 6 {
			return fmt.Errorf("%d of 6 items", n)
		}
		return nil
	})
	w.reach(id, "all results", func(c wire.Counts) bool { return c.Provisional == 6 })
}
