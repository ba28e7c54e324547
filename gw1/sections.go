package gw1

import (
	"bytes"
	"slices"
)

// funcType is a function or block type; the slices are views into the module.
type funcType struct{ params, results []byte }

func (t funcType) equal(u funcType) bool {
	return string(t.params) == string(u.params) && string(t.results) == string(u.results)
}

// global is one of the module's own globals (importing globals is refused).
type global struct {
	typ     byte
	mutable bool
}

// span is a half-open range of offsets in the module.
type span struct{ from, to int }

// section is a known section: its id and where its contents lie.
type section struct {
	id byte
	span
}

// dataSegment is one entry of the data section.
type dataSegment struct {
	active bool
	offset uint32
	bytes  []byte
}

// parsed is what the sections before the code say, validated.
type parsed struct {
	src      []byte
	sections []section

	types       []funcType
	funcs       []uint32 // type index by function index, imports first
	imported    int      // how many of funcs are imports
	importNames []string // WASI names in order of import
	tables      []tableType
	globals     []global
	exportNames map[string]bool
	start       int // function of the start section, or -1
	entry       int // function exported as _start
	memory      bool
	memoryMin   uint64 // bytes
	memoryMax   uint64 // bytes
	memoryNamed bool   // exported as "memory"

	elements []byte // element type of each element segment
	// referenced marks functions that ref.func may name; addressed those that a table can hold.
	referenced []bool
	addressed  []bool

	dataCount   int // of the data count section, or -1
	data        []dataSegment
	imageEnd    uint64 // where the last non-zero byte of active data ends
	usesData    bool   // memory.init or data.drop occur
	bodies      []span // of the code section
	totalLocals int    // declared by the functions walked so far
	totalGrows  int    // memory.grow and table.grow in them
}

type tableType struct {
	elem     byte
	min, max uint32 // max is at most MaxTableElements
}

// sectionOrder gives the position that each section id must keep; 0 marks ids outside the profile.
var sectionOrder = [14]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 12: 10, 10: 11, 11: 12}

// parse reads everything but the instructions of function bodies.
func parse(src []byte) (*parsed, *Refusal) {
	p := &parsed{src: src, start: -1, entry: -1, dataCount: -1, exportNames: map[string]bool{}}
	r := &reader{buf: src, end: len(src)}
	p.header(r)
	p.splitSections(r)
	for _, s := range p.sections {
		if r.err == nil {
			p.section(r, s)
		}
	}
	if r.err == nil {
		p.finish(r)
	}
	return p, r.err
}

func (p *parsed) header(r *reader) {
	switch {
	case len(p.src) > MaxModuleBytes:
		r.fail("the module has %d bytes: the profile allows %d", len(p.src), MaxModuleBytes)
	case len(p.src) < 8 || string(p.src[:4]) != "\x00asm":
		r.failAt(0, "not a WebAssembly module: it does not begin with \\0asm")
	case string(p.src[4:8]) == "\x0d\x00\x01\x00":
		r.failAt(4, "a component, not a core module: build for WASI preview 1 (wasm32-wasip1, GOOS=wasip1)")
	case string(p.src[4:8]) != "\x01\x00\x00\x00":
		r.failAt(4, "unknown binary version: only core modules of version 1 are supported")
	}
	r.pos = 8
}

// splitSections finds the sections, checks their order and leaves custom ones out.
func (p *parsed) splitSections(r *reader) {
	last := 0
	for r.more() {
		at := r.pos
		id := r.byte()
		size := r.u32()
		from := r.pos
		r.bytes(size)
		if id == 0 || r.err != nil {
			if id == 0 && r.err == nil {
				name := &reader{buf: p.src, pos: from, end: r.pos}
				name.name()
				if name.err != nil {
					r.failAt(name.err.Offset, "custom section: %s", name.err.Reason)
				}
			}
			continue
		}
		switch {
		case id == 13:
			r.failAt(at, "uses exception handling: build without it (-fno-exceptions, panic=abort)")
		case int(id) >= len(sectionOrder):
			r.failAt(at, "unknown section %d", id)
		case sectionOrder[id] <= last:
			r.failAt(at, "section %d is repeated or out of order", id)
		default:
			last = sectionOrder[id]
			p.sections = append(p.sections, section{id, span{from, from + int(size)}})
		}
	}
}

