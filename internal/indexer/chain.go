package indexer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// followChain takes every block in until ctx ends. The height is stored in the
// same batch as what a block led to.
func (x *Indexer) followChain(ctx context.Context) error {
	for ctx.Err() == nil {
		err := x.followOnce(ctx)
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return nil
		}
		x.log.Warn("indexer: following the chain stopped: trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (x *Indexer) followOnce(ctx context.Context) error {
	var from int64
	var open []work.JobID
	err := x.ask(ctx, func() {
		from = x.height
		for _, j := range x.active {
			if x.terms(j.spec.Tier).ledger {
				open = append(open, j.id)
			}
		}
	})
	if err != nil {
		return err
	}
	// What changed while the indexer was away, or while heights were pruned, is in
	// the chain's present state; the blocks behind `from` are read all the same.
	st, err := x.cfg.Ledger.Status(ctx)
	if err != nil {
		return err
	}
	if from == 0 || from > st.Height {
		from = st.Height
	}
	if err := x.catchUp(ctx, open); err != nil {
		return err
	}
	if err := x.ask(ctx, func() { x.setHeight(from) }); err != nil {
		return err
	}
	err = x.cfg.Ledger.Follow(ctx, from+1, func(b ledger.Block) error { return x.onBlock(ctx, b) })
	if errors.Is(err, ledger.ErrPruned) {
		x.log.Warn("the node no longer keeps the heights since the last run: going on at the newest", "from", from)
		return errors.Join(err, x.ask(ctx, func() { x.setHeight(st.Height) }))
	}
	return err
}

// catchUp asks the chain about all jobs that name this indexer.
func (x *Indexer) catchUp(ctx context.Context, open []work.JobID) error {
	jobs, err := x.cfg.Ledger.Jobs(ctx, "")
	if err != nil {
		return err
	}
	ended := map[work.BatchID]bool{} // final, and taken in
	err = x.ask(ctx, func() {
		for _, j := range x.active {
			for id := range j.state.ended {
				ended[id] = true
			}
			for id := range j.state.final {
				ended[id] = true
			}
		}
	})
	if err != nil {
		return err
	}
	x.noteAll(jobs)
	for _, cj := range jobs {
		if had := contains(open, cj.ID); !had && (!x.mine(cj) || cj.State == lifecycle.JobClosed) {
			continue
		}
		bs, err := x.batchesOf(ctx, cj.ID, ended)
		if err != nil {
			return err
		}
		if err := x.onChain(ctx, cj, bs, nil); err != nil {
			return err
		}
	}
	return nil
}

func contains(l []work.JobID, id work.JobID) bool {
	for _, v := range l {
		if v == id {
			return true
		}
	}
	return false
}

// onBlock takes one block in.
func (x *Indexer) onBlock(ctx context.Context, b ledger.Block) error {
	key := x.cfg.Key.Public()
	touched := map[work.JobID]bool{}
	batches := map[work.JobID][]work.BatchID{}
	phases := map[work.BatchID]lifecycle.Phase{}
	for _, e := range b.Events {
		if e.Kind == lifecycle.EventParty {
			x.registry.forget(e.Account)
		}
		if _, had := x.lists.Load(e.Job); e.Indexer != key && !had {
			continue
		}
		switch e.Kind {
		case lifecycle.EventJob:
			touched[e.Job] = true
		case lifecycle.EventBatch:
			if old, ok := phases[e.Batch]; !ok {
				batches[e.Job] = append(batches[e.Job], e.Batch)
			} else if old == lifecycle.Committed && !e.Phase.Final() {
				continue // asked about already
			}
			phases[e.Batch] = e.Phase
			if e.Phase == lifecycle.Committed || e.Phase.Final() {
				touched[e.Job] = true
			}
		}
	}
	for id := range touched {
		cj, err := x.cfg.Ledger.Job(ctx, id)
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		var bs []*lifecycle.Batch
		if known, err := x.knows(ctx, id); err != nil {
			return err
		} else if !known && x.mine(cj) && x.inherited(cj) {
			if bs, err = x.batchesOf(ctx, id, nil); err != nil {
				return err
			}
			batches[id] = nil
		}
		for _, bid := range batches[id] {
			if ph := phases[bid]; ph == lifecycle.Committed || ph.Final() {
				cb, err := x.cfg.Ledger.Batch(ctx, bid)
				if err != nil {
					return fmt.Errorf("batch %s: %w", bid.Short(), err)
				}
				bs = append(bs, cb)
			}
		}
		if err := x.onChain(ctx, cj, bs, nil); err != nil {
			return err
		}
	}
	x.hearForeign(&b)
	err := x.ask(ctx, func() {
		for id, bids := range batches {
			x.onPhases(id, bids, phases)
		}
		x.setHeight(b.Height)
	})
	x.examineForeign(b.Height)
	return err
}

// knows reports whether the batches of a job are followed here.
func (x *Indexer) knows(ctx context.Context, id work.JobID) (known bool, err error) {
	err = x.ask(ctx, func() {
		j := x.jobs[id]
		known = j != nil && !j.moved
	})
	return known, err
}

// setHeight moves the cursor.
func (x *Indexer) setHeight(h int64) {
	x.height = h
	x.set([]byte{keyCursor}, binary.BigEndian.AppendUint64(nil, uint64(h)))
	x.onHeight()
}

func (x *Indexer) onPhases(id work.JobID, bids []work.BatchID, phases map[work.BatchID]lifecycle.Phase) {
	j := x.jobs[id]
	if j == nil {
		return
	}
	for _, b := range bids {
		if o := j.state.open[b]; o != nil {
			o.phase = phases[b].String()
		}
	}
}

// onChain takes in what the chain says about a job and some of its batches.
func (x *Indexer) onChain(ctx context.Context, cj *lifecycle.Job, bs []*lifecycle.Batch, m *material) error {
	if m == nil {
		m = x.loadMaterial(&cj.Spec)
	}
	return x.ask(ctx, func() {
		j, err := x.find(cj.ID)
		if err != nil {
			x.dead = err
			return
		}
		if j == nil {
			if !x.mine(cj) {
				return
			}
			j = newJob(&jobRecord{Spec: cj.Spec, Since: time.Now().Unix()})
			x.activate(j)
		}
		x.adopt(j, m)
		was := j.chain
		j.chain, j.free = cj.State, cj.EscrowFree
		j.spent = cj.PaidWork + cj.PaidChecks
		j.dirty = true
		if !j.rec.OnLedger || j.rec.Commons != cj.Commons {
			j.rec.OnLedger, j.rec.Commons = true, cj.Commons
			x.saveJob(j)
		}
		x.hands(j, cj)
		for _, b := range bs {
			x.onBatch(j, b)
		}
		if was != j.chain {
			x.onJobState(j)
		}
		x.touch(j, nil, false)
	})
}

// adopt gives j its item list.
func (x *Indexer) adopt(j *job, m *material) {
	if j.list == nil && m.list != nil {
		j.material = m
		j.dirty = true
		if _, active := x.lists.Load(j.id); active {
			x.lists.Store(j.id, m)
			for _, p := range x.peers { // receipts that came before could not be checked: providers send them again
				if s := j.state.byAddr[p.addr]; s != nil && p.up() {
					x.resume(j, p)
					x.askAgain(j, p)
				}
			}
		}
	}
}

// loadMaterial reads a job's item list, if it is here.
func (x *Indexer) loadMaterial(s *work.JobSpec) *material {
	m := &material{id: s.ID(), spec: *s, program: s.ProgramID()}
	if v, ok := x.lists.Load(m.id); ok && v.(*material).list != nil {
		return v.(*material)
	}
	if !x.cfg.Blobs.Has(s.Items) {
		return m
	}
	b, err := x.cfg.Blobs.Get(s.Items, maxListBytes)
	if err == nil {
		m.list, err = work.DecodeItemList(b)
	}
	if err == nil && m.list.Len() != s.ItemCount {
		m.list, err = nil, fmt.Errorf("it has %d items, the job %d", m.list.Len(), s.ItemCount)
	}
	if err != nil {
		x.log.Warn("item list cannot be used", "job", m.id.Short(), "err", err)
	}
	if err := x.claimInputs(m); err != nil {
		x.log.Error("cannot keep a job's inputs", "job", m.id.Short(), "err", err)
		m.list = nil // it is asked for again
	}
	return m
}

// onJobState acts on a job that the chain closes.
func (x *Indexer) onJobState(j *job) {
	switch {
	case j.chain == lifecycle.JobClosing && x.height < j.spec.DeadlineHeight: // cancelled
		j.drops = time.Now()
		for _, s := range j.state.provs {
			x.drop(j, s.addr, s.out.set())
		}
	case j.chain == lifecycle.JobClosed:
		x.retire(j, time.Now())
	}
}

// onBatch takes in a batch in its present phase.
func (x *Indexer) onBatch(j *job, b *lifecycle.Batch) {
	if j.state.final[b.ID] != nil || j.settling[b.ID] != nil || j.state.ended[b.ID] {
		return
	}
	if j.state.open[b.ID] == nil {
		x.record(j, &event{Kind: evCommit, Provider: b.Provider, Items: b.Items, Batch: b.ID})
	}
	j.state.open[b.ID].phase = b.Phase.String()
	switch b.Phase {
	case lifecycle.Settled:
		j.settling[b.ID] = &settling{batch: b, since: time.Now()}
		x.settleSoon(j, b.ID)
	case lifecycle.Void, lifecycle.Unpaid:
		why := b.Why
		if why == "" {
			why = "its batch is " + b.Phase.String()
		}
		x.log.Info("a batch is not paid: its items go to others", "job", j.id.Short(), "batch", b.ID.Short(), "provider", b.Provider, "phase", b.Phase, "why", why)
		x.record(j, &event{Kind: evVoid, Provider: b.Provider, Items: b.Items, Batch: b.ID, Why: why})
		x.bar(j, b.Provider, why)
	}
}

// bar gives a provider nothing more of j and stops what it still runs.
func (x *Indexer) bar(j *job, a work.Address, why string) {
	s := j.state.byAddr[a]
	if s == nil || s.barred {
		return
	}
	x.drop(j, a, s.out.set())
	x.record(j, &event{Kind: evBar, Provider: a, Why: why})
	j.rankedAt = time.Time{}
}
