//go:build linux

package blob

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gotong-network/gotong/internal/p2p"
)

// smallDisk mounts a file system of that many bytes.
func smallDisk(t *testing.T, bytes string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+bytes); err != nil {
		t.Fatalf("a file system of %s cannot be mounted (this test needs to be root, with CAP_SYS_ADMIN): %v", bytes, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A full disk is told as such, loses nothing, and when there is room again all goes
// on: outputs, streams, and a fetch that had begun.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "96m")
	s := open(t, filepath.Join(disk, "blobs"), Options{})
	kept := put(t, s, content(1, 1<<20))
	small := put(t, s, []byte("small"))
	w := newWorld(t)
	from := &cutting{Mem: NewMem()}
	data := content(2, 24<<20)
	b := put(t, from, data)
	h := w.holder(from)
	other := filepath.Join(disk, "of others")
	fill := func() {
		if err := os.WriteFile(other, make([]byte, 96<<20), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}
	from.at, from.cut = int64(len(data)/groupSize+5*rangeGroups), fill // while it arrives
	err := w.fetcher(s).Fetch(t.Context(), b, []p2p.Peer{h})
	if !errors.Is(err, ErrFull) || s.Has(b) {
		t.Fatalf("fetch onto a disk that fills: %v", err)
	}
	if !strings.Contains(err.Error(), "make room") && !strings.Contains(err.Error(), "no space left") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	from.served.Store(0)
	if err := w.fetcher(s).Fetch(t.Context(), b, []p2p.Peer{h}); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	wantGet(t, s, b, data)
	if n := from.served.Load(); n > int64(len(data)/groupSize-2*rangeGroups) {
		t.Errorf("%d of %d groups came again", n, len(data)/groupSize)
	}
	fill()
	if _, err := s.Put(content(3, 8<<20)); !errors.Is(err, ErrFull) {
		t.Fatalf("put onto a full disk: %v", err)
	}
	if _, err := s.PutReader(strings.NewReader(strings.Repeat("x", 8<<20)), 8<<20); !errors.Is(err, ErrFull) {
		t.Fatalf("a stream onto a full disk: %v", err)
	}
	if _, err := s.Put([]byte("another small one")); !errors.Is(err, ErrFull) {
		t.Fatalf("a small blob onto a full disk: %v", err)
	}
	wantGet(t, s, kept, content(1, 1<<20))
	wantGet(t, s, small, []byte("small"))
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	put(t, s, []byte("another small one"))
	put(t, s, content(3, 8<<20))
	if n, _ := s.Size(); n != 33<<20+uint64(len("small")+len("another small one")) {
		t.Errorf("%d bytes are counted", n)
	}
}
