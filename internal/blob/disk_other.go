//go:build !linux && !darwin

package blob

import "math"

// diskOf is not known here: a full disk shows when it is written to.
func diskOf(string) (free, all uint64, err error) { return math.MaxUint64, math.MaxUint64, nil }
