package gw1_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/gw1"
)

// The fuel of a run is what specification and tables say, to the unit.
func TestFuelIsExact(t *testing.T) {
	t.Parallel()
	e := compiler(t)
	for name, c := range map[string]struct {
		m    testModule
		fuel int64
	}{
		"nothing":    {command(), 0},
		"straight":   {command(c32(1), c32(2), 0x6a, 0x1a), 4},
		"nop, block": {command(1, 1, 2, 0x40, 1, 0x0b), 0},
		"division":   {command(c32(7), c32(2), 0x6d, 0x1a), 11},
		// if taken: const 1, if 1, then-branch nop, else-branch 2 not taken
		"if":         {command(c32(1), 4, 0x40, 1, 5, c32(0), 0x1a, 0x0b), 2},
		"else":       {command(c32(0), 4, 0x40, 1, 5, c32(0), 0x1a, 0x0b), 4},
		"branch out": {command(2, 0x40, 0x0c, 0, c32(1), 0x1a, 0x0b), 1},
		"br_if":      {command(2, 0x40, c32(1), 0x0d, 0, c32(1), 0x1a, 0x0b, c32(1), 0x1a), 4},
		"call": {testModule{funcs: []testFunc{
			{body: cat(c32(1), 0x1a)},
			{body: cat(0x10, 1, 0x10, 1)},
		}}, 4*2 + 2*2},
		// 10 rounds of: get 1, const 1, sub 1, tee 1, br_if 1
		"loop": {testModule{funcs: []testFunc{{locals: []byte{i32},
			body: cat(c32(10), 0x21, 0, 3, 0x40, 0x20, 0, c32(1), 0x6b, 0x22, 0, 0x0d, 0, 0x0b)}}}, 2 + 50},
		"memory.fill": {command(c32(0), c32(0), c32(800), 0xfc, 11, 0), 3 + 16 + 100},
		"memory.grow": {command(c32(2), 0x40, 0, 0x1a), 2 + 16 + 2*gw1.FuelPerGrownPage},
		"grow denied": {command(c32(65536), 0x40, 0, 0x1a), 2 + 16},
	} {
		r := e.load(t, c.m.wasm(), gw1.Options{}).run(t, plenty, world())
		if got := plenty - r.fuel; r.outcome != "exit 0" || got != c.fuel {
			t.Errorf("%s: %s with fuel %d, want exit 0 with %d", name, r.outcome, got, c.fuel)
		}
	}
}

// Every way to end badly is told apart, and no bomb gets past its limit.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	e := compiler(t)
	recursion := testModule{funcs: []testFunc{{body: cat(0x10, 1)}}}
	mutual := testModule{
		tables:   [][]byte{cat(funcref, 0, 2)},
		elements: [][]byte{cat(0, c32(0), 0x0b, 2, 1, 2)},
		funcs: []testFunc{
			{body: cat(c32(1), 0x11, 2, 0)},
			{body: cat(c32(0), 0x11, 1, 0)},
		},
	}
	for name, c := range map[string]struct {
		m    testModule
		want string
	}{
		"endless loop":       {command(3, 0x40, 0x0c, 0, 0x0b), "fuel"},
		"endless empty loop": {command(c32(1), 0x1a, 3, 0x40, 2, 0x40, 0x0c, 1, 0x0b, 0x0b), "fuel"},
		"recursion":          {recursion, "depth"},
		"mutual recursion":   {mutual, "depth"},
		"unreachable":        {command(0), "trap"},
		"division by zero":   {command(c32(1), c32(0), 0x6d, 0x1a), "trap"},
		"memory":             {command(c32(-1), 0x28, 2, 0, 0x1a), "trap"},
		"fill bomb":          {command(3, 0x40, c32(0), c32(0), c32(65536), 0xfc, 11, 0, 0x0c, 0, 0x0b), "fuel"},
		"output bomb":        {command(3, 0x40, print(0, 65536), 0x0c, 0, 0x0b), "output"},
		"bad call":           {testModule{tables: [][]byte{cat(funcref, 0, 1)}, funcs: []testFunc{{body: cat(c32(0), 0x11, 1, 0)}}}, "trap"},
		// table.grow by 2^20 works once; asking on is denied and the program goes on
		"table bomb": {testModule{tables: [][]byte{cat(funcref, 0, 0)}, funcs: []testFunc{{
			body: cat(0xd0, funcref, c32(1<<20), 0xfc, 15, 0, 0x1a, 0xd0, funcref, c32(1), 0xfc, 15, 0, c32(-1), 0x47, 4, 0x40, 0, 0x0b)}}}, "exit 0"},
	} {
		w := world()
		w.OutputCap = 1 << 20
		r := e.load(t, c.m.wasm(), gw1.Options{}).run(t, 200_000_000, w)
		if r.outcome != c.want {
			t.Errorf("%s: %s, want %s", name, r.outcome, c.want)
		}
		if c.want == "trap" && name != "division by zero" && r.fuel == 200_000_000 {
			t.Errorf("%s: a trap cost nothing", name)
		}
	}
}

