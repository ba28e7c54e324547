package gw1_test

import (
	"github.com/gotong-network/gotong/gw1"
)

// Value types in the binary format.
const (
	i32, i64, f32, f64, v128, funcref = 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70
)

// testFunc is a function of a testModule.
type testFunc struct {
	params, results, locals []byte
	body                    []byte // without the closing end
}

// testModule is assembled into a binary by wasm. Function 0 is fd_write, so that tests see output, and the
// last function is exported as _start.
type testModule struct {
	funcs    []testFunc
	memory   []byte // limits, nil: one page without maximum
	tables   [][]byte
	globals  [][]byte // type, mutability, initial expression
	elements [][]byte
	data     [][]byte
	exports  [][]byte
	count    bool // write a data count section
	start    int  // function index of the start section, 0: none
}

func uleb(v int) []byte {
	var b []byte
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func sleb(v int64) []byte {
	var b []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// cat joins opcodes (int, below 256), byte strings and nested code.
func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, p...)
		default:
			panic("cat: unknown part")
		}
	}
	return b
}

func named(s string) []byte { return cat(uleb(len(s)), s) }

func c32(v int) []byte { return cat(0x41, sleb(int64(v))) }
func c64(v int) []byte { return cat(0x42, sleb(int64(v))) }

func vec(items [][]byte) []byte { return cat(uleb(len(items)), join(items)) }

func join(items [][]byte) []byte {
	var b []byte
	for _, i := range items {
		b = append(b, i...)
	}
	return b
}

func sectionOf(id int, contents []byte) []byte {
	return cat(id, uleb(len(contents)), contents)
}

const wasmHeader = "\x00asm\x01\x00\x00\x00"

var wasiWrite = cat(named(gw1.Functions()[0].Module), named("fd_write"), 0, 0)

func (m testModule) wasm() []byte {
	types := [][]byte{cat(0x60, 4, i32, i32, i32, i32, 1, i32)}
	var indices, bodies [][]byte
	for i, f := range m.funcs {
		types = append(types, cat(0x60, uleb(len(f.params)), f.params, uleb(len(f.results)), f.results))
		indices = append(indices, uleb(i+1))
		var locals [][]byte
		for _, l := range f.locals {
			locals = append(locals, cat(1, int(l)))
		}
		body := cat(vec(locals), f.body, 0x0b)
		bodies = append(bodies, cat(uleb(len(body)), body))
	}
	out := cat(wasmHeader, sectionOf(1, vec(types)), sectionOf(2, vec([][]byte{wasiWrite})), sectionOf(3, vec(indices)))
	if m.tables != nil {
		out = append(out, sectionOf(4, vec(m.tables))...)
	}
	memory := m.memory
	if memory == nil {
		memory = []byte{0, 1}
	}
	out = append(out, sectionOf(5, vec([][]byte{memory}))...)
	if m.globals != nil {
		out = append(out, sectionOf(6, vec(m.globals))...)
	}
	exports := append([][]byte{cat(named("_start"), 0, uleb(len(m.funcs))), cat(named("memory"), 2, 0)}, m.exports...)
	out = append(out, sectionOf(7, vec(exports))...)
	if m.start > 0 {
		out = append(out, sectionOf(8, uleb(m.start))...)
	}
	if m.elements != nil {
		out = append(out, sectionOf(9, vec(m.elements))...)
	}
	if m.count {
		out = append(out, sectionOf(12, uleb(len(m.data)))...)
	}
	out = append(out, sectionOf(10, vec(bodies))...)
	if m.data != nil {
		out = append(out, sectionOf(11, vec(m.data))...)
	}
	return out
}

// command is a module with one function, _start.
func command(parts ...any) testModule {
	return testModule{funcs: []testFunc{{body: cat(parts...)}}}
}

// active is an active data segment.
func active(offset int, content string) []byte { return cat(0, c32(offset), 0x0b, named(content)) }

// print writes memory[from:from+size] to stdout, using memory[0:12].
func print(from, size int) []byte {
	return cat(
		c32(0), c32(from), 0x36, 2, 0,
		c32(4), c32(size), 0x36, 2, 0,
		c32(1), c32(0), c32(1), c32(8), 0x10, 0, 0x1a)
}
