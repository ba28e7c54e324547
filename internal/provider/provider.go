package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Config is what a provider needs. The fields of the first block are required;
// the zero values of the others are replaced by the defaults named.
type Config struct {
	Chain   string
	Account work.Address    // registered as lifecycle.RoleProvider; Ledger holds its key
	Key     sign.PrivateKey // its peer key: Net's, and the registered one
	Ledger  ledger.Ledger
	Net     p2p.Network
	Blobs   blob.Store
	Fetcher blob.Fetcher
	Runtime runtime.Runtime
	Dir     string // records; made if missing

	// How much of the machine is used.
	Slots    int      // items at once; as many as Runtime has
	Governor Governor // what of them the machine's owner allows now; nil: all
	Paused   bool     // begin as after Pause

	// What is offered.
	Owner       work.Address  // posted the bond; Account
	Class       work.Class    // work.ClassCPU
	Region      string        // ISO 3166 code; empty: unstated
	MemoryBytes uint64        // for items, all slots together; 0: unstated
	MinPrice    work.Price    // asked when idle; also the least price it works for; 1
	MaxPrice    work.Price    // asked when all slots are busy; MinPrice
	FuelPerSec  work.Fuel     // per slot, until it is measured
	Hardware    work.Hardware // of the machine
	// Attestations gives what attesters say about Key; those that count as none are
	// left out of the offer. Asked before each offer; nil: none.
	Attestations  func() []work.Attestation
	OfferTopics   []string      // wire.OfferTopic of chain and class, and of the region too if one is stated
	OfferInterval time.Duration // 10 s
	OfferLifetime time.Duration // 3 × OfferInterval

	// When is committed: at MinBatchItems items and after BatchTime, whichever is
	// later, but no work waits longer than MaxUncommitted.
	BatchTime      time.Duration // 10 s
	MaxUncommitted time.Duration // 60 s
	MinBatchItems  uint64        // 100
	MaxBatchItems  uint64        // 65,536

	MaxQueuedItems uint64        // assigned and not yet run, over all jobs; more are refused; 1,048,576
	MaxJobs        int           // served at once; 1,024
	Retain         time.Duration // how long a closed job's records stay; 10 min
	// RetainUndelivered is how long they stay of results that the job's indexer may not
	// have: the client may name another one; a day.
	RetainUndelivered time.Duration
	Poll              time.Duration // how often an open batch asks the chain without an event; 10 s

	// Own reports a client that this provider works for off the chain, in tier
	// none, unpaid; nil: nobody.
	Own func(client work.Address) bool
	// NoCommons keeps idle slots idle instead of working on the commons.
	NoCommons bool
	// Holders are peers that may have a commons job's program and inputs, its
	// indexer first; nil: nobody, and nothing of the commons is done.
	Holders func(ctx context.Context, j *lifecycle.Job) []p2p.Peer
	Log     *slog.Logger
}

// Provider is the role.
type Provider struct {
	Config
	log     *slog.Logger
	store   *execute.Store
	execute *execute.Executor

	nextID  atomic.Uint64 // numbers of records
	rate    atomic.Uint64 // fuel per second and slot, measured
	height  atomic.Int64  // newest block seen
	maxFull atomic.Uint32 // items of a batch in tier full; 0: not yet asked

	done      chan *piece   // finished work, to the writer
	batchSoon chan struct{} // wakes the batcher
	loadMoved chan struct{} // wakes the offerer
	idleSoon  chan struct{} // wakes the volunteer
	proving   chan struct{} // held while a batch's tree is made for a client
	wg        sync.WaitGroup

	mu       sync.Mutex // guards the fields below, and all jobs
	ready    *sync.Cond // items are ready to run, or the end
	jobs     map[work.JobID]*job
	ring     []*job // jobs that may have items to run, in turn
	turn     int
	queued   uint64                     // items assigned for pay and not yet run
	busy     int                        // workers that run something for pay
	taken    int                        // workers that run anything
	hands    map[any]context.CancelFunc // what a pause stops: see begin
	allowed  Allowance                  // by the governor
	paused   bool
	draining bool
	yield    map[*piece]context.CancelFunc // commons pieces that run
	sessions map[sign.PublicKey]*session
	batches  map[work.BatchID]*batch // not yet final
	claims   int                     // peers' claims to jobs that are being looked up
	stopped  bool
}

