package disk

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

func TestSpace(t *testing.T) {
	free, all, err := Space(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	if err != nil || free == 0 || all < free {
		t.Errorf("%d of %d bytes are free, %v", free, all, err)
	}
	if _, _, err := Space(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
