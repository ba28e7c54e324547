package host

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/internal/limits"
)

// accessed is when a file was last read.
func accessed(path string) (time.Time, bool) {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil {
		return time.Time{}, false
	}
	return time.Unix(s.Atim.Unix()), true
}

// disk is the file system of the blobs.
func (h *Host) disk() limits.Disk {
	var s unix.Statfs_t
	if h.cfg.Dir == "" || unix.Statfs(h.cfg.Dir, &s) != nil {
		return limits.Disk{}
	}
	d := limits.Disk{Known: true, Total: s.Blocks * uint64(s.Bsize), Free: s.Bavail * uint64(s.Bsize)}
	if h.cfg.Used != nil {
		if n, err := h.cfg.Used(); err == nil {
			d.Used = n
		}
	}
	return d
}

// CPUTime is what this process has used so far, all its threads together.
func CPUTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
