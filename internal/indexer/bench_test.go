package indexer_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/indexer"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// rig is an indexer and a provider that runs nothing, over libp2p on loopback,
// with the indexer's state on disk.
type rig struct {
	b      *testing.B
	chain  *fake.Ledger
	key    sign.PrivateKey
	blobs  *blob.Mem
	at     p2p.Peer
	client p2p.Network
	nonce  uint64
}

func newRig(b *testing.B, real bool) *rig {
	b.Helper()
	dir := b.TempDir() // before the clean-up below, so that it goes last
	r := &rig{b: b, key: newKey(b), blobs: blob.NewMem()}
	r.chain = fake.New(fake.Config{Chain: chainID, Params: lifecycle.LocalParams(), Seed: 1,
		Genesis:    map[work.Address]work.Amount{"client": 1 << 60, "a": 100 * gtg},
		Validators: []lifecycle.ValidatorPower{{Account: "val-1", Power: 10}}})
	ctx, cancel := context.WithCancel(context.Background())
	var g sync.WaitGroup
	network := func(k sign.PrivateKey) p2p.Network {
		n, err := libp2p.New(ctx, libp2p.Config{Key: k})
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	inet, pkey := network(r.key), newKey(b)
	pnet := network(pkey)
	r.client, r.at = network(newKey(b)), inet.Self()
	b.Cleanup(func() { cancel(); g.Wait(); r.client.Close(); pnet.Close(); inet.Close() })
	r.submit("a", ledger.Register{Role: lifecycle.RoleProvider, Peer: pkey.Public(), Bond: 50 * gtg})
	x, err := indexer.New(indexer.Config{Chain: chainID, Key: r.key, Owner: "client", Ledger: r.chain, Net: inet, Blobs: r.blobs, Fetcher: noFetch{}, Dir: dir, Log: logOf("indexer")})
	if err != nil {
		b.Fatal(err)
	}
	g.Go(func() { r.chain.Run(ctx, 500*time.Millisecond) })
	g.Go(func() {
		if err := x.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	if real {
		mine := blob.NewMem()
		p, err := provider.New(provider.Config{Chain: chainID, Account: "a", Key: pkey, Ledger: r.chain, Net: pnet, Blobs: mine,
			Fetcher: copier{r.blobs, mine}, Runtime: still{}, Dir: filepath.Join(dir, "provider"), MinPrice: 50, OfferInterval: 200 * time.Millisecond, Log: logOf("prov")})
		if err != nil {
			b.Fatal(err)
		}
		g.Go(func() { p.Run(ctx) })
	} else {
		n := &nothing{key: pkey, blobs: r.blobs, jobs: map[work.JobID]*material{}}
		pnet.Handle(p2p.ProtocolWork, n.serve)
	}
	if err := pnet.Connect(ctx, r.at); err != nil {
		b.Fatal(err)
	}
	g.Go(func() {
		for seq := uint64(1); ctx.Err() == nil && !real; seq++ {
			o := work.Offer{Chain: chainID, Provider: "a", Owner: "a", Addrs: pnet.Self().Addrs, Class: work.ClassCPU, Slots: 2, Price: 50,
				Sequence: seq, ExpiresUnix: time.Now().Unix() + 60}
			o.Sign(pkey)
			pnet.Publish(ctx, wire.OfferTopic(chainID, work.ClassCPU, ""), o.Encode())
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if as := r.ask(&wire.Request{Op: wire.OpStatus}); as[0].Status.Ready {
			return r
		}
		if time.Now().After(end) {
			b.Fatal("the provider was not found")
		}
	}
}

func (r *rig) submit(from work.Address, m ledger.Msg) {
	if _, err := r.chain.Submit(r.b.Context(), from, m); err != nil {
		r.b.Fatal(err)
	}
}

// job is a posted job of n items.
func (r *rig) job(n uint64) work.JobSpec {
	list := work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: n}}
	r.blobs.Put([]byte("module"))
	items, err := r.blobs.Put(list.Encode())
	if err != nil {
		r.b.Fatal(err)
	}
	r.nonce++
	s := work.JobSpec{Chain: chainID, Client: "client", Nonce: r.nonce, Program: work.BlobOf([]byte("module")), Profile: "gw1/1", Items: items, ItemCount: n,
		Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 1 << 30, OutputBytes: 1 << 20}, Tier: work.TierEconomic, MaxPrice: 100,
		Escrow: 1 << 40, CheckEscrow: 1 << 40, Indexer: r.key.Public(), IndexerOwner: "client", MaxCopies: 2, DeadlineHeight: 1 << 20}
	r.submit("client", ledger.CreateJob{Spec: s})
	return s
}

func (r *rig) ask(q *wire.Request) []*wire.Answer {
	var all []*wire.Answer
	err := r.each(q, func(a *wire.Answer) bool { all = append(all, a); return a.Done })
	if err != nil {
		r.b.Fatal(err)
	}
	return all
}

func (r *rig) each(q *wire.Request, f func(*wire.Answer) (enough bool)) error {
	s, err := r.client.Dial(r.b.Context(), r.at, p2p.ProtocolClient)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := wire.EncodeJSON(q)
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
		if f(a) {
			return nil
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// nothing is a provider that runs nothing and signs what it has whenever its
// last receipt is out.
type nothing struct {
	key   sign.PrivateKey
	blobs *blob.Mem
	mu    sync.Mutex // guards jobs
	jobs  map[work.JobID]*material
}

func (p *nothing) serve(_ context.Context, s p2p.Stream) {
	defer s.Close()
	if _, err := s.Receive(); err != nil {
		return
	}
	if s.Send(wire.EncodeHello(wire.Hello{Chain: chainID, Account: "a"})) != nil || s.Flush() != nil {
		return
	}
	todo := make(chan *wire.Assign, 64)
	var g sync.WaitGroup
	defer g.Wait()
	defer close(todo)
	g.Go(func() {
		for a := range todo {
			if p.do(s, a) != nil {
				return
			}
		}
	})
	for {
		b, err := s.Receive()
		if err != nil {
			return
		}
		f, err := wire.Decode(b, s.Peer())
		switch {
		case err != nil:
			panic(err)
		case f.Job != nil:
			raw, err := p.blobs.Get(f.Job.Spec.Items, 1<<20)
			if err != nil {
				panic(err)
			}
			l, err := work.DecodeItemList(raw)
			if err != nil {
				panic(err)
			}
			p.mu.Lock()
			p.jobs[f.Job.Spec.ID()] = &material{f.Job.Spec, l}
			p.mu.Unlock()
		case f.Assign != nil:
			todo <- f.Assign
		}
	}
}

func (p *nothing) do(s p2p.Stream, m *wire.Assign) error {
	a := &m.Assignment
	if err := a.Verify(s.Peer()); err != nil {
		panic(err)
	}
	p.mu.Lock()
	mat := p.jobs[a.Job]
	p.mu.Unlock()
	for left := a.Ranges; len(left) > 0; {
		var part work.RangeSet
		part, left = left.Take(wire.MaxReceiptResults)
		r := wire.Receipt{Job: a.Job, Attempt: a.Attempt, Provider: "a"}
		for _, rg := range part {
			for i := rg.Lo; i < rg.Hi; i++ {
				r.Results = append(r.Results, resultOf(&mat.spec, mat.list, i))
			}
		}
		if err := errors.Join(s.Send(wire.EncodeReceipt(&r, p.key)), s.Flush()); err != nil {
			return err
		}
	}
	return nil
}

// still is a runtime without programs.
type still struct{}

func (still) Slots() int   { return 2 }
func (still) Close() error { return nil }
func (still) Run(_ context.Context, t runtime.Task) (*runtime.Run, error) {
	in := t.Item.InputDigest(work.Program(t.Program, t.Profile), t.Limits, t.Seed)
	var out work.Output
	o := work.Outcome{Kind: work.Exited}
	return &runtime.Run{Leaf: work.Leaf{Input: in, Output: out.Digest(o), Outcome: o, Fuel: 1_000_000, Memory: in}, Output: out}, nil
}

func benchDispatch(b *testing.B, chunk uint64, real bool) {
	r := newRig(b, real)
	n := uint64(max(b.N, 1000))
	s := r.job(n)
	b.ResetTimer()
	began := time.Now()
	r.ask(&wire.Request{Op: wire.OpAccept, Job: s.ID(), Spec: s.Encode(), Chunk: wire.Chunk{Items: chunk}})
	for {
		c := r.ask(&wire.Request{Op: wire.OpExplain, Job: s.ID()})[0].Counts
		if c.Provisional == n {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "items/s")
}

// The indexer against a provider that only signs.
func BenchmarkDispatch1(b *testing.B)   { benchDispatch(b, 1, false) }
func BenchmarkDispatch100(b *testing.B) { benchDispatch(b, 100, false) }

// The same with the provider role, which keeps everything on disk too.
func BenchmarkPath1(b *testing.B)   { benchDispatch(b, 1, true) }
func BenchmarkPath100(b *testing.B) { benchDispatch(b, 100, true) }

// BenchmarkFirstResult is the time from handing a posted job over to its first
// result at the client.
func BenchmarkFirstResult(b *testing.B) {
	r := newRig(b, false)
	var took []float64
	for b.Loop() {
		b.StopTimer()
		s := r.job(1)
		b.StartTimer()
		began := time.Now()
		r.ask(&wire.Request{Op: wire.OpAccept, Job: s.ID(), Spec: s.Encode()})
		err := r.each(&wire.Request{Op: wire.OpWatch, Job: s.ID()}, func(a *wire.Answer) bool {
			return slices.ContainsFunc(a.Updates, func(u wire.Update) bool { return u.State == wire.ItemProvisional })
		})
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "p50-ms")
	b.ReportMetric(took[len(took)*99/100], "p99-ms")
}
