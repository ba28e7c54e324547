package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// The owner's machine is not this program's. While the owner, or what the owner
// set, allows nothing, workers are stopped at once and what they had in hand goes
// back to its indexers, so that no job waits for a machine that may be away for
// hours. What is finished is still committed, opened and revealed: those are
// promises with deadlines, and cost next to nothing.

// Allowance is what the machine's owner gives now.
type Allowance struct {
	Slots       int    // items at once; 0: nothing, at once
	MemoryBytes uint64 // for items, all slots together; 0: as configured
	Why         string // it is not everything; empty: it is, or nobody said
}

// Governor says what is allowed. It is safe for concurrent use.
type Governor interface {
	// Now gives what is allowed, and a channel that is closed when that is no longer
	// so.
	Now() (Allowance, <-chan struct{})
}

// State is what a provider does, in a word.
type State string

// The states, for people and programs.
const (
	Idle     State = "idle"     // it has nothing to do
	Working  State = "working"  // it has work in hand
	Paused   State = "paused"   // its owner, or a limit, stopped it
	Draining State = "draining" // it finishes what it has and takes nothing new
	Drained  State = "drained"  // it has finished: it may be switched off
)

// Status is what a provider does now.
type Status struct {
	State State  `json:"state"`
	Why   string `json:"why,omitempty"` // it is paused, or is allowed less than all

	Slots        int `json:"slots"`
	SlotsAllowed int `json:"slots_allowed"`
	SlotsUsed    int `json:"slots_used"`

	Jobs             int    `json:"jobs"`              // known here, ended ones too until they are forgotten
	ItemsQueued      uint64 `json:"items_queued"`      // assigned, not begun
	ItemsRunning     uint64 `json:"items_running"`     // in workers, or about to be written
	ItemsUncommitted uint64 `json:"items_uncommitted"` // finished, in no batch yet
	BatchesOpen      int    `json:"batches_open"`      // on the chain or about to be, not final
	Undelivered      int    `json:"undelivered"`       // receipts that an indexer may not have yet

	FuelPerSec work.Fuel  `json:"fuel_per_sec"` // of a slot, measured
	Price      work.Price `json:"price"`        // asked now
}

// errStopped reports a provider that does not run any more.
var errStopped = errors.New("the provider has stopped")

// Pause stops work at once and takes nothing new until Resume.
func (p *Provider) Pause() { p.change(func() { p.paused = true }) }

// Resume takes up work again after Pause or Drain, as far as the governor allows.
func (p *Provider) Resume() { p.change(func() { p.paused, p.draining = false, false }) }

// Drain takes nothing new, finishes what is assigned, commits it, sees its batches
// to their end and delivers what they gave; it returns nil when nothing is left, or
// ctx's error. Either way nothing new is taken until Resume.
func (p *Provider) Drain(ctx context.Context) error {
	p.change(func() { p.draining = true })
	t := time.NewTicker(batchTick)
	defer t.Stop()
	for since := time.Now(); ; {
		p.mu.Lock()
		s, gone := p.statusLocked(), p.stopped
		if s.BatchesOpen > 0 {
			since = time.Now()
		}
		p.mu.Unlock()
		switch {
		case s.State == Drained, s.empty() && time.Since(since) > p.Retain: // an indexer that never came back
			return nil
		case gone:
			return fmt.Errorf("drain: %w", errStopped)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: %w with %d items, %d batches and %d receipts in hand", context.Cause(ctx), s.ItemsQueued+s.ItemsRunning+s.ItemsUncommitted, s.BatchesOpen, s.Undelivered)
		case <-t.C:
		}
	}
}

// Status says what the provider does now.
func (p *Provider) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.statusLocked()
	if p.Governor != nil && !p.paused && s.State != Drained { // its words are newer than what was last done
		if a, _ := p.Governor.Now(); (a.Slots == 0) == (s.SlotsAllowed == 0) {
			s.Why = a.Why
		}
	}
	return s
}

func (p *Provider) statusLocked() Status {
	now := time.Now()
	s := Status{
		Slots: p.slots(), SlotsAllowed: p.openSlotsLocked(), SlotsUsed: p.taken, Jobs: len(p.jobs), BatchesOpen: len(p.batches),
		FuelPerSec: work.Fuel(p.rate.Load()), Why: p.allowed.Why,
	}
	for _, j := range p.jobs {
		s.ItemsQueued += j.queued
		for i := range j.pending {
			s.ItemsQueued += j.pending[i].Assignment.Ranges.Len()
		}
		s.ItemsRunning += j.running + uint64(j.unwritten)
		for _, c := range j.loose {
			s.ItemsUncommitted += c.n()
		}
		if j.commons || j.state == jobClosed {
			continue
		}
		for _, c := range j.chunks {
			if !c.lost && !c.delivered(now) {
				s.Undelivered++
			}
		}
	}
	s.Price = p.priceLocked()
	switch {
	case p.draining && s.empty() && s.Undelivered == 0:
		s.State, s.SlotsAllowed, s.Why = Drained, 0, "drained"
	case p.paused:
		s.State, s.Why = Paused, pausedWhy
	case s.SlotsAllowed == 0:
		s.State = Paused
	case p.draining:
		s.State = Draining
	case s.ItemsQueued+s.ItemsRunning > 0:
		s.State = Working
	default:
		s.State = Idle
	}
	return s
}

// empty reports that nothing is left to run, to commit or to see through.
func (s *Status) empty() bool {
	return s.ItemsQueued+s.ItemsRunning+s.ItemsUncommitted == 0 && s.BatchesOpen == 0
}