// New opens the records in cfg.Dir and takes up what was unfinished there.
func New(cfg Config) (*Provider, error) {
	switch {
	case cfg.Chain == "" || cfg.Account == "" || cfg.Key.IsZero() || cfg.Dir == "":
		return nil, errors.New("provider: chain, account, key and folder are required")
	case cfg.Ledger == nil || cfg.Net == nil || cfg.Blobs == nil || cfg.Fetcher == nil || cfg.Runtime == nil:
		return nil, errors.New("provider: ledger, network, blobs, fetcher and runtime are required")
	}
	cfg.defaults()
	if err := os.MkdirAll(filepath.Dir(cfg.Dir), 0o700); err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	s, err := execute.OpenStore(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, err
	}
	p := &Provider{
		Config: cfg, log: cfg.Log, store: s, execute: execute.New(cfg.Runtime, cfg.Blobs, cfg.Fetcher).ClaimFor("provider"),
		done: make(chan *piece, 256), batchSoon: make(chan struct{}, 1), loadMoved: make(chan struct{}, 1), idleSoon: make(chan struct{}, 1), proving: make(chan struct{}, 1),
		yield: map[*piece]context.CancelFunc{}, hands: map[any]context.CancelFunc{}, jobs: map[work.JobID]*job{}, sessions: map[sign.PublicKey]*session{}, batches: map[work.BatchID]*batch{},
	}
	p.ready = sync.NewCond(&p.mu)
	p.paused, p.allowed = cfg.Paused, Allowance{Slots: p.slots()}
	if cfg.Governor != nil {
		p.allowed, _ = cfg.Governor.Now()
	}
	p.rate.Store(uint64(cfg.FuelPerSec))
	if err := p.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("provider: records in %s: %w", cfg.Dir, err), s.Close())
	}
	p.change(func() {}) // what is had from before is given up if nothing is allowed now
	return p, nil
}

func (c *Config) defaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Class == "" {
		c.Class = work.ClassCPU
	}
	if c.Owner == "" {
		c.Owner = c.Account
	}
	if len(c.OfferTopics) == 0 {
		c.OfferTopics = []string{wire.OfferTopic(c.Chain, c.Class, "")}
		if c.Region != "" {
			c.OfferTopics = append(c.OfferTopics, wire.OfferTopic(c.Chain, c.Class, c.Region))
		}
	}
	if c.Own == nil {
		c.Own = func(work.Address) bool { return false }
	}
	c.MinPrice = or(c.MinPrice, 1)
	c.MaxPrice = max(c.MaxPrice, c.MinPrice)
	c.OfferInterval = or(c.OfferInterval, 10*time.Second)
	c.OfferLifetime = or(c.OfferLifetime, 3*c.OfferInterval)
	c.BatchTime = or(c.BatchTime, 10*time.Second)
	c.MaxUncommitted = max(or(c.MaxUncommitted, time.Minute), c.BatchTime)
	c.MinBatchItems = or(c.MinBatchItems, 100)
	c.MaxBatchItems = min(or(c.MaxBatchItems, 1<<16), work.MaxBatchItems)
	c.MaxQueuedItems = or(c.MaxQueuedItems, 1<<20)
	c.MaxJobs = or(c.MaxJobs, 1024)
	c.Retain = or(c.Retain, 10*time.Minute)
	c.RetainUndelivered = max(or(c.RetainUndelivered, 24*time.Hour), c.Retain)
	c.Poll = or(c.Poll, 10*time.Second)
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Run serves until ctx ends or the records fail, waits for what it started and
// closes the records. It is called once.
func (p *Provider) Run(ctx context.Context) (err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer func() {
		stop(nil)
		p.halt()
		p.wg.Wait()
		err = errors.Join(err, p.store.Close())
	}()
	p.wipeLeft()
	p.Net.Handle(p2p.ProtocolWork, func(_ context.Context, s p2p.Stream) { p.serve(ctx, s) })
	context.AfterFunc(ctx, p.halt)
	p.takeUp(ctx)
	for range p.slots() {
		p.wg.Go(func() { p.worker(ctx) })
	}
	p.wg.Go(func() { p.offer(ctx) })
	if p.Governor != nil {
		p.wg.Go(func() { p.govern(ctx) })
	}
	p.wg.Go(func() {
		if err := p.write(ctx); err != nil {
			stop(err)
		}
	})
	p.wg.Go(func() { p.batcher(ctx, stop) })
	if !p.NoCommons && p.Holders != nil {
		p.wg.Go(func() { p.volunteer(ctx) })
	}
	err = p.follow(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// halt wakes everything that waits on the condition or on a stream, for the end.
func (p *Provider) halt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.ready.Broadcast()
	for _, s := range p.sessions {
		s.stream.Close()
	}
}

// spawn starts f unless the provider ends.
func (p *Provider) spawn(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spawnLocked(f)
}

func (p *Provider) spawnLocked(f func()) {
	if !p.stopped {
		p.wg.Go(f)
	}
}

func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
