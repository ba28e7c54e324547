package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"lukechampine.com/blake3"

	"github.com/gotong-network/gotong/internal/disk"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

const (
	// smallBytes is the largest blob kept in the database. An indexer stores tens
	// of thousands of small outputs per second: files of their own would cost two
	// syncs each.
	smallBytes = 16 << 10
	// defaultMaxBytes is the bound of a store that names none.
	defaultMaxBytes = 64 << 30
	copyBytes       = 256 << 10
)

var errStoreClosed = errors.New("blob store is closed")

// Options of a FileStore.
type Options struct {
	// MaxBytes bounds the content kept; above it Put gives ErrFull. 0 means
	// 64 GiB.
	MaxBytes uint64
	// CacheBytes bounds the programs kept after their last job; 0 means an eighth of
	// MaxBytes.
	CacheBytes uint64
	// Log hears of corrupt blobs that were removed; nil is silent.
	Log *slog.Logger
}

// FileStore keeps blobs in a folder: small ones in a database with group commit,
// others as files of their own, which runtimes may map.
//
//	small/              the database
//	files/ab/ROOT-SIZE  one file a blob, by the first byte of its root
//	tmp/                unfinished writes, dropped when the store opens, and
//	                    unfinished blobs (Part), which are taken up again
type FileStore struct {
	dir   string
	log   *slog.Logger
	small *smallStore
	space *space

	trees *trees

	maxCache uint64
	swept    chan struct{} // closed by the sweeper at its end

	claiming sync.Mutex // held while claims change; before all below
	parting  sync.Mutex // held while a part's files are opened or dropped; before naming
	naming   sync.Mutex // held while a file gets or loses its name; before mu

	mu       sync.Mutex // guards everything below
	closed   bool
	files    map[work.BlobID]*file
	parts    map[work.BlobID]*storedPart
	partials map[*filePartial]struct{}
}

// file is one blob of its own.
type file struct {
	mu   sync.Mutex // held while the content is hashed; guards good
	good bool       // this process wrote or hashed it
}

var _ Local = (*FileStore)(nil)

// OpenStore opens or makes a store in dir. One process at a time: an error if
// another has it.
func OpenStore(dir string, opts Options) (*FileStore, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = defaultMaxBytes
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &FileStore{
		dir: dir, log: opts.Log, space: &space{dir: dir, max: opts.MaxBytes},
		files: map[work.BlobID]*file{}, parts: map[work.BlobID]*storedPart{}, partials: map[*filePartial]struct{}{},
	}
	s.trees = newTrees(s)
	if s.maxCache = opts.CacheBytes; s.maxCache == 0 {
		s.maxCache = opts.MaxBytes / 8
	}
	if err := os.MkdirAll(s.filesDir(), 0o700); err != nil {
		return nil, fmt.Errorf("open blob store: %w", diskError(err))
	}
	var err error
	// The database's lock comes first: nothing of a store in use is touched.
	if s.small, err = openSmall(filepath.Join(dir, "small"), s.space, opts.Log); err != nil {
		return nil, fmt.Errorf("open blob store %s: %w", dir, err)
	}
	if err := errors.Join(s.recover(), s.finishWipes(), s.sweep(time.Now())); err != nil {
		s.small.close()
		return nil, fmt.Errorf("open blob store %s: %w", dir, err)
	}
	s.swept = make(chan struct{})
	go s.sweeper()
	return s, nil
}

func (s *FileStore) filesDir() string { return filepath.Join(s.dir, "files") }
func (s *FileStore) tmpDir() string   { return filepath.Join(s.dir, "tmp") }

func (s *FileStore) path(b work.BlobID) string {
	name := b.Root.String() + "-" + strconv.FormatUint(b.Size, 10)
	return filepath.Join(s.filesDir(), name[:2], name)
}

// recover drops unfinished writes and counts what is there.
func (s *FileStore) recover() error {
	if err := s.recoverTmp(); err != nil {
		return err
	}
	return filepath.WalkDir(s.filesDir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, ok := parseName(e.Name())
		if !ok {
			s.log.Warn("not a blob, left alone", "path", path)
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if uint64(info.Size()) != b.Size {
			s.log.Warn("corrupt blob removed", "blob", b, "bytes", info.Size())
			return os.Remove(path)
		}
		s.files[b] = &file{}
		s.space.add(b.Size)
		return nil
	})
}

func parseName(name string) (work.BlobID, bool) {
	root, size, _ := strings.Cut(name, "-")
	b, err := work.ParseBlobID(root + ":" + size)
	return b, err == nil
}

// empty is the blob of nothing, which is always present.
var empty = work.BlobOf(nil)

// Has implements Store.
func (s *FileStore) Has(b work.BlobID) bool {
	if b == empty {
		return true
	}
	if b.Size <= smallBytes {
		return s.small.has(b)
	}
	return s.file(b) != nil
}

func (s *FileStore) file(b work.BlobID) *file {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[b]
}

