package gw1

// WebAssembly leaves the bits of NaNs that arithmetic makes to the engine. The profile shows the canonical NaN
// instead. The plain form replaces every such NaN at once. The lazy form lets it live on, "dirty", as long as
// nothing can tell: other arithmetic, comparisons and truncations cannot; memory, globals, calls, branches,
// reinterpretation and sign manipulation can. A dirty value is made canonical where it was defined, by the
// markNaN there, as soon as one of its uses can see it.
//
// Values that the program only copies are never touched: NaNs may carry payloads. So a local can hold dirty
// values only where every assignment that leads there is dirty in the same form or clean; where one of them is
// something else ("raw"), all of them are made canonical. Which ones come together is known only at the end of a
// walk (webs.go). The walk is repeated until that no longer changes.

// maxLazyWalks bounds the repetitions, once with locals followed along the code, once without; a function that
// needs more gets the plain form.
const maxLazyWalks = 6

// nanState is what a walk knows of NaNs besides the operands.
type nanState struct {
	lazy    bool
	changed bool // something was learnt that earlier instructions did not take into account
	webs    webs
}

// begin starts the walks of a function.
func (n *nanState) begin(lazy, coarse bool) {
	n.lazy = lazy
	n.webs.coarse, n.webs.class = coarse, n.webs.class[:0]
}

// declare starts one walk.
func (n *nanState) declare(types []byte, params, bodyBytes int) {
	n.changed = false
	if n.lazy {
		n.webs.start(types, params, bodyBytes)
	}
}

func (c nanForm) dirty() bool { return c >= nanF32 && c <= nanF64x2 }

// pushClass pushes a value; if it is dirty, with a mark behind the current instruction.
func (w *walker) pushClass(typ byte, class nanForm) {
	v := value{typ: typ}
	if w.live && class != nanNone {
		if class.dirty() {
			v.def = int32(len(w.marks))
			w.addMark(mark{pos: int32(w.r.pos), end: int32(w.r.pos), arg: uint32(class), kind: markNaN, needed: !w.nans.lazy})
		}
		if w.nans.lazy { // in the plain form every value is as it should be
			v.class = class
		}
	}
	w.pushValue(v)
}

// see notes that the bits of a value can be seen.
func (w *walker) see(v value) {
	if v.class.dirty() && w.live {
		w.marks[v.def].needed = true
	}
}

// compute decides what an operation's use of its operands means and returns the class of its result.
func (w *walker) compute(info *operation, in []value) nanForm {
	if info.carries != nanNone && w.nans.lazy {
		return w.carry(info, in)
	}
	for _, v := range in {
		if info.reads == nanNone || v.typ == typeV128 && v.class != info.reads {
			w.see(v)
		}
	}
	switch {
	case info.makes != nanNone:
		return info.makes
	case !w.nans.lazy:
		return nanNone
	}
	return info.exact
}

// carry handles operations that pass lanes on: the result is dirty if an operand is and none is raw. Clean
// vectors have no NaN in lanes of 32 bits, which two lanes of 64 bits without NaNs do not guarantee.
func (w *walker) carry(info *operation, in []value) nanForm {
	dirty, raw := false, false
	for _, v := range in {
		switch {
		case v.class == nanClean:
		case v.class.dirty() && (v.typ != typeV128 || v.class == info.carries):
			dirty = true
		default:
			raw = true
		}
	}
	switch {
	case raw:
		for _, v := range in {
			w.see(v)
		}
		return nanNone
	case !dirty && info.carries != nanF64x2:
		return nanClean
	case info.out == typeF32:
		return nanF32
	case info.out == typeF64:
		return nanF64
	}
	return info.carries
}

// either is the class of a value that is one of two.
func (w *walker) either(a, b value) nanForm {
	switch {
	case a.class == b.class && a.class != nanNone:
		return a.class
	case a.class == nanClean && b.class.dirty():
		return b.class
	case b.class == nanClean && a.class.dirty():
		return a.class
	}
	w.see(a)
	w.see(b)
	return nanNone
}

// assign notes an assignment to a local and returns the value as it is afterwards.
func (w *walker) assign(local uint32, v value) value {
	if !w.live {
		return value{}
	}
	if !w.nans.lazy {
		return v
	}
	switch held := w.nans.webs.define(local, v.class); {
	case held == nil:
	case *held == nanNone:
		w.see(v)
		v.class = nanNone
	case v.class == nanClean || v.class == *held:
	case *held == nanClean && v.class.dirty():
		*held = v.class
		w.nans.changed = true
	default:
		*held = nanNone
		w.nans.changed = true
		w.see(v)
		v.class = nanNone
	}
	return v
}

// held is the class of what a local holds.
func (w *walker) held(local uint32) nanForm {
	if !w.nans.lazy || !w.live {
		return nanNone
	}
	return w.nans.webs.read(local)
}

// settled ends a walk and reports whether it was the last.
func (n *nanState) settled() bool {
	if !n.lazy {
		return true
	}
	return !n.webs.over && !n.webs.settle() && !n.changed
}

// The walker tells where ways through the code part and meet, as far as they can be reached.

func (w *walker) follows() bool { return w.nans.lazy && w.live }

// joinBranch is a branch to the frame's label.
func (w *walker) joinBranch(f *frame) {
	if w.follows() && f != &w.frames[0] { // nothing is behind the end of the body
		f.join = w.nans.webs.meet(f.join, w.nans.webs.cur)
	}
}

func (w *walker) joinLoop() {
	if w.follows() {
		w.frames[len(w.frames)-1].join = w.nans.webs.enter()
	}
}

func (w *walker) joinFork() {
	if w.follows() {
		w.frames[len(w.frames)-1].saved = w.nans.webs.save()
	}
}

// joinElse ends the then-branch.
func (w *walker) joinElse(f *frame) {
	if w.follows() {
		f.join = w.nans.webs.meet(f.join, w.nans.webs.cur)
	}
	if f.saved != nil {
		w.nans.webs.restore(f.saved)
		f.saved = nil
	}
}

// joinEnd ends a block; w.live tells whether its end is reached from above.
func (w *walker) joinEnd(f *frame) {
	if !w.nans.lazy || f.op == opLoop {
		return
	}
	s := &w.nans.webs
	skip := f.saved != nil // an if without else: the other way around
	if w.live && (skip || f.join != noJoin) {
		f.join = s.meet(f.join, s.cur)
	}
	if skip {
		f.join = s.meet(f.join, f.saved)
		s.restore(f.saved)
	}
	s.leave(f.join)
}

// floatConstant pushes a constant: clean if no lane of either width is a NaN.
func (w *walker) floatConstant(typ byte, bits []byte) {
	w.charge(1)
	v := value{typ: typ}
	if w.nans.lazy && w.live && !hasNaN(typ, bits) {
		v.class = nanClean
	}
	w.pushValue(v)
}

func hasNaN(typ byte, bits []byte) bool {
	if typ != typeF64 {
		for i := 0; i+4 <= len(bits); i += 4 {
			if le.Uint32(bits[i:])&0x7fffffff > 0x7f800000 {
				return true
			}
		}
	}
	if typ != typeF32 {
		for i := 0; i+8 <= len(bits); i += 8 {
			if le.Uint64(bits[i:])&(1<<63-1) > 0x7ff<<52 {
				return true
			}
		}
	}
	return false
}
