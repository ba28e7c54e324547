//go:build linux || darwin

package blob

import "syscall"

// diskOf gives the free bytes that we may use, and all bytes, of the disk below dir.
func diskOf(dir string) (free, all uint64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return uint64(fs.Bavail) * uint64(fs.Bsize), uint64(fs.Blocks) * uint64(fs.Bsize), nil
}
