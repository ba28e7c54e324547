package gw1_test

import (
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/gw1"
	"lukechampine.com/blake3"
)

// The test vectors of the specification are modules in testdata/vectors and one line for each in vectors.txt:
// how its run ends, its fuel, and digests of its output and of its final memory. They are the same for every
// engine and CPU.

var updateVectors = flag.Bool("update", false, "write testdata/vectors anew: only together with another Version")

// vectorFuel is what the run of a vector is given.
const vectorFuel = 10_000_000

const vectorsHeader = `# Test vectors of gw1/1: see section 9 of docs/spec/gw1.md.
# module, outcome, fuel, digest of the output, digest of the memory
`

func TestVectors(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("testdata", "vectors")
	if *updateVectors {
		os.RemoveAll(dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, wasm := range vectorModules() {
			writeFile(t, filepath.Join(dir, name+".wasm"), wasm)
		}
	}
	engines := []*engine{compiler(t), interpreter(t)}
	modules, err := filepath.Glob(filepath.Join(dir, "*.wasm"))
	if err != nil || len(modules) == 0 {
		t.Fatalf("no modules in %s (%v)", dir, err)
	}
	var lines strings.Builder
	lines.WriteString(vectorsHeader)
	for _, path := range modules {
		lines.WriteString(vectorLine(t, engines, strings.TrimSuffix(filepath.Base(path), ".wasm"), readFile(t, path)))
	}
	list := filepath.Join(dir, "vectors.txt")
	if *updateVectors {
		writeFile(t, list, []byte(lines.String()))
	}
	want := strings.Split(string(readFile(t, list)), "\n")
	for i, line := range strings.Split(lines.String(), "\n") {
		if i >= len(want) || line != want[i] {
			t.Errorf("have %s\nwant %s", line, want[min(i, len(want)-1)])
		}
	}
}

// The modules are what vectorModules makes, so that nobody need trust the committed bytes.
func TestVectorModules(t *testing.T) {
	t.Parallel()
	made := vectorModules()
	for name, wasm := range made {
		if string(readFile(t, filepath.Join("testdata", "vectors", name+".wasm"))) != string(wasm) {
			t.Errorf("%s.wasm is not what vectorModules makes", name)
		}
	}
}

// vectorLine runs a module on both engines in both forms and says what they agree on.
func vectorLine(t *testing.T, engines []*engine, name string, wasm []byte) string {
	t.Helper()
	var first result
	var image []byte
	var types []byte
	for i, e := range engines {
		for _, form := range []gw1.NaNForm{gw1.NaNLazy, gw1.NaNPlain} {
			c := world()
			c.Args, c.OutputCap = []string{"program"}, 1<<20
			p := e.load(t, wasm, gw1.Options{NaN: form})
			r := p.run(t, vectorFuel, c)
			if i == 1 && first.outcome == "depth" { // deeper than the interpreter's own stack
				continue
			}
			if i == 0 && form == gw1.NaNLazy {
				first, image = r, p.module.Image
				for _, g := range p.module.MutableGlobals {
					types = append(types, g.Type)
				}
			} else if !reflect.DeepEqual(r, first) {
				t.Errorf("%s: engine %d, form %d: %s with %d fuel left, want %s with %d; or memory, globals or output differ",
					name, i, form, r.outcome, r.fuel, first.outcome, first.fuel)
			}
		}
	}
	return fmt.Sprintf("%s, %s, %d, %s, %s\n", name, first.outcome, vectorFuel-first.fuel,
		outputDigest(first), memoryDigest(first, image, types))
}

// outputDigest is BLAKE3-256 of stdout, stderr and the output files, each behind its length in 8 bytes, a
// file also behind its path.
func outputDigest(r result) string {
	h := blake3.New(32, nil)
	write := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	write([]byte(r.stdout))
	write([]byte(r.stderr))
	for _, f := range r.files {
		write([]byte(f.Path))
		write(f.Bytes)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// memoryDigest is section 8 of the specification, done once more from its words.
func memoryDigest(r result, image, types []byte) string {
	const block = 4096
	var numbers []byte
	content := blake3.New(32, nil)
	changed := uint32(0)
	for at := 0; at < len(r.memory); at += block {
		initial := make([]byte, block)
		if at < len(image) {
			copy(initial, image[at:])
		}
		if now := r.memory[at : at+block]; string(now) != string(initial) {
			content.Write(now)
			numbers = binary.BigEndian.AppendUint32(numbers, uint32(at/block))
			changed++
		}
	}
	var globals []byte
	values := r.globals
	for _, typ := range types {
		globals = append(globals, typ)
		switch typ {
		case i32, f32:
			globals = binary.BigEndian.AppendUint32(globals, uint32(values[0]))
		case v128:
			globals = binary.BigEndian.AppendUint64(globals, values[1])
			globals = binary.BigEndian.AppendUint64(globals, values[0])
			values = values[1:]
		default:
			globals = binary.BigEndian.AppendUint64(globals, values[0])
		}
		values = values[1:]
	}
	const tag = "gotong/memory/1"
	h := blake3.New(32, nil)
	h.Write(append([]byte{byte(len(tag))}, tag...))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(r.memory))))
	h.Write(binary.BigEndian.AppendUint32(nil, changed))
	h.Write(numbers)
	h.Write(content.Sum(nil))
	h.Write(globals)
	return hex.EncodeToString(h.Sum(nil))
}

