package indexer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/indexer"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/mem"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const (
	chainID = "test-1"
	gtg     = work.Amount(work.UgtgPerGtg)
)

// world is a chain in memory, a client, and an indexer under test; providers are
// scripted or real.
type world struct {
	t      *testing.T
	chain  *fake.Ledger
	hub    *mem.Hub
	key    sign.PrivateKey // the indexer's
	blobs  blob.Store      // the indexer's
	client p2p.Network
	nonce  atomic.Uint64
	at     atomic.Pointer[p2p.Peer] // the indexer
	timing indexer.Timing
	own    []work.Address

	mu      sync.Mutex // guards assigned
	dealt   map[string]work.Address
	clashes []string
}

func newWorld(t *testing.T, change func(p *lifecycle.Params)) *world {
	t.Helper()
	p := lifecycle.LocalParams()
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks = 3000, 3000, 3000, 3000
	p.WindowBlocks, p.ClosingBlocks = 4, 100_000
	if change != nil {
		change(&p)
	}
	w := &world{t: t, hub: mem.NewHub(), key: newKey(t), blobs: blob.NewMem(), dealt: map[string]work.Address{},
		timing: indexer.Timing{Lost: 200 * time.Millisecond, Uncommitted: 500 * time.Millisecond, Patience: 200 * time.Millisecond,
			Undelivered: 300 * time.Millisecond, SlowFloor: 50 * time.Millisecond, Tick: 10 * time.Millisecond}}
	genesis := map[work.Address]work.Amount{}
	for _, a := range []work.Address{"client", "owner", "a", "b", "c", "d", "e", "f", "check-1", "check-2"} {
		genesis[a] = 10_000 * gtg
	}
	w.chain = fake.New(fake.Config{Chain: chainID, Params: p, Genesis: genesis, Seed: 7,
		Validators: []lifecycle.ValidatorPower{{Account: "val-1", Power: 10}}})
	w.submit("owner", ledger.Register{Role: lifecycle.RoleIndexer, Peer: w.key.Public(), Bond: p.IndexerBond})
	w.client = w.hub.New(newKey(t))
	t.Cleanup(func() { w.client.Close() })
	w.tick()
	return w
}

func newKey(t testing.TB) sign.PrivateKey {
	t.Helper()
	k, err := sign.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) tick() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.chain.Run(ctx, 3*time.Millisecond) })
	w.t.Cleanup(func() { cancel(); wg.Wait() })
}

func (w *world) submit(from work.Address, msgs ...ledger.Msg) {
	w.t.Helper()
	if _, err := w.chain.Submit(w.t.Context(), from, msgs...); err != nil {
		w.t.Fatalf("%s: %v", from, err)
	}
}

// noFetch is a fetcher that finds nothing.
type noFetch struct{}

func (noFetch) Fetch(_ context.Context, b work.BlobID, _ []p2p.Peer) error {
	return fmt.Errorf("%s: %w", b, blob.ErrMissing)
}

// indexer starts the indexer over a folder.
func (w *world) indexer(dir string) (stop func()) {
	w.t.Helper()
	net := w.hub.New(w.key)
	w.at.Store(new(net.Self()))
	x, err := indexer.New(indexer.Config{Chain: chainID, Key: w.key, Owner: "owner", Ledger: w.chain, Net: net, Blobs: w.blobs, Fetcher: noFetch{},
		Dir: dir, Timing: w.timing, Own: w.own, Log: logOf("indexer")})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.start(func(ctx context.Context) error {
		defer net.Close()
		return x.Run(ctx)
	})
}

