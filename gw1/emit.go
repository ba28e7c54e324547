package gw1

// The rewritten form of a function:
//
//	depth check        ┐ only functions that can recurse
//	fuel of the first block, check
//	block              ┐ where something must happen on the way out
//	  the original body with its marks; return becomes a branch to the block's end
//	end                ┘
//	store the fuel; give the depth back
//	end
//
// Fuel lives in a local in functions with loops or many charges, else in the global. Where it lives cannot be
// seen in the fuel of a run that ends, only in what a trap leaves in the global; the specification gives the rule.

// emitted is a rewritten function, as offsets into the emitter's buffer: the declaration of locals, then the
// rest up to where the depth is given back, then the end.
type emitted struct {
	from, code, tail, to int
	wrapped              bool
	weight               uint32 // depth that the function takes if it can recurse
}

// emitter writes function bodies one after the other.
type emitter struct {
	o                 Options
	out               []byte
	fuel, depth, trap uint64         // global indices
	resultTypes       map[string]int // index of the type () -> results, by results
	addedTypes        [][]byte       // results of types added behind the module's
	firstType         int            // index of the first added type

	// Of the current function:
	extra     []byte // locals added
	extraFrom int    // index of the first of them
	fuelLocal uint64
	useLocal  bool                   // the fuel lives in fuelLocal
	scratch   [len(scratchTypes)]int // added locals by purpose, -1: not yet there
}

// Purposes of scratch locals.
const (
	scratchF32 = iota
	scratchF64
	scratchV128
	scratchI32
	scratchResult
)

var scratchTypes = [...]byte{typeF32, typeF64, typeV128, typeI32, typeI32}

// function emits the function that the walker has just walked; code is where its instructions begin.
func (e *emitter) function(w *walker, code int) emitted {
	e.plan(w)
	f := emitted{from: len(e.out), weight: depthFrame + uint32(len(w.locals)) + uint32(w.top)}
	f.wrapped = e.useLocal || !e.o.NoDepth && w.calls > 0

	// The body goes first into the buffer, because it decides which locals are added.
	e.entry(w)
	if f.wrapped {
		e.out = append(e.out, opBlock)
		e.blockType(w.fn.results)
	}
	e.body(w, code, f.wrapped)
	f.tail = len(e.out)
	if f.wrapped {
		if e.useLocal {
			e.storeFuel()
		}
		e.op(opEnd)
	}
	f.to = len(e.out)
	e.insertLocals(w, &f, code)
	return f
}

// plan decides where the fuel lives.
func (e *emitter) plan(w *walker) {
	charges := 0
	for i, fuel := range w.blocks {
		if fuel > 0 || i == 0 {
			charges++
		}
	}
	e.useLocal = !e.o.NoFuel && (w.loops > 0 || charges > 2+2*w.calls)
	e.extra, e.extraFrom = e.extra[:0], len(w.locals)
	for i := range e.scratch {
		e.scratch[i] = -1
	}
	if e.useLocal {
		e.fuelLocal = uint64(e.extraFrom)
		e.extra = append(e.extra, typeI64)
	}
}

// insertLocals puts the declarations, original and added, in front of the emitted code.
func (e *emitter) insertLocals(w *walker, f *emitted, code int) {
	from := w.body.from
	r := reader{buf: w.src, pos: from, end: code}
	groups := r.u32()
	var head []byte
	head = appendU(head, uint64(groups)+uint64(len(e.extra)))
	head = append(head, w.src[r.pos:code]...)
	for _, t := range e.extra {
		head = append(head, 1, t)
	}
	n := len(head)
	e.out = append(e.out, head...) // room
	copy(e.out[f.from+n:], e.out[f.from:f.to])
	copy(e.out[f.from:], head)
	f.code, f.tail, f.to = f.from+n, f.tail+n, f.to+n
}

// body copies the instructions and applies the marks.
func (e *emitter) body(w *walker, code int, wrapped bool) {
	last := int32(code)
	for i := range w.marks {
		m := &w.marks[i]
		e.out = append(e.out, w.src[last:m.pos]...)
		last = m.end
		if !e.apply(w, m, wrapped) {
			last = m.pos
		}
	}
	e.out = append(e.out, w.src[last:w.r.end]...)
}

