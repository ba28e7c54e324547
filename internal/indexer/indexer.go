package indexer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Config is what an indexer is made of. Fields without a word on their zero
// value are needed.
type Config struct {
	Chain   string
	Key     sign.PrivateKey // signs assignments; its public key is what jobs name, and the peer key of Net
	Owner   work.Address    // account behind the key; Ledger holds its key, to bond it as an indexer
	Ledger  ledger.Ledger
	Net     p2p.Network
	Blobs   blob.Store
	Fetcher blob.Fetcher
	Dir     string       // for the state; made if it is missing
	Log     *slog.Logger // nil: silent

	OfferTopics []string       // gossip to listen to; empty: wire.OfferTopic(Chain, work.ClassCPU, "")
	Own         []work.Address // providers that serve jobs of tier none
	AllOwn      bool           // all do: the network is one owner's
	Weights     match.Weights  // zero: match.DefaultWeights
	Timing      Timing         // zero fields: DefaultTiming

	// FeePermille is what it asks for a job, in thousandths of the pay and on top of it.
	FeePermille uint32
	// NoTakeover leaves jobs alone whose indexers died.
	NoTakeover bool
	// Where finds addresses of a peer; nil: Net knows them.
	Where func(sign.PublicKey) []string

	// NoBond leaves the owner without a bond: then only it may post jobs that name
	// this indexer, whose escrows answer for what the indexer signs.
	NoBond bool

	// NoSync leaves writing to disk to the operating system: state survives
	// kill -9, not a power cut. For measuring only.
	NoSync bool
}

// Timing are the waits that the chain does not prescribe.
type Timing struct {
	Lost        time.Duration // a provider out of reach for this long loses its unfinished items
	Uncommitted time.Duration // … and its results that no batch holds
	Patience    time.Duration // how long items that failed on every provider wait for a new one
	Undelivered time.Duration // how long a paid batch may wait for its receipts
	SlowFloor   time.Duration // no range is a straggler before this
	Tick        time.Duration // how often the waits above are looked at
	Cut         time.Duration // how long a provider that sent nonsense is left alone
	Unposted    time.Duration // how long an accepted job may stay off the chain
	Retain      time.Duration // how long the results of a job that is over wait for its client
	Ping        time.Duration // how often the round trip to a connected provider is measured
	// Of jobs that were taken over: how long providers have at most to say what they
	// hold of one before its items are handed out, how often what is missing is looked for, and
	// how long results of batches that were paid before may be missing.
	Inherit  time.Duration
	Gather   time.Duration
	Bequeath time.Duration
	Answer   time.Duration // how long another indexer may take to answer a ping
}

// DefaultTiming are the waits of a network.
func DefaultTiming() Timing {
	return Timing{Lost: 10 * time.Second, Uncommitted: time.Minute, Patience: 10 * time.Second, Undelivered: time.Minute,
		SlowFloor: 500 * time.Millisecond, Tick: 200 * time.Millisecond, Cut: time.Minute, Unposted: 10 * time.Minute, Retain: 72 * time.Hour,
		Inherit: 10 * time.Second, Gather: 2 * time.Second, Bequeath: 10 * time.Minute, Answer: 5 * time.Second, Ping: 15 * time.Second}
}

func (t Timing) orDefault() Timing {
	d := DefaultTiming()
	for _, f := range []struct{ have, def *time.Duration }{{&t.Lost, &d.Lost}, {&t.Uncommitted, &d.Uncommitted}, {&t.Patience, &d.Patience},
		{&t.Undelivered, &d.Undelivered}, {&t.SlowFloor, &d.SlowFloor}, {&t.Tick, &d.Tick}, {&t.Cut, &d.Cut}, {&t.Unposted, &d.Unposted}, {&t.Retain, &d.Retain},
		{&t.Inherit, &d.Inherit}, {&t.Gather, &d.Gather}, {&t.Bequeath, &d.Bequeath}, {&t.Answer, &d.Answer}, {&t.Ping, &d.Ping}} {
		if *f.have == 0 {
			*f.have = *f.def
		}
	}
	return t
}

// Bounds.
const (
	maxHolders   = 8    // of a job's inputs besides the indexer
	maxProviders = 1024 // known offers
	maxUnposted  = 1024 // jobs accepted and not on the chain
	maxWatchers  = 256
	maxListBytes = 1 << 30
	mailDepth    = 256
)

// ErrClosed reports a request to an indexer that has stopped.
var ErrClosed = errors.New("the indexer has stopped")

