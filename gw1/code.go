package gw1

import "slices"

// A function body is walked once: the walk validates it and leaves marks, in order of position, where the
// emitter has something to add (emit.go). Fuel is decided here: every instruction that can be reached adds
// its fuel to the basic block it lies in.

// markKind says what the emitter does at a mark.
type markKind uint8

const (
	markBlock       markKind = iota // a basic block begins: charge the fuel of block arg
	markLoop                        // the same at a loop head: charge, store and check
	markCall                        // a call
	markReturn                      // a return: leave through the wrapper, arg blocks up
	markUnreachable                 // an unreachable follows
	markNaN                         // canonicalise the value just pushed, if needed; arg is its nanForm
	markBulk                        // a bulk operation on arg bytes per fuel follows, its length on the stack
	markGrow                        // memory.grow or table.grow: replace it, arg fuel per unit granted
)

// mark is an edit at src[pos:end]; these bytes are kept unless the kind replaces them. It is small because a
// function can have one at every byte.
type mark struct {
	pos, end int32 // MaxModuleBytes and less
	arg      uint32
	kind     markKind
	needed   bool // of markNaN: the bits can be seen
}

// frame is an open block of the body.
type frame struct {
	op       byte // opBlock, opLoop, opIf; opElse once the else was seen; opBlock for the body itself
	typ      funcType
	height   int  // of the operand stack below the block's parameters
	poly     bool // the operand stack below is arbitrary: code after an unconditional branch
	wasLive  bool // the block is entered by code that can be reached
	thenLive bool // the end of the then-branch can be reached
	target   bool // a reachable branch leads to the end of the block
	seenBy   int  // position of the last br_table that checked this label

	join  int32   // what locals hold where its label is, noJoin if nothing leads there (webs.go)
	saved []int32 // what they hold at the beginning of an if
}

// walker holds the state of one function's walk; it is reused from function to function.
type walker struct {
	*parsed
	r    reader
	body span

	fn     funcType
	locals []byte // types, parameters first
	stack  []value
	frames []frame
	top    int  // greatest height of the operand stack
	live   bool // the current instruction can be reached

	marks  []mark
	blocks []uint64 // fuel of each basic block
	block  int      // current one
	loops  int
	calls  int // reachable calls of any kind

	direct   []uint32 // functions called (repeats possible)
	indirect []uint32 // types called through tables

	nans nanState
}

func (w *walker) reset(fn funcType, body span) {
	w.r = reader{buf: w.src, pos: body.from, end: body.to}
	w.fn, w.body = fn, body
	w.locals, w.stack, w.frames = w.locals[:0], w.stack[:0], w.frames[:0]
	w.marks, w.blocks = w.marks[:0], append(w.blocks[:0], 0)
	w.direct, w.indirect = w.direct[:0], w.indirect[:0]
	w.top, w.block, w.loops, w.calls = 0, 0, 0, 0
	w.live = true
}

// walk validates a body and leaves its marks. It returns the offset behind the declarations of locals.
// With lazy NaNs it walks again while what it learns about locals changes, and at last gives up being lazy.
func (w *walker) walk(fn funcType, body span, lazy bool) (code int) {
	before := w.totalLocals
	for _, coarse := range []bool{false, true} {
		w.nans.begin(lazy, coarse)
		for range maxLazyWalks {
			w.totalLocals = before
			code = w.walkOnce(fn, body)
			if w.r.err != nil || w.nans.settled() {
				return code
			}
			if w.nans.webs.over {
				break
			}
		}
	}
	w.totalLocals = before
	w.nans.begin(false, true)
	return w.walkOnce(fn, body)
}

func (w *walker) walkOnce(fn funcType, body span) (code int) {
	w.reset(fn, body)
	w.declareLocals()
	w.nans.declare(w.locals, len(fn.params), body.to-body.from)
	code = w.r.pos
	w.frames = append(w.frames, frame{op: opBlock, typ: funcType{nil, fn.results}, wasLive: true, seenBy: -1, join: noJoin})
	for w.r.err == nil && len(w.frames) > 0 {
		w.instruction()
	}
	if w.r.err == nil && w.r.pos != w.r.end {
		w.r.fail("a function body goes on behind its end")
	}
	return code
}