// apply emits what a mark asks for and reports whether it stands for the original bytes.
func (e *emitter) apply(w *walker, m *mark, wrapped bool) (replaced bool) {
	switch m.kind {
	case markBlock:
		if fuel := w.blocks[m.arg]; fuel > 0 && !e.o.NoFuel {
			e.charge(fuel)
		}
	case markLoop:
		if !e.o.NoFuel {
			e.chargeLoop(w.blocks[m.arg])
		}
	case markUnreachable:
		if e.useLocal {
			e.storeFuel()
		}
	case markCall: // the host charges too
		if e.useLocal {
			e.storeFuel()
			e.out = append(e.out, w.src[m.pos:m.end]...)
			e.op(opGlobalGet, e.fuel)
			e.op(opLocalSet, e.fuelLocal)
			return true
		}
	case markReturn:
		if wrapped {
			e.op(opBr, uint64(m.arg))
			return true
		}
	case markNaN:
		if m.needed && e.o.NaN != NaNOff {
			e.canonical(nanForm(m.arg))
		}
	case markBulk:
		if !e.o.NoFuel {
			e.chargeBulk(m.arg)
		}
	case markGrow:
		if !e.o.NoFuel {
			e.chargeGrow(w.src[m.pos:m.end], m.arg)
			return true
		}
	}
	return false
}

// op emits an opcode with unsigned immediates.
func (e *emitter) op(code byte, imm ...uint64) {
	e.out = append(e.out, code)
	for _, v := range imm {
		e.out = appendU(e.out, v)
	}
}

func (e *emitter) constI64(v int64) { e.out = appendS(append(e.out, opI64Const), v) }
func (e *emitter) constI32(v int32) { e.out = appendS(append(e.out, opI32Const), int64(v)) }

func (e *emitter) blockType(results []byte) {
	switch len(results) {
	case 0:
		e.out = append(e.out, 0x40)
	case 1:
		e.out = append(e.out, results[0])
	default:
		i, ok := e.resultTypes[string(results)]
		if !ok {
			i = e.firstType + len(e.addedTypes)
			e.resultTypes[string(results)] = i
			e.addedTypes = append(e.addedTypes, results)
		}
		e.out = appendS(e.out, int64(i))
	}
}

// local returns the scratch local of a purpose.
func (e *emitter) local(purpose int) uint64 {
	if e.scratch[purpose] < 0 {
		e.scratch[purpose] = e.extraFrom + len(e.extra)
		e.extra = append(e.extra, scratchTypes[purpose])
	}
	return uint64(e.scratch[purpose])
}

// --- fuel

func (e *emitter) getFuel() {
	if e.useLocal {
		e.op(opLocalGet, e.fuelLocal)
	} else {
		e.op(opGlobalGet, e.fuel)
	}
}

func (e *emitter) setFuel() {
	if e.useLocal {
		e.op(opLocalSet, e.fuelLocal)
	} else {
		e.op(opGlobalSet, e.fuel)
	}
}

// storeFuel copies the local into the global.
func (e *emitter) storeFuel() {
	e.op(opLocalGet, e.fuelLocal)
	e.op(opGlobalSet, e.fuel)
}

func (e *emitter) charge(fuel uint64) {
	e.getFuel()
	e.constI64(int64(fuel))
	e.op(opI64Sub)
	e.setFuel()
}

// checkFuel traps if the fuel, already stored in the global where stored says so, is below zero.
func (e *emitter) checkFuel(stored bool) {
	e.getFuel()
	e.constI64(0)
	e.op(opI64LtS)
	e.op(opIf, 0x40)
	if e.useLocal && !stored {
		e.storeFuel()
	}
	e.trapWith(TrapFuel)
	e.op(opEnd)
}

func (e *emitter) trapWith(reason int32) {
	e.constI32(reason)
	e.op(opGlobalSet, e.trap)
	e.op(opUnreachable)
}

// entry charges the first block. Functions that neither loop nor call are checked by whoever called them.
func (e *emitter) entry(w *walker) {
	if e.o.NoFuel {
		return
	}
	if e.useLocal {
		e.op(opGlobalGet, e.fuel)
		e.op(opLocalSet, e.fuelLocal)
	}
	if w.blocks[0] > 0 {
		e.charge(w.blocks[0])
	}
	if w.loops > 0 || w.calls > 0 {
		e.checkFuel(false)
	}
}

