package adversary

import (
	"context"
	"encoding/binary"
	"sync/atomic"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// Thrifty fakes a share of the tasks, in permille, without running them: it says
// that they printed nothing and used fuel as the one before. Which tasks, follows
// from their input, so that a ring of Thrifty providers and checkers agrees.
func Thrifty(rt runtime.Runtime, permille uint64) runtime.Runtime {
	return &thrifty{Runtime: rt, permille: permille}
}

type thrifty struct {
	runtime.Runtime
	permille uint64
	fuel     atomic.Uint64 // of the last task that was run
}

// guessedFuel is what a fake says before anything was run.
const guessedFuel = 1_000_000

// Run implements runtime.Runtime.
func (r *thrifty) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	in := t.Item.InputDigest(work.Program(t.Program, t.Profile), t.Limits, t.Seed)
	if binary.BigEndian.Uint64(in[:])%1000 >= r.permille {
		run, err := r.Runtime.Run(ctx, t)
		if err == nil {
			r.fuel.Store(uint64(run.Leaf.Fuel))
		}
		return run, err
	}
	out := work.Output{Stdout: work.BlobOf(nil), Stderr: work.BlobOf(nil)}
	o := work.Outcome{Kind: work.Exited}
	fuel := work.Fuel(r.fuel.Load())
	if fuel == 0 || fuel > t.Limits.Fuel {
		fuel = min(guessedFuel, t.Limits.Fuel)
	}
	return &runtime.Run{Leaf: work.Leaf{Input: in, Output: out.Digest(o), Outcome: o, Fuel: fuel, Memory: work.Sum("gotong/guess", in[:])}, Output: out}, nil
}

// Inflate runs every task and says that it used permille of the fuel that it used,
// at most what the job allows.
func Inflate(rt runtime.Runtime, permille uint64) runtime.Runtime { return inflate{rt, permille} }

type inflate struct {
	runtime.Runtime
	permille uint64
}

// Run implements runtime.Runtime.
func (r inflate) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	run, err := r.Runtime.Run(ctx, t)
	if err != nil {
		return nil, err
	}
	lie := *run
	more, err := work.MulDiv(work.Amount(run.Leaf.Fuel), r.permille, 1000)
	if err != nil {
		return nil, err
	}
	lie.Leaf.Fuel = min(work.Fuel(more), t.Limits.Fuel)
	return &lie, nil
}

// After is honest until the switch is thrown, and lie from then on.
func After(on *atomic.Bool, honest, lie runtime.Runtime) runtime.Runtime {
	return after{honest, lie, on}
}

type after struct {
	runtime.Runtime
	lie runtime.Runtime
	on  *atomic.Bool
}

// Run implements runtime.Runtime.
func (r after) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	if r.on.Load() {
		return r.lie.Run(ctx, t)
	}
	return r.Runtime.Run(ctx, t)
}

// Echo answers with the leaf that claimed gives, if any, without running the task: a
// referee that repeats what a party of the dispute says.
func Echo(rt runtime.Runtime, claimed func() *work.Leaf) runtime.Runtime { return echo{rt, claimed} }

type echo struct {
	runtime.Runtime
	claimed func() *work.Leaf
}

// Run implements runtime.Runtime.
func (r echo) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	if l := r.claimed(); l != nil {
		return &runtime.Run{Leaf: *l}, nil
	}
	return r.Runtime.Run(ctx, t)
}
