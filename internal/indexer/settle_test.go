package indexer_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/checker"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// toy is a deterministic runtime: an item's result follows from its input.
type toy struct{}

func (toy) Slots() int   { return 2 }
func (toy) Close() error { return nil }

func (toy) Run(_ context.Context, t runtime.Task) (*runtime.Run, error) {
	in := t.Item.InputDigest(work.Program(t.Program, t.Profile), t.Limits, t.Seed)
	data := []byte("result of " + t.Item.Args[0])
	id := work.BlobOf(data)
	out := work.Output{Files: []work.File{{Path: "out/r", Blob: id}}}
	o := work.Outcome{Kind: work.Exited}
	return &runtime.Run{
		Leaf: work.Leaf{Input: in, Output: out.Digest(o), Outcome: o, Memory: work.Sum("memory", in[:]),
			Fuel: work.Fuel(1_000_000 + binary.BigEndian.Uint32(in[:4])%1000)},
		Output: out, Bytes: map[work.BlobID][]byte{id: data},
	}, nil
}

// copier fetches from the indexer's store.
type copier struct {
	from blob.Store
	to   *blob.Mem
}

func (c copier) Fetch(_ context.Context, b work.BlobID, _ []p2p.Peer) error {
	data, err := c.from.Get(b, b.Size)
	if err == nil {
		_, err = c.to.Put(data)
	}
	return err
}

// real starts the real provider role; tamper, if set, changes its receipts on
// their way.
func (w *world) real(name work.Address, tamper func(r *wire.Receipt)) (start func() (stop func())) {
	w.t.Helper()
	key, dir := newKey(w.t), filepath.Join(w.t.TempDir(), string(name))
	w.submit(name, ledger.Register{Role: lifecycle.RoleProvider, Peer: key.Public(), Bond: 100 * gtg})
	return func() func() {
		mine := blob.NewMem()
		net := w.hub.New(key)
		p, err := provider.New(provider.Config{Chain: chainID, Account: name, Key: key, Ledger: w.chain, Net: tampering{net, key, tamper}, Blobs: mine,
			Fetcher: copier{w.blobs, mine}, Runtime: toy{}, Dir: dir, MinPrice: 10, MaxPrice: 100, OfferInterval: 50 * time.Millisecond, OfferLifetime: 2 * time.Second,
			OfferTopics: []string{wire.OfferTopic(chainID, work.ClassCPU, "")}, BatchTime: 50 * time.Millisecond, Poll: 300 * time.Millisecond, Log: logOf(string(name))})
		if err != nil {
			w.t.Fatal(err)
		}
		return w.start(func(ctx context.Context) error {
			defer net.Close()
			go func() {
				for ctx.Err() == nil {
					if at := w.at.Load(); at != nil {
						net.Connect(ctx, *at)
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			return p.Run(ctx)
		})
	}
}

func (w *world) checkers(names ...work.Address) {
	for _, n := range names {
		w.submit(n, ledger.Register{Role: lifecycle.RoleChecker, Peer: newKey(w.t).Public(), Bond: 50 * gtg})
		mine := blob.NewMem()
		c, err := checker.New(checker.Config{Chain: chainID, Account: n, Ledger: w.chain, Blobs: mine, Fetcher: copier{w.blobs, mine}, Runtime: toy{},
			Dir: filepath.Join(w.t.TempDir(), string(n)), Poll: 300 * time.Millisecond, Log: logOf(string(n))})
		if err != nil {
			w.t.Fatal(err)
		}
		w.start(c.Run)
	}
}

// tampering is a network that changes the receipts that a provider sends.
type tampering struct {
	p2p.Network
	key    sign.PrivateKey
	change func(r *wire.Receipt)
}

func (n tampering) Handle(proto p2p.Protocol, h p2p.Handler) {
	n.Network.Handle(proto, func(ctx context.Context, s p2p.Stream) { h(ctx, tamperedStream{s, n}) })
}

type tamperedStream struct {
	p2p.Stream
	n tampering
}

func (s tamperedStream) Send(b []byte) error {
	f, err := wire.Decode(b, s.n.key.Public())
	if err == nil && f.Receipt != nil && s.n.change != nil {
		s.n.change(f.Receipt)
		b = wire.EncodeReceipt(f.Receipt, s.n.key)
	}
	return s.Stream.Send(b)
}

func TestHonestRunIsVerifiedAndReleased(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.checkers("check-1", "check-2")
	w.indexer(t.TempDir())
	w.real("a", nil)()
	w.real("b", nil)()
	id := w.post(w.spec(40, work.TierEconomic), wire.Chunk{})
	last, c := w.watched(id)
	if c.Verified != 40 || c.Failed != 0 || c.Settled == 0 || c.Void != 0 || c.Recomputed != 0 {
		t.Fatalf("counts %+v", c)
	}
	for i := range uint64(40) {
		u := last[i]
		if u.State != wire.ItemVerified || u.Result == nil || u.Batch.IsZero() || u.Provider == "" {
			t.Fatalf("item %d: %+v", i, u)
		}
		b, err := w.blobs.Get(u.Result.Output.Files[0].Blob, 100)
		if err != nil || string(b) != fmt.Sprint("result of ", i) {
			t.Errorf("output of item %d: %q, %v", i, b, err)
		}
	}
	// Nothing is outstanding: the job closes at once, and the rest comes back.
	var sig *sign.Signature
	w.eventually("the release", func() error {
		as, err := w.ask(&wire.Request{Op: wire.OpRelease, Job: id})
		if err == nil {
			sig = as[0].Release
		}
		return err
	})
	if err := w.key.Public().Verify(lifecycle.ReleaseTag, lifecycle.ReleaseMessage(chainID, id), *sig); err != nil {
		t.Error(err)
	}
	blob := last[3].Result.Output.Files[0].Blob
	w.must(&wire.Request{Op: wire.OpForget, Job: id})
	w.eventually("outputs go with the job", func() error {
		if w.blobs.Has(blob) {
			return fmt.Errorf("%s is still here", blob)
		}
		return nil
	})
}

// A provider commits and goes silent: its batch is void, and others compute the
// items again.
func TestVoidBatchIsRecomputedElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *lifecycle.Params) { p.OpenBlocks, p.DrawDelayBlocks = 600, 100 })
	w.checkers("check-1", "check-2")
	dir := t.TempDir()
	stopIndexer := w.indexer(dir)
	a, b := w.real("a", nil), w.real("b", nil)
	stop := a()
	s := w.spec(6, work.TierEconomic)
	id := w.post(s, wire.Chunk{Items: 1})
	w.eventually("a has committed all", func() error {
		ids, err := w.chain.Batches(t.Context(), id)
		n := uint64(0)
		for _, b := range ids {
			if batch, err := w.chain.Batch(t.Context(), b); err == nil {
				n += batch.N
			}
		}
		if err == nil && n < 6 {
			err = fmt.Errorf("%d items", n)
		}
		return err
	})
	stop()
	b()
	// The restart in between must not lose the batches it has to follow.
	next := crashCopy(t, dir)
	stopIndexer()
	w.indexer(next)
	_, c := w.watched(id)
	j, err := w.chain.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if c.Verified != 6 {
		t.Fatalf("counts %+v, job %+v", c, j)
	}
	if c.Void == 0 || c.Recomputed == 0 {
		t.Errorf("counts %+v", c)
	}
}