// vectorModules makes the modules.
func vectorModules() map[string][]byte {
	all := map[string][]byte{}
	for seed := range uint64(8) {
		all[fmt.Sprintf("nan-random-%d", seed)] = nanModule(1000 + seed)
	}
	maps.Copy(all, operationModules())
	maps.Copy(all, machineModules())
	return all
}

// operationModules apply each float operation to every operand, or pair of operands, of nanBits64 and
// nanBits32 and keep the results in memory: scalar arithmetic, comparisons, conversions, and SIMD.
func operationModules() map[string][]byte {
	groups := map[string][]opGroup{
		"f32": append(slices.Clone(floatOps['f']), opGroup{0, 0xb4, 0xb5, "l", 0}),
		"f64": append(slices.Clone(floatOps['d']), opGroup{0, 0xb7, 0xb8, "i", 0}),
		"i32": floatOps['i'], "i64": floatOps['l'], "v128": floatOps['v'],
	}
	all := map[string][]byte{}
	for name, list := range groups {
		m := testModule{memory: []byte{0, 64}, data: [][]byte{active(genTables, string(nanTable()))}}
		start := cat(c32(genStores))
		for _, g := range list {
			for code := g.from; code <= g.to; code++ {
				for lane := range max(g.lanes, 1) {
					m.funcs = append(m.funcs, operateOnTable(name, g, code, lane))
					start = append(start, cat(0x10, uleb(len(m.funcs)))...)
				}
			}
		}
		m.funcs = append(m.funcs, testFunc{body: append(start, 0x1a)})
		all["operations-"+name] = m.wasm()
	}
	for _, code := range []int{0xa8, 0xa9, 0xaa, 0xab, 0xae, 0xaf, 0xb0, 0xb1} { // truncations, which trap at last
		in := "f"
		if code == 0xaa || code == 0xab || code >= 0xb0 {
			in = "d"
		}
		out := "i32"
		if code >= 0xae {
			out = "i64"
		}
		m := testModule{data: [][]byte{active(genTables, string(nanTable()))}}
		m.funcs = []testFunc{operateOnTable(out, opGroup{in: in}, code, 0), {body: cat(c32(genStores), 0x10, 1, 0x1a)}}
		all[fmt.Sprintf("truncation-%x", code)] = m.wasm()
	}
	return all
}

// nanTable is nanBits64 and then nanBits32.
func nanTable() (table []byte) {
	for _, v := range nanBits64 {
		table = binary.LittleEndian.AppendUint64(table, v)
	}
	for _, v := range nanBits32 {
		table = binary.LittleEndian.AppendUint32(table, v)
	}
	return table
}

