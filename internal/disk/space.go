//go:build linux || darwin

package disk

import (
	"fmt"
	"syscall"
)

// Space gives the bytes that a user may still write below dir, and all bytes of that
// disk. The error is errors.ErrUnsupported where the system does not tell.
func Space(dir string) (free, all uint64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return uint64(fs.Bavail) * uint64(fs.Bsize), uint64(fs.Blocks) * uint64(fs.Bsize), nil
}
