package wasm

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"lukechampine.com/blake3"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/work"
)

func TestTreeHashIsBlake3(t *testing.T) {
	t.Parallel()
	var h treeHash
	for _, n := range []int{0, 1, 64, 1023, 1024, 1025, 4096, 16383, 16384, 16385, 32768, 32769, 49152, 65536, 65537, 100_000, 1 << 20} {
		b := random(uint64(n), n)
		h.reset()
		for p := b; len(p) > 0; {
			k := min(len(p), 1+n/3)
			h.write(p[:k])
			p = p[k:]
		}
		if got, want := h.sum(), work.Hash(blake3.Sum256(b)); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	}
}

func random(seed uint64, n int) []byte {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// plainDigest follows the definition word by word.
func plainDigest(mem, image, globals []byte) (work.Hash, uint64) {
	initial := make([]byte, len(mem))
	copy(initial, image)
	var e work.Encoder
	var changed []byte
	var numbers []uint32
	for n := 0; n < len(mem)/4096; n++ {
		if b := mem[n*4096 : (n+1)*4096]; !bytes.Equal(b, initial[n*4096:(n+1)*4096]) {
			changed, numbers = append(changed, b...), append(numbers, uint32(n))
		}
	}
	e.U64(uint64(len(mem)))
	e.U32(uint32(len(numbers)))
	for _, n := range numbers {
		e.U32(n)
	}
	e.Hash(blake3.Sum256(changed))
	e.Raw(globals)
	return work.Sum("gotong/memory/1", e.Bytes()), uint64(len(numbers))
}

func TestMemoryDigest(t *testing.T) {
	t.Parallel()
	image := random(1, 3*4096+100)
	var d digester
	for name, change := range map[string]func(mem []byte){
		"nothing":                 func([]byte) {},
		"a bit in the image":      func(m []byte) { m[5000] ^= 1 },
		"the image's last block":  func(m []byte) { m[3*4096+99] ^= 1 },
		"behind the image":        func(m []byte) { m[3*4096+100] = 1 },
		"a block of zeros":        func(m []byte) { m[100_000] = 1 },
		"the image wiped":         func(m []byte) { clear(m[:4096]) },
		"everything":              func(m []byte) { copy(m, random(2, len(m))) },
		"many blocks here, there": func(m []byte) { copy(m[20*4096:], random(3, 7*4096)); m[len(m)-1] = 9 },
	} {
		mem := make([]byte, 4<<16)
		copy(mem, image)
		change(mem)
		globals := []byte{1, 2, 3}
		got, blocks := d.memory(mem, image, nil, globals)
		want, n := plainDigest(mem, image, globals)
		if got != want || blocks != n {
			t.Errorf("%s: %s of %d blocks, want %s of %d", name, got, blocks, want, n)
		}
	}
}

func TestEncodeGlobals(t *testing.T) {
	t.Parallel()
	list := []gw1.Global{{Type: 0x7f}, {Type: 0x7e}, {Type: 0x7d}, {Type: 0x7c}, {Type: 0x7b}}
	got := encodeGlobals(list, func(i int) (lo, hi uint64) { return 0x1122334455667700 + uint64(i), 0xaabbccdd00000000 })
	want := []byte{
		0x7f, 0x55, 0x66, 0x77, 0x00,
		0x7e, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x01,
		0x7d, 0x55, 0x66, 0x77, 0x02,
		0x7c, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x03,
		0x7b, 0xaa, 0xbb, 0xcc, 0xdd, 0, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x04,
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