func (w *walker) declareLocals() {
	r := &w.r
	w.locals = append(w.locals, w.fn.params...)
	for range r.count(MaxLocals, "groups of locals") {
		at := r.pos
		n := r.u32()
		t := r.byte()
		w.totalLocals += int(min(n, MaxLocals))
		switch {
		case r.err != nil:
			return
		case !isValType(t):
			r.failAt(at, "unknown type 0x%02x of a local", t)
			return
		case uint64(n)+uint64(len(w.locals)) > MaxLocals:
			r.failAt(at, "a function has %d or more locals: the profile allows %d", uint64(n)+uint64(len(w.locals)), MaxLocals)
			return
		case w.totalLocals > MaxTotalLocals:
			r.failAt(at, "the functions together declare more than %d locals", MaxTotalLocals)
			return
		}
		for range n {
			w.locals = append(w.locals, t)
		}
	}
}

// --- operand stack

// value is an operand: its type, and what is known of its NaN bits (nan.go).
type value struct {
	typ   byte
	class nanForm
	def   int32 // index of the markNaN that can canonicalise it, if it is dirty
}

func (w *walker) pushValue(v value) {
	w.stack = append(w.stack, v)
	w.top = max(w.top, len(w.stack))
	if len(w.stack) > MaxOperands {
		w.r.fail("an operand stack higher than %d", MaxOperands)
	}
}

func (w *walker) push(t byte) { w.pushValue(value{typ: t}) }

func (w *walker) pushAll(types []byte) {
	for _, t := range types {
		w.push(t)
	}
}

// take takes the top operand, of anyType where code that cannot be reached has none. The caller says what
// that means for its NaN bits.
func (w *walker) take() value {
	f := &w.frames[len(w.frames)-1]
	if len(w.stack) == f.height {
		if !f.poly {
			w.r.fail("an instruction lacks an operand")
		}
		return value{}
	}
	v := w.stack[len(w.stack)-1]
	w.stack = w.stack[:len(w.stack)-1]
	return v
}

func (w *walker) takeTyped(want byte) value {
	v := w.take()
	if v.typ != want && v.typ != anyType && w.r.err == nil {
		w.r.fail("an instruction has an operand of type 0x%02x instead of 0x%02x", v.typ, want)
	}
	return v
}

// pop takes an operand whose bits can be seen by what happens next.
func (w *walker) pop(want byte) { w.see(w.takeTyped(want)) }

func (w *walker) popAll(types []byte) {
	f := &w.frames[len(w.frames)-1]
	for i := len(types) - 1; i >= 0; i-- {
		if f.poly && len(w.stack) == f.height {
			return // whatever is missing is of the right type
		}
		w.pop(types[i])
	}
}

// check verifies that the stack ends in the given types and leaves it so.
func (w *walker) check(types []byte) {
	w.popAll(types)
	w.pushAll(types)
}

// unreachable ends the code that can be reached in the current block.
func (w *walker) unreachable() {
	f := &w.frames[len(w.frames)-1]
	w.stack = w.stack[:f.height]
	f.poly = true
	w.live = false
}

// --- marks and fuel

func (w *walker) charge(fuel uint64) {
	if w.live {
		w.blocks[w.block] += fuel
	}
}

func (w *walker) mark(kind markKind, pos, end int, arg uint32) {
	if w.live {
		w.addMark(mark{pos: int32(pos), end: int32(end), arg: arg, kind: kind})
	}
}

// addMark keeps room for as many marks again, so that no more than twice their memory is ever asked for.
func (w *walker) addMark(m mark) {
	if len(w.marks) == cap(w.marks) {
		w.marks = slices.Grow(w.marks, len(w.marks)+64)
	}
	w.marks = append(w.marks, m)
}

// newBlock begins a basic block at the current position, if it can be reached.
func (w *walker) newBlock(kind markKind) {
	if !w.live {
		return
	}
	w.blocks = append(w.blocks, 0)
	w.block = len(w.blocks) - 1
	w.mark(kind, w.r.pos, w.r.pos, uint32(w.block))
}

// --- instructions

