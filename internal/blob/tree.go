package blob

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"sync"

	"lukechampine.com/blake3/bao"

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
	buf := make(fixedBuffer, bao.EncodedSize(int(b.Size), groupLog, true))
	root, err := bao.Encode(buf, io.NewSectionReader(r, 0, int64(b.Size)), int64(b.Size), groupLog, true)
	if err != nil {
		return nil, fmt.Errorf("hash blob %s: %w", b, err)
	}
	if work.Hash(root) != b.Root {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, b)
	}
	return tree(buf[8:]), nil
}

// fixedBuffer is memory to write into.
type fixedBuffer []byte

// WriteAt implements io.WriterAt.
func (f fixedBuffer) WriteAt(p []byte, off int64) (int, error) { return copy(f[off:], p), nil }

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
			dst = append(dst, make([]byte, covers)...)
			_, err = r.ReadAt(dst[have:], int64(pos))
			if err == io.EOF && pos+covers == size { // a full read may end so
				err = nil
			}
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

// appendVerified appends the bytes [off, off+n) of b that slice proves, or gives
// ErrCorrupt. The range must not be empty: an empty one proves nothing.
func appendVerified(dst []byte, b work.BlobID, off, n uint64, slice []byte) ([]byte, error) {
	if b.Size <= groupSize {
		if off != 0 || n != b.Size || work.BlobOf(slice) != b {
			return dst, fmt.Errorf("%w: %s", ErrCorrupt, b)
		}
		return append(dst, slice...), nil
	}
	if off >= off+n || off+n > b.Size {
		return dst, fmt.Errorf("%w: range %d+%d is not of %s", ErrCorrupt, off, n, b)
	}
	// Bao's decoder believes the size in the head, so the head is ours.
	var head [8]byte
	binary.LittleEndian.PutUint64(head[:], b.Size)
	in := bytes.NewReader(slice)
	out := bytes.NewBuffer(dst)
	good, err := bao.DecodeSlice(out, io.MultiReader(bytes.NewReader(head[:]), in), groupLog, off, n, b.Root)
	if !good || err != nil || in.Len() > 0 || uint64(out.Len()) != uint64(len(dst))+n {
		return dst, fmt.Errorf("%w: range %d+%d of %s", ErrCorrupt, off, n, b)
	}
	return out.Bytes(), nil
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
