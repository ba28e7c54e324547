package execute

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// Bounds of what an Executor keeps.
const (
	maxListBytes = 1 << 30 // of one encoded item list
	maxPrepared  = 64      // jobs whose decoded list stays in memory
	maxPresent   = 1 << 16 // inputs of one job known to be here
)

// ErrBadList reports an item list that its job's own blob makes unusable:
// malformed, of another length than the job says, or with an item that cannot be
// expanded. It is the client's fault and the same on every machine.
var ErrBadList = errors.New("item list cannot be used")

// ErrUnavailable reports that no holder gave a job's program or list, or an input
// of an item. A later try may have it.
var ErrUnavailable = errors.New("cannot be fetched")

// Executor runs items of jobs. Safe for concurrent use; the runtime bounds how
// many run at once.
type Executor struct {
	rt      runtime.Runtime
	blobs   blob.Store
	fetcher blob.Fetcher
	role    string // in whose name blobs are claimed; empty: nobody's

	mu       sync.Mutex // guards the fields below
	prepared map[work.JobID]*list.Element
	recent   *list.List // of *Program, the most recently used first
}

// New makes an Executor over a runtime and a store that fetcher fills.
func New(rt runtime.Runtime, blobs blob.Store, fetcher blob.Fetcher) *Executor {
	return &Executor{rt: rt, blobs: blobs, fetcher: fetcher, prepared: map[work.JobID]*list.Element{}, recent: list.New()}
}

// ClaimFor makes e claim what it fetches for role and job, until Wipe, if the store
// knows claims; before the first use.
func (e *Executor) ClaimFor(role string) *Executor {
	e.role = role
	return e
}

// claimer gives the store if claims are made.
func (e *Executor) claimer() blob.Claimer {
	c, ok := e.blobs.(blob.Claimer)
	if !ok || e.role == "" {
		return nil
	}
	return c
}

func (e *Executor) claimName(job work.JobID) string { return e.role + "/" + job.String() }

// Claim keeps blobs for a job until Wipe; they are wiped then.
func (e *Executor) Claim(job work.JobID, bs ...work.BlobID) error {
	if c := e.claimer(); c != nil {
		return c.Claim(e.claimName(job), blob.Wipe, bs...)
	}
	return nil
}

// Wipe forgets a job and wipes what only it needed. Programs stay in the store's
// cache.
func (e *Executor) Wipe(job work.JobID) error {
	e.Forget(job)
	if c := e.claimer(); c != nil {
		return c.Release(e.claimName(job))
	}
	return nil
}

// Claimed are the jobs that blobs are claimed for.
func (e *Executor) Claimed() (jobs []work.JobID, err error) {
	c := e.claimer()
	if c == nil {
		return nil, nil
	}
	names, err := c.Claims(e.role + "/")
	for _, n := range names {
		if h, err := work.ParseHash(n[len(e.role)+1:]); err == nil {
			jobs = append(jobs, h)
		}
	}
	return jobs, err
}

// Siblings names others who fetch a job's blobs for themselves.
func (e *Executor) Siblings(spec *work.JobSpec, siblings []p2p.Peer) {
	if len(siblings) > 0 {
		p := e.program(spec)
		p.mu.Lock()
		p.siblings = siblings
		p.mu.Unlock()
	}
}

// Slots is the number of items that run at once.
func (e *Executor) Slots() int { return e.rt.Slots() }

// Prepare gives a job's program, with its item list fetched from holders and
// decoded once. The next calls for the job are cheap; new holders replace the
// old.
func (e *Executor) Prepare(ctx context.Context, spec *work.JobSpec, holders []p2p.Peer) (*Program, error) {
	p := e.program(spec)
	if len(holders) > 0 {
		p.setHolders(holders)
	}
	return p, p.load(ctx)
}

// Forget drops a job from memory.
func (e *Executor) Forget(job work.JobID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if el, ok := e.prepared[job]; ok {
		e.recent.Remove(el)
		delete(e.prepared, job)
	}
}

func (e *Executor) program(spec *work.JobSpec) *Program {
	id := spec.ID()
	e.mu.Lock()
	defer e.mu.Unlock()
	if el, ok := e.prepared[id]; ok {
		e.recent.MoveToFront(el)
		return el.Value.(*Program)
	}
	p := &Program{e: e, id: id, spec: *spec, present: map[work.BlobID]bool{}, loading: make(chan struct{}, 1)}
	e.prepared[id] = e.recent.PushFront(p)
	for e.recent.Len() > maxPrepared {
		last := e.recent.Back()
		delete(e.prepared, last.Value.(*Program).id)
		e.recent.Remove(last)
	}
	return p
}

// Program is a job ready to run: its module is here and its list decoded.
type Program struct {
	e       *Executor
	id      work.JobID
	spec    work.JobSpec
	loading chan struct{} // held by the one who loads

	mu       sync.RWMutex // guards the fields below
	list     *work.ItemList
	holders  []p2p.Peer
	siblings []p2p.Peer
	present  map[work.BlobID]bool // inputs that were seen here
}