// access says how values of a type are loaded and stored, where they lie in the table and how many there are.
var access = map[string]struct {
	load, store []byte
	from, step  int
	count, size int
}{
	"i": {[]byte{0x28, 2}, []byte{0x36, 2}, genTables, 4, 2 * len(nanBits64), 4},
	"f": {[]byte{0x2a, 2}, []byte{0x38, 2}, genTables + 8*len(nanBits64), 4, len(nanBits32), 4},
	"l": {[]byte{0x29, 3}, []byte{0x37, 3}, genTables, 8, len(nanBits64), 8},
	"d": {[]byte{0x2b, 3}, []byte{0x39, 3}, genTables, 8, len(nanBits64), 8},
	"v": {[]byte{0xfd, 0, 0}, []byte{0xfd, 11, 0}, genTables, 8, len(nanBits64) + len(nanBits32)/2 - 1, 16},
}

// operateOnTable makes a function (i32 out) -> (i32 out) that stores the results of an operation from out on.
func operateOnTable(result string, g opGroup, code, lane int) testFunc {
	const out, i, j = 0, 1, 2
	results := access[map[string]string{"f32": "f", "f64": "d", "i32": "i", "i64": "l", "v128": "v"}[result]]
	in := strings.Split(g.in, "")
	if g.prefix == 0xfd && code == 82 { // bitselect
		in = append(in, "v")
	}
	var operate []byte
	for n, t := range in {
		local := []int{i, j, i}[n]
		operate = append(operate, cat(0x20, local, access[t].load, uleb(access[t].from))...)
	}
	if g.prefix == 0 {
		operate = append(operate, byte(code))
	} else {
		operate = append(operate, cat(int(g.prefix), uleb(code))...)
	}
	if g.lanes > 0 {
		operate = append(operate, byte(lane))
	}
	body := cat(0x20, out, operate, results.store, 0, 0x20, out, c32(results.size), 0x6a, 0x21, out)
	loop := func(local int, t string, body []byte) []byte {
		a := access[t]
		return cat(c32(0), 0x21, local, 3, 0x40, body,
			0x20, local, c32(a.step), 0x6a, 0x22, local, c32(a.step*a.count), 0x49, 0x0d, 0, 0x0b)
	}
	if len(in) > 1 {
		body = loop(j, in[1], body)
	}
	return testFunc{params: []byte{i32}, results: []byte{i32}, locals: []byte{i32, i32}, body: cat(loop(i, in[0], body), 0x20, out)}
}

