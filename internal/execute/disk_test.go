//go:build linux

package execute

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gotong-network/gotong/internal/blob"
)

// TestRecordsOnAFullDisk wants records refused, not lost, while others fill the disk, and
// the same store to go on when there is room again.
func TestRecordsOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=96m"); err != nil {
		t.Fatalf("a file system cannot be mounted (this test needs to be root, with CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(disk, "records")
	s, err := OpenStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	set := func(key string) error {
		b := s.NewBatch()
		b.Set([]byte(key), make([]byte, 1<<10))
		return b.Commit()
	}
	if err := set("before"); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "of others")
	if err := os.WriteFile(ballast, make([]byte, 96<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	for range 3 {
		if err := set("while it is full"); !errors.Is(err, blob.ErrFull) {
			t.Fatalf("a record onto a full disk: %v", err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := set("after"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenStore(dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for key, want := range map[string]bool{"before": true, "while it is full": false, "after": true} {
		if v, err := s.Get([]byte(key)); err != nil || (v != nil) != want {
			t.Errorf("record %q: %d bytes, %v", key, len(v), err)
		}
	}
}