// Get implements Store. The bytes are verified; a corrupt blob is removed and
// gives ErrCorrupt, so that it can be fetched again.
func (s *FileStore) Get(b work.BlobID, maxBytes uint64) ([]byte, error) {
	if b.Size > maxBytes {
		return nil, tooLarge(b.Size, maxBytes)
	}
	if b == empty {
		return []byte{}, nil
	}
	data, err := s.read(b)
	if err != nil {
		return nil, err
	}
	if work.BlobOf(data) != b {
		return nil, s.corrupt(b)
	}
	return data, nil
}

func (s *FileStore) read(b work.BlobID) ([]byte, error) {
	if b.Size <= smallBytes {
		return s.small.get(b)
	}
	if s.file(b) == nil {
		return nil, missing(b)
	}
	f, err := os.Open(s.path(b))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.vanished(b)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, b.Size)
	if _, err := io.ReadFull(f, data); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, s.corrupt(b)
	} else if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", b, err)
	}
	return data, nil
}

// Open implements runtime.Blobs. A file is hashed when it is opened for the
// first time in this process, unless this process wrote it. Readers of files
// implement runtime.Path.
func (s *FileStore) Open(b work.BlobID) (runtime.BlobReader, error) {
	if b.Size <= smallBytes {
		data, err := s.Get(b, smallBytes)
		if err != nil {
			return nil, err
		}
		return byteReader{bytes.NewReader(data)}, nil
	}
	known := s.file(b)
	if known == nil {
		return nil, missing(b)
	}
	f, err := os.Open(s.path(b))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.vanished(b)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", b, err)
	}
	if err := s.check(b, known, f); err != nil {
		f.Close()
		return nil, err
	}
	return fileReader{f}, nil
}

// check hashes a file once.
func (s *FileStore) check(b work.BlobID, known *file, f *os.File) error {
	known.mu.Lock()
	defer known.mu.Unlock()
	if known.good {
		return nil
	}
	h := blake3.New(32, nil)
	n, err := io.CopyBuffer(onlyWriter{h}, onlyReader{io.NewSectionReader(f, 0, int64(b.Size)+1)}, make([]byte, copyBytes))
	if err != nil {
		return fmt.Errorf("read blob %s: %w", b, err)
	}
	if uint64(n) != b.Size || work.Hash(h.Sum(nil)) != b.Root {
		return s.corrupt(b)
	}
	known.good = true
	return nil
}

// corrupt removes a blob whose bytes are wrong and reports it.
func (s *FileStore) corrupt(b work.BlobID) error {
	s.log.Warn("corrupt blob removed", "blob", b)
	err := fmt.Errorf("%w: %s was removed, fetch it again", ErrCorrupt, b)
	return errors.Join(err, s.Delete(b))
}

// vanished reports a file that somebody else removed.
func (s *FileStore) vanished(b work.BlobID) error { return errors.Join(missing(b), s.Delete(b)) }

// Put implements Store.
func (s *FileStore) Put(data []byte) (work.BlobID, error) {
	b := work.BlobOf(data)
	if b.Size <= smallBytes {
		return b, s.putSmall(context.Background(), []work.BlobID{b}, [][]byte{data})
	}
	if s.file(b) != nil {
		return b, nil
	}
	p, err := s.create()
	if err != nil {
		return b, err
	}
	p.b = b
	defer p.Abort()
	if _, err := p.WriteAt(data, 0); err != nil {
		return b, err
	}
	return b, p.Commit()
}

// PutMany implements Local.
func (s *FileStore) PutMany(ctx context.Context, datas [][]byte) ([]work.BlobID, error) {
	ids := make([]work.BlobID, len(datas))
	var smallIDs []work.BlobID
	var small [][]byte
	for i, data := range datas {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(data) <= smallBytes {
			ids[i] = work.BlobOf(data)
			smallIDs, small = append(smallIDs, ids[i]), append(small, data)
			continue
		}
		var err error
		if ids[i], err = s.Put(data); err != nil {
			return nil, err
		}
	}
	return ids, s.putSmall(ctx, smallIDs, small)
}

// putSmall stores small blobs, making room if there is none.
func (s *FileStore) putSmall(ctx context.Context, ids []work.BlobID, datas [][]byte) error {
	err := s.small.put(ctx, ids, datas)
	if !errors.Is(err, ErrFull) {
		return err
	}
	var n uint64
	for _, b := range ids {
		n += b.Size
	}
	if !s.makeRoom(n) {
		return err
	}
	return s.small.put(ctx, ids, datas)
}

// PutReader implements Store. While it is written a stream takes space even if
// its blob turns out to be here already.
func (s *FileStore) PutReader(r io.Reader, maxBytes uint64) (work.BlobID, error) {
	head := make([]byte, min(smallBytes, maxBytes)+1)
	n, err := io.ReadFull(r, head)
	switch {
	case err == nil && uint64(n) > maxBytes:
		return work.BlobID{}, tooLarge(uint64(n), maxBytes)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return s.Put(head[:n])
	case err != nil:
		return work.BlobID{}, fmt.Errorf("store blob: %w", err)
	}
	return s.putFile(io.MultiReader(bytes.NewReader(head), r), maxBytes)
}

