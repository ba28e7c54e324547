package match_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

var (
	notary  = sign.FromSeed([32]byte{1})
	gossip  = sign.FromSeed([32]byte{2}) // an attester that nobody names
	machine = sign.FromSeed([32]byte{3}) // the provider's peer key
)

func attest(k sign.PrivateKey, claim work.Claim, value string) work.Attestation {
	a := work.Attestation{Subject: machine.Public(), Claim: claim, Value: value, IssuedUnix: 100, ExpiresUnix: 900}
	a.Sign(k)
	return a
}

func TestPlacementFilters(t *testing.T) {
	t.Parallel()
	bavaria := attest(notary, work.ClaimJurisdiction, "DE-BY")
	fits := func() (match.Candidate, match.Request) {
		c := offer("a", func(o *work.Offer) {
			o.Peer, o.Region = machine.Public(), "DE"
			o.Hardware = work.Hardware{Cores: 8, MemoryBytes: 32 << 30, GPUs: []work.GPU{{Name: "NVIDIA GeForce RTX 4090"}}}
		})
		c.RTT = 50 * time.Millisecond
		c.Attested = []work.Attestation{bavaria, attest(notary, work.ClaimIsolation, "machine")}
		r := request()
		r.Place = work.Placement{Jurisdictions: []string{"DE", "FR"}, Attesters: []sign.PublicKey{notary.Public()}, Isolation: work.IsolationKernel,
			MaxRTTMillis: 50, MinCores: 8, MinMemoryBytes: 32 << 30, GPU: "rtx 4090"}
		return c, r
	}
	for name, c := range map[string]struct {
		why    match.Reason
		change func(c *match.Candidate, r *match.Request)
	}{
		"exactly at every limit":   {},
		"any GPU":                  {change: func(_ *match.Candidate, r *match.Request) { r.Place.GPU = "any" }},
		"nothing asked, nothing":   {change: func(c *match.Candidate, r *match.Request) { *c, r.Place = offer("a", nil), work.Placement{} }},
		"process isolation is had": {change: func(c *match.Candidate, r *match.Request) { r.Place.Isolation, c.Attested = 1, c.Attested[:1] }},
		"another country":          {match.ReasonElsewhere, func(_ *match.Candidate, r *match.Request) { r.Place.Jurisdictions = []string{"FR"} }},
		"another part":             {match.ReasonElsewhere, func(_ *match.Candidate, r *match.Request) { r.Place.Jurisdictions = []string{"DE-BE"} }},
		"a wider attestation": {match.ReasonElsewhere, func(c *match.Candidate, r *match.Request) {
			c.Attested[0], r.Place.Jurisdictions = attest(notary, work.ClaimJurisdiction, "DE"), []string{"DE-BY"}
		}},
		"its own word": {match.ReasonUnattested, func(c *match.Candidate, _ *match.Request) { c.Attested = nil }},
		"an unnamed word": {match.ReasonUnattested, func(c *match.Candidate, _ *match.Request) {
			c.Attested[0] = attest(gossip, work.ClaimJurisdiction, "DE")
		}},
		"an expired word":  {match.ReasonUnattested, func(_ *match.Candidate, r *match.Request) { r.NowUnix = 901 }},
		"of another key":   {match.ReasonUnattested, func(c *match.Candidate, _ *match.Request) { c.Attested[0].Subject = gossip.Public() }},
		"isolation unsaid": {match.ReasonIsolation, func(c *match.Candidate, _ *match.Request) { c.Attested = c.Attested[:1] }},
		"isolation too low": {match.ReasonIsolation, func(_ *match.Candidate, r *match.Request) {
			r.Place.Isolation = work.IsolationConfidential
		}},
		"cores":       {match.ReasonCores, func(_ *match.Candidate, r *match.Request) { r.Place.MinCores = 9 }},
		"memory":      {match.ReasonMachine, func(_ *match.Candidate, r *match.Request) { r.Place.MinMemoryBytes++ }},
		"GPU":         {match.ReasonGPU, func(_ *match.Candidate, r *match.Request) { r.Place.GPU = "H100" }},
		"no GPU":      {match.ReasonGPU, func(c *match.Candidate, r *match.Request) { c.Offer.Hardware.GPUs, r.Place.GPU = nil, "any" }},
		"unmeasured":  {match.ReasonUnmeasured, func(c *match.Candidate, _ *match.Request) { c.RTT = 0 }},
		"slow":        {match.ReasonSlow, func(c *match.Candidate, _ *match.Request) { c.RTT += time.Microsecond }},
		"slow is all": {change: func(c *match.Candidate, r *match.Request) { c.RTT, r.Place.MaxRTTMillis = time.Hour, 0 }},
	} {
		cand, r := fits()
		r.NowUnix = 500
		cand.Offer.ExpiresUnix = 1000
		if c.change != nil {
			c.change(&cand, &r)
		}
		ranked, excluded := match.Rank([]match.Candidate{cand}, r, match.DefaultWeights())
		if c.why == "" && len(ranked) != 1 || c.why != "" && excluded[c.why] != 1 {
			t.Errorf("%s: %d fit, excluded %v, want %q", name, len(ranked), excluded, c.why)
		}
		if c.why != "" && r.Say(c.why) == "" {
			t.Errorf("%s: nothing is said", name)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	r := request()
	r.Place = work.Placement{Jurisdictions: []string{"DE"}, MaxRTTMillis: 50}
	got := r.Explain(0, map[match.Reason]int{match.ReasonSlow: 5, match.ReasonElsewhere: 7})
	if want := "0 of 12 offers fit: 7 are not in DE, 5 are slower than 50 ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.Explain(3, nil); got != "3 of 3 offers fit" {
		t.Errorf("got %q", got)
	}
	if got := r.Explain(0, nil); got != "no offer is known: wait for providers, or start one" {
		t.Errorf("got %q", got)
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{"45.77.3.9": "45.77.0.0/16", "::ffff:45.77.3.9": "45.77.0.0/16", "2001:db8:5:6::7": "2001:db8::/32"} {
		if got := match.Prefix(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is in %q, want %q", addr, got, want)
		}
	}
	if got := match.Prefix(netip.Addr{}); got != "" {
		t.Errorf("an unseen address is in %q", got)
	}
}

func TestCap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n, want  uint64
		permille uint32
	}{{100, 100, 0}, {100, 100, 1000}, {100, 25, 250}, {3, 1, 250}, {1999, 500, 250}, {3, 2, 500}, {1 << 40, 1 << 38, 250}} {
		if got := match.Cap(c.n, c.permille); got != c.want {
			t.Errorf("%d permille of %d: %d, want %d", c.permille, c.n, got, c.want)
		}
	}
}