// A provider that is paid for other results than it delivered has not delivered.
func TestResultsThatAreNotWhatWasPaidCountAsNotDelivered(t *testing.T) {
	t.Parallel()
	for what, tamper := range map[string]func(r *wire.Receipt){
		"other results": func(r *wire.Receipt) {
			for i := range r.Results {
				r.Results[i].Leaf.Memory[0]++
			}
		},
		"no results": func(r *wire.Receipt) { r.Results = nil },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.checkers("check-1", "check-2")
			w.indexer(t.TempDir())
			w.real("a", tamper)()
			id := w.post(w.spec(4, work.TierEconomic), wire.Chunk{Items: 1})
			last, c := w.watched(id)
			if c.Verified != 0 || c.Failed != 4 || !strings.Contains(last[2].Why, "it was paid") {
				t.Errorf("counts %+v, item 2: %+v", c, last[2])
			}
		})
	}
}

// A provider's receipts got lost with a process of the indexer that was killed, and the
// provider believes to have delivered them: when the batch is paid it is asked again.
func TestMissingResultsAreAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.timing.Undelivered = 30 * time.Second
	w.checkers("check-1", "check-2")
	w.indexer(t.TempDir())
	var mu sync.Mutex
	lost := map[uint64]bool{}
	w.real("a", func(r *wire.Receipt) {
		mu.Lock()
		defer mu.Unlock()
		var come []work.Result
		for _, res := range r.Results {
			if lost[res.Index] {
				come = append(come, res)
			}
			lost[res.Index] = true
		}
		r.Results = come
	})()
	id := w.post(w.spec(12, work.TierEconomic), wire.Chunk{Items: 4})
	if last, c := w.watched(id); c.Verified != 12 || c.Failed != 0 || c.Recomputed != 0 {
		t.Errorf("counts %+v, item 2: %+v", c, last[2])
	}
}
