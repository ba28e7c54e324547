//go:build linux && (amd64 || arm64)

package wasm

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// arena is the linear memory of a worker, used by one instance after the other:
// one reservation of addresses, the program's image mapped copy-on-write at its
// beginning, pages given back to the kernel when an item ends. So an instance
// costs only the pages that it touches.
type arena struct {
	base   []byte // the reservation
	mapped uint64 // bytes at the beginning that can be read and written
	limit  uint64 // of the item: growing above it answers -1
	size   uint64 // of the item's memory now
	high   uint64 // greatest size since the last Free
	fault  error  // the kernel refused memory below the limit: a fault of the host

	pagemap *os.File // nil: every page counts as touched
	entries []byte
}

// smallPages is how much memory at the beginning stays without huge pages: most
// programs touch little, and clearing 2 MiB for a few bytes costs more than it
// saves.
const smallPages = 32 << 20

// newArena reserves max bytes and places the image. Both may be 0.
func newArena(image []byte, max uint64) (*arena, error) {
	a := &arena{}
	if max == 0 {
		return a, nil
	}
	base, err := unix.Mmap(-1, 0, int(max), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of addresses: %w", max, err)
	}
	a.base = base
	_ = unix.Madvise(base[:min(max, smallPages)], unix.MADV_NOHUGEPAGE) // a hint
	if len(image) == 0 {
		return a, nil
	}
	return a, a.placeImage(image)
}

func (a *arena) placeImage(image []byte) error {
	page := uint64(os.Getpagesize())
	size := (uint64(len(image)) + page - 1) / page * page
	if size > uint64(len(a.base)) {
		return fmt.Errorf("image of %d bytes for a memory of at most %d", len(image), len(a.base))
	}
	fd, err := unix.MemfdCreate("image", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memory image: %w", err)
	}
	f := os.NewFile(uintptr(fd), "image")
	defer f.Close() // the mapping keeps it
	if _, err := f.Write(image); err != nil {
		return fmt.Errorf("memory image: %w", err)
	}
	if err := f.Truncate(int64(size)); err != nil {
		return fmt.Errorf("memory image: %w", err)
	}
	_, err = unix.MmapPtr(fd, 0, unsafe.Pointer(&a.base[0]), uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("map the memory image: %w", err)
	}
	a.mapped = size
	return nil
}

// begin sets the limit of the next item.
func (a *arena) begin(limit uint64) { a.limit, a.fault = min(limit, uint64(len(a.base))), nil }

// Allocate implements experimental.MemoryAllocator: every instance gets the
// arena itself.
func (a *arena) Allocate(_, _ uint64) experimental.LinearMemory { return a }

// Reallocate implements experimental.LinearMemory. The address never changes.
func (a *arena) Reallocate(size uint64) []byte {
	if size > a.limit {
		return nil
	}
	if size > a.mapped {
		if err := unix.Mprotect(a.base[a.mapped:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			a.fault = err
			return nil
		}
		a.mapped = size
	}
	a.size = size
	a.high = max(a.high, size)
	return a.base[:size:size]
}

// Free implements experimental.LinearMemory: the memory is as at the beginning
// again.
func (a *arena) Free() {
	if a.high > 0 {
		if err := unix.Madvise(a.base[:a.high], unix.MADV_DONTNEED); err != nil {
			panic(fmt.Sprintf("wasm: the kernel keeps the pages of an item: %v", err))
		}
	}
	a.size, a.high = 0, 0
}

func (a *arena) bytes() []byte { return a.base[:a.size:a.size] }

// Read implements gw1.Memory.
func (a *arena) Read(offset, n uint32) ([]byte, bool) {
	if uint64(offset)+uint64(n) > a.size {
		return nil, false
	}
	return a.base[offset : uint64(offset)+uint64(n)], true
}

// Write implements gw1.Memory.
func (a *arena) Write(offset uint32, b []byte) bool {
	if uint64(offset)+uint64(len(b)) > a.size {
		return false
	}
	copy(a.base[offset:], b)
	return true
}

// Bits of an entry of /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst).
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageOfFile  = 1 << 61
)

// touched yields the blocks that the item may have changed, by the kernel's page
// table: a page of the image that was not copied, or one that was never there,
// is as at the beginning. It is nil if the kernel does not tell.
func (a *arena) touched() func(yield func(lo, hi int) bool) {
	page := os.Getpagesize()
	if a.pagemap == nil || a.size == 0 || page%blockBytes != 0 {
		return nil
	}
	n := int(a.size) / page * 8
	if cap(a.entries) < n {
		a.entries = make([]byte, n)
	}
	entries := a.entries[:n]
	at := int64(uintptr(unsafe.Pointer(&a.base[0]))) / int64(page) * 8
	if k, err := a.pagemap.ReadAt(entries, at); err != nil || k != n {
		return nil
	}
	perPage := page / blockBytes
	return func(yield func(lo, hi int) bool) {
		for i := 0; i < n; i += 8 {
			e := binary.NativeEndian.Uint64(entries[i:])
			if e&(pagePresent|pageSwapped) == 0 || e&pageOfFile != 0 {
				continue
			}
			if !yield(i/8*perPage, (i/8+1)*perPage) {
				return
			}
		}
	}
}
