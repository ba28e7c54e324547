package keeper_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	"github.com/cosmos/cosmos-sdk/testutil"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
	marketkeeper "github.com/gotong-network/gotong/x/market/keeper"
	"github.com/gotong-network/gotong/x/proof/keeper"
	"github.com/gotong-network/gotong/x/proof/types"
	registrykeeper "github.com/gotong-network/gotong/x/registry/keeper"
	rewardkeeper "github.com/gotong-network/gotong/x/reward/keeper"
)

// account is an account of the network.
var account = work.Address(must(bech32.ConvertAndEncode("gotong", make([]byte, 20))))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// bank counts what the module's account of the bonds holds.
type bank struct {
	types.BankKeeper
	held map[string]int64
}

func (b bank) SendCoinsFromAccountToModule(_ context.Context, _ sdk.AccAddress, module string, amt sdk.Coins) error {
	b.held[authtypes.NewModuleAddress(module).String()] += amt.AmountOf(work.Denom).Int64()
	return nil
}

func (b bank) SendCoinsFromModuleToAccount(_ context.Context, module string, _ sdk.AccAddress, amt sdk.Coins) error {
	b.held[authtypes.NewModuleAddress(module).String()] -= amt.AmountOf(work.Denom).Int64()
	return nil
}

func (b bank) SendCoinsFromModuleToModule(_ context.Context, from, to string, amt sdk.Coins) error {
	b.held[authtypes.NewModuleAddress(from).String()] -= amt.AmountOf(work.Denom).Int64()
	b.held[authtypes.NewModuleAddress(to).String()] += amt.AmountOf(work.Denom).Int64()
	return nil
}

func (b bank) MintCoins(_ context.Context, module string, amt sdk.Coins) error {
	b.held[authtypes.NewModuleAddress(module).String()] += amt.AmountOf(work.Denom).Int64()
	b.held["supply"] += amt.AmountOf(work.Denom).Int64()
	return nil
}

func (b bank) BurnCoins(_ context.Context, module string, amt sdk.Coins) error {
	b.held[authtypes.NewModuleAddress(module).String()] -= amt.AmountOf(work.Denom).Int64()
	b.held["supply"] -= amt.AmountOf(work.Denom).Int64()
	return nil
}

func (b bank) GetSupply(_ context.Context, denom string) sdk.Coin {
	return sdk.NewInt64Coin(denom, b.held["supply"])
}

func (b bank) GetBalance(_ context.Context, a sdk.AccAddress, denom string) sdk.Coin {
	return sdk.NewInt64Coin(denom, b.held[a.String()])
}

type world struct {
	ctx      sdk.Context
	k        keeper.Keeper
	registry registrykeeper.Keeper
	bank     bank
}

func newWorld(t *testing.T) *world {
	keys := storetypes.NewKVStoreKeys("proof", "market", "registry", "reward")
	ctx := testutil.DefaultContextWithKeys(keys, nil, nil).WithLogger(log.NewNopLogger()).WithBlockHeight(1).WithChainID("test")
	registry, err1 := registrykeeper.New(runtime.NewKVStoreService(keys["registry"]))
	market, err2 := marketkeeper.New(runtime.NewKVStoreService(keys["market"]))
	w := &world{ctx: ctx, registry: registry, bank: bank{held: map[string]int64{}}}
	reward, err3 := rewardkeeper.New(runtime.NewKVStoreService(keys["reward"]), w.bank)
	k, err4 := keeper.New(runtime.NewKVStoreService(keys["proof"]), keeper.Neighbours{Bank: w.bank, Market: market, Registry: registry, Reward: reward})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	w.k = k
	authority := keeper.MsgServer{Keeper: k, Authority: "gov"}
	if _, err := authority.UpdateParams(ctx, &types.MsgUpdateParams{Authority: "gov", Params: localParams(t)}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) do(t *testing.T, f func(lifecycle.Machine) error) {
	t.Helper()
	if err := w.k.Do(w.ctx, f); err != nil {
		t.Fatal(err)
	}
}

// A record that is broken is left out: the others and the chain go on.
func TestStuckRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bond := 100 * work.Amount(work.UgtgPerGtg)
	w.do(t, func(m lifecycle.Machine) error {
		return m.Register(account, lifecycle.RoleProvider, sign.PublicKey{1}, bond)
	})
	w.do(t, func(m lifecycle.Machine) error { return m.Unbond(account, lifecycle.RoleProvider, bond) })
	p, err := w.registry.Party(w.ctx, lifecycle.RoleProvider, account)
	if err != nil {
		t.Fatal(err)
	}
	// There is no such batch, no such dispute, and no such job of the commons. All are
	// due when the next epoch begins.
	epoch := lifecycle.LocalParams().CommonsEpochBlocks
	height := (p.UnbondHeight + epoch) / epoch * epoch
	w.do(t, func(m lifecycle.Machine) error {
		return errors.Join(m.S.WakeBatch(height, work.Hash{9}), m.S.WakeParty(height, lifecycle.RoleProvider, account),
			m.S.SetCourt(lifecycle.Court{Tail: 1}), m.S.SetCommons(&lifecycle.Commons{Jobs: []work.JobID{{8}}}))
	})
	w.ctx = w.ctx.WithBlockHeight(height)
	if err := w.k.EndBlock(w.ctx); err != nil {
		t.Fatal(err)
	}
	if p, err = w.registry.Party(w.ctx, lifecycle.RoleProvider, account); err != nil || p.Bond != 0 {
		t.Errorf("the bond beside a broken batch is %+v, %v", p, err)
	}
	if err := w.k.Audit(w.ctx); err != nil {
		t.Error(err)
	}
}

