package indexer_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

var notary = sign.FromSeed([32]byte{77})

// attested makes a worker's offers hold an attestation by an attester.
func (p *worker) attested(by sign.PrivateKey, region string) {
	a := work.Attestation{Subject: p.key.Public(), Claim: work.ClaimJurisdiction, Value: region, IssuedUnix: 1, ExpiresUnix: time.Now().Unix() + 3600}
	a.Sign(by)
	p.offer = func(o *work.Offer) { o.Region, o.Attestations = region, []work.Attestation{a} }
}

// known waits until the indexer has offers of n providers and streams to all.
func (w *world) known(n int) {
	w.t.Helper()
	w.eventually("all providers are connected", func() error {
		up := 0
		for _, s := range w.must(&wire.Request{Op: wire.OpOffers}).Seen {
			if s.Up {
				up++
			}
		}
		if up != n {
			return fmt.Errorf("%d of %d", up, n)
		}
		return nil
	})
}

// Only who a trusted attester places where the client wants it gets work.
func TestJurisdiction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a, b, c := w.worker("a", 2), w.worker("b", 2), w.worker("c", 2)
	a.attested(notary, "DE-BY")
	b.attested(notary, "FR")
	c.attested(newKey(t), "DE") // by somebody the client does not name
	w.indexer(t.TempDir())
	a.run()
	b.run()
	c.run()
	w.known(3)
	s := w.spec(40, work.TierEconomic)
	s.Place = work.Placement{Jurisdictions: []string{"DE"}, Attesters: []sign.PublicKey{notary.Public()}}
	id := w.post(s, wire.Chunk{})
	w.reach(id, "all results are in", func(c wire.Counts) bool { return c.Provisional == 40 })
	if a.items().Len() != 40 || len(b.assignments())+len(c.assignments()) > 0 {
		t.Errorf("a in DE-BY has %d items, b in FR %d, c in nobody's DE %d", a.items().Len(), b.items().Len(), c.items().Len())
	}

	s = w.spec(3, work.TierEconomic)
	s.Place = work.Placement{Jurisdictions: []string{"SG"}, Attesters: []sign.PublicKey{notary.Public()}}
	n := w.must(&wire.Request{Op: wire.OpExplain, Job: w.post(s, wire.Chunk{})}).Notes
	want := "0 of 3 offers fit: 2 are not in SG, 1 are not attested to be in SG by an attester that the job trusts"
	if len(n) != 1 || n[0].Text != want {
		t.Errorf("notes %+v, want %q", n, want)
	}
}

// The round trip is measured on the stream, and a job's bound on it is kept.
func TestMaxRTT(t *testing.T) {
	t.Parallel()
	const far = 400 * time.Millisecond
	w := newWorld(t, nil)
	w.timing.Lost = 10 * time.Second
	near, away := w.worker("a", 2), w.worker("b", 2)
	away.lag = far
	w.indexer(t.TempDir())
	near.run()
	away.run()
	w.known(2)
	for _, s := range w.must(&wire.Request{Op: wire.OpOffers}).Seen {
		if rtt := time.Duration(s.RTTMicros) * time.Microsecond; (s.Provider == "b") != (rtt >= far) {
			t.Errorf("the round trip to %s is measured as %s", s.Provider, rtt)
		}
	}
	s := w.spec(40, work.TierEconomic)
	s.Place.MaxRTTMillis = uint32(far.Milliseconds())
	id := w.post(s, wire.Chunk{})
	w.reach(id, "all results are in", func(c wire.Counts) bool { return c.Provisional == 40 })
	if len(away.assignments()) > 0 {
		t.Errorf("the far provider got %v", away.items())
	}
}

// Equal offers get equal work, whatever the jobs' sizes. The providers hold what
// they get: who would answer first on a busy machine is not what is tested.
func TestLoadIsEvenOverEqualOffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	names := []work.Address{"a", "b", "c", "d", "e", "f"}
	workers := make([]*worker, len(names))
	for i, n := range names {
		workers[i] = w.worker(n, 2)
		workers[i].act = func(*work.Assignment, work.Result) (*work.Result, *wire.Failure) { return nil, nil }
	}
	w.indexer(t.TempDir())
	for _, p := range workers {
		p.run()
	}
	w.known(len(workers))
	for range 12 {
		for _, n := range []uint64{1, 7, 20} {
			id := w.post(w.spec(n, work.TierEconomic), wire.Chunk{Items: 1})
			w.reach(id, "all items are handed out", func(c wire.Counts) bool { return c.Assigned == n })
		}
	}
	w.eventually("all are there", func() error {
		var n uint64
		for _, p := range workers {
			for _, a := range p.assignments() {
				n += a.Ranges.Len()
			}
		}
		if n != 12*28 {
			return fmt.Errorf("%d items", n)
		}
		return nil
	})
	loads := make([]float64, len(workers))
	for i, p := range workers {
		for _, a := range p.assignments() {
			loads[i] += float64(a.Ranges.Len())
		}
	}
	if j := match.Jain(loads); j < 0.95 {
		t.Errorf("Jain index %.3f of loads %v over equal offers, want ≥ 0.95", j, loads)
	}
	w.fair()
}

// No owner and no network holds more than its part of a job, and a job that this
// stops says so until a provider of another comes.
func TestSpreadOverOwnersAndNetworks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a, b, c, d := w.worker("a", 4), w.worker("b", 4), w.worker("c", 4), w.worker("d", 4)
	one := func(o *work.Offer) { o.Owner = "one" }
	a.offer, b.offer = one, one
	for p, at := range map[*worker]string{a: "45.77.1.1", b: "45.77.2.2", c: "45.77.3.3", d: "98.1.1.1"} {
		w.hub.Place(p.key.Public(), netip.MustParseAddr(at))
	}
	w.indexer(t.TempDir())
	a.run()
	b.run()
	c.run()
	w.known(3)

	owners := w.spec(100, work.TierEconomic)
	owners.Place.MaxPerOwner = 400
	id := w.post(owners, wire.Chunk{Items: 1})
	w.reach(id, "what may be done is done", func(c wire.Counts) bool { return c.Provisional == 80 })
	if one, two := a.items().Len()+b.items().Len(), c.items().Len(); one != 40 || two != 40 {
		t.Errorf("one owner has %d items, the other %d: each may have 40", one, two)
	}
	w.eventually("it is explained", func() error {
		for _, n := range w.must(&wire.Request{Op: wire.OpExplain, Job: id}).Notes {
			if n.State == wire.ItemWaiting && n.Text == "the owners or networks of all 3 providers that fit have as large a part of the job as it allows (--max-per-owner, --max-per-prefix): providers of others are waited for" {
				return nil
			}
		}
		return fmt.Errorf("%+v", w.must(&wire.Request{Op: wire.OpExplain, Job: id}).Notes)
	})

	networks := w.spec(100, work.TierEconomic)
	networks.Nonce = 1 << 40
	networks.Place.MaxPerPrefix = 500
	id2 := w.post(networks, wire.Chunk{Items: 1})
	w.reach(id2, "one network has its part", func(c wire.Counts) bool { return c.Provisional == 50 })

	d.run()
	w.reach(id, "another owner does the rest", func(c wire.Counts) bool { return c.Provisional == 100 })
	w.reach(id2, "another network does the rest", func(c wire.Counts) bool { return c.Provisional == 100 })
}
