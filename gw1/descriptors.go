package gw1

import "math"

type fdKind uint8

const (
	fdFile fdKind = iota
	fdDir
	fdStdout
	fdStderr
)

// descriptor is an open file, directory or stream.
type descriptor struct {
	kind        fdKind
	node        *node // nil for stdout and stderr
	pos         int64
	read, write bool
	append      bool

	listing []dirEntry // of fd_readdir, from when it last began; shared until the directory changes
}

// dirEntry is what fd_readdir tells of a name.
type dirEntry struct {
	name     string
	inode    uint64
	filetype byte
}

// rootFD is the only directory open at the start; its name is "/".
const rootFD = 3

// fd returns an open descriptor or nil.
func (h *Host) fd(number uint64) *descriptor {
	if n := uint32(number); uint64(n) < uint64(len(h.fds)) {
		return h.fds[n]
	}
	return nil
}

// file returns a descriptor that is a file with a position.
func (h *Host) file(number uint64) (*descriptor, uint32) {
	d := h.fd(number)
	switch {
	case d == nil:
		return nil, errnoBadf
	case d.kind == fdDir:
		return nil, errnoIsdir
	case d.kind != fdFile:
		return nil, errnoSpipe
	}
	return d, errnoSuccess
}

// writable returns a descriptor of a file that the program may change.
func (h *Host) writable(number uint64) (*descriptor, uint32) {
	d, errno := h.file(number)
	if errno == errnoSuccess && !d.write {
		return nil, errnoBadf
	}
	return d, errno
}

// install gives a descriptor the lowest free number.
func (h *Host) install(d *descriptor) (uint32, uint32) {
	for i, open := range h.fds {
		if open == nil {
			h.fds[i] = d
			return uint32(i), errnoSuccess
		}
	}
	if len(h.fds) >= MaxOpenFiles {
		return 0, errnoMfile
	}
	h.fds = append(h.fds, d)
	return uint32(len(h.fds) - 1), errnoSuccess
}

// closeFD frees a number.
func (h *Host) closeFD(number uint32) {
	d := h.fds[number]
	h.fds[number] = nil
	if d.node != nil {
		d.node.opens--
		h.release(d.node)
	}
}

func (h *Host) fdClose(_ Memory, a []uint64) uint32 {
	if h.fd(a[0]) == nil {
		return errnoBadf
	}
	h.closeFD(uint32(a[0]))
	return errnoSuccess
}

func (h *Host) fdRenumber(_ Memory, a []uint64) uint32 {
	from, to := uint32(a[0]), uint32(a[1])
	if h.fd(a[0]) == nil || h.fd(a[1]) == nil {
		return errnoBadf
	}
	if from != to {
		h.closeFD(to)
		h.fds[to], h.fds[from] = h.fds[from], nil
	}
	return errnoSuccess
}

func (h *Host) fdSync(_ Memory, a []uint64) uint32 {
	if h.fd(a[0]) == nil {
		return errnoBadf
	}
	return errnoSuccess
}

func (h *Host) fdAdvise(_ Memory, a []uint64) uint32 {
	_, errno := h.file(a[0])
	return errno
}

func (h *Host) fdStat(m Memory, a []uint64) uint32 {
	d := h.fd(a[0])
	if d == nil {
		return errnoBadf
	}
	var b [24]byte
	rights := uint64(rightsAll)
	switch d.kind {
	case fdDir:
		b[0] = filetypeDirectory
	case fdFile:
		b[0] = filetypeRegular
		if !d.read {
			rights &^= rightRead
		}
		if !d.write {
			rights &^= rightWrite
		}
	default: // a stream, and no terminal
		b[0] = filetypeUnknown
		rights = rightsStream
	}
	if d.append {
		b[2] = fdflagAppend
	}
	le.PutUint64(b[8:], rights)
	le.PutUint64(b[16:], rightsAll)
	return ok(m.Write(uint32(a[1]), b[:]))
}

func (h *Host) fdSetFlags(_ Memory, a []uint64) uint32 {
	d := h.fd(a[0])
	if d == nil {
		return errnoBadf
	}
	d.append = a[1]&fdflagAppend != 0
	return errnoSuccess
}

// fdSetRights can only take rights away.
func (h *Host) fdSetRights(_ Memory, a []uint64) uint32 {
	d := h.fd(a[0])
	if d == nil {
		return errnoBadf
	}
	d.read = d.read && a[1]&rightRead != 0
	d.write = d.write && a[1]&rightWrite != 0
	return errnoSuccess
}

