package keepers

import (
	"context"
	"fmt"
	"slices"

	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	sdk "github.com/cosmos/cosmos-sdk/types"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	rewardkeeper "github.com/gotong-network/gotong/x/reward/keeper"
)

// staking is the validators that a trial wants, with a stake of 1 gtg for 1 of
// power, in place of the SDK's staking module.
type staking struct {
	bank       bankkeeper.Keeper
	flows      rewardkeeper.Keeper
	validators []staked
}

// staked is one validator.
type staked struct {
	account  sdk.AccAddress
	record   stakingtypes.Validator
	consense sdk.ConsAddress
}

// bond mints the validators' stakes.
func (s *staking) bond(ctx sdk.Context, l []lifecycle.ValidatorPower) error {
	for _, v := range l {
		account, err := accountBytes(v.Account)
		if err != nil {
			return err
		}
		key := ed25519.GenPrivKeyFromSecret(account).PubKey()
		record, err := stakingtypes.NewValidator(sdk.ValAddress(account).String(), key, stakingtypes.Description{})
		if err != nil {
			return err
		}
		record.Status, record.Tokens = stakingtypes.Bonded, math.NewInt(v.Power).MulRaw(work.UgtgPerGtg)
		coins := sdk.NewCoins(sdk.NewCoin(work.Denom, record.Tokens))
		if err := s.bank.MintCoins(ctx, origin, coins); err != nil {
			return err
		}
		if err := s.bank.SendCoinsFromModuleToModule(ctx, origin, stakes, coins); err != nil {
			return err
		}
		s.validators = append(s.validators, staked{account: account, record: record, consense: sdk.ConsAddress(key.Address())})
	}
	return nil
}

// IterateLastValidatorPowers implements the proof module's StakingKeeper.
func (s *staking) IterateLastValidatorPowers(ctx context.Context, f func(sdk.ValAddress, int64) bool) error {
	for _, v := range s.validators {
		if f(sdk.ValAddress(v.account), v.record.Tokens.Quo(s.PowerReduction(ctx)).Int64()) {
			return nil
		}
	}
	return nil
}

// GetValidator implements the proof module's StakingKeeper.
func (s *staking) GetValidator(_ context.Context, operator sdk.ValAddress) (stakingtypes.Validator, error) {
	i := slices.IndexFunc(s.validators, func(v staked) bool { return v.account.Equals(sdk.AccAddress(operator)) })
	if i < 0 {
		return stakingtypes.Validator{}, stakingtypes.ErrNoValidatorFound
	}
	return s.validators[i].record, nil
}

// PowerReduction implements the proof module's StakingKeeper.
func (*staking) PowerReduction(context.Context) math.Int { return math.NewInt(work.UgtgPerGtg) }

// Slash implements the proof module's StakingKeeper.
func (s *staking) Slash(ctx context.Context, consensus sdk.ConsAddress, _, power int64, fraction math.LegacyDec) (math.Int, error) {
	i := slices.IndexFunc(s.validators, func(v staked) bool { return v.consense.Equals(consensus) })
	if i < 0 {
		return math.ZeroInt(), fmt.Errorf("no validator has consensus address %s", consensus)
	}
	lost := fraction.MulInt(math.NewInt(power).Mul(s.PowerReduction(ctx))).TruncateInt()
	coins := sdk.NewCoins(sdk.NewCoin(work.Denom, lost))
	if err := s.bank.BurnCoins(ctx, stakes, coins); err != nil {
		return math.ZeroInt(), err
	}
	s.validators[i].record.Tokens = s.validators[i].record.Tokens.Sub(lost)
	return lost, s.flows.CountBurn(ctx, coins)
}

// Stake is what a validator's stake is now; zero of a stranger.
func (l *Ledger) Stake(validator work.Address) work.Amount {
	b, err := accountBytes(validator)
	if err != nil {
		return 0
	}
	v, err := l.staking.GetValidator(l.ctx, sdk.ValAddress(b))
	if err != nil {
		return 0
	}
	return work.Amount(v.Tokens.Uint64())
}
