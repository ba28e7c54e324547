package wasm

import (
	"bytes"
	"encoding/binary"

	"github.com/tetratelabs/wazero/api"
	"lukechampine.com/blake3/guts"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/work"
)

// blockBytes is the unit of the memory digest and of its fuel.
const blockBytes = 4 << 10

// digester computes memory digests, one at a time. The zero value is ready.
type digester struct {
	hash treeHash
	list []byte
}

// memory is the Memory of a leaf: it names the final state of the
// program, and no one can guess it without having run the program.
//
// Let the initial memory be gw1.Module.Image followed by zeros without end, and
// the final memory M of S bytes (0 without a memory) be cut into blocks of 4096
// bytes numbered from 0. A block is changed if it differs from the same bytes
// of the initial memory. With c changed blocks n1 < n2 < … < nc:
//
//	content = BLAKE3-256(block n1 ‖ block n2 ‖ … ‖ block nc)
//	memory  = Sum("gotong/memory/1", u64 S ‖ u32 c ‖ u32 n1 ‖ … ‖ u32 nc ‖ content ‖ globals)
//
// where integers are big-endian, Sum is that of package work, and globals are
// gw1.Module.MutableGlobals in their order, each as its type (u8) and its value:
// u32 for i32 and f32, u64 for i64 and f64 (the bits of floats), u64 high ‖ u64
// low for v128. A run that never began (its base charges exceed its fuel)
// digests as if it had no memory and no globals. The fuel of the digest is
// gw1.FuelPerDigestedBlock for each of the c changed blocks.
//
// Unchanged blocks need no hashing because the program id already names them.
// touched, if not nil, yields ranges of block numbers that hold every changed
// block; the others are known to be unchanged.
func (d *digester) memory(mem, image []byte, touched func(yield func(lo, hi int) bool), globals []byte) (work.Hash, uint64) {
	h, list := &d.hash, d.list[:0]
	h.reset()
	count := uint32(0)
	scan := func(lo, hi int) bool {
		for n := lo; n < hi; n++ {
			block := mem[n*blockBytes : (n+1)*blockBytes]
			if isInitial(block, image, n*blockBytes) {
				continue
			}
			h.write(block)
			list = binary.BigEndian.AppendUint32(list, uint32(n))
			count++
		}
		return true
	}
	if touched == nil {
		scan(0, len(mem)/blockBytes)
	} else {
		touched(scan)
	}
	d.list = list
	content := h.sum()
	var head [12]byte
	binary.BigEndian.PutUint64(head[:], uint64(len(mem)))
	binary.BigEndian.PutUint32(head[8:], count)
	return work.Sum("gotong/memory/1", head[:], list, content[:], globals), uint64(count)
}

var zeroBlock [blockBytes]byte

// isInitial reports whether the block at an offset is as the image has it.
func isInitial(block, image []byte, at int) bool {
	if at >= len(image) {
		return bytes.Equal(block, zeroBlock[:])
	}
	n := min(len(block), len(image)-at)
	return bytes.Equal(block[:n], image[at:at+n]) && bytes.Equal(block[n:], zeroBlock[n:])
}

// encodeGlobals gives the globals part of the digest. value reads one global:
// the low and the high half.
func encodeGlobals(list []gw1.Global, value func(i int) (lo, hi uint64)) []byte {
	var b []byte
	for i, g := range list {
		lo, hi := value(i)
		b = append(b, g.Type)
		switch g.Type {
		case api.ValueTypeI32, api.ValueTypeF32:
			b = binary.BigEndian.AppendUint32(b, uint32(lo))
		case api.ValueTypeI64, api.ValueTypeF64:
			b = binary.BigEndian.AppendUint64(b, lo)
		default:
			b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, hi), lo)
		}
	}
	return b
}

// groupBytes is what the engine of BLAKE3 compresses at once: a whole subtree.
const groupBytes = guts.MaxSIMD * guts.ChunkSize

// treeHash is BLAKE3-256 in groups of 16 KiB, without the allocations and
// goroutines of the general hasher, which cost more than a small digest. The
// zero value is ready.
type treeHash struct {
	buf    [groupBytes]byte
	n      int
	chunks uint64        // compressed so far; a multiple of guts.MaxSIMD
	stack  [64][8]uint32 // subtree roots by height, occupied where chunks has its bit
}

func (h *treeHash) reset() { h.n, h.chunks = 0, 0 }

func (h *treeHash) write(p []byte) {
	for len(p) > 0 {
		if h.n == groupBytes { // more follows, so this group is not the root
			h.push(guts.ChainingValue(guts.CompressBuffer(&h.buf, h.n, &guts.IV, h.chunks, 0)))
			h.n = 0
		}
		k := copy(h.buf[h.n:], p)
		h.n += k
		p = p[k:]
	}
}

func (h *treeHash) push(cv [8]uint32) {
	height := 0
	for 1<<height < guts.MaxSIMD {
		height++
	}
	for ; h.chunks>>height&1 == 1; height++ {
		cv = guts.ChainingValue(guts.ParentNode(h.stack[height], cv, &guts.IV, 0))
	}
	h.stack[height] = cv
	h.chunks += guts.MaxSIMD
}

func (h *treeHash) sum() work.Hash {
	node := guts.CompressBuffer(&h.buf, h.n, &guts.IV, h.chunks, 0)
	for height := range h.stack {
		if h.chunks>>height&1 == 1 {
			node = guts.ParentNode(h.stack[height], guts.ChainingValue(node), &guts.IV, 0)
		}
	}
	node.Flags |= guts.FlagRoot
	out := guts.WordsToBytes(guts.CompressNode(node))
	return work.Hash(out[:32])
}
