package client_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/checker"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/indexer"
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
	price   = 50 // what providers ask
)

// world is a chain in memory and the real roles around a client.
type world struct {
	t       *testing.T
	chain   *fake.Ledger
	hub     *mem.Hub
	key     sign.PrivateKey // the indexer's
	dir     string          // the indexer's
	blobs   *blob.Mem       // the indexer's
	at      atomic.Pointer[p2p.Peer]
	more    atomic.Pointer[[]p2p.Peer] // that checkers and referees ask for blobs too
	own     []work.Address
	stopped func() // the running indexer
	provs   map[work.Address]*provider.Provider
}

func newWorld(t *testing.T, edit ...func(*lifecycle.Params)) *world {
	t.Helper()
	p := lifecycle.LocalParams()
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks = 3000, 3000, 3000, 3000
	p.WindowBlocks, p.ClosingBlocks = 4, 100_000
	for _, f := range edit {
		f(&p)
	}
	w := &world{t: t, hub: mem.NewHub(), key: newKey(t), blobs: blob.NewMem(), dir: t.TempDir(), provs: map[work.Address]*provider.Provider{}}
	genesis := map[work.Address]work.Amount{}
	for _, a := range []work.Address{"client", "owner", "a", "b", "c", "check-1", "check-2"} {
		genesis[a] = 10_000 * gtg
	}
	genesis["poor"] = 2000
	genesis["val-1"] = 10 * gtg
	w.chain = fake.New(fake.Config{Chain: chainID, Params: p, Genesis: genesis, Seed: 7,
		Validators: []lifecycle.ValidatorPower{{Account: "val-1", Power: 10}}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.chain.Run(ctx, 3*time.Millisecond) })
	t.Cleanup(func() { cancel(); wg.Wait() })
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

func (w *world) submit(from work.Address, msgs ...ledger.Msg) {
	w.t.Helper()
	if _, err := w.chain.Submit(w.t.Context(), from, msgs...); err != nil {
		w.t.Fatalf("%s: %v", from, err)
	}
}

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

func logOf(who string) *slog.Logger {
	if os.Getenv("GOTONG_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("who", who)
}

// indexer starts the indexer over its folder, under a key that may change like a
// process's addresses do.
func (w *world) indexer() {
	w.t.Helper()
	net := w.hub.New(w.key)
	net.Handle(p2p.ProtocolBlob, blob.Server(w.blobs, blob.ServerOptions{AcceptPush: func(sign.PublicKey, work.BlobID) bool { return true }}))
	w.at.Store(new(net.Self()))
	x, err := indexer.New(indexer.Config{Chain: chainID, Key: w.key, Owner: "owner", Ledger: w.chain, Net: net, Blobs: w.blobs,
		Fetcher: blob.NewFetcher(net, w.blobs, blob.FetcherOptions{}), Dir: w.dir, Own: w.own, Log: logOf("indexer"),
		Timing: indexer.Timing{Lost: 300 * time.Millisecond, Uncommitted: time.Second, Patience: 300 * time.Millisecond,
			Undelivered: 500 * time.Millisecond, SlowFloor: 100 * time.Millisecond, Tick: 10 * time.Millisecond}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.stopped = w.start(func(ctx context.Context) error {
		defer net.Close()
		return x.Run(ctx)
	})
}

func (w *world) known() []p2p.Peer {
	l := []p2p.Peer{*w.at.Load()}
	if m := w.more.Load(); m != nil {
		l = append(l, *m...)
	}
	return l
}

// provider starts a provider with a runtime; the indexer must run.
func (w *world) provider(name work.Address, rt runtime.Runtime, wrap ...func(p2p.Network) p2p.Network) p2p.Peer {
	w.t.Helper()
	key := newKey(w.t)
	w.submit(name, ledger.Register{Role: lifecycle.RoleProvider, Peer: key.Public(), Bond: 200 * gtg})
	var net p2p.Network = w.hub.New(key)
	mine := blob.NewMem()
	net.Handle(p2p.ProtocolBlob, blob.Server(mine, blob.ServerOptions{}))
	for _, f := range wrap {
		net = f(net)
	}
	p, err := provider.New(provider.Config{
		Chain: chainID, Account: name, Key: key, Ledger: w.chain, Net: net, Blobs: mine, Fetcher: blob.NewFetcher(net, mine, blob.FetcherOptions{}),
		Runtime: rt, Dir: filepath.Join(w.t.TempDir(), string(name)), MinPrice: price, OfferInterval: 50 * time.Millisecond, OfferLifetime: 2 * time.Second,
		BatchTime: 50 * time.Millisecond, Poll: 200 * time.Millisecond, Own: func(a work.Address) bool { return a == "client" }, Log: logOf(string(name)),
		Holders: func(context.Context, *lifecycle.Job) []p2p.Peer { return w.known() },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.provs[name] = p
	net.Handle(p2p.ProtocolOutput, wire.ServeOutputs(p.Output))
	w.start(func(ctx context.Context) error {
		defer net.Close()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { // finds the indexer again after it was started anew
			for ctx.Err() == nil {
				net.Connect(ctx, *w.at.Load())
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
		return p.Run(ctx)
	})
	return net.Self()
}

// referee starts the validator's referee, which asks for outputs at holders.
func (w *world) referee(holders ...p2p.Peer) p2p.Peer {
	w.t.Helper()
	net, mine := w.hub.New(newKey(w.t)), blob.NewMem()
	r, err := referee.New(referee.Config{Chain: chainID, Account: "val-1", Ledger: w.chain, Net: net, Blobs: mine,
		Fetcher: blob.NewFetcher(net, mine, blob.FetcherOptions{}), Runtime: &toy{}, Dir: filepath.Join(w.t.TempDir(), "val-1"), Poll: 200 * time.Millisecond,
		Log: logOf("val-1"), Holders: func(context.Context, *lifecycle.Job, *lifecycle.Batch) []p2p.Peer {
			return append(w.known(), holders...)
		}})
	if err != nil {
		w.t.Fatal(err)
	}
	net.Handle(p2p.ProtocolOutput, wire.ServeOutputs(r.Output))
	net.Handle(p2p.ProtocolBlob, blob.Server(mine, blob.ServerOptions{}))
	w.start(func(ctx context.Context) error {
		defer net.Close()
		return r.Run(ctx)
	})
	return net.Self()
}

func (w *world) checker(name work.Address) {
	w.t.Helper()
	key := newKey(w.t)
	w.submit(name, ledger.Register{Role: lifecycle.RoleChecker, Peer: key.Public(), Bond: 50 * gtg})
	net, mine := w.hub.New(key), blob.NewMem()
	c, err := checker.New(checker.Config{Chain: chainID, Account: name, Ledger: w.chain, Blobs: mine, Fetcher: blob.NewFetcher(net, mine, blob.FetcherOptions{}),
		Runtime: &toy{}, Dir: filepath.Join(w.t.TempDir(), string(name)), Poll: 200 * time.Millisecond, Log: logOf(string(name)),
		Holders: func(context.Context, *lifecycle.Job, *lifecycle.Batch) []p2p.Peer { return w.known() }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.start(func(ctx context.Context) error {
		defer net.Close()
		return c.Run(ctx)
	})
}

// client makes a client; wrap may sit between it and the indexer.
func (w *world) client(account work.Address, wrap func(p2p.Network) p2p.Network) *client.Client {
	w.t.Helper()
	return w.clientWith(account, func(cfg *client.Config) {
		if wrap != nil {
			cfg.Net = wrap(cfg.Net)
		}
	})
}

func (w *world) clientWith(account work.Address, edit func(*client.Config)) *client.Client {
	w.t.Helper()
	cfg := client.Config{Chain: chainID, Account: account, Ledger: w.chain, Net: w.hub.New(newKey(w.t)), IndexerOwner: "owner", Profile: "gw1/1",
		Indexer: func() (p2p.Peer, error) { return *w.at.Load(), nil }, Dir: w.t.TempDir(), Lag: 2 * time.Second, Log: logOf("client")}
	edit(&cfg)
	c, err := client.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			w.t.Error(err)
		}
		cfg.Net.Close()
	})
	return c
}

// ready waits until the indexer would serve a job of n providers.
func (w *world) ready(c *client.Client, n int) {
	w.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for {
		st, err := c.Status(w.t.Context())
		if err == nil && st.Ready && st.Providers >= n {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("not ready: %+v, %v", st, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// honest is a world with providers and a checker, and a client in it.
func honest(t *testing.T, wrap func(p2p.Network) p2p.Network) (*world, *client.Client) {
	w := newWorld(t)
	w.own = []work.Address{"a"}
	w.indexer()
	w.provider("a", &toy{})
	w.provider("b", &toy{})
	w.checker("check-1")
	w.checker("check-2")
	c := w.client("client", wrap)
	w.ready(c, 2)
	return w, c
}

// request is a job of n numbered items.
func request(n uint64) client.Request {
	return client.Request{
		Program: client.BytesSource([]byte("module")),
		List:    &work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: n}},
		Limits:  work.Limits{MemoryBytes: 1 << 20, Fuel: 10_000_000_000, OutputBytes: 64 << 20},
		Tier:    work.TierEconomic, FuelPerItem: 1_000_000_000,
	}
}

// toy is a deterministic runtime: it copies the item's files to outputs, and says
// its first argument.
type toy struct {
	gate chan struct{} // if set, items wait until it is closed
	fail error
}

func (r *toy) Slots() int   { return 2 }
func (r *toy) Close() error { return nil }

func (r *toy) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	if r.fail != nil {
		return nil, r.fail
	}
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	in := t.Item.InputDigest(work.Program(t.Program, t.Profile), t.Limits, t.Seed)
	arg := ""
	if len(t.Item.Args) > 0 {
		arg = t.Item.Args[0]
	}
	data := []byte("result of " + arg)
	if n, ok := strings.CutPrefix(arg, "big"); ok {
		data = bytes.Repeat([]byte(n), 6<<20)
	}
	id := work.BlobOf(data)
	out := work.Output{Stdout: id, Stderr: work.BlobOf(nil)}
	o := work.Outcome{Kind: work.Exited}
	if arg == "13" {
		o.Code = 1
	}
	fuel := work.Fuel(1_000_000_000 + binary.BigEndian.Uint32(in[:4])%1000)
	return &runtime.Run{Leaf: work.Leaf{Input: in, Output: out.Digest(o), Outcome: o, Fuel: fuel, Memory: work.Sum("memory", in[:])},
		Output: out, Bytes: map[work.BlobID][]byte{id: data}}, nil
}

func readAll(open client.Opener, b work.BlobID) (string, error) {
	r, err := open(b)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err == nil && work.BlobOf(data) != b {
		err = fmt.Errorf("other bytes than %s", b)
	}
	return string(data), err
}