// No group gets more than its room, and what can be dealt is dealt.
func TestShareKeepsGroups(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		ts := make([]match.Taker, 1+rng.IntN(10))
		owner := make([]string, len(ts))
		had := map[string]uint64{}
		for i := range ts {
			owner[i] = fmt.Sprint(rng.IntN(4))
			ts[i] = match.Taker{Slots: 1 + rng.Uint32N(4), Room: rng.Uint64N(60)}
			had[owner[i]] = rng.Uint64N(50)
		}
		limit, items := rng.Uint64N(80), rng.Uint64N(300)
		groups := match.Spread(len(ts), limit, func(i int) string { return owner[i] }, func(k string) uint64 { return had[k] })
		before := slices.Clone(groups)
		sums, rooms := map[string]uint64{}, map[string]uint64{}
		grants := match.Share(ts, items, 1+rng.Uint64N(8), groups...)
		var dealt uint64
		for i, g := range grants {
			if g > ts[i].Room {
				t.Fatalf("taker %d got %d over its room %d", i, g, ts[i].Room)
			}
			sums[owner[i]] += g
			rooms[owner[i]] += ts[i].Room
			dealt += g
		}
		var can uint64
		for k, got := range sums {
			if got+min(had[k], limit) > limit && got > 0 {
				t.Fatalf("owner %s has %d and got %d over the limit %d", k, had[k], got, limit)
			}
			can += min(rooms[k], limit-min(had[k], limit))
		}
		if dealt != min(items, can) {
			t.Fatalf("%d dealt, want %d of %d items and %d room", dealt, min(items, can), items, can)
		}
		if !slices.EqualFunc(groups, before, func(a, b match.Group) bool { return a.Room == b.Room }) {
			t.Fatal("the caller's groups changed")
		}
	}
}

// Large owners get no more than small ones where their part is bounded, and the
// load within an owner stays even.
func TestSpreadOverOwnersIsEvenWithin(t *testing.T) {
	t.Parallel()
	ts := make([]match.Taker, 12) // owners 0…3 with 6, 3, 2 and 1 providers
	owner := []string{"0", "0", "0", "0", "0", "0", "1", "1", "1", "2", "2", "3"}
	for i := range ts {
		ts[i] = match.Taker{Slots: 2, Room: 10_000}
	}
	const items = 4000
	groups := match.Spread(len(ts), match.Cap(items, 300), func(i int) string { return owner[i] }, func(string) uint64 { return 0 })
	sums, loads := map[string]uint64{}, []float64{}
	for i, g := range match.Share(ts, items, 1, groups...) {
		sums[owner[i]] += g
		if owner[i] == "0" {
			loads = append(loads, float64(g))
		}
	}
	for o, n := range sums {
		if n > 1200 {
			t.Errorf("owner %s got %d of %d items, over 30 %%", o, n, items)
		}
	}
	if sums["0"]+sums["1"]+sums["2"]+sums["3"] != items {
		t.Errorf("dealt %v, want all %d items", sums, items)
	}
	if j := match.Jain(loads); j < 0.95 {
		t.Errorf("Jain index %.3f among the providers of one owner", j)
	}
}
