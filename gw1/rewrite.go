package gw1

import (
	"bytes"
	"slices"
	"strconv"
)

// NaNForm says where NaNs get their canonical bits.
type NaNForm uint8

const (
	// NaNLazy canonicalises where a NaN's bits can be seen. Results and fuel are those of NaNPlain, to the bit.
	NaNLazy NaNForm = iota
	// NaNPlain canonicalises after every operation that may make a NaN: simpler, slower, the oracle in tests.
	NaNPlain
	// NaNOff leaves NaNs as the engine makes them: results differ between CPUs. For benchmarks only.
	NaNOff
)

// Options change what Rewrite adds. The zero value is the consensus profile; everything else is for tests
// and benchmarks.
type Options struct {
	NaN     NaNForm
	NoFuel  bool // leave fuel out
	NoDepth bool // leave the call depth out
}

// Module is a module of the profile, ready for an engine.
type Module struct {
	// Binary is the rewritten module: core WebAssembly 2.0. Its start section is gone; running it is a call
	// of its export _start, once, after the fuel global was set.
	Binary []byte

	// Image is the memory at the start, without trailing zeros, folded from the data segments, which are then
	// gone from Binary: the adapter must place it. It is nil if there is nothing to place: no data, or more
	// than MaxImageBytes of it, which then stays in Binary.
	Image []byte

	// MemoryMin and MemoryMax are in bytes, 0 without a memory. MemoryMax is what the module declares or
	// MaxMemoryBytes.
	MemoryMin, MemoryMax uint64

	// Imports are the WASI functions that the module imports, sorted, each once.
	Imports []string

	// Names of the mutable globals that Rewrite adds and exports. Fuel (i64) is 0 in Binary: the adapter sets
	// it to the fuel that the run may use and reads what is left, below zero when it ran out. Depth (i32)
	// holds the free slots. Trap (i32) holds TrapProgram, TrapFuel or TrapDepth. Empty if the option left the
	// feature out.
	GlobalFuel, GlobalDepth, GlobalTrap string

	// MutableGlobals are the module's own mutable globals of number and vector types, in order of index,
	// exported under reserved names so that their final values can be digested.
	MutableGlobals []Global
}

// Global is an exported global: its name and its value type in the binary format's code.
type Global struct {
	Name string
	Type byte
}

// reservedPrefix begins the names of exports that Rewrite adds.
const reservedPrefix = "gw1."

// Rewrite turns a WASI preview 1 command module into one of the profile. The error is a *Refusal. It takes time
// and memory linear in the module: ordinary ones 10 ns and 4 bytes per byte. Modules made to be costly take up to
// 0.1 µs and 12 bytes per byte of all that is allocated, and 384 MiB for a function of the greatest size, so those
// of strangers belong into a process with limits, as their compilation does.
func Rewrite(module []byte, o Options) (*Module, error) {
	p, refusal := parse(module)
	if refusal != nil {
		return nil, refusal
	}
	b := &builder{parsed: p, o: o}
	if refusal := b.functions(); refusal != nil {
		return nil, refusal
	}
	return b.module(), nil
}

// builder assembles the rewritten module. Which functions can recurse shows only after all were walked, and
// their code comes after that. The code that the walk emits is kept until then if it is not much; else the
// functions are walked and emitted a second time, so that memory never holds the code twice.
type builder struct {
	*parsed
	o     Options
	emit  emitter
	walk  walker
	funcs []placed // by function index less the imports
	graph callGraph
	kept  bool // the emitter's buffer holds the code of all functions
}

// placed is a rewritten function: what emitted says, in 32 bits. The offsets are of the emitter's buffer, if
// that is kept.
type placed struct {
	from, code, tail, to uint32
	weight               uint32
	wrapped              bool
}

// keptCode is how much may be kept of the rewritten code, by the size of the original in bytes: ordinary code
// grows by less than half.
func keptCode(code int) int { return code + code/2 + 64<<10 }

