package blob

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gotong-network/gotong/work"
)

const (
	// keptParts is how many unfinished blobs without a user wait to be resumed; the
	// ones touched longest ago are given up first.
	keptParts = 8
	// partLife is how long an unfinished blob waits for that.
	partLife = 24 * time.Hour
)

// storedPart is what a FileStore knows of an unfinished blob on disk.
type storedPart struct {
	live  *Part // while somebody uses it
	users int
	used  time.Time
}

// Files of an unfinished blob in tmp/: its bytes, and the side file.
const (
	partSuffix = ".part"
	sideSuffix = ".map"
)

func (s *FileStore) partPath(b work.BlobID) string {
	return filepath.Join(s.tmpDir(), b.Root.String()+"-"+strconv.FormatUint(b.Size, 10))
}

// Begin implements Local.
func (s *FileStore) Begin(b work.BlobID) (*Part, error) {
	if b.Size <= groupSize {
		return nil, fmt.Errorf("blob %s arrives whole, not in groups", b)
	}
	// Room is made before the lock: making it takes the lock.
	s.mu.Lock()
	known := s.parts[b] != nil
	s.mu.Unlock()
	if !known {
		if err := s.room(b.Size); err != nil {
			return nil, err
		}
	}
	p, taken, err := s.begin(b)
	switch {
	case !known && !taken:
		s.space.free(b.Size)
	case known && taken: // it was given up meanwhile
		s.space.add(b.Size)
	}
	return p, err
}

// begin is Begin with room for the blob; taken says that it has taken it.
func (s *FileStore) begin(b work.BlobID) (p *Part, taken bool, err error) {
	s.parting.Lock()
	defer s.parting.Unlock()
	s.mu.Lock()
	sp, closed := s.parts[b], s.closed
	if sp != nil && sp.live != nil && !closed {
		sp.users++
	}
	s.mu.Unlock()
	switch {
	case closed:
		return nil, false, errStoreClosed
	case sp != nil && sp.live != nil:
		return sp.live, false, nil
	}
	if p, err = s.openPart(b); err != nil {
		if sp == nil {
			s.dropPart(b)
		}
		return nil, false, fmt.Errorf("store blob: %w", diskError(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[b] = &storedPart{live: p, users: 1, used: time.Now()}
	return p, sp == nil, nil
}

func (s *FileStore) openPart(b work.BlobID) (*Part, error) {
	data, err := os.OpenFile(s.partPath(b)+partSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	side, err := os.OpenFile(s.partPath(b)+sideSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		data.Close()
		return nil, err
	}
	p := NewPart(b, data, s)
	p.side, p.room = side, s.space.disk
	if err := p.takeUp(); err != nil {
		data.Close()
		side.Close()
		return nil, err
	}
	return p, nil
}

// Pending gives an unfinished blob that somebody fetches, nil if nobody does; the
// caller closes it.
func (s *FileStore) Pending(b work.BlobID) *Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.parts[b]
	if sp == nil || sp.live == nil || s.closed {
		return nil
	}
	sp.users++
	return sp.live
}

// WholePart implements PartEnd.
func (s *FileStore) WholePart(p *Part, durable bool) error {
	f := p.data.(*os.File)
	if durable {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("store blob: %w", diskError(err))
		}
	}
	s.naming.Lock()
	defer s.naming.Unlock()
	if !p.Finish() {
		return nil
	}
	s.mu.Lock()
	there := s.files[p.b] != nil
	s.mu.Unlock()
	if there { // somebody else stored it
		s.dropPart(p.b)
		s.space.free(p.b.Size)
		return nil
	}
	if err := s.rename(f.Name(), s.path(p.b), durable); err != nil {
		s.dropPart(p.b)
		s.space.free(p.b.Size)
		return fmt.Errorf("store blob: %w", diskError(err))
	}
	os.Remove(s.partPath(p.b) + sideSuffix)
	s.trees.put(p.b, p.tree)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[p.b] = &file{good: true}
	return nil
}

// LeavePart implements PartEnd.
func (s *FileStore) LeavePart(p *Part) {
	s.parting.Lock()
	defer s.parting.Unlock()
	s.mu.Lock()
	sp := s.parts[p.b]
	sp.users--
	last := sp.users == 0
	over := !p.open()
	if last {
		sp.live, sp.used = nil, time.Now()
		if over {
			delete(s.parts, p.b)
		}
	}
	s.mu.Unlock()
	if !last {
		return
	}
	if !over {
		if err := p.save(); err != nil { // what it has not is fetched again
			s.log.Warn("an unfinished blob may have to be fetched again", "blob", p.b, "err", err)
		}
	}
	p.data.(*os.File).Close()
	p.side.Close()
	if !over && !p.Begun() {
		s.forgetPart(p.b)
	}
	s.boundParts()
}

// forgetPart gives up an unfinished blob that nobody uses; s.parting is held.
func (s *FileStore) forgetPart(b work.BlobID) {
	s.mu.Lock()
	sp := s.parts[b]
	idle := sp != nil && sp.live == nil
	if idle {
		delete(s.parts, b)
	}
	s.mu.Unlock()
	if idle {
		s.dropPart(b)
		s.space.free(b.Size)
	}
}

func (s *FileStore) dropPart(b work.BlobID) {
	os.Remove(s.partPath(b) + partSuffix)
	os.Remove(s.partPath(b) + sideSuffix)
}

// boundParts gives up unfinished blobs beyond the bound; s.parting is held.
func (s *FileStore) boundParts() {
	all := s.idleParts()
	for i, b := range all {
		s.mu.Lock()
		sp := s.parts[b]
		s.mu.Unlock()
		if len(all)-i > keptParts || sp != nil && time.Since(sp.used) > partLife {
			s.forgetPart(b)
		}
	}
}

// idleParts are the unfinished blobs that nobody fetches, the one touched longest
// ago first.
func (s *FileStore) idleParts() (out []work.BlobID) {
	used := map[work.BlobID]time.Time{}
	s.mu.Lock()
	for b, sp := range s.parts {
		if sp.live == nil {
			used[b] = sp.used
			out = append(out, b)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b work.BlobID) int { return cmp.Or(used[a].Compare(used[b]), cmp.Compare(b.Size, a.Size)) })
	return out
}

// recoverTmp drops unfinished writes and counts the unfinished blobs.
func (s *FileStore) recoverTmp() error {
	if err := os.MkdirAll(s.tmpDir(), 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.tmpDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.tmpDir(), e.Name())
		name, ok := strings.CutSuffix(e.Name(), partSuffix)
		b, good := parseName(name)
		if _, side := strings.CutSuffix(e.Name(), sideSuffix); side {
			continue // with its part
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !ok || !good || b.Size <= groupSize || uint64(info.Size()) > b.Size {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			continue
		}
		s.parts[b] = &storedPart{used: info.ModTime()}
		s.space.add(b.Size)
	}
	for _, e := range entries { // side files without a part
		if name, ok := strings.CutSuffix(e.Name(), sideSuffix); ok {
			if b, good := parseName(name); !good || s.parts[b] == nil {
				if err := os.RemoveAll(filepath.Join(s.tmpDir(), e.Name())); err != nil {
					return err
				}
			}
		}
	}
	s.boundParts()
	return nil
}
