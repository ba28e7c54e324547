package gw1_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// flow makes random functions whose few locals get dirty NaNs, payloads and numbers on many ways: blocks left
// from inside, loops left and continued in the middle, br_table, code that cannot be reached. Whatever a local
// holds is stored now and then, so that memory shows where a NaN was made canonical and where it was not.
type flow struct {
	generator
	labels []bool // by depth: the label is a loop's
	size   int    // statements left
}

// flowLocals are two of each type, behind the parameters; local flowRounds counts the rounds of all loops down.
const (
	flowParams = 4
	flowRounds = flowParams + 6
)

var flowTypes = []byte{f64, f64, f32, f32, v128, v128}

func (g *flow) any() (local int, t byte) {
	i := g.pick(len(flowTypes))
	return flowParams + i, flowTypes[i]
}

// value pushes arithmetic that may give any NaN, a copy, a number or bits from memory.
func (g *flow) value(t byte) {
	same := func() int {
		for {
			if i, u := g.any(); u == t {
				return i
			}
		}
	}
	kind := g.pick(6)
	switch {
	case kind < 3: // dirty: add, sub or mul
		g.emit(0x20, same(), 0x20, same())
		switch t {
		case f64:
			g.emit(0xa0 + g.pick(3))
		case f32:
			g.emit(0x92 + g.pick(3))
		case v128:
			g.emit(0xfd, uleb([]int{228, 230, 240, 242}[g.pick(4)]))
		}
	case kind == 3:
		g.emit(0x20, same())
	case kind == 4 && t == f64:
		g.emit(0x44, binary.LittleEndian.AppendUint64(nil, 0x3ff8000000000000))
	case kind == 4 && t == f32:
		g.emit(0x43, binary.LittleEndian.AppendUint32(nil, 0x3fc00000))
	default:
		g.leafTable(map[byte]byte{f64: 'd', f32: 'f', v128: 'v'}[t])
	}
}

func (g *flow) show() {
	local, t := g.any()
	g.emit(c32(g.store), 0x20, local)
	switch t {
	case f64:
		g.emit(0x39, 3, 0)
	case f32:
		g.emit(0x38, 2, 0)
	case v128:
		g.emit(0xfd, 11, 4, 0)
	}
	if g.store += 16; g.store >= genEnd {
		g.store = genStores
	}
}

// condition pushes a bit that changes from round to round.
func (g *flow) condition() {
	g.emit(0x20, []int{0, flowRounds}[g.pick(2)], c32(g.pick(3)), 0x76, c32(1+g.pick(3)), 0x71)
}

// branch pushes the operand and emits the branch; loops are continued only while rounds are left.
func (g *flow) branch() {
	depth := g.pick(len(g.labels))
	loop := g.labels[len(g.labels)-1-depth]
	switch {
	case loop:
		g.emit(0x20, flowRounds, c32(1), 0x6b, 0x22, flowRounds, c32(0), 0x4a, 0x0d, depth)
	case g.pick(3) == 0:
		g.condition()
		g.emit(4, 0x40, 0x0c, depth+1, 0x0b)
	case g.pick(3) == 0: // br_table to this label and another one that is no loop's
		other := depth
		for i := range g.labels {
			if !g.labels[len(g.labels)-1-i] && g.pick(2) == 0 {
				other = i
			}
		}
		g.condition()
		g.emit(2, 0x40)
		g.condition()
		g.emit(0x0e, 3, depth+1, other+1, 0, 0, 0x0b, 0x1a)
	default:
		g.condition()
		g.emit(0x0d, depth)
	}
}

func (g *flow) nest(loop bool, open ...any) {
	g.emit(open...)
	g.labels = append(g.labels, loop)
	g.statements()
}

func (g *flow) close() {
	g.emit(0x0b)
	g.labels = g.labels[:len(g.labels)-1]
}

func (g *flow) statements() {
	for n := 2 + g.pick(5); n > 0 && g.size > 0; n-- {
		g.size--
		switch g.pick(14) {
		case 0, 1:
			g.show()
		case 2, 3:
			if len(g.labels) > 0 {
				g.branch()
			}
		case 4:
			g.nest(false, 2, 0x40)
			g.close()
		case 5, 6:
			g.nest(true, 3, 0x40)
			g.branch()
			g.close()
		case 7:
			g.condition()
			g.nest(false, 4, 0x40)
			g.close()
		case 8:
			g.condition()
			g.nest(false, 4, 0x40)
			g.emit(5)
			g.statements()
			g.close()
		case 9:
			if len(g.labels) > 0 && g.pick(3) == 0 {
				g.condition()
				g.emit(4, 0x40)
				g.show()
				g.emit(0x0f) // return
				g.show()     // cannot be reached
				g.emit(0x0b)
			}
		case 10:
			local, t := g.any()
			g.value(t)
			g.emit(0x22, local, 0x1a)
			g.show()
		default:
			local, t := g.any()
			g.value(t)
			g.emit(0x21, local)
		}
	}
}

func flowModule(seed uint64) []byte {
	g := &flow{generator: generator{rand: rand.New(rand.NewPCG(seed, 2)), store: genStores}}
	m := testModule{}
	for range 4 {
		g.code, g.size = nil, 60
		g.emit(c32(40), 0x21, flowRounds)
		for i, t := range flowTypes {
			if g.pick(3) == 0 {
				g.leafTable(map[byte]byte{f64: 'd', f32: 'f', v128: 'v'}[t])
				g.emit(0x21, flowParams+i)
			}
		}
		for g.size > 0 {
			g.statements()
		}
		for range 6 {
			g.show()
		}
		m.funcs = append(m.funcs, testFunc{params: []byte{i32, f32, f64, v128}, locals: append(flowTypes[:6:6], i32), body: g.code})
	}
	g.code = nil
	for round := range 12 {
		for _, t := range []byte("ifdv") {
			g.leafTable(t)
		}
		g.emit(0x10, 1+round%len(m.funcs))
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

// Locals are followed along every way through the code: what they show is the same in the plain form.
func TestNaNsInLocals(t *testing.T) {
	t.Parallel()
	engines := []*engine{compiler(t)}
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		if r := compareNaNForms(t, engines, flowModule(seed)); r.outcome != "exit 0" {
			t.Fatalf("seed %d: %s", seed, r.outcome)
		}
	}
}

// FuzzNaNsInLocals tries other random modules.
func FuzzNaNsInLocals(f *testing.F) {
	f.Add(uint64(1000))
	engines := []*engine{compiler(f)}
	f.Fuzz(func(t *testing.T, seed uint64) { compareNaNForms(t, engines, flowModule(seed)) })
}
