package main

import (
	"context"
	"time"

	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/noop"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// idle is a network whose members execute nothing. Checkers agree with providers,
// so that batches settle as always.
func idle() localnet.Options {
	return localnet.Options{Providers: 2, Checkers: 3, Runtime: func() runtime.Runtime { return noop.New(1) }}
}

// speed is what one job took.
type speed struct {
	perSec float64
	cpu    time.Duration // of all processes, per item
}

// pathSpeed posts a job and measures from the indexer's accept until its last
// receipt is stored there.
func pathSpeed(ctx context.Context, r *rig, module []byte, items, chunk int, fuel work.Fuel) (speed, error) {
	s, err := r.post(ctx, rangeJob(module, uint64(items), work.TierEconomic, fuel))
	if err != nil {
		return speed{}, err
	}
	m, err := startMeter()
	if err != nil {
		return speed{}, err
	}
	if err := r.accept(ctx, s, wire.Chunk{Items: uint64(chunk)}); err != nil {
		return speed{}, err
	}
	if err := r.until(ctx, s.ID(), stored); err != nil {
		return speed{}, err
	}
	wall, cpu, err := m.stop()
	// What settles is out of the way of the next job.
	if err == nil {
		err = r.until(ctx, s.ID(), verified)
	}
	return speed{float64(items) / wall.Seconds(), cpu / time.Duration(items)}, err
}

// rounds is how often a path is measured; the median counts.
const rounds = 3

// path measures a path a few times, after a small job that warms it.
func (b *bench) path(ctx context.Context, o localnet.Options, module []byte, items, chunk int, fuel work.Fuel) (float64, error) {
	r, err := openRig(ctx, o, b.log)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var all []float64
	for i := range rounds + 1 {
		n := items
		if i == 0 {
			n = max(items/20, 200)
		}
		v, err := pathSpeed(ctx, r, module, n, chunk, fuel)
		if err != nil {
			return 0, err
		}
		if i > 0 {
			all = append(all, v.perSec)
			b.say("%d items in ranges of %d: %.0f items/s, %.1f µs CPU per item", n, chunk, v.perSec, float64(v.cpu.Nanoseconds())/1e3)
		}
	}
	return quantile(all, 0.5), nil
}

func dispatch1(ctx context.Context, b *bench) error {
	d, err := b.dask(ctx)
	if err != nil {
		return err
	}
	v, err := b.path(ctx, idle(), noopModule, b.size(50_000, 20_000), 1, noop.Fuel)
	if err != nil {
		return err
	}
	b.values["dispatch_1"] = v
	b.values["dispatch_1_vs_dask"] = v / d
	return nil
}

func dispatch100(ctx context.Context, b *bench) error {
	v, err := b.path(ctx, idle(), noopModule, b.size(500_000, 200_000), 100, noop.Fuel)
	if err == nil {
		b.values["dispatch_100"] = v
	}
	return err
}

// four is idle with four providers, each with a network of its own.
func four() localnet.Options {
	o := idle()
	o.Providers = 4
	return o
}

func dispatchFour1(ctx context.Context, b *bench) error {
	v, err := b.path(ctx, four(), noopModule, b.size(50_000, 20_000), 1, noop.Fuel)
	if err == nil {
		b.values["dispatch_4p_net_1"] = v
	}
	return err
}

func dispatchFour100(ctx context.Context, b *bench) error {
	v, err := b.path(ctx, four(), noopModule, b.size(500_000, 200_000), 100, noop.Fuel)
	if err == nil {
		b.values["dispatch_4p_net_100"] = v
	}
	return err
}

// wasmFuel is about what the command that does nothing is charged.
const wasmFuel = 200_000

func wasmPath(ctx context.Context, b *bench) error {
	v, err := b.path(ctx, localnet.Options{Providers: 2, Checkers: 3}, noopModule, b.size(50_000, 20_000), 100, wasmFuel)
	if err == nil {
		b.values["wasm_noop_path"] = v
	}
	return err
}
