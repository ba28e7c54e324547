package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// The commons are jobs that governance approved and the emission pays. Each epoch
// the beacon draws items of them for every provider; nobody assigns them. A draw is
// queued as an assignment that this provider wrote itself and nobody signed: from
// there on it is run, written, reported and committed like any other, except that
// paid work goes before it and the commit names items only.

// volunteerEvery bounds how often the chain is asked for something to do while
// nothing is.
const volunteerEvery = time.Second

// volunteer gives idle slots something of the commons until ctx ends.
func (p *Provider) volunteer(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-p.idleSoon:
		}
		err := p.skipTaken(ctx)
		if err == nil && p.idle() {
			err = p.draw(ctx)
		}
		if err != nil && ctx.Err() == nil {
			p.log.Warn("cannot ask for work of the commons: trying again", "err", err)
		}
		if execute.Sleep(ctx, min(volunteerEvery, p.Poll)) != nil {
			return
		}
		t.Reset(p.Poll)
	}
}

// idle reports whether slots have nothing to run, not even of the commons.
func (p *Provider) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued > 0 || p.busy >= p.offeredLocked() {
		return false
	}
	for _, j := range p.jobs {
		if j.commons && j.queued > 0 && j.state != jobRefused {
			return false
		}
	}
	return true
}

// skipTaken takes what others have committed meanwhile out of the queue: draws of two
// providers may overlap, and nobody is paid for a copy too many.
func (p *Provider) skipTaken(ctx context.Context) error {
	var open []*job
	p.mu.Lock()
	for _, j := range p.jobs {
		if j.commons && j.queued > 0 {
			open = append(open, j)
		}
	}
	p.mu.Unlock()
	for _, j := range open {
		on, err := p.Ledger.Job(ctx, j.id)
		if err != nil {
			return fmt.Errorf("job %s of the commons: %w", j.id.Short(), err)
		}
		full := fullItems(on)
		p.mu.Lock()
		for _, as := range j.assigns[min(j.first, len(j.assigns)):] {
			p.unqueueLocked(as, full)
		}
		p.mu.Unlock()
		nudge(p.batchSoon)
	}
	return nil
}

// draw queues the next items that the newest epoch's beacon gives this provider and
// nobody has committed yet: one draw of one job.
func (p *Provider) draw(ctx context.Context) error {
	c, err := p.Ledger.Commons(ctx)
	if err != nil || len(c.Epochs) == 0 || len(c.Epochs[0].Jobs) == 0 {
		return err
	}
	e := &c.Epochs[0]
	me, err := p.Ledger.Party(ctx, lifecycle.RoleProvider, p.Account)
	if err != nil {
		return fmt.Errorf("%s as a provider: %w", p.Account, err)
	}
	params, err := p.Ledger.Params(ctx)
	if err != nil {
		return err
	}
	// A commit may use the draws of this epoch and of the one before.
	last := e.Height + 2*params.CommonsEpochBlocks - 1
	if me.RegisteredHeight >= e.Height || last <= p.height.Load()+expirySlack {
		return nil // the next epoch draws for it
	}
	// Providers begin with different jobs.
	first := int(work.Sum("gotong/provider/commons", []byte(p.Account), e.Beacon[:])[0])
	for i := range e.Jobs {
		id := e.Jobs[(first+i)%len(e.Jobs)]
		j, full, err := p.commonsJob(ctx, id, e.Number)
		if err != nil {
			return err
		}
		if j == nil {
			continue
		}
		for draw := range uint32(lifecycle.CommonsDraws) {
			items := e.Slot(id, p.Account, draw, params.CommonsChunkItems).Minus(full)
			if p.queueDraw(j, items, params.CommonsPrice, last) {
				return nil
			}
		}
	}
	return nil
}

