package keeper

import (
	"context"
	"errors"
	"fmt"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/gotong-network/gotong/work"
	market "github.com/gotong-network/gotong/x/market/types"
	"github.com/gotong-network/gotong/x/proof/types"
	registry "github.com/gotong-network/gotong/x/registry/types"
	reward "github.com/gotong-network/gotong/x/reward/types"
)

// ErrNotConserved reports records that say something else than the modules'
// accounts hold.
var ErrNotConserved = errors.New("money is not conserved")

// Conserved compares what the records say with what the modules' accounts hold:
// escrows, bonds, unvested pay, stakes, the pool of the commons; and the supply with
// what was minted and burned, also what may be minted. It is cheap: the sums are
// followed with every change.
func (k Keeper) Conserved(ctx context.Context) error {
	if err := k.Reward.Balanced(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNotConserved, err)
	}
	return k.compare(ctx, types.Holder.Held)
}

// Audit is Conserved by a walk over every record.
func (k Keeper) Audit(ctx context.Context) error {
	return errors.Join(k.Conserved(ctx), k.compare(ctx, types.Holder.Recount))
}

func (k Keeper) compare(ctx context.Context, sum func(types.Holder, context.Context) (work.Amount, error)) error {
	for _, m := range []struct {
		name   string
		holder types.Holder
	}{{market.ModuleName, k.Market}, {registry.ModuleName, k.Registry}, {types.ModuleName, k}, {reward.ModuleName, k.Reward}} {
		said, err := sum(m.holder, ctx)
		if err != nil {
			return err
		}
		held, err := amount(k.Bank.GetBalance(ctx, authtypes.NewModuleAddress(m.name), work.Denom))
		if err != nil {
			return err
		}
		if said != held {
			return fmt.Errorf("%w: records of %s say %d ugtg, its account holds %d ugtg", ErrNotConserved, m.name, said, held)
		}
	}
	return nil
}

func amount(c sdk.Coin) (work.Amount, error) {
	if !c.Amount.IsUint64() {
		return 0, fmt.Errorf("%s: %w", c, work.ErrOverflow)
	}
	return work.Amount(c.Amount.Uint64()), nil
}