// What a program computed before it traps is counted up to the last loop round or call.
func TestTrapCountsFuel(t *testing.T) {
	t.Parallel()
	m := testModule{funcs: []testFunc{{locals: []byte{i32},
		body: cat(c32(1000), 0x21, 0, 3, 0x40, c32(1), 0x20, 0, c32(1), 0x6b, 0x22, 0, 0x6d, 0x1a, 0x0c, 0, 0x0b)}}}
	r := compiler(t).load(t, m.wasm(), gw1.Options{}).run(t, plenty, world())
	if r.outcome != "trap" || plenty-r.fuel < 1000*15 {
		t.Errorf("%s with fuel %d after 1000 rounds", r.outcome, plenty-r.fuel)
	}
}

// Depth is given back on every way out of a function.
func TestDepthIsGivenBack(t *testing.T) {
	t.Parallel()
	// f(n): if n == 0 return; f(n-1); br to the end for odd n
	f := testFunc{params: []byte{i32}, body: cat(
		0x20, 0, 0x45, 4, 0x40, 0x0f, 0x0b,
		0x20, 0, c32(1), 0x6b, 0x10, 1,
		0x20, 0, c32(1), 0x71, 0x0d, 0)}
	// _start calls f(1000) ten thousand times
	start := testFunc{locals: []byte{i32}, body: cat(
		c32(10000), 0x21, 0,
		3, 0x40, c32(1000), 0x10, 1, 0x20, 0, c32(1), 0x6b, 0x22, 0, 0x0d, 0, 0x0b)}
	r := compiler(t).load(t, testModule{funcs: []testFunc{f, start}}.wasm(), gw1.Options{}).run(t, plenty, world())
	if r.outcome != "exit 0" {
		t.Error(r.outcome)
	}
}

