package main

import (
	"context"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/noop"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// submit posts a job of a million numbered items as `gotong map --range` does, and
// weighs what the network's process keeps of it at rest, before any item runs. What
// it weighs later, when all receipts are in and when all is verified, is said too.
func submit(ctx context.Context, b *bench) error {
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	o := idle()
	o.Runtime = func() runtime.Runtime { return gated{noop.New(1), gate} }
	r, err := openRig(ctx, o, b.log)
	if err != nil {
		return err
	}
	defer r.Close()
	defer open()
	const n = 1_000_000
	before := liveHeap()
	m, err := startMeter()
	if err != nil {
		return err
	}
	q := rangeJob(noopModule, n, work.TierEconomic, noop.Fuel)
	q.Chunk = wire.Chunk{Items: 100}
	id, err := r.client.Post(ctx, q)
	if err != nil {
		return err
	}
	wall, cpu, err := m.stop()
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // what can be handed out is: the network rests
	waiting := liveHeap()
	began := time.Now()
	open()
	if err := r.until(ctx, id, stored); err != nil {
		return err
	}
	ran := time.Since(began)
	got := liveHeap()
	if err := b.heapProfile(); err != nil {
		return err
	}
	if err := r.until(ctx, id, verified); err != nil {
		return err
	}
	settled := liveHeap()
	growth := func(h uint64) float64 { return (float64(h) - float64(before)) / float64(n) }
	b.values["submit_1m_s"] = wall.Seconds()
	b.values["submit_1m_bytes"] = growth(waiting)
	b.say("%d items posted, included in a block and taken by the indexer in %.2f s, %.2f s CPU", n, wall.Seconds(), cpu.Seconds())
	b.say("live heap of the whole process (chain, indexer, providers, checkers, client): %.1f MB before; per item %+.1f B while all wait or are queued,", float64(before)/1e6, growth(waiting))
	b.say("%+.1f B when the last receipt has come (%.1f s later, %.0f items/s; providers hold the leaves of open batches), %+.1f B when all is verified", growth(got), ran.Seconds(), float64(n)/ran.Seconds(), growth(settled))
	return nil
}

// gated is a runtime that begins nothing before its gate opens.
type gated struct {
	*noop.Runtime
	gate <-chan struct{}
}

// Run implements runtime.Runtime.
func (g gated) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	select {
	case <-g.gate:
		return g.Runtime.Run(ctx, t)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// RunMany implements runtime.Batcher.
func (g gated) RunMany(ctx context.Context, tasks []runtime.Task) []runtime.Result {
	select {
	case <-g.gate:
	case <-ctx.Done():
	}
	return g.Runtime.RunMany(ctx, tasks)
}