// Indexer is the role as a value: New, then Run once.
type Indexer struct {
	serving chan struct{} // closed once clients are answered
	cfg     Config
	log     *slog.Logger
	db      *store
	quit    chan struct{} // closed when Run's context ends
	mail    chan func()   // to the owner of all below
	fetch   chan struct{} // bounds concurrent blob fetches
	wg      sync.WaitGroup
	sync    syncer
	lists   sync.Map // work.JobID → *material, for those who check receipts

	registry registry
	// How many offers are listened to: of each key, and of all new ones together.
	offers    *p2p.Pace[sign.PublicKey]
	newcomers *p2p.Pace[struct{}]
	heirs     heirs

	shut   sync.Mutex // guards closed, and adding handlers to wg
	closed bool

	// Owned by the goroutine of loop (and by New before it).
	jobs     map[work.JobID]*job
	active   []*job // that may still hand out or get something, oldest first
	peers    map[work.Address]*peer
	params   lifecycle.Params
	height   int64
	batch    *pebble.Batch
	outbox   []outgoing
	durable  bool // the batch must be on disk before the outbox is sent
	after    []func()
	woken    map[*watcher]struct{}
	watchers int
	dead     error // the store failed: Run ends with it
}

// New opens the state and replays it; Run does the rest.
func New(cfg Config) (*Indexer, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.OfferTopics) == 0 {
		cfg.OfferTopics = []string{wire.OfferTopic(cfg.Chain, work.ClassCPU, "")}
	}
	if cfg.Weights == (match.Weights{}) {
		cfg.Weights = match.DefaultWeights()
	}
	cfg.Timing = cfg.Timing.orDefault()
	db, err := openStore(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, err
	}
	x := &Indexer{cfg: cfg, log: cfg.Log, db: db, quit: make(chan struct{}), serving: make(chan struct{}), mail: make(chan func(), mailDepth), fetch: make(chan struct{}, 32),
		jobs: map[work.JobID]*job{}, peers: map[work.Address]*peer{}, woken: map[*watcher]struct{}{},
		offers: p2p.NewPace[sign.PublicKey](offersPerSecond, offersBurst, 4*maxProviders), newcomers: p2p.NewPace[struct{}](newcomersPerSecond, newcomersBurst, 1)}
	x.sync.wake = make(chan struct{}, 1)
	x.heirs.jobs = map[work.JobID]*foreign{}
	if err := x.load(); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return x, nil
}

// Serving is closed once Run answers clients.
func (x *Indexer) Serving() <-chan struct{} { return x.serving }

// Run serves until ctx ends, then stops everything it started and closes the
// state. It may be called once.
func (x *Indexer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		p, err := x.cfg.Ledger.Params(ctx)
		if err == nil {
			x.params = p
			break
		}
		x.log.Warn("indexer: chain cannot be reached: trying again", "err", err)
		select {
		case <-ctx.Done():
			return x.db.close()
		case <-time.After(time.Second):
		}
	}
	x.batch = x.db.db.NewBatch()
	for _, j := range x.active { // before any provider is heard: a receipt cannot be checked without
		x.adopt(j, x.loadMaterial(&j.spec))
	}
	x.keepBond(ctx)
	x.cfg.Net.Handle(p2p.ProtocolClient, func(ctx context.Context, s p2p.Stream) { x.serve(ctx, s) })
	close(x.serving)
	errs := make(chan error, 1)
	for _, f := range []func(context.Context) error{x.hearOffers, x.followChain, x.wiper} {
		x.spawn(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				select {
				case errs <- err:
				default:
				}
				cancel()
			}
		})
	}
	done := make(chan struct{})
	x.spawn(func() { x.sync.run(x, done) })
	for _, p := range x.peers {
		x.connect(p)
	}
	err := x.loop(ctx)
	x.shut.Lock()
	x.closed = true // no handler enters any more
	x.shut.Unlock()
	close(x.quit)
	cancel()
	for _, p := range x.peers {
		p.hangUp()
	}
	close(done)
	x.wg.Wait()
	select {
	case e := <-errs:
		err = errors.Join(err, e)
	default:
	}
	return errors.Join(err, x.batch.Close(), x.db.close())
}

// enter counts a handler that the network started; false when it is too late.
func (x *Indexer) enter() bool {
	x.shut.Lock()
	defer x.shut.Unlock()
	if !x.closed {
		x.wg.Add(1)
	}
	return !x.closed
}

func (x *Indexer) spawn(f func()) { x.wg.Go(f) }

// post hands f to the owner; false if there is none any more.
func (x *Indexer) post(f func()) bool {
	select {
	case x.mail <- f:
		return true
	case <-x.quit:
		return false
	}
}

// ask runs f at the owner and returns when what f changed can be read from the
// store.
func (x *Indexer) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !x.post(func() { f(); x.after = append(x.after, func() { close(done) }) }) {
		return ErrClosed
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-x.quit:
		return ErrClosed
	}
}

// loop owns the state: it takes what came in, decides, stores everything in one
// batch, and only then lets the outside know.
func (x *Indexer) loop(ctx context.Context) error {
	tick := time.NewTicker(x.cfg.Timing.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return x.commit()
		case f := <-x.mail:
			f()
		case <-tick.C:
			x.tick(time.Now())
		}
	more:
		for range mailDepth {
			select {
			case f := <-x.mail:
				f()
			default:
				break more
			}
		}
		x.dispatchAll(time.Now())
		if err := x.commit(); err != nil {
			return err
		}
	}
}

