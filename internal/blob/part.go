package blob

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"slices"
	"sync"
	"time"

	"lukechampine.com/blake3/guts"

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Part is a large blob that arrives in groups, in any order, from as many peers as
// its users ask. What is proven is kept with its proof, so that it can be served to
// others before the blob is whole, and in a FileStore also survives the end of the
// process. Safe for concurrent use.
type Part struct {
	b    work.BlobID
	data PartData
	side *os.File             // bitmap and tree, nil in memory
	room func(n uint64) error // whether so many bytes can be written; nil: always
	end  PartEnd

	mu   sync.RWMutex // guards everything below
	have bitmap       // by group
	left uint64       // groups that are not here
	tree tree         // nodes that are not known are zero
	over bool         // committed or given up: nothing is written any more

	granted uint64   // bytes that room said yes to and that were not written yet
	unsaved []uint64 // nodes that the side file has not
	lo, hi  uint64   // groups of these bounds are new since it was written; none if equal
	newest  uint64   // how many
	savedAt time.Time

	met    chan struct{}    // told when askers grew
	askers []sign.PublicKey // who asked what is here, and so fetches it too
}

// maxAskers bounds whom a part remembers.
const maxAskers = 64

// asked notes who asked what is here of the blob.
func (p *Part) asked(by sign.PublicKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.askers) >= maxAskers || slices.Contains(p.askers, by) {
		return
	}
	p.askers = append(p.askers, by)
	select {
	case p.met <- struct{}{}:
	default:
	}
}

// siblings are those who asked.
func (p *Part) siblings() []sign.PublicKey {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Clone(p.askers)
}

// PartData is where a part's bytes are.
type PartData interface {
	io.ReaderAt
	io.WriterAt
}

// PartEnd is what a store does at a part's end.
type PartEnd interface {
	// WholePart makes the blob present; durable says that it must survive a power cut
	// then. It calls Finish first, and does nothing if that says false.
	WholePart(p *Part, durable bool) error
	// LeavePart ends one user's hold: it is called once for each Begin that gave the
	// part.
	LeavePart(p *Part)
}

// bitmap is a set of groups.
type bitmap []byte

func newBitmap(n uint64) bitmap { return make(bitmap, (n+7)/8) }

func (m bitmap) has(i uint64) bool { return i/8 < uint64(len(m)) && m[i/8]>>(i%8)&1 == 1 }
func (m bitmap) set(i uint64)      { m[i/8] |= 1 << (i % 8) }
func (m bitmap) clear(i uint64)    { m[i/8] &^= 1 << (i % 8) }

func (m bitmap) count() (n uint64) {
	for _, b := range m {
		n += uint64(bits.OnesCount8(b))
	}
	return n
}

// groups is the number of groups of a blob.
func groups(b work.BlobID) uint64 { return (b.Size + groupSize - 1) / groupSize }

// NewPart makes the part of a blob of more than 64 KiB, of which data holds nothing
// yet: for stores.
func NewPart(b work.BlobID, data PartData, end PartEnd) *Part {
	n := groups(b)
	return &Part{b: b, data: data, end: end, have: newBitmap(n), left: n, tree: make(tree, parents(b.Size)*parentSize), met: make(chan struct{}, 1)}
}

// Blob is what the part is of.
func (p *Part) Blob() work.BlobID { return p.b }

// Data is what NewPart was given.
func (p *Part) Data() PartData { return p.data }

// Whole reports whether every group is here.
func (p *Part) Whole() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.left == 0
}

// hasGroup reports whether group i is here.
func (p *Part) hasGroup(i uint64) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.have.has(i)
}

// missingIn counts the groups of [lo, hi) that are not here.
func (p *Part) missingIn(lo, hi uint64) (n uint64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for i := lo; i < hi; i++ {
		if !p.have.has(i) {
			n++
		}
	}
	return n
}

// bitmap is a copy of what is here.
func (p *Part) bitmap() bitmap {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return append(bitmap(nil), p.have...)
}

// errPartOver reports a part that was committed or given up.
var errPartOver = errors.New("blob is no longer being fetched")