// chargeLoop charges a loop's first block, stores the fuel, so that a trap leaves no more uncounted than one
// round, and checks it.
func (e *emitter) chargeLoop(fuel uint64) {
	if fuel > 0 {
		e.charge(fuel)
	}
	e.storeFuel()
	e.checkFuel(true)
}

// chargeBulk charges an operation by its length, the top of the stack, before it runs.
func (e *emitter) chargeBulk(unitsPerFuel uint32) {
	n := e.local(scratchI32)
	e.op(opLocalSet, n)
	e.getFuel()
	e.op(opLocalGet, n)
	e.op(opI64ExtendI32)
	if unitsPerFuel > 1 {
		e.constI64(3) // BulkBytesPerFuel = 1<<3
		e.op(opI64ShrU)
	}
	e.op(opI64Sub)
	e.setFuel()
	e.checkFuel(false)
	e.op(opLocalGet, n)
}

// chargeGrow runs a grow instruction and charges what it was granted: nothing if it answered -1.
func (e *emitter) chargeGrow(instruction []byte, fuelPerUnit uint32) {
	n, result := e.local(scratchI32), e.local(scratchResult)
	e.op(opLocalTee, n)
	e.out = append(e.out, instruction...)
	e.op(opLocalSet, result)
	e.getFuel()
	e.op(opLocalGet, n)
	e.constI32(0)
	e.op(opLocalGet, result)
	e.constI32(-1)
	e.op(opI32Ne)
	e.op(opSelect)
	e.op(opI64ExtendI32)
	e.constI64(int64(fuelPerUnit))
	e.op(opI64Mul)
	e.op(opI64Sub)
	e.setFuel()
	e.checkFuel(false)
	e.op(opLocalGet, result)
}

// --- depth

// depthFrame is the weight of a call itself, besides its locals and operands.
const depthFrame = 4

func (e *emitter) depthEnter(weight uint32) []byte {
	b := appendU([]byte{opGlobalGet}, e.depth)
	b = appendS(append(b, opI32Const), int64(weight))
	b = appendU(append(b, opI32Sub, opGlobalSet), e.depth)
	b = appendU(append(b, opGlobalGet), e.depth)
	b = append(b, opI32Const, 0, opI32LtS, opIf, 0x40, opI32Const, TrapDepth, opGlobalSet)
	b = appendU(b, e.trap)
	return append(b, opUnreachable, opEnd)
}

func (e *emitter) depthLeave(weight uint32) []byte {
	b := appendU([]byte{opGlobalGet}, e.depth)
	b = appendS(append(b, opI32Const), int64(weight))
	return appendU(append(b, opI32Add, opGlobalSet), e.depth)
}

// --- NaN

// canonNaN holds the canonical NaN in every lane.
var (
	canonF32 = []byte{0x00, 0x00, 0xc0, 0x7f}
	canonF64 = []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x7f}
)

// canonical replaces a NaN on top of the stack, or in its lanes, by the canonical one.
func (e *emitter) canonical(form nanForm) {
	switch form {
	case nanF32:
		e.canonicalScalar(e.local(scratchF32), opF32Const, canonF32, opF32Ge)
	case nanF64:
		e.canonicalScalar(e.local(scratchF64), opF64Const, canonF64, opF64Ge)
	case nanF32x4:
		e.canonicalLanes(append(canonF32, canonF32...), simdF32x4Eq)
	case nanF64x2:
		e.canonicalLanes(canonF64, simdF64x2Eq)
	}
}

// canonicalScalar selects x if x >= x, else the constant.
func (e *emitter) canonicalScalar(x uint64, constant byte, nan []byte, ge byte) {
	e.op(opLocalTee, x)
	e.op(constant)
	e.out = append(e.out, nan...)
	e.op(opLocalGet, x)
	e.op(opLocalGet, x)
	e.op(ge)
	e.op(opSelect)
}

// canonicalLanes selects by the mask of lanes equal to themselves; nan is half a vector.
func (e *emitter) canonicalLanes(nan []byte, eq uint64) {
	x := e.local(scratchV128)
	e.op(opLocalTee, x)
	e.op(opPrefixSIMD, simdConst)
	e.out = append(append(e.out, nan...), nan...)
	e.op(opLocalGet, x)
	e.op(opLocalGet, x)
	e.op(opPrefixSIMD, eq)
	e.op(opPrefixSIMD, simdBitselect)
}