// bytesPerMark is what a mark may add to the code; few add more.
const bytesPerMark = 16

// functions walks and emits every body.
func (b *builder) functions() *Refusal {
	first := uint64(len(b.globals))
	code := 0
	for _, body := range b.bodies {
		code += body.to - body.from
	}
	b.emit = emitter{
		o: b.o, fuel: first, depth: first + 1, trap: first + 2,
		resultTypes: map[string]int{}, firstType: len(b.types),
		out: make([]byte, 0, keptCode(code)),
	}
	b.prepareReferences()
	b.funcs = make([]placed, 0, len(b.bodies))
	b.walk = walker{parsed: b.parsed}
	b.kept = true
	for i := range b.bodies {
		f, refusal := b.function(i)
		if refusal != nil {
			return refusal
		}
		b.funcs = append(b.funcs, placed{uint32(f.from), uint32(f.code), uint32(f.tail), uint32(f.to), f.weight, f.wrapped})
		b.graph.add(b.walk.direct, b.walk.indirect)
	}
	return nil
}

// function walks and emits one body, behind others if the code is kept, else alone.
func (b *builder) function(i int) (emitted, *Refusal) {
	body := b.bodies[i]
	code := b.walk.walk(b.types[b.parsed.funcs[b.imported+i]], body, b.o.NaN == NaNLazy)
	if b.walk.r.err != nil {
		return emitted{}, b.walk.r.err
	}
	room := body.to - body.from + bytesPerMark*len(b.walk.marks)
	if b.kept && room > cap(b.emit.out)-len(b.emit.out) {
		b.kept, b.emit.out = false, nil
	}
	if !b.kept {
		b.emit.out = slices.Grow(b.emit.out[:0], room)
	}
	return b.emit.function(&b.walk, code), nil
}

// addedGlobals is how many globals the rewritten module has behind its own: fuel, depth, trap.
const addedGlobals = 3

func (b *builder) module() *Module {
	m := &Module{MemoryMin: b.memoryMin, MemoryMax: b.memoryMax}
	m.Imports = slices.Compact(slices.Sorted(slices.Values(b.importNames)))
	m.Image = b.image()
	if !b.o.NoFuel {
		m.GlobalFuel = reservedPrefix + "fuel"
	}
	if !b.o.NoDepth {
		m.GlobalDepth = reservedPrefix + "depth"
	}
	m.GlobalTrap = reservedPrefix + "trap"
	for i, g := range b.globals {
		if g.mutable && isNumType(g.typ) {
			m.MutableGlobals = append(m.MutableGlobals, Global{reservedPrefix + "global." + strconv.Itoa(i), g.typ})
		}
	}
	m.Binary = b.binary(m)
	return m
}

// image folds the active data segments, if they are not too far apart.
func (b *builder) image() []byte {
	end := b.imageEnd
	if end == 0 || end > MaxImageBytes {
		return nil
	}
	image := make([]byte, end)
	for _, s := range b.data {
		if s.active && uint64(s.offset) < end {
			copy(image[s.offset:], s.bytes)
		}
	}
	return bytes.TrimRight(image, "\x00") // later segments may have written zeros over earlier ones
}

