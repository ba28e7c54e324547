package indexer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// A job changes hands by the chain's word alone. Who loses it stops handing out; who
// gets it learns from the chain what was committed, from providers what they hold
// under assignments of earlier indexers, and fetches list and inputs from whoever has
// them. What providers have done is not done again.

// errMoved is told to clients of a job that another indexer has now.
var errMoved = errors.New("another indexer has this job now: the chain names it")

// maxGathered bounds the program and inputs of a job that are copied here without its
// client's asking.
const maxGathered = 16 << 30

// mine reports whether the chain says that this indexer has the job.
func (x *Indexer) mine(cj *lifecycle.Job) bool {
	now := cj.Indexer()
	return now.Key == x.cfg.Key.Public() && now.Owner == x.cfg.Owner
}

// inherited reports whether others handed out items of the job before.
func (x *Indexer) inherited(cj *lifecycle.Job) bool {
	for _, s := range cj.Signers() {
		if s.Key != x.cfg.Key.Public() {
			return true
		}
	}
	return false
}

// batchesOf reads all batches of a job but those in skip.
func (x *Indexer) batchesOf(ctx context.Context, id work.JobID, skip map[work.BatchID]bool) ([]*lifecycle.Batch, error) {
	ids, err := x.cfg.Ledger.Batches(ctx, id)
	if err != nil {
		return nil, err
	}
	var bs []*lifecycle.Batch
	for _, b := range ids {
		if skip[b] {
			continue
		}
		cb, err := x.cfg.Ledger.Batch(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("batch %s: %w", b.Short(), err)
		}
		bs = append(bs, cb)
	}
	return bs, nil
}

// hands takes in whose job it is now.
func (x *Indexer) hands(j *job, cj *lifecycle.Job) {
	was := j.moved
	j.signers, j.moved = cj.Signers(), !x.mine(cj)
	switch {
	case j.moved && !was:
		x.log.Info("another indexer has a job of this one now", "job", j.id.Short(), "indexer", cj.Indexer().Owner)
		x.touch(j, nil, true)
	case !j.moved && x.inherited(cj) && (was || !j.rec.Inherited):
		x.log.Info("this indexer has taken a job over", "job", j.id.Short(), "from", j.signers[max(0, len(j.signers)-2)].Owner)
		j.rec.Inherited, j.rec.Over, j.dealFrom = true, false, time.Time{}
		x.saveJob(j)
	}
	if c := cj.Takeover; c != nil && !j.moved && j.keptUntil != c.Deadline && j.answers(cj) {
		j.keptUntil = c.Deadline
		x.spawn(func() { x.keep(j.id, c) })
	}
}

// answers reports whether this indexer still wants a job that another one claims.
func (j *job) answers(cj *lifecycle.Job) bool {
	return cj.Kept < lifecycle.MaxKeeps && j.list != nil && !j.rec.Released && !j.rec.Forgotten && !j.rec.Over
}

// keep answers a claim to a job.
func (x *Indexer) keep(id work.JobID, c *lifecycle.Takeover) {
	ctx, cancel := x.during(time.Minute)
	defer cancel()
	_, err := x.cfg.Ledger.Submit(ctx, x.cfg.Owner, ledger.KeepJob{Job: id})
	if err != nil && ctx.Err() == nil {
		x.log.Warn("a claim to a job of this indexer is not answered", "job", id.Short(), "claimant", c.Owner, "until", c.Deadline, "err", err)
		return
	}
	x.log.Info("answered a claim to a job", "job", id.Short(), "claimant", c.Owner)
}

