package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"lukechampine.com/blake3"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// Source says where the bytes of a blob are: a file of this machine, which is
// never copied, or memory.
type Source struct {
	Path string // a regular file, unless Data is set
	Data []byte
}

// FileSource is a file.
func FileSource(path string) Source { return Source{Path: path} }

// BytesSource is memory, which must not change.
func BytesSource(b []byte) Source { return Source{Data: b} }

// Name gives the source's blob id; a file is read once, in pieces.
func (s Source) Name() (work.BlobID, error) {
	if s.Path == "" {
		return work.BlobOf(s.Data), nil
	}
	f, err := os.Open(s.Path)
	if err != nil {
		return work.BlobID{}, err
	}
	defer f.Close()
	h := blake3.New(32, nil)
	n, err := io.CopyBuffer(h, f, make([]byte, 1<<20))
	if err != nil {
		return work.BlobID{}, fmt.Errorf("read %s: %w", s.Path, err)
	}
	b := work.BlobID{Size: uint64(n)}
	h.Sum(b.Root[:0])
	return b, nil
}

func (s Source) open() (runtime.BlobReader, error) {
	if s.Path == "" {
		return memReader{bytes.NewReader(s.Data)}, nil
	}
	f, err := os.Open(s.Path)
	if err != nil {
		return nil, err
	}
	return fileReader{f}, nil
}

type memReader struct{ *bytes.Reader }

// Close implements io.Closer.
func (memReader) Close() error { return nil }

type fileReader struct{ *os.File }

// Path implements runtime.Path.
func (f fileReader) Path() string { return f.Name() }

// Sources are the bytes behind blob ids. They are runtime.Blobs, so that an item
// can be run here from the same files that would be sent.
type Sources map[work.BlobID]Source

// Open implements runtime.Blobs.
func (s Sources) Open(b work.BlobID) (runtime.BlobReader, error) {
	src, ok := s[b]
	if !ok {
		return nil, fmt.Errorf("%s: %w", b, blob.ErrMissing)
	}
	return src.open()
}

// Add names a source and keeps it.
func (s Sources) Add(src Source) (work.BlobID, error) {
	b, err := src.Name()
	if err == nil {
		s[b] = src
	}
	return b, err
}

// memoryBlob is the largest fetched blob that is kept in memory; larger ones are
// files of the temporary folder.
const memoryBlob = 4 << 20

// store holds what is being sent (sources, which stay where they are) and what was
// fetched and is not released yet. It is what blob's pushing and fetching work on;
// nothing of it outlives the process.
type store struct {
	dir string

	mu    sync.Mutex // guards everything below
	blobs map[work.BlobID]*held
	parts map[work.BlobID]*arriving
}

// held is one blob, for as many as hold it.
type held struct {
	src     Source
	fetched bool
	users   int
}

func newStore(dir string) *store {
	return &store{dir: dir, blobs: map[work.BlobID]*held{}, parts: map[work.BlobID]*arriving{}}
}

var _ blob.Local = (*store)(nil)

// close removes the temporary files.
func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for b, h := range s.blobs {
		errs = append(errs, h.drop())
		delete(s.blobs, b)
	}
	for b, a := range s.parts {
		a.users = 0
		s.giveUp(b)
	}
	return errors.Join(errs...)
}

func (h *held) drop() error {
	if !h.fetched || h.src.Path == "" {
		return nil
	}
	return os.Remove(h.src.Path)
}

// hold keeps sources until release.
func (s *store) hold(all Sources) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b, src := range all {
		if h := s.blobs[b]; h != nil {
			h.users++
		} else {
			s.blobs[b] = &held{src: src, users: 1}
		}
	}
}

// want holds blobs that are about to be fetched.
func (s *store) want(bs []work.BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range bs {
		if h := s.blobs[b]; h != nil {
			h.users++
		} else {
			s.blobs[b] = &held{users: 1}
		}
	}
}

// release lets go of blobs that were held or wanted.
func (s *store) release(bs []work.BlobID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, b := range bs {
		if h := s.blobs[b]; h != nil {
			if h.users--; h.users == 0 {
				delete(s.blobs, b)
				errs = append(errs, h.drop())
				s.giveUp(b)
			}
		}
	}
	return errors.Join(errs...)
}