// keep stores what a slice proved and gives how many groups were new. The proof
// must be of this blob.
func (p *Part) keep(proven *proof) (fresh int, err error) {
	if err := p.grant(uint64(len(proven.groups)) * groupSize); err != nil {
		return 0, err
	}
	if err := p.write(proven.groups); err != nil {
		return 0, fmt.Errorf("store blob: %w", diskError(err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return 0, errPartOver
	}
	for _, n := range proven.nodes {
		copy(p.tree[n.at*parentSize:], n.raw)
	}
	for _, g := range proven.groups {
		if i := g.pos / groupSize; !p.have.has(i) {
			p.have.set(i)
			p.left--
			fresh++
			p.noteLocked(i)
		}
	}
	if p.side == nil || fresh == 0 {
		return fresh, nil
	}
	for _, n := range proven.nodes {
		p.unsaved = append(p.unsaved, n.at)
	}
	if now := time.Now(); p.newest >= saveGroups || now.Sub(p.savedAt) >= saveEvery {
		p.savedAt = now
		return fresh, p.saveLocked()
	}
	return fresh, nil
}

// grant asks for room, for several writes at a time.
func (p *Part) grant(n uint64) error {
	if p.room == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.granted < n {
		ask := max(n, min(saveGroups, p.left)*groupSize)
		if err := p.room(ask); err != nil {
			return err
		}
		p.granted = ask
	}
	p.granted -= n
	return nil
}

// noteLocked remembers that group i is new.
func (p *Part) noteLocked(i uint64) {
	if p.lo == p.hi {
		p.lo, p.hi = i, i+1
	}
	p.lo, p.hi = min(p.lo, i), max(p.hi, i+1)
	p.newest++
}

// write writes what is not here, neighbours together. Two peers may bring one group
// at a time: they write the same bytes.
func (p *Part) write(gs []provenGroup) error {
	var run [][]byte
	var at uint64
	flush := func() error {
		if len(run) == 0 {
			return nil
		}
		defer func() { run = run[:0] }()
		return writeGroups(p.data, int64(at), run)
	}
	for _, g := range gs {
		if p.hasGroup(g.pos / groupSize) {
			if err := flush(); err != nil {
				return err
			}
			continue
		}
		if len(run) == 0 {
			at = g.pos
		}
		run = append(run, g.data)
	}
	return flush()
}

func writeEach(to io.WriterAt, off int64, groups [][]byte) error {
	for _, g := range groups {
		if _, err := to.WriteAt(g, off); err != nil {
			return err
		}
		off += int64(len(g))
	}
	return nil
}

// appendSlice is tree.appendSlice of what is here: ErrMissing if a group of the
// range is not.
func (p *Part) appendSlice(dst []byte, off, n uint64) ([]byte, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for i := off / groupSize; i*groupSize < off+n; i++ {
		if p.over || !p.have.has(i) {
			return dst, missing(p.b)
		}
	}
	return p.tree.appendSlice(dst, p.data, p.b.Size, off, n)
}

// Commit makes the blob present; an error unless every group is here. durable
// says that it must survive a power cut once Commit returns; without, a blob that
// such a cut damaged is found out when it is opened, and fetched again.
func (p *Part) Commit(durable bool) error {
	p.mu.Lock()
	left, over := p.left, p.over
	p.mu.Unlock()
	if over {
		return nil // somebody was faster
	}
	if left > 0 {
		return fmt.Errorf("blob %s: %d groups are missing", p.b, left)
	}
	return p.end.WholePart(p, durable)
}

// Close ends this user's hold; the last one's leaves what is here for a later try.
func (p *Part) Close() { p.end.LeavePart(p) }

// Begun reports whether anything is here.
func (p *Part) Begun() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.left < groups(p.b)
}

// Finish marks the end of all writing; false if it had ended before.
func (p *Part) Finish() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.over
	p.over = true
	return first
}

// open reports whether the part is neither whole and stored nor given up.
func (p *Part) open() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return !p.over
}

// The side file of a part on disk: its head, the bitmap, the tree. It is written
// after the bytes that it speaks of, and not synced: what a power cut left behind
// is verified when the part is taken up again.
const sideHead = "gotong part 1\n\x00\x00"

// The side file is written when so many groups (4 MiB) are new, or when it was
// written that long ago: a process that is killed fetches no more than these again.
const (
	saveGroups = 64
	saveEvery  = time.Second
)

// save writes what the side file has not.
func (p *Part) save() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.side == nil || p.newest == 0 {
		return nil
	}
	return p.saveLocked()
}

