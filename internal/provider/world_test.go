package provider_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/checker"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/mem"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/referee"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const (
	chainID = "test-1"
	gtg     = work.Amount(work.UgtgPerGtg)
)

// world is a chain in memory with one client, and an indexer played by the test.
type world struct {
	t      testing.TB
	chain  *fake.Ledger
	hub    *mem.Hub
	blobs  *blob.Mem // the client's: programs and lists
	key    sign.PrivateKey
	net    p2p.Network // the indexer's
	params lifecycle.Params
	nonce  atomic.Uint64

	refereeAt p2p.Peer // the newest referee
}

func newWorld(t testing.TB, edit ...func(*lifecycle.Params)) *world {
	t.Helper()
	p := lifecycle.LocalParams()
	// Blocks are fast here and machines may be slow: waits that end early when
	// everybody has spoken are long.
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks = 3000, 3000, 3000, 3000
	p.WindowBlocks, p.ClosingBlocks = 4, 100_000
	for _, f := range edit {
		f(&p)
	}
	w := &world{t: t, hub: mem.NewHub(), blobs: blob.NewMem(), params: p, key: newKey(t)}
	genesis := map[work.Address]work.Amount{}
	for _, a := range []work.Address{"client", "owner", "prov-a", "prov-b", "check-1", "check-2", "check-3", "val-1", "val-2"} {
		genesis[a] = 10_000 * gtg
	}
	w.chain = fake.New(fake.Config{Chain: chainID, Params: p, Genesis: genesis, Seed: 7,
		Validators: []lifecycle.ValidatorPower{{Account: "val-1", Power: 10}}})
	w.net = w.hub.New(w.key)
	w.register(lifecycle.RoleIndexer, "owner", w.key, p.IndexerBond)
	t.Cleanup(func() { w.net.Close() })
	return w
}

// tick makes blocks until the test ends. What was registered before is in the first
// one: a checker may check only what is committed later.
func (w *world) tick() {
	w.chain.Advance()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.chain.Run(ctx, 3*time.Millisecond) })
	w.t.Cleanup(func() { cancel(); wg.Wait() })
}

func newKey(t testing.TB) sign.PrivateKey {
	t.Helper()
	k, err := sign.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) submit(from work.Address, msgs ...ledger.Msg) {
	w.t.Helper()
	if _, err := w.chain.Submit(w.t.Context(), from, msgs...); err != nil {
		w.t.Fatalf("%s: %v", from, err)
	}
}

func (w *world) register(role lifecycle.Role, who work.Address, key sign.PrivateKey, bond work.Amount) {
	w.t.Helper()
	w.submit(who, ledger.Register{Role: role, Peer: key.Public(), Bond: bond})
}

// job posts a job of n items.
func (w *world) job(n uint64, tier work.Tier, edit ...func(*work.JobSpec)) work.JobSpec {
	w.t.Helper()
	module := w.put([]byte("module"))
	list := work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 1, Hi: n + 1}}
	s := work.JobSpec{
		Chain: chainID, Client: "client", Nonce: w.nonce.Add(1), Program: module, Profile: "gw1/1", Items: w.put(list.Encode()), ItemCount: n,
		Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 10_000_000_000, OutputBytes: 1 << 20}, Tier: tier,
		MaxPrice: 5000, Escrow: 100 * gtg, CheckEscrow: 100 * gtg, Indexer: w.key.Public(), IndexerOwner: "owner", MaxCopies: 2, DeadlineHeight: 1 << 20,
	}
	for _, f := range edit {
		f(&s)
	}
	if tier != work.TierNone {
		w.submit("client", ledger.CreateJob{Spec: s})
	}
	return s
}

