package app

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"

	rewardkeeper "github.com/gotong-network/gotong/x/reward/keeper"
)

// countedBank is the bank that the SDK's modules get: what they burn by themselves,
// stakes and deposits, is counted, so that the supply is accounted for to the last
// coin.
type countedBank struct {
	bankkeeper.Keeper
	flows rewardkeeper.Keeper
}

// BurnCoins burns and counts.
func (b countedBank) BurnCoins(ctx context.Context, module string, amt sdk.Coins) error {
	if err := b.Keeper.BurnCoins(ctx, module, amt); err != nil {
		return err
	}
	return b.flows.CountBurn(ctx, amt)
}