func (p *parsed) section(r *reader, s section) {
	r.pos, r.end = s.from, s.to
	switch s.id {
	case 1:
		p.typeSection(r)
	case 2:
		p.importSection(r)
	case 3:
		p.functionSection(r)
	case 4:
		p.tableSection(r)
	case 5:
		p.memorySection(r)
	case 6:
		p.globalSection(r)
	case 7:
		p.exportSection(r)
	case 8:
		p.startSection(r)
	case 9:
		p.elementSection(r)
	case 10:
		p.codeSection(r)
	case 11:
		p.dataSection(r)
	case 12:
		p.dataCount = int(r.u32())
	}
	if r.err == nil && r.pos != r.end {
		r.fail("section %d is longer than its contents", s.id)
	}
}

// finish checks what only all sections together show.
func (p *parsed) finish(r *reader) {
	end := len(p.src)
	switch {
	case len(p.bodies) != len(p.funcs)-p.imported:
		r.failAt(end, "%d functions are declared but %d have a body", len(p.funcs)-p.imported, len(p.bodies))
	case p.dataCount >= 0 && p.dataCount != len(p.data):
		r.failAt(end, "the data count section says %d segments, the data section has %d", p.dataCount, len(p.data))
	case p.entry < 0:
		r.failAt(end, "no function _start is exported: build a WASI command, not a library (reactor)")
	case !p.types[p.funcs[p.entry]].equal(funcType{}):
		r.failAt(end, "the exported function _start has parameters or results")
	}
}

func (p *parsed) typeSection(r *reader) {
	n := r.count(MaxTypes, "types")
	p.types = make([]funcType, 0, n)
	for range n {
		at := r.pos
		if form := r.byte(); form != 0x60 && r.err == nil {
			r.failAt(at, "type form 0x%02x: garbage-collected types are outside the profile", form)
		}
		t := funcType{p.valTypes(r, MaxParams, "parameters"), p.valTypes(r, MaxResults, "results")}
		p.types = append(p.types, t)
	}
}

func (p *parsed) valTypes(r *reader, max uint32, what string) []byte {
	at := r.pos
	b := r.bytes(r.count(max, what))
	for i, t := range b {
		if !isValType(t) {
			r.failAt(at+i+1, "unknown value type 0x%02x", t)
		}
	}
	return b
}

func (p *parsed) importSection(r *reader) {
	for range r.count(MaxFunctions, "imports") {
		at := r.pos
		module, name := r.name(), r.name()
		kind := r.byte()
		if r.err != nil {
			return
		}
		if kind != 0 {
			r.failAt(at, "imports %s %q.%q: only functions of wasi_snapshot_preview1 are provided", importKind(kind), module, name)
			return
		}
		t, ok := p.funcType(r)
		if !ok {
			return
		}
		if why := checkImport(module, name, t); why != "" {
			r.failAt(at, "%s", why)
			return
		}
		p.importNames = append(p.importNames, name)
	}
	p.imported = len(p.funcs)
}

func importKind(kind byte) string {
	switch kind {
	case 1:
		return "the table"
	case 2:
		return "the memory"
	case 3:
		return "the global"
	case 4:
		return "the exception tag"
	}
	return "the unknown thing"
}

// checkImport says why a function import is refused, or nothing.
func checkImport(module, name string, t funcType) string {
	if module == "wasi_unstable" {
		return "imports the old wasi_unstable." + name + ": rebuild for wasi_snapshot_preview1"
	}
	if module != wasiModule {
		return "imports " + module + "." + name + ": only " + wasiModule + " is provided (build for WASI preview 1, without threads, sockets or a JavaScript host)"
	}
	sig, ok := signatures[name]
	if !ok {
		return "imports " + module + "." + name + ", which is no function of WASI preview 1"
	}
	if !t.equal(funcType{sig.Params, sig.Results}) {
		return "imports " + module + "." + name + " with a signature other than WASI preview 1 gives it"
	}
	return ""
}

// funcType reads a type index, records a function of that type and returns the type.
func (p *parsed) funcType(r *reader) (funcType, bool) {
	at := r.pos
	i := r.u32()
	switch {
	case r.err != nil:
		return funcType{}, false
	case int(i) >= len(p.types):
		r.failAt(at, "type %d does not exist", i)
		return funcType{}, false
	}
	p.funcs = append(p.funcs, i)
	return p.types[i], true
}

func (p *parsed) functionSection(r *reader) {
	n := r.count(MaxFunctions, "functions")
	p.funcs = slices.Grow(p.funcs, int(n))
	for range n {
		p.funcType(r)
	}
	if len(p.funcs) > MaxFunctions {
		r.fail("%d functions: the profile allows %d", len(p.funcs), MaxFunctions)
	}
}