func TestStartFunctionRunsFirst(t *testing.T) {
	t.Parallel()
	m := testModule{
		data:  [][]byte{active(16, "ab")},
		start: 1,
		funcs: []testFunc{
			{body: cat(c32(16), c32('x'), 0x3a, 0, 0)},
			{body: print(16, 2)},
		},
	}
	r := compiler(t).load(t, m.wasm(), gw1.Options{}).run(t, plenty, world())
	if r.outcome != "exit 0" || r.stdout != "xb" {
		t.Errorf("%s, stdout %q", r.outcome, r.stdout)
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	m := command(print(16, 4))
	m.data = [][]byte{active(16, "abcd\x00\x00"), active(17, "X"), cat(2, 0, c32(3000), 0x0b, named("\x00")), active(65536, "")}
	got, err := gw1.Rewrite(m.wasm(), gw1.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := append(make([]byte, 16), "aXcd"...)
	if !bytes.Equal(got.Image, want) {
		t.Errorf("image %q, want %q", got.Image, want)
	}
	if r := compiler(t).program(t, got).run(t, plenty, world()); r.stdout != "aXcd" {
		t.Errorf("stdout %q", r.stdout)
	}
}

// memory.init still sees passive segments after the active ones are folded, and finds those empty.
func TestImageKeepsPassiveSegments(t *testing.T) {
	t.Parallel()
	m := command(c32(32), c32(0), c32(2), 0xfc, 8, 1, 0, print(32, 2), c32(0), c32(0), c32(1), 0xfc, 8, 0, 0)
	m.data, m.count = [][]byte{active(16, "active"), cat(1, named("pq"))}, true
	r := compiler(t).load(t, m.wasm(), gw1.Options{}).run(t, plenty, world())
	if r.stdout != "pq" || r.outcome != "trap" {
		t.Errorf("stdout %q, %s", r.stdout, r.outcome)
	}
}

// Data too far apart for an image stays in the module.
func TestImageTooLarge(t *testing.T) {
	t.Parallel()
	m := command(print(16, 1))
	m.memory = cat(0, uleb(2000))
	m.data = [][]byte{active(16, "a"), active(gw1.MaxImageBytes, "b")}
	p := compiler(t).load(t, m.wasm(), gw1.Options{})
	if p.module.Image != nil {
		t.Fatal("folded")
	}
	if r := p.run(t, plenty, world()); r.stdout != "a" {
		t.Errorf("stdout %q", r.stdout)
	}
}

func TestModuleFields(t *testing.T) {
	t.Parallel()
	m := command()
	m.memory = cat(1, 2, 5)
	m.globals = [][]byte{cat(i32, 0, c32(1), 0x0b), cat(i64, 1, c64(2), 0x0b), cat(funcref, 1, 0xd0, funcref, 0x0b), cat(f64, 1, 0x44, make([]byte, 8), 0x0b)}
	got, err := gw1.Rewrite(m.wasm(), gw1.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got.MemoryMin != 2<<16 || got.MemoryMax != 5<<16 {
		t.Errorf("memory %d…%d", got.MemoryMin, got.MemoryMax)
	}
	if want := []gw1.Global{{Name: "gw1.global.1", Type: i64}, {Name: "gw1.global.3", Type: f64}}; !reflect.DeepEqual(got.MutableGlobals, want) {
		t.Errorf("globals %v", got.MutableGlobals)
	}
	if !reflect.DeepEqual(got.Imports, []string{"fd_write"}) {
		t.Errorf("imports %v", got.Imports)
	}
	if r := compiler(t).program(t, got).run(t, plenty, world()); r.globals[0] != 2 {
		t.Errorf("global %d", r.globals[0])
	}
}

func replaceOnce(b []byte, old, new string) []byte {
	if bytes.Count(b, []byte(old)) < 1 {
		panic("nothing to replace: " + old)
	}
	return bytes.Replace(b, []byte(old), []byte(new), 1)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	plain := command().wasm()
	with := func(change func(*testModule)) []byte {
		m := command()
		change(&m)
		return m.wasm()
	}
	code := func(parts ...any) []byte { return command(parts...).wasm() }
	for _, c := range []struct {
		name string
		wasm []byte
		want string
	}{
		{"empty", nil, "not a WebAssembly module"},
		{"text", []byte("#!/bin/sh\necho hello"), "not a WebAssembly module"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "component"},
		{"version", []byte("\x00asm\x02\x00\x00\x00"), "version"},
		{"cut off", plain[:len(plain)-3], "ends unexpectedly"},
		{"foreign import", replaceOnce(plain, "fd_write", "fd_wrong"), "no function of WASI"},
		{"foreign module", replaceOnce(plain, "wasi_snapshot_preview1", "wasi_snapshot_preview9"), "only wasi_snapshot_preview1"},
		{"old module", cat(wasmHeader, sectionOf(1, []byte{1, 0x60, 0, 0}), sectionOf(2, vec([][]byte{cat(named("wasi_unstable"), named("fd_write"), 0, 0)}))), "wasi_unstable"},
		{"imported table", importing(1, []byte{funcref, 0, 1}), "the table"},
		{"imported memory", importing(2, []byte{0, 1}), "the memory"},
		{"imported global", importing(3, []byte{f64, 0}), "the global"},
		{"imported tag", importing(4, []byte{0, 0}), "the exception tag"},
		{"imported thing", importing(9, []byte{0, 0}), "the unknown thing"},
		{"wrong signature", replaceOnce(plain, "\x60\x04\x7f\x7f\x7f\x7f\x01\x7f", "\x60\x04\x7f\x7d\x7f\x7f\x01\x7f"), "signature"},
		{"no _start", replaceOnce(plain, "_start", "_stort"), "_start"},
		{"_start with parameters", testModule{funcs: []testFunc{{params: []byte{i32}}}}.wasm(), "_start"},
		{"reserved export", with(func(m *testModule) { m.exports = [][]byte{cat(named("gw1.fuel"), 2, 0)} }), "reserved"},
		{"export of nothing", with(func(m *testModule) { m.exports = [][]byte{cat(named("f"), 0, 9)} }), "does not exist"},
		{"double export", with(func(m *testModule) { m.exports = [][]byte{cat(named("memory"), 2, 0)} }), "two exports"},
		{"threads", with(func(m *testModule) { m.memory = []byte{3, 1, 1} }), "threads"},
		{"memory64", with(func(m *testModule) { m.memory = []byte{4, 1} }), "memory64"},
		{"table64", with(func(m *testModule) { m.tables = [][]byte{cat(funcref, 4, 1)} }), "memory64"},
		{"two memories", cat(wasmHeader, sectionOf(5, []byte{2, 0, 1, 0, 1})), "2 memories"},
		{"unknown limits", with(func(m *testModule) { m.memory = []byte{16, 1} }), "unknown limits"},
		{"unknown section", cat(plain, sectionOf(14, nil)), "unknown section 14"},
		{"gc type", cat(wasmHeader, sectionOf(1, []byte{1, 0x5f, 0})), "garbage"},
		{"typed reference", code(0x14, 0), "typed references"},
		{"reference type", cat(wasmHeader, sectionOf(1, []byte{1, 0x60, 1, 0x64, 0})), "value type 0x64"},
		{"catch", code(0x1f, 0x40, 0, 0x0b), "exception"},
		{"atomics", code(0xfe, 0x03, 0), "atomic"},
		{"tail call", code(0x12, 0), "tail calls"},
		{"exceptions", code(0x06, 0x40, 0x0b), "exception"},
		{"gc", code(0xfb, 0), "garbage"},
		{"relaxed simd", code(0xfd, 0x80, 2, 0x1a), "relaxed SIMD"},
		{"unknown simd", code(0xfd, 0x9a, 1), "0xfd 154"},
		{"unknown bulk", code(0xfc, 18), "0xfc 18"},
		{"beyond simd", code(0xfd, 0xb0, 2), "0xfd 304"},
		{"unknown opcode", code(0x27), "0x27"},
		{"second memory", code(c32(0), 0x28, 0x42, 0, 0, 0x1a), "memory"},
		{"type error", code(c64(1), 0x45, 0x1a), "operand of type"},
		{"stack underflow", code(0x1a), "lacks an operand"},
		{"operands left", code(c32(1)), "more operands"},
		{"local", code(0x20, 0, 0x1a), "local 0"},
		{"our own global", code(0x23, 0, 0x1a), "global 0"},
		{"constant global", with(func(m *testModule) {
			m.globals = [][]byte{cat(i32, 0, c32(1), 0x0b)}
			m.funcs[0].body = cat(c32(1), 0x24, 0)
		}), "constant"},
		{"branch", code(0x0c, 1), "branch leaves"},
		{"function", code(0x10, 9), "function 9"},
		{"huge table", with(func(m *testModule) { m.tables = [][]byte{cat(funcref, 0, uleb(gw1.MaxTableElements+1))} }), "table"},
		{"many locals", with(func(m *testModule) {
			m.funcs[0].body = nil
			m.funcs[0].locals = make([]byte, gw1.MaxLocals+1)
			for i := range m.funcs[0].locals {
				m.funcs[0].locals[i] = i32
			}
		}), "locals"},
		{"deep nesting", code(bytes.Repeat([]byte{2, 0x40}, gw1.MaxNesting), bytes.Repeat([]byte{0x0b}, gw1.MaxNesting)), "nested"},
		{"high stack", code(bytes.Repeat(c32(1), gw1.MaxOperands+1), bytes.Repeat([]byte{0x1a}, gw1.MaxOperands+1)), "operand stack"},
		{"many grows", code(c32(0), bytes.Repeat([]byte{0x40, 0}, gw1.MaxGrows+1), 0x1a), "memory.grow"},
		{"long body", code(bytes.Repeat([]byte{1}, gw1.MaxBodyBytes)), "bytes: the profile"},
		{"block parameters", testModule{funcs: []testFunc{
			{params: bytes.Repeat([]byte{i32}, gw1.MaxResults+1)},
			{body: cat(0, 2, 1, 0x0b)},
		}}.wasm(), "a block with"},
		{"data outside", with(func(m *testModule) { m.data = [][]byte{active(65535, "ab")} }), "outside the initial memory"},
		{"elements outside", with(func(m *testModule) {
			m.tables = [][]byte{cat(funcref, 0, 1)}
			m.elements = [][]byte{cat(0, c32(1), 0x0b, 1, 1)}
		}), "outside its table"},
		{"undeclared ref.func", with(func(m *testModule) {
			m.funcs = []testFunc{{}, {body: cat(0xd2, 1, 0x1a)}}
		}), "ref.func"},
		{"extended constant", with(func(m *testModule) { m.globals = [][]byte{cat(i32, 0, c32(1), c32(1), 0x6a, 0x0b)} }), "extended constant"},
		{"long number", code(0x41, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0x1a), "32 bits"},
		{"memory.init without count", with(func(m *testModule) {
			m.data = [][]byte{cat(1, named("x"))}
			m.funcs[0].body = cat(c32(0), c32(0), c32(0), 0xfc, 8, 0, 0)
		}), "data count"},
		{"memory.init of data that stays", with(func(m *testModule) {
			m.memory, m.count = cat(0, uleb(2000)), true
			m.data = [][]byte{active(16, "a"), active(gw1.MaxImageBytes, "b")}
			m.funcs[0].body = cat(c32(0), c32(0), c32(0), 0xfc, 8, 0, 0)
		}), "active data segment 0"},
		{"host references", with(func(m *testModule) {
			m.tables, m.elements = [][]byte{cat(0x6f, 0, 1)}, [][]byte{cat(5, 0x6f, 1, 0xd0, 0x6f, 0x0b)}
			m.funcs[0].body = cat(c32(0), c32(0), c32(0), 0xfc, 12, 0, 0)
		}), "references to the host"},
		{"section twice", cat(plain, sectionOf(10, []byte{0})), "out of order"},
		{"tags", cat(wasmHeader, sectionOf(13, []byte{0})), "exception"},
	} {
		_, err := gw1.Rewrite(c.wasm, gw1.Options{})
		var refusal *gw1.Refusal
		switch {
		case !errors.As(err, &refusal):
			t.Errorf("%s: error %v, want a refusal", c.name, err)
		case !strings.Contains(refusal.Reason, c.want):
			t.Errorf("%s: %q does not mention %q", c.name, refusal.Reason, c.want)
		case refusal.Offset < 0 || refusal.Offset > len(c.wasm):
			t.Errorf("%s: offset %d of %d", c.name, refusal.Offset, len(c.wasm))
		}
	}
}

// importing is a module that imports something else than a function.
func importing(kind int, what []byte) []byte {
	return cat(wasmHeader, sectionOf(2, vec([][]byte{cat(named("env"), named("x"), kind, what)})))
}

// A refusal names the byte where what is refused begins.
func TestRefusalOffsets(t *testing.T) {
	t.Parallel()
	piece := []byte{0xfd, 0x80, 2} // relaxed SIMD, and bytes that nothing else has
	for name, c := range map[string]struct {
		wasm []byte
		at   []byte // where the offset points
	}{
		"relaxed simd":   {command(1, 1, piece).wasm(), piece},
		"unknown opcode": {command(c32(77), 0x1a, 0x27).wasm(), []byte{0x27}},
		"atomics":        {command(c32(77), 0xfe, 0x10, 2, 0).wasm(), []byte{0xfe, 0x10}},
		"type error":     {command(c32(77), 0x9a, 0x1a).wasm(), []byte{0x1a, 0x0b}}, // found behind the operation
		"import":         {importing(2, []byte{0, 1}), []byte("\x03env")},
		"data":           {testModule{funcs: []testFunc{{}}, data: [][]byte{active(65535, "xyz")}}.wasm(), active(65535, "xyz")},
		"shared memory":  {testModule{funcs: []testFunc{{}}, memory: []byte{3, 1, 7}}.wasm(), []byte{3, 1, 7}},
		"component":      {[]byte("\x00asm\x0d\x00\x01\x00"), []byte("\x0d")},
		"tag section":    {cat(wasmHeader, sectionOf(13, []byte{0})), []byte{13, 1, 0}},
	} {
		_, err := gw1.Rewrite(c.wasm, gw1.Options{})
		var refusal *gw1.Refusal
		if want := bytes.LastIndex(c.wasm, c.at); !errors.As(err, &refusal) || refusal.Offset != want {
			t.Errorf("%s: %v, want offset %d", name, err, want)
		}
	}
}

// FuzzRewrite: nothing panics, and whatever is accepted is a valid module for the engine afterwards.
func FuzzRewrite(f *testing.F) {
	f.Add(command(c32(1), c32(2), 0x6a, 0x1a).wasm())
	f.Add(command(2, 0x40, 3, 0x40, c32(1), 0x0d, 0, 0x0c, 1, 0x0b, 0x0b, c32(1), 4, i32, c32(2), 5, c32(3), 0x0b, 0x1a).wasm())
	f.Add(command(c32(0), c32(0), c32(8), 0xfc, 11, 0, c32(1), 0x40, 0, 0x1a, 2, 0x40, c32(0), 0x0e, 1, 0, 1, 0x0b).wasm())
	f.Add(command(c32(0), 0xfd, 0, 4, 0, 0x22, 0, 0x20, 0, 0xfd, 0xe4, 1, 0x1a, 0, 0x1a, 0x45).wasm())
	f.Add(testModule{
		tables:   [][]byte{cat(funcref, 0, 2)},
		elements: [][]byte{cat(0, c32(0), 0x0b, 2, 1, 2)},
		data:     [][]byte{active(16, "active"), cat(1, named("pq"))}, count: true, start: 1,
		globals: [][]byte{cat(i64, 1, c64(2), 0x0b)},
		funcs: []testFunc{
			{body: cat(c32(1), 0x11, 2, 0, 0x23, 0, 0x24, 0)},
			{params: []byte{f64, f32}, results: []byte{f64, f32}, locals: []byte{f64}, body: cat(0x20, 0, 0x9f, 0x22, 2, 0x20, 1, 0x91, 0x0f)},
			{body: cat(c32(0), 0x11, 1, 0)},
		},
	}.wasm())
	e := interpreter(f)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := gw1.Rewrite(wasm, gw1.Options{})
		if err != nil {
			return
		}
		c, err := e.runtime.CompileModule(t.Context(), m.Binary)
		if err != nil {
			t.Fatalf("accepted, but the result is not valid: %v", err)
		}
		c.Close(t.Context())
	})
}