// binary writes the module: its own sections in their order, the changed ones rewritten.
func (b *builder) binary(m *Module) []byte {
	code := b.codeBodies()
	own := map[byte]span{}
	size := code.size + 40*len(b.globals) + 20*len(b.emit.addedTypes) + 1024
	for _, s := range b.sections {
		own[s.id] = s.span
		if s.id != 10 && (s.id != 11 || m.Image == nil) {
			size += s.to - s.from + 16
		}
	}
	out := append(make([]byte, 0, size), b.src[:8]...)
	for _, id := range []byte{1, 2, 3, 4, 5, 6, 7, 9, 12, 10, 11} {
		var contents []byte
		switch id {
		case 1:
			contents = b.typeSection()
		case 3:
			contents = b.functionSection()
		case 4:
			contents = b.tableSection(own[id])
		case 6:
			contents = b.globalSection(own[id])
		case 7:
			contents = b.exportSection(own[id], m)
		case 10:
			out = b.appendCode(out, code)
		case 11:
			contents = b.dataSection(own[id], m.Image != nil)
		case 12:
			if b.keepsData(m.Image != nil) {
				contents = b.src[own[id].from:own[id].to]
			}
		default:
			contents = b.src[own[id].from:own[id].to]
		}
		if len(contents) > 0 {
			out = append(out, id)
			out = appendU(out, uint64(len(contents)))
			out = append(out, contents...)
		}
	}
	return out
}

// vector returns the contents of one of the module's sections behind its count.
func (b *builder) vector(s span) (n uint64, rest []byte) {
	if s.to == 0 {
		return 0, nil
	}
	r := reader{buf: b.src, pos: s.from, end: s.to}
	return uint64(r.u32()), b.src[r.pos:s.to]
}

// typeSection appends the types of wrapper blocks and of the entry function.
func (b *builder) typeSection() []byte {
	added := b.emit.addedTypes
	if b.start >= 0 {
		added = append(added, nil) // () -> (), the last
	}
	n, rest := b.vector(b.find(1))
	out := append(appendU(nil, n+uint64(len(added))), rest...)
	for _, results := range added {
		out = append(out, 0x60, 0)
		out = append(appendU(out, uint64(len(results))), results...)
	}
	return out
}

func (b *builder) find(id byte) span {
	for _, s := range b.sections {
		if s.id == id {
			return s.span
		}
	}
	return span{}
}

// A start function becomes part of the entry: an added function calls it and then the old _start, so that a
// run begins with the call of _start whatever the module looks like.

func (b *builder) functionSection() []byte {
	n, rest := b.vector(b.find(3))
	if b.start < 0 {
		return append(appendU(nil, n), rest...)
	}
	out := append(appendU(nil, n+1), rest...)
	return appendU(out, uint64(len(b.types)+len(b.emit.addedTypes)))
}

func (b *builder) entryFunction() []byte {
	body := appendU([]byte{0, opCall}, uint64(b.start))
	body = appendU(append(body, opCall), uint64(b.entry))
	return append(body, opEnd)
}

// tableSection declares the profile's maximum where the module declares none or a greater one.
func (b *builder) tableSection(s span) []byte {
	if s.to == 0 {
		return nil
	}
	out := appendU(nil, uint64(len(b.tables)))
	for _, t := range b.tables {
		out = append(out, t.elem, 1)
		out = appendU(appendU(out, uint64(t.min)), uint64(t.max))
	}
	return out
}

func (b *builder) globalSection(s span) []byte {
	n, rest := b.vector(s)
	out := append(appendU(nil, n+addedGlobals), rest...)
	out = append(out, typeI64, 1, opI64Const, 0, opEnd)
	out = appendS(append(out, typeI32, 1, opI32Const), DepthSlots)
	return append(out, opEnd, typeI32, 1, opI32Const, 0, opEnd)
}

func (b *builder) exportSection(s span, m *Module) []byte {
	n, rest := b.vector(s)
	var own []byte
	add := func(name string, kind byte, index uint64) {
		if name == "" {
			return
		}
		own = append(appendU(own, uint64(len(name))), name...)
		own = appendU(append(own, kind), index)
		n++
	}
	add(m.GlobalFuel, 3, b.emit.fuel)
	add(m.GlobalDepth, 3, b.emit.depth)
	add(m.GlobalTrap, 3, b.emit.trap)
	k := 0
	for i, g := range b.globals {
		if g.mutable && isNumType(g.typ) {
			add(m.MutableGlobals[k].Name, 3, uint64(i))
			k++
		}
	}
	if b.memory && !b.memoryNamed {
		add("memory", 2, 0)
	}
	if b.start >= 0 {
		rest = b.moveEntry(s)
	}
	return append(append(appendU(nil, n), rest...), own...)
}

