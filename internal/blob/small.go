package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/bloom"

	"github.com/gotong-network/gotong/work"
)

const (
	// groupBytes ends a group: what is stored with one sync.
	groupBytes = 4 << 20
	// queueLen is how many writers wait before more of them block.
	queueLen = 1024
)

// Keys: blobs are 'b' ‖ root ‖ size (8 bytes, big-endian); the number of bytes
// of all of them is kept beside them, in the same batch, so that opening a store
// of millions need not read them.
var keyTotal = []byte("total")

// smallStore keeps small blobs in a database. One goroutine writes: it takes
// everybody who waits into one batch and one sync.
type smallStore struct {
	db    *pebble.DB
	space *space
	queue chan *smallWrite
	total uint64 // the writer's own

	stop    chan struct{} // closed by close
	stopped chan struct{} // closed by the writer at its end

	mu     sync.RWMutex // held for reading by readers; guards closed
	closed bool
}

// smallWrite is one writer's wish.
type smallWrite struct {
	put    []work.BlobID
	data   [][]byte
	delete []work.BlobID
	done   chan error // of capacity 1
}

func openSmall(dir string, sp *space, log *slog.Logger) (*smallStore, error) {
	cache := pebble.NewCache(32 << 20)
	defer cache.Unref()
	opts := &pebble.Options{
		Cache:              cache,
		MemTableSize:       16 << 20,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLog{log},
		Levels:             []pebble.LevelOptions{{FilterPolicy: bloom.FilterPolicy(10)}},
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("%w (is another process using it?)", err)
	}
	s := &smallStore{
		db: db, space: sp, queue: make(chan *smallWrite, queueLen),
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	if s.total, err = readTotal(db); err != nil {
		db.Close()
		return nil, err
	}
	sp.add(s.total)
	go s.write()
	return s, nil
}

func readTotal(db *pebble.DB) (uint64, error) {
	v, closer, err := db.Get(keyTotal)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: the total of small blobs has %d bytes", ErrCorrupt, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

func smallKey(b work.BlobID) []byte {
	k := make([]byte, 0, 1+len(b.Root)+8)
	k = append(append(k, 'b'), b.Root[:]...)
	return binary.BigEndian.AppendUint64(k, b.Size)
}

func (s *smallStore) has(b work.BlobID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	_, closer, err := s.db.Get(smallKey(b))
	if err != nil {
		return false
	}
	closer.Close()
	return true
}

func (s *smallStore) get(b work.BlobID) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, errStoreClosed
	}
	v, closer, err := s.db.Get(smallKey(b))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, missing(b)
	}
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", b, err)
	}
	defer closer.Close()
	return append(make([]byte, 0, len(v)), v...), nil
}

// use gives the database to f, which must not keep it.
func (s *smallStore) use(f func(*pebble.DB) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errStoreClosed
	}
	return f(s.db)
}

// put stores blobs; once it returns they are on disk.
func (s *smallStore) put(ctx context.Context, ids []work.BlobID, datas [][]byte) error {
	if len(ids) == 0 {
		return nil
	}
	return s.submit(ctx, &smallWrite{put: ids, data: datas, done: make(chan error, 1)})
}

func (s *smallStore) delete(ids []work.BlobID) error {
	if len(ids) == 0 {
		return nil
	}
	return s.submit(context.Background(), &smallWrite{delete: ids, done: make(chan error, 1)})
}

func (s *smallStore) submit(ctx context.Context, w *smallWrite) error {
	select {
	case s.queue <- w:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return errStoreClosed
	}
	// The data is in the writer's hands: wait, whatever ctx says.
	select {
	case err := <-w.done:
		return err
	case <-s.stopped:
	}
	select {
	case err := <-w.done: // the writer's last group
		return err
	default:
		return errStoreClosed
	}
}

// write is the writer.
func (s *smallStore) write() {
	defer close(s.stopped)
	for {
		select {
		case w := <-s.queue:
			s.commit(s.gather(w))
		case <-s.stop:
			return
		}
	}
}

// gather takes whoever else waits, up to a group.
func (s *smallStore) gather(w *smallWrite) []*smallWrite {
	group := []*smallWrite{w}
	for n := bytesOf(w); n < groupBytes; {
		select {
		case w = <-s.queue:
			group = append(group, w)
			n += bytesOf(w)
		default:
			return group
		}
	}
	return group
}

func bytesOf(w *smallWrite) (n int) {
	for _, d := range w.data {
		n += len(d)
	}
	return n
}

// commit writes a group with one sync and answers everybody in it.
func (s *smallStore) commit(group []*smallWrite) {
	batch := s.db.NewIndexedBatch()
	defer batch.Close()
	var added, removed uint64
	var waiting []*smallWrite
	for _, w := range group {
		up, down, err := s.stage(batch, w)
		if err != nil {
			w.done <- err
			continue
		}
		added, removed = added+up, removed+down
		waiting = append(waiting, w)
	}
	err := s.sync(batch, s.total+added-removed)
	if err == nil {
		s.total += added - removed
		s.space.free(removed)
	} else {
		s.space.free(added)
	}
	for _, w := range waiting {
		w.done <- err
	}
}

// stage adds one writer's wish to a batch and takes the space for it; on an
// error it added nothing.
func (s *smallStore) stage(batch *pebble.Batch, w *smallWrite) (added, removed uint64, err error) {
	fresh := make(map[work.BlobID][]byte, len(w.put))
	for i, b := range w.put {
		have, err := inBatch(batch, b)
		if err != nil {
			return 0, 0, err
		}
		if _, twice := fresh[b]; !have && !twice && b != empty {
			fresh[b] = w.data[i]
			added += b.Size
		}
	}
	if err := s.space.take(added); err != nil {
		return 0, 0, err
	}
	for b, data := range fresh {
		batch.Set(smallKey(b), data, nil) // errs only on a closed batch
	}
	for _, b := range w.delete {
		if have, err := inBatch(batch, b); err == nil && have {
			batch.Delete(smallKey(b), nil)
			removed += b.Size
		}
	}
	return added, removed, nil
}

// inBatch reports whether a blob is there, or will be after the batch.
func inBatch(batch *pebble.Batch, b work.BlobID) (bool, error) {
	_, closer, err := batch.Get(smallKey(b))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store blob: %w", err)
	}
	return true, closer.Close()
}

func (s *smallStore) sync(batch *pebble.Batch, total uint64) error {
	if batch.Empty() {
		return nil
	}
	batch.Set(keyTotal, binary.BigEndian.AppendUint64(nil, total), nil)
	if err := batch.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("store blobs: %w", diskError(err))
	}
	return nil
}

// close waits for the group being written and for readers; who still waits to
// write gets an error. It is called once.
func (s *smallStore) close() error {
	close(s.stop)
	<-s.stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.db.Close()
}

// pebbleLog carries the database's messages.
type pebbleLog struct{ log *slog.Logger }

// Infof implements pebble.Logger.
func (l pebbleLog) Infof(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }

// Fatalf implements pebble.Logger: the database cannot go on, and must not.
func (l pebbleLog) Fatalf(format string, args ...any) { panic("blob: " + fmt.Sprintf(format, args...)) }
