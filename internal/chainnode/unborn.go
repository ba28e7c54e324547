package chainnode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// clearUnborn takes away what is left of databases whose creation was cut short.
//
// LevelDB makes a manifest first and then CURRENT, which points to it. A process that is
// killed in between leaves a manifest to which nothing points, and LevelDB takes that for
// a corrupted database ever after. It never held anything: what is written goes to a
// journal, and the first journal is made after CURRENT.
func clearUnborn(home string) error {
	for _, pattern := range []string{"*.db", filepath.Join("snapshots", "*.db")} {
		dirs, err := filepath.Glob(filepath.Join(home, "data", pattern))
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := clearUnbornDB(dir); err != nil {
				return fmt.Errorf("database %s, whose creation was cut short: %w", dir, err)
			}
		}
	}
	return nil
}

func clearUnbornDB(dir string) (err error) {
	for _, born := range []string{"CURRENT", "CURRENT.bak"} {
		if _, err := os.Lstat(filepath.Join(dir, born)); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	s, err := storage.OpenFile(dir, false) // with LevelDB's own lock
	if errors.Is(err, syscall.EAGAIN) {
		return nil // somebody has it open: opening it will say so
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if kept, err := s.List(storage.TypeJournal | storage.TypeTable); err != nil || len(kept) > 0 {
		return err // it holds something: nothing is thrown away
	}
	left, err := s.List(storage.TypeManifest | storage.TypeTemp)
	if err != nil {
		return err
	}
	for _, f := range left {
		if err := s.Remove(f); err != nil {
			return err
		}
	}
	pending, err := filepath.Glob(filepath.Join(dir, "CURRENT.*"))
	if err != nil {
		return err
	}
	for _, f := range pending {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}
