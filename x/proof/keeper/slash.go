package keeper

import (
	"context"
	"fmt"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	staking "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/field"
	"github.com/gotong-network/gotong/x/proof/types"
	reward "github.com/gotong-network/gotong/x/reward/keeper"
)

// StakingKeeper knows who validates, and takes stake.
type StakingKeeper interface {
	IterateLastValidatorPowers(ctx context.Context, f func(operator sdk.ValAddress, power int64) (stop bool)) error
	GetValidator(ctx context.Context, operator sdk.ValAddress) (staking.Validator, error)
	PowerReduction(ctx context.Context) math.Int
	Slash(ctx context.Context, consensus sdk.ConsAddress, infractionHeight, power int64, fraction math.LegacyDec) (math.Int, error)
}

// RewardKeeper is the store of the commons, and mints, burns and counts both.
type RewardKeeper interface {
	Commons(ctx context.Context) (*lifecycle.Commons, error)
	SetCommons(ctx context.Context, c *lifecycle.Commons) error
	Mint(ctx context.Context, amount work.Amount, why lifecycle.Reason) error
	Burn(ctx context.Context, module string, amount work.Amount, why lifecycle.Reason, mintPermille uint64) error
	Flows(ctx context.Context) (reward.Flows, error)
	Balanced(ctx context.Context) error
	types.Holder
}

// SlashValidator burns a share of a validator's stake, which the bank's burn counts.
// It leaves the least stake that has power, and never jails: a wrong vote must not
// stop the chain. A validator that is none any more, or whose slash the staking
// module refuses, is left as it is and told in the log: the verdict goes on.
func (s *state) SlashValidator(validator work.Address, permille uint64) error {
	inner, write := s.ctx.CacheContext()
	if err := (&state{ctx: inner, k: s.k}).slash(validator, permille); err != nil {
		s.ctx.Logger().Error("a validator that voted wrong was not slashed", "validator", validator, "err", err)
		return nil
	}
	write()
	return nil
}

func (s *state) slash(validator work.Address, permille uint64) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	operator, err := field.AccountBytes(validator)
	if err != nil {
		return err
	}
	v, err := s.k.Staking.GetValidator(s.ctx, operator)
	if err != nil {
		return err
	}
	if v.IsUnbonded() {
		return fmt.Errorf("%s has left", v.GetOperator())
	}
	consensus, err := v.GetConsAddr()
	if err != nil {
		return err
	}
	least := s.k.Staking.PowerReduction(s.ctx)
	spare := math.MaxInt(v.Tokens.Sub(least), math.ZeroInt())
	lost := math.MinInt(v.Tokens.MulRaw(int64(min(permille, 1000))).QuoRaw(1000), spare)
	power := v.Tokens.Quo(least)
	if lost.IsZero() || !power.IsInt64() {
		return nil
	}
	// The module wants a fraction of whole powers.
	fraction := math.LegacyNewDecFromInt(lost).QuoTruncate(math.LegacyNewDecFromInt(power.Mul(least)))
	_, err = s.k.Staking.Slash(s.ctx, consensus, s.ctx.BlockHeight(), power.Int64(), fraction)
	return err
}
