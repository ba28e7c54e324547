package gw1

import (
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// scratchDir is the writable directory whose contents are no output.
const scratchDir = "tmp"

// area says which rules hold for a node.
type area uint8

const (
	areaInput   area = iota // read-only
	areaOutput              // counted against OutputCap
	areaScratch             // counted against ScratchCap
)

// node is a file or directory of the program's world.
type node struct {
	inode    uint64
	area     area
	parent   *node // nil for the root and for what was removed
	name     string
	children map[string]*node // nil for files
	mtime    uint64           // nanoseconds of the virtual clock
	listing  []dirEntry       // of the directory as it is, nil if it must be made anew

	input File   // content of input files
	data  []byte // content of files that the program created
	opens int    // descriptors; a removed file keeps its bytes counted until the last is closed
}

func (n *node) isDir() bool { return n.children != nil }

func (n *node) size() int64 {
	if n.area == areaInput {
		return n.input.Size
	}
	return int64(len(n.data))
}

func (n *node) filetype() byte {
	if n.isDir() {
		return filetypeDirectory
	}
	return filetypeRegular
}

func (n *node) sortedNames() []string {
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// readAt fills b from an offset and returns how much there was.
func (n *node) readAt(b []byte, offset int64) int {
	size := n.size()
	if offset < 0 || offset >= size {
		return 0
	}
	b = b[:min(int64(len(b)), size-offset)]
	if n.area != areaInput {
		return copy(b, n.data[offset:])
	}
	got, err := n.input.ReaderAt.ReadAt(b, offset)
	if got < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		panic(&Stop{Reason: StopHost, Err: err})
	}
	return got
}

func (n *node) collect(path string, list []OutFile) []OutFile {
	if !n.isDir() {
		return append(list, OutFile{path, n.data})
	}
	for name, child := range n.children {
		list = child.collect(path+"/"+name, list)
	}
	return list
}

func sortOutFiles(list []OutFile) {
	slices.SortFunc(list, func(a, b OutFile) int { return strings.Compare(a.Path, b.Path) })
}

func (h *Host) nextInode() uint64 {
	h.inodes++
	return h.inodes
}

func (h *Host) newFile(dir *node, name string, area area) *node {
	n := &node{inode: h.nextInode(), area: area, parent: dir, name: name, mtime: h.clock}
	if dir != nil {
		dir.children[name] = n
		h.changed(dir)
	}
	return n
}

// changed notes that a directory has other entries now.
func (h *Host) changed(dir *node) { dir.mtime, dir.listing = h.clock, nil }

func (h *Host) newDir(dir *node, name string, area area) *node {
	n := h.newFile(dir, name, area)
	n.children = map[string]*node{}
	return n
}

// checkName checks one part of a path. A backslash is refused because outputs may be stored on systems where
// it separates directories.
func checkName(name string) uint32 {
	switch {
	case name == "" || name == "." || name == "..":
		return errnoInval
	case len(name) > maxNameBytes:
		return errnoNametoolong
	case !utf8.ValidString(name):
		return errnoIlseq
	case strings.ContainsAny(name, "/\\\x00"):
		return errnoInval
	}
	return errnoSuccess
}

// place is where a path leads: a directory, a name in it, and the node of that name or nil.
type place struct {
	dir  *node
	name string // empty if the path names dir itself
	node *node
	// slash is set if the path ends in a slash, so that it must name a directory.
	slash bool
}

// resolve follows a path from a directory. It never leaves that directory: absolute paths and .. above it
// are ENOTCAPABLE. There are no symbolic links to follow.
func resolve(base *node, path string) (place, uint32) {
	if len(path) > maxPathBytes {
		return place{}, errnoNametoolong
	}
	if path == "" {
		return place{}, errnoNoent
	}
	if path[0] == '/' {
		return place{}, errnoNotcapable
	}
	at := place{dir: base, node: base}
	depth := 0
	for part := range strings.SplitSeq(path, "/") {
		at.slash = false
		if at.node == nil {
			if part == "" || part == "." { // only these may follow a name that does not exist yet
				at.slash = true
				continue
			}
			return place{}, errnoNoent
		}
		if !at.node.isDir() {
			return place{}, errnoNotdir
		}
		switch part {
		case "", ".":
			at.slash = true
		case "..":
			if depth--; depth < 0 {
				return place{}, errnoNotcapable
			}
			up := at.node.parent
			if up == nil { // a directory that was removed
				return place{}, errnoNoent
			}
			at = place{dir: up, node: up, slash: true}
		default:
			if errno := checkName(part); errno != errnoSuccess {
				return place{}, errno
			}
			depth++
			at = place{dir: at.node, name: part, node: at.node.children[part]}
		}
	}
	return at, errnoSuccess
}

// account moves the bytes that an area is charged for from one size to another. Output over its cap ends
// the run; scratch over its cap is refused.
func (h *Host) account(a area, from, to int64) uint32 {
	switch a {
	case areaOutput:
		h.output += uint64(to) - uint64(from)
		if to > from && h.output > h.c.OutputCap {
			panic(&Stop{Reason: StopOutput})
		}
	case areaScratch:
		next := h.scratch + uint64(to) - uint64(from)
		if to > from && next > h.c.ScratchCap {
			return errnoNospc
		}
		h.scratch = next
	}
	return errnoSuccess
}

// resize makes a file of the program longer, with zeros, or shorter.
func (h *Host) resize(n *node, size int64) uint32 {
	if size > maxFileBytes {
		return errnoFbig
	}
	old := int64(len(n.data))
	if errno := h.account(n.area, old, size); errno != errnoSuccess {
		return errno
	}
	switch {
	case size < old/2: // give the memory back
		n.data = slices.Clone(n.data[:size])
	case size <= old:
		clear(n.data[size:])
		n.data = n.data[:size]
	default:
		n.data = slices.Grow(n.data, int(size-old))[:size]
	}
	n.mtime = h.clock
	return errnoSuccess
}

// maxFileBytes keeps sizes in the range of signed numbers; caps are far below.
const maxFileBytes = 1 << 40

// create makes a file or directory of the program's.
func (h *Host) create(at place, dir bool) (*node, uint32) {
	switch {
	case at.dir.area == areaInput:
		return nil, errnoRofs
	case at.dir.parent == nil: // a directory that was removed
		return nil, errnoNoent
	case h.created >= h.c.MaxFiles:
		return nil, errnoNospc
	}
	h.created++
	if dir {
		return h.newDir(at.dir, at.name, at.dir.area), errnoSuccess
	}
	return h.newFile(at.dir, at.name, at.dir.area), errnoSuccess
}

// detach takes a node out of its directory; its bytes stay counted while it is open.
func (h *Host) detach(n *node) {
	delete(n.parent.children, n.name)
	h.changed(n.parent)
	n.parent = nil
	h.created--
	h.release(n)
}

// release gives up the bytes of a file that was removed and is no longer open.
func (h *Host) release(n *node) {
	if n.parent == nil && n.opens == 0 && n.area != areaInput && !n.isDir() {
		h.account(n.area, int64(len(n.data)), 0)
		n.data = nil
	}
}

// protected reports whether a node must not be removed or moved: inputs and the output directories themselves.
func protected(n *node) bool { return n.parent == nil || n.parent.area == areaInput }

// remove deletes a file or an empty directory.
func (h *Host) remove(at place, dir bool) uint32 {
	n := at.node
	switch {
	case at.name == "":
		return errnoInval
	case dir && !n.isDir():
		return errnoNotdir
	case protected(n):
		return errnoRofs
	case !dir && n.isDir():
		return errnoIsdir
	case !dir && at.slash:
		return errnoNotdir
	case dir && len(n.children) > 0:
		return errnoNotempty
	}
	h.detach(n)
	return errnoSuccess
}

// rename moves a node, replacing a file by a file or an empty directory by a directory.
func (h *Host) rename(from, to place) uint32 {
	n, old := from.node, to.node
	switch {
	case from.name == "" || to.name == "":
		return errnoInval
	case protected(n) || to.dir.area == areaInput:
		return errnoRofs
	case to.dir.parent == nil:
		return errnoNoent
	case (from.slash || to.slash) && !n.isDir():
		return errnoNotdir
	case n == old:
		return errnoSuccess
	case inside(to.dir, n):
		return errnoInval
	}
	if old != nil {
		switch {
		case old.isDir() && !n.isDir():
			return errnoIsdir
		case !old.isDir() && n.isDir():
			return errnoNotdir
		case len(old.children) > 0:
			return errnoNotempty
		}
	}
	if errno := h.moveArea(n, to.dir.area); errno != errnoSuccess {
		return errno
	}
	if old != nil {
		h.detach(old)
	}
	delete(n.parent.children, n.name)
	h.changed(n.parent)
	h.changed(to.dir)
	n.parent, n.name = to.dir, to.name
	to.dir.children[to.name] = n
	return errnoSuccess
}

// inside reports whether a directory is n or lies in it.
func inside(dir, n *node) bool {
	for ; dir != nil; dir = dir.parent {
		if dir == n {
			return true
		}
	}
	return false
}

// moveArea counts a subtree against another area. The tree is as deep as MaxFiles at most.
func (h *Host) moveArea(n *node, to area) uint32 {
	if n.area == to {
		return errnoSuccess
	}
	total := n.total()
	if errno := h.account(to, 0, total); errno != errnoSuccess {
		return errno
	}
	h.account(n.area, total, 0)
	n.setArea(to)
	return errnoSuccess
}

func (n *node) total() int64 {
	sum := int64(len(n.data))
	for _, child := range n.children {
		sum += child.total()
	}
	return sum
}

func (n *node) setArea(a area) {
	n.area = a
	for _, child := range n.children {
		child.setArea(a)
	}
}