// start runs a role until it is stopped.
func (w *world) start(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("role ended: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	w.t.Cleanup(stop)
	return stop
}

// logOf is silent unless GOTONG_TEST_LOG is set.
func logOf(who string) *slog.Logger {
	if os.Getenv("GOTONG_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("who", who)
}

// spec is a job of n items whose list is handed over.
func (w *world) spec(n uint64, tier work.Tier) work.JobSpec {
	w.t.Helper()
	list := work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: n}}
	module, err1 := w.blobs.Put([]byte("module"))
	items, err2 := w.blobs.Put(list.Encode())
	if err := errors.Join(err1, err2); err != nil {
		w.t.Fatal(err)
	}
	return work.JobSpec{
		Chain: chainID, Client: "client", Nonce: w.nonce.Add(1), Program: module, Profile: "gw1/1", Items: items, ItemCount: n,
		Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 10_000_000_000, OutputBytes: 1 << 20}, Tier: tier,
		MaxPrice: 100, Escrow: 100 * gtg, CheckEscrow: 100 * gtg, Indexer: w.key.Public(), IndexerOwner: "owner", MaxCopies: 2, DeadlineHeight: 1 << 20,
	}
}

// post posts the job and has the indexer serve it.
func (w *world) post(s work.JobSpec, c wire.Chunk) work.JobID {
	w.t.Helper()
	if s.Tier != work.TierNone {
		w.submit("client", ledger.CreateJob{Spec: s})
	}
	w.accept(s, c)
	return s.ID()
}

func (w *world) accept(s work.JobSpec, c wire.Chunk) {
	w.t.Helper()
	w.must(&wire.Request{Op: wire.OpAccept, Job: s.ID(), Spec: s.Encode(), Chunk: c})
}

// ask sends one request and gives its answers.
func (w *world) ask(r *wire.Request) ([]*wire.Answer, error) {
	var all []*wire.Answer
	err := w.each(w.t.Context(), r, func(a *wire.Answer) { all = append(all, a) })
	return all, err
}

func (w *world) each(ctx context.Context, r *wire.Request, f func(*wire.Answer)) error {
	var s p2p.Stream
	w.eventually("the indexer serves", func() (err error) {
		s, err = w.client.Dial(ctx, *w.at.Load(), p2p.ProtocolClient)
		return err
	})
	defer s.Close()
	b, err := wire.EncodeJSON(r)
	if err == nil {
		err = errors.Join(s.Send(b), s.Flush())
	}
	for err == nil {
		if b, err = s.Receive(); err != nil {
			break
		}
		var a *wire.Answer
		if a, err = wire.DecodeAnswer(b); err != nil {
			break
		}
		if a.Error != "" {
			return errors.New(a.Error)
		}
		f(a)
		if a.Done {
			return nil
		}
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the answer ended early")
	}
	return err
}

func (w *world) must(r *wire.Request) *wire.Answer {
	w.t.Helper()
	as, err := w.ask(r)
	if err != nil {
		w.t.Fatalf("%s: %v", r.Op, err)
	}
	return as[len(as)-1]
}

// watched watches a job to its end and gives each item's last update.
func (w *world) watched(id work.JobID) (map[uint64]wire.Update, wire.Counts) {
	w.t.Helper()
	last, counts := map[uint64]wire.Update{}, wire.Counts{}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	err := w.each(ctx, &wire.Request{Op: wire.OpWatch, Job: id}, func(a *wire.Answer) {
		for _, u := range a.Updates {
			last[u.Index] = u
		}
		if a.Counts != nil {
			counts = *a.Counts
		}
	})
	if err != nil {
		w.t.Fatalf("watch: %v (%+v)", err, counts)
	}
	return last, counts
}

func (w *world) counts(id work.JobID) wire.Counts {
	w.t.Helper()
	return *w.must(&wire.Request{Op: wire.OpExplain, Job: id}).Counts
}

