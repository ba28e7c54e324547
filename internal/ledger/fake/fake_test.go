package fake_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

var ctx = context.Background()

func chain(seed uint64) *fake.Ledger {
	return fake.New(fake.Config{
		Chain: "test", Params: lifecycle.LocalParams(), Seed: seed,
		Genesis:    map[work.Address]work.Amount{"alice": 100, "bob": 50 * work.UgtgPerGtg},
		Validators: []lifecycle.ValidatorPower{{Account: "val", Power: 1}},
	})
}

func TestFailedTransactionChangesNothing(t *testing.T) {
	t.Parallel()
	l := chain(1)
	_, err := l.Submit(ctx, "alice", ledger.Send{To: "bob", Amount: 60}, ledger.Send{To: "carol", Amount: 60})
	if !errors.Is(err, ledger.ErrFunds) {
		t.Fatalf("got %v", err)
	}
	_, err = l.Submit(ctx, "bob",
		ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 6 * work.UgtgPerGtg}, ledger.CancelJob{Job: work.Hash{1}})
	if !errors.Is(err, ledger.ErrRefused) {
		t.Fatalf("got %v", err)
	}
	if _, err := l.Party(ctx, lifecycle.RoleChecker, "bob"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("the registration stayed: %v", err)
	}
	for a, want := range map[work.Address]work.Amount{"alice": 100, "bob": 50 * work.UgtgPerGtg, "carol": 0} {
		if got, _ := l.Balance(ctx, a); got != want {
			t.Errorf("%s has %d, want %d", a, got, want)
		}
	}
	l.Advance()
	if err := l.Follow(ctx, 1, func(b ledger.Block) error {
		if len(b.Events) != 0 {
			t.Errorf("failed transactions left events: %+v", b.Events)
		}
		return context.Canceled
	}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if in, err := l.Submit(ctx, "alice", ledger.Send{To: "bob", Amount: 60}); err != nil || in.Height != 2 {
		t.Errorf("included %+v, %v", in, err)
	}
}

func TestFollowGivesEachHeightOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chain(1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- l.Run(ctx, time.Second) }()
		var heights []int64
		go func() {
			done <- l.Follow(ctx, 3, func(b ledger.Block) error { heights = append(heights, b.Height); return nil })
		}()
		time.Sleep(7500 * time.Millisecond)
		cancel()
		for range 2 {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if want := []int64{3, 4, 5, 6, 7}; !reflect.DeepEqual(heights, want) {
			t.Errorf("heights %v, want %v", heights, want)
		}
	})
}

// Records are copies: what a reader changes stays with it.
func TestReadersCannotChangeTheChain(t *testing.T) {
	t.Parallel()
	l := chain(1)
	if _, err := l.Submit(ctx, "bob", ledger.Register{Role: lifecycle.RoleProvider, Peer: sign.PublicKey{1}, Bond: 6 * work.UgtgPerGtg}); err != nil {
		t.Fatal(err)
	}
	p, _ := l.Party(ctx, lifecycle.RoleProvider, "bob")
	p.Bond = 0
	if again, _ := l.Party(ctx, lifecycle.RoleProvider, "bob"); again.Bond != 6*work.UgtgPerGtg {
		t.Error("a reader changed a bond")
	}
	if s, _ := l.Supply(ctx); s.Bonded != 6*work.UgtgPerGtg || s.Total != 51*work.UgtgPerGtg+100 { // 1 gtg is the validator's stake
		t.Errorf("supply %+v", s)
	}
}

func TestUnknownThings(t *testing.T) {
	t.Parallel()
	l := chain(1)
	if _, err := l.Job(ctx, work.Hash{1}); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("job: %v", err)
	}
	if _, err := l.Batch(ctx, work.Hash{1}); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("batch: %v", err)
	}
	if _, err := l.Submit(ctx, "bob", ledger.OpenBatch{Batch: work.Hash{1}}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("message: %v", err)
	}
	if s, err := l.Status(ctx); err != nil || s.Height != 0 || s.Chain != "test" {
		t.Errorf("status %+v, %v", s, err)
	}
}
