package provider_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// commonsWorld is a world with short epochs, one approved job of n items and
// checkers.
func commonsWorld(t *testing.T, n uint64) (*world, work.JobSpec) {
	t.Helper()
	w := newWorld(t)
	w.params.CommonsEpochBlocks, w.params.CommonsChunkItems = 300, 8
	w.chain = rebuild(w)
	w.register(lifecycle.RoleIndexer, "owner", w.key, 50*gtg)
	for _, c := range []work.Address{"check-1", "check-2"} {
		start := w.checker(c, &toy{}, w.chain)
		defer start()
	}
	s := w.job(n, work.TierNone) // not posted: only its blobs and spec are wanted
	s.Tier, s.Escrow, s.CheckEscrow, s.MaxCopies = work.TierEconomic, 0, 0, 1
	w.submit("client", ledger.Propose{Title: "a table", Message: ledger.ApproveCommons{Spec: s}, Deposit: gtg})
	w.submit("val-1", ledger.VoteProposal{Proposal: 1, Yes: true})
	return w, s
}

func (w *world) volunteer(name work.Address, rt runtime.Runtime) *prov {
	p := w.provider(name, rt)
	p.edit = func(c *provider.Config) {
		c.Holders = func(context.Context, *lifecycle.Job) []p2p.Peer { return []p2p.Peer{w.net.Self()} }
	}
	return p
}

// TestIdleProvidersWorkOnTheCommons wants every item of an approved job computed by
// providers that nobody asked, in batches that the beacon drew, each item paid once
// and paid into bonds.
func TestIdleProvidersWorkOnTheCommons(t *testing.T) {
	t.Parallel()
	w, s := commonsWorld(t, 40)
	a, b := w.volunteer("prov-a", &toy{slots: 2}), w.volunteer("prov-b", &toy{})
	w.tick()
	a.start()
	b.start()
	x, y := w.dial(a), w.dial(b)
	var items work.RangeSet
	var pay work.Amount
	for _, b := range w.settled(s, 40) {
		if b.Phase != lifecycle.Settled {
			continue
		}
		if b.Price != w.params.CommonsPrice || b.N > w.params.CommonsChunkItems || len(items.Intersect(b.Items)) > 0 {
			t.Errorf("batch of %s: items %v at %d", b.Provider, b.Items, b.Price)
		}
		items, pay = items.Union(b.Items), pay+b.Pay
	}
	if n := x.have(s.ID()) + y.have(s.ID()); n < 40 {
		t.Errorf("the indexer heard of %d results", n)
	}
	var bonded work.Amount
	for _, name := range []work.Address{"prov-a", "prov-b"} {
		q, err := w.chain.Party(t.Context(), lifecycle.RoleProvider, name)
		if err != nil {
			t.Fatal(err)
		}
		bonded += q.Bond - 100*gtg
	}
	if share := pay * work.Amount(w.params.ProviderPermille) / 1000; bonded < share/2-10 || bonded > share/2+10 {
		t.Errorf("%d ugtg were bonded of a share of %d", bonded, share)
	}
	w.eventually("the job closes", func() error {
		if j, err := w.chain.Job(t.Context(), s.ID()); err != nil || j.State != lifecycle.JobClosed {
			return fmt.Errorf("%+v, %v", j, err)
		}
		return nil
	})
}

// patient is a runtime whose items of one program end only when they are stopped.
type patient struct {
	toy
	program work.BlobID
	stuck   atomic.Int64 // items of it that began
}

func (r *patient) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	if t.Program == r.program {
		r.stuck.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return r.toy.Run(ctx, t)
}

// TestPaidWorkTakesTheSlots wants a provider that is busy with the commons, with an
// item that would never end, to run paid items at once, to say that it is free, and
// to go back to the commons afterwards.
func TestPaidWorkTakesTheSlots(t *testing.T) {
	t.Parallel()
	w, common := commonsWorld(t, 16)
	rt := &patient{}
	rt.program = common.Program
	a := w.volunteer("prov-a", rt)
	w.tick()
	a.start()
	w.eventually("the commons are worked on", func() error {
		if rt.stuck.Load() == 0 {
			return fmt.Errorf("no item began")
		}
		return nil
	})
	x := w.dial(a)
	s := w.job(20, work.TierEconomic, func(s *work.JobSpec) { s.Program = w.put([]byte("another module")) })
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 20})
	x.flush(s)
	w.settled(s, 20)
	began := rt.stuck.Load()
	w.eventually("the commons go on", func() error {
		if rt.stuck.Load() == began && began < 2 {
			return fmt.Errorf("%d items began", began)
		}
		return nil
	})
	if n, fs := x.failed(); n > 0 {
		t.Errorf("failures were told: %v", fs)
	}
}

// TestVolunteerGoesOnAfterARestart stops a provider in the middle of its draws again
// and again, once for longer than its draws last: what it has run is committed, and no
// item twice; what it was too late for it runs again.
func TestVolunteerGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	w, s := commonsWorld(t, 24)
	rt := &toy{delay: 5 * time.Millisecond}
	a := w.volunteer("prov-a", rt)
	w.tick()
	for n := range int64(4) {
		r := a.start()
		w.eventually("some items run", func() error {
			if rt.runs.Load() <= n*5 {
				return fmt.Errorf("%d runs", rt.runs.Load())
			}
			return nil
		})
		r.stop()
		if n == 3 { // what ran is finished and not committed
			w.chain.AdvanceTo(w.chain.Height() + 2*w.params.CommonsEpochBlocks)
		}
	}
	a.start()
	w.settled(s, 24)
	for _, b := range w.batches(s) {
		if b.Phase == lifecycle.Void || b.Phase == lifecycle.Unpaid {
			t.Errorf("batch %v: %s", b.Items, b.Why)
		}
	}
}

// TestCommonsCanBeSwitchedOff wants a provider that was told so to leave them alone.
func TestCommonsCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	w, s := commonsWorld(t, 16)
	rt := &toy{}
	off, on := w.volunteer("prov-a", rt), w.volunteer("prov-b", &toy{})
	with := off.edit
	off.edit = func(c *provider.Config) { with(c); c.NoCommons = true }
	w.tick()
	off.start()
	on.start()
	w.settled(s, 16)
	if n := rt.runs.Load(); n > 0 {
		t.Errorf("%d items of the commons were run", n)
	}
}