// source finds a blob that is here.
func (s *store) source(b work.BlobID) (Source, bool) {
	if b == emptyBlob {
		return Source{}, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.blobs[b]
	if h == nil || h.src.Path == "" && h.src.Data == nil {
		return Source{}, false
	}
	return h.src, true
}

var emptyBlob = work.BlobOf(nil)

// Has implements blob.Store.
func (s *store) Has(b work.BlobID) bool {
	_, ok := s.source(b)
	return ok
}

// Open implements runtime.Blobs.
func (s *store) Open(b work.BlobID) (runtime.BlobReader, error) {
	src, ok := s.source(b)
	if !ok {
		return nil, fmt.Errorf("%s: %w", b, blob.ErrMissing)
	}
	return src.open()
}

// Get implements blob.Store.
func (s *store) Get(b work.BlobID, maxBytes uint64) ([]byte, error) {
	if b.Size > maxBytes {
		return nil, fmt.Errorf("%s: %w", b, blob.ErrTooLarge)
	}
	r, err := s.Open(b)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, b.Size)
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, int64(b.Size)), data); err != nil {
		return nil, fmt.Errorf("%s: %w: %v", b, blob.ErrCorrupt, err)
	}
	if work.BlobOf(data) != b {
		return nil, fmt.Errorf("%s changed since it was read: %w", b, blob.ErrCorrupt)
	}
	return data, nil
}

// Put implements blob.Store: only what is wanted is kept.
func (s *store) Put(data []byte) (work.BlobID, error) {
	b := work.BlobOf(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.blobs[b]; h != nil && h.src.Path == "" && h.src.Data == nil {
		h.src.Data, h.fetched = append(make([]byte, 0, len(data)), data...), true
	}
	return b, nil
}

// PutMany implements blob.Local.
func (s *store) PutMany(ctx context.Context, datas [][]byte) ([]work.BlobID, error) {
	ids := make([]work.BlobID, len(datas))
	for i, d := range datas {
		ids[i], _ = s.Put(d)
	}
	return ids, ctx.Err()
}

// PutReader implements blob.Store.
func (s *store) PutReader(r io.Reader, maxBytes uint64) (work.BlobID, error) {
	data, err := io.ReadAll(io.LimitReader(r, int64(min(maxBytes, memoryBlob))+1))
	if err != nil {
		return work.BlobID{}, err
	}
	if len(data) > memoryBlob || uint64(len(data)) > maxBytes {
		return work.BlobID{}, blob.ErrTooLarge
	}
	return s.Put(data)
}

// Delete implements blob.Store; who holds a blob releases it instead.
func (s *store) Delete(...work.BlobID) error { return nil }

// Size implements blob.Store: the bytes that were fetched.
func (s *store) Size() (n uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b, h := range s.blobs {
		if h.fetched {
			n += b.Size
		}
	}
	return n, nil
}

// arriving is a large blob on its way.
type arriving struct {
	*blob.Part
	users int
}

// Begin implements blob.Local.
func (s *store) Begin(b work.BlobID) (*blob.Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.parts[b]; a != nil {
		a.users++
		return a.Part, nil
	}
	var data blob.PartData = make(memory, b.Size)
	if b.Size > memoryBlob {
		f, err := os.CreateTemp(s.dir, "blob-*")
		if err != nil {
			return nil, err
		}
		data = f
	}
	a := &arriving{blob.NewPart(b, data, s), 1}
	s.parts[b] = a
	return a.Part, nil
}

// WholePart implements blob.PartEnd.
func (s *store) WholePart(p *blob.Part, _ bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.blobs[p.Blob()]
	if !p.Finish() || h == nil || h.src.Path != "" || h.src.Data != nil { // nobody waits for it any more
		return nil
	}
	delete(s.parts, p.Blob())
	h.fetched = true
	switch d := p.Data().(type) {
	case memory:
		h.src = Source{Data: d}
	case *os.File:
		h.src = Source{Path: d.Name()}
		return d.Close()
	}
	return nil
}

// LeavePart implements blob.PartEnd: what came is kept while somebody wants it.
func (s *store) LeavePart(p *blob.Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.parts[p.Blob()]
	if a == nil || a.Part != p {
		return
	}
	a.users--
	s.giveUp(p.Blob())
}

// giveUp drops an unfinished blob that nobody fetches or wants; s.mu is held.
func (s *store) giveUp(b work.BlobID) {
	a := s.parts[b]
	if a == nil || a.users > 0 || s.blobs[b] != nil {
		return
	}
	delete(s.parts, b)
	if f, ok := a.Data().(*os.File); ok {
		f.Close()
		os.Remove(f.Name())
	}
}

// memory is a small blob that is arriving.
type memory []byte

// ReadAt implements io.ReaderAt.
func (m memory) ReadAt(b []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(b, off) }

// WriteAt implements io.WriterAt; blob.Part keeps within the blob.
func (m memory) WriteAt(b []byte, off int64) (int, error) { return copy(m[off:], b), nil }
