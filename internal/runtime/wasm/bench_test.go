//go:build linux && (amd64 || arm64)

package wasm

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/work"
)

// BenchmarkNoopCore is the engine alone: instance, run, digest, leaf.
func BenchmarkNoopCore(b *testing.B) {
	e := testEngine(b, runtimetest.Module(nil))
	r := &request{began: true, fuel: 1e9, memory: 1 << 20, output: 1 << 20, args: []string{programName}}
	task := &runtime.Task{Program: work.BlobOf(runtimetest.Module(nil)), Profile: gw1.Version, Limits: runtimetest.Limits, Item: &work.Item{}}
	b.ReportAllocs()
	for b.Loop() {
		resp, err := e.run(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		j, err := newJob(task, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := j.finish(resp); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
}

// BenchmarkStartGo is a Go program's start and end.
func BenchmarkStartGo(b *testing.B) {
	e := testEngine(b, runtimetest.Program(b))
	r := &request{began: true, fuel: 1e9, memory: 64 << 20, output: 1 << 20, args: []string{programName}}
	b.Run("item", func(b *testing.B) {
		for b.Loop() {
			if _, err := e.run(r, []io.ReaderAt{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("instance", func(b *testing.B) {
		e.arena.begin(64 << 20)
		for b.Loop() {
			m, err := e.instantiate()
			if err != nil {
				b.Fatal(err)
			}
			m.Close(context.Background())
			e.arena.Free()
		}
	})
}

// BenchmarkWorkerRoundTrip is one item at a time through a worker, 4 KiB in and
// out of the pipe.
func BenchmarkWorkerRoundTrip(b *testing.B) {
	blobs := &runtimetest.Blobs{}
	rt := open(b, Config{Blobs: blobs, Slots: 1})
	defer rt.Close()
	task := runtime.Task{Program: blobs.Put(runtimetest.Module(nil)), Profile: gw1.Version, Limits: runtimetest.Limits,
		Item: &work.Item{Stdin: blobs.Put(make([]byte, 4096))}}
	for b.Loop() {
		if _, err := rt.Run(b.Context(), task); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWorkerBatch is many items at a time through a worker.
func BenchmarkWorkerBatch(b *testing.B) {
	blobs := &runtimetest.Blobs{}
	rt := open(b, Config{Blobs: blobs, Slots: 1})
	defer rt.Close()
	tasks := make([]runtime.Task, 1000)
	for i := range tasks {
		tasks[i] = runtime.Task{Program: blobs.Put(runtimetest.Module(nil)), Profile: gw1.Version, Limits: runtimetest.Limits, Item: &work.Item{}}
	}
	start, n := time.Now(), 0
	for b.Loop() {
		for _, r := range rt.RunMany(b.Context(), tasks) {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
			n++
		}
	}
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "items/s")
}

// BenchmarkMemoryDigest is the digest of live memory.
func BenchmarkMemoryDigest(b *testing.B) {
	mem := make([]byte, 16<<20)
	for i := range mem {
		mem[i] = byte(i*7 + i>>12)
	}
	var d digester
	b.SetBytes(int64(len(mem)))
	for b.Loop() {
		d.memory(mem, nil, nil, nil)
	}
}

// testEngine is an engine in this process.
func testEngine(t testing.TB, module []byte) *engine {
	t.Helper()
	m, err := gw1.Rewrite(module, gw1.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEngine(t.Context(), m, t.TempDir(), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if e.arena.pagemap, err = os.Open("/proc/self/pagemap"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.close(); e.arena.pagemap.Close() })
	return e
}
