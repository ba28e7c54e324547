package gw1_test

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/gotong-network/gotong/gw1"
	"lukechampine.com/blake3"
)

// nanBits are the values that float operations are tried on: zeros, ones, denormals, extremes, infinities and
// NaNs, quiet and signalling, with payloads and signs.
var (
	nanBits64 = []uint64{0, 1 << 63, 0x3ff0000000000000, 0xbff0000000000000, 1, 0x800fffffffffffff, 0x7fefffffffffffff, 0x7ff0000000000000,
		0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000000, 0x7ff8000000000123, 0xfff8deadbeef0456, 0x7ff0000000000001, 0xffffffffffffffff,
		0x400921fb54442d18, 0x36a0000000000000, 0x47f0000000000000, 0x3ff000007fc00123}
	nanBits32 = []uint32{0, 1 << 31, 0x3f800000, 0xbf800000, 1, 0x807fffff, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000,
		0x7fc00123, 0xffc0beef, 0x7f800001, 0xffffffff, 0x40490fdb, 0x33800000, 0x5f000000}
)

// opGroup is a run of opcodes with one signature.
type opGroup struct {
	prefix   byte // 0 or 0xfd, 0xfc
	from, to int
	in       string
	lanes    int // of a lane immediate
}

// floatOps produce each type from floats, so that every way to look at a NaN's bits is among them.
var floatOps = map[byte][]opGroup{
	'f': {{0, 0x8b, 0x91, "f", 0}, {0, 0x92, 0x98, "ff", 0}, {0, 0xb6, 0xb6, "d", 0}, {0, 0xbe, 0xbe, "i", 0}, {0, 0xb2, 0xb3, "i", 0}, {0xfd, 31, 31, "v", 4}},
	'd': {{0, 0x99, 0x9f, "d", 0}, {0, 0xa0, 0xa6, "dd", 0}, {0, 0xbb, 0xbb, "f", 0}, {0, 0xbf, 0xbf, "l", 0}, {0, 0xb9, 0xba, "l", 0}, {0xfd, 33, 33, "v", 2}},
	'i': {{0, 0x5b, 0x60, "ff", 0}, {0, 0x61, 0x66, "dd", 0}, {0, 0xbc, 0xbc, "f", 0}, {0xfc, 0, 1, "f", 0}, {0xfc, 2, 3, "d", 0},
		{0xfd, 83, 83, "v", 0}, {0xfd, 164, 164, "v", 0}, {0xfd, 196, 196, "v", 0}, {0xfd, 27, 27, "v", 4}},
	'l': {{0, 0xbd, 0xbd, "d", 0}, {0xfc, 4, 5, "f", 0}, {0xfc, 6, 7, "d", 0}, {0xfd, 29, 29, "v", 2}},
	'v': {{0xfd, 19, 19, "f", 0}, {0xfd, 20, 20, "d", 0}, {0xfd, 32, 32, "vf", 4}, {0xfd, 34, 34, "vd", 2}, {0xfd, 65, 76, "vv", 0}, {0xfd, 77, 77, "v", 0}, {0xfd, 78, 82, "vv", 0},
		{0xfd, 94, 95, "v", 0}, {0xfd, 103, 106, "v", 0}, {0xfd, 116, 117, "v", 0}, {0xfd, 122, 122, "v", 0}, {0xfd, 148, 148, "v", 0},
		{0xfd, 206, 206, "vv", 0}, {0xfd, 224, 225, "v", 0}, {0xfd, 227, 227, "v", 0}, {0xfd, 228, 235, "vv", 0}, {0xfd, 236, 237, "v", 0},
		{0xfd, 239, 239, "v", 0}, {0xfd, 240, 247, "vv", 0}, {0xfd, 248, 255, "v", 0}},
}

var codeOf = map[byte]byte{'i': i32, 'l': i64, 'f': f32, 'd': f64, 'v': v128}

// generator makes random valid functions full of float operations.
type generator struct {
	rand  *rand.Rand
	code  []byte
	store int // where the next observation goes
}

// Every generated function has these locals; the first four are parameters, 9 counts loops.
const (
	genLocals  = "ifdvfdvfdil"
	genCounter = 9
	genTables  = 0x1000 // memory: the values in 64-bit, then 32-bit lanes
	genStores  = 0x4000 // memory: observations
	genEnd     = 0xe000
)

func (g *generator) pick(n int) int { return g.rand.IntN(n) }

func (g *generator) emit(parts ...any) { g.code = append(g.code, cat(parts...)...) }

// localOf picks a local of a type, the loop counter left out.
func (g *generator) localOf(t byte) int {
	for {
		if i := g.pick(len(genLocals)); genLocals[i] == t && i != genCounter {
			return i
		}
	}
}

