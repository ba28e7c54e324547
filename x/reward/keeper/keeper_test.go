package keeper_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	"github.com/cosmos/cosmos-sdk/testutil"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/reward/keeper"
)

// bank has nothing but a supply.
type bank struct{ supply *int64 }

func (b bank) MintCoins(_ context.Context, _ string, amt sdk.Coins) error {
	*b.supply += amt.AmountOf(work.Denom).Int64()
	return nil
}

func (b bank) BurnCoins(_ context.Context, _ string, amt sdk.Coins) error {
	*b.supply -= amt.AmountOf(work.Denom).Int64()
	return nil
}

func (b bank) GetSupply(_ context.Context, denom string) sdk.Coin {
	return sdk.NewInt64Coin(denom, *b.supply)
}

// For paid work no more is minted than the burned fees allowed when they were
// burned, whatever is asked.
func TestMintInvariant(t *testing.T) {
	t.Parallel()
	keys := storetypes.NewKVStoreKeys("reward")
	ctx := testutil.DefaultContextWithKeys(keys, nil, nil)
	b := bank{new(int64)}
	k, err := keeper.New(runtime.NewKVStoreService(keys["reward"]), b)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(k.Mint(ctx, 10_000, lifecycle.ReasonEmission))
	if err := k.Balanced(ctx); !errors.Is(err, keeper.ErrMint) {
		t.Errorf("an emission that the commons do not know: %v", err)
	}
	must(k.SetCommons(ctx, &lifecycle.Commons{Emitted: 10_000}))
	if err := k.Mint(ctx, 1, lifecycle.ReasonMint); !errors.Is(err, keeper.ErrMint) {
		t.Errorf("a reward without any fee: %v", err)
	}
	must(k.Burn(ctx, "market", 100, lifecycle.ReasonFeeBurn, 500))
	must(k.Burn(ctx, "market", 100, lifecycle.ReasonFeeBurn, 200)) // governance lowered the share
	must(k.Burn(ctx, "market", 100, lifecycle.ReasonSlash, 500))
	must(k.Mint(ctx, 70, lifecycle.ReasonMint))
	if err := k.Mint(ctx, 1, lifecycle.ReasonMint); !errors.Is(err, keeper.ErrMint) {
		t.Errorf("a reward over the share of the fees: %v", err)
	}
	if err := k.Mint(ctx, 1, "gift"); !errors.Is(err, keeper.ErrMint) {
		t.Errorf("a mint for nothing: %v", err)
	}
	must(k.Balanced(ctx))
	if *b.supply != 10_000-300+70 {
		t.Errorf("supply is %d", *b.supply)
	}
	*b.supply-- // somebody burned and told nobody
	if err := k.Balanced(ctx); !errors.Is(err, keeper.ErrMint) {
		t.Errorf("a supply that nobody accounts for: %v", err)
	}
	must(k.CountBurn(ctx, sdk.NewCoins(sdk.NewInt64Coin(work.Denom, 1))))
	must(k.Balanced(ctx))
}
