package indexer

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// What an indexer keeps of a job goes in two steps. Inputs are needed while batches
// may be checked, so no longer than the job is open on the chain; outputs stay until
// the client says that it has them, or for Timing.Retain.
const (
	inputClaim  = "indexer-in/"
	outputClaim = "indexer-out/"
)

// wipeGrace is how long a closed job's inputs stay: a provider or checker that is a
// little behind ends in peace.
const wipeGrace = 5 * time.Minute

// claimer gives the blob store if it knows claims.
func (x *Indexer) claimer() blob.Claimer {
	c, _ := x.cfg.Blobs.(blob.Claimer)
	return c
}

// claimInputs keeps what a job's providers and checkers will ask for.
func (x *Indexer) claimInputs(m *material) error {
	c := x.claimer()
	if c == nil || m.list == nil {
		return nil
	}
	who := inputClaim + m.id.String()
	in := []work.BlobID{m.spec.Items}
	if m.list.Stdin.Size > 0 {
		in = append(in, m.list.Stdin)
	}
	for _, files := range [][]work.File{m.list.Shared, m.list.Each} {
		for _, f := range files {
			in = append(in, f.Blob)
		}
	}
	return errors.Join(c.Claim(who, blob.Cache, m.spec.Program), c.Claim(who, blob.Wipe, in...))
}

// claimOutputs keeps a receipt's outputs for the client.
func (x *Indexer) claimOutputs(id work.JobID, results []work.Result) error {
	c := x.claimer()
	if c == nil {
		return nil
	}
	var out []work.BlobID
	for i := range results {
		for _, b := range results[i].Output.Blobs() {
			if b.Size > 0 {
				out = append(out, b)
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return c.Claim(outputClaim+id.String(), blob.Wipe, out...)
}

// ended notes when a job ended, for Timing.Retain.
func (x *Indexer) ended(j *job, now time.Time) {
	if !j.rec.Commons { // their results are everybody's
		x.set(jobKey(keyEnded, j.id), binary.BigEndian.AppendUint64(nil, uint64(now.Unix())))
	}
}

// wiper wipes what is over, from time to time, until ctx ends.
func (x *Indexer) wiper(ctx context.Context) error {
	every := min(max(x.cfg.Timing.Retain/4, time.Second), wipeGrace)
	t := time.NewTicker(every)
	defer t.Stop()
	closed := map[work.JobID]time.Time{} // since when it was seen to be closed
	for {
		if err := x.wipeInputs(ctx, closed); err != nil && ctx.Err() == nil {
			x.log.Warn("inputs of jobs that are over stay for now", "err", err)
		}
		if err := x.forgetOld(ctx, time.Now()); err != nil && ctx.Err() == nil {
			x.log.Warn("results of old jobs stay for now", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// wipeInputs releases the inputs of jobs that have been closed on the chain for a
// while.
func (x *Indexer) wipeInputs(ctx context.Context, closed map[work.JobID]time.Time) error {
	c := x.claimer()
	if c == nil {
		return nil
	}
	names, err := c.Claims(inputClaim)
	for _, name := range names {
		id, bad := work.ParseHash(strings.TrimPrefix(name, inputClaim))
		if bad != nil {
			continue
		}
		j, asked := x.cfg.Ledger.Job(ctx, id)
		switch {
		case errors.Is(asked, ledger.ErrNotFound):
			continue // off the chain, or not yet on it: until it is forgotten
		case asked != nil:
			return errors.Join(err, asked)
		case j.State != lifecycle.JobClosed:
			continue
		}
		if since, seen := closed[id]; !seen {
			closed[id] = time.Now()
			continue
		} else if time.Since(since) < min(wipeGrace, x.cfg.Timing.Retain) {
			continue
		}
		if waits, err := x.awaitsResults(ctx, id); err != nil || waits {
			continue // receipts that are still to come are checked with the list
		}
		delete(closed, id)
		x.log.Info("inputs of a closed job are wiped", "job", id.Short())
		err = errors.Join(err, c.Release(name))
	}
	return err
}

// awaitsResults reports whether paid batches of a job have not been delivered yet.
func (x *Indexer) awaitsResults(ctx context.Context, id work.JobID) (waits bool, err error) {
	err = x.ask(ctx, func() {
		j := x.jobs[id]
		waits = j != nil && len(j.settling) > 0
	})
	return waits, err
}

// forgetOld forgets jobs whose client did not come back for Timing.Retain.
func (x *Indexer) forgetOld(ctx context.Context, now time.Time) error {
	var old []work.JobID
	err := x.db.each([]byte{keyEnded}, func(k, v []byte) error {
		if len(v) == 8 && now.Unix()-int64(binary.BigEndian.Uint64(v)) > int64(x.cfg.Timing.Retain.Seconds()) {
			old = append(old, work.JobID(k[1:]))
		}
		return nil
	})
	for _, id := range old {
		x.log.Info("a job's results are wiped: it ended long ago", "job", id.Short())
		err = errors.Join(err, x.forget(ctx, id))
	}
	return err
}

// wipe releases all that is kept for a job.
func (x *Indexer) wipe(c blob.Claimer, id work.JobID) error {
	return errors.Join(c.Release(inputClaim+id.String()), c.Release(outputClaim+id.String()))
}

// sharers are the providers that a job was sent to last: each new one is told of
// those before it, so that what they all need comes from each other.
type sharers []p2p.Peer

// next gives the hint for a provider, and remembers it.
func (s *sharers) next(p p2p.Peer) (hint []p2p.Peer) {
	for _, o := range *s {
		if o.Key != p.Key {
			hint = append(hint, o)
		}
	}
	*s = append(slices.Clone(hint[max(0, len(hint)-wire.MaxSiblings+1):]), p)
	return hint
}