func (w *walker) instruction() {
	r := &w.r
	at := r.pos
	op := r.byte()
	if r.err != nil {
		return
	}
	if info := &plainOps[op]; info.known {
		w.operate(info, at)
		return
	}
	switch op {
	case opUnreachable:
		w.charge(1)
		w.mark(markUnreachable, at, at, 0)
		w.unreachable()
	case opNop:
	case opBlock, opLoop, opIf:
		w.open(op)
	case opElse:
		w.orElse(at)
	case opEnd:
		w.close(at)
	case opBr, opBrIf:
		w.branch(op)
	case opBrTable:
		w.branchTable(at)
	case opReturn:
		w.charge(1)
		w.popAll(w.fn.results)
		w.mark(markReturn, at, r.pos, uint32(len(w.frames)-1))
		w.unreachable()
	case opCall, opCallIndirect:
		w.call(op, at)
	case opDrop:
		w.charge(1)
		w.take()
	case opSelect, opSelectTyped:
		w.choose(op, at)
	case opLocalGet, opLocalSet, opLocalTee:
		w.local(op, at)
	case opGlobalGet, opGlobalSet:
		w.global(op, at)
	case opTableGet, opTableSet:
		w.tableAccess(op)
	case opMemorySize, opMemoryGrow:
		w.memorySize(op, at)
	case opI32Const:
		r.signed(32)
		w.constant(typeI32)
	case opI64Const:
		r.signed(64)
		w.constant(typeI64)
	case opF32Const:
		w.floatConstant(typeF32, r.bytes(4))
	case opF64Const:
		w.floatConstant(typeF64, r.bytes(8))
	case opRefNull, opRefIsNull, opRefFunc:
		w.ref(op, at)
	case opPrefixBulk:
		w.bulk(at)
	case opPrefixSIMD:
		w.simd(at)
	default:
		r.failAt(at, "%s", unknownOpcode(op))
	}
}

// unknownOpcode says what a refused opcode belongs to.
func unknownOpcode(op byte) string {
	switch op {
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return "uses exception handling: build without it (-fno-exceptions, panic=abort)"
	case 0x12, 0x13, 0x15:
		return "uses tail calls: build without them (-mno-tail-call)"
	case 0x14, 0xd3, 0xd4, 0xd5, 0xd6, 0xfb:
		return "uses typed references or garbage collection, which are outside the profile"
	case 0xfe:
		return "uses atomic instructions: build without threads"
	}
	const hex = "0123456789abcdef"
	return "unknown opcode 0x" + string([]byte{hex[op>>4], hex[op&15]})
}

func (w *walker) constant(t byte) {
	w.charge(1)
	w.push(t)
}

// operate does an operation of the tables, whose opcode has been read.
func (w *walker) operate(info *operation, at int) {
	if info.access && !w.memory {
		w.r.failAt(at, "an instruction needs a memory and the module has none")
	}
	if info.imm == immMem || info.imm == immMemLane {
		if align := w.r.u32(); align > uint32(info.align) {
			w.r.failAt(at, "alignment 2^%d is more than natural, or another memory is meant", align)
		}
		w.r.u32()
	}
	if info.imm == immLane || info.imm == immMemLane {
		if lane := w.r.byte(); lane >= info.lanes {
			w.r.failAt(at, "lane %d of %d", lane, info.lanes)
		}
	}
	w.charge(uint64(info.fuel))
	var in [3]value
	for i := len(info.in) - 1; i >= 0; i-- {
		in[i] = w.takeTyped(info.in[i])
	}
	class := w.compute(info, in[:len(info.in)])
	if info.out != 0 {
		w.pushClass(info.out, class)
	}
}

func (w *walker) blockType() funcType {
	r := &w.r
	at := r.pos
	v := r.signed(33)
	switch {
	case v >= 0 && v < int64(len(w.types)):
		if n := len(w.types[v].params); n > MaxResults {
			r.failAt(at, "a block with %d parameters: the profile allows %d", n, MaxResults)
		}
		return w.types[v]
	case v >= 0:
		r.failAt(at, "type %d does not exist", v)
	case v == -64: // 0x40
		return funcType{}
	case v < -64 || !isValType(byte(v&0x7f)):
		r.failAt(at, "unknown block type")
	default:
		return funcType{nil, w.src[at : at+1]}
	}
	return funcType{}
}

func (w *walker) open(op byte) {
	typ := w.blockType()
	if len(w.frames) >= MaxNesting {
		w.r.fail("more than %d blocks are nested", MaxNesting)
	}
	if w.r.err != nil {
		return
	}
	if op == opIf {
		w.charge(1)
		w.pop(typeI32)
	}
	w.popAll(typ.params)
	w.frames = append(w.frames, frame{op: op, typ: typ, height: len(w.stack), wasLive: w.live, seenBy: -1, join: noJoin})
	w.pushAll(typ.params)
	switch op {
	case opLoop:
		if w.live {
			w.loops++
		}
		w.joinLoop()
		w.newBlock(markLoop)
	case opIf:
		w.joinFork()
		w.newBlock(markBlock)
	}
}