// limits reads minimum and maximum; hasMax tells whether a maximum is declared.
func (p *parsed) limits(r *reader, what string) (lo, hi uint32, hasMax bool) {
	at := r.pos
	switch flags := r.byte(); {
	case r.err != nil:
		return 0, 0, false
	case flags&2 != 0 && flags < 8:
		r.failAt(at, "shared %s: threads are outside the profile, build without -pthread", what)
	case flags&4 != 0 && flags < 8:
		r.failAt(at, "64-bit %s: memory64 is outside the profile", what)
	case flags > 1:
		r.failAt(at, "unknown limits 0x%02x of a %s", flags, what)
	default:
		lo = r.u32()
		if hasMax = flags == 1; hasMax {
			hi = r.u32()
			if hi < lo {
				r.failAt(at, "the maximum of a %s is below its minimum", what)
			}
		}
	}
	return lo, hi, hasMax
}

func (p *parsed) tableSection(r *reader) {
	for range r.count(MaxTables, "tables") {
		at := r.pos
		t := tableType{elem: r.byte(), max: MaxTableElements}
		if !isRefType(t.elem) && r.err == nil {
			r.failAt(at, "unknown element type 0x%02x of a table", t.elem)
		}
		lo, hi, hasMax := p.limits(r, "table")
		if t.min = lo; lo > MaxTableElements {
			r.failAt(at, "a table of %d elements: the profile allows %d", lo, MaxTableElements)
		}
		if hasMax {
			t.max = min(t.max, hi)
		}
		p.tables = append(p.tables, t)
	}
}

func (p *parsed) memorySection(r *reader) {
	for range r.count(1, "memories") {
		at := r.pos
		lo, hi, hasMax := p.limits(r, "memory")
		if lo > MaxMemoryBytes/pageBytes || hi > MaxMemoryBytes/pageBytes {
			r.failAt(at, "a memory of more than 65536 pages")
		}
		if !hasMax {
			hi = MaxMemoryBytes / pageBytes
		}
		p.memory, p.memoryMin, p.memoryMax = true, uint64(lo)*pageBytes, uint64(hi)*pageBytes
	}
}

func (p *parsed) globalSection(r *reader) {
	for range r.count(MaxGlobals, "globals") {
		at := r.pos
		g := global{typ: r.byte()}
		mutable := r.byte()
		if r.err == nil && (!isValType(g.typ) || mutable > 1) {
			r.failAt(at, "malformed global type")
		}
		g.mutable = mutable == 1
		p.constant(r, g.typ)
		p.globals = append(p.globals, g)
	}
}

// constant reads a constant expression of the given type and returns the value of an i32.const.
func (p *parsed) constant(r *reader, want byte) (value uint32) {
	at := r.pos
	var typ byte
	switch op := r.byte(); op {
	case opI32Const:
		typ, value = typeI32, uint32(r.signed(32))
	case opI64Const:
		typ = typeI64
		r.signed(64)
	case opF32Const:
		typ = typeF32
		r.bytes(4)
	case opF64Const:
		typ = typeF64
		r.bytes(8)
	case opPrefixSIMD:
		typ = typeV128
		if r.u32() != simdConst {
			r.failAt(at, "not a constant expression")
		}
		r.bytes(16)
	case opRefNull:
		typ = r.byte()
	case opRefFunc:
		typ = typeFuncref
		p.reference(r)
	case opGlobalGet:
		r.failAt(at, "a constant expression reads a global, and no global can be imported: link statically, without -fPIC")
	default:
		r.failAt(at, "opcode 0x%02x in a constant expression: only constants are allowed", op)
	}
	if r.err == nil && typ != want {
		r.failAt(at, "a constant expression has another type than it must")
	}
	end := r.pos
	if op := r.byte(); op != opEnd && r.err == nil {
		r.failAt(end, "opcode 0x%02x in a constant expression: extended constant expressions are outside the profile", op)
	}
	return value
}

// reference reads a function index that a table or global can come to hold.
func (p *parsed) reference(r *reader) {
	at := r.pos
	i := r.u32()
	if r.err == nil && int(i) >= len(p.funcs) {
		r.failAt(at, "function %d does not exist", i)
	}
	if r.err != nil {
		return
	}
	p.prepareReferences()
	p.referenced[i], p.addressed[i] = true, true
}

func (p *parsed) prepareReferences() {
	if p.referenced == nil {
		p.referenced, p.addressed = make([]bool, len(p.funcs)), make([]bool, len(p.funcs))
	}
}

