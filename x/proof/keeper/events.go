package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/field"
	"github.com/gotong-network/gotong/x/proof/types"
)

// EventDigest is the digest of all events and block times since genesis up to the end
// of a height that is kept. Blocks prove their state but not their events: a reader
// that knows the digests of two heights can check what it was told of those between.
func (k Keeper) EventDigest(ctx context.Context, height int64) (work.Hash, error) {
	b, err := k.events.Get(ctx, uint64(height))
	if errors.Is(err, collections.ErrNotFound) {
		return work.Hash{}, nil // before the chain's first block
	}
	if err != nil {
		return work.Hash{}, err
	}
	return field.Hash("digest of events", b)
}

// digest adds one event. It is part of the transition that emits it: if that fails,
// the event was never there.
func (k Keeper) digest(ctx sdk.Context, event []byte) error {
	last, err := k.lastDigest(ctx)
	if err != nil {
		return err
	}
	return k.setDigest(ctx, types.NextDigest(last, ctx.BlockHeight(), event))
}

// closeDigest ends a height with its time: it has a digest even if nothing happened.
func (k Keeper) closeDigest(ctx sdk.Context) error {
	last, err := k.lastDigest(ctx)
	if err != nil {
		return err
	}
	if old := ctx.BlockHeight() - types.KeepDigests; old > 0 {
		if err := k.events.Remove(ctx, uint64(old)); err != nil {
			return err
		}
	}
	return k.setDigest(ctx, types.CloseDigest(last, ctx.BlockHeight(), ctx.BlockTime()))
}

// lastDigest is that of this height, if it has one yet, or of the one before.
func (k Keeper) lastDigest(ctx sdk.Context) (work.Hash, error) {
	height := ctx.BlockHeight()
	has, err := k.events.Has(ctx, uint64(height))
	if err != nil {
		return work.Hash{}, err
	}
	if !has {
		height--
	}
	return k.EventDigest(ctx, height)
}

func (k Keeper) setDigest(ctx sdk.Context, d work.Hash) error {
	if err := k.events.Set(ctx, uint64(ctx.BlockHeight()), d[:]); err != nil {
		return fmt.Errorf("digest of events: %w", err)
	}
	return nil
}