// leave pops the block's results and checks that nothing else is left on the stack.
func (w *walker) leave(f *frame, at int) {
	w.popAll(f.typ.results)
	if len(w.stack) != f.height && w.r.err == nil {
		w.r.failAt(at, "a block leaves more operands than its type says")
	}
}

func (w *walker) orElse(at int) {
	f := &w.frames[len(w.frames)-1]
	if f.op != opIf {
		w.r.failAt(at, "else without if")
		return
	}
	w.leave(f, at)
	f.op, f.poly, f.thenLive = opElse, false, w.live
	w.joinElse(f)
	w.live = f.wasLive
	w.pushAll(f.typ.params)
	w.newBlock(markBlock)
}

func (w *walker) close(at int) {
	f := w.frames[len(w.frames)-1]
	w.leave(&f, at)
	if f.op == opIf && string(f.typ.params) != string(f.typ.results) {
		w.r.failAt(at, "an if without else must have results like its parameters")
	}
	w.frames = w.frames[:len(w.frames)-1]
	if w.r.err != nil || len(w.frames) == 0 {
		return
	}
	w.pushAll(f.typ.results)
	joins := f.target // more than one way leads behind the end
	switch f.op {
	case opIf:
		joins = f.wasLive
	case opElse:
		joins = joins || f.thenLive
	}
	w.joinEnd(&f)
	w.live = w.live || joins
	if joins {
		w.newBlock(markBlock)
	}
}

// label reads a branch depth and returns the frame it names.
func (w *walker) label() *frame {
	at := w.r.pos
	depth := w.r.u32()
	if uint64(depth) >= uint64(len(w.frames)) {
		w.r.failAt(at, "a branch leaves %d blocks, but only %d are open", uint64(depth)+1, len(w.frames))
		depth = 0
	}
	f := &w.frames[len(w.frames)-1-int(depth)]
	if w.live && f.op != opLoop {
		f.target = true
	}
	return f
}

// carried are the operand types that a branch to the block takes along.
func (f *frame) carried() []byte {
	if f.op == opLoop {
		return f.typ.params
	}
	return f.typ.results
}

func (w *walker) branch(op byte) {
	w.charge(1)
	f := w.label()
	w.joinBranch(f)
	if op == opBr {
		w.popAll(f.carried())
		w.unreachable()
		return
	}
	w.pop(typeI32)
	w.check(f.carried())
	w.newBlock(markBlock)
}

func (w *walker) branchTable(at int) {
	r := &w.r
	n := r.count(MaxModuleBytes, "branch targets")
	w.charge(2)
	w.pop(typeI32)
	arity := -1
	for range uint64(n) + 1 {
		f := w.label()
		if r.err != nil {
			return
		}
		if arity < 0 {
			arity = len(f.carried())
		}
		if len(f.carried()) != arity {
			r.failAt(at, "the targets of a br_table take different numbers of operands")
			return
		}
		if f.seenBy != at { // each label once, whatever the table's length
			f.seenBy = at
			w.joinBranch(f)
			w.checkKeeping(f.carried())
		}
	}
	w.unreachable()
}

// checkKeeping is check without replacing operands of unknown type by the wanted ones.
func (w *walker) checkKeeping(types []byte) {
	f := &w.frames[len(w.frames)-1]
	for i := range types {
		have := len(w.stack) - f.height
		if i >= have {
			if !f.poly {
				w.r.fail("an instruction lacks an operand")
			}
			return
		}
		got, want := w.stack[len(w.stack)-1-i], types[len(types)-1-i]
		if got.typ != want && got.typ != anyType {
			w.r.fail("an instruction has an operand of type 0x%02x instead of 0x%02x", got.typ, want)
		}
		w.see(got)
	}
}