// machineModules use memory, tables, calls and every way to end.
func machineModules() map[string][]byte {
	page := func(m testModule) testModule { m.memory = []byte{1, 1, 4}; return m }
	table := func(body ...any) testModule { // tables of 4 and 2, functions 1 and 2 give 7 and 9
		return testModule{
			tables:   [][]byte{cat(funcref, 0, 4), cat(funcref, 1, 2, 5)},
			elements: [][]byte{cat(0, c32(1), 0x0b, 2, 1, 2), cat(1, 0, 3, 1, 2, 1)},
			funcs: []testFunc{
				{results: []byte{i32}, body: c32(7)}, {results: []byte{i32}, body: c32(9)},
				{body: cat(body...)},
			},
		}
	}
	keep := func(at int, value ...any) []byte { return cat(c32(at), cat(value...), 0x36, 2, 0) }
	recursive := testFunc{params: []byte{i64}, results: []byte{i64}, body: cat( // n == 0 ? 1 : n * f(n - 1)
		0x20, 0, 0x50, 4, i64, c64(1), 5, 0x20, 0, 0x20, 0, c64(1), 0x7d, 0x10, 1, 0x7e, 0x0b)}
	data := command(c32(100), c32(1), c32(3), 0xfc, 8, 1, 0, 0xfc, 9, 1, c32(0), c32(0), c32(0), 0xfc, 8, 1, 0, c32(0), c32(0), c32(1), 0xfc, 8, 0, 0)
	data.data, data.count = [][]byte{active(16, "active"), cat(1, named("passive"))}, true
	started := testModule{data: [][]byte{active(16, "ab")}, start: 1, globals: [][]byte{cat(i64, 1, c64(5), 0x0b)},
		funcs: []testFunc{{body: cat(c32(16), c32('x'), 0x3a, 0, 0, 0x23, 0, c64(3), 0x7e, 0x24, 0)}, {body: print(16, 2)}}}
	all := map[string]testModule{
		"nothing":     command(),
		"print":       {data: [][]byte{active(16, "hello\n")}, funcs: []testFunc{{body: cat(print(16, 6), print(16, 6))}}},
		"start":       started,
		"factorial":   {funcs: []testFunc{recursive, {body: cat(c32(8), c64(20), 0x10, 1, 0x37, 3, 0)}}},
		"deep":        {funcs: []testFunc{recursive, {body: cat(c32(8), c64(1500), 0x10, 1, 0x37, 3, 0)}}},
		"too-deep":    {funcs: []testFunc{recursive, {body: cat(c64(-1), 0x10, 1, 0x1a)}}},
		"memory-grow": page(command(keep(0, c32(2), 0x40, 0), keep(4, c32(2), 0x40, 0), keep(8, 0x3f, 0), keep(150_000, c32(1)), keep(12, c32(1), 0x40, 0))),
		"memory-bulk": command(c32(10), c32(0xab), c32(5000), 0xfc, 11, 0, c32(7000), c32(8), c32(3000), 0xfc, 10, 0, 0, c32(7001), c32(7000), c32(100), 0xfc, 10, 0, 0,
			c32(65536), c32(1), c32(0), 0xfc, 11, 0, c32(65500), c32(1), c32(37), 0xfc, 11, 0),
		"memory-init": data,
		"tables": table(keep(0, c32(1), 0x11, 2, 0), keep(4, c32(2), 0x11, 2, 0), // the types of functions 1 and 2 are equal
			c32(0), c32(0), c32(2), 0xfc, 12, 1, 1, // table.init 1 from segment 1
			keep(8, c32(1), 0x11, 2, 1), c32(2), c32(1), c32(2), 0xfc, 14, 0, 0, // table.copy
			keep(12, c32(3), 0x11, 2, 0), keep(16, 0xd2, 1, c32(3), 0xfc, 15, 1), keep(20, 0xd2, 1, c32(1), 0xfc, 15, 1), keep(24, 0xfc, 16, 1),
			c32(0), 0xd2, 2, c32(3), 0xfc, 17, 1, keep(28, c32(2), 0x11, 2, 1), c32(0), c32(0), 0x25, 0, 0x26, 0, keep(32, c32(0), 0x25, 0, 0xd1), 0xfc, 13, 1,
			keep(36, c32(3), 0x11, 2, 1), c32(0), c32(0), c32(1), 0xfc, 12, 1, 0),
		"call-null":       table(keep(0, c32(0), 0x11, 2, 0)),
		"call-wrong-type": table(c32(1), 0x11, 3, 0),
		"call-outside":    table(keep(0, c32(4), 0x11, 2, 0)),
		"unreachable":     command(keep(0, c32(1)), 0),
		"divide-by-zero":  command(keep(0, c32(1)), c32(1), c32(0), 0x6d, 0x1a),
		"divide-overflow": command(c32(-1<<31), c32(-1), 0x6d, 0x1a),
		"outside-memory":  command(keep(0, c32(1)), c32(65533), 0x28, 2, 0, 0x1a),
		"endless":         command(3, 0x40, 0x0c, 0, 0x0b),
		"endless-print":   command(3, 0x40, print(0, 65536), 0x0c, 0, 0x0b),
		"branches": {funcs: []testFunc{ // br_table, early ends, values out of blocks
			{params: []byte{i32}, results: []byte{i32}, body: cat(
				2, 0x40, 2, 0x40, 2, 0x40, 0x20, 0, 0x0e, 2, 0, 1, 2, 0x0b, c32(1), 0x0f, 0x0b,
				2, i32, c32(20), 0x20, 0, 0x0d, 0, 0x1a, c32(30), 0x0b, 0x0f, 0x0b, c32(3))},
			{body: cat(keep(0, c32(0), 0x10, 1), keep(4, c32(1), 0x10, 1), keep(8, c32(2), 0x10, 1), keep(12, c32(-1), 0x10, 1))},
		}},
	}
	modules := map[string][]byte{}
	for name, m := range all {
		modules[name] = m.wasm()
	}
	return modules
}
