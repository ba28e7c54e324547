package gw1

import (
	"fmt"
	"unicode/utf8"
)

// reader walks a window of the module. The first problem is kept in err and ends the walk: afterwards every
// read returns zero and more reports false, so that callers need to look at err only now and then.
type reader struct {
	buf []byte // the whole module, so that positions are offsets in it
	pos int
	end int
	err *Refusal
}

func (r *reader) failAt(at int, format string, args ...any) {
	if r.err == nil {
		r.err = &Refusal{Offset: at, Reason: fmt.Sprintf(format, args...)}
	}
	r.pos = r.end
}

func (r *reader) fail(format string, args ...any) { r.failAt(r.pos, format, args...) }

// more reports whether bytes are left and nothing has failed.
func (r *reader) more() bool { return r.err == nil && r.pos < r.end }

func (r *reader) byte() byte {
	if r.pos >= r.end {
		r.fail("the module ends unexpectedly: it is cut off or not WebAssembly")
		return 0
	}
	b := r.buf[r.pos]
	r.pos++
	return b
}

// bytes returns the next n bytes as a view.
func (r *reader) bytes(n uint32) []byte {
	if uint64(r.end-r.pos) < uint64(n) {
		r.fail("the module ends unexpectedly: %d bytes wanted, %d left", n, r.end-r.pos)
		return nil
	}
	b := r.buf[r.pos : r.pos+int(n) : r.pos+int(n)]
	r.pos += int(n)
	return b
}

// u32 reads an unsigned LEB128 number of at most 32 bits, in the strict form of the specification.
func (r *reader) u32() uint32 {
	if r.pos < r.end && r.buf[r.pos] < 0x80 { // nearly all
		r.pos++
		return uint32(r.buf[r.pos-1])
	}
	at := r.pos
	var v uint32
	for shift := uint(0); ; shift += 7 {
		b := r.byte()
		if shift == 28 && b > 0x0f {
			r.failAt(at, "number longer than 32 bits")
			return 0
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// signed reads a signed LEB128 number of the given width in bits, in the strict form of the specification.
func (r *reader) signed(bits uint) int64 {
	at := r.pos
	var v int64
	for shift := uint(0); ; shift += 7 {
		b := r.byte()
		if left := bits - shift; left <= 7 { // last byte: the unused bits must repeat the sign
			sign := int8(b<<1) >> left // all ones or all zeros above the value's bits
			if b >= 0x80 || sign != 0 && sign != -1 {
				r.failAt(at, "number longer than %d bits", bits)
				return 0
			}
		}
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b&0x40 != 0 && shift+7 < 64 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
}

// count reads the length of a vector and refuses one over max or, with at least one byte per element, over
// what is left of the window.
func (r *reader) count(max uint32, what string) uint32 {
	at := r.pos
	n := r.u32()
	switch {
	case n > max:
		r.failAt(at, "%d %s: the profile allows %d", n, what, max)
		return 0
	case uint64(n) > uint64(r.end-r.pos):
		r.failAt(at, "%d %s announced, but only %d bytes follow", n, what, r.end-r.pos)
		return 0
	}
	return n
}

func (r *reader) name() string {
	at := r.pos
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.failAt(at, "a name is not UTF-8")
	}
	return string(b)
}

// appendU and appendS write LEB128 numbers in their shortest form.
func appendU(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendS(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
