package gw1

import "strings"

// Value types as the binary format writes them. anyType stands for an operand of unknown type in code that
// cannot be reached.
const (
	typeI32       = 0x7f
	typeI64       = 0x7e
	typeF32       = 0x7d
	typeF64       = 0x7c
	typeV128      = 0x7b
	typeFuncref   = 0x70
	typeExternref = 0x6f
	anyType       = 0
)

func isNumType(t byte) bool { return t >= typeV128 && t <= typeI32 }
func isRefType(t byte) bool { return t == typeFuncref || t == typeExternref }
func isValType(t byte) bool { return isNumType(t) || isRefType(t) }

// Opcodes that the code names one by one.
const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opPrefixBulk   = 0xfc
	opPrefixSIMD   = 0xfd

	opI32Ne        = 0x47
	opI64LtS       = 0x53
	opF32Ge        = 0x60
	opF64Ge        = 0x66
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI32LtS       = 0x48
	opI64Sub       = 0x7d
	opI64Mul       = 0x7e
	opI64ShrU      = 0x88
	opI64ExtendI32 = 0xad // unsigned

	bulkMemoryInit = 8
	bulkDataDrop   = 9
	bulkMemoryCopy = 10
	bulkMemoryFill = 11
	bulkTableInit  = 12
	bulkElemDrop   = 13
	bulkTableCopy  = 14
	bulkTableGrow  = 15
	bulkTableSize  = 16
	bulkTableFill  = 17

	simdConst     = 12
	simdShuffle   = 13
	simdF32x4Eq   = 65
	simdF64x2Eq   = 71
	simdBitselect = 82
)

// Immediates of the operations in the tables.
const (
	immNone = iota
	immMem  // alignment and offset
	immLane // lane index below lanes
	immMemLane
)

// nanForm says in which lanes an operation's result may hold a NaN whose bits the engine chose.
type nanForm uint8

const (
	nanNone nanForm = iota
	nanF32
	nanF64
	nanF32x4
	nanF64x2
	nanClean // of values: no NaN, in vectors read as f32x4, and therefore as f64x2 too
)

// operation describes one operation without control flow: its operands, its result (0: none), its
// immediates, its fuel and its NaNs.
type operation struct {
	known  bool
	in     []byte // operand types, the top of the stack last
	out    byte
	imm    uint8
	align  uint8 // greatest alignment exponent
	lanes  uint8
	fuel   uint8
	access bool // touches memory 0

	// What NaN bits do here; nan.go says how it is used.
	makes   nanForm // the result may be a NaN with bits of the engine's choice
	reads   nanForm // operands of this form can have any NaN bits: the result is the same but for makes
	carries nanForm // each lane of the result is a lane of an operand, or its absolute value
	exact   nanForm // the result is a float and never a NaN: what may be said of it
}

// Operations by opcode: of one byte, after 0xfc, after 0xfd.
var (
	plainOps [256]operation
	satOps   [8]operation
	simdOps  [256]operation
)

// typeOf translates the letters of the signatures below.
var typeOf = map[rune]byte{'i': typeI32, 'l': typeI64, 'f': typeF32, 'd': typeF64, 'v': typeV128}

// define fills table entries from…to with a signature like "ii:i".
func define(table []operation, from, to int, signature string) {
	in, out, _ := strings.Cut(signature, ":")
	op := operation{known: true, fuel: 1}
	for _, c := range in {
		op.in = append(op.in, typeOf[c])
	}
	for _, c := range out {
		op.out = typeOf[c]
	}
	for i := from; i <= to; i++ {
		table[i] = op
	}
}

func defineMem(table []operation, from, to int, signature string, align uint8) {
	define(table, from, to, signature)
	for i := from; i <= to; i++ {
		table[i].imm, table[i].align, table[i].access = immMem, align, true
	}
}

func defineLane(from, to int, signature string, lanes uint8) {
	define(simdOps[:], from, to, signature)
	for i := from; i <= to; i++ {
		simdOps[i].imm, simdOps[i].lanes = immLane, lanes
	}
}

func setNaN(table []operation, form nanForm, codes ...int) {
	for _, c := range codes {
		table[c].makes = form
	}
}

func setFuel(table []operation, fuel uint8, codes ...int) {
	for _, c := range codes {
		table[c].fuel = fuel
	}
}

func init() {
	definePlain()
	defineSIMDMemory()
	defineSIMD()
	defineNaN()
	// Operations that take a CPU many cycles cost more than one.
	setFuel(plainOps[:], 8, 0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82) // integer division and remainder
	setFuel(plainOps[:], 6, 0x91, 0x95, 0x9f, 0xa3)                         // float square root and division
	setFuel(simdOps[:], 8, 227, 231, 239, 243)                              // the same in SIMD
	setFuel(simdOps[:], 4, 213)                                             // i64x2.mul
}

