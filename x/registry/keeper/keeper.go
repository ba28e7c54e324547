// Package keeper keeps the parties: accounts bonded as providers, checkers or
// indexers. It owns their records and the sums of their bonds and of the pay that
// still vests; the money itself sits in the module's account, which only transfers
// of the protocol's machines move.
//
// It never decides: every rule is lifecycle's.
package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/store"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/record"
)

// Keeper is the store of the parties.
type Keeper struct {
	Schema  collections.Schema
	parties collections.Map[collections.Pair[uint32, string], lifecycle.Party]
	held    collections.Item[uint64] // ugtg: sum of Party.Bond
	vesting collections.Item[uint64] // ugtg: sum of Party.Unvested
}

// New makes a keeper over a store.
func New(s store.KVStoreService) (Keeper, error) {
	b := collections.NewSchemaBuilder(s)
	k := Keeper{
		parties: collections.NewMap(b, collections.NewPrefix(1), "parties",
			collections.PairKeyCodec(collections.Uint32Key, collections.StringKey), record.JSON[lifecycle.Party]()),
		held:    collections.NewItem(b, collections.NewPrefix(2), "held", collections.Uint64Value),
		vesting: collections.NewItem(b, collections.NewPrefix(3), "vesting", collections.Uint64Value),
	}
	var err error
	k.Schema, err = b.Build()
	return k, err
}

// Party is an account's record in a role, lifecycle.ErrNotFound if it has none.
func (k Keeper) Party(ctx context.Context, role lifecycle.Role, account work.Address) (*lifecycle.Party, error) {
	p, err := k.parties.Get(ctx, collections.Join(uint32(role), string(account)))
	if errors.Is(err, collections.ErrNotFound) {
		return nil, fmt.Errorf("%s is not registered in role %d: %w", account, role, lifecycle.ErrNotFound)
	}
	return &p, err
}

// HasBond reports whether an account has a bond in any role.
func (k Keeper) HasBond(ctx context.Context, account work.Address) (bool, error) {
	for _, role := range []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker, lifecycle.RoleIndexer} {
		p, err := k.Party(ctx, role, account)
		switch {
		case err == nil && p.Bond > 0:
			return true, nil
		case err != nil && !errors.Is(err, lifecycle.ErrNotFound):
			return false, err
		}
	}
	return false, nil
}

// SetParty stores p and follows the sums of bonds and unvested pay.
func (k Keeper) SetParty(ctx context.Context, p *lifecycle.Party) error {
	old, err := k.Party(ctx, p.Role, p.Account)
	if errors.Is(err, lifecycle.ErrNotFound) {
		old, err = &lifecycle.Party{}, nil
	}
	if err != nil {
		return err
	}
	if err := follow(ctx, k.held, old.Bond, p.Bond); err != nil {
		return err
	}
	if err := follow(ctx, k.vesting, old.Unvested, p.Unvested); err != nil {
		return err
	}
	return k.parties.Set(ctx, collections.Join(uint32(p.Role), string(p.Account)), *p)
}

// Parties are all parties of a role, in the order of their accounts.
func (k Keeper) Parties(ctx context.Context, role lifecycle.Role) ([]*lifecycle.Party, error) {
	var l []*lifecycle.Party
	err := k.parties.Walk(ctx, collections.NewPrefixedPairRange[uint32, string](uint32(role)),
		func(_ collections.Pair[uint32, string], p lifecycle.Party) (bool, error) {
			l = append(l, &p)
			return false, nil
		})
	return l, err
}

// follow changes a sum by what one record of it changed.
func follow(ctx context.Context, sum collections.Item[uint64], was, now work.Amount) error {
	if was == now {
		return nil
	}
	v, err := value(ctx, sum)
	if err != nil {
		return err
	}
	return sum.Set(ctx, uint64(v-was+now))
}

// Bonded is the sum of all bonds as it was followed.
func (k Keeper) Bonded(ctx context.Context) (work.Amount, error) { return value(ctx, k.held) }

// Unvested is the sum of all pay that vests, as it was followed.
func (k Keeper) Unvested(ctx context.Context) (work.Amount, error) { return value(ctx, k.vesting) }

// Held is what the module's account holds: bonds and unvested pay.
func (k Keeper) Held(ctx context.Context) (work.Amount, error) {
	bonded, err := k.Bonded(ctx)
	if err != nil {
		return 0, err
	}
	unvested, err := k.Unvested(ctx)
	return bonded + unvested, err
}

func value(ctx context.Context, sum collections.Item[uint64]) (work.Amount, error) {
	v, err := sum.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return 0, nil
	}
	return work.Amount(v), err
}

// Recount is Held by a walk over every record, whose tranches must be its pay.
func (k Keeper) Recount(ctx context.Context) (sum work.Amount, err error) {
	err = k.parties.Walk(ctx, nil, func(_ collections.Pair[uint32, string], p lifecycle.Party) (bool, error) {
		var err error
		if sum, err = sum.Add(p.Bond); err != nil {
			return true, err
		}
		var vesting work.Amount
		for _, t := range p.Vesting {
			vesting += t.Amount
		}
		if vesting != p.Unvested || p.Pledged > p.Unvested {
			return true, fmt.Errorf("%s %s has %s unvested, its tranches say %s, %s of it is pledged", p.Role, p.Account, p.Unvested, vesting, p.Pledged)
		}
		sum, err = sum.Add(p.Unvested)
		return err != nil, err
	})
	return sum, err
}

// page is the most records of one answer.
const page = 200

// partiesAfter is a page of a role's parties.
func (k Keeper) partiesAfter(ctx context.Context, role uint32, after string) (l []lifecycle.Party, more bool, err error) {
	r := collections.NewPrefixedPairRange[uint32, string](role)
	if after != "" {
		r = r.StartExclusive(after)
	}
	err = k.parties.Walk(ctx, r, func(_ collections.Pair[uint32, string], p lifecycle.Party) (bool, error) {
		more = len(l) == page
		if !more {
			l = append(l, p)
		}
		return more, nil
	})
	return l, more, err
}