func (w *walker) call(op byte, at int) {
	r := &w.r
	i := r.u32()
	var typ uint32
	switch {
	case op == opCall && uint64(i) < uint64(len(w.funcs)):
		w.charge(4)
		typ = w.funcs[i]
		if w.live {
			w.direct = append(w.direct, i)
		}
	case op == opCall:
		r.failAt(at, "function %d does not exist", i)
	default:
		w.charge(8)
		typ = i
		table := r.u32()
		w.pop(typeI32)
		if uint64(i) >= uint64(len(w.types)) {
			r.failAt(at, "type %d does not exist", i)
		} else if uint64(table) >= uint64(len(w.tables)) || w.tables[table].elem != typeFuncref {
			r.failAt(at, "table %d does not exist or holds no functions", table)
		}
		if w.live {
			w.indirect = append(w.indirect, i)
		}
	}
	if r.err != nil {
		return
	}
	if w.live {
		w.calls++
	}
	w.mark(markCall, at, r.pos, 0)
	w.popAll(w.types[typ].params)
	w.pushAll(w.types[typ].results)
}

func (w *walker) choose(op byte, at int) {
	w.charge(1)
	w.pop(typeI32)
	if op == opSelectTyped {
		n := w.r.u32()
		t := w.r.byte()
		if w.r.err == nil && (n != 1 || !isValType(t)) {
			w.r.failAt(at, "malformed select")
		}
		b := w.takeTyped(t)
		a := w.takeTyped(t)
		w.pushClass(t, w.either(a, b))
		return
	}
	b, a := w.take(), w.take()
	t := a.typ
	if t == anyType {
		t = b.typ
	}
	if isRefType(t) || b.typ != anyType && b.typ != t {
		w.r.failAt(at, "select of two types or of references")
	}
	w.pushClass(t, w.either(a, b))
}

func (w *walker) local(op byte, at int) {
	i := w.r.u32()
	if uint64(i) >= uint64(len(w.locals)) {
		w.r.failAt(at, "local %d does not exist", i)
		return
	}
	w.charge(1)
	switch t := w.locals[i]; op {
	case opLocalGet:
		w.pushClass(t, w.held(i))
	case opLocalSet:
		w.assign(i, w.takeTyped(t))
	case opLocalTee:
		v := w.assign(i, w.takeTyped(t))
		v.typ = t
		w.pushValue(v)
	}
}

func (w *walker) global(op byte, at int) {
	i := w.r.u32()
	if uint64(i) >= uint64(len(w.globals)) {
		w.r.failAt(at, "global %d does not exist", i)
		return
	}
	w.charge(1)
	g := w.globals[i]
	if op == opGlobalGet {
		w.push(g.typ)
		return
	}
	if !g.mutable {
		w.r.failAt(at, "global %d is constant", i)
	}
	w.pop(g.typ)
}

// table reads a table index and returns its element type.
func (w *walker) table() byte {
	at := w.r.pos
	i := w.r.u32()
	if uint64(i) >= uint64(len(w.tables)) {
		w.r.failAt(at, "table %d does not exist", i)
		return anyType
	}
	return w.tables[i].elem
}

func (w *walker) tableAccess(op byte) {
	elem := w.table()
	w.charge(2)
	if op == opTableSet {
		w.pop(elem)
		w.pop(typeI32)
		return
	}
	w.pop(typeI32)
	w.push(elem)
}

// memoryIndex reads the index of the only memory.
func (w *walker) memoryIndex(at int) {
	if w.r.byte() != 0 {
		w.r.failAt(at, "an instruction names a second memory")
	}
	if !w.memory {
		w.r.failAt(at, "an instruction needs a memory and the module has none")
	}
}

func (w *walker) memorySize(op byte, at int) {
	w.memoryIndex(at)
	if op == opMemorySize {
		w.charge(1)
		w.push(typeI32)
		return
	}
	w.charge(fuelBulk)
	w.pop(typeI32)
	w.push(typeI32)
	w.grow(at, FuelPerGrownPage)
}

// grow marks memory.grow or table.grow, which becomes much longer.
func (w *walker) grow(at int, fuel uint32) {
	if w.totalGrows++; w.totalGrows > MaxGrows {
		w.r.failAt(at, "memory.grow and table.grow occur more than %d times", MaxGrows)
	}
	w.mark(markGrow, at, w.r.pos, fuel)
}

