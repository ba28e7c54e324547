package provider_test

import (
	"context"
	"sync"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Config is the provider's.
type Config = provider.Config

// cut is a ledger whose k-th transaction never returns: the process is about to be
// killed, and whether the chain took the transaction is not known.
type cut struct {
	*fake.Ledger
	taken   bool
	reached chan struct{}

	mu   sync.Mutex // guards left
	left int
}

func newCut(l *fake.Ledger, k int, taken bool) *cut {
	return &cut{Ledger: l, taken: taken, left: k, reached: make(chan struct{})}
}

func (c *cut) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	c.mu.Lock()
	c.left--
	left := c.left
	c.mu.Unlock()
	if left > 0 {
		return c.Ledger.Submit(ctx, from, msgs...)
	}
	if left == 0 {
		if c.taken {
			if _, err := c.Ledger.Submit(ctx, from, msgs...); err != nil {
				return ledger.Included{}, err
			}
		}
		close(c.reached)
	}
	<-ctx.Done()
	return ledger.Included{}, ctx.Err()
}

// rebuild makes w's chain anew after its parameters were changed.
func rebuild(w *world) *fake.Ledger {
	genesis := map[work.Address]work.Amount{}
	for _, a := range []work.Address{"client", "owner", "prov-a", "prov-b", "check-1", "check-2", "check-3", "val-1", "val-2"} {
		genesis[a] = 10_000 * gtg
	}
	chain := fake.New(fake.Config{Chain: chainID, Params: w.params, Genesis: genesis, Seed: 7,
		Validators: []lifecycle.ValidatorPower{{Account: "val-1", Power: 10}}})
	if _, err := chain.Submit(w.t.Context(), "owner", ledger.Register{Role: lifecycle.RoleIndexer, Peer: w.key.Public(), Bond: w.params.IndexerBond}); err != nil {
		w.t.Fatal(err)
	}
	return chain
}

// TestOffers wants an offer at once that says who, what and for how much.
func TestOffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick()
	a := w.provider("prov-a", &toy{slots: 3})
	ch, err := w.net.Subscribe(t.Context(), wire.OfferTopic(chainID, work.ClassCPU, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.start()
	w.dial(a) // connects, so that gossip flows
	var last *work.Offer
	for range 2 {
		o, err := work.DecodeOffer(<-ch)
		if err != nil || o.Verify() != nil {
			t.Fatalf("offer: %v", err)
		}
		if o.Provider != "prov-a" || o.Peer != a.key.Public() || o.Slots != 3 || o.Price != 10 || len(o.Addrs) == 0 {
			t.Errorf("offer: %+v", o)
		}
		if last != nil && o.Sequence <= last.Sequence {
			t.Error("a newer offer does not replace the older")
		}
		last = o
	}
}
