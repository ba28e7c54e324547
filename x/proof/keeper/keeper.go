// Package keeper keeps the batches, their evidence and wakes, the queue of disputes,
// the suspended programs, the digest of all events and the protocol's parameters, and lets the pure machines
// of lifecycle run on the chain's store (state.go): every message about jobs, bonds
// and batches, and the end of every block.
//
// It promises that a failed transition leaves no change, that one broken record
// cannot stop the others or the chain, and that what the records say equals what
// the modules' accounts hold. It never decides: every rule is lifecycle's.
package keeper

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/store"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/record"
	"github.com/gotong-network/gotong/x/proof/types"
)

// Neighbours are the modules that a Keeper speaks to.
type Neighbours struct {
	Bank     types.BankKeeper
	Staking  StakingKeeper
	Market   types.MarketKeeper
	Registry types.RegistryKeeper
	Reward   RewardKeeper
	Beacon   types.BeaconKeeper
}

// Keeper is the store of the batches and the machines' hand on the chain.
type Keeper struct {
	Schema collections.Schema
	Neighbours

	params  collections.Item[lifecycle.Params]
	batches collections.Map[[]byte, lifecycle.Batch]
	byJob   collections.KeySet[collections.Pair[[]byte, []byte]]
	held    collections.Item[uint64] // ugtg: stakes in open disputes

	court       collections.Item[lifecycle.Court]
	queue       collections.Map[uint64, []byte] // batch by its number in the queue of disputes
	suspensions collections.Map[[]byte, lifecycle.Suspension]
	evidence    collections.Map[[]byte, []byte] // by batch: an encoded QueryEvidenceResponse
	events      collections.Map[uint64, []byte] // digest of all events up to a height, the latest KeepDigests

	wakeJobs    collections.KeySet[collections.Pair[uint64, []byte]]
	wakeBatches collections.KeySet[collections.Pair[uint64, []byte]]
	wakeParties collections.KeySet[collections.Triple[uint64, uint32, string]]
}

// New makes a keeper over a store.
func New(s store.KVStoreService, n Neighbours) (Keeper, error) {
	b := collections.NewSchemaBuilder(s)
	atID := collections.PairKeyCodec(collections.Uint64Key, collections.BytesKey)
	k := Keeper{
		Neighbours:  n,
		params:      collections.NewItem(b, collections.NewPrefix(1), "params", record.JSON[lifecycle.Params]()),
		batches:     collections.NewMap(b, collections.NewPrefix(2), "batches", collections.BytesKey, record.JSON[lifecycle.Batch]()),
		byJob:       collections.NewKeySet(b, collections.NewPrefix(3), "by_job", collections.PairKeyCodec(collections.BytesKey, collections.BytesKey)),
		held:        collections.NewItem(b, collections.NewPrefix(4), "held", collections.Uint64Value),
		court:       collections.NewItem(b, collections.NewPrefix(9), "court", record.JSON[lifecycle.Court]()),
		queue:       collections.NewMap(b, collections.NewPrefix(10), "queue", collections.Uint64Key, collections.BytesValue),
		suspensions: collections.NewMap(b, collections.NewPrefix(11), "suspensions", collections.BytesKey, record.JSON[lifecycle.Suspension]()),
		evidence:    collections.NewMap(b, collections.NewPrefix(12), "evidence", collections.BytesKey, collections.BytesValue),
		events:      collections.NewMap(b, collections.NewPrefix(types.DigestPrefix), "events", collections.Uint64Key, collections.BytesValue),
		wakeJobs:    collections.NewKeySet(b, collections.NewPrefix(6), "wake_jobs", atID),
		wakeBatches: collections.NewKeySet(b, collections.NewPrefix(7), "wake_batches", atID),
		wakeParties: collections.NewKeySet(b, collections.NewPrefix(8), "wake_parties",
			collections.TripleKeyCodec(collections.Uint64Key, collections.Uint32Key, collections.StringKey)),
	}
	var err error
	k.Schema, err = b.Build()
	return k, err
}

// Do runs a transition of the machines in the transaction of ctx, which drops its
// changes if it fails. Its error carries a code for the transaction's result.
func (k Keeper) Do(ctx context.Context, f func(lifecycle.Machine) error) error {
	return types.Refuse(f(lifecycle.Machine{S: &state{ctx: sdk.UnwrapSDKContext(ctx), k: k}}))
}

// EndBlock lets the machines do what is due at this height. Should that fail as a
// whole, each record is tried by itself, then the queue of disputes and the epoch of
// the commons, and those that fail are left as they are and told in the log: a broken
// record must not stop the chain.
func (k Keeper) EndBlock(ctx sdk.Context) error {
	if err := k.endRecords(ctx); err != nil {
		return err
	}
	return k.closeDigest(ctx)
}

// endRecords is EndBlock but for the digest of events.
func (k Keeper) endRecords(ctx sdk.Context) error {
	due, err := k.due(ctx, ctx.BlockHeight())
	if err != nil {
		return err
	}
	err = k.whole(ctx, due, lifecycle.Machine.EndBlock)
	if err == nil {
		return nil
	}
	ctx.Logger().Error("end of block failed as a whole: trying record by record", "height", ctx.BlockHeight(), "err", err)
	for _, one := range split(due) {
		if err := k.whole(ctx, one, func(m lifecycle.Machine) error { return m.EndRecords(one) }); err != nil {
			ctx.Logger().Error("a record is stuck: its turn was left out", "height", ctx.BlockHeight(), "due", fmt.Sprint(one), "err", err)
		}
	}
	for _, part := range []func(lifecycle.Machine) error{lifecycle.Machine.EndQueue, lifecycle.Machine.EndEpoch} {
		if err := k.whole(ctx, lifecycle.Due{}, part); err != nil {
			ctx.Logger().Error("a part of the block's end is stuck: it was left out", "height", ctx.BlockHeight(), "err", err)
		}
	}
	return nil
}