func (w *walker) ref(op byte, at int) {
	w.charge(1)
	switch op {
	case opRefNull:
		t := w.r.byte()
		if !isRefType(t) {
			w.r.failAt(at, "unknown reference type 0x%02x", t)
		}
		w.push(t)
	case opRefIsNull:
		if t := w.take().typ; t != anyType && !isRefType(t) {
			w.r.failAt(at, "ref.is_null of something else than a reference")
		}
		w.push(typeI32)
	case opRefFunc:
		i := w.r.u32()
		if uint64(i) >= uint64(len(w.referenced)) || !w.referenced[i] {
			w.r.failAt(at, "ref.func names function %d, which no export, element segment or global declares", i)
			return
		}
		w.addressed[i] = true
		w.push(typeFuncref)
	}
}

// fuelBulk is the base charge of an operation whose rest depends on its length.
const fuelBulk = 16

func (w *walker) bulk(at int) {
	r := &w.r
	code := r.u32()
	if code < uint32(len(satOps)) {
		w.operate(&satOps[code], at)
		return
	}
	switch code {
	case bulkMemoryInit, bulkDataDrop:
		w.usesData = true
		segment := r.u32()
		if w.dataCount < 0 || uint64(segment) >= uint64(w.dataCount) {
			r.failAt(at, "data segment %d does not exist or the data count section is missing", segment)
		} else if code == bulkMemoryInit && w.data[segment].active && w.imageEnd > MaxImageBytes {
			// Engines disagree on whether such a segment is empty after the start, as the standard says.
			r.failAt(at, "memory.init names the active data segment %d, in a module whose data ends beyond %d bytes", segment, MaxImageBytes)
		}
	case bulkTableInit, bulkElemDrop:
		w.elementOp(code, at)
		return
	}
	switch code {
	case bulkDataDrop:
		w.charge(2)
	case bulkMemoryInit, bulkMemoryFill:
		w.memoryIndex(at)
		w.bulkOn(at, BulkBytesPerFuel, typeI32)
	case bulkMemoryCopy:
		w.memoryIndex(at)
		w.memoryIndex(at)
		w.bulkOn(at, BulkBytesPerFuel, typeI32)
	case bulkTableCopy:
		if a, b := w.table(), w.table(); a != b {
			r.failAt(at, "table.copy between tables of two types")
		}
		w.bulkOn(at, 1, typeI32)
	case bulkTableGrow:
		elem := w.table()
		w.charge(fuelBulk)
		w.pop(typeI32)
		w.pop(elem)
		w.push(typeI32)
		w.grow(at, FuelPerTableSlot)
	case bulkTableSize:
		w.table()
		w.charge(1)
		w.push(typeI32)
	case bulkTableFill:
		w.bulkOn(at, 1, w.table())
	default:
		r.failAt(at, "unknown opcode 0xfc %d", code)
	}
}

// bulkOn does an operation on (i32, middle, i32 length).
func (w *walker) bulkOn(at int, perFuel uint32, middle byte) {
	w.charge(fuelBulk)
	w.mark(markBulk, at, at, perFuel)
	w.pop(typeI32)
	if w.r.err == nil {
		w.pop(middle)
	}
	w.pop(typeI32)
}

func (w *walker) elementOp(code uint32, at int) {
	segment := w.r.u32()
	if uint64(segment) >= uint64(len(w.elements)) {
		w.r.failAt(at, "element segment %d does not exist", segment)
		return
	}
	if code == bulkElemDrop {
		w.charge(2)
		return
	}
	switch elem := w.table(); {
	case elem != w.elements[segment]:
		w.r.failAt(at, "table.init of elements of another type")
		return
	case elem == typeExternref: // can only be null; engines forget how many there are
		w.r.failAt(at, "table.init of references to the host: there are none")
		return
	}
	w.bulkOn(at, 1, typeI32)
}

func (w *walker) simd(at int) {
	r := &w.r
	code := r.u32()
	switch {
	case r.err != nil:
	case code == simdConst:
		w.floatConstant(typeV128, r.bytes(16))
	case code == simdShuffle:
		for _, lane := range r.bytes(16) {
			if lane >= 32 {
				r.failAt(at, "lane %d of 32", lane)
			}
		}
		w.charge(1)
		w.pop(typeV128)
		w.pop(typeV128)
		w.push(typeV128)
	case code >= 0x100 && code < 0x130:
		r.failAt(at, "uses relaxed SIMD, whose results differ between CPUs: build without -mrelaxed-simd")
	case code < 256 && simdOps[code].known:
		w.operate(&simdOps[code], at)
	default:
		r.failAt(at, "unknown opcode 0xfd %d", code)
	}
}
