// Package keeper keeps what enters and leaves the supply, and the record of the
// commons. Every coin that is minted or burned on the chain passes here: the
// protocol's own through Mint and Burn, those of the SDK's modules through the bank
// of the application, which tells CountBurn.
//
// It promises that no more is minted for paid work than the share of the fee burn
// that the parameters allowed when it was burned: a mint beyond that fails, whoever
// asks. It never decides what is paid for: that is lifecycle's.
package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/store"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/record"
	"github.com/gotong-network/gotong/x/reward/types"
)

// ErrMint reports more minted than was allowed, or a supply that is not what was
// minted and burned.
var ErrMint = errors.New("supply is not accounted for")

// Flows is what entered and left the supply since genesis, in ugtg.
type Flows struct {
	Genesis work.Amount `json:"genesis"` // supply of the first block
	Fees    work.Amount `json:"fees"`    // burned of the pay of batches
	Slashes work.Amount `json:"slashes"` // burned otherwise: slashes, stakes, deposits
	Minted  work.Amount `json:"minted"`  // for paid work
	// MayMint is the most that Minted can be: the share of each fee burn that the
	// parameters allowed at its time.
	MayMint work.Amount `json:"may_mint"`
	Commons work.Amount `json:"commons"` // minted for the commons
}

// Total is the supply that the flows leave.
func (f Flows) Total() work.Amount { return f.Genesis + f.Minted + f.Commons - f.Fees - f.Slashes }

// Keeper is the store of flows and commons.
type Keeper struct {
	Schema  collections.Schema
	bank    types.BankKeeper
	flows   collections.Item[Flows]
	commons collections.Item[lifecycle.Commons]
}

// New makes a keeper over a store.
func New(s store.KVStoreService, bank types.BankKeeper) (Keeper, error) {
	b := collections.NewSchemaBuilder(s)
	k := Keeper{
		bank:    bank,
		flows:   collections.NewItem(b, collections.NewPrefix(1), "flows", record.JSON[Flows]()),
		commons: collections.NewItem(b, collections.NewPrefix(2), "commons", record.JSON[lifecycle.Commons]()),
	}
	var err error
	k.Schema, err = b.Build()
	return k, err
}

// Commons is the record of the commons, an empty one before the first approval.
func (k Keeper) Commons(ctx context.Context) (*lifecycle.Commons, error) {
	c, err := k.commons.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return &lifecycle.Commons{}, nil
	}
	return &c, err
}

// SetCommons stores it.
func (k Keeper) SetCommons(ctx context.Context, c *lifecycle.Commons) error {
	return k.commons.Set(ctx, *c)
}

// Held is the pool of the commons as its record says.
func (k Keeper) Held(ctx context.Context) (work.Amount, error) {
	c, err := k.Commons(ctx)
	if err != nil {
		return 0, err
	}
	return c.Pool, nil
}

// Recount is Held: the record is the only one.
func (k Keeper) Recount(ctx context.Context) (work.Amount, error) { return k.Held(ctx) }

// Flows is what entered and left the supply.
func (k Keeper) Flows(ctx context.Context) (Flows, error) {
	f, err := k.flows.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return Flows{}, nil
	}
	return f, err
}

// Begin says what the supply is before the first block, where no genesis file does.
func (k Keeper) Begin(ctx context.Context) error {
	supply := k.bank.GetSupply(ctx, work.Denom).Amount
	if !supply.IsUint64() {
		return fmt.Errorf("supply of %s: %w", supply, work.ErrOverflow)
	}
	return k.flows.Set(ctx, Flows{Genesis: work.Amount(supply.Uint64())})
}

// Mint makes money in the module's account: for paid work as far as it is allowed,
// or for the commons.
func (k Keeper) Mint(ctx context.Context, amount work.Amount, why lifecycle.Reason) error {
	f, err := k.Flows(ctx)
	if err != nil {
		return err
	}
	switch why {
	case lifecycle.ReasonMint:
		if f.Minted, err = f.Minted.Add(amount); err != nil || f.Minted > f.MayMint {
			return fmt.Errorf("%w: %s more for paid work would be over the %s that fee burns allow", ErrMint, amount, f.MayMint)
		}
	case lifecycle.ReasonEmission:
		if f.Commons, err = f.Commons.Add(amount); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: nothing is minted as %q", ErrMint, why)
	}
	if err := k.flows.Set(ctx, f); err != nil {
		return err
	}
	return k.bank.MintCoins(ctx, types.ModuleName, coins(amount))
}

// Burn ends money of a module's account. Of a fee, mintPermille may be minted again
// for paid work.
func (k Keeper) Burn(ctx context.Context, module string, amount work.Amount, why lifecycle.Reason, mintPermille uint64) error {
	f, err := k.Flows(ctx)
	if err != nil {
		return err
	}
	if why == lifecycle.ReasonFeeBurn {
		more, err := incentive.Reward(amount, mintPermille)
		if err != nil {
			return err
		}
		f.Fees += amount
		f.MayMint += more
	} else {
		f.Slashes += amount
	}
	if err := k.flows.Set(ctx, f); err != nil {
		return err
	}
	return k.bank.BurnCoins(ctx, module, coins(amount))
}

// Balanced compares the supply with what was minted and burned, and the commons'
// record with what was minted for them.
func (k Keeper) Balanced(ctx context.Context) error {
	f, err := k.Flows(ctx)
	if err != nil {
		return err
	}
	c, err := k.Commons(ctx)
	if err != nil {
		return err
	}
	if c.Emitted != f.Commons {
		return fmt.Errorf("%w: %s were minted for the commons, their record says %s", ErrMint, f.Commons, c.Emitted)
	}
	supply := k.bank.GetSupply(ctx, work.Denom).Amount
	if !supply.IsUint64() || work.Amount(supply.Uint64()) != f.Total() || f.Minted > f.MayMint {
		return fmt.Errorf("%w: it is %s ugtg, the flows are %+v", ErrMint, supply, f)
	}
	return nil
}

func coins(a work.Amount) sdk.Coins {
	return sdk.NewCoins(sdk.NewCoin(work.Denom, math.NewIntFromUint64(uint64(a))))
}

// CountBurn counts coins that a module of the SDK burned by itself: a validator's
// stake, a proposal's deposit.
func (k Keeper) CountBurn(ctx context.Context, amt sdk.Coins) error {
	amount := amt.AmountOf(work.Denom)
	if !amount.IsUint64() {
		return fmt.Errorf("burn of %s: %w", amt, work.ErrOverflow)
	}
	f, err := k.Flows(ctx)
	if err != nil {
		return err
	}
	f.Slashes += work.Amount(amount.Uint64())
	return k.flows.Set(ctx, f)
}
