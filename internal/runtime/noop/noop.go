// Package noop is a runtime that executes nothing: it measures everything around
// execution.
//
// It promises a well-formed leaf that depends on the input alone, at once. The
// leaf is not the program's: only a benchmark may construct this runtime, and
// every other executor would contradict its results.
package noop

import (
	"context"
	"sync/atomic"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// Fuel is what each item counts for.
const Fuel work.Fuel = 100_000

// Runtime gives leaves without running anything. It implements runtime.Runtime
// and runtime.Batcher.
type Runtime struct {
	slots int
	last  atomic.Pointer[program] // what the newest item ran
}

// New makes a runtime of so many slots, at least one. Slots bound nothing here:
// no task takes time.
func New(slots int) *Runtime { return &Runtime{slots: max(1, slots)} }

// Run gives exit 0, no output, Fuel, and a memory digest made from the input.
func (r *Runtime) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if t.Limits.Fuel < Fuel {
		return nil, &runtime.Refused{Reason: "the job allows less fuel than an item of the measuring runtime counts for"}
	}
	input := t.Item.InputDigest(r.id(t.Program, t.Profile), t.Limits, t.Seed)
	return &runtime.Run{
		Leaf:   work.Leaf{Input: input, Output: nothingDigest, Outcome: exited, Fuel: Fuel, Memory: work.Sum("gotong/noop/1", input[:])},
		Output: nothing,
	}, nil
}

// What every item leaves.
var (
	exited        = work.Outcome{Kind: work.Exited}
	nothing       = work.Output{Stdout: work.BlobOf(nil), Stderr: work.BlobOf(nil)}
	nothingDigest = nothing.Digest(exited)
)

// program is a program's id, remembered.
type program struct {
	module  work.BlobID
	profile string
	id      work.ProgramID
}

func (r *Runtime) id(module work.BlobID, profile string) work.ProgramID {
	p := r.last.Load()
	if p == nil || p.module != module || p.profile != profile {
		p = &program{module, profile, work.Program(module, profile)}
		r.last.Store(p)
	}
	return p.id
}

// RunMany implements runtime.Batcher.
func (r *Runtime) RunMany(ctx context.Context, tasks []runtime.Task) []runtime.Result {
	results := make([]runtime.Result, len(tasks))
	for i, t := range tasks {
		results[i].Run, results[i].Err = r.Run(ctx, t)
	}
	return results
}

// Slots implements runtime.Runtime.
func (r *Runtime) Slots() int { return r.slots }

// Close implements runtime.Runtime.
func (*Runtime) Close() error { return nil }