func (w *world) put(b []byte) work.BlobID {
	w.t.Helper()
	id, err := w.blobs.Put(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// copier fetches from the client's store.
type copier struct{ from, to *blob.Mem }

func (c copier) Fetch(_ context.Context, b work.BlobID, _ []p2p.Peer) error {
	data, err := c.from.Get(b, b.Size)
	if err != nil {
		return err
	}
	_, err = c.to.Put(data)
	return err
}

// toy is a deterministic runtime: an item's results follow from its input.
type toy struct {
	slots int
	delay time.Duration
	runs  atomic.Int64
	fail  func(arg string) error // nil: never
	out   int                    // bytes of the output file
}

func (r *toy) Slots() int   { return max(1, r.slots) }
func (r *toy) Close() error { return nil }

func (r *toy) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	r.runs.Add(1)
	if r.fail != nil {
		if err := r.fail(t.Item.Args[0]); err != nil {
			return nil, err
		}
	}
	if r.delay > 0 {
		select {
		case <-time.After(r.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	in := t.Item.InputDigest(work.Program(t.Program, t.Profile), t.Limits, t.Seed)
	data := []byte(strings.Repeat("result of "+t.Item.Args[0]+" ", 1+r.out/12))
	id := work.BlobOf(data)
	out := work.Output{Files: []work.File{{Path: "out/r", Blob: id}}}
	o := work.Outcome{Kind: work.Exited}
	fuel := work.Fuel(1_000_000_000 + binary.BigEndian.Uint32(in[:4])%1000)
	return &runtime.Run{
		Leaf:   work.Leaf{Input: in, Output: out.Digest(o), Outcome: o, Fuel: fuel, Memory: work.Sum("memory", in[:])},
		Output: out, Bytes: map[work.BlobID][]byte{id: data},
	}, nil
}

// role runs until stopped; stopping again does nothing.
type role struct {
	stop func()
	err  error
}

func (w *world) start(run func(context.Context) error) *role {
	ctx, cancel := context.WithCancel(context.Background())
	r := &role{}
	var wg sync.WaitGroup
	wg.Go(func() { r.err = run(ctx) })
	r.stop = func() { cancel(); wg.Wait() }
	w.t.Cleanup(func() {
		r.stop()
		if r.err != nil && !errors.Is(r.err, context.Canceled) {
			w.t.Errorf("role ended: %v", r.err)
		}
	})
	return r
}

// prov is how a test starts a provider, again and again over the same folder.
type prov struct {
	w    *world
	name work.Address
	key  sign.PrivateKey
	dir  string
	rt   runtime.Runtime
	led  ledger.Ledger
	edit func(*provider.Config)
	self p2p.Peer // of its newest network
	role *provider.Provider

	withhold atomic.Bool // outputs
}

func (w *world) provider(name work.Address, rt runtime.Runtime) *prov {
	p := &prov{w: w, name: name, key: newKey(w.t), dir: filepath.Join(w.t.TempDir(), string(name)), rt: rt, led: w.chain}
	w.register(lifecycle.RoleProvider, name, p.key, 100*gtg)
	return p
}

func (p *prov) start() *role {
	p.w.t.Helper()
	mine := blob.NewMem()
	net := p.w.hub.New(p.key)
	p.self = net.Self()
	cfg := provider.Config{
		Chain: chainID, Account: p.name, Key: p.key, Ledger: p.led, Net: net, Blobs: mine, Fetcher: copier{p.w.blobs, mine}, Runtime: p.rt,
		Dir: p.dir, MinPrice: 10, MaxPrice: 100, OfferInterval: 100 * time.Millisecond, OfferLifetime: 2 * time.Second, BatchTime: 50 * time.Millisecond,
		Poll: 300 * time.Millisecond, Log: logOf(p.w.t, string(p.name)),
	}
	if p.edit != nil {
		p.edit(&cfg)
	}
	x, err := provider.New(cfg)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.role = x
	net.Handle(p2p.ProtocolOutput, wire.ServeOutputs(func(ctx context.Context, peer sign.PublicKey, q wire.OutputRequest) *wire.Output {
		if p.withhold.Load() {
			return nil
		}
		return x.Output(ctx, peer, q)
	}))
	net.Handle(p2p.ProtocolBlob, blob.Server(mine, blob.ServerOptions{}))
	return p.w.start(func(ctx context.Context) error {
		defer net.Close()
		return x.Run(ctx)
	})
}

// logOf writes a role's log into the test's, until the test ends.
func logOf(t testing.TB, who string) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t, who}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct {
	t   testing.TB
	who string
}

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s: %s", w.who, strings.TrimSpace(string(b)))
	return len(b), nil
}

func (w *world) checker(name work.Address, rt runtime.Runtime, led ledger.Ledger, edit ...func(*checker.Config)) (start func() *role) {
	w.register(lifecycle.RoleChecker, name, newKey(w.t), 50*gtg)
	dir := filepath.Join(w.t.TempDir(), string(name))
	return func() *role {
		mine := blob.NewMem()
		cfg := checker.Config{Chain: chainID, Account: name, Ledger: led, Blobs: mine, Fetcher: copier{w.blobs, mine}, Runtime: rt,
			Dir: dir, Poll: 300 * time.Millisecond, Log: logOf(w.t, string(name))}
		for _, f := range edit {
			f(&cfg)
		}
		c, err := checker.New(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		return w.start(c.Run)
	}
}

func (w *world) referee(name work.Address, rt runtime.Runtime, edit ...func(*referee.Config)) (start func() *role) {
	dir, mine := filepath.Join(w.t.TempDir(), string(name)), blob.NewMem()
	return func() *role {
		net := w.hub.New(newKey(w.t))
		cfg := referee.Config{Chain: chainID, Account: name, Ledger: w.chain, Net: net, Blobs: mine, Fetcher: copier{w.blobs, mine}, Runtime: rt,
			Dir: dir, Poll: 300 * time.Millisecond, Log: logOf(w.t, string(name))}
		for _, f := range edit {
			f(&cfg)
		}
		r, err := referee.New(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		net.Handle(p2p.ProtocolOutput, wire.ServeOutputs(r.Output))
		net.Handle(p2p.ProtocolBlob, blob.Server(mine, blob.ServerOptions{}))
		w.refereeAt = net.Self()
		return w.start(func(ctx context.Context) error {
			defer net.Close()
			return r.Run(ctx)
		})
	}
}

// indexer is one stream to one provider.
type indexer struct {
	w *world
	s p2p.Stream

	wg       sync.WaitGroup
	mu       sync.Mutex // guards the fields below
	results  map[work.JobID]map[uint64]work.Result
	repeats  int // results that had come before
	failures []wire.Failure
	receipts int
	inline   map[work.BlobID]bool
}

func (w *world) dial(p *prov) *indexer {
	w.t.Helper()
	var s p2p.Stream
	w.eventually("the provider serves", func() (err error) {
		s, err = w.net.Dial(w.t.Context(), p.self, p2p.ProtocolWork)
		return err
	})
	x := &indexer{w: w, s: s, results: map[work.JobID]map[uint64]work.Result{}, inline: map[work.BlobID]bool{}}
	x.send(wire.EncodeHello(wire.Hello{Chain: chainID, Account: "owner"}))
	raw, err := s.Receive()
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := wire.Decode(raw, s.Peer())
	if err != nil || f.Hello == nil || f.Hello.Account != p.name {
		w.t.Fatalf("hello: %+v, %v", f, err)
	}
	x.wg.Go(x.receive)
	w.t.Cleanup(x.close)
	return x
}

func (x *indexer) close() { x.s.Close(); x.wg.Wait() }

func (x *indexer) send(frames ...[]byte) {
	x.w.t.Helper()
	for _, f := range frames {
		if err := x.s.Send(f); err != nil {
			x.w.t.Fatal(err)
		}
	}
	if err := x.s.Flush(); err != nil {
		x.w.t.Fatal(err)
	}
}

func (x *indexer) receive() {
	for {
		raw, err := x.s.Receive()
		if err != nil {
			return
		}
		f, err := wire.Decode(raw, x.s.Peer())
		if err != nil || f.Receipt == nil {
			x.w.t.Errorf("frame: %v", err)
			return
		}
		x.take(f.Receipt)
	}
}

func (x *indexer) take(r *wire.Receipt) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.receipts++
	m := x.results[r.Job]
	if m == nil {
		m = map[uint64]work.Result{}
		x.results[r.Job] = m
	}
	for _, res := range r.Results {
		if _, ok := m[res.Index]; ok {
			x.repeats++
		}
		m[res.Index] = res
	}
	x.failures = append(x.failures, r.Failures...)
	for _, b := range r.Inline {
		x.inline[work.BlobOf(b)] = true
	}
}

// have is how many results of a job came in.
func (x *indexer) have(j work.JobID) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return uint64(len(x.results[j]))
}

func (x *indexer) failed() (n uint64, l []wire.Failure) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range x.failures {
		n += f.Items.Len()
	}
	return n, x.failures
}

func (x *indexer) introduce(s work.JobSpec) {
	x.w.t.Helper()
	x.send(wire.EncodeJob(wire.Job{Spec: s, Holders: []p2p.Peer{x.w.net.Self()}}))
}

func (x *indexer) assign(s work.JobSpec, to work.Address, attempt uint32, price work.Price, rs ...work.Range) {
	x.w.t.Helper()
	a := work.Assignment{Chain: chainID, Job: s.ID(), Provider: to, Attempt: attempt, Ranges: work.NewRangeSet(rs...), Price: price,
		ExpiresHeight: x.w.chain.Height() + 50_000}
	a.Sign(x.w.key)
	x.send(wire.EncodeAssign(wire.Assign{Assignment: a, Chunk: 1}))
}

func (x *indexer) flush(s work.JobSpec) {
	x.w.t.Helper()
	x.send(wire.EncodeItems(wire.KindFlush, wire.Items{Job: s.ID()}))
}

// eventually waits until f gives nil.
func (w *world) eventually(what string, f func() error) {
	w.t.Helper()
	end := time.Now().Add(60 * time.Second)
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

// batches gives a job's batches as they stand.
func (w *world) batches(s work.JobSpec) []*lifecycle.Batch {
	w.t.Helper()
	ids, err := w.chain.Batches(w.t.Context(), s.ID())
	if err != nil {
		w.t.Fatal(err)
	}
	var out []*lifecycle.Batch
	for _, id := range ids {
		b, err := w.chain.Batch(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// settled waits until n items of a job are in settled batches.
func (w *world) settled(s work.JobSpec, n uint64) []*lifecycle.Batch {
	w.t.Helper()
	var out []*lifecycle.Batch
	w.eventually(fmt.Sprintf("%d items settled", n), func() error {
		var sum uint64
		out = w.batches(s)
		state := ""
		for _, b := range out {
			if b.Phase == lifecycle.Settled {
				sum += b.N
			}
			state += fmt.Sprintf(" %s:%d", b.Phase, b.N)
		}
		if sum < n {
			return fmt.Errorf("%d settled, batches%s", sum, state)
		}
		return nil
	})
	return out
}