// The digest of events goes on over heights where nothing happens, forgets the event
// of a message that fails, and is kept for a bounded number of heights.
func TestEventDigest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := func(height int64) work.Hash {
		t.Helper()
		w.ctx = w.ctx.WithBlockHeight(height)
		_, err := w.k.EventDigest(w.ctx, height)
		if err := errors.Join(err, w.k.EndBlock(w.ctx)); err != nil {
			t.Fatal(err)
		}
		d, err := w.k.EventDigest(w.ctx, height)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	w.do(t, func(m lifecycle.Machine) error { m.S.Emit(lifecycle.Event{}); return nil })
	first := end(1)
	event := w.ctx.EventManager().Events()[0].Attributes[0].Value
	at := w.ctx.BlockTime()
	if want := types.CloseDigest(types.NextDigest(work.Hash{}, 1, []byte(event)), 1, at); first != want {
		t.Errorf("the digest of one event is %s, want %s", first, want)
	}
	inner, _ := w.ctx.WithBlockHeight(2).CacheContext() // a transaction that fails
	if err := w.k.Do(inner, func(m lifecycle.Machine) error { m.S.Emit(lifecycle.Event{}); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := end(2); got != types.CloseDigest(first, 2, at) {
		t.Errorf("without an event the digest went from %s to %s", first, got)
	}
	end(types.KeepDigests + 1)
	end(types.KeepDigests + 2)
	for height, want := range map[int64]work.Hash{1: {}, 2: {}} {
		if got, err := w.k.EventDigest(w.ctx, height); err != nil || got != want {
			t.Errorf("the digest of height %d is still kept: %s, %v", height, got, err)
		}
	}
}

// Money that no record knows of is found.
func TestNotConserved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do(t, func(m lifecycle.Machine) error {
		return m.Register(account, lifecycle.RoleChecker, sign.PublicKey{1}, 10*work.UgtgPerGtg)
	})
	if err := errors.Join(w.k.Conserved(w.ctx), w.k.Audit(w.ctx)); err != nil {
		t.Fatal(err)
	}
	w.bank.held[authtypes.NewModuleAddress("market").String()]++
	if err := w.k.Conserved(w.ctx); !errors.Is(err, keeper.ErrNotConserved) {
		t.Errorf("one ugtg too much: %v", err)
	}
}

func TestUpdateParams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := keeper.MsgServer{Keeper: w.k, Authority: "gov"}
	for name, m := range map[string]*types.MsgUpdateParams{
		"stranger":      {Authority: string(account), Params: localParams(t)},
		"no JSON":       {Authority: "gov", Params: []byte("{")},
		"unknown field": {Authority: "gov", Params: []byte(`{"fee":1}`)},
		"all zero":      {Authority: "gov", Params: []byte(`{}`)},
	} {
		if _, err := s.UpdateParams(w.ctx, m); err == nil {
			t.Errorf("%s changed the parameters", name)
		}
	}
	if p, err := w.k.Params(w.ctx); err != nil || p != lifecycle.LocalParams() {
		t.Errorf("parameters are %+v, %v", p, err)
	}
}
func localParams(t *testing.T) []byte {
	b, err := json.Marshal(lifecycle.LocalParams())
	if err != nil {
		t.Fatal(err)
	}
	return b
}
