//go:build !(linux && (amd64 || arm64))

package wasm

import (
	"context"
	"errors"
	"time"

	"github.com/gotong-network/gotong/internal/runtime"
)

// ErrUnsupported reports a system whose processes this package cannot confine.
var ErrUnsupported = errors.New("programs run on Linux, amd64 or arm64, only: let this node do without the provider's role")

// Runtime runs nothing on this system.
type Runtime struct{}

// MaybeWorker returns.
func MaybeWorker() {}

// New gives ErrUnsupported.
func New(Config) (*Runtime, error) { return nil, ErrUnsupported }

// Run gives ErrUnsupported as a fault of the host.
func (*Runtime) Run(context.Context, runtime.Task) (*runtime.Run, error) {
	return nil, &runtime.HostFault{Err: ErrUnsupported}
}

// RunMany gives ErrUnsupported for each.
func (r *Runtime) RunMany(ctx context.Context, tasks []runtime.Task) []runtime.Result {
	results := make([]runtime.Result, len(tasks))
	for i := range results {
		_, results[i].Err = r.Run(ctx, tasks[i])
	}
	return results
}

// Slots is 0.
func (*Runtime) Slots() int { return 0 }

// Sandbox says that there is none.
func (*Runtime) Sandbox() string { return "none" }

// Compiling is false.
func (*Runtime) Compiling() bool { return false }

// Limit gives ErrUnsupported.
func (*Runtime) Limit(float64, uint64, bool) error { return ErrUnsupported }

// CPUTime is 0.
func (*Runtime) CPUTime() time.Duration { return 0 }

// ErrNoGroup reports that no control group counts the workers.
var ErrNoGroup = ErrUnsupported

// GroupCPUTime gives ErrNoGroup.
func (*Runtime) GroupCPUTime() (time.Duration, error) { return 0, ErrNoGroup }

// Memory is 0.
func (*Runtime) Memory() uint64 { return 0 }

// Bound says that nothing runs.
func (*Runtime) Bound() string { return "nothing runs here" }

// Shed does nothing.
func (*Runtime) Shed() {}

// Close does nothing.
func (*Runtime) Close() error { return nil }
