// Package trial tries the protocol's cheats in virtual time: a chain in memory,
// honest actors of every role, and adversaries that are an honest actor with one
// behaviour changed. Each attack runs twice from the same seed, once with the
// adversary and once with its honest twin, and what the attacker's books say in
// the end is compared: balances, bonds and unvested pay, less what executing cost.
//
// It promises that the same seed gives the same run; that the chain under trial is
// the real one (the machines of lifecycle over the fake ledger, or the modules'
// keepers over memory stores), whose own checks of conservation stay on; and that
// every world is audited in the end: no honest party slashed, every batch final in
// time, no item refereed twice, nothing left locked.
//
// It never executes a program: what an item gives is a function of its number, and
// executing costs its fuel in the books. It is linked into tests and into the
// program behind `make adversaries` only.
package trial

import (
	"context"
	"sync"

	"github.com/cosmos/cosmos-sdk/types/bech32"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/internal/ledger/keepers"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Chain is a ledger whose blocks are made by hand.
type Chain interface {
	ledger.Submitter
	Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error)
	Batch(ctx context.Context, id work.BatchID) (*lifecycle.Batch, error)
	Party(ctx context.Context, role lifecycle.Role, account work.Address) (*lifecycle.Party, error)
	Parties(ctx context.Context, role lifecycle.Role) ([]*lifecycle.Party, error)
	Balance(ctx context.Context, account work.Address) (work.Amount, error)
	Supply(ctx context.Context) (ledger.Supply, error)
	Commons(ctx context.Context) (*lifecycle.Commons, error)
	// Stake is what a validator's stake is now: 1 gtg for 1 of power at first.
	Stake(validator work.Address) work.Amount
	// Advance closes the block being made and gives its height.
	Advance() int64
}

// Genesis is how a chain starts.
type Genesis struct {
	Chain      string
	Params     lifecycle.Params
	Balances   map[work.Address]work.Amount
	Validators []lifecycle.ValidatorPower
	Governance work.Address
	Seed       uint64
	// Steer, if set, replaces a block's beacon value as the block begins.
	Steer func(height int64, value work.Hash) (work.Hash, bool)
}

// A Maker starts a chain.
type Maker func(Genesis) (Chain, error)

// Lifecycle starts the machines over the fake ledger.
func Lifecycle(g Genesis) (Chain, error) {
	return fake.New(fake.Config{Chain: g.Chain, Params: g.Params, Genesis: g.Balances, Validators: g.Validators, Seed: g.Seed, Steer: g.Steer}), nil
}

// Keepers starts the chain's modules over memory stores.
func Keepers(g Genesis) (Chain, error) {
	return keepers.New(keepers.Config{Chain: g.Chain, Params: g.Params, Genesis: g.Balances, Validators: g.Validators, Governance: g.Governance, Seed: g.Seed, Steer: g.Steer})
}

var accounts sync.Map // name to work.Address

// Account is the account of a name: the chain's keepers want real addresses.
func Account(name string) work.Address {
	if a, ok := accounts.Load(name); ok {
		return a.(work.Address)
	}
	h := work.Sum("gotong/trial/account", []byte(name))
	s, err := bech32.ConvertAndEncode("gotong", h[:20])
	if err != nil {
		panic("trial: " + err.Error())
	}
	accounts.Store(name, work.Address(s))
	return work.Address(s)
}

// truths is how many different results there are; items repeat after them.
const truths = 4096

type result struct {
	leaf work.Leaf
	hash work.Hash
}

var truthTable = sync.OnceValue(func() []result {
	l := make([]result, truths)
	for i := range l {
		var e work.Encoder
		e.U64(uint64(i))
		leaf := work.Leaf{Input: work.Sum("in", e.Bytes()), Output: work.Sum("out", e.Bytes()), Outcome: work.Outcome{Kind: work.Exited},
			Fuel: unit/2 + work.Fuel(i*7919%11)*unit/10, Memory: work.Sum("mem", e.Bytes())}
		l[i] = result{leaf, leaf.Hash()}
	}
	return l
})

// unit is the mean fuel of an item; one item in eleven has half of it, one one and
// a half.
const unit = work.FuelPerUnit
