package indexer

import (
	"log/slog"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

var discard = slog.New(slog.DiscardHandler)

func set(lo, hi uint64) work.RangeSet { return work.RangeSet{{Lo: lo, Hi: hi}} }

// given is a job of ten items: a has 0-4, b has 5-9, all results in, a's
// committed as batch 1.
func given(t *testing.T) *jobState {
	t.Helper()
	j := newJobState(10)
	for _, e := range []event{
		{Kind: evAssign, Provider: "a", Items: set(0, 5), Chunk: 1}, {Kind: evAssign, Provider: "b", Items: set(5, 10), Chunk: 1},
		{Kind: evResults, Provider: "a", Items: set(0, 5)}, {Kind: evResults, Provider: "b", Items: set(5, 10)},
		{Kind: evCommit, Provider: "a", Items: set(0, 5), Batch: work.BatchID{1}},
	} {
		j.apply(&e)
	}
	want(t, j, wire.Counts{Items: 10, Provisional: 10})
	return j
}

func want(t *testing.T, j *jobState, c wire.Counts) {
	t.Helper()
	if got := j.counts(); got != c {
		t.Errorf("counts %+v, want %+v", got, c)
	}
}

func TestVoidBatchReturnsToTheQueueUnderTheNextAttempt(t *testing.T) {
	t.Parallel()
	j := given(t)
	j.apply(&event{Kind: evVoid, Provider: "a", Items: set(0, 5), Batch: work.BatchID{1}})
	j.apply(&event{Kind: evBar, Provider: "a"})
	want(t, j, wire.Counts{Items: 10, Waiting: 5, Provisional: 5, Void: 1})
	if n := j.takable(j.byAddr["b"]); n != 5 {
		t.Errorf("b may take %d", n)
	}
	turns := j.byAttempt(j.take(j.byAddr["b"], 9))
	if len(turns) != 1 || turns[0].attempt != 1 || turns[0].items.Len() != 5 {
		t.Fatalf("turns %+v", turns)
	}
	j.apply(&event{Kind: evAssign, Provider: "b", Attempt: 1, Items: set(0, 5)})
	j.apply(&event{Kind: evResults, Provider: "b", Items: set(0, 5)})
	j.apply(&event{Kind: evCommit, Provider: "b", Items: set(0, 10), Batch: work.BatchID{2}})
	j.apply(&event{Kind: evSettle, Provider: "b", Items: set(0, 10), Batch: work.BatchID{2}})
	want(t, j, wire.Counts{Items: 10, Verified: 10, Recomputed: 5, Settled: 1, Void: 1})
}

func TestUndeliveredBatchReturnsToTheQueue(t *testing.T) {
	t.Parallel()
	j := given(t)
	j.apply(&event{Kind: evUndelivered, Provider: "a", Items: set(0, 5), Batch: work.BatchID{1}})
	want(t, j, wire.Counts{Items: 10, Waiting: 5, Provisional: 5, Settled: 1})
}

func TestFirstSettledCopyIsTheResult(t *testing.T) {
	t.Parallel()
	j := given(t)
	j.apply(&event{Kind: evAssign, Provider: "b", Attempt: 1, Items: set(4, 5)})
	j.apply(&event{Kind: evResults, Provider: "b", Items: set(4, 5)})
	j.apply(&event{Kind: evCommit, Provider: "b", Items: set(4, 10), Batch: work.BatchID{2}})
	j.apply(&event{Kind: evSettle, Provider: "b", Items: set(4, 10), Batch: work.BatchID{2}})
	want(t, j, wire.Counts{Items: 10, Provisional: 4, Verified: 6, Settled: 1})
	j.apply(&event{Kind: evVoid, Provider: "a", Items: set(0, 5), Batch: work.BatchID{1}})
	want(t, j, wire.Counts{Items: 10, Waiting: 4, Verified: 6, Settled: 1, Void: 1})
	for _, s := range j.describe(set(4, 5)) {
		if s.state != wire.ItemVerified || s.prov.addr != "b" || s.batch != (work.BatchID{2}) {
			t.Errorf("item 4: %+v", s)
		}
	}
}

func TestYieldedResultsComeBackWithTheirProvider(t *testing.T) {
	t.Parallel()
	j := given(t)
	j.apply(&event{Kind: evYield, Provider: "b", Items: set(5, 10)})
	want(t, j, wire.Counts{Items: 10, Waiting: 5, Provisional: 5})
	if n := j.takable(j.byAddr["b"]); n != 0 {
		t.Errorf("b may take %d of its own again", n)
	}
	j.apply(&event{Kind: evResults, Provider: "b", Items: set(5, 10)})
	want(t, j, wire.Counts{Items: 10, Provisional: 10})
}

// Random histories: the states of items stay disjoint, and replaying the encoded
// log gives the same state.
func TestReplayGivesTheSameState(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 3))
		j, replayed := newJobState(50), newJobState(50)
		for range 200 {
			e := randomEvent(rng, j)
			if e == nil {
				continue
			}
			d, err := decodeEvent(e.encode())
			if err != nil || !reflect.DeepEqual(d, e) {
				t.Fatalf("%+v became %+v: %v", e, d, err)
			}
			j.apply(e)
			replayed.apply(d)
			c := j.counts()
			if c.Waiting+c.Provisional+c.Verified+c.Failed > 50 {
				t.Fatalf("seed %d: after %+v: %+v", seed, e, c)
			}
			for _, s := range []*spans{&j.waiting, &j.failed, &j.provisional} {
				if len(j.verified.within(s.view())) > 0 || s != &j.waiting && len(s.within(j.waiting.view())) > 0 {
					t.Fatalf("seed %d: after %+v an item is in two states", seed, e)
				}
			}
			for k := 1; k < len(j.used); k++ {
				if len(j.used[k-1].without(j.used[k].view())) > 0 {
					t.Fatalf("seed %d: attempt %d was skipped", seed, k-1)
				}
			}
		}
		if !reflect.DeepEqual(j, replayed) {
			t.Fatalf("seed %d: replay differs", seed)
		}
	}
}

