package blob

import (
	"container/list"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"

	"lukechampine.com/blake3/guts"

	"github.com/gotong-network/gotong/work"
)

const (
	// groupLog is log2 of the chunks (1 KiB) in a group: proofs reach down to
	// groups of 64 KiB, which costs 64 bytes a group.
	groupLog  = 6
	groupSize = 1024 << groupLog
	// rangeBytes is the most that one request asks for: 16 groups.
	rangeBytes = 1 << 20
	// parentSize is one inner node of a tree: its children's two hashes.
	parentSize = 64
	// treeCacheBytes bounds the trees kept: those of 64 GiB of blobs.
	treeCacheBytes = 64 << 20
	// treeBuilders is how many blobs are read for their tree at once.
	treeBuilders = 2
)

// tree holds the inner nodes of a blob's hash tree above its groups, parent
// before children, left before right. That is Bao's outboard without its head:
// the head is the size, which the blob's name gives.
type tree []byte

// buildTree reads a whole blob; ErrCorrupt if it is not b.
func buildTree(b work.BlobID, r io.ReaderAt) (tree, error) {
	t := make(tree, parents(b.Size)*parentSize)
	buf := make([]byte, groupSize)
	cv, err := t.build(r, buf, 0, b.Size, 0, guts.FlagRoot)
	if err != nil {
		return nil, fmt.Errorf("hash blob %s: %w", b, err)
	}
	if cv != cvOf(b.Root[:]) {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, b)
	}
	return t, nil
}

// build fills in node, which covers [pos, pos+covers), and what is below it, and
// gives its chaining value.
func (t tree) build(r io.ReaderAt, buf []byte, pos, covers, node uint64, flags uint32) (cv [8]uint32, err error) {
	if covers <= groupSize {
		if err := readFull(r, buf[:covers], pos); err != nil {
			return cv, err
		}
		return groupCV(buf[:covers], pos/guts.ChunkSize, flags), nil
	}
	left := leftSize(covers)
	l, err := t.build(r, buf, pos, left, node+1, 0)
	if err != nil {
		return cv, err
	}
	rest, err := t.build(r, buf, pos+left, covers-left, node+1+parents(left), 0)
	if err != nil {
		return cv, err
	}
	putCV(t[node*parentSize:], &l)
	putCV(t[node*parentSize+parentSize/2:], &rest)
	return guts.ChainingValue(guts.ParentNode(l, rest, &guts.IV, flags)), nil
}