// moveEntry returns the module's exports with _start naming the added function.
func (b *builder) moveEntry(s span) []byte {
	var out []byte
	r := reader{buf: b.src, pos: s.from, end: s.to}
	for range r.u32() {
		name, kind, index := r.name(), r.byte(), uint64(r.u32())
		if name == "_start" {
			index = uint64(len(b.parsed.funcs))
		}
		out = append(appendU(out, uint64(len(name))), name...)
		out = appendU(append(out, kind), index)
	}
	return out
}

// codeBodies says how the code section will look.
type codeBodies struct {
	recursive []bool // by function, less the imports
	entry     []byte // body of the added function, if there is one
	count     int
	size      int // of the section's contents
}

func (b *builder) codeBodies() codeBodies {
	c := codeBodies{recursive: make([]bool, len(b.funcs)), count: len(b.funcs)}
	if !b.o.NoDepth {
		c.recursive = b.graph.recursive(b.parsed)
	}
	for i := range b.funcs {
		enter, leave := b.depthCode(c, i)
		n := b.funcs[i].size() + len(enter) + len(leave)
		c.size += len(appendU(nil, uint64(n))) + n
	}
	if b.start >= 0 {
		c.count++
		c.entry = b.entryFunction()
		c.entry = append(appendU(nil, uint64(len(c.entry))), c.entry...)
		c.size += len(c.entry)
	}
	c.size += len(appendU(nil, uint64(c.count)))
	return c
}

// depthCode is what a function does first and last if it can recurse.
func (b *builder) depthCode(c codeBodies, i int) (enter, leave []byte) {
	if f := &b.funcs[i]; c.recursive[i] && f.wrapped {
		return b.emit.depthEnter(f.weight), b.emit.depthLeave(f.weight)
	}
	return nil, nil
}

// size of the function's body in the section, without depth code.
func (f *placed) size() int { return int(f.to - f.from) }

func (b *builder) appendCode(out []byte, c codeBodies) []byte {
	out = appendU(append(out, 10), uint64(c.size))
	out = appendU(out, uint64(c.count))
	b.totalLocals, b.totalGrows = 0, 0 // counted once more, if the functions are walked once more
	for i := range b.funcs {
		f := b.funcs[i]
		if !b.kept {
			again, refusal := b.function(i)
			if refusal != nil || again.to-again.from != f.size() {
				panic("gw1: a function differs when it is walked a second time")
			}
			f.from, f.code, f.tail, f.to = uint32(again.from), uint32(again.code), uint32(again.tail), uint32(again.to)
		}
		enter, leave := b.depthCode(c, i)
		out = appendU(out, uint64(f.size()+len(enter)+len(leave)))
		src := b.emit.out
		out = append(append(out, src[f.from:f.code]...), enter...)
		out = append(append(out, src[f.code:f.tail]...), leave...)
		out = append(out, src[f.tail:f.to]...)
	}
	return append(out, c.entry...)
}

// keepsData reports whether data segments remain: none does if they were folded and nothing can name them.
func (b *builder) keepsData(folded bool) bool {
	return !folded || b.usesData
}

// dataSection replaces folded segments by empty passive ones, which is what active ones are after the start.
func (b *builder) dataSection(s span, folded bool) []byte {
	if !b.keepsData(folded) {
		return nil
	}
	if !folded {
		return b.src[s.from:s.to]
	}
	out := appendU(nil, uint64(len(b.data)))
	for _, d := range b.data {
		out = append(out, 1)
		if d.active {
			out = append(out, 0)
			continue
		}
		out = append(appendU(out, uint64(len(d.bytes))), d.bytes...)
	}
	return out
}