// expr emits code that pushes a value of a type.
func (g *generator) expr(t byte, depth int) {
	if depth <= 0 || g.pick(8) == 0 {
		g.leaf(t)
		return
	}
	switch g.pick(12) {
	case 0:
		g.expr(t, depth-1)
		g.expr(t, depth-1)
		g.expr('i', depth-1)
		g.emit(0x1b) // select
	case 1:
		g.expr(t, depth-1)
		g.emit(0x22, g.localOf(t)) // tee
	case 2: // a block that is left early with a value
		g.emit(2, int(codeOf[t]))
		g.expr(t, depth-1)
		g.expr('i', depth-1)
		g.emit(0x0d, 0)
		if g.pick(2) == 0 {
			g.emit(0x1a)
			g.expr(t, depth-1)
		}
		g.emit(0x0b)
	case 3: // if with a result
		g.expr('i', depth-1)
		g.emit(4, int(codeOf[t]))
		g.expr(t, depth-1)
		g.emit(5)
		g.expr(t, depth-1)
		g.emit(0x0b)
	default:
		g.operate(t, depth)
	}
}

func (g *generator) operate(t byte, depth int) {
	groups := floatOps[t]
	op := groups[g.pick(len(groups))]
	for _, in := range []byte(op.in) {
		g.expr(in, depth-1)
	}
	code := op.from + g.pick(op.to-op.from+1)
	switch {
	case op.prefix == 0:
		g.emit(code)
	case code == 82: // bitselect takes a third operand
		g.expr('v', depth-1)
		g.emit(0xfd, 82)
	default:
		g.emit(int(op.prefix), uleb(code))
	}
	if op.lanes > 0 {
		g.emit(g.pick(op.lanes))
	}
}

func (g *generator) leaf(t byte) {
	if g.pick(2) == 0 {
		g.emit(0x20, g.localOf(t))
		return
	}
	switch at := genTables + 8*g.pick(len(nanBits64)); t {
	case 'i':
		g.emit(c32(g.pick(7) - 3))
	case 'l':
		g.emit(c64(g.pick(7) - 3))
	case 'f':
		switch g.pick(3) {
		case 0:
			g.emit(0x43, binary.LittleEndian.AppendUint32(nil, nanBits32[g.pick(len(nanBits32))]))
		case 1:
			g.emit(0x23, 1)
		default:
			g.emit(c32(0), 0x2a, 2, uleb(genTables+8*len(nanBits64)+4*g.pick(len(nanBits32))))
		}
	case 'd':
		switch g.pick(3) {
		case 0:
			g.emit(0x44, binary.LittleEndian.AppendUint64(nil, nanBits64[g.pick(len(nanBits64))]))
		case 1:
			g.emit(0x23, 0)
		default:
			g.emit(c32(0), 0x2b, 3, uleb(at))
		}
	case 'v':
		switch g.pick(3) {
		case 0:
			g.emit(0xfd, 12, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, nanBits64[g.pick(len(nanBits64))]), nanBits64[g.pick(len(nanBits64))]))
		case 1:
			g.emit(0x23, 2)
		default:
			g.emit(c32(0), 0xfd, 0, 0, uleb(at))
		}
	}
}

// observe stores a value where the final memory shows it.
func (g *generator) observe(depth int) {
	g.emit(c32(g.store))
	switch g.pick(6) {
	case 0:
		g.expr('f', depth)
		g.emit(0x38, 2, 0)
	case 1:
		g.expr('d', depth)
		g.emit(0x39, 3, 0)
	case 2:
		g.expr('v', depth)
		g.emit(0xfd, 11, 4, 0)
	case 3:
		g.expr('i', depth)
		g.emit(0x36, 2, 0)
	case 4:
		g.expr('l', depth)
		g.emit(0x37, 3, 0)
	default:
		g.expr('v', depth)
		g.emit(0xfd, 91, 3, 0, g.pick(2)) // v128.store64_lane
	}
	if g.store += 16; g.store >= genEnd {
		g.store = genStores
	}
}

func (g *generator) statements(n, depth int) {
	for range n {
		switch g.pick(9) {
		case 0, 1, 2:
			t := "fdv"[g.pick(3)]
			g.expr(t, depth)
			g.emit(0x21, g.localOf(t))
		case 3:
			i := g.pick(3)
			g.expr("dfv"[i], depth)
			g.emit(0x24, i)
		case 4:
			if depth > 1 {
				g.expr('i', 2)
				g.emit(4, 0x40)
				g.statements(2, depth-1)
				g.emit(5)
				g.statements(1, depth-1)
				g.emit(0x0b)
			}
		case 5:
			if depth > 2 { // two rounds
				g.emit(c32(2), 0x21, genCounter, 3, 0x40)
				g.statements(3, 2)
				g.emit(0x20, genCounter, c32(1), 0x6b, 0x22, genCounter, 0x0d, 0, 0x0b)
			}
		default:
			g.observe(depth)
		}
	}
}