func definePlain() {
	t := plainOps[:]
	for _, m := range []struct {
		code  int
		sig   string
		align uint8
	}{
		{0x28, "i:i", 2}, {0x29, "i:l", 3}, {0x2a, "i:f", 2}, {0x2b, "i:d", 3},
		{0x2c, "i:i", 0}, {0x2d, "i:i", 0}, {0x2e, "i:i", 1}, {0x2f, "i:i", 1},
		{0x30, "i:l", 0}, {0x31, "i:l", 0}, {0x32, "i:l", 1}, {0x33, "i:l", 1}, {0x34, "i:l", 2}, {0x35, "i:l", 2},
		{0x36, "ii:", 2}, {0x37, "il:", 3}, {0x38, "if:", 2}, {0x39, "id:", 3},
		{0x3a, "ii:", 0}, {0x3b, "ii:", 1}, {0x3c, "il:", 0}, {0x3d, "il:", 1}, {0x3e, "il:", 2},
	} {
		defineMem(t, m.code, m.code, m.sig, m.align)
	}
	for _, d := range []struct {
		from, to int
		sig      string
	}{
		{0x45, 0x45, "i:i"}, {0x46, 0x4f, "ii:i"}, {0x50, 0x50, "l:i"}, {0x51, 0x5a, "ll:i"},
		{0x5b, 0x60, "ff:i"}, {0x61, 0x66, "dd:i"},
		{0x67, 0x69, "i:i"}, {0x6a, 0x78, "ii:i"}, {0x79, 0x7b, "l:l"}, {0x7c, 0x8a, "ll:l"},
		{0x8b, 0x91, "f:f"}, {0x92, 0x98, "ff:f"}, {0x99, 0x9f, "d:d"}, {0xa0, 0xa6, "dd:d"},
		{0xa7, 0xa7, "l:i"}, {0xa8, 0xa9, "f:i"}, {0xaa, 0xab, "d:i"},
		{0xac, 0xad, "i:l"}, {0xae, 0xaf, "f:l"}, {0xb0, 0xb1, "d:l"},
		{0xb2, 0xb3, "i:f"}, {0xb4, 0xb5, "l:f"}, {0xb6, 0xb6, "d:f"},
		{0xb7, 0xb8, "i:d"}, {0xb9, 0xba, "l:d"}, {0xbb, 0xbb, "f:d"},
		{0xbc, 0xbc, "f:i"}, {0xbd, 0xbd, "d:l"}, {0xbe, 0xbe, "i:f"}, {0xbf, 0xbf, "l:d"},
		{0xc0, 0xc1, "i:i"}, {0xc2, 0xc4, "l:l"},
	} {
		define(t, d.from, d.to, d.sig)
	}
	define(satOps[:], 0, 1, "f:i")
	define(satOps[:], 2, 3, "d:i")
	define(satOps[:], 4, 5, "f:l")
	define(satOps[:], 6, 7, "d:l")
}

func defineSIMDMemory() {
	t := simdOps[:]
	defineMem(t, 0, 0, "i:v", 4)
	defineMem(t, 1, 6, "i:v", 3)
	for i := range 4 { // load splat, load lane, store lane of 8, 16, 32, 64 bits
		defineMem(t, 7+i, 7+i, "i:v", uint8(i))
		defineMem(t, 84+i, 84+i, "iv:v", uint8(i))
		defineMem(t, 88+i, 88+i, "iv:", uint8(i))
		for _, code := range []int{84 + i, 88 + i} {
			t[code].imm, t[code].lanes = immMemLane, 16>>i
		}
	}
	defineMem(t, 11, 11, "iv:", 4)
	defineMem(t, 92, 92, "i:v", 2)
	defineMem(t, 93, 93, "i:v", 3)
}

