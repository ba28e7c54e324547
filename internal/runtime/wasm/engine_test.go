//go:build linux && (amd64 || arm64)

package wasm

import (
	"testing"

	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/work"
)

// TestPageTableFindsAllChanges holds the digest that trusts the kernel's page
// table to the one that reads every page.
func TestPageTableFindsAllChanges(t *testing.T) {
	t.Parallel()
	e := testEngine(t, runtimetest.Program(t))
	pagemap := e.arena.pagemap
	for _, args := range [][]string{{}, {"echo", "x"}, {"work", "1000"}, {"take", "9"}, {"write", "out/a", "b"}, {"panic"}} {
		r := &request{began: true, fuel: 1e10, memory: 128 << 20, output: 1 << 20, args: append([]string{programName}, args...)}
		e.arena.pagemap = pagemap
		with, err := e.run(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		e.arena.pagemap = nil
		without, err := e.run(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if with.memory != without.memory || with.blocks != without.blocks || with.blocks == 0 {
			t.Errorf("%q: %s of %d blocks by the page table, %s of %d by reading", args, with.memory, with.blocks, without.memory, without.blocks)
		}
	}
}

// TestVectorGlobals holds that both halves of a vector are digested.
func TestVectorGlobals(t *testing.T) {
	t.Parallel()
	digest := func(at int) work.Hash {
		vector := make([]byte, 16)
		vector[at] = 1
		r := &request{began: true, fuel: 1e6, memory: 1 << 20, output: 1}
		resp, err := testEngine(t, vectorModule(vector)).run(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp.memory
	}
	low, high := digest(0), digest(15)
	if low == high || low == digest(1) || high == digest(8) {
		t.Error("different vectors, one digest")
	}
}

// vectorModule sets its one global, a v128, to a constant.
func vectorModule(vector []byte) []byte {
	constant := func(v []byte) []byte { return append([]byte{0xfd, 12}, v...) }
	global := append(append([]byte{1, 0x7b, 1}, constant(make([]byte, 16))...), 0x0b)
	body := append(append([]byte{0}, constant(vector)...), 0x24, 0, 0x0b)
	m := []byte{0, 'a', 's', 'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 6, byte(len(global))}
	m = append(append(m, global...), 7, 10, 1, 6, '_', 's', 't', 'a', 'r', 't', 0, 0, 10, byte(len(body)+2), 1, byte(len(body)))
	return append(m, body...)
}

func TestBenchmark(t *testing.T) {
	t.Parallel()
	rate, err := Benchmark(t.Context(), Config{Dir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	if rate == 0 {
		t.Error("a host without speed")
	}
	t.Logf("%d fuel/s", rate)
}
