package work

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrMalformed reports canonical bytes that are cut short, too long, over a
// bound, or not in their one canonical form.
var ErrMalformed = errors.New("malformed canonical bytes")

// Encoder appends canonical bytes: big-endian integers of fixed size, byte
// strings with a 4-byte length, lists with a 4-byte count. The zero value is
// ready to use.
type Encoder struct{ b []byte }

// Bytes gives what was encoded; it aliases the encoder's buffer.
func (e *Encoder) Bytes() []byte { return e.b }

// Grow makes room for n more bytes, so that a hot path allocates once.
func (e *Encoder) Grow(n int) { e.b = slices.Grow(e.b, n) }

// U8 appends one byte.
func (e *Encoder) U8(v uint8) { e.b = append(e.b, v) }

// Bool appends 0 or 1.
func (e *Encoder) Bool(v bool) {
	if v {
		e.U8(1)
		return
	}
	e.U8(0)
}

// U32 appends four bytes.
func (e *Encoder) U32(v uint32) { e.b = binary.BigEndian.AppendUint32(e.b, v) }

// U64 appends eight bytes.
func (e *Encoder) U64(v uint64) { e.b = binary.BigEndian.AppendUint64(e.b, v) }

// Hash appends 32 bytes.
func (e *Encoder) Hash(h Hash) { e.b = append(e.b, h[:]...) }

// Blob appends root and size.
func (e *Encoder) Blob(b BlobID) { e.Hash(b.Root); e.U64(b.Size) }

// Raw appends b as it is.
func (e *Encoder) Raw(b []byte) { e.b = append(e.b, b...) }

// ByteString appends a length and b.
func (e *Encoder) ByteString(b []byte) { e.U32(uint32(len(b))); e.b = append(e.b, b...) }

// String appends a length and s.
func (e *Encoder) String(s string) { e.U32(uint32(len(s))); e.b = append(e.b, s...) }

// Strings appends a count and each string.
func (e *Encoder) Strings(l []string) {
	e.U32(uint32(len(l)))
	for _, s := range l {
		e.String(s)
	}
}

// Decoder reads canonical bytes. After the first fault every read gives zero
// values and Err or Done tells; so a caller checks once, at the end. It never
// allocates more than the input is long.
type Decoder struct {
	b   []byte
	err error
}

// NewDecoder reads b, which must not change meanwhile.
func NewDecoder(b []byte) *Decoder { return &Decoder{b: b} }

// Err is the first fault, nil if none.
func (d *Decoder) Err() error { return d.err }

// Done is Err, or a fault if bytes are left over.
func (d *Decoder) Done() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("bytes after the end")
	}
	return d.err
}

// Left is the number of unread bytes.
func (d *Decoder) Left() int { return len(d.b) }

func (d *Decoder) fail(why string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, why)
	}
	d.b = nil
}

// Raw reads n bytes; the result aliases the input.
func (d *Decoder) Raw(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b) {
		d.fail("cut short")
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// U8 reads one byte.
func (d *Decoder) U8() uint8 {
	if b := d.Raw(1); b != nil {
		return b[0]
	}
	return 0
}

// Bool reads 0 or 1; anything else is malformed.
func (d *Decoder) Bool() bool {
	v := d.U8()
	if v > 1 {
		d.fail("a truth value is neither 0 nor 1")
	}
	return v == 1
}

// U32 reads four bytes.
func (d *Decoder) U32() uint32 {
	if b := d.Raw(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight bytes.
func (d *Decoder) U64() uint64 {
	if b := d.Raw(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Hash reads 32 bytes.
func (d *Decoder) Hash() (h Hash) {
	copy(h[:], d.Raw(len(h)))
	return h
}

// Blob reads root and size.
func (d *Decoder) Blob() BlobID { return BlobID{d.Hash(), d.U64()} }

// ByteString reads at most max bytes behind a length; the result aliases the
// input.
func (d *Decoder) ByteString(max int) []byte {
	n := d.U32()
	if uint64(n) > uint64(max) {
		d.fail("a byte string is over its bound")
		return nil
	}
	return d.Raw(int(n))
}

// String reads at most max bytes behind a length.
func (d *Decoder) String(max int) string { return string(d.ByteString(max)) }

// Count reads a list's count: at most max, and no more than fits into the bytes
// left at minSize bytes each.
func (d *Decoder) Count(max, minSize int) int {
	n := d.U32()
	if uint64(n) > uint64(max) || uint64(n)*uint64(minSize) > uint64(len(d.b)) {
		d.fail("a list is over its bound")
		return 0
	}
	return int(n)
}

// Strings reads at most maxCount strings of at most maxLen bytes.
func (d *Decoder) Strings(maxCount, maxLen int) []string {
	n := d.Count(maxCount, 4)
	if n == 0 {
		return nil
	}
	l := make([]string, 0, n)
	for range n {
		l = append(l, d.String(maxLen))
	}
	return l
}