func defineSIMD() {
	t := simdOps[:]
	define(t, 14, 14, "vv:v") // swizzle
	for i, sig := range []string{"i:v", "i:v", "i:v", "l:v", "f:v", "d:v"} {
		define(t, 15+i, 15+i, sig) // splats
	}
	defineLane(21, 22, "v:i", 16)
	defineLane(23, 23, "vi:v", 16)
	defineLane(24, 25, "v:i", 8)
	defineLane(26, 26, "vi:v", 8)
	defineLane(27, 27, "v:i", 4)
	defineLane(28, 28, "vi:v", 4)
	defineLane(29, 29, "v:l", 2)
	defineLane(30, 30, "vl:v", 2)
	defineLane(31, 31, "v:f", 4)
	defineLane(32, 32, "vf:v", 4)
	defineLane(33, 33, "v:d", 2)
	defineLane(34, 34, "vd:v", 2)
	define(t, 35, 76, "vv:v")   // comparisons
	define(t, 77, 77, "v:v")    // not
	define(t, 78, 81, "vv:v")   // and, andnot, or, xor
	define(t, 82, 82, "vvv:v")  // bitselect
	define(t, 94, 95, "v:v")    // demote, promote
	define(t, 101, 255, "vv:v") // most of the rest; the exceptions follow
	for _, code := range []int{96, 97, 98, 103, 104, 105, 106, 116, 117, 122, 124, 125, 126, 127, 128, 129, 135, 136, 137, 138,
		148, 160, 161, 167, 168, 169, 170, 192, 193, 199, 200, 201, 202, 224, 225, 227, 236, 237, 239,
		248, 249, 250, 251, 252, 253, 254, 255} {
		define(t, code, code, "v:v")
	}
	for _, code := range []int{83, 99, 100, 131, 132, 163, 164, 195, 196} { // any_true, all_true, bitmask
		define(t, code, code, "v:i")
	}
	for _, code := range []int{107, 139, 171, 203} { // shl, shr_s, shr_u
		define(t, code, code+2, "vi:v")
	}
	for _, code := range []int{154, 162, 165, 166, 175, 176, 178, 179, 180, 187, 194, 197, 198, 207, 208, 210, 211, 212, 226, 238} {
		t[code] = operation{} // codes that the specification leaves free
	}
}

// defineNaN marks arithmetic, whose NaN bits the specification leaves open. abs, neg, copysign, pmin, pmax
// and everything that moves values are exact.
func defineNaN() {
	for c := 0x8d; c <= 0x97; c++ {
		setNaN(plainOps[:], nanF32, c)
	}
	for c := 0x9b; c <= 0xa5; c++ {
		setNaN(plainOps[:], nanF64, c)
	}
	setNaN(plainOps[:], nanF32, 0xb6) // demote
	setNaN(plainOps[:], nanF64, 0xbb) // promote
	setNaN(simdOps[:], nanF32x4, 94, 103, 104, 105, 106, 227, 228, 229, 230, 231, 232, 233)
	setNaN(simdOps[:], nanF64x2, 95, 116, 117, 122, 148, 239, 240, 241, 242, 243, 244, 245)
	defineReads()
	defineCarries()
}

// defineReads marks what cannot tell one NaN from another: arithmetic, comparisons, truncations.
func defineReads() {
	for _, table := range [][]operation{plainOps[:], simdOps[:]} {
		for i := range table {
			table[i].reads = table[i].makes
		}
	}
	plainOps[0xb6].reads, plainOps[0xbb].reads = nanF64, nanF32
	simdOps[94].reads, simdOps[95].reads = nanF64x2, nanF32x4
	read := func(table []operation, form nanForm, from, to int) {
		for i := from; i <= to; i++ {
			table[i].reads = form
		}
	}
	read(plainOps[:], nanF32, 0x5b, 0x60)
	read(plainOps[:], nanF64, 0x61, 0x66)
	for _, c := range []int{0xa8, 0xae} { // truncations
		read(plainOps[:], nanF32, c, c+1)
		read(plainOps[:], nanF64, c+2, c+3)
	}
	for _, c := range []int{0, 4} { // saturating truncations
		read(satOps[:], nanF32, c, c+1)
		read(satOps[:], nanF64, c+2, c+3)
	}
	read(simdOps[:], nanF32x4, 65, 70)
	read(simdOps[:], nanF64x2, 71, 76)
	read(simdOps[:], nanF32x4, 248, 249)
	read(simdOps[:], nanF64x2, 252, 253)
}

// defineCarries marks abs, pmin, pmax, splat, extract_lane and replace_lane, and conversions from integers,
// which make no NaN.
func defineCarries() {
	carry := func(table []operation, form nanForm, codes ...int) {
		for _, c := range codes {
			table[c].carries = form
		}
	}
	carry(plainOps[:], nanF32, 0x8b)
	carry(plainOps[:], nanF64, 0x99)
	carry(simdOps[:], nanF32x4, 19, 31, 32, 224, 234, 235)
	carry(simdOps[:], nanF64x2, 20, 33, 34, 236, 246, 247)
	for _, c := range []int{0xb2, 0xb3, 0xb4, 0xb5, 0xb7, 0xb8, 0xb9, 0xba} {
		plainOps[c].exact = nanClean
	}
	simdOps[250].exact, simdOps[251].exact = nanClean, nanClean
	simdOps[254].exact, simdOps[255].exact = nanF64x2, nanF64x2
}