// during is a context that ends with the indexer, after d, or when it is cancelled.
func (x *Indexer) during(d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	x.spawn(func() {
		select {
		case <-x.quit:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

// inherit looks after a job that was taken over: its list first, then what providers
// have of it, and its inputs.
func (x *Indexer) inherit(j *job, now time.Time) {
	if !j.rec.Inherited || j.moved || j.rec.Over || j.rec.Forgotten || j.chain == 0 {
		return
	}
	if j.list != nil && j.dealFrom.IsZero() {
		j.dealFrom, j.asked = now.Add(x.cfg.Timing.Inherit), map[work.Address]bool{}
		for _, p := range x.peers {
			x.askHeir(j, p)
		}
	}
	if j.gathered || j.gathering || now.Sub(j.gatherAt) < x.cfg.Timing.Gather {
		return
	}
	j.gathering, j.gatherAt = true, now
	spec, holders := j.spec, x.holdersOf(j)
	x.spawn(func() {
		m, err := x.gather(&spec, holders)
		x.post(func() {
			j.gathering, j.gathered = false, err == nil
			if err != nil {
				x.log.Info("not all of a job that was taken over is here yet", "job", j.id.Short(), "holders", len(holders), "err", err)
			}
			if m.list != nil {
				x.adopt(j, m)
			}
		})
	})
}

// askHeir asks a provider what it holds of a job that was taken over.
func (x *Indexer) askHeir(j *job, p *peer) {
	if j.rec.Inherited && !j.moved && j.list != nil && len(j.signers) > 0 {
		id := j.id
		if p.up() && time.Now().Before(j.dealFrom) {
			j.asked[p.addr] = true
		}
		x.send(p, func() []byte { return wire.EncodeResume(id) })
	}
}

// heldAll notes that a provider has said all that it holds of a job.
func (x *Indexer) heldAll(p *peer, id work.JobID) {
	if j := x.jobs[id]; j != nil && j.asked[p.addr] {
		delete(j.asked, p.addr)
		j.dirty = true
	}
}

// holdersOf are who may have a job's program, list and inputs: providers that worked
// on it, others that are connected, then its earlier indexers.
func (x *Indexer) holdersOf(j *job) []p2p.Peer {
	var first, rest []p2p.Peer
	for _, p := range x.peers {
		at := p2p.Peer{Key: p.offer.Peer, Addrs: p.offer.Addrs}
		switch {
		case j.state.byAddr[p.addr] != nil:
			first = append(first, at)
		case p.up():
			rest = append(rest, at)
		}
	}
	out := append(append([]p2p.Peer(nil), j.rec.Holders...), append(first, rest...)...)
	out = out[:min(len(out), 2*maxHolders)]
	for _, s := range j.signers {
		if s.Key != x.cfg.Key.Public() {
			out = append(out, x.at(s.Key))
		}
	}
	return out
}

// gather brings a job's list here, then its program and inputs. What it gives has the
// list if that is here, whatever the error.
func (x *Indexer) gather(s *work.JobSpec, holders []p2p.Peer) (*material, error) {
	ctx, cancel := x.during(fetchPatience)
	defer cancel()
	m := &material{id: s.ID(), spec: *s, program: s.ProgramID()}
	if s.Items.Size > maxListBytes || s.Program.Size > maxGathered {
		return m, fmt.Errorf("its list has %d bytes, its program %d: too much to copy", s.Items.Size, s.Program.Size)
	}
	if err := x.cfg.Fetcher.Fetch(ctx, s.Items, holders); err != nil {
		return m, err
	}
	if m = x.loadMaterial(s); m.list == nil {
		return m, fmt.Errorf("item list %s: %w", s.Items, work.ErrMalformed)
	}
	x.post(func() {
		if j := x.jobs[m.id]; j != nil {
			x.adopt(j, m)
		}
	})
	bytes := s.Program.Size
	for _, b := range append([]work.BlobID{s.Program}, m.list.Blobs(work.Range{Lo: 0, Hi: s.ItemCount})...) {
		if bytes += b.Size; bytes > maxGathered {
			return m, fmt.Errorf("its inputs have over %d bytes: too much to copy", uint64(maxGathered))
		}
		if x.cfg.Blobs.Has(b) {
			continue
		}
		if err := x.cfg.Fetcher.Fetch(ctx, b, holders); err != nil {
			return m, err
		}
	}
	return m, nil
}

// onHeld takes a provider's word on an assignment of an earlier indexer.
func (x *Indexer) onHeld(l *link, h *wire.Held) error {
	if h.Assignment.Provider != l.provider || h.Assignment.Chain != x.cfg.Chain {
		return fmt.Errorf("%w: it shows an assignment of %s", errNonsense, h.Assignment.Provider)
	}
	x.post(func() { x.takeHeld(l.peer, h) })
	return nil
}

func (x *Indexer) takeHeld(p *peer, h *wire.Held) {
	a := &h.Assignment
	j := x.jobs[a.Job]
	if j == nil || !j.rec.Inherited || j.moved || a.Attempt >= maxAttempts || a.Ranges[len(a.Ranges)-1].Hi > j.state.n {
		return
	}
	expires, ok := x.signedBefore(j, a)
	s := j.state.byAddr[p.addr]
	if !ok || s != nil && s.barred {
		return
	}
	items := h.Items // verified ones too: their batch is proven with all of its results
	if s != nil && a.Attempt < uint32(len(s.under)) {
		items = s.under[a.Attempt].without(items)
	}
	if len(items) == 0 {
		return
	}
	x.log.Debug("a provider holds items of an earlier indexer", "job", j.id.Short(), "provider", p.addr, "items", items.Len())
	x.record(j, &event{Kind: evAssign, Provider: p.addr, Attempt: a.Attempt, Items: items, Chunk: 1, Price: a.Price, Expires: expires})
	p.dealing(j.id).given(time.Now())
}

// signedBefore gives the last height at which an assignment of an earlier indexer
// commits; false if none of the job's signed it.
func (x *Indexer) signedBefore(j *job, a *work.Assignment) (expires int64, ok bool) {
	for _, s := range j.signers {
		if s.Key == x.cfg.Key.Public() || a.Verify(s.Key) != nil {
			continue
		}
		if s.Until > 0 {
			return min(a.ExpiresHeight, s.Until), true
		}
		return a.ExpiresHeight, true
	}
	return 0, false
}