// putFilestat writes the 64 bytes of a filestat; n is nil for streams.
func (h *Host) putFilestat(m Memory, at uint64, n *node) uint32 {
	var b [64]byte
	if n != nil {
		le.PutUint64(b[8:], n.inode)
		b[16] = n.filetype()
		le.PutUint64(b[32:], uint64(n.size()))
		for _, i := range []int{40, 48, 56} { // accessed, modified, changed
			le.PutUint64(b[i:], n.mtime)
		}
	}
	le.PutUint64(b[24:], 1) // links
	return ok(m.Write(uint32(at), b[:]))
}

func (h *Host) fdFilestat(m Memory, a []uint64) uint32 {
	d := h.fd(a[0])
	if d == nil {
		return errnoBadf
	}
	return h.putFilestat(m, a[1], d.node)
}

func (h *Host) fdSetSize(_ Memory, a []uint64) uint32 {
	d, errno := h.writable(a[0])
	if errno != errnoSuccess {
		return errno
	}
	if a[1] > maxFileBytes {
		return errnoFbig
	}
	return h.grow(d.node, int64(a[1]))
}

// grow resizes and charges the bytes that are added.
func (h *Host) grow(n *node, size int64) uint32 {
	if added := size - n.size(); added > 0 {
		h.chargeBytes(uint64(added))
	}
	return h.resize(n, size)
}

func (h *Host) fdAllocate(_ Memory, a []uint64) uint32 {
	d, errno := h.writable(a[0])
	switch {
	case errno != errnoSuccess:
		return errno
	case a[1] > maxFileBytes || a[2] > maxFileBytes:
		return errnoFbig
	case a[2] == 0:
		return errnoInval
	}
	if end := int64(a[1] + a[2]); end > d.node.size() {
		return h.grow(d.node, end)
	}
	return errnoSuccess
}

func (h *Host) fdSetTimes(_ Memory, a []uint64) uint32 {
	d := h.fd(a[0])
	if d == nil {
		return errnoBadf
	}
	if d.node == nil {
		return errnoInval
	}
	return h.setTimes(d.node, a[2], a[3])
}

// Flags of the calls that set times. Only the time of modification is kept.
const (
	timeModified    = 4
	timeModifiedNow = 8
)

func (h *Host) setTimes(n *node, modified, flags uint64) uint32 {
	switch {
	case n.area == areaInput:
		return errnoRofs
	case flags&timeModified != 0 && flags&timeModifiedNow != 0:
		return errnoInval
	case flags&timeModified != 0:
		n.mtime = modified
	case flags&timeModifiedNow != 0:
		n.mtime = h.clock
	}
	return errnoSuccess
}

func (h *Host) prestat(m Memory, a []uint64) uint32 {
	if d := h.fd(a[0]); d == nil || uint32(a[0]) != rootFD || d.node != h.root {
		return errnoBadf
	}
	return putU64(m, a[1], 1<<32) // a directory, whose name has one byte
}

func (h *Host) prestatName(m Memory, a []uint64) uint32 {
	if d := h.fd(a[0]); d == nil || uint32(a[0]) != rootFD || d.node != h.root {
		return errnoBadf
	}
	if uint32(a[2]) < 1 {
		return errnoNametoolong
	}
	return ok(m.Write(uint32(a[1]), []byte("/")))
}

// --- reading and writing

// vector is one buffer in the program's memory.
type vector struct{ at, size uint32 }

// vectors reads a list of buffers and their total size.
func vectors(m Memory, at, count uint64) ([]vector, uint64, uint32) {
	n := uint32(count)
	if n > maxVectors {
		return nil, 0, errnoInval
	}
	b, inside := m.Read(uint32(at), 8*n)
	if !inside {
		return nil, 0, errnoFault
	}
	list := make([]vector, n)
	var total uint64
	for i := range list {
		list[i] = vector{le.Uint32(b[8*i:]), le.Uint32(b[8*i+4:])}
		total += uint64(list[i].size)
	}
	if total > math.MaxInt32 {
		return nil, 0, errnoInval
	}
	return list, total, errnoSuccess
}

// readInto fills buffers from an offset of a file and returns how much there was.
func (h *Host) readInto(m Memory, list []vector, n *node, offset int64) (uint64, uint32) {
	var done uint64
	buf := make([]byte, 0)
	for _, v := range list {
		for v.size > 0 {
			want := min(v.size, chunkBytes)
			if left := n.size() - offset; left < int64(want) {
				want = uint32(max(left, 0))
			}
			if want == 0 {
				return done, errnoSuccess
			}
			if int(want) > cap(buf) {
				buf = make([]byte, want)
			}
			h.chargeBytes(uint64(want))
			n.readAt(buf[:want], offset)
			if !m.Write(v.at, buf[:want]) {
				return done, errnoFault
			}
			v.at, v.size, offset, done = v.at+want, v.size-want, offset+int64(want), done+uint64(want)
		}
	}
	return done, errnoSuccess
}

