//go:build !linux

package host

import (
	"time"

	"github.com/gotong-network/gotong/internal/limits"
)

func accessed(string) (time.Time, bool) { return time.Time{}, false }

func (h *Host) disk() limits.Disk { return limits.Disk{} }

// CPUTime is unknown here.
func CPUTime() time.Duration { return 0 }
