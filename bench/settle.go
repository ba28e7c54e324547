package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// The settlement's chain: many providers with made-up, honest results, and the
// shortest waits that the rules allow.
const (
	settleChain     = "gotong-bench"
	settleProviders = 64
	settleCheckers  = 8
	settleItems     = 100 // of a batch
	settleFuel      = 100_000_000
	settlePrice     = 1000
	settleBlock     = 100 * time.Millisecond
)

// settle keeps more and more batches in flight on one validator and counts how
// many settle in a second. All roles are played by one loop over blocks that sends
// one transaction for each account and block, as a busy role would.
func settle(ctx context.Context, b *bench) error {
	return settleOn(ctx, b, 1, "settle", []int{64, 256, 512})
}

// settle4 is the same on four validators, all in this process; then one of them is
// away under load, and catches up.
func settle4(ctx context.Context, b *bench) error {
	return settleOn(ctx, b, 4, "settle_4v", []int{64, 256})
}

func settleOn(ctx context.Context, b *bench, validators int, row string, flights []int) error {
	s, err := openSettling(ctx, validators)
	if err != nil {
		return err
	}
	defer s.close()
	best := 0.0
	for _, flight := range flights {
		rate, busy, msgs, err := s.hold(ctx, flight, time.Duration(b.size(20, 8))*time.Second)
		if err != nil {
			return err
		}
		best = max(best, rate)
		if blocks := s.lives(); validators > 1 && b.values["settle_blocks"] == 0 {
			b.values["settle_blocks"] = blocks
		}
		b.say("%4d batches in flight: %.1f settled/s, %.0f messages/s, %.2f of %.0f cores busy, %.2f ms CPU per batch, a block every %.0f ms",
			flight, rate, msgs, busy.cores, busy.of, 1e3*busy.cores/max(rate, 1e-9), busy.blockMs)
	}
	b.values[row] = best
	if validators == 1 {
		return nil
	}
	b.values["catch_up"], err = s.catchUp(ctx, b, flights[0])
	return err
}

// lives is the mean of blocks from a batch's commit to its payout since the last call.
func (s *settling) lives() float64 {
	mean := float64(s.lived) / float64(max(s.ended, 1))
	s.lived, s.ended = 0, 0
	return mean
}

// catchUp stops a validator under load, and gives how many blocks a second it makes up
// for when it is back, while the others go on without load.
func (s *settling) catchUp(ctx context.Context, b *bench, flight int) (float64, error) {
	away := len(s.nodes) - 1
	if err := s.nodes[away].Stop(); err != nil {
		return 0, err
	}
	if _, _, _, err := s.hold(ctx, flight, time.Duration(b.size(20, 8))*time.Second); err != nil {
		return 0, err
	}
	start := time.Now()
	n, err := s.chain.Open(away)
	if err != nil {
		return 0, err
	}
	s.nodes[away] = n
	from, at := int64(0), int64(0)
	for {
		var heights [2]int64
		for i, c := range []*chainnode.Node{n, s.nodes[0]} {
			r, err := c.Client().ABCIInfo(ctx)
			if err != nil {
				return 0, err
			}
			heights[i] = r.Response.LastBlockHeight
		}
		if at = heights[0]; from == 0 {
			from = at
		}
		if at >= heights[1]-1 {
			break
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	took := time.Since(start)
	b.say("away for %d blocks: caught up in %s, the start of the node and of its connections in it", at-from, took.Round(time.Millisecond))
	return float64(at-from) / took.Seconds(), nil
}

// settling is the chain and all roles over it.
type settling struct {
	chain   localnet.BareChain
	nodes   []*chainnode.Node
	led     *cosmos.Client
	dir     string
	indexer sign.PrivateKey
	job     work.JobID

	next    uint64
	flight  map[work.BatchID]*made
	settled int
	lived   int64        // blocks of the batches that settled, from commit to payout
	ended   int          // how many those are
	sent    atomic.Int64 // messages

	ctx    context.Context // of the transactions on their way, which outlive a block
	cancel context.CancelFunc
	wg     sync.WaitGroup
	failed atomic.Pointer[error]
}

// Accounts by number: 1 is the client, 2 the validator.
func settleSecret(n int) (k [32]byte) {
	binary.BigEndian.PutUint32(k[28:], uint32(n))
	return k
}
func settleAddress(n int) work.Address     { return cosmos.Address(settleSecret(n)) }
func settleProvider(i uint64) work.Address { return settleAddress(3 + int(i%settleProviders)) }

func openSettling(ctx context.Context, validators int) (_ *settling, err error) {
	s := &settling{indexer: sign.FromSeed([32]byte{7}), flight: map[work.BatchID]*made{}}
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "gotong-bench-"); err != nil {
		return nil, err
	}
	p := lifecycle.LocalParams()
	p.DrawSpreadBlocks, p.WindowBlocks = 1, 1
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks = 10_000, 10_000, 10_000
	const all = 2 + settleProviders + settleCheckers
	s.chain = localnet.BareChain{Dir: filepath.Join(s.dir, "chain"), Chain: settleChain, Params: p, BlockTime: settleBlock, Balance: 1e6 * work.UgtgPerGtg, Validators: validators}
	for n := range validators - 1 {
		s.chain.Accounts = append(s.chain.Accounts, settleAddress(all+1+n))
	}
	for n := 2; n <= all; n++ {
		s.chain.Accounts = append(s.chain.Accounts, settleAddress(n))
	}
	s.chain.Accounts = append(s.chain.Accounts, settleAddress(1))
	if s.nodes, err = s.chain.Start(); err != nil {
		return nil, err
	}
	s.led = cosmos.New(s.nodes[0].Client())
	for n := 1; n <= all; n++ {
		s.led.AddKey(settleSecret(n))
	}
	return s, s.found(ctx, all)
}

// found bonds everybody and posts the job.
func (s *settling) found(ctx context.Context, all int) error {
	byAccount := map[work.Address][]ledger.Msg{}
	for n := 3; n <= all; n++ {
		role := lifecycle.RoleProvider
		if n >= 3+settleProviders {
			role = lifecycle.RoleChecker
		}
		byAccount[settleAddress(n)] = []ledger.Msg{ledger.Register{Role: role, Peer: sign.FromSeed(settleSecret(n)).Public(), Bond: 5e5 * work.UgtgPerGtg}}
	}
	spec := work.JobSpec{Chain: settleChain, Client: settleAddress(1), Nonce: 1, Program: work.BlobOf(noopModule), Profile: "gw1/1", Items: work.BlobOf([]byte("made-up items")),
		ItemCount: 1 << 30, Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 10 * settleFuel, OutputBytes: 1 << 20}, Tier: work.TierEconomic, MaxPrice: settlePrice,
		Escrow: 4e5 * work.UgtgPerGtg, CheckEscrow: 4e5 * work.UgtgPerGtg, Indexer: s.indexer.Public(), IndexerOwner: settleAddress(1), MaxCopies: 1, DeadlineHeight: 1 << 20}
	s.job = spec.ID()
	byAccount[spec.Client] = []ledger.Msg{ledger.CreateJob{Spec: spec}}
	return s.send(ctx, byAccount)
}

