package match_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/work"
)

func offer(name string, change func(o *work.Offer)) match.Candidate {
	o := &work.Offer{Chain: "c", Provider: work.Address(name), Class: work.ClassCPU, Slots: 4,
		MemoryBytes: 1 << 30, Price: 100, ExpiresUnix: 1000}
	if change != nil {
		change(o)
	}
	return match.Candidate{Offer: o, Reputation: 0.5}
}

func request() match.Request {
	return match.Request{NowUnix: 500, Chain: "c", MaxPrice: 200, MemoryBytes: 1 << 20}
}

func TestHardFilters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why    match.Reason
		offer  func(o *work.Offer)
		ask    func(r *match.Request)
		barred bool
	}{
		{why: match.ReasonExpired, offer: func(o *work.Offer) { o.ExpiresUnix = 499 }},
		{why: match.ReasonExpired, offer: func(o *work.Offer) { o.Chain = "another" }},
		{why: match.ReasonOnly, ask: func(r *match.Request) { r.Only = []work.Address{"b"} }},
		{why: match.ReasonBarred, barred: true},
		{why: match.ReasonClass, ask: func(r *match.Request) { r.Class = "gpu" }},
		{why: match.ReasonMemory, ask: func(r *match.Request) { r.MemoryBytes = 2 << 30 }},
		{why: match.ReasonPrice, offer: func(o *work.Offer) { o.Price = 201 }},
		{why: match.ReasonSlots, offer: func(o *work.Offer) { o.Slots = 0 }},
	} {
		cand, r := offer("a", c.offer), request()
		cand.Barred = c.barred
		if c.ask != nil {
			c.ask(&r)
		}
		ranked, excluded := match.Rank([]match.Candidate{cand}, r, match.DefaultWeights())
		if len(ranked) != 0 || excluded[c.why] != 1 {
			t.Errorf("%s: ranked %v, excluded %v", c.why, ranked, excluded)
		}
	}
	edge := offer("a", func(o *work.Offer) { o.Price, o.MemoryBytes, o.ExpiresUnix = 200, 1<<20, 500 })
	if ranked, excluded := match.Rank([]match.Candidate{edge}, request(), match.DefaultWeights()); len(ranked) != 1 {
		t.Errorf("an offer exactly at every limit was excluded: %v", excluded)
	}
}

func TestBetterOffersRankHigher(t *testing.T) {
	t.Parallel()
	cheap := offer("cheap", func(o *work.Offer) { o.Price = 50 })
	near, far := offer("near", nil), offer("far", nil)
	near.RTT, far.RTT = time.Millisecond, 200*time.Millisecond
	known := offer("known", nil)
	known.Reputation = 0.9
	busy := offer("busy", nil)
	busy.Given = 10
	for _, c := range []struct{ better, worse match.Candidate }{
		{cheap, offer("plain", nil)}, {near, far}, {known, offer("plain", nil)}, {offer("plain", nil), busy}, {offer("a", nil), offer("b", nil)},
	} {
		ranked, _ := match.Rank([]match.Candidate{c.worse, c.better}, request(), match.DefaultWeights())
		if ranked[0].Offer.Provider != c.better.Offer.Provider {
			t.Errorf("%s ranks below %s", c.better.Offer.Provider, c.worse.Offer.Provider)
		}
	}
}

func TestRankDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var cs []match.Candidate
	for i := range 40 {
		c := offer(fmt.Sprint("p", i), func(o *work.Offer) { o.Price = work.Price(50 + 10*(i%4)) })
		c.Given = float64(i % 3)
		cs = append(cs, c)
	}
	names := func() (l []work.Address) {
		ranked, _ := match.Rank(cs, request(), match.DefaultWeights())
		for _, r := range ranked {
			l = append(l, r.Offer.Provider)
		}
		return l
	}
	want := names()
	for range 20 {
		rng.Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
		if !slices.Equal(names(), want) {
			t.Fatal("the ranking depends on the order of the candidates")
		}
	}
}

// Many small jobs over equal offers: the load per slot stays even.
func TestLoadIsEvenOverEqualOffers(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	for _, jobItems := range []uint64{1, 3, 64, 1000} {
		given := make([]float64, 12)
		for range 300 {
			var cs []match.Candidate
			for i := range given {
				c := offer(fmt.Sprintf("p%02d", i), nil)
				c.Given = given[i]
				cs = append(cs, c)
			}
			rng.Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
			ranked, _ := match.Rank(cs, request(), match.DefaultWeights())
			takers := make([]match.Taker, len(ranked))
			for i := range takers {
				takers[i] = match.Taker{Slots: 4, Room: 1 << 16}
			}
			for i, n := range match.Share(takers, jobItems, 1) {
				var k int
				fmt.Sscanf(string(ranked[i].Offer.Provider), "p%d", &k)
				given[k] += float64(n) / 4
			}
		}
		if j := match.Jain(given); j < 0.95 {
			t.Errorf("jobs of %d items: Jain index %.3f over equal offers, want ≥ 0.95", jobItems, j)
		}
	}
}

