package gw1

// direntBytes is the fixed part of a directory entry.
const direntBytes = 24

// dir returns an open directory.
func (h *Host) dir(number uint64) (*node, uint32) {
	d := h.fd(number)
	switch {
	case d == nil:
		return nil, errnoBadf
	case d.kind != fdDir:
		return nil, errnoNotdir
	}
	return d.node, errnoSuccess
}

// path reads a path and resolves it from a directory.
func (h *Host) path(m Memory, dir, at, size uint64) (place, uint32) {
	h.charge(FuelPerPathCall)
	base, errno := h.dir(dir)
	if errno != errnoSuccess {
		return place{}, errno
	}
	if uint32(size) > maxPathBytes {
		return place{}, errnoNametoolong
	}
	b, inside := m.Read(uint32(at), uint32(size))
	if !inside {
		return place{}, errnoFault
	}
	h.chargeBytes(uint64(len(b)))
	return resolve(base, string(b))
}

// existing is path for something that must exist.
func (h *Host) existing(m Memory, dir, at, size uint64) (place, uint32) {
	p, errno := h.path(m, dir, at, size)
	switch {
	case errno != errnoSuccess:
	case p.node == nil:
		errno = errnoNoent
	case p.slash && !p.node.isDir():
		errno = errnoNotdir
	}
	return p, errno
}

func (h *Host) pathOpen(m Memory, a []uint64) uint32 {
	oflags, rights, flags := a[4], a[5], a[7]
	at, errno := h.path(m, a[0], a[2], a[3])
	if errno != errnoSuccess {
		return errno
	}
	n := at.node
	read, write := rights&rightRead != 0, rights&rightWrite != 0
	switch {
	case n == nil && oflags&oflagCreate == 0:
		return errnoNoent
	case n == nil && (at.slash || oflags&oflagDirectory != 0):
		return errnoInval
	case n != nil && oflags&oflagCreate != 0 && oflags&oflagExclusive != 0:
		return errnoExist
	case n != nil && !n.isDir() && (at.slash || oflags&oflagDirectory != 0):
		return errnoNotdir
	case n != nil && n.isDir() && oflags&(oflagCreate|oflagTruncate) != 0:
		return errnoIsdir
	case n != nil && n.isDir() && write && !read:
		return errnoIsdir
	case n != nil && !n.isDir() && n.area == areaInput && (write || oflags&oflagTruncate != 0):
		return errnoRofs
	}
	if n == nil {
		if n, errno = h.create(at, false); errno != errnoSuccess {
			return errno
		}
	} else if oflags&oflagTruncate != 0 {
		if errno = h.resize(n, 0); errno != errnoSuccess {
			return errno
		}
	}
	d := &descriptor{kind: fdFile, node: n, read: read, write: write, append: flags&fdflagAppend != 0}
	if n.isDir() {
		d = &descriptor{kind: fdDir, node: n}
	}
	number, errno := h.install(d)
	if errno != errnoSuccess {
		return errno
	}
	n.opens++
	return putU32(m, a[8], number)
}

func (h *Host) pathCreateDirectory(m Memory, a []uint64) uint32 {
	at, errno := h.path(m, a[0], a[1], a[2])
	if errno != errnoSuccess {
		return errno
	}
	if at.node != nil {
		return errnoExist
	}
	_, errno = h.create(at, true)
	return errno
}

func (h *Host) pathFilestat(m Memory, a []uint64) uint32 {
	at, errno := h.existing(m, a[0], a[2], a[3])
	if errno != errnoSuccess {
		return errno
	}
	return h.putFilestat(m, a[4], at.node)
}

func (h *Host) pathSetTimes(m Memory, a []uint64) uint32 {
	at, errno := h.existing(m, a[0], a[2], a[3])
	if errno != errnoSuccess {
		return errno
	}
	return h.setTimes(at.node, a[5], a[6])
}

// pathReadlink finds no symbolic link, ever.
func (h *Host) pathReadlink(m Memory, a []uint64) uint32 {
	if _, errno := h.existing(m, a[0], a[1], a[2]); errno != errnoSuccess {
		return errno
	}
	return errnoInval
}

func (h *Host) pathRemove(m Memory, a []uint64, dir bool) uint32 {
	at, errno := h.existing(m, a[0], a[1], a[2])
	if errno != errnoSuccess {
		return errno
	}
	return h.remove(at, dir)
}

func (h *Host) pathRename(m Memory, a []uint64) uint32 {
	from, errno := h.existing(m, a[0], a[1], a[2])
	if errno != errnoSuccess {
		return errno
	}
	to, errno := h.path(m, a[3], a[4], a[5])
	if errno != errnoSuccess {
		return errno
	}
	h.charge(FuelPerDirEntry * uint64(h.created)) // a directory may move with all it holds
	return h.rename(from, to)
}

// fdReaddir lists a directory: . and .., then the names in byte order. The cookie is the number of entries
// read; a listing is taken when it is 0 and stays as it is until the next time.
func (h *Host) fdReaddir(m Memory, a []uint64) uint32 {
	n, errno := h.dir(a[0])
	if errno != errnoSuccess {
		return errno
	}
	d, size, cookie := h.fd(a[0]), uint32(a[2]), a[3]
	if cookie == 0 || d.listing == nil {
		h.charge(FuelPerDirEntry * uint64(len(n.children)))
		if n.listing == nil {
			n.listing = n.list()
		}
		d.listing = n.listing
	}
	var out []byte
	for i := cookie; i < uint64(len(d.listing)) && uint32(len(out)) < size; i++ {
		out = append(out, d.listing[i].encode(i+1)...)
	}
	out = out[:min(uint64(len(out)), uint64(size))] // the last entry may be cut off, as the standard says
	h.chargeBytes(uint64(len(out)))
	if !m.Write(uint32(a[1]), out) {
		return errnoFault
	}
	return putU32(m, a[4], uint32(len(out)))
}

func (n *node) list() []dirEntry {
	parent := n.parent
	if parent == nil {
		parent = n
	}
	list := []dirEntry{{".", n.inode, filetypeDirectory}, {"..", parent.inode, filetypeDirectory}}
	for _, name := range n.sortedNames() {
		child := n.children[name]
		list = append(list, dirEntry{name, child.inode, child.filetype()})
	}
	return list
}

func (e dirEntry) encode(next uint64) []byte {
	b := make([]byte, direntBytes, direntBytes+len(e.name))
	le.PutUint64(b, next)
	le.PutUint64(b[8:], e.inode)
	le.PutUint32(b[16:], uint32(len(e.name)))
	b[20] = e.filetype
	return append(b, e.name...)
}
