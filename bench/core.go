package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/work"
)

func startC(ctx context.Context, b *bench) error {
	return b.start(ctx, "start_c", markWasm, "1")
}

func startGo(ctx context.Context, b *bench) error {
	module, err := goProgram(ctx)
	if err != nil {
		return err
	}
	return b.start(ctx, "start_go", module, "0")
}

func startPython(ctx context.Context, b *bench) error {
	module, err := pythonProgram()
	if err != nil {
		return err
	}
	return b.start(ctx, "start_cpython", module, "-c", "pass")
}

// coreMemory bounds the linear memory of programs run by wasm.Core.
const coreMemory = 256 << 20

// openCore compiles a module into a cache of its own, which close removes.
func openCore(ctx context.Context, module []byte) (c *wasm.Core, shut func() error, err error) {
	dir, err := os.MkdirTemp("", "gotong-bench-")
	if err != nil {
		return nil, nil, err
	}
	c, err = wasm.OpenCore(ctx, module, dir, coreMemory)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, func() error { return errors.Join(c.Close(), os.RemoveAll(dir)) }, nil
}

// coreTask is a task without inputs but arguments.
func coreTask(module []byte, args ...string) *runtime.Task {
	return &runtime.Task{Program: work.BlobOf(module), Profile: gw1.Version, Item: &work.Item{Args: args},
		Limits: work.Limits{MemoryBytes: coreMemory, Fuel: 1e12, OutputBytes: 1 << 20}}
}

// start measures an instance of a program from nothing to its end, without its
// first instruction: the median counts. A whole item with its leaf, whose program
// has nothing to do but its own start, is said beside it.
func (b *bench) start(ctx context.Context, row string, module []byte, args ...string) error {
	c, shut, err := openCore(ctx, module)
	if err != nil {
		return err
	}
	defer shut()
	n := b.size(1000, 200)
	starts, err := timed(n, c.Start)
	if err != nil {
		return err
	}
	task := coreTask(module, args...)
	items, err := timed(n/10, func() error {
		r, err := c.Run(task)
		if err == nil && !r.Leaf.Outcome.OK() {
			err = errors.New(r.Leaf.Outcome.String())
		}
		return err
	})
	if err != nil {
		return err
	}
	b.say("%.2f MB of module, instance and its end: %s", float64(len(module))/1e6, starts)
	b.say("an item with its leaf:          %s", items)
	b.values[row] = starts.p50
	return nil
}

// spread of the durations of something done many times, in milliseconds.
type spread struct{ min, p50, p90, cpu float64 }

func (s spread) String() string {
	return fmt.Sprintf("min %.4f ms, p50 %.4f ms, p90 %.4f ms, CPU of all threads %.4f ms", s.min, s.p50, s.p90, s.cpu)
}

// timed does something n times, after a tenth of that which is not counted.
func timed(n int, do func() error) (spread, error) {
	var took []time.Duration
	var cpu time.Duration
	for i := -n / 10; i < n; i++ {
		if i == 0 {
			cpu = processCPU()
		}
		began := time.Now()
		if err := do(); err != nil {
			return spread{}, err
		}
		if i >= 0 {
			took = append(took, time.Since(began))
		}
	}
	cpu = (processCPU() - cpu) / time.Duration(n)
	ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	return spread{ms(slices.Min(took)), ms(quantile(took, 0.5)), ms(quantile(took, 0.9)), ms(cpu)}, nil
}

// processCPU is the CPU time of this process alone.
func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("CPU time of this process: %v", err)) // it always has one
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// coreRounds is how often a rate is measured; the best counts.
const coreRounds = 5

// best measures the CPU time of something a few times and gives the least.
func best(do func() error) (cpu, wall time.Duration, err error) {
	for i := range coreRounds {
		began, used := time.Now(), processCPU()
		if err := do(); err != nil {
			return 0, 0, err
		}
		c, w := processCPU()-used, time.Since(began)
		if i == 0 || c < cpu {
			cpu = c
		}
		if i == 0 || w < wall {
			wall = w
		}
	}
	return cpu, wall, nil
}

