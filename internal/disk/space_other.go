//go:build !linux && !darwin

package disk

import (
	"errors"
	"fmt"
)

// Space is not told here.
func Space(dir string) (free, all uint64, err error) {
	return 0, 0, fmt.Errorf("free space of %s: %w", dir, errors.ErrUnsupported)
}