func (h *Host) fdRead(m Memory, a []uint64) uint32 {
	d := h.fd(a[0])
	switch {
	case d == nil || !d.read && d.kind != fdDir:
		return errnoBadf
	case d.kind == fdDir:
		return errnoIsdir
	}
	list, _, errno := vectors(m, a[1], a[2])
	if errno != errnoSuccess {
		return errno
	}
	n, errno := h.readInto(m, list, d.node, d.pos)
	if errno != errnoSuccess {
		return errno
	}
	d.pos += int64(n)
	return putU32(m, a[3], uint32(n))
}

func (h *Host) fdPread(m Memory, a []uint64) uint32 {
	d, errno := h.file(a[0])
	switch {
	case errno != errnoSuccess:
		return errno
	case !d.read:
		return errnoBadf
	case a[3] > math.MaxInt64:
		return errnoInval
	}
	list, _, errno := vectors(m, a[1], a[2])
	if errno != errnoSuccess {
		return errno
	}
	n, errno := h.readInto(m, list, d.node, int64(a[3]))
	if errno != errnoSuccess {
		return errno
	}
	return putU32(m, a[4], uint32(n))
}

// takeVectors checks that the buffers of a write lie in memory and charges them.
func (h *Host) takeVectors(m Memory, list []vector, total uint64) uint32 {
	for _, v := range list {
		if _, inside := m.Read(v.at, v.size); !inside {
			return errnoFault
		}
	}
	h.chargeBytes(total)
	return errnoSuccess
}

func (h *Host) fdWrite(m Memory, a []uint64) uint32 {
	d := h.fd(a[0])
	if d == nil || !d.write {
		return errnoBadf
	}
	list, total, errno := vectors(m, a[1], a[2])
	if errno != errnoSuccess {
		return errno
	}
	switch d.kind {
	case fdStdout:
		errno = h.writeStream(m, &h.stdout, list, total)
	case fdStderr:
		errno = h.writeStream(m, &h.stderr, list, total)
	default:
		if d.append {
			d.pos = d.node.size()
		}
		if errno = h.writeFile(m, d.node, list, total, d.pos); errno == errnoSuccess {
			d.pos += int64(total)
		}
	}
	if errno != errnoSuccess {
		return errno
	}
	return putU32(m, a[3], uint32(total))
}

func (h *Host) writeStream(m Memory, stream *[]byte, list []vector, total uint64) uint32 {
	if errno := h.takeVectors(m, list, total); errno != errnoSuccess {
		return errno
	}
	h.account(areaOutput, 0, int64(total))
	for _, v := range list {
		b, _ := m.Read(v.at, v.size)
		*stream = append(*stream, b...)
	}
	return errnoSuccess
}

// writeFile writes buffers to an offset of a file, whole or not at all.
func (h *Host) writeFile(m Memory, n *node, list []vector, total uint64, offset int64) uint32 {
	switch {
	case total == 0:
		return errnoSuccess
	case offset > maxFileBytes:
		return errnoFbig
	}
	if errno := h.takeVectors(m, list, total); errno != errnoSuccess {
		return errno
	}
	if gap := offset - n.size(); gap > 0 { // zeros are written there
		h.chargeBytes(uint64(gap))
	}
	if end := offset + int64(total); end > n.size() {
		if errno := h.resize(n, end); errno != errnoSuccess {
			return errno
		}
	}
	for _, v := range list {
		b, _ := m.Read(v.at, v.size)
		offset += int64(copy(n.data[offset:], b))
	}
	n.mtime = h.clock
	return errnoSuccess
}

func (h *Host) fdPwrite(m Memory, a []uint64) uint32 {
	d, errno := h.writable(a[0])
	if errno != errnoSuccess {
		return errno
	}
	if a[3] > maxFileBytes {
		return errnoFbig
	}
	list, total, errno := vectors(m, a[1], a[2])
	if errno != errnoSuccess {
		return errno
	}
	if errno := h.writeFile(m, d.node, list, total, int64(a[3])); errno != errnoSuccess {
		return errno
	}
	return putU32(m, a[4], uint32(total))
}

func (h *Host) fdSeek(m Memory, a []uint64) uint32 {
	d, errno := h.file(a[0])
	if errno != errnoSuccess {
		return errno
	}
	offset := int64(a[1])
	var base int64
	switch uint32(a[2]) {
	case 0:
	case 1:
		base = d.pos
	case 2:
		base = d.node.size()
	default:
		return errnoInval
	}
	pos := base + offset
	if pos < 0 || offset > 0 && pos < base { // below the start or beyond the range
		return errnoInval
	}
	d.pos = pos
	return putU64(m, a[3], uint64(pos))
}

func (h *Host) fdTell(m Memory, a []uint64) uint32 {
	d, errno := h.file(a[0])
	if errno != errnoSuccess {
		return errno
	}
	return putU64(m, a[1], uint64(d.pos))
}