// commonsJob makes a job of the commons one of this provider's, nil if nothing of
// it can be run here now; full are the items that nobody is paid for any more.
func (p *Provider) commonsJob(ctx context.Context, id work.JobID, epoch int64) (*job, work.RangeSet, error) {
	on, err := p.Ledger.Job(ctx, id)
	if err != nil {
		return nil, nil, fmt.Errorf("job %s of the commons: %w", id.Short(), err)
	}
	if on.State != lifecycle.JobOpen || !on.Commons || on.EscrowFree == 0 {
		return nil, nil, nil
	}
	holders := p.Holders(ctx, on)
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.jobs[id]
	switch {
	case j == nil && len(p.jobs) >= p.MaxJobs:
		return nil, nil, nil
	case j == nil:
		j = newJob(on.Spec, holders)
		j.commons, j.flush, j.epoch = true, true, epoch
		if err := p.saveJob(j); err != nil {
			return nil, nil, err
		}
		p.jobs[id] = j
		p.spawnLocked(func() { p.prepare(ctx, j) })
	case !j.commons && len(j.assigns) > 0:
		return nil, nil, nil // an indexer gave it for pay: let that end first
	case j.state == jobRefused:
		if !j.refused && j.epoch != epoch { // the reason may have gone
			j.state, j.epoch, j.holders = jobNew, epoch, holders
			p.spawnLocked(func() { p.prepare(ctx, j) })
		}
		return nil, nil, nil
	case j.state == jobClosed:
		return nil, nil, nil
	}
	j.commons, j.flush = true, true
	return j, fullItems(on), nil
}

// queueDraw queues what of items was never had here; false if that is nothing.
func (p *Provider) queueDraw(j *job, items work.RangeSet, price work.Price, last int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := j.have.missing(items)
	if len(fresh) == 0 || p.queued > 0 || p.stopped || p.offeredLocked() == 0 {
		return false
	}
	if len(fresh) > work.MaxAssignmentRanges {
		fresh = fresh[:work.MaxAssignmentRanges]
	}
	a := work.Assignment{Chain: p.Chain, Job: j.id, Provider: p.Account, Ranges: fresh, Price: price, ExpiresHeight: last}
	as := &assign{id: p.nextID.Add(1), job: j, a: a, by: j.indexer, bytes: a.Encode(), todo: fresh}
	if err := p.saveAssign(as); err != nil {
		p.logIf(err)
		return false
	}
	j.assigns = append(j.assigns, as)
	j.have.add(fresh)
	j.queued += fresh.Len()
	p.log.Info("idle: working on the commons", "job", j.id.Short(), "items", fresh.Len())
	p.ready.Broadcast()
	return true
}

// giveWayLocked ends what runs of the commons: paid work waits.
func (p *Provider) giveWayLocked() {
	for _, stop := range p.yield {
		stop()
	}
}

// runCommons runs a piece until paid work comes; what was not run then returns to
// the queue. It reports whether there is anything to write.
func (p *Provider) runCommons(ctx context.Context, pc *piece) bool {
	j := pc.as.job
	held, end := p.begin(ctx, pc)
	defer end()
	call, stop := context.WithCancel(held)
	defer stop()
	p.mu.Lock()
	p.yield[pc] = stop
	if p.queued > 0 {
		stop()
	}
	p.mu.Unlock()
	start, done := time.Now(), 0
	var fuel work.Fuel
	for _, i := range pc.items {
		r, err := p.runItem(call, j, i)
		if call.Err() != nil && err != nil {
			break
		}
		if err == nil {
			fuel += r.result.Leaf.Fuel
			pc.ran = append(pc.ran, r)
		} else {
			pc.failed = append(pc.failed, p.failure(j, i, err))
		}
		done++
	}
	took := time.Since(start)
	p.measure(fuel, took)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.yield, pc)
	if done > 0 {
		j.itemSec = took.Seconds() / float64(done)
	}
	p.putBackLocked(pc, done)
	return done > 0
}

// putBackLocked queues again what of a piece was not run.
func (p *Provider) putBackLocked(pc *piece, done int) {
	left := pc.rangesFrom(done)
	pc.items = pc.items[:done]
	if len(left) == 0 {
		return
	}
	j := pc.as.job
	j.running -= left.Len()
	pc.as.running -= int(left.Len())
	if j.state == jobClosed || j.state == jobRefused || p.draining {
		j.have.remove(left)
		if p.draining {
			p.forgetLocked(j, left)
		}
		return
	}
	pc.as.todo = pc.as.todo.Union(left)
	j.queued += left.Len()
	j.first = 0
	p.ready.Broadcast()
}