// function makes a function (i32 f32 f64 v128) -> (f64 v128). next is a function to call, or 0.
func (g *generator) function(next int) testFunc {
	g.code = nil
	g.statements(8, 4)
	if next > 0 {
		for _, t := range []byte("ifdv") {
			g.expr(t, 2)
		}
		g.emit(0x10, uleb(next), 0x21, 6, 0x21, 5)
		g.statements(3, 3)
	}
	if g.pick(2) == 0 {
		g.expr('d', 3)
		g.expr('v', 3)
		g.emit(0x0f)
	} else {
		g.expr('d', 3)
		g.expr('v', 3)
	}
	f := testFunc{params: []byte{i32, f32, f64, v128}, results: []byte{f64, v128}, body: g.code}
	for _, t := range []byte(genLocals[4:]) {
		f.locals = append(f.locals, codeOf[t])
	}
	return f
}

// nanModule makes a random module whose final memory shows the bits of many NaNs.
func nanModule(seed uint64) []byte {
	g := &generator{rand: rand.New(rand.NewPCG(seed, 1)), store: genStores}
	m := testModule{globals: [][]byte{
		cat(f64, 1, 0x44, make([]byte, 8), 0x0b), cat(f32, 1, 0x43, make([]byte, 4), 0x0b), cat(v128, 1, 0xfd, 12, make([]byte, 16), 0x0b),
	}}
	const functions = 6
	for i := range functions {
		next := 0
		if i > 0 {
			next = i // the function before
		}
		m.funcs = append(m.funcs, g.function(next))
	}
	g.code = nil
	for round := range 12 {
		f := 1 + round%functions
		for _, t := range []byte("ifdv") {
			g.leafTable(t)
		}
		g.emit(0x10, f)
		g.emit(0x24, 2, 0x24, 0) // results into globals
		g.emit(c32(g.store), 0x23, 0, 0x39, 3, 0, c32(g.store+16), 0x23, 2, 0xfd, 11, 4, 0)
		if g.store += 32; g.store >= genEnd {
			g.store = genStores
		}
	}
	m.funcs = append(m.funcs, testFunc{body: g.code})
	var table []byte
	for _, v := range nanBits64 {
		table = binary.LittleEndian.AppendUint64(table, v)
	}
	for _, v := range nanBits32 {
		table = binary.LittleEndian.AppendUint32(table, v)
	}
	m.data = [][]byte{active(genTables, string(table))}
	return m.wasm()
}

// leafTable pushes a value of a type without locals.
func (g *generator) leafTable(t byte) {
	switch i := g.pick(len(nanBits64) - 1); t {
	case 'i':
		g.emit(c32(i))
	case 'f':
		g.emit(c32(genTables), 0x2a, 2, uleb(8*len(nanBits64)+4*(i%len(nanBits32))))
	case 'd':
		g.emit(c32(genTables), 0x2b, 3, uleb(8*i))
	case 'v':
		g.emit(c32(genTables), 0xfd, 0, 0, uleb(8*i))
	}
}

// nanDigest is the digest of the final memories of all modules of TestNaNForms: the same on every CPU.
const nanDigest = "5d33c1acc2744bc0beaf83b7f51cdadf5aafd5a908e0de945747c5286c65c941"

// Lazy and plain form, compiler and interpreter: one result, to the bit and to the unit of fuel.
func TestNaNForms(t *testing.T) {
	t.Parallel()
	engines := []*engine{compiler(t), interpreter(t)}
	h := blake3.New(32, nil)
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		want := compareNaNForms(t, engines, nanModule(seed))
		h.Write(want.memory)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != nanDigest && !testing.Short() {
		t.Errorf("digest %s, want %s", got, nanDigest)
	}
}

func compareNaNForms(t *testing.T, engines []*engine, wasm []byte) (want result) {
	t.Helper()
	for i, e := range engines {
		for _, form := range []gw1.NaNForm{gw1.NaNPlain, gw1.NaNLazy} {
			r := e.load(t, wasm, gw1.Options{NaN: form}).run(t, plenty, world())
			if i == 0 && form == gw1.NaNPlain {
				want = r
			} else if !reflect.DeepEqual(r, want) {
				for k := range want.memory {
					if r.memory[k] != want.memory[k] {
						t.Fatalf("engine %d, form %d: memory differs at %#x: % x, want % x", i, form, k&^15, r.memory[k&^15:][:16], want.memory[k&^15:][:16])
					}
				}
				t.Fatalf("engine %d, form %d: %s with %d fuel left, want %s with %d", i, form, r.outcome, r.fuel, want.outcome, want.fuel)
			}
		}
	}
	return want
}

// FuzzNaNForms tries other random modules.
func FuzzNaNForms(f *testing.F) {
	f.Add(uint64(1000))
	engines := []*engine{compiler(f), interpreter(f)}
	f.Fuzz(func(t *testing.T, seed uint64) { compareNaNForms(t, engines, nanModule(seed)) })
}
