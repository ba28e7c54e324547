package gw1

// WebAssembly leaves the bits of NaNs that arithmetic makes to the engine. The profile shows the canonical NaN
// instead. The plain form replaces every such NaN at once. The lazy form lets it live on, "dirty", as long as
// nothing can tell: other arithmetic, comparisons and truncations cannot; memory, globals, calls, branches,
// reinterpretation and sign manipulation can. A dirty value is made canonical where it was defined, by the
// markNaN there, as soon as one of its uses can see it.
//
// Values that the program only copies are never touched: NaNs may carry payloads. So a local can hold dirty
// values only if every assignment is dirty in the same form or clean; a local that is ever assigned something
// else ("raw") gets canonical values from the start. Which locals are raw is known only at the end of a walk.
// The walk is repeated until that no longer changes.

// maxLazyWalks bounds the repetitions; a function that needs more gets the plain form.
const maxLazyWalks = 6

// nanState is what a walk knows of NaNs besides the operands.
type nanState struct {
	lazy    bool
	fresh   bool      // nothing is known of the locals yet
	changed bool      // something was learnt that earlier instructions did not take into account
	locals  []nanForm // class of what each local holds
}

// begin starts the walks of a function.
func (n *nanState) begin(lazy bool) { n.lazy, n.fresh = lazy, true }

// declare starts one walk: parameters are raw, other locals begin clean (zero). Scalars are assumed to become
// dirty, vectors when their form is known.
func (n *nanState) declare(types []byte, params int) {
	n.changed = false
	if !n.fresh {
		return
	}
	n.fresh = false
	n.locals = n.locals[:0]
	for i, t := range types {
		class := nanNone
		if n.lazy && i >= params {
			switch t {
			case typeF32:
				class = nanF32
			case typeF64:
				class = nanF64
			case typeV128:
				class = nanClean
			}
		}
		n.locals = append(n.locals, class)
	}
}

func (c nanForm) dirty() bool { return c >= nanF32 && c <= nanF64x2 }

// pushClass pushes a value; if it is dirty, with a mark behind the current instruction.
func (w *walker) pushClass(typ byte, class nanForm) {
	v := value{typ: typ}
	if w.live && class != nanNone {
		if class.dirty() {
			v.def = int32(len(w.marks))
			w.marks = append(w.marks, mark{pos: w.r.pos, end: w.r.pos, arg: uint32(class), kind: markNaN, needed: !w.nans.lazy})
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
	switch held := &w.nans.locals[local]; {
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
