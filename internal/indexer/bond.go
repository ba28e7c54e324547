package indexer

import (
	"context"
	"errors"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// bondEvery is how often an indexer without a bond tries to get one.
const bondEvery = 10 * time.Second

// keepBond bonds the owner under this indexer's key, so that strangers may post jobs
// that name it: at once if it can, else in the background.
func (x *Indexer) keepBond(ctx context.Context) {
	if x.cfg.NoBond || x.bond(ctx) {
		return
	}
	x.spawn(func() {
		t := time.NewTicker(bondEvery)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				if x.bond(ctx) {
					return
				}
			}
		}
	})
}

// bond registers what is missing; false if that may be tried again.
func (x *Indexer) bond(ctx context.Context) bool {
	need, key := x.params.IndexerBond, x.cfg.Key.Public()
	q, err := x.cfg.Ledger.Party(ctx, lifecycle.RoleIndexer, x.cfg.Owner)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
	case err != nil:
		x.log.Warn("indexer: cannot look up its bond: trying again", "err", err)
		return false
	default:
		stays := q.Bond - min(q.Bond, q.Unbonding)
		if q.Peer == key && stays >= need {
			return true
		}
		need -= min(need, stays)
	}
	_, err = x.cfg.Ledger.Submit(ctx, x.cfg.Owner, ledger.Register{Role: lifecycle.RoleIndexer, Peer: key, Bond: need})
	if err == nil {
		x.log.Info("indexer: bonded", "owner", x.cfg.Owner, "bond", need.String())
		return true
	}
	if ctx.Err() == nil {
		x.log.Error("indexer: no bond, so only its owner can post jobs that name it: give the owner's account the money and its key to this process",
			"owner", x.cfg.Owner, "bond", need.String(), "err", err)
	}
	return errors.Is(err, ledger.ErrNoKey) // that does not change while it runs
}

// Output gives the output of an item that a provider delivered here, nil if there is
// none of that digest. Who knows the digest may have it: see wire.OutputRequest.
func (x *Indexer) Output(ctx context.Context, _ sign.PublicKey, q wire.OutputRequest) *wire.Output {
	if q.Digest.IsZero() || !x.enter() {
		return nil
	}
	defer x.wg.Done()
	var provs []uint32
	err := x.withJob(ctx, q.Job, func(j *job) error {
		for _, p := range j.state.provs {
			provs = append(provs, p.no)
		}
		return nil
	})
	if err != nil {
		return nil
	}
	one := work.RangeSet{{Lo: q.Item, Hi: q.Item + 1}}
	var out *wire.Output
	for _, no := range provs {
		err := x.db.results(q.Job, no, one, func(s stored) error {
			if s.result.Leaf.Output == q.Digest {
				out = &wire.Output{Output: s.result.Output}
			}
			return nil
		})
		if err != nil {
			x.log.Warn("indexer: cannot read an output that was asked for", "job", q.Job.Short(), "item", q.Item, "err", err)
		}
	}
	return out
}
