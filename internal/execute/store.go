package execute

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble"

	"github.com/gotong-network/gotong/internal/blob"
)

// ErrDamaged reports a record that does not decode: another version wrote it, or
// the disk lost it.
var ErrDamaged = errors.New("record is damaged: move the role's folder away and start again; unsettled work in it is lost")

// Store is a role's durable records: a key-value log with group commit. Batches
// that are committed at the same time share one write to disk. Safe for
// concurrent use.
type Store struct {
	db  *pebble.DB
	dir string
}

// Batch collects changes that become visible and durable together.
type Batch struct {
	b   *pebble.Batch
	dir string
}

// OpenStore opens or makes the store in dir, which only one process may use.
func OpenStore(dir string, log *slog.Logger) (*Store, error) {
	db, err := pebble.Open(dir, &pebble.Options{
		Logger:       quiet{log},
		MemTableSize: 16 << 20,
		// Two compactions at most: this machine's cores are for the work.
		MaxConcurrentCompactions: func() int { return 2 },
	})
	if err != nil {
		return nil, fmt.Errorf("open records in %s: %w", dir, err)
	}
	return &Store{db, dir}, nil
}

// Close flushes and closes.
func (s *Store) Close() error { return s.db.Close() }

// Get gives a copy of the value, nil if there is none.
func (s *Store) Get(key []byte) ([]byte, error) {
	v, c, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	out := append([]byte{}, v...)
	return out, c.Close()
}

// Scan calls f for each record whose key starts with prefix, in key order; the
// slices are f's only until it returns.
func (s *Store) Scan(prefix []byte, f func(key, value []byte) error) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("scan records: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("scan records: %w", err)
		}
		if err := f(it.Key(), v); err != nil {
			return err
		}
	}
	return it.Error()
}

// NewBatch starts a batch; end it with Commit or Drop.
func (s *Store) NewBatch() *Batch { return &Batch{s.db.NewBatch(), s.dir} }

// Set writes a record.
func (b *Batch) Set(key, value []byte) { must(b.b.Set(key, value, nil)) }

// Delete removes a record.
func (b *Batch) Delete(key []byte) { must(b.b.Delete(key, nil)) }

// DeletePrefix removes all records whose key starts with prefix.
func (b *Batch) DeletePrefix(prefix []byte) { must(b.b.DeleteRange(prefix, after(prefix), nil)) }

// Commit makes the changes durable: they, and all that was committed before,
// survive a crash once it returns. blob.ErrFull says that the disk has no room, and
// that nothing was changed.
func (b *Batch) Commit() error { return b.commit(pebble.Sync) }

// CommitLazy makes the changes visible; the next Commit of anyone makes them
// durable.
func (b *Batch) CommitLazy() error { return b.commit(pebble.NoSync) }

func (b *Batch) commit(o *pebble.WriteOptions) error {
	if b.b.Empty() && !o.Sync {
		return b.b.Close()
	}
	if err := blob.Room(b.dir); err != nil { // an engine that cannot write ends the process
		return errors.Join(fmt.Errorf("write records: %w", err), b.b.Close())
	}
	if err := b.b.Commit(o); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return b.b.Close()
}

// Drop forgets the changes.
func (b *Batch) Drop() { _ = b.b.Close() }

// must holds for writes into a batch in memory: they fail only on a closed batch.
func must(err error) {
	if err != nil {
		panic("execute: write into a record batch: " + err.Error())
	}
}

// after is the first key behind all keys with the prefix.
func after(prefix []byte) []byte {
	end := append([]byte{}, prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

var cursorKey = []byte("cursor")

// Cursor is the last height whose events were handled, 0 if none.
func (s *Store) Cursor() (int64, error) {
	v, err := s.Get(cursorKey)
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("height cursor: %w", ErrDamaged)
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

// SetCursor notes a height together with what was done about it.
func (b *Batch) SetCursor(height int64) {
	b.Set(cursorKey, binary.BigEndian.AppendUint64(nil, uint64(height)))
}

// quiet passes the engine's errors on and keeps its chatter out of the log.
type quiet struct{ log *slog.Logger }

func (q quiet) Infof(string, ...any) {}
func (q quiet) Fatalf(f string, a ...any) {
	q.log.Error("record store failed", "err", fmt.Sprintf(f, a...))
	panic(fmt.Sprintf("execute: record store: "+f, a...))
}

var _ io.Closer = (*Store)(nil)