// randomEvent is something that may happen to j.
func randomEvent(rng *rand.Rand, j *jobState) *event {
	name := []work.Address{"a", "b", "c"}[rng.IntN(3)]
	p := j.byAddr[name]
	if p == nil || rng.IntN(3) == 0 {
		if p != nil && p.barred {
			return nil
		}
		ts := j.byAttempt(j.take(p, rng.Uint64N(20)))
		if len(ts) == 0 {
			return nil
		}
		return &event{Kind: evAssign, Provider: name, Attempt: ts[0].attempt, Items: ts[0].items, Chunk: 1, Expires: 9}
	}
	some := func(s *spans) work.RangeSet { r, _ := s.set().Take(1 + rng.Uint64N(10)); return r }
	e := &event{Provider: name}
	switch rng.IntN(9) {
	case 0, 1, 2:
		e.Kind, e.Items = evResults, some(&p.out)
	case 3:
		e.Kind, e.Items, e.Why = evHostFail, some(&p.out), "x"
	case 4:
		e.Kind, e.Items = evYield, some(&p.out).Union(some(&p.have))
	case 5:
		e.Kind, e.Items, e.Batch = evCommit, p.committed.without(some(&p.have)), work.BatchID{byte(j.seq), byte(j.seq >> 8), 1}
	case 6, 7:
		for id, b := range j.open {
			if e.Kind == 0 || string(id[:]) < string(e.Batch[:]) { // not by map order
				e.Kind = []eventKind{evSettle, evVoid, evUndelivered}[j.seq%3]
				e.Provider, e.Items, e.Batch = b.prov.addr, b.items, id
			}
		}
	case 8:
		e.Kind, e.Items, e.Why = evFail, some(&j.waiting), "y"
		if rng.IntN(2) == 0 {
			e.Kind, e.Items, e.Why = evRetry, some(&j.failed), ""
		}
	}
	if len(e.Items) == 0 {
		return nil
	}
	return e
}

// A million items at rest, waiting, under way or finished, cost intervals.
func TestMillionItemsTakeLittleMemory(t *testing.T) {
	const n = 1_000_000
	before := heap()
	j := newJobState(n)
	if grown := heap() - before; grown > 64<<10 { // the test binary's own noise is a few KiB
		t.Errorf("a posted job takes %d bytes", grown)
	}
	provs := []work.Address{"a", "b", "c", "d"}
	rng := rand.New(rand.NewPCG(1, 1))
	for lo := uint64(0); lo < n; lo += 64 {
		p := provs[rng.IntN(4)]
		items := set(lo, min(lo+64, n))
		j.apply(&event{Kind: evAssign, Provider: p, Items: items, Chunk: 1})
		j.apply(&event{Kind: evResults, Provider: p, Items: items})
	}
	if per := float64(heap()-before) / n; per > 64 {
		t.Errorf("all results in: %.1f bytes an item", per)
	}
	for k, p := range j.provs {
		for at, items := 0, p.have.set(); len(items) > 0; at++ {
			var part work.RangeSet
			part, items = items.Take(1024)
			j.apply(&event{Kind: evCommit, Provider: p.addr, Items: part, Batch: work.BatchID{byte(k), byte(at), byte(at >> 8), 1}})
			j.apply(&event{Kind: evSettle, Provider: p.addr, Items: part, Batch: work.BatchID{byte(k), byte(at), byte(at >> 8), 1}})
		}
	}
	want(t, j, wire.Counts{Items: n, Verified: n, Settled: uint32(len(j.final))})
	if per := float64(heap()-before) / n; per > 64 {
		t.Errorf("finished: %.1f bytes an item", per)
	}
	runtime.KeepAlive(j)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A provider says of items that it committed that it will not run them, because its job is
// closed there; their batch is paid all the same, and their results are still taken.
func TestResultsOfACommittedBatchAreWelcome(t *testing.T) {
	t.Parallel()
	j := newJobState(10)
	for _, e := range []event{
		{Kind: evAssign, Provider: "a", Items: set(0, 10), Chunk: 1},
		{Kind: evResults, Provider: "a", Items: set(0, 4)},
		{Kind: evCommit, Provider: "a", Items: set(0, 8), Batch: work.BatchID{1}},
		{Kind: evExpire, Provider: "a", Items: set(4, 10)},
	} {
		j.apply(&e)
	}
	a := j.byAddr["a"]
	if got := a.welcome(set(0, 10)); !reflect.DeepEqual(got, set(4, 8)) {
		t.Errorf("welcome: %s, want 4 to 7", got)
	}
	j.apply(&event{Kind: evResults, Provider: "a", Items: set(4, 8)})
	if got := a.welcome(set(0, 10)); len(got) != 0 {
		t.Errorf("all are here, and welcome are %s", got)
	}
	j.apply(&event{Kind: evVoid, Provider: "a", Items: set(0, 8), Batch: work.BatchID{1}})
	if got := a.welcome(set(0, 10)); len(got) != 0 {
		t.Errorf("the batch is void, and welcome are %s", got)
	}
}