// saveLocked is save with the lock held: nodes before the groups that stand on them.
func (p *Part) saveLocked() error {
	slices.Sort(p.unsaved)
	nodes := slices.Compact(p.unsaved)
	base := uint64(len(sideHead) + len(p.have))
	for len(nodes) > 0 { // runs share a write
		n := 1
		for n < len(nodes) && nodes[n] == nodes[0]+uint64(n) {
			n++
		}
		from := nodes[0] * parentSize
		if _, err := p.side.WriteAt(p.tree[from:from+uint64(n)*parentSize], int64(base+from)); err != nil {
			return fmt.Errorf("store blob: %w", diskError(err))
		}
		nodes = nodes[n:]
	}
	lo, hi := p.lo/8, (p.hi+7)/8
	if _, err := p.side.WriteAt(p.have[lo:hi], int64(uint64(len(sideHead))+lo)); err != nil {
		return fmt.Errorf("store blob: %w", diskError(err))
	}
	p.unsaved, p.lo, p.hi, p.newest = p.unsaved[:0], 0, 0, 0
	return nil
}

// begin writes a new side file, all of it: when the disk is full later, what is here
// can still be noted.
func (p *Part) begin() error {
	if _, err := p.side.WriteAt([]byte(sideHead), 0); err != nil {
		return diskError(err)
	}
	zero := make([]byte, min(len(p.have)+len(p.tree), groupSize))
	for at, end := len(sideHead), len(sideHead)+len(p.have)+len(p.tree); at < end; at += len(zero) {
		if _, err := p.side.WriteAt(zero[:min(len(zero), end-at)], int64(at)); err != nil {
			return diskError(err)
		}
	}
	return nil
}

// takeUp reads the side file of an earlier process and keeps of it what the bytes
// on disk bear out.
func (p *Part) takeUp() error {
	raw := make([]byte, len(sideHead)+len(p.have)+len(p.tree))
	n, err := p.side.ReadAt(raw, 0) // the tail may never have been written
	if err != nil && err != io.EOF {
		return err
	}
	if n < len(sideHead) || string(raw[:len(sideHead)]) != sideHead {
		return p.begin()
	}
	copy(p.have, raw[len(sideHead):])
	copy(p.tree, raw[len(sideHead)+len(p.have):])
	for i := groups(p.b); i < uint64(len(p.have))*8; i++ {
		p.have.clear(i)
	}
	p.prove(make([]byte, groupSize), cvOf(p.b.Root[:]), 0, p.b.Size, 0, guts.FlagRoot)
	p.left = groups(p.b) - p.have.count()
	_, err = p.side.WriteAt(p.have, int64(len(sideHead)))
	return diskError(err)
}

// prove forgets the groups below node that do not give its chaining value.
func (p *Part) prove(buf []byte, cv [8]uint32, pos, covers, node uint64, flags uint32) {
	lo, hi := pos/groupSize, (pos+covers+groupSize-1)/groupSize
	if p.missingIn(lo, hi) == hi-lo {
		return
	}
	good := false
	if covers <= groupSize {
		good = readFull(p.data, buf[:covers], pos) == nil && groupCV(buf[:covers], pos/guts.ChunkSize, flags) == cv
	} else {
		raw := p.tree[node*parentSize : (node+1)*parentSize]
		l, r := cvOf(raw), cvOf(raw[parentSize/2:])
		if good = guts.ChainingValue(guts.ParentNode(l, r, &guts.IV, flags)) == cv; good {
			left := leftSize(covers)
			p.prove(buf, l, pos, left, node+1, 0)
			p.prove(buf, r, pos+left, covers-left, node+1+parents(left), 0)
		}
	}
	for i := lo; i < hi && !good; i++ {
		p.have.clear(i)
	}
}

// memPart is the bytes of a part in memory.
type memPart []byte

// ReadAt implements io.ReaderAt.
func (m memPart) ReadAt(dst []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(dst, m[off:])
	if n < len(dst) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (m memPart) WriteAt(src []byte, off int64) (int, error) { return copy(m[off:], src), nil }

// decodeBitmap reads what a peer says to have of a blob.
func decodeBitmap(b work.BlobID, raw []byte) (bitmap, error) {
	n := groups(b)
	if uint64(len(raw)) != (n+7)/8 {
		return nil, fmt.Errorf("%w: a bitmap of %d bytes for %d groups", errWire, len(raw), n)
	}
	m := append(bitmap(nil), raw...)
	for i := n; i < uint64(len(m))*8; i++ {
		m.clear(i)
	}
	return m, nil
}
