// Package runtime is the port to execution: run one item of one program inside a
// sandbox and give its leaf. Adapters are runtime/wasm (the real one) and
// runtime/noop (no program: for measuring everything around it).
// runtime/runtimetest is the conformance suite.
//
// It promises that an outcome of the program is a result and a fault of the host
// is an error, never the other way round; that a result is the same on every
// machine; and that a hostile program harms at worst its own item. It knows
// nothing of jobs, money or peers.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gotong-network/gotong/work"
)

// Blobs gives the bytes of blobs that a run needs; the caller has made sure that
// they are here.
type Blobs interface {
	// Open gives random access to a blob. ErrBlobMissing if it is not here.
	Open(b work.BlobID) (BlobReader, error)
}

// BlobReader reads one blob.
type BlobReader interface {
	io.ReaderAt
	io.Closer
}

// Path is implemented by BlobReaders that are whole files on disk; a runtime may
// then hand the file to a worker process instead of the bytes.
type Path interface{ Path() string }

// ErrBlobMissing reports a blob that is not here.
var ErrBlobMissing = errors.New("blob is not here")

// Task is one item to run.
type Task struct {
	Program work.BlobID // the original module
	Profile string
	Limits  work.Limits
	Seed    uint64
	Item    *work.Item
}

// Run is what a task gave. The output's bytes are with it.
type Run struct {
	Leaf   work.Leaf
	Output work.Output
	Bytes  map[work.BlobID][]byte // every non-empty blob of Output
}

// Refused reports a program that the profile refuses: final, unpaid, nobody's
// fault. Reason says why and what to do.
type Refused struct{ Reason string }

// Error implements error.
func (r *Refused) Error() string { return "program refused: " + r.Reason }

// HostFault reports that the host failed (worker killed, time-out, disk): no
// result; the item must run elsewhere.
type HostFault struct{ Err error }

// Error implements error.
func (h *HostFault) Error() string { return fmt.Sprintf("host fault: %v", h.Err) }

// Unwrap gives the cause.
func (h *HostFault) Unwrap() error { return h.Err }

// Runtime runs tasks. Safe for concurrent use; at most Slots run at once, more
// wait.
type Runtime interface {
	// Run executes a task. Errors are *Refused, *HostFault, ErrBlobMissing or
	// ctx's.
	Run(ctx context.Context, t Task) (*Run, error)
	// Slots is the number of tasks that run at once.
	Slots() int
	// Close ends all workers and waits for them.
	Close() error
}

// Shedder is implemented by runtimes that keep something warm between tasks.
type Shedder interface {
	// Shed gives up what is warm and unused, for its memory.
	Shed()
}

// Result is how one of many tasks ended: with a run or an error of Run.
type Result struct {
	Run *Run
	Err error
}

// Batcher is implemented by runtimes that run many small tasks for less than
// Run costs for each.
type Batcher interface {
	// RunMany executes tasks in their order in one slot and gives a result for
	// each. Whoever wants all slots busy calls it from as many goroutines.
	RunMany(ctx context.Context, tasks []Task) []Result
}
