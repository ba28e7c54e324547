//go:build linux && (amd64 || arm64)

package wasm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
)

// These modules are valid, within the profile's limits, and made to be dear.

// nestedLoops has a compiler that follows every local through every loop at work
// for minutes: 54 KB.
func nestedLoops() []byte {
	const n = 3000
	body := bytesOf([]byte{0x03, 0x40}, n)
	for i := range n {
		l := uleb(i)
		body = append(append(append(append(body, 0x20), l...), 0x41, 1, 0x6a, 0x21), l...)
	}
	return dear(1, strings.Repeat("\x7f", n), append(body, bytesOf([]byte{0x41, 0, 0x0d, 0, 0x0b}, n)...))
}

// manyLocals has a compiler merge 40,000 values at each of 60,000 blocks, which
// takes gigabytes: 1 MB.
func manyLocals() []byte {
	const locals, blocks = 40_000, 60_000
	var body []byte
	for i := range blocks {
		l := uleb(i % locals)
		body = append(append(append(body, 0x02, 0x40, 0x20), l...), 0x0d, 0, 0x20)
		body = append(append(append(append(body, uleb((i*7+1)%locals)...), 0x21), l...), 0x0b)
	}
	return dear(1, strings.Repeat("\x7f", locals), body)
}

// largeFunctions is as large as a module may be, nearly: 56 MB in 8 functions.
func largeFunctions() []byte {
	return dear(8, "", bytesOf([]byte{0x41, 0, 0x41, 0, 0xfd, 0, 0, 0, 0x10, 0, 0xfd, 11, 0, 0}, 500_000))
}

// dear is a module of n functions with the same body.
func dear(n int, locals string, body []byte) []byte {
	m := append([]byte{0, 'a', 's', 'm', 1, 0, 0, 0}, section(1, vec([]byte{0x60, 0, 0}))...)
	m = append(m, section(3, append(uleb(n), make([]byte, n)...))...)
	m = append(m, section(5, vec([]byte{0, 1}))...)
	m = append(m, section(7, vec(append(append([]byte{6}, "_start"...), 0, 0)))...)
	return append(m, section(10, append(uleb(n), bytesOf(code(locals, body), n)...))...)
}

func bytesOf(b []byte, n int) []byte { return []byte(strings.Repeat(string(b), n)) }

// TestDearModules holds that compiling is bounded in CPU time and memory, is the
// host's fault and not the module's refusal, and leaves the runtime at work.
func TestDearModules(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		module func() []byte
		load   load
		want   error
	}{
		"nested loops":    {nestedLoops, load{time.Minute, 400 * time.Millisecond, 1 << 30}, errCPU},
		"large functions": {largeFunctions, load{time.Minute, time.Second, 3 << 30}, errCPU},
		"many locals":     {manyLocals, load{time.Minute, time.Minute, 128 << 20}, errMemory},
		"wall time":       {nestedLoops, load{400 * time.Millisecond, time.Minute, 1 << 30}, errTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blobs := &runtimetest.Blobs{}
			rt := open(t, Config{Blobs: blobs, Slots: 1, Dir: t.TempDir()})
			defer rt.Close()
			rt.prepareLoad = func(n uint64) load {
				if n < 1000 {
					return prepareLoad(n)
				}
				return test.load
			}
			task := moduleTask(blobs, test.module())
			at := time.Now()
			_, err := rt.Run(t.Context(), task)
			wantFault(t, err)
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			t.Logf("%d bytes, %v: %v", task.Program.Size, time.Since(at), err)
			if r, err := rt.Run(t.Context(), moduleTask(blobs, runtimetest.Module(nil))); err != nil || !r.Leaf.Outcome.OK() {
				t.Errorf("the next item: %v, %v", r, err)
			}
		})
	}
}

// TestDearModuleIsNotTriedAtOnce holds that a module which is too dear costs this
// host little, however often it is asked for.
func TestDearModuleIsNotTriedAtOnce(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1, Dir: t.TempDir()})
	defer rt.Close()
	tries := 0
	rt.prepareLoad = func(uint64) load {
		tries++
		return load{time.Minute, 50 * time.Millisecond, 1 << 30}
	}
	task := moduleTask(blobs, nestedLoops())
	for i := range 5 {
		_, err := rt.Run(t.Context(), task)
		wantFault(t, err)
		if waits := strings.Contains(err.Error(), "tried 2 times, the next time is in 1m"); waits != (i > 0) {
			t.Errorf("run %d: %v", i+1, err)
		}
	}
	if tries != 2 {
		t.Errorf("compiled %d times, want 2", tries)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for failures, want := range []time.Duration{0, 0, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		if got := retryAfter(failures); got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
	if got := retryAfter(1 << 40); got != time.Hour {
		t.Errorf("at last %v", got)
	}
}
