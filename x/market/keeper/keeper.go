// Package keeper keeps the jobs: their records, who ever took which of their
// items, and the sum of what their escrows hold. The money itself sits in the
// module's account, which only transfers of the protocol's machines move.
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

// Keeper is the store of the jobs.
type Keeper struct {
	Schema   collections.Schema
	jobs     collections.Map[[]byte, lifecycle.Job]
	byClient collections.KeySet[collections.Pair[string, []byte]]
	taken    collections.Map[collections.Pair[[]byte, string], work.RangeSet]
	held     collections.Item[uint64] // ugtg: sum of what the jobs' escrows hold
}

// New makes a keeper over a store.
func New(s store.KVStoreService) (Keeper, error) {
	b := collections.NewSchemaBuilder(s)
	k := Keeper{
		jobs: collections.NewMap(b, collections.NewPrefix(1), "jobs", collections.BytesKey, record.JSON[lifecycle.Job]()),
		byClient: collections.NewKeySet(b, collections.NewPrefix(2), "by_client",
			collections.PairKeyCodec(collections.StringKey, collections.BytesKey)),
		taken: collections.NewMap(b, collections.NewPrefix(3), "taken",
			collections.PairKeyCodec(collections.BytesKey, collections.StringKey), record.JSON[work.RangeSet]()),
		held: collections.NewItem(b, collections.NewPrefix(4), "held", collections.Uint64Value),
	}
	var err error
	k.Schema, err = b.Build()
	return k, err
}

// Job is a job's record, lifecycle.ErrNotFound if there is none.
func (k Keeper) Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error) {
	j, err := k.jobs.Get(ctx, id[:])
	if errors.Is(err, collections.ErrNotFound) {
		return nil, fmt.Errorf("job %s: %w", id, lifecycle.ErrNotFound)
	}
	return &j, err
}

// SetJob stores j and follows the sum of the escrows.
func (k Keeper) SetJob(ctx context.Context, j *lifecycle.Job) error {
	var was work.Amount
	old, err := k.Job(ctx, j.ID)
	switch {
	case err == nil:
		was = heldBy(old)
	case !errors.Is(err, lifecycle.ErrNotFound):
		return err
	default:
		if err := k.byClient.Set(ctx, collections.Join(string(j.Spec.Client), j.ID[:])); err != nil {
			return err
		}
	}
	if now := heldBy(j); now != was {
		held, err := k.Held(ctx)
		if err != nil {
			return err
		}
		if err := k.held.Set(ctx, uint64(held-was+now)); err != nil {
			return err
		}
	}
	return k.jobs.Set(ctx, j.ID[:], *j)
}

// heldBy is what a job's two escrows hold. It cannot overflow: the money is part
// of the supply, which fits into an Amount.
func heldBy(j *lifecycle.Job) work.Amount {
	return j.EscrowFree + j.EscrowLocked + j.CheckFree + j.CheckLocked
}

// Taken are the items of a job that a provider ever committed.
func (k Keeper) Taken(ctx context.Context, job work.JobID, provider work.Address) (work.RangeSet, error) {
	s, err := k.taken.Get(ctx, collections.Join(job[:], string(provider)))
	if errors.Is(err, collections.ErrNotFound) {
		return nil, nil
	}
	return s, err
}

// SetTaken stores them.
func (k Keeper) SetTaken(ctx context.Context, job work.JobID, provider work.Address, items work.RangeSet) error {
	return k.taken.Set(ctx, collections.Join(job[:], string(provider)), items)
}

// Held is the sum of all escrows as it was followed.
func (k Keeper) Held(ctx context.Context) (work.Amount, error) {
	v, err := k.held.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return 0, nil
	}
	return work.Amount(v), err
}

// Recount is the sum of all escrows by a walk over every record, whose own sums must
// be right: what came in is there, was paid, fined or returned.
func (k Keeper) Recount(ctx context.Context) (sum work.Amount, err error) {
	err = k.jobs.Walk(ctx, nil, func(_ []byte, j lifecycle.Job) (bool, error) {
		in := j.ToppedUp
		if !j.Commons {
			in += j.Spec.Escrow + j.Spec.CheckEscrow
		}
		if out := heldBy(&j) + j.PaidWork + j.PaidChecks + j.Fined + j.Refunded; in != out {
			return true, fmt.Errorf("job %s took %s, its record says %s", j.ID, in, out)
		}
		var err error
		sum, err = sum.Add(heldBy(&j))
		return err != nil, err
	})
	return sum, err
}

// page is the most records of one answer.
const page = 100

// jobsAfter is a page of the jobs of a client, or of all, by id.
func (k Keeper) jobsAfter(ctx context.Context, client string, after []byte) (l []lifecycle.Job, more bool, err error) {
	if client == "" {
		r := new(collections.Range[[]byte])
		if len(after) > 0 {
			r = r.StartExclusive(after)
		}
		err = k.jobs.Walk(ctx, r, func(_ []byte, j lifecycle.Job) (bool, error) {
			if more = len(l) == page; !more {
				l = append(l, j)
			}
			return more, nil
		})
		return l, more, err
	}
	r := collections.NewPrefixedPairRange[string, []byte](client)
	if len(after) > 0 {
		r = r.StartExclusive(after)
	}
	err = k.byClient.Walk(ctx, r, func(key collections.Pair[string, []byte]) (bool, error) {
		if more = len(l) == page; more {
			return true, nil
		}
		j, err := k.jobs.Get(ctx, key.K2())
		l = append(l, j)
		return err != nil, err
	})
	return l, more, err
}
