package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Bounds of one job here.
const (
	maxPending   = 4096        // assignments that wait until their job is known to the chain
	findJobFor   = time.Minute // how long a job that the chain does not know is looked for
	expirySlack  = 4           // heights that a commit may need: work that would end later is not begun
	fetchRetries = 5           // of a job's program and list
)

// jobState is how far a job got here.
type jobState uint8

const (
	jobNew     jobState = iota // looked up on the chain, its program fetched
	jobReady                   // items run
	jobRefused                 // cannot run here: every item fails with why
	jobClosed                  // over on the chain
)

// job is one job that this provider serves. Provider.mu guards it.
type job struct {
	id      work.JobID
	spec    work.JobSpec
	indexer sign.PublicKey // hands out its items now: the spec's, until another took it over
	holders []p2p.Peer
	state   jobState
	why     string // jobRefused
	refused bool   // jobRefused by the profile, not by this host
	prog    *execute.Program
	pending []wire.Assign // while jobNew

	assigns []*assign
	first   int                // assigns before it have nothing left to run
	byBytes map[work.Hash]bool // assignments known, by the hash of their bytes
	have    itemSet            // items queued, running or done
	queued  uint64             // in some todo
	running uint64             // in workers, or on their way to the writer

	unwritten int     // with the writer, not yet on disk
	itemSec   float64 // smoothed run time of an item
	flush     bool

	chunks   map[uint64]*chunk
	loose    []*chunk // done, in no batch, oldest first
	offChain bool     // tier none
	commons  bool     // drawn by the beacon: assignments are this provider's own, unsigned
	epoch    int64    // commons: in which it was last prepared
	closedAt time.Time
	doubted  work.RangeSet // items that another provider has too, looked at for equivocation

	notBefore time.Time // of the next commit

	// unpaid is the cost of finished work that the escrow has no room for, 0 if there is
	// none: until there is room nothing of the job begins, or who signs more than his
	// escrow would have it for nothing. barred says why nothing is taken on either.
	unpaid work.Amount
	barred string
}

// assign is one assignment and what of it is still to run.
type assign struct {
	id    uint64
	job   *job
	a     work.Assignment
	by    sign.PublicKey // signed it
	bytes []byte
	todo  work.RangeSet // the first range shrinks from below

	running int // items in workers, or on their way to the disk
}

// chunk is finished items of one assignment: written, sent and committed as one.
type chunk struct {
	seq     uint64
	as      *assign
	items   work.RangeSet // with results
	fuel    work.Fuel
	maxFuel work.Fuel
	away    uint64 // bytes of outputs too large for the receipt: the indexer fetches them
	since   time.Time
	batch   *batch
	refused int    // how often the chain refused a batch with it
	giveUp  string // why it is not tried again, "" while it is; set as it becomes loose
	lost    bool

	sent   *session // that took it last
	sentAt time.Time
}

func (c *chunk) n() uint64 { return c.items.Len() }