// noopCore runs the command that does nothing in the runtime alone. The rate is per
// second of CPU of all threads, so that the collector's work counts.
func noopCore(ctx context.Context, b *bench) error {
	c, shut, err := openCore(ctx, noopModule)
	if err != nil {
		return err
	}
	defer shut()
	task := coreTask(noopModule)
	n := b.size(30_000, 10_000)
	cpu, wall, err := best(func() error {
		for range n {
			r, err := c.Run(task)
			if err != nil {
				return err
			}
			if !r.Leaf.Outcome.OK() {
				return errors.New(r.Leaf.Outcome.String())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.values["wasm_noop_core"] = float64(n) / cpu.Seconds()
	b.say("%d items: %.1f µs CPU and %.1f µs wall time per item", n, cpu.Seconds()*1e6/float64(n), wall.Seconds()*1e6/float64(n))
	return nil
}

// roundTrip sends 4 KiB through a worker, one item after the other: a program that
// copies stdin to stdout.
func roundTrip(ctx context.Context, b *bench) error {
	dir, err := os.MkdirTemp("", "gotong-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	blobs := memoryBlobs{}
	rt, err := wasm.New(wasm.Config{Dir: dir, Blobs: blobs, Log: b.log})
	if err != nil {
		return err
	}
	defer rt.Close()
	task := coreTask(echoWasm)
	blobs.put(echoWasm)
	task.Limits.MemoryBytes = 1 << 20
	task.Item.Stdin = blobs.put(bytes.Repeat([]byte("gotong.."), 512))
	m, err := startMeter()
	if err != nil {
		return err
	}
	n := b.size(20_000, 3_000)
	trips, err := timed(n, func() error {
		r, err := rt.Run(ctx, *task)
		if err == nil && r.Output.Stdout != task.Item.Stdin {
			err = fmt.Errorf("%s: stdout of %d bytes is not stdin", r.Leaf.Outcome, r.Output.Stdout.Size)
		}
		return err
	})
	if err != nil {
		return err
	}
	_, cpu, err := m.stop()
	if err != nil {
		return err
	}
	b.values["worker_roundtrip_p50"] = trips.p50
	b.say("4 KiB in and out: min %.4f ms, p50 %.4f ms, p90 %.4f ms, CPU with the worker's %.4f ms", trips.min, trips.p50, trips.p90, cpu.Seconds()*1e3/float64(n+n/10))
	return nil
}

// memoryBlobs implements runtime.Blobs.
type memoryBlobs map[work.BlobID][]byte

func (m memoryBlobs) put(b []byte) work.BlobID {
	id := work.BlobOf(b)
	m[id] = b
	return id
}

// Open implements runtime.Blobs.
func (m memoryBlobs) Open(id work.BlobID) (runtime.BlobReader, error) {
	b, ok := m[id]
	if !ok {
		return nil, runtime.ErrBlobMissing
	}
	return memoryBlob{bytes.NewReader(b)}, nil
}

type memoryBlob struct{ *bytes.Reader }

// Close implements io.Closer.
func (memoryBlob) Close() error { return nil }

// digestRate digests memory every block of which has changed.
func digestRate(ctx context.Context, b *bench) error {
	c, shut, err := openCore(ctx, noopModule)
	if err != nil {
		return err
	}
	defer shut()
	mem := make([]byte, 64<<20)
	for i := range mem {
		mem[i] = byte(i*7 + i>>12)
	}
	cpu, wall, err := best(func() error {
		if _, blocks := c.Digest(mem); blocks != uint64(len(mem)/4096) {
			return fmt.Errorf("%d blocks digested", blocks)
		}
		return nil
	})
	if err != nil {
		return err
	}
	gb := float64(len(mem)) / 1e9
	b.values["digest_rate"] = gb / cpu.Seconds()
	b.say("%d MiB of live data, one thread: %.2f GB/s of CPU, %.2f GB/s of wall time", len(mem)>>20, gb/cpu.Seconds(), gb/wall.Seconds())
	return nil
}

// rewriteRate rewrites the programs of the other rows; the slowest rate counts.
func rewriteRate(ctx context.Context, b *bench) error {
	goModule, err := goProgram(ctx)
	if err != nil {
		return err
	}
	python, err := pythonProgram()
	if err != nil {
		return err
	}
	for _, p := range []struct {
		name   string
		module []byte
	}{{"C", markWasm}, {"Go", goModule}, {"CPython", python}} {
		repeat := max(1, 4_000_000/len(p.module)) // a small one alone is over too soon
		cpu, wall, err := best(func() error {
			for range repeat {
				if _, err := gw1.Rewrite(p.module, gw1.Options{}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		mb := float64(repeat*len(p.module)) / 1e6
		rate := mb / cpu.Seconds()
		if v, ok := b.values["rewrite_rate"]; !ok || rate < v {
			b.values["rewrite_rate"] = rate
		}
		b.say("%s, %.2f MB: %.1f MB/s of CPU, %.1f MB/s of wall time", p.name, float64(len(p.module))/1e6, rate, mb/wall.Seconds())
	}
	return nil
}
