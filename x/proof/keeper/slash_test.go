package keeper_test

import (
	"context"
	"errors"
	"testing"

	"cosmossdk.io/math"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdked25519 "github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	sdk "github.com/cosmos/cosmos-sdk/types"
	staking "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/proof/keeper"
)

// stakes is one validator's.
type stakes struct {
	keeper.StakingKeeper
	tokens *math.Int
	status staking.BondStatus
	panics bool
}

func (s stakes) GetValidator(context.Context, sdk.ValAddress) (staking.Validator, error) {
	if s.tokens == nil {
		return staking.Validator{}, staking.ErrNoValidatorFound
	}
	key, err := codectypes.NewAnyWithValue(&sdked25519.PubKey{Key: make([]byte, 32)})
	return staking.Validator{Tokens: *s.tokens, ConsensusPubkey: key, Status: s.status}, err
}

func (stakes) PowerReduction(context.Context) math.Int { return sdk.DefaultPowerReduction }

func (s stakes) Slash(_ context.Context, _ sdk.ConsAddress, _, power int64, fraction math.LegacyDec) (math.Int, error) {
	if s.panics {
		panic("broken")
	}
	if s.status == staking.Unbonded {
		return math.Int{}, errors.New("unbonded")
	}
	lost := fraction.MulInt(sdk.TokensFromConsensusPower(power, sdk.DefaultPowerReduction)).TruncateInt()
	*s.tokens = s.tokens.Sub(lost)
	return lost, nil
}

// A wrong vote costs its share, but never the last unit of power, and whatever the
// staking module says, the verdict goes on.
func TestSlashValidator(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stakes   stakes
		permille uint64
		before   int64
		after    int64
	}{
		"a share":        {stakes{status: staking.Bonded}, 10, 100 * gtg, 99 * gtg},
		"odd":            {stakes{status: staking.Bonded}, 10, 100*gtg + 123_456, 100*gtg + 123_456 - 1_001_234},
		"all":            {stakes{status: staking.Bonded}, 1000, 100 * gtg, gtg},
		"over the whole": {stakes{status: staking.Bonded}, 5000, 100 * gtg, gtg},
		"the last power": {stakes{status: staking.Bonded}, 500, gtg + 10, gtg},
		"less than that": {stakes{status: staking.Bonded}, 500, gtg / 2, gtg / 2},
		"it left":        {stakes{status: staking.Unbonded}, 500, 100 * gtg, 100 * gtg},
		"broken staking": {stakes{status: staking.Bonded, panics: true}, 500, 100 * gtg, 100 * gtg},
	} {
		w := newWorld(t)
		tokens := math.NewInt(c.before)
		c.stakes.tokens = &tokens
		w.k.Staking = c.stakes
		w.do(t, func(m lifecycle.Machine) error { return m.S.SlashValidator(account, c.permille) })
		if got := tokens.Int64(); got > c.after+1 || got < c.after {
			t.Errorf("%s: %d became %d, want %d", name, c.before, got, c.after)
		}
	}
	w := newWorld(t)
	w.k.Staking = stakes{}
	w.do(t, func(m lifecycle.Machine) error { return m.S.SlashValidator(account, 10) })
}

const gtg = int64(work.UgtgPerGtg)
