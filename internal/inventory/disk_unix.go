//go:build unix

package inventory

import "golang.org/x/sys/unix"

// DiskFree is how many bytes a user may still write on dir's disk; 0 if it cannot
// be told.
func DiskFree(dir string) uint64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return uint64(st.Bavail) * uint64(st.Bsize)
}