// commit stores what this round changed, then tells.
func (x *Indexer) commit() error {
	if x.dead != nil {
		return x.dead
	}
	changed := !x.batch.Empty()
	if changed {
		err := blob.Room(x.db.dir) // an engine that cannot write ends the process
		if err == nil {
			err = x.batch.Commit(pebble.NoSync)
		}
		if err != nil {
			return fmt.Errorf("indexer: store state: %w", err)
		}
		x.batch.Reset()
	}
	if len(x.outbox) > 0 || changed {
		x.sync.put(x.outbox, x.durable && !x.cfg.NoSync, changed && !x.cfg.NoSync)
		x.outbox, x.durable = nil, false
	}
	for _, f := range x.after {
		f()
	}
	clear(x.after)
	x.after = x.after[:0]
	for w := range x.woken {
		w.notify()
		delete(x.woken, w)
	}
	return nil
}

// set adds a record to this round's batch.
func (x *Indexer) set(key, value []byte) {
	if err := x.batch.Set(key, value, nil); err != nil && x.dead == nil {
		x.dead = fmt.Errorf("indexer: store state: %w", err)
	}
}

// load replays what is stored.
func (x *Indexer) load() error {
	if b, err := x.db.get([]byte{keyCursor}); err != nil {
		return err
	} else if len(b) == 8 {
		x.height = int64(binary.BigEndian.Uint64(b))
	}
	err := x.db.each([]byte{keyOffer}, func(_, v []byte) error {
		o, err := work.DecodeOffer(v)
		if err == nil {
			x.peers[o.Provider] = &peer{addr: o.Provider, offer: o, attested: o.Attested(), raw: append([]byte(nil), v...), down: time.Now(), jobs: map[work.JobID]*dealing{}}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("indexer: read offers: %w", err)
	}
	var recs []*jobRecord
	err = x.db.each([]byte{keyJob}, func(_, v []byte) error {
		r, err := decodeJobRecord(v)
		if err == nil && !r.Over {
			recs = append(recs, r)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("indexer: read jobs: %w", err)
	}
	for _, r := range recs {
		j, err := x.replay(r)
		if err != nil {
			return err
		}
		x.activate(j)
	}
	return nil
}

// replay makes a job from its records.
func (x *Indexer) replay(r *jobRecord) (*job, error) {
	j := newJob(r)
	err := x.db.each(jobKey(keyLog, j.id), func(_, v []byte) error {
		e, err := decodeEvent(v)
		if err == nil {
			j.state.apply(e)
			if e.Kind == evHostFail {
				j.said(e.Items, e.Why)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("indexer: replay job %s: %w", j.id.Short(), err)
	}
	return j, nil
}

// activate makes j one of the jobs that are being served.
func (x *Indexer) activate(j *job) {
	x.jobs[j.id] = j
	x.active = append(x.active, j)
	x.lists.Store(j.id, j.material)
	j.dirty = true
}

// outgoing is a frame on its way to a provider.
type outgoing struct {
	link  *link
	frame func() []byte // made by the link's own goroutine: signing takes time
	gen   uint64
	then  func() // instead of a frame: called when everything before is durable
}

// syncer makes rounds durable, many at a time, and lets their frames go. Order
// is kept. What nobody waits for becomes durable soon after.
type syncer struct {
	mu      sync.Mutex // guards the three below
	queue   []outgoing
	durable bool // the queue waits for the disk
	dirty   bool // something is not durable yet
	wake    chan struct{}
}

// lazySync is how long a change that nobody waits for stays volatile: providers
// take a receipt for safe after ten seconds.
const lazySync = 20 * time.Millisecond

func (s *syncer) put(out []outgoing, durable, dirty bool) {
	s.mu.Lock()
	s.queue = append(s.queue, out...)
	s.durable, s.dirty = s.durable || durable, s.dirty || dirty
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *syncer) run(x *Indexer, done <-chan struct{}) {
	lazy := time.NewTimer(time.Hour)
	defer lazy.Stop()
	var armed, due bool
	for {
		select {
		case <-s.wake:
		case <-lazy.C:
			armed, due = false, true
		case <-done:
			return
		}
		s.mu.Lock()
		out := s.queue
		write := s.durable || due && s.dirty
		s.queue, s.durable = nil, false
		if write {
			s.dirty = false
		}
		later := s.dirty
		s.mu.Unlock()
		due = false
		if write {
			if err := x.db.db.LogData(nil, pebble.Sync); err != nil {
				x.post(func() { x.dead = fmt.Errorf("indexer: make state durable: %w", err) })
				continue // nothing is sent that is not durable
			}
		}
		for _, o := range out {
			if o.then != nil {
				o.then()
			} else {
				o.link.push(o)
			}
		}
		if later && !armed {
			lazy.Reset(lazySync)
			armed = true
		}
	}
}