// Item expands item i of the job's list.
func (p *Program) Item(i uint64) (*work.Item, error) {
	p.mu.RLock()
	l := p.list
	p.mu.RUnlock()
	it, err := l.Item(i)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrBadList, err)
	}
	return it, nil
}

// InputDigest is what item i is.
func (p *Program) InputDigest(i uint64) (work.Hash, error) {
	it, err := p.Item(i)
	if err != nil {
		return work.Hash{}, err
	}
	return it.InputDigest(p.spec.ProgramID(), p.spec.Limits, p.spec.Seed), nil
}

// Fetch makes present what item i needs: ErrUnavailable if nobody gives it.
func (p *Program) Fetch(ctx context.Context, i uint64) error {
	it, err := p.Item(i)
	if err != nil {
		return err
	}
	return p.fetchInputs(ctx, it)
}

// Run runs item i. Besides the runtime's errors it gives ErrBadList, and
// ErrUnavailable where an input cannot be had; those two and a *runtime.HostFault
// say nothing about the program.
func (p *Program) Run(ctx context.Context, i uint64) (*runtime.Run, error) {
	it, err := p.Item(i)
	if err != nil {
		return nil, err
	}
	if err := p.fetchInputs(ctx, it); err != nil {
		return nil, err
	}
	t := runtime.Task{Program: p.spec.Program, Profile: p.spec.Profile, Limits: p.spec.Limits, Seed: p.spec.Seed, Item: it}
	run, err := p.e.rt.Run(ctx, t)
	if !errors.Is(err, runtime.ErrBlobMissing) {
		return run, err
	}
	// The store made room since the blob was seen: fetch again, once.
	p.forgetPresent()
	if err := p.fetchInputs(ctx, it); err != nil {
		return nil, err
	}
	return p.e.rt.Run(ctx, t)
}

// load fetches module and list, once at a time.
func (p *Program) load(ctx context.Context) error {
	p.mu.RLock()
	ready := p.list != nil
	p.mu.RUnlock()
	if ready {
		return nil
	}
	select {
	case p.loading <- struct{}{}:
		defer func() { <-p.loading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.spec.Items.Size > maxListBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrBadList, p.spec.Items.Size, maxListBytes)
	}
	if err := p.need(ctx, p.spec.Items); err != nil {
		return err
	}
	raw, err := p.e.blobs.Get(p.spec.Items, maxListBytes)
	if err != nil {
		return fmt.Errorf("item list of job %s: %w", p.id.Short(), err)
	}
	l, err := work.DecodeItemList(raw)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrBadList, err)
	}
	if l.Len() != p.spec.ItemCount {
		return fmt.Errorf("%w: it has %d items, the job says %d", ErrBadList, l.Len(), p.spec.ItemCount)
	}
	if err := p.need(ctx, p.spec.Program); err != nil {
		return err
	}
	p.mu.Lock()
	p.list = l
	p.mu.Unlock()
	return nil
}

func (p *Program) fetchInputs(ctx context.Context, it *work.Item) error {
	if err := p.need(ctx, p.spec.Program); err != nil {
		return err
	}
	if it.Stdin.Size > 0 {
		if err := p.need(ctx, it.Stdin); err != nil {
			return err
		}
	}
	for _, f := range it.Files {
		if err := p.need(ctx, f.Blob); err != nil {
			return err
		}
	}
	return nil
}

// need makes a blob present.
func (p *Program) need(ctx context.Context, b work.BlobID) error {
	p.mu.RLock()
	ok, from := p.present[b], blob.Holders{Origins: p.holders, Siblings: p.siblings}
	p.mu.RUnlock()
	if ok {
		return nil
	}
	if c := p.e.claimer(); c != nil {
		keep := blob.Wipe
		if b == p.spec.Program {
			keep = blob.Cache
		}
		if err := c.Claim(p.e.claimName(p.id), keep, b); err != nil {
			return fmt.Errorf("keep %s of job %s: %w", b.Root.Short(), p.id.Short(), err)
		}
	}
	if !p.e.blobs.Has(b) {
		if err := p.e.bring(ctx, b, from); err != nil {
			if errors.Is(err, blob.ErrFull) { // our own fault
				return fmt.Errorf("fetch %s of job %s: %w", b.Root.Short(), p.id.Short(), err)
			}
			return fmt.Errorf("%s of job %s %w: %w", b.Root.Short(), p.id.Short(), ErrUnavailable, err)
		}
	}
	p.mu.Lock()
	if len(p.present) >= maxPresent {
		clear(p.present)
	}
	p.present[b] = true
	p.mu.Unlock()
	return nil
}

// bring fetches a blob, together with its siblings if the fetcher can.
func (e *Executor) bring(ctx context.Context, b work.BlobID, from blob.Holders) error {
	if f, ok := e.fetcher.(blob.SharedFetcher); ok {
		return f.FetchShared(ctx, b, from)
	}
	return e.fetcher.Fetch(ctx, b, from.Origins)
}

func (p *Program) forgetPresent() {
	p.mu.Lock()
	clear(p.present)
	p.mu.Unlock()
}

func (p *Program) setHolders(hs []p2p.Peer) {
	p.mu.Lock()
	p.holders = hs
	p.mu.Unlock()
}