// readFull reads all of buf at pos; io.ErrUnexpectedEOF if there is less.
func readFull(r io.ReaderAt, buf []byte, pos uint64) error {
	n, err := r.ReadAt(buf, int64(pos))
	switch {
	case n == len(buf):
		return nil // a full read may end with io.EOF
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}

// cvOf reads a chaining value of 32 bytes.
func cvOf(raw []byte) (cv [8]uint32) {
	_ = raw[31]
	for i := range cv {
		cv[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return cv
}

func putCV(dst []byte, cv *[8]uint32) {
	for i, w := range cv {
		binary.LittleEndian.PutUint32(dst[4*i:], w)
	}
}

const simdBytes = guts.MaxSIMD * guts.ChunkSize

// groupCV is the chaining value of one group, whose first chunk has that number. It
// copies nothing but a ragged end.
func groupCV(p []byte, chunk uint64, flags uint32) [8]uint32 {
	var stack [8][8]uint32 // of subtrees of 1, 2, 4, … times simdBytes
	var n uint64           // subtrees pushed
	for ; len(p) > simdBytes; n++ {
		cv := guts.ChainingValue(guts.CompressBuffer((*[simdBytes]byte)(p), simdBytes, &guts.IV, chunk+n*guts.MaxSIMD, 0))
		i := 0
		for ; n&(1<<i) != 0; i++ {
			cv = guts.ChainingValue(guts.ParentNode(stack[i], cv, &guts.IV, 0))
		}
		stack[i] = cv
		p = p[simdBytes:]
	}
	var last guts.Node
	if len(p) == simdBytes {
		last = guts.CompressBuffer((*[simdBytes]byte)(p), simdBytes, &guts.IV, chunk+n*guts.MaxSIMD, 0)
	} else {
		var end [simdBytes]byte
		copy(end[:], p)
		last = guts.CompressBuffer(&end, len(p), &guts.IV, chunk+n*guts.MaxSIMD, 0)
	}
	for i := range bits.Len64(n) {
		if n&(1<<i) != 0 {
			last = guts.ParentNode(stack[i], guts.ChainingValue(last), &guts.IV, 0)
		}
	}
	last.Flags |= flags
	return guts.ChainingValue(last)
}

// parents is the number of inner nodes over size bytes.
func parents(size uint64) uint64 {
	if size <= groupSize {
		return 0
	}
	return (size+groupSize-1)/groupSize - 1
}

// leftSize is what the left child of a node of size bytes covers: the largest
// power of two below size.
func leftSize(size uint64) uint64 { return 1 << (bits.Len64(size-1) - 1) }

// appendSlice appends the proof and the bytes of [off, off+n) of a blob: Bao's
// slice without its head. It seeks, so it costs the slice and log(size) nodes.
func (t tree) appendSlice(dst []byte, r io.ReaderAt, size, off, n uint64) ([]byte, error) {
	if off >= off+n || off+n > size || uint64(len(t)) != parents(size)*parentSize {
		return dst, fmt.Errorf("slice %d+%d of %d bytes", off, n, size)
	}
	var err error
	var walk func(pos, covers, node uint64)
	walk = func(pos, covers, node uint64) {
		if err != nil || pos >= off+n || off >= pos+covers {
			return
		}
		if covers <= groupSize {
			have := len(dst)
			dst = slices.Grow(dst, int(covers))[:have+int(covers)]
			err = readFull(r, dst[have:], pos)
			return
		}
		dst = append(dst, t[node*parentSize:(node+1)*parentSize]...)
		left := leftSize(covers)
		walk(pos, left, node+1)
		walk(pos+left, covers-left, node+1+parents(left))
	}
	walk(0, size, 0)
	return dst, err
}

// proof is a slice taken apart; its parts are those of the slice.
type proof struct {
	nodes  []provenNode
	groups []provenGroup
}

type provenNode struct {
	at  uint64 // place in the tree
	raw []byte
}

type provenGroup struct {
	pos  uint64 // of its first byte in the blob
	data []byte
}

// verify takes apart the slice of [off, off+n) of b, which is larger than a group,
// into p, or gives ErrCorrupt. The size is that of the name, never one that came
// along; an empty range proves nothing and is refused.
func (p *proof) verify(b work.BlobID, off, n uint64, slice []byte) error {
	p.nodes, p.groups = p.nodes[:0], p.groups[:0]
	if off >= off+n || off+n > b.Size || b.Size <= groupSize {
		return fmt.Errorf("%w: range %d+%d is not of %s", ErrCorrupt, off, n, b)
	}
	var walk func(cv [8]uint32, pos, covers, node uint64, flags uint32) bool
	walk = func(cv [8]uint32, pos, covers, node uint64, flags uint32) bool {
		if pos >= off+n || off >= pos+covers {
			return true
		}
		if covers <= groupSize {
			if uint64(len(slice)) < covers || groupCV(slice[:covers], pos/guts.ChunkSize, flags) != cv {
				return false
			}
			p.groups = append(p.groups, provenGroup{pos, slice[:covers]})
			slice = slice[covers:]
			return true
		}
		if len(slice) < parentSize {
			return false
		}
		raw := slice[:parentSize]
		slice = slice[parentSize:]
		l, r := cvOf(raw), cvOf(raw[parentSize/2:])
		if guts.ChainingValue(guts.ParentNode(l, r, &guts.IV, flags)) != cv {
			return false
		}
		p.nodes = append(p.nodes, provenNode{node, raw})
		left := leftSize(covers)
		return walk(l, pos, left, node+1, 0) && walk(r, pos+left, covers-left, node+1+parents(left), 0)
	}
	if !walk(cvOf(b.Root[:]), 0, b.Size, 0, guts.FlagRoot) || len(slice) > 0 {
		return fmt.Errorf("%w: range %d+%d of %s", ErrCorrupt, off, n, b)
	}
	return nil
}

// appendVerified appends the bytes [off, off+n) of b that slice proves, or gives
// ErrCorrupt. The range must not be empty: an empty one proves nothing.
func appendVerified(dst []byte, b work.BlobID, off, n uint64, slice []byte) ([]byte, error) {
	if b.Size <= groupSize {
		if off != 0 || n != b.Size || work.BlobOf(slice) != b {
			return dst, fmt.Errorf("%w: %s", ErrCorrupt, b)
		}
		return append(dst, slice...), nil
	}
	var p proof
	if err := p.verify(b, off, n, slice); err != nil {
		return dst, err
	}
	for _, g := range p.groups {
		lo, hi := max(off, g.pos)-g.pos, min(off+n, g.pos+uint64(len(g.data)))-g.pos
		dst = append(dst, g.data[lo:hi]...)
	}
	return dst, nil
}

// trees keeps the trees of the blobs that were served last.
type trees struct {
	store    Store
	builders chan struct{}

	mu    sync.Mutex // guards everything below
	byID  map[work.BlobID]*list.Element
	order *list.List // of *treeEntry, used last in front
	bytes uint64
}

type treeEntry struct {
	b     work.BlobID
	ready chan struct{} // closed when the fields below are set
	tree  tree
	err   error
}

func newTrees(store Store) *trees {
	return &trees{
		store: store, builders: make(chan struct{}, treeBuilders),
		byID: map[work.BlobID]*list.Element{}, order: list.New(),
	}
}

// get gives a blob's tree, building it if needed; many who want it share the
// work.
func (t *trees) get(b work.BlobID) (tree, error) {
	t.mu.Lock()
	if e := t.byID[b]; e != nil {
		t.order.MoveToFront(e)
		t.mu.Unlock()
		entry := e.Value.(*treeEntry)
		<-entry.ready
		return entry.tree, entry.err
	}
	entry := &treeEntry{b: b, ready: make(chan struct{})}
	t.byID[b] = t.order.PushFront(entry)
	t.bytes += treeBytes(b)
	t.evict()
	t.mu.Unlock()

	entry.tree, entry.err = t.build(b)
	close(entry.ready)
	if entry.err != nil {
		t.forget(entry)
	}
	return entry.tree, entry.err
}

// put keeps a tree that is known already.
func (t *trees) put(b work.BlobID, built tree) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[b] != nil {
		return
	}
	entry := &treeEntry{b: b, ready: make(chan struct{}), tree: built}
	close(entry.ready)
	t.byID[b] = t.order.PushFront(entry)
	t.bytes += treeBytes(b)
	t.evict()
}

func (t *trees) build(b work.BlobID) (tree, error) {
	t.builders <- struct{}{}
	defer func() { <-t.builders }()
	r, err := t.store.Open(b)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return buildTree(b, r)
}

func treeBytes(b work.BlobID) uint64 { return 256 + parents(b.Size)*parentSize }

// evict drops what was used longest ago; t.mu is held. Who holds a dropped tree
// keeps it.
func (t *trees) evict() {
	for t.bytes > treeCacheBytes && t.order.Len() > 1 {
		t.remove(t.order.Back())
	}
}

func (t *trees) remove(e *list.Element) {
	entry := t.order.Remove(e).(*treeEntry)
	delete(t.byID, entry.b)
	t.bytes -= treeBytes(entry.b)
}

func (t *trees) forget(entry *treeEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byID[entry.b]; e != nil && e.Value == entry {
		t.remove(e)
	}
}