func (s *FileStore) putFile(r io.Reader, maxBytes uint64) (b work.BlobID, err error) {
	w, err := s.create()
	if err != nil {
		return b, err
	}
	defer w.Abort()
	h := blake3.New(32, nil)
	buf := make([]byte, copyBytes)
	var size uint64
	for {
		n, readErr := r.Read(buf)
		if size += uint64(n); size > maxBytes {
			return b, tooLarge(size, maxBytes)
		}
		h.Write(buf[:n])
		if _, err := w.WriteAt(buf[:n], int64(size)-int64(n)); err != nil {
			return b, err
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return b, fmt.Errorf("store blob: %w", readErr)
		}
	}
	w.b = work.BlobID{Root: work.Hash(h.Sum(nil)), Size: size}
	return w.b, w.Commit()
}

// Delete implements Store.
func (s *FileStore) Delete(bs ...work.BlobID) error {
	var small []work.BlobID
	var errs []error
	for _, b := range bs {
		if b.Size <= smallBytes {
			small = append(small, b)
		} else if err := s.deleteFile(b); err != nil {
			errs = append(errs, err)
		}
		s.parting.Lock()
		s.forgetPart(b)
		s.parting.Unlock()
	}
	return errors.Join(append(errs, s.small.delete(small))...)
}

func (s *FileStore) deleteFile(b work.BlobID) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	if s.file(b) == nil {
		return nil
	}
	if err := os.Remove(s.path(b)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, b)
	s.space.free(b.Size)
	return nil
}

// Size implements Store.
func (s *FileStore) Size() (uint64, error) { return s.space.used(), nil }

// Close ends unfinished writes and closes the store.
func (s *FileStore) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	var open []*filePartial
	for p := range s.partials {
		open = append(open, p)
	}
	s.mu.Unlock()
	if again {
		return nil
	}
	for _, p := range open {
		p.Abort()
	}
	err := s.small.close()
	<-s.swept
	return err
}

// space counts bytes kept and being written.
type space struct {
	dir string // on the disk whose room counts; empty: none does

	mu    sync.Mutex // guards bytes
	bytes uint64
	max   uint64
}

// diskReserve is what stays free on the disk, but at most a twentieth of it: records
// and databases beside the blobs must be able to go on, and to say so.
const diskReserve = 64 << 20

// disk gives ErrFull if the disk has not n bytes left.
func (s *space) disk(n uint64) error {
	if s.dir == "" {
		return nil
	}
	free, all, err := disk.Space(s.dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if keep := min(diskReserve, all/20); free < keep || free-keep < n {
		return fmt.Errorf("%w: the disk of %s has %d bytes free, %d are needed and %d stay free: make room on it", ErrFull, s.dir, free, n, keep)
	}
	return nil
}

// recordsNeed is what must be free on a disk for records to be written to it: a
// record engine that fails to write cannot go on.
const recordsNeed = 32 << 20

// Room gives ErrFull if the disk of a folder has no room left for records.
func Room(dir string) error {
	free, _, err := disk.Space(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if free < recordsNeed {
		return fmt.Errorf("%w: the disk of %s has %d MiB free, records need %d: make room on it", ErrFull, dir, free>>20, uint64(recordsNeed>>20))
	}
	return nil
}

// take reserves n bytes or gives ErrFull.
func (s *space) take(n uint64) error {
	if err := s.disk(n); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes > s.max || n > s.max-s.bytes {
		return fmt.Errorf("%w: %d of %d bytes are held for jobs that are not over, %d more are needed: raise the disk limit, or wait for jobs to end", ErrFull, s.bytes, s.max, n)
	}
	s.bytes += n
	return nil
}

// room reserves n bytes, making room if there is none. Its caller holds no lock of
// the store.
func (s *FileStore) room(n uint64) error {
	err := s.space.take(n)
	if err == nil || !s.makeRoom(n) {
		return err
	}
	return s.space.take(n)
}

// add counts what is there already, even over the bound.
func (s *space) add(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += n
}

func (s *space) free(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= n
}

func (s *space) used() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

func missing(b work.BlobID) error { return fmt.Errorf("%w: %s", ErrMissing, b) }

func tooLarge(size, maxBytes uint64) error {
	return fmt.Errorf("%w: %d bytes or more, at most %d", ErrTooLarge, size, maxBytes)
}

// diskError names a full disk for what it is.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// byteReader is a small blob.
type byteReader struct{ *bytes.Reader }

// Close implements io.Closer.
func (byteReader) Close() error { return nil }

// fileReader is a blob that is a whole file.
type fileReader struct{ *os.File }

var _ runtime.Path = fileReader{}

// Path implements runtime.Path.
func (f fileReader) Path() string { return f.Name() }

// onlyReader and onlyWriter hide short cuts that would ignore our buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
