//go:build linux && (amd64 || arm64)

package wasm

import (
	"context"
	"errors"
	"os"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// Core runs one program in this process: the engine, its memory, the digest and
// the leaf, without a worker, a pipe or a sandbox around them. It is for measuring
// what these cost alone, never for programs of strangers. One goroutine uses it.
type Core struct {
	engine *engine
}

// OpenCore rewrites and compiles a module, or takes it from the engine's cache below
// dir. memoryBytes bounds the linear memory of every item. Close it after use.
func OpenCore(ctx context.Context, module []byte, dir string, memoryBytes uint64) (*Core, error) {
	m, err := gw1.Rewrite(module, gw1.Options{})
	if err != nil {
		return nil, &runtime.Refused{Reason: err.Error()}
	}
	e, err := newEngine(ctx, m, dir, memoryBytes)
	if err != nil {
		return nil, err
	}
	e.arena.pagemap, _ = os.Open("/proc/self/pagemap") // without it the digest reads every page
	return &Core{e}, nil
}

// Close frees the compiled program.
func (c *Core) Close() error {
	if f := c.engine.arena.pagemap; f != nil {
		return errors.Join(c.engine.close(), f.Close())
	}
	return c.engine.close()
}

// Run executes a task without input blobs. Errors are those of runtime.Runtime.
func (c *Core) Run(t *runtime.Task) (*runtime.Run, error) {
	j, err := newJob(t, nil)
	if err != nil {
		return nil, err
	}
	defer j.close()
	r, err := decodeRequest(j.frame[4:])
	if err != nil {
		return nil, err
	}
	resp, err := c.engine.run(r, nil)
	if err != nil {
		return nil, &runtime.HostFault{Err: err}
	}
	return j.finish(resp)
}

// Start makes an instance with its memory as at the start, and ends it before its
// first instruction.
func (c *Core) Start() error {
	c.engine.arena.begin(uint64(len(c.engine.arena.base)))
	defer c.engine.arena.Free()
	m, err := c.engine.instantiate()
	if err != nil {
		return err
	}
	return m.Close(c.engine.ctx)
}

// Digest is the memory digest of a program whose final memory is mem and whose
// initial memory was zero. It also gives the number of changed blocks.
func (c *Core) Digest(mem []byte) (work.Hash, uint64) {
	return c.engine.digester.memory(mem, nil, nil, nil)
}
