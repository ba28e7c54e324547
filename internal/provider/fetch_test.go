package provider_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/checker"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/referee"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// nothing is a fetcher whom nobody gives anything; if stalls is set, it waits for
// holders that say nothing.
type nothing struct{ stalls bool }

func (n nothing) Fetch(ctx context.Context, b work.BlobID, _ []p2p.Peer) error {
	if n.stalls {
		<-ctx.Done()
		return ctx.Err()
	}
	return fmt.Errorf("%s: %w", b, blob.ErrMissing)
}

// short makes the waits of checkers and referees five seconds: of that, the last quarter
// is for the commitment of who gave up fetching, also on a busy machine.
func short(p *lifecycle.Params) { p.CheckBlocks, p.VoteBlocks = 1500, 1500 }

// ended waits for the first batch of a job to end.
func (w *world) ended(s work.JobSpec) *lifecycle.Batch {
	w.t.Helper()
	var b *lifecycle.Batch
	w.eventually("the batch ends", func() error {
		bs := w.batches(s)
		if len(bs) == 0 || !bs[0].Phase.Final() {
			return errors.New("not yet")
		}
		b = bs[0]
		return nil
	})
	return b
}

// run has a provider work a job of 100 items.
func (w *world) run(a *prov, edit ...func(*work.JobSpec)) work.JobSpec {
	w.t.Helper()
	a.start()
	s := w.job(100, work.TierEconomic, edit...)
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, a.name, 0, 100, work.Range{Lo: 0, Hi: 100})
	x.flush(s)
	return s
}

func (w *world) providerParty(name work.Address) *lifecycle.Party {
	w.t.Helper()
	q, err := w.chain.Party(w.t.Context(), lifecycle.RoleProvider, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

// TestUnavailable wants checkers that can fetch nothing to say so, and the referee
// to judge it: nobody is silent, nobody is slashed.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		stalls bool // holders answer nothing at all
		judge  bool // the referee can fetch
		want   lifecycle.Phase
	}{{"nobody can", false, false, lifecycle.Void}, {"nobody answers", true, false, lifecycle.Void}, {"the referee can", false, true, lifecycle.Settled}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, short)
			a := w.provider("prov-a", &toy{slots: 2})
			w.checker("check-1", &toy{}, w.chain, func(cfg *checker.Config) { cfg.Fetcher = nothing{c.stalls} })()
			w.referee("val-1", &toy{}, func(cfg *referee.Config) {
				if !c.judge {
					cfg.Fetcher = nothing{c.stalls}
				}
			})()
			w.tick()
			s := w.run(a)
			b := w.ended(s)
			if b.Phase != c.want {
				t.Fatalf("the batch is %s: %s", b.Phase, b.Why)
			}
			for _, k := range b.Checks {
				if k.Missed || !k.Revealed || k.Leaves[0] != lifecycle.Unavailable || k.Lost || k.Forfeit != c.judge {
					t.Errorf("check: %+v", k)
				}
			}
			q := w.providerParty("prov-a")
			if fee := w.params.UnavailableFee; q.Convictions != 0 || !c.judge && q.Bond != 100*gtg-fee || c.judge && q.Bond < 100*gtg {
				t.Errorf("the provider: %+v", q)
			}
		})
	}
}

// TestSecondLook wants a second look at one draw of every batch to be checked blind
// like any other.
func TestSecondLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *lifecycle.Params) { p.LookPermille = 1000 })
	a := w.provider("prov-a", &toy{slots: 2})
	// One checker could have all draws: the look is another's.
	for _, name := range []work.Address{"check-1", "check-2", "check-3", "val-2"} {
		w.checker(name, &toy{}, w.chain)()
	}
	w.tick()
	b := w.ended(w.run(a))
	looks := 0
	for _, c := range b.Checks {
		if !c.Revealed || c.Missed {
			t.Errorf("check: %+v", c)
		}
		if c.Look {
			looks++
		}
	}
	if b.Phase != lifecycle.Settled || !b.Looked || looks != 1 {
		t.Errorf("batch is %s with %d looks: %s", b.Phase, looks, b.Why)
	}
}

