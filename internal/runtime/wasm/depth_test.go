//go:build linux && (amd64 || arm64)

package wasm

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/work"
)

// recursion is a module whose _start calls function 1, which calls itself until
// the depth ends. Function 2 returns at once.
type recursion struct {
	params string // value types of function 1
	locals string // its other locals
	body   []byte // before it calls itself with its parameters
	after  []byte // behind that call
}

func vec(items ...[]byte) []byte {
	return append(uleb(len(items)), bytes.Join(items, nil)...)
}

func uleb(n int) []byte {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func section(id byte, content []byte) []byte {
	return append(append([]byte{id}, uleb(len(content))...), content...)
}

func code(locals string, body []byte) []byte {
	var groups [][]byte
	for _, l := range []byte(locals) {
		groups = append(groups, []byte{1, l})
	}
	b := append(append(vec(groups...), body...), 0x0b)
	return append(uleb(len(b)), b...)
}

func (r recursion) module() []byte {
	zero := map[byte][]byte{0x7f: {0x41, 0}, 0x7e: {0x42, 0}, 0x7b: append([]byte{0xfd, 12}, make([]byte, 16)...)}
	var start, self []byte
	for i, p := range []byte(r.params) {
		start = append(start, zero[p]...)
		self = append(append(self, 0x20), uleb(i)...)
	}
	start = append(start, 0x10, 1)
	self = append(append(append(append([]byte{}, r.body...), self...), 0x10, 1), r.after...)
	nothing := []byte{0x60, 0, 0}
	m := append([]byte{0, 'a', 's', 'm', 1, 0, 0, 0}, section(1, vec(nothing, append(append(append([]byte{0x60}, uleb(len(r.params))...), r.params...), 0)))...)
	m = append(m, section(3, vec([]byte{0}, []byte{1}, []byte{0}))...)
	m = append(m, section(5, vec([]byte{0, 1}))...)
	m = append(m, section(7, vec(append(append([]byte{6}, "_start"...), 0, 0)))...)
	return append(m, section(10, vec(code("", start), code(r.locals, self), code("", nil)))...)
}

// Sixteen vectors, as many as a function may have parameters.
const vectors = "\x7b\x7b\x7b\x7b\x7b\x7b\x7b\x7b\x7b\x7b\x7b\x7b\x7b\x7b\x7b\x7b"

// liveVectors has n vectors on the operand stack while the function calls itself.
func liveVectors(n int) (body, after []byte) {
	for range n {
		body = append(body, 0x41, 0, 0xfd, 0, 0, 0) // v128.load 0
		after = append(after, 0x1a)
	}
	return body, after
}

// vectorsInTurn has n vectors, one after the other, live over a call: the weight of
// one, and n places in the engine's frame.
func vectorsInTurn(n int) (b []byte) {
	for range n {
		b = append(b, 0x41, 0, 0x41, 0, 0xfd, 0, 0, 0, 0x10, 2, 0xfd, 11, 0, 0)
	}
	return b
}

// TestDepthFitsTheEngine recurses to the profile's bound with frames as large as
// their weight can make them: the profile's depth ends before the engine's stack.
func TestDepthFitsTheEngine(t *testing.T) {
	t.Parallel()
	body, after := liveVectors(1000)
	for name, r := range map[string]recursion{
		"smallest frame":               {},
		"a parameter":                  {params: vectors[:1]},
		"all parameters":               {params: vectors},
		"locals":                       {locals: strings.Repeat(vectors, 60)},
		"operands":                     {body: body, after: after},
		"parameters, locals, operands": {params: vectors, locals: strings.Repeat(vectors, 60), body: body, after: after},
		"a few values in turn":         {body: vectorsInTurn(10)},
	} {
		resp, err := testEngine(t, r.module()).run(&request{began: true, fuel: 1e9, memory: 1 << 20, output: 1}, nil)
		if err != nil || resp.outcome.Kind != work.OutOfDepth {
			t.Errorf("%s: %+v, %v; want it out of depth", name, resp, err)
		}
	}
}

// TestEngineStackOverflow has the engine's stack end before the profile's depth,
// which frames of many values in turn bring about: no result, for another engine's
// frames are of another size, and nobody but the item is hurt.
func TestEngineStackOverflow(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1})
	defer rt.Close()
	for range 2 {
		_, err := rt.Run(t.Context(), moduleTask(blobs, recursion{body: vectorsInTurn(100)}.module()))
		wantFault(t, err)
		if err == nil || !strings.Contains(err.Error(), "stack overflow") {
			t.Errorf("%v, want it to say what overflowed", err)
		}
		if r, err := rt.Run(t.Context(), moduleTask(blobs, runtimetest.Module(nil))); err != nil || !r.Leaf.Outcome.OK() {
			t.Errorf("the next item: %v, %v", r, err)
		}
	}
}