// eventually waits until f gives nil.
func (w *world) eventually(what string, f func() error) {
	w.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("waited for: %s: %v", what, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// reach waits until a job's counts satisfy ok.
func (w *world) reach(id work.JobID, what string, ok func(c wire.Counts) bool) {
	w.t.Helper()
	w.eventually(what, func() error {
		if c := w.counts(id); !ok(c) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

// worker is a scripted provider: it speaks the work protocol and never commits.
type worker struct {
	w     *world
	name  work.Address
	key   sign.PrivateKey
	slots uint32
	price work.Price
	// act decides what comes back for an item: a result, a failure, or (both nil)
	// nothing.
	act func(a *work.Assignment, r work.Result) (*work.Result, *wire.Failure)
	// offer, if set, changes the offer before it is signed.
	offer func(o *work.Offer)
	// lag is how late it answers pings; negative: never.
	lag time.Duration
	// raw, if set, turns a receipt into the frame that is sent.
	raw func(r *wire.Receipt) []byte

	mu      sync.Mutex // guards the fields below
	specs   map[work.JobID]*material
	got     []work.Assignment
	dropped work.RangeSet
	flushes int
	streams int
}

type material struct {
	spec work.JobSpec
	list *work.ItemList
}

func (w *world) worker(name work.Address, slots uint32) *worker {
	p := &worker{w: w, name: name, key: newKey(w.t), slots: slots, price: 50, specs: map[work.JobID]*material{}}
	w.submit(name, ledger.Register{Role: lifecycle.RoleProvider, Peer: p.key.Public(), Bond: 50 * gtg})
	return p
}

// run starts the worker; what it was given survives a stop.
func (p *worker) run() (stop func()) {
	net := p.w.hub.New(p.key)
	net.Handle(p2p.ProtocolWork, p.serve)
	return p.w.start(func(ctx context.Context) error {
		defer net.Close()
		for seq := uint64(1); ; seq++ {
			o := work.Offer{Chain: chainID, Provider: p.name, Owner: p.name, Addrs: net.Self().Addrs, Class: work.ClassCPU, Slots: p.slots, MemoryBytes: 1 << 30,
				Price: p.price, Sequence: uint64(time.Now().UnixNano()), ExpiresUnix: time.Now().Unix() + 60}
			if p.offer != nil {
				p.offer(&o)
			}
			o.Sign(p.key)
			if at := p.w.at.Load(); at != nil {
				net.Connect(ctx, *at)
			}
			net.Publish(ctx, wire.OfferTopic(chainID, work.ClassCPU, ""), o.Encode())
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

func (p *worker) serve(_ context.Context, s p2p.Stream) {
	defer s.Close()
	if _, err := s.Receive(); err != nil {
		return
	}
	if p.lag > 0 {
		time.Sleep(p.lag)
	}
	if s.Send(wire.EncodeHello(wire.Hello{Chain: chainID, Account: p.name})) != nil || s.Flush() != nil {
		return
	}
	p.mu.Lock()
	p.streams++
	p.mu.Unlock()
	for {
		b, err := s.Receive()
		if err != nil {
			return
		}
		f, err := wire.Decode(b, s.Peer())
		if err != nil {
			p.w.t.Errorf("%s: frame: %v", p.name, err)
			return
		}
		switch {
		case f.Job != nil:
			p.introduced(f.Job)
		case f.Assign != nil:
			if p.assigned(s, f.Assign) != nil {
				return
			}
		case f.Ping != nil:
			if p.lag > 0 {
				time.Sleep(p.lag)
			}
			if p.lag >= 0 && errors.Join(s.Send(wire.EncodePing(wire.KindPong, *f.Ping)), s.Flush()) != nil {
				return
			}
		case f.Drop != nil:
			p.mu.Lock()
			p.dropped = p.dropped.Union(f.Drop.Items)
			p.mu.Unlock()
		case f.Flush != nil:
			p.mu.Lock()
			p.flushes++
			p.mu.Unlock()
		}
	}
}

func (p *worker) introduced(m *wire.Job) {
	b, err := p.w.blobs.Get(m.Spec.Items, 1<<20)
	if err != nil {
		p.w.t.Error(err)
		return
	}
	l, err := work.DecodeItemList(b)
	if err != nil {
		p.w.t.Error(err)
	}
	p.mu.Lock()
	p.specs[m.Spec.ID()] = &material{m.Spec, l}
	p.mu.Unlock()
}

func (p *worker) assigned(s p2p.Stream, m *wire.Assign) error {
	a := m.Assignment
	if err := a.Verify(p.w.key.Public()); err != nil {
		p.w.t.Errorf("%s: %v", p.name, err)
	}
	p.mu.Lock()
	p.got = append(p.got, a)
	mat := p.specs[a.Job]
	p.mu.Unlock()
	p.w.witness(&a)
	if mat == nil {
		p.w.t.Errorf("%s: assignment before its job", p.name)
		return nil
	}
	r := wire.Receipt{Job: a.Job, Attempt: a.Attempt, Provider: p.name}
	for _, rg := range a.Ranges {
		for i := rg.Lo; i < rg.Hi; i++ {
			res, fail := p.do(&a, mat, i)
			if res != nil {
				r.Results = append(r.Results, *res)
			}
			if fail != nil {
				r.Failures = append(r.Failures, *fail)
			}
		}
	}
	if len(r.Results)+len(r.Failures) == 0 {
		return nil
	}
	frame := p.raw
	if frame == nil {
		frame = func(r *wire.Receipt) []byte { return wire.EncodeReceipt(r, p.key) }
	}
	return errors.Join(s.Send(frame(&r)), s.Flush())
}

func (p *worker) do(a *work.Assignment, m *material, i uint64) (*work.Result, *wire.Failure) {
	r := resultOf(&m.spec, m.list, i)
	if p.act == nil {
		return &r, nil
	}
	return p.act(a, r)
}

// resultOf is the honest result of an item without output.
func resultOf(s *work.JobSpec, l *work.ItemList, i uint64) work.Result {
	it, err := l.Item(i)
	if err != nil {
		panic(err)
	}
	in := it.InputDigest(s.ProgramID(), s.Limits, s.Seed)
	o := work.Outcome{Kind: work.Exited}
	var out work.Output
	return work.Result{Index: i, Leaf: work.Leaf{Input: in, Output: out.Digest(o), Outcome: o, Fuel: 1_000_000, Memory: work.Sum("memory", in[:])}}
}

func failure(i uint64, why string) *wire.Failure {
	return &wire.Failure{Items: work.RangeSet{{Lo: i, Hi: i + 1}}, Why: why}
}

// assignments are what the worker was given, so far.
func (p *worker) assignments() []work.Assignment {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

func (p *worker) items() (s work.RangeSet) {
	for _, a := range p.assignments() {
		s = s.Union(a.Ranges)
	}
	return s
}

// witness notes who got an item under which attempt.
func (w *world) witness(a *work.Assignment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range a.Ranges {
		for i := r.Lo; i < r.Hi; i++ {
			k := fmt.Sprint(a.Job, i, a.Attempt)
			if who, ok := w.dealt[k]; ok && who != a.Provider {
				w.clashes = append(w.clashes, fmt.Sprintf("item %d attempt %d went to %s and %s", i, a.Attempt, who, a.Provider))
			}
			w.dealt[k] = a.Provider
		}
	}
}

// fair fails the test if an item went to two providers under one attempt.
func (w *world) fair() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.clashes) > 0 {
		w.t.Errorf("equivocation: %v", w.clashes)
	}
}

// crashCopy is the folder as a crash would leave it now: no file came or went, and the
// list of them did not change, while it was copied.
func crashCopy(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "crashed")
	for try := 0; ; try++ {
		before := filesOf(t, dir)
		err := os.CopyFS(to, os.DirFS(dir))
		if err == nil && slices.Equal(before, filesOf(t, dir)) {
			return to
		}
		if try == 100 {
			t.Fatalf("%s changes all the time: %v", dir, err)
		}
		os.RemoveAll(to)
		time.Sleep(10 * time.Millisecond)
	}
}

// filesOf lists a folder's files, the manifest of a store with its size.
func filesOf(t *testing.T, dir string) (l []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return nil // it went just now
		}
		if i, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), "MANIFEST") {
			path += fmt.Sprint(" ", i.Size())
		}
		l = append(l, path)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return l
}