// introduce takes a job from its indexer.
func (p *Provider) introduce(ctx context.Context, from sign.PublicKey, m *wire.Job) error {
	id := m.Spec.ID()
	if m.Spec.Indexer != from && m.Spec.Tier == work.TierNone {
		return fmt.Errorf("job %s belongs to another indexer", id.Short())
	}
	if m.Spec.Chain != p.Chain {
		return fmt.Errorf("job %s is for chain %q, this is %q", id.Short(), m.Spec.Chain, p.Chain)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if j, ok := p.jobs[id]; ok {
		if j.indexer != from {
			p.claimLocked(ctx, j, from, m.Holders, func() {})
			return nil
		}
		j.holders = m.Holders
		p.execute.Siblings(&j.spec, m.Siblings)
		if j.state == jobRefused && !j.refused { // a new try: the reason may have gone
			j.state = jobNew
			p.spawnLocked(func() { p.prepare(ctx, j) })
		}
		return nil
	}
	if len(p.jobs) >= p.MaxJobs {
		return fmt.Errorf("%d jobs are served here already", len(p.jobs))
	}
	j := newJob(m.Spec, m.Holders)
	j.indexer = from // if the chain says so too: see onChain
	if err := p.saveJob(j); err != nil {
		return err
	}
	p.jobs[id] = j
	p.log.Info("job is taken on", "job", id.Short(), "indexer", from.String()[:12], "items", m.Spec.ItemCount)
	p.execute.Siblings(&j.spec, m.Siblings)
	p.spawnLocked(func() { p.prepare(ctx, j) })
	return nil
}

func newJob(spec work.JobSpec, holders []p2p.Peer) *job {
	return &job{
		id: spec.ID(), spec: spec, indexer: spec.Indexer, holders: holders, offChain: spec.Tier == work.TierNone,
		byBytes: map[work.Hash]bool{}, have: itemSet{}, chunks: map[uint64]*chunk{},
	}
}

var errClosed = errors.New("the job is closed on the chain")

// prepare finds the job on the chain and fetches its program and list; then its
// items run, or fail with the reason.
func (p *Provider) prepare(ctx context.Context, j *job) {
	err := p.onChain(ctx, j)
	var prog *execute.Program
	if err == nil {
		prog, err = p.fetchWhileOpen(ctx, j)
	}
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if j.state == jobClosed {
		return
	}
	if errors.Is(err, errClosed) {
		p.refuseLocked(j, err.Error(), false)
		p.closeLocked(j)
		return
	}
	if err != nil {
		p.refuseLocked(j, err.Error(), errors.Is(err, execute.ErrBadList))
		return
	}
	j.state, j.prog = jobReady, prog
	waiting, flush := j.pending, j.flush
	j.pending = nil
	if !slices.Contains(p.ring, j) {
		p.ring = append(p.ring, j)
	}
	for i := range waiting {
		p.acceptLocked(j, &waiting[i])
	}
	j.flush = flush
	p.logIf(p.saveJob(j))
	p.ready.Broadcast()
}

// onChain waits until the chain knows the job, and its indexer, which may be a block
// ahead.
func (p *Provider) onChain(ctx context.Context, j *job) error {
	if j.offChain {
		if !p.Own(j.spec.Client) {
			return errors.New("tier none is for own providers only: this provider has another owner")
		}
		return nil
	}
	for end := time.Now().Add(findJobFor); ; {
		onChain, err := p.Ledger.Job(ctx, j.id)
		switch {
		case err == nil && onChain.State == lifecycle.JobClosed:
			return errClosed
		case err == nil && (p.indexedBy(j, onChain) == nil || time.Now().After(end)):
			return p.indexedBy(j, onChain)
		case errors.Is(err, ledger.ErrNotFound) && time.Now().After(end):
			return fmt.Errorf("the job is not on the chain: %w", err)
		case err != nil && !errors.Is(err, ledger.ErrNotFound):
			p.log.Warn("cannot look up a job: trying again", "job", j.id.Short(), "err", err)
			if err := execute.Sleep(ctx, time.Second); err != nil {
				return err
			}
		}
		if err := execute.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// fetchWhileOpen fetches when work is allowed: the network is the owner's too.
func (p *Provider) fetchWhileOpen(ctx context.Context, j *job) (*execute.Program, error) {
	for {
		if err := p.awaitOpen(ctx); err != nil {
			return nil, err
		}
		call, end := p.begin(ctx, j)
		prog, err := p.fetchProgram(call, j)
		paused := call.Err() != nil
		end()
		if err == nil || !paused || ctx.Err() != nil {
			return prog, err
		}
	}
}

func (p *Provider) fetchProgram(ctx context.Context, j *job) (*execute.Program, error) {
	for try := 1; ; try++ {
		p.mu.Lock()
		holders := j.holders
		p.mu.Unlock()
		prog, err := p.execute.Prepare(ctx, &j.spec, holders)
		if err == nil || errors.Is(err, execute.ErrBadList) || try == fetchRetries {
			return prog, err
		}
		p.log.Warn("cannot fetch a job's program: trying again", "job", j.id.Short(), "err", err)
		if err := execute.Sleep(ctx, time.Duration(try)*500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// refuseLocked fails everything of the job that has not run.
func (p *Provider) refuseLocked(j *job, why string, final bool) {
	p.log.Warn("job cannot run here", "job", j.id.Short(), "why", why)
	j.state, j.why, j.refused = jobRefused, why, final
	clear(j.byBytes) // what is assigned again is new: nothing of it waits here any more
	for _, m := range j.pending {
		p.rejectLocked(j, &m.Assignment, m.Assignment.Ranges, why, final)
	}
	j.pending = nil
	for _, as := range j.assigns {
		if todo := as.todo; len(todo) > 0 {
			p.unqueueLocked(as, todo)
			p.rejectLocked(j, &as.a, todo, why, final)
		}
	}
}

// assigned takes an assignment from its indexer.
func (p *Provider) assigned(ctx context.Context, from sign.PublicKey, m *wire.Assign) {
	// The one dear check needs no lock: whose job it is, is looked up below.
	signed := m.Assignment.Verify(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	j, ok := p.jobs[m.Assignment.Job]
	if ok && j.indexer != from && signed == nil && p.claimLocked(ctx, j, from, nil, func() { p.assigned(ctx, from, m) }) {
		return
	}
	if !ok || j.indexer != from {
		p.log.Warn("assignment of an unknown job", "job", m.Assignment.Job.Short())
		stub := &job{id: m.Assignment.Job, indexer: from}
		p.rejectLocked(stub, &m.Assignment, m.Assignment.Ranges, "the job was not introduced", false)
		return
	}
	if signed != nil {
		p.rejectLocked(j, &m.Assignment, m.Assignment.Ranges, signed.Error(), false)
		return
	}
	if j.state == jobNew {
		if why := p.closedWhyLocked(); why != "" {
			p.returnLocked(j, &m.Assignment, j.have.missing(m.Assignment.Ranges), why)
			return
		}
		if len(j.pending) >= maxPending {
			p.rejectLocked(j, &m.Assignment, m.Assignment.Ranges, "too many assignments wait for their job", false)
			return
		}
		j.pending = append(j.pending, *m)
		return
	}
	p.acceptLocked(j, m)
}

// acceptLocked queues the new items of an assignment whose signature holds. The records are
// durable with the first result at the latest: an assignment that is lost with
// the machine before that has had no effect.
func (p *Provider) acceptLocked(j *job, m *wire.Assign) {
	a := &m.Assignment
	if why := p.invalid(j, a); why != "" {
		p.rejectLocked(j, a, a.Ranges, why, j.state == jobRefused && j.refused)
		return
	}
	raw := a.Encode()
	h := work.Sum("gotong/provider/assignment", raw)
	if j.byBytes[h] {
		return // sent again after a reconnect
	}
	fresh := j.have.missing(a.Ranges)
	if len(fresh) == 0 && !j.renewsLocked(a) {
		return
	}
	if why := p.closedWhyLocked(); why != "" {
		p.returnLocked(j, a, fresh, why)
		return
	}
	if p.queued+fresh.Len() > p.MaxQueuedItems {
		p.rejectLocked(j, a, fresh, fmt.Sprintf("%d items wait here already", p.queued), false)
		return
	}
	as := &assign{id: p.nextID.Add(1), job: j, a: *a, by: j.indexer, bytes: raw, todo: fresh}
	if err := p.saveAssign(as); err != nil {
		p.rejectLocked(j, a, fresh, err.Error(), false)
		return
	}
	j.byBytes[h] = true
	j.have.add(fresh)
	j.queued += fresh.Len()
	p.queued += fresh.Len()
	j.renewLocked(as)
	j.assigns = append(j.assigns, as)
	p.giveWayLocked()
	if j.flush {
		j.flush = false
		p.logIf(p.saveJob(j))
	}
	p.ready.Broadcast()
	nudge(p.loadMoved)
}

// invalid says why an assignment cannot be worked on, empty if it can.
func (p *Provider) invalid(j *job, a *work.Assignment) string {
	switch {
	case j.state == jobRefused:
		return j.why
	case j.commons:
		return "the beacon hands out items of the commons, nobody assigns them"
	case j.state == jobClosed:
		return "the job is closed"
	case j.barred != "":
		return j.barred
	case a.Chain != p.Chain:
		return "assignment for another chain"
	case a.Provider != p.Account:
		return fmt.Sprintf("assignment for %s, this is %s", a.Provider, p.Account)
	case !j.offChain && a.Price < p.MinPrice:
		return fmt.Sprintf("price %d is under this provider's %d", a.Price, p.MinPrice)
	case !j.offChain && a.Price > j.spec.MaxPrice:
		return fmt.Sprintf("price %d is over the job's cap of %d", a.Price, j.spec.MaxPrice)
	case !j.offChain && a.ExpiresHeight <= p.height.Load()+expirySlack:
		return fmt.Sprintf("assignment expires at height %d, the chain is at %d", a.ExpiresHeight, p.height.Load())
	}
	if n := a.Ranges.Len(); n > p.MaxQueuedItems {
		return fmt.Sprintf("assignment of %d items: at most %d wait here", n, p.MaxQueuedItems)
	}
	if a.Ranges[len(a.Ranges)-1].Hi > j.spec.ItemCount {
		return fmt.Sprintf("assigned item %d: the job has %d", a.Ranges[len(a.Ranges)-1].Hi-1, j.spec.ItemCount)
	}
	return ""
}

// unqueueLocked takes items that have not begun out of the queue.
func (p *Provider) unqueueLocked(as *assign, items work.RangeSet) {
	gone := as.todo.Intersect(items)
	as.todo = as.todo.Minus(gone)
	as.job.have.remove(gone)
	as.job.queued -= gone.Len()
	if !as.job.commons {
		p.queued -= gone.Len()
	}
}

// dropped stops items of a job that have not begun.
func (p *Provider) dropped(from sign.PublicKey, m *wire.Items) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j, ok := p.jobs[m.Job]
	if !ok || j.indexer != from {
		return
	}
	j.pending = slices.DeleteFunc(j.pending, func(w wire.Assign) bool { return len(w.Assignment.Ranges.Minus(m.Items)) == 0 })
	for _, as := range j.assigns {
		p.unqueueLocked(as, m.Items)
	}
	p.logIf(p.saveDrop(j, m.Items))
	nudge(p.batchSoon)
}

// flushed notes that the indexer has no more items of the job for now.
func (p *Provider) flushed(from sign.PublicKey, m *wire.Items) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if j, ok := p.jobs[m.Job]; ok && j.indexer == from && !j.flush {
		j.flush = true
		p.logIf(p.saveJob(j))
		nudge(p.batchSoon)
	}
}

// rejectLocked tells the indexer that items will not be run here.
func (p *Provider) rejectLocked(j *job, a *work.Assignment, items work.RangeSet, why string, refused bool) {
	p.notRunLocked(j, a, wire.Failure{Items: items, Refused: refused, Why: why})
}

// notRunLocked tells a job's indexer what comes of items that have no result here.
// Those that have one are left out: their indexer would take the word for it, and nothing
// that comes later.
func (p *Provider) notRunLocked(j *job, a *work.Assignment, f wire.Failure) {
	s := p.sessions[j.indexer]
	if s == nil || j.commons {
		return // without a stream: the indexer assigns them again on the next one
	}
	if f.Items.Len() <= p.MaxQueuedItems { // more are never taken
		f.Items = j.have.missing(f.Items)
	}
	if len(f.Items) == 0 {
		return
	}
	r := wire.Receipt{Job: j.id, Attempt: a.Attempt, Provider: p.Account, Failures: []wire.Failure{f}}
	s.push(outgoing{frame: wire.EncodeReceipt(&r, p.Key)})
}

func (p *Provider) logIf(err error) {
	if err != nil {
		p.log.Error("cannot write records", "err", err)
	}
}

// itemSet is a set of item numbers that stays small for dense ones: a bit each, in
// pages.
type itemSet map[uint64]*[8]uint64

const pageItems = 8 * 64

func (s itemSet) has(i uint64) bool {
	pg := s[i/pageItems]
	return pg != nil && pg[i%pageItems/64]>>(i%64)&1 == 1
}

func (s itemSet) add(rs work.RangeSet) {
	for _, r := range rs {
		for i := r.Lo; i < r.Hi; i++ {
			pg := s[i/pageItems]
			if pg == nil {
				pg = new([8]uint64)
				s[i/pageItems] = pg
			}
			pg[i%pageItems/64] |= 1 << (i % 64)
		}
	}
}

func (s itemSet) remove(rs work.RangeSet) {
	for _, r := range rs {
		for i := r.Lo; i < r.Hi; i++ {
			if pg := s[i/pageItems]; pg != nil {
				pg[i%pageItems/64] &^= 1 << (i % 64)
			}
		}
	}
}

// missing are the items of rs that are not in s.
func (s itemSet) missing(rs work.RangeSet) work.RangeSet {
	var out work.RangeSet
	for _, r := range rs {
		for i := r.Lo; i < r.Hi; i++ {
			if s.has(i) {
				continue
			}
			if n := len(out); n > 0 && out[n-1].Hi == i {
				out[n-1].Hi++
			} else {
				out = append(out, work.Range{Lo: i, Hi: i + 1})
			}
		}
	}
	return out
}
