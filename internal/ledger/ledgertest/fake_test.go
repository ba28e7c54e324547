package ledgertest_test

import (
	"context"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/internal/ledger/ledgertest"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func TestFake(t *testing.T) {
	t.Parallel()
	genesis := map[work.Address]work.Amount{}
	for _, a := range []work.Address{"client", "honest", "cheat", "checker0", "checker1", "checker2", "validator"} {
		genesis[a] = ledgertest.Funds
	}
	p := lifecycle.LocalParams() // a block is 5 ms
	p.WindowBlocks, p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks = 60, 300, 300, 300, 300
	l := fake.New(fake.Config{Chain: "gotong-test", Params: p, Genesis: genesis,
		Validators: []lifecycle.ValidatorPower{{Account: "validator", Power: 1}}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(ctx, 5*time.Millisecond) // ends with ctx
	}()
	defer func() { cancel(); <-done }()
	ledgertest.Run(t, ledgertest.Network{
		Ledger: keyed{l}, Chain: "gotong-test", Client: "client", Honest: "honest", Cheat: "cheat",
		Checkers: []work.Address{"checker0", "checker1", "checker2"}, Validator: "validator", Poor: "poor", Foreign: "foreign",
	})
}

// keyed gives the fake, which asks for no keys, all but one.
type keyed struct{ ledger.Ledger }

func (k keyed) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	if from == "foreign" {
		return ledger.Included{}, ledger.ErrNoKey
	}
	return k.Ledger.Submit(ctx, from, msgs...)
}