// slots is how many items this provider runs at once when all is allowed.
func (p *Provider) slots() int {
	if p.Slots > 0 {
		return p.Slots
	}
	return max(1, p.Runtime.Slots())
}

// openSlotsLocked is how many items may run now.
func (p *Provider) openSlotsLocked() int {
	if p.paused {
		return 0
	}
	return max(0, min(p.slots(), p.allowed.Slots))
}

// offeredLocked is how many slots are for new work.
func (p *Provider) offeredLocked() int {
	if p.draining {
		return 0
	}
	return p.openSlotsLocked()
}

const pausedWhy = "paused by its owner"

// closedWhyLocked says why nothing new is taken; empty if it is.
func (p *Provider) closedWhyLocked() string {
	switch {
	case p.paused:
		return "this provider was " + pausedWhy
	case p.draining:
		return "this provider takes nothing new: it drains"
	case p.openSlotsLocked() == 0:
		return "this provider pauses: its owner's limits" // which, is the owner's business
	}
	return ""
}

// govern does what the governor says until ctx ends.
func (p *Provider) govern(ctx context.Context) {
	for {
		a, changed := p.Governor.Now()
		p.change(func() { p.allowed = a })
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// change changes what is allowed, and does what follows from it.
func (p *Provider) change(f func()) {
	p.mu.Lock()
	before, why := p.openSlotsLocked(), p.closedWhyLocked()
	f()
	after, whyNow := p.openSlotsLocked(), p.closedWhyLocked()
	switch {
	case after == 0:
		p.stopLocked(whyNow)
	case p.draining:
		p.leaveCommonsLocked()
	}
	p.ready.Broadcast()
	p.mu.Unlock()
	if whyNow != why && whyNow != "" {
		p.log.Info("no new work is taken", "why", whyNow)
	} else if after != before || whyNow != why {
		p.log.Info("work is taken", "slots", after, "why", p.Status().Why)
	}
	if rt, ok := p.Runtime.(runtime.Shedder); ok && after == 0 && before > 0 {
		p.spawn(rt.Shed) // the memory is its owner's again
	}
	nudge(p.batchSoon)
	nudge(p.idleSoon)
	nudge(p.loadMoved)
}

// stopLocked stops what runs and gives back what waits. What runs is given back by
// its workers.
func (p *Provider) stopLocked(why string) {
	for _, stop := range p.hands {
		stop()
	}
	for _, j := range p.jobs {
		if j.commons {
			continue // nobody waits for it: it stays where it is
		}
		for i := range j.pending {
			a := &j.pending[i].Assignment
			p.returnLocked(j, a, a.Ranges, why)
		}
		j.pending = nil
		for _, as := range j.assigns {
			if todo := as.todo; len(todo) > 0 {
				p.unqueueLocked(as, todo)
				p.forgetLocked(j, todo)
				p.returnLocked(j, &as.a, todo, why)
			}
		}
	}
}

// leaveCommonsLocked gives up drawn items that have not begun.
func (p *Provider) leaveCommonsLocked() {
	for _, j := range p.jobs {
		if !j.commons {
			continue
		}
		for _, as := range j.assigns {
			if todo := as.todo; len(todo) > 0 {
				p.unqueueLocked(as, todo)
				p.forgetLocked(j, todo)
			}
		}
	}
}

// forgetLocked notes that items are not this provider's any more: a start does not
// run them, and an assignment of them that comes again is new.
func (p *Provider) forgetLocked(j *job, items work.RangeSet) {
	p.logIf(p.saveDrop(j, items))
	clear(j.byBytes)
}

// returnLocked gives items back to their indexer that were not begun, or begun for
// nothing: no fault of anybody.
func (p *Provider) returnLocked(j *job, a *work.Assignment, items work.RangeSet, why string) {
	p.notRunLocked(j, a, wire.Failure{Items: items, Unrun: true, Why: why})
}

// begin registers what is about to be done, a *piece that runs or a *job whose
// program is fetched. The context ends when a pause stops it.
func (p *Provider) begin(ctx context.Context, what any) (call context.Context, end func()) {
	call, stop := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hands[what] = stop
	if p.openSlotsLocked() == 0 {
		stop()
	}
	return call, func() {
		stop()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.hands, what)
	}
}

// handBackLocked gives back what of a paid piece was not run.
func (p *Provider) handBackLocked(pc *piece, done int) {
	left := pc.rangesFrom(done)
	pc.items = pc.items[:done]
	if len(left) == 0 {
		return
	}
	j := pc.as.job
	j.running -= left.Len()
	pc.as.running -= int(left.Len())
	j.have.remove(left)
	p.forgetLocked(j, left)
	if j.state == jobClosed {
		return
	}
	why := p.closedWhyLocked()
	if why == "" {
		why = "this provider was paused for a moment"
	}
	p.returnLocked(j, &pc.as.a, left, why)
}

// rangesFrom are the items of a piece from the k-th on.
func (pc *piece) rangesFrom(k int) work.RangeSet {
	rs := make([]work.Range, 0, len(pc.items)-k)
	for _, i := range pc.items[k:] {
		rs = append(rs, work.Range{Lo: i, Hi: i + 1})
	}
	return work.NewRangeSet(rs...)
}

// awaitOpen waits until work is allowed; an error at the end.
func (p *Provider) awaitOpen(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.openSlotsLocked() == 0 && !p.stopped {
		p.ready.Wait()
	}
	if p.stopped {
		return errors.Join(context.Cause(ctx), errStopped)
	}
	return nil
}