func (s *settling) close() error {
	s.cancel()
	s.wg.Wait()
	var errs []error
	if s.led != nil {
		errs = append(errs, s.led.Close())
	}
	for _, n := range s.nodes {
		errs = append(errs, n.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// send submits each account's messages in one transaction, all at once.
func (s *settling) send(ctx context.Context, byAccount map[work.Address][]ledger.Msg) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(byAccount))
	for a, msgs := range byAccount {
		s.sent.Add(int64(len(msgs)))
		wg.Go(func() {
			if _, err := s.led.Submit(ctx, a, msgs...); err != nil {
				errs <- fmt.Errorf("%T of %s: %w", msgs[0], a, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// load is how busy the machine was.
type load struct{ cores, of, blockMs float64 }

// hold keeps so many batches in flight for a while. The first third is not
// counted: it fills the pipeline.
func (s *settling) hold(ctx context.Context, flight int, d time.Duration) (rate float64, busy load, msgs float64, err error) {
	st, err := s.led.Status(ctx)
	if err != nil {
		return 0, busy, 0, err
	}
	var (
		m              meter
		settled, sent0 int
		height         int64
		over           = errors.New("over")
		began, counted = time.Now(), false
	)
	err = s.led.Follow(ctx, st.Height+1, func(blk ledger.Block) (err error) {
		since := time.Since(began)
		if since > d {
			over := over
			wall, cpu, err := m.stop()
			if err != nil {
				return err
			}
			rate = float64(s.settled-settled) / wall.Seconds()
			msgs = float64(int(s.sent.Load())-sent0) / wall.Seconds()
			busy = load{cpu.Seconds() / wall.Seconds(), float64(runtime.NumCPU()), float64(wall.Milliseconds()) / float64(max(blk.Height-height, 1))}
			return over
		}
		if !counted && since > d/3 {
			counted, settled, sent0, height = true, s.settled, int(s.sent.Load()), blk.Height
			if m, err = startMeter(); err != nil {
				return err
			}
		}
		return s.step(ctx, blk, flight)
	})
	if errors.Is(err, over) {
		err = nil
	}
	return rate, busy, msgs, err
}

// step does what the block's batches wait for, and commits new ones.
func (s *settling) step(ctx context.Context, blk ledger.Block, flight int) error {
	byAccount := map[work.Address][]ledger.Msg{}
	add := func(a work.Address, m ledger.Msg) { byAccount[a] = append(byAccount[a], m) }
	for _, e := range blk.Events {
		r := s.flight[e.Batch]
		if r == nil || e.Kind != lifecycle.EventBatch {
			continue
		}
		if e.Phase.Final() {
			if e.Phase != lifecycle.Settled {
				return fmt.Errorf("batch %s of honest results became %s", e.Batch.Short(), e.Phase)
			}
			s.settled++
			s.lived += blk.Height - r.committed
			s.ended++
			delete(s.flight, e.Batch)
			continue
		}
		if r.committed == 0 {
			r.committed = blk.Height // a batch's first event is its commit
		}
		if e.Phase <= r.acted || e.Phase != lifecycle.Opening && e.Phase != lifecycle.Checking && e.Phase != lifecycle.Revealing {
			continue
		}
		bt, err := s.led.Batch(ctx, e.Batch)
		if err != nil {
			return err
		}
		r.acted = bt.Phase
		if err := r.act(bt, add); err != nil {
			return err
		}
	}
	// A batch lives for about a dozen blocks: spread over them, each block has some
	// batches in every phase.
	for n := 0; len(s.flight) < flight && n <= flight/12; n++ {
		r, m, err := s.make(blk.Height)
		if err != nil {
			return err
		}
		s.flight[r.id] = r
		add(r.provider, m)
	}
	// Nothing is waited for here, or a block's time would pass idle.
	s.wg.Go(func() {
		if err := s.send(s.ctx, byAccount); err != nil && s.ctx.Err() == nil {
			s.failed.CompareAndSwap(nil, &err)
		}
	})
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// made is a provider's side of a batch of made-up results.
type made struct {
	id        work.BatchID
	provider  work.Address
	items     work.RangeSet
	nodes     []work.Node
	salt      work.Hash
	committed int64           // its height
	acted     lifecycle.Phase // the last phase whose messages were sent
}

// truth is what an item of the batch gives, by its number in the job.
func truth(i uint64) work.Leaf {
	var e work.Encoder
	e.U64(i)
	h := work.Sum("gotong/bench/1", e.Bytes())
	return work.Leaf{Input: h, Output: h, Outcome: work.Outcome{Kind: work.Exited}, Fuel: settleFuel, Memory: h}
}

// make gives the next batch and the message that commits it.
func (s *settling) make(height int64) (*made, ledger.Msg, error) {
	lo := s.next * settleItems
	r := &made{provider: settleProvider(s.next), items: work.NewRangeSet(work.Range{Lo: lo, Hi: lo + settleItems})}
	s.next++
	r.salt = truth(1<<40 + lo).Input
	for k := range uint64(settleItems) {
		l := truth(lo + k)
		r.nodes = append(r.nodes, work.ItemNode(l.Fuel, l.Hash(), work.ItemSalt(r.salt, s.job, k)))
	}
	root, err := work.Root(r.nodes)
	if err != nil {
		return nil, nil, err
	}
	r.id = work.BatchIDOf(settleChain, s.job, r.provider, r.items, root)
	a := work.Assignment{Chain: settleChain, Job: s.job, Provider: r.provider, Attempt: 1, Ranges: r.items, Price: settlePrice, ExpiresHeight: height + 500}
	a.Sign(s.indexer)
	return r, ledger.CommitBatch{Job: s.job, Parts: []lifecycle.Part{{Assignment: a, Items: r.items}}, Root: root, MaxItemFuel: settleFuel}, nil
}

// act gives the messages that the batch's phase waits for, all honest.
func (r *made) act(b *lifecycle.Batch, add func(work.Address, ledger.Msg)) error {
	switch b.Phase {
	case lifecycle.Opening:
		var l []lifecycle.ItemOpening
		for _, d := range b.Draws {
			k := uint64(d.Point / settleFuel) // every item has the same fuel
			path, err := work.Path(r.nodes, k)
			if err != nil {
				return err
			}
			l = append(l, lifecycle.ItemOpening{Position: k, Node: r.nodes[k], Path: path})
		}
		add(r.provider, ledger.OpenBatch{Batch: r.id, Openings: l})
	case lifecycle.Checking:
		for _, c := range b.Checks {
			add(c.Checker, ledger.CommitCheck{Batch: r.id, Commitment: lifecycle.CheckCommitment(settleChain, r.id, c.Checker, r.checked(b, c.Draws), r.salt)})
		}
	case lifecycle.Revealing:
		var l []work.Leaf
		for _, d := range b.Draws {
			l = append(l, truth(r.items.At(d.Position)))
		}
		add(r.provider, ledger.RevealBatch{Batch: r.id, Salt: r.salt, Leaves: l})
		for _, c := range b.Checks {
			add(c.Checker, ledger.RevealCheck{Batch: r.id, Salt: r.salt, Leaves: r.checked(b, c.Draws)})
		}
	}
	return nil
}

// checked are the leaves of a check's draws.
func (r *made) checked(b *lifecycle.Batch, draws []uint32) (l []work.Leaf) {
	for _, d := range draws {
		l = append(l, truth(r.items.At(b.Draws[d].Position)))
	}
	return l
}