func (p *parsed) exportSection(r *reader) {
	for range r.count(MaxExports, "exports") {
		at := r.pos
		name := r.name()
		kind, i := r.byte(), int(r.u32())
		if r.err != nil {
			return
		}
		limit := 0
		switch kind {
		case 0:
			limit = len(p.funcs)
		case 1:
			limit = len(p.tables)
		case 2:
			if p.memory {
				limit = 1
			}
		case 3:
			limit = len(p.globals)
		}
		switch {
		case i >= limit:
			r.failAt(at, "the export %q names something that does not exist", name)
		case p.exportNames[name]:
			r.failAt(at, "two exports are named %q", name)
		case len(name) >= len(reservedPrefix) && name[:len(reservedPrefix)] == reservedPrefix:
			r.failAt(at, "the export %q uses the reserved prefix %s", name, reservedPrefix)
		case name == "_start" && kind != 0:
			r.failAt(at, "the export _start is no function")
		case name == "memory" && kind != 2:
			r.failAt(at, "the export memory is no memory")
		}
		if r.err != nil {
			return
		}
		p.exportNames[name] = true
		p.prepareReferences()
		switch {
		case kind == 0:
			p.referenced[i] = true
			if name == "_start" {
				p.entry = i
			}
		case name == "memory":
			p.memoryNamed = true
		}
	}
}

func (p *parsed) startSection(r *reader) {
	at := r.pos
	i := r.u32()
	switch {
	case r.err != nil:
	case int(i) >= len(p.funcs):
		r.failAt(at, "function %d does not exist", i)
	case !p.types[p.funcs[i]].equal(funcType{}):
		r.failAt(at, "the start function has parameters or results")
	default:
		p.start = int(i)
	}
}

func (p *parsed) elementSection(r *reader) {
	p.prepareReferences()
	n := r.count(MaxSegments, "element segments")
	p.elements = make([]byte, 0, n)
	for range n {
		p.elementSegment(r)
	}
}

func (p *parsed) elementSegment(r *reader) {
	at := r.pos
	flags := r.u32()
	if flags > 7 {
		r.failAt(at, "unknown element segment 0x%x", flags)
	}
	active, explicit, expressions := flags&1 == 0, flags&2 != 0, flags&4 != 0
	var table, offset uint32
	if active {
		if explicit {
			table = r.u32()
		}
		offset = p.constant(r, typeI32)
	}
	elem := byte(typeFuncref)
	if explicit || !active {
		if kind := r.byte(); expressions {
			elem = kind
		} else if kind != 0 {
			r.failAt(at, "unknown kind of element segment")
		}
		if !isRefType(elem) {
			r.failAt(at, "unknown element type 0x%02x", elem)
		}
	}
	n := r.count(uint32(MaxTableElements), "elements in a segment")
	for range n {
		if expressions {
			p.constant(r, elem)
		} else {
			p.reference(r)
		}
		if r.err != nil {
			return
		}
	}
	p.elements = append(p.elements, elem)
	if !active || r.err != nil {
		return
	}
	switch {
	case int(table) >= len(p.tables):
		r.failAt(at, "table %d does not exist", table)
	case p.tables[table].elem != elem:
		r.failAt(at, "the elements of a segment have another type than its table")
	case uint64(offset)+uint64(n) > uint64(p.tables[table].min):
		r.failAt(at, "an element segment ends at %d, outside its table of %d elements", uint64(offset)+uint64(n), p.tables[table].min)
	}
}

func (p *parsed) codeSection(r *reader) {
	n := r.count(MaxFunctions, "function bodies")
	p.bodies = make([]span, 0, n)
	for range n {
		size := r.u32()
		from := r.pos
		if size > MaxBodyBytes {
			r.fail("a function of %d bytes: the profile allows %d", size, MaxBodyBytes)
		}
		if r.bytes(size); r.err != nil {
			return
		}
		p.bodies = append(p.bodies, span{from, r.pos})
	}
}

func (p *parsed) dataSection(r *reader) {
	n := r.count(MaxSegments, "data segments")
	p.data = make([]dataSegment, 0, n)
	for range n {
		at := r.pos
		flags := r.u32()
		s := dataSegment{active: flags != 1}
		if flags > 2 {
			r.failAt(at, "unknown data segment 0x%x", flags)
		}
		if flags == 2 && r.u32() != 0 {
			r.failAt(at, "a data segment of a second memory")
		}
		if s.active {
			s.offset = p.constant(r, typeI32)
		}
		s.bytes = r.bytes(r.u32())
		switch {
		case r.err != nil:
			return
		case s.active && !p.memory:
			r.failAt(at, "a data segment without a memory")
		case s.active && uint64(s.offset)+uint64(len(s.bytes)) > p.memoryMin:
			r.failAt(at, "a data segment ends at %d, outside the initial memory of %d bytes", uint64(s.offset)+uint64(len(s.bytes)), p.memoryMin)
		}
		if trimmed := bytes.TrimRight(s.bytes, "\x00"); s.active && len(trimmed) > 0 {
			p.imageEnd = max(p.imageEnd, uint64(s.offset)+uint64(len(trimmed)))
		}
		p.data = append(p.data, s)
	}
}