// whole does a part of a block's end, whole or not at all.
func (k Keeper) whole(ctx sdk.Context, due lifecycle.Due, part func(lifecycle.Machine) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	inner, write := ctx.CacheContext()
	if err := part(lifecycle.Machine{S: &state{ctx: inner, k: k, dueNow: due}}); err != nil {
		return err
	}
	write()
	return nil
}

// split gives each record that is due by itself, in the machines' order.
func split(d lifecycle.Due) (l []lifecycle.Due) {
	for i := range d.Batches {
		l = append(l, lifecycle.Due{Batches: d.Batches[i : i+1]})
	}
	for i := range d.Jobs {
		l = append(l, lifecycle.Due{Jobs: d.Jobs[i : i+1]})
	}
	for i := range d.Parties {
		l = append(l, lifecycle.Due{Parties: d.Parties[i : i+1]})
	}
	return l
}

// due takes out what wakes at a height.
func (k Keeper) due(ctx context.Context, height int64) (d lifecycle.Due, err error) {
	h := uint64(height)
	at := collections.NewPrefixedPairRange[uint64, []byte](h)
	take := func(s collections.KeySet[collections.Pair[uint64, []byte]]) (ids []work.Hash, err error) {
		if err := s.Walk(ctx, at, func(key collections.Pair[uint64, []byte]) (bool, error) {
			ids = append(ids, work.Hash(key.K2()))
			return false, nil
		}); err != nil {
			return nil, err
		}
		for _, id := range ids {
			if err := s.Remove(ctx, collections.Join(h, id[:])); err != nil {
				return nil, err
			}
		}
		return ids, nil
	}
	if d.Jobs, err = take(k.wakeJobs); err != nil {
		return d, err
	}
	if d.Batches, err = take(k.wakeBatches); err != nil {
		return d, err
	}
	if err := k.wakeParties.Walk(ctx, collections.NewPrefixedTripleRange[uint64, uint32, string](h),
		func(key collections.Triple[uint64, uint32, string]) (bool, error) {
			d.Parties = append(d.Parties, lifecycle.PartyKey{Role: lifecycle.Role(key.K2()), Account: work.Address(key.K3())})
			return false, nil
		}); err != nil {
		return d, err
	}
	for _, p := range d.Parties {
		if err := k.wakeParties.Remove(ctx, collections.Join3(h, uint32(p.Role), string(p.Account))); err != nil {
			return d, err
		}
	}
	return d, nil
}

// Params are the protocol's parameters.
func (k Keeper) Params(ctx context.Context) (lifecycle.Params, error) { return k.params.Get(ctx) }

// Batch is a batch's record, lifecycle.ErrNotFound if there is none.
func (k Keeper) Batch(ctx context.Context, id work.BatchID) (*lifecycle.Batch, error) {
	b, err := k.batches.Get(ctx, id[:])
	if errors.Is(err, collections.ErrNotFound) {
		return nil, fmt.Errorf("batch %s: %w", id, lifecycle.ErrNotFound)
	}
	return &b, err
}

// setBatch stores b and follows the sum of the stakes.
func (k Keeper) setBatch(ctx context.Context, b *lifecycle.Batch) error {
	var was work.Amount
	old, err := k.Batch(ctx, b.ID)
	switch {
	case err == nil:
		was = stakeOf(old)
	case !errors.Is(err, lifecycle.ErrNotFound):
		return err
	default:
		if err := k.byJob.Set(ctx, collections.Join(b.Job[:], b.ID[:])); err != nil {
			return err
		}
	}
	if now := stakeOf(b); now != was {
		held, err := k.Held(ctx)
		if err != nil {
			return err
		}
		if err := k.held.Set(ctx, uint64(held-was+now)); err != nil {
			return err
		}
	}
	return k.batches.Set(ctx, b.ID[:], *b)
}

// stakeOf is what a batch's dispute holds.
func stakeOf(b *lifecycle.Batch) work.Amount {
	if b.Dispute == nil || b.Phase.Final() {
		return 0
	}
	return b.Dispute.Stake
}

// Held is the sum of all stakes as it was followed.
func (k Keeper) Held(ctx context.Context) (work.Amount, error) {
	v, err := k.held.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return 0, nil
	}
	return work.Amount(v), err
}

// Recount is the sum of all stakes by a walk over every record.
func (k Keeper) Recount(ctx context.Context) (sum work.Amount, err error) {
	err = k.batches.Walk(ctx, nil, func(_ []byte, b lifecycle.Batch) (bool, error) {
		var err error
		sum, err = sum.Add(stakeOf(&b))
		return err != nil, err
	})
	return sum, err
}

// page is the most ids of one answer.
const page = 1000

// batchesAfter is a page of the ids of a job's batches.
func (k Keeper) batchesAfter(ctx context.Context, job work.JobID, after []byte) (l [][]byte, more bool, err error) {
	r := collections.NewPrefixedPairRange[[]byte, []byte](job[:])
	if len(after) > 0 {
		r = r.StartExclusive(after)
	}
	err = k.byJob.Walk(ctx, r, func(key collections.Pair[[]byte, []byte]) (bool, error) {
		if more = len(l) == page; !more {
			l = append(l, key.K2())
		}
		return more, nil
	})
	return l, more, err
}
