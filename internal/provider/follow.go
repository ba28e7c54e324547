package provider

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
)

// follow hears of batches and jobs until ctx ends.
func (p *Provider) follow(ctx context.Context) error {
	return execute.Follow(ctx, p.Ledger, p.store, p.log, func(bl ledger.Block) error {
		p.height.Store(bl.Height)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range bl.Events {
			switch e.Kind {
			case lifecycle.EventCommons:
				nudge(p.idleSoon)
			case lifecycle.EventBatch:
				if b := p.batches[e.Batch]; b != nil {
					nudge(b.wake)
				} else if j := p.jobs[e.Job]; j != nil && j.commons && e.Phase == lifecycle.Committed {
					nudge(p.idleSoon)
				}
			case lifecycle.EventJob:
				if j := p.jobs[e.Job]; j != nil {
					p.movedLocked(j, e.Indexer)
					p.jobMovedLocked(j, e.JobState)
				}
			}
		}
		return nil
	}, p.wakeAll)
}

func (p *Provider) wakeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		nudge(b.wake)
	}
}

// jobMovedLocked stops the work of a job that is over; one that is closing commits
// what it has.
func (p *Provider) jobMovedLocked(j *job, s lifecycle.JobState) {
	switch {
	case s == lifecycle.JobClosing && !j.flush:
		j.flush = true
		p.logIf(p.saveJob(j))
		nudge(p.batchSoon)
	case s == lifecycle.JobClosed && j.state != jobClosed:
		p.closeLocked(j)
	}
}

func (p *Provider) closeLocked(j *job) {
	j.state, j.closedAt, j.pending, j.unpaid = jobClosed, time.Now(), nil, 0
	for _, as := range j.assigns {
		p.unqueueLocked(as, as.todo)
	}
	if len(j.loose) > 0 {
		p.log.Warn("a job closed before its last results were committed", "job", j.id.Short(), "chunks", len(j.loose))
		for _, c := range j.loose {
			c.lost = true
		}
		j.loose = nil
	}
}

// clean forgets jobs that are over and whose results were delivered or had time to
// be.
func (p *Provider) clean(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.jobs {
		if !p.overLocked(j, now) {
			continue
		}
		if err := p.cleanLocked(j); err != nil {
			return fmt.Errorf("%w: %w", errRecords, err)
		}
	}
	return nil
}

func (p *Provider) overLocked(j *job, now time.Time) bool {
	if j.queued > 0 || j.running > 0 || len(j.pending) > 0 {
		return false
	}
	if !j.offChain {
		wait := p.Retain
		if slices.ContainsFunc(slices.Collect(maps.Values(j.chunks)), func(c *chunk) bool { return !c.lost && !c.delivered(now) }) {
			wait = p.RetainUndelivered
		}
		return j.state == jobClosed && now.Sub(j.closedAt) > wait
	}
	// A job of tier none has no end on the chain: it is over when all was delivered
	// long ago.
	if len(j.chunks) == 0 {
		return false
	}
	for _, c := range j.chunks {
		if !c.delivered(now) || now.Sub(c.sentAt) < p.Retain {
			return false
		}
	}
	return true
}
