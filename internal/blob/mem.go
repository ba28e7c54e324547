package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// memBytes bounds a Mem.
const memBytes = 1 << 30

// Mem keeps blobs in memory, at most 1 GiB: for tests of those who use a store.
type Mem struct {
	mu    sync.Mutex // guards blobs
	blobs map[work.BlobID][]byte
	space space
}

var _ Local = (*Mem)(nil)

// NewMem gives an empty store.
func NewMem() *Mem { return &Mem{blobs: map[work.BlobID][]byte{}, space: space{max: memBytes}} }

// Has implements Store.
func (m *Mem) Has(b work.BlobID) bool {
	_, err := m.Get(b, b.Size)
	return err == nil
}

// Get implements Store.
func (m *Mem) Get(b work.BlobID, maxBytes uint64) ([]byte, error) {
	if b.Size > maxBytes {
		return nil, tooLarge(b.Size, maxBytes)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[b]
	if !ok && b != empty {
		return nil, missing(b)
	}
	return slices.Clone(data), nil
}

// Open implements runtime.Blobs.
func (m *Mem) Open(b work.BlobID) (runtime.BlobReader, error) {
	data, err := m.Get(b, b.Size)
	if err != nil {
		return nil, err
	}
	return byteReader{bytes.NewReader(data)}, nil
}

// Put implements Store.
func (m *Mem) Put(data []byte) (work.BlobID, error) {
	b := work.BlobOf(data)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blobs[b] != nil || b == empty {
		return b, nil
	}
	if err := m.space.take(b.Size); err != nil {
		return b, err
	}
	m.blobs[b] = slices.Clone(data)
	return b, nil
}

// PutMany implements Local.
func (m *Mem) PutMany(ctx context.Context, datas [][]byte) (ids []work.BlobID, err error) {
	for _, data := range datas {
		b, err := m.Put(data)
		if err != nil {
			return nil, err
		}
		ids = append(ids, b)
	}
	return ids, ctx.Err()
}

// PutReader implements Store.
func (m *Mem) PutReader(r io.Reader, maxBytes uint64) (work.BlobID, error) {
	limit := min(maxBytes, memBytes)
	data, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return work.BlobID{}, fmt.Errorf("store blob: %w", err)
	}
	if uint64(len(data)) > maxBytes {
		return work.BlobID{}, tooLarge(uint64(len(data)), maxBytes)
	}
	return m.Put(data)
}

// Begin implements Local.
func (m *Mem) Begin(b work.BlobID) (Partial, error) {
	if b.Size > memBytes {
		return nil, fmt.Errorf("%w: %s", ErrFull, b)
	}
	return &smallPartial{b: b, data: make([]byte, b.Size), put: m.Put}, nil
}

// Delete implements Store.
func (m *Mem) Delete(bs ...work.BlobID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range bs {
		if data, ok := m.blobs[b]; ok {
			m.space.free(uint64(len(data)))
			delete(m.blobs, b)
		}
	}
	return nil
}

// Size implements Store.
func (m *Mem) Size() (uint64, error) { return m.space.used(), nil }