// TestDeliveryIsClaimed has a client claim that it cannot get an output: an honest
// provider delivers through the referee, which gives the output on; one that keeps
// it is not paid.
func TestDeliveryIsClaimed(t *testing.T) {
	t.Parallel()
	for _, withhold := range []bool{false, true} {
		t.Run(fmt.Sprint("withhold ", withhold), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, short, func(p *lifecycle.Params) { p.WindowBlocks = 2000 })
			a := w.provider("prov-a", &toy{slots: 2, out: 100 << 10})
			a.withhold.Store(withhold)
			w.checker("check-1", &toy{out: 100 << 10}, w.chain)()
			judge := w.referee("val-1", &toy{out: 100 << 10}, func(cfg *referee.Config) {
				cfg.Holders = func(context.Context, *lifecycle.Job, *lifecycle.Batch) []p2p.Peer {
					return []p2p.Peer{w.net.Self(), a.self}
				}
				cfg.Fetcher = blob.NewFetcher(cfg.Net, cfg.Blobs.(blob.Local), blob.FetcherOptions{StallTime: time.Second})
			})
			running := judge()
			w.tick()
			s := w.run(a)
			var b *lifecycle.Batch
			w.eventually("the window", func() error {
				if bs := w.batches(s); len(bs) == 1 && bs[0].Phase == lifecycle.Window {
					b = bs[0]
					return nil
				}
				return errors.New("not yet")
			})
			const at = 42
			w.submit("client", ledger.ClaimDelivery{Batch: b.ID, Position: at})
			w.eventually("the verdict", func() error {
				if b = w.batches(s)[0]; b.Phase.Final() || len(b.Decided) > 0 {
					return nil
				}
				return fmt.Errorf("phase %s", b.Phase)
			})
			if withhold {
				if q := w.providerParty("prov-a"); b.Phase != lifecycle.Void || q.Bond != 100*gtg-max(w.params.UnavailableFee, b.Bond*4/10) || q.Convictions != 0 {
					t.Errorf("the batch is %s, its provider %+v", b.Phase, q)
				}
				return
			}
			if b.Phase == lifecycle.Void || !b.Decided[0].Delivery {
				t.Fatalf("the batch is %s: %s", b.Phase, b.Why)
			}
			for range 2 { // also after the referee was started again
				to := blob.NewMem()
				f := blob.NewFetcher(w.net, to, blob.FetcherOptions{})
				leaf := b.Decided[0].Leaf
				o, err := wire.FetchOutput(t.Context(), w.net, to, f, wire.OutputRequest{Job: s.ID(), Item: b.Items.At(at), Digest: leaf.Output}, &leaf,
					s.Limits.OutputBytes, []p2p.Peer{w.refereeAt}, nil)
				if err != nil || len(o.Files) != 1 || !to.Has(o.Files[0].Blob) {
					t.Fatalf("the delivered output: %+v, %v", o, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				running.stop()
				running = judge()
			}
		})
	}
}

// TestEquivocationIsReported has the indexer sign one range to two providers under
// one attempt: the one that comes second finds it on the chain, and the indexer's
// bond pays.
func TestEquivocationIsReported(t *testing.T) {
	t.Parallel()
	for _, attempt := range []uint32{0, 1} { // another attempt is a copy, and no fault
		t.Run(fmt.Sprint("attempt ", attempt), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a, b := w.provider("prov-a", &toy{slots: 2}), w.provider("prov-b", &toy{slots: 2})
			w.checker("check-1", &toy{}, w.chain)()
			w.tick()
			a.start()
			b.start()
			s := w.job(100, work.TierEconomic, func(s *work.JobSpec) { s.MaxCopies = 2 })
			x, y := w.dial(a), w.dial(b)
			x.introduce(s)
			y.introduce(s)
			x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 60})
			x.flush(s)
			w.settled(s, 60)
			y.assign(s, "prov-b", attempt, 100, work.Range{Lo: 40, Hi: 100})
			y.flush(s)
			w.settled(s, 120)
			q, err := w.chain.Party(t.Context(), lifecycle.RoleIndexer, "owner")
			if err != nil {
				t.Fatal(err)
			}
			want := w.params.IndexerBond
			if attempt == 0 {
				want = 0
			}
			if q.Bond != want || (q.Convictions == 1) != (attempt == 0) {
				t.Errorf("the indexer: %+v, want a bond of %s", q, want)
			}
		})
	}
}
