package gw1_test

import (
	"bytes"
	"reflect"
	"runtime"
	"testing"

	"github.com/gotong-network/gotong/gw1"
)

// repeated is a module with one function that consists of a piece of code over and over.
func repeated(before, piece, behind []byte, size int) []byte {
	m := testModule{funcs: []testFunc{{locals: []byte{v128}, body: cat(before, bytes.Repeat(piece, size/len(piece)), behind)}, {}}}
	return m.wasm()
}

// Rewriting takes memory in proportion to the module, and so much for a function of the greatest size,
// whatever is in it. The test runs alone: it counts what the process allocates.
func TestRewriteIsBounded(t *testing.T) {
	const size = gw1.MaxBodyBytes - 100
	for name, wasm := range map[string][]byte{
		"floats":     repeated(cat(0x43, make([]byte, 4)), []byte{0x91, 0x8c}, []byte{0x1a}, size),
		"calls":      repeated([]byte{3, 0x40, 0x0b}, []byte{0x10, 1}, nil, size),
		"loops":      repeated(nil, []byte{3, 0x40, 0x0b}, nil, size),
		"conditions": repeated(nil, []byte{0x41, 0, 4, 0x40, 0x0b}, nil, size),
		"growth":     repeated(c32(1), []byte{0x40, 0}, []byte{0x1a}, 2*gw1.MaxGrows),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := gw1.Rewrite(wasm, gw1.Options{})
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		allocated := after.TotalAlloc - before.TotalAlloc
		if bound := uint64(12*len(wasm) + 384<<20); allocated > bound {
			t.Errorf("%s: %d MiB allocated for a module of %d MiB, want at most %d MiB", name, allocated>>20, len(wasm)>>20, bound>>20)
		}
		t.Logf("%s: %d MiB allocated, %.1f times the size after", name, allocated>>20, float64(len(m.Binary))/float64(len(wasm)))
	}
}

// Code that becomes much longer is emitted in a second walk: the same code.
func TestLongCodeIsWalkedTwice(t *testing.T) {
	t.Parallel()
	const pairs = 50_000
	root := testFunc{params: []byte{f32, i32}, results: []byte{f32}, body: cat(
		0x20, 1, 4, 0x40, 0x20, 0, 0x20, 1, c32(1), 0x6b, 0x10, 1, 0x21, 0, 0x0b,
		0x20, 0, bytes.Repeat([]byte{0x91, 0x8c}, pairs))}
	start := testFunc{body: cat(c32(16), 0x43, []byte{0, 0, 0x80, 0x3f}, c32(3), 0x10, 1, 0x38, 2, 0)}
	m := testModule{funcs: []testFunc{root, start}, globals: [][]byte{cat(f64, 1, 0x44, make([]byte, 8), 0x0b)}, start: 2}
	wasm := m.wasm()
	a := compiler(t).load(t, wasm, gw1.Options{}).run(t, plenty, world())
	b := interpreter(t).load(t, wasm, gw1.Options{NaN: gw1.NaNPlain}).run(t, plenty, world())
	if !reflect.DeepEqual(a, b) {
		t.Errorf("the compiler with lazy NaNs gives %s with %d fuel left, the interpreter with plain ones %s with %d", a.outcome, a.fuel, b.outcome, b.fuel)
	}
	// _start runs twice, as the start function and as itself; each run calls root four times.
	const want = 2 * (3 + 4 + 1 + 4*(2+1+pairs*(6+1)) + 3*(3+1+4+1))
	if got := plenty - a.fuel; a.outcome != "exit 0" || got != want {
		t.Errorf("%s with fuel %d, want exit 0 with %d", a.outcome, got, want)
	}
}
