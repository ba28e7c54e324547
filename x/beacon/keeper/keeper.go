// Package keeper makes one random value per block: the hash of the one before and
// of the proposer's ECVRF output over it. The proof travels as the block's first
// pseudo-transaction.
//
// It promises that a block without its proposer's proof is never accepted: voters
// check it in ProcessProposal, and everybody again in PreBlock, because replay and
// block sync see only that. A proposer can skip its block, not choose its value;
// what bias that leaves is discussed in the protocol's section on the beacon.
package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/store"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/ecvrf"

	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/beacon/types"
	"github.com/gotong-network/gotong/x/internal/record"
)

// Keeper is the store of keys and values.
type Keeper struct {
	Schema  collections.Schema
	staking StakingKeeper
	keys    collections.Map[[]byte, types.Key] // by consensus address
	values  collections.Map[uint64, work.Hash] // by height, the latest KeepHeights
	last    collections.Item[work.Hash]        // of the last block
	skipped collections.KeySet[uint64]         // kept heights that were decided after a skipped turn
}

// StakingKeeper finds the validator of an operator.
type StakingKeeper interface {
	GetValidator(ctx context.Context, operator sdk.ValAddress) (stakingtypes.Validator, error)
}

// New makes a keeper over a store.
func New(s store.KVStoreService, staking StakingKeeper) (Keeper, error) {
	b := collections.NewSchemaBuilder(s)
	k := Keeper{
		staking: staking,
		keys:    collections.NewMap(b, collections.NewPrefix(1), "keys", collections.BytesKey, record.JSON[types.Key]()),
		values:  collections.NewMap(b, collections.NewPrefix(2), "values", collections.Uint64Key, record.JSON[work.Hash]()),
		last:    collections.NewItem(b, collections.NewPrefix(3), "last", record.JSON[work.Hash]()),
		skipped: collections.NewKeySet(b, collections.NewPrefix(4), "skipped", collections.Uint64Key),
	}
	var err error
	k.Schema, err = b.Build()
	return k, err
}

// Value is the beacon of a height that is kept, lifecycle.ErrNotFound if not.
func (k Keeper) Value(ctx context.Context, height int64) (work.Hash, error) {
	v, err := k.values.Get(ctx, uint64(height))
	if errors.Is(err, collections.ErrNotFound) {
		return work.Hash{}, fmt.Errorf("beacon of height %d: %w", height, lifecycle.ErrNotFound)
	}
	return v, err
}

// Skipped reports whether a kept height before the current one was decided after a
// proposer's turn had been skipped.
func (k Keeper) Skipped(ctx context.Context, height int64) (bool, error) {
	return k.skipped.Has(ctx, uint64(height))
}

// Input is what the proposer of a height feeds its VRF.
func (k Keeper) Input(ctx sdk.Context, height int64) ([]byte, error) {
	last, err := k.lastValue(ctx)
	return types.Input(ctx.ChainID(), height, last), err
}

func (k Keeper) lastValue(ctx sdk.Context) (work.Hash, error) {
	v, err := k.last.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return types.Origin(ctx.ChainID()), nil
	}
	return v, err
}

// Check verifies the proof that a block carries and gives the block's value.
func (k Keeper) Check(ctx sdk.Context, proposer []byte, height int64, txs [][]byte) (work.Hash, error) {
	proof, err := types.Proof(txs)
	if err != nil {
		return work.Hash{}, err
	}
	keys, err := k.keys.Get(ctx, proposer)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return work.Hash{}, err
	}
	key := keys.At(height)
	if len(key) != types.KeyBytes {
		return work.Hash{}, fmt.Errorf("proposer %X has no registered VRF key that counts at height %d", proposer, height)
	}
	last, err := k.lastValue(ctx)
	if err != nil {
		return work.Hash{}, err
	}
	ok, output := ecvrf.Verify(key, proof, types.Input(ctx.ChainID(), height, last))
	if !ok {
		return work.Hash{}, fmt.Errorf("beacon proof of proposer %X does not fit its registered key", proposer)
	}
	return types.Next(last, output), nil
}

// Add stores a block's value, and whether the block before it was decided in a later
// round than the first: its own round a block cannot know. It forgets what is too
// old.
func (k Keeper) Add(ctx sdk.Context, height int64, v work.Hash, lastSkipped bool) error {
	if err := k.last.Set(ctx, v); err != nil {
		return err
	}
	if lastSkipped {
		if err := k.skipped.Set(ctx, uint64(height-1)); err != nil {
			return err
		}
	}
	if height > types.KeepHeights {
		old := uint64(height - types.KeepHeights)
		if err := errors.Join(k.values.Remove(ctx, old), k.skipped.Remove(ctx, old)); err != nil {
			return err
		}
	}
	return k.values.Set(ctx, uint64(height), v)
}

// setKey registers a validator's key, which counts after KeyDelayBlocks: nobody
// may pick a key for a draw that he can already foresee. It gives the first
// height at which it counts.
func (k Keeper) setKey(ctx sdk.Context, consensus, public []byte) (int64, error) {
	now := ctx.BlockHeight()
	old, err := k.keys.Get(ctx, consensus)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return 0, err
	}
	from := now + types.KeyDelayBlocks
	return from, k.keys.Set(ctx, consensus, types.Key{Public: old.At(now), Next: public, NextHeight: from})
}
