package blob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gotong-network/gotong/work"
)

// filePartial is a file in tmp/ that becomes a blob: a stream whose name is known
// at its end.
type filePartial struct {
	store   *FileStore
	b       work.BlobID
	f       *os.File
	written uint64
}

// create makes an empty temporary file.
func (s *FileStore) create() (*filePartial, error) {
	f, err := os.CreateTemp(s.tmpDir(), "put-*")
	if err != nil {
		return nil, fmt.Errorf("store blob: %w", diskError(err))
	}
	p := &filePartial{store: s, f: f}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.partials[p] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		f.Close()
		os.Remove(f.Name())
		return nil, errStoreClosed
	}
	return p, nil
}

// WriteAt keeps a part; ErrFull if there is no space.
func (p *filePartial) WriteAt(data []byte, off int64) (int, error) {
	if err := p.store.room(uint64(len(data))); err != nil {
		return 0, err
	}
	n, err := p.f.WriteAt(data, off)
	if err != nil {
		p.store.space.free(uint64(len(data))) // the part will be written again
		return n, fmt.Errorf("store blob: %w", diskError(err))
	}
	p.written += uint64(len(data))
	return n, nil
}

// Commit makes the blob present: synced, then renamed, then the folder synced.
func (p *filePartial) Commit() error {
	if p.written != p.b.Size {
		return fmt.Errorf("blob %s: %d bytes were written", p.b, p.written)
	}
	if err := p.f.Sync(); err != nil {
		return fmt.Errorf("store blob: %w", diskError(err))
	}
	return p.store.publish(p)
}

// publish gives a temporary file its name.
func (s *FileStore) publish(p *filePartial) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	if !p.end() {
		return errStoreClosed
	}
	p.f.Close()
	if s.file(p.b) != nil { // somebody was faster
		p.drop()
		return nil
	}
	if err := s.rename(p.f.Name(), s.path(p.b), true); err != nil {
		p.drop()
		return fmt.Errorf("store blob: %w", diskError(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[p.b] = &file{good: true}
	return nil
}

// rename moves a file to its place, if durable for good, making the folder if it
// is the first there.
func (s *FileStore) rename(from, to string, durable bool) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := syncDir(s.filesDir()); err != nil {
			return err
		}
		err = os.Rename(from, to)
	}
	if err != nil || !durable {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// Abort forgets what was written. After Commit it does nothing.
func (p *filePartial) Abort() {
	if p.end() {
		p.f.Close()
		p.drop()
	}
}

// end makes the caller the one who ends p; false if it ended before.
func (p *filePartial) end() bool {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	_, running := s.partials[p]
	delete(s.partials, p)
	return running
}

// drop removes the temporary file; one that stays goes when the store opens
// again.
func (p *filePartial) drop() {
	os.Remove(p.f.Name())
	p.store.space.free(p.written)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