func TestShareKeepsItsBounds(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		ts := make([]match.Taker, 1+rng.IntN(8))
		var room uint64
		for i := range ts {
			ts[i] = match.Taker{Slots: rng.Uint32N(9), Outstanding: rng.Uint64N(50), Room: rng.Uint64N(100), Speed: float64(rng.IntN(3))}
			room += ts[i].Room
		}
		items, unit := rng.Uint64N(400), rng.Uint64N(10)
		var sum uint64
		for i, g := range match.Share(ts, items, unit) {
			if g > ts[i].Room {
				t.Fatalf("taker %d got %d over its room %d", i, g, ts[i].Room)
			}
			sum += g
		}
		if sum != min(items, room) {
			t.Fatalf("%d items dealt, want %d of %d items and %d room", sum, min(items, room), items, room)
		}
	}
}

func TestShareFillsTheEmptiestFirst(t *testing.T) {
	t.Parallel()
	got := match.Share([]match.Taker{{Slots: 2, Outstanding: 4, Room: 8}, {Slots: 2, Room: 8}, {Slots: 4, Room: 8}}, 6, 1)
	if !slices.Equal(got, []uint64{0, 2, 4}) {
		t.Errorf("dealt %v, want 0 to the busy one and by slots to the others", got)
	}
	got = match.Share([]match.Taker{{Slots: 2, Room: 80, Speed: 1}, {Slots: 2, Room: 80, Speed: 3}}, 40, 1)
	if !slices.Equal(got, []uint64{10, 30}) {
		t.Errorf("dealt %v, want by measured speed", got)
	}
}

func TestChunkSize(t *testing.T) {
	t.Parallel()
	auto := match.Chunking{Seconds: 60}
	for _, c := range []struct {
		why      string
		c        match.Chunking
		item     float64
		waiting  uint64
		slots    uint64
		wantSize uint64
	}{
		{"fixed", match.Chunking{Items: 7}, 100, 3, 2, 7},
		{"nothing known yet", auto, 0, 1000, 4, 1},
		{"wanted duration", auto, 2, 10000, 4, 30},
		{"an item longer than wanted", auto, 100, 10000, 4, 1},
		{"bounded by a receipt", auto, 1e-6, 1 << 30, 4, match.MaxAutoChunk},
		{"smaller at the tail", auto, 2, 40, 4, 3},
		{"one at the very end", auto, 2, 1, 4, 1},
		{"default duration", match.Chunking{}, 1, 10000, 1, 10},
	} {
		if got := c.c.Size(c.item, c.waiting, c.slots); got != c.wantSize {
			t.Errorf("%s: %d items, want %d", c.why, got, c.wantSize)
		}
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		slots uint32
		chunk uint64
		rate  float64
		want  uint64
	}{{2, 1, 0, 4}, {4, 10, 3, 80}, {2, 1, 5000, 5000}, {2, 1, 1e12, match.MaxWindow}, {0, 1, 0, 2}} {
		if got := match.Window(c.slots, c.chunk, c.rate); got != c.want {
			t.Errorf("%+v: window %d", c, got)
		}
	}
}

func TestStraggler(t *testing.T) {
	t.Parallel()
	p := match.Progress{Done: 75, Total: 100, P75ItemSeconds: 1, Floor: time.Second}
	early, unknown := p, p
	early.Done, unknown.P75ItemSeconds = 74, 0
	for _, c := range []struct {
		why   string
		p     match.Progress
		items uint64
		age   time.Duration
		want  bool
	}{
		{"over twice the p75", p, 1, 2100 * time.Millisecond, true},
		{"exactly twice", p, 1, 2 * time.Second, false},
		{"normalised by items", p, 3, 5 * time.Second, false},
		{"normalised by items, over", p, 3, 7 * time.Second, true},
		{"before 75 %", early, 1, time.Hour, false},
		{"no durations yet", unknown, 1, time.Hour, false},
		{"under the floor", match.Progress{Done: 75, Total: 100, P75ItemSeconds: 0.001, Floor: time.Second}, 1, 900 * time.Millisecond, false},
	} {
		if got := c.p.Straggler(c.items, c.age); got != c.want {
			t.Errorf("%s: %v", c.why, got)
		}
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tried, untried int
		waited         time.Duration
		want           match.Verdict
	}{
		{1, 3, 0, match.TryElsewhere}, {4, 1, time.Hour, match.TryElsewhere}, {5, 9, 0, match.GiveUp},
		{2, 0, time.Second, match.WaitForOther}, {2, 0, 10 * time.Second, match.GiveUp},
	} {
		if got := match.Retry(c.tried, c.untried, c.waited, 10*time.Second); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	s := []float64{4, 1, 3, 2}
	for q, want := range map[float64]float64{0: 1, 0.5: 2, 0.75: 3, 1: 4} {
		if got := match.Quantile(s, q); got != want {
			t.Errorf("q%.2f of %v = %v, want %v", q, s, got, want)
		}
	}
	if match.Quantile(nil, 0.5) != 0 || s[0] != 4 {
		t.Error("no samples give 0, and samples stay as they are")
	}
}

func TestReputation(t *testing.T) {
	t.Parallel()
	fresh, good, missed, convicted := match.Reputation(0, 0, 0), match.Reputation(100, 0, 0), match.Reputation(100, 10, 0), match.Reputation(100, 0, 1)
	if !(convicted < fresh && fresh < good && missed < good && convicted < missed) || good >= 1 {
		t.Errorf("fresh %.2f good %.2f missed %.2f convicted %.2f", fresh, good, missed, convicted)
	}
}
