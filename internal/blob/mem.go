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
	trees *trees

	mu    sync.Mutex // guards blobs and parts
	blobs map[work.BlobID][]byte
	parts map[work.BlobID]*memUsed
	space space
}

var _ Local = (*Mem)(nil)

// NewMem gives an empty store.
func NewMem() *Mem {
	m := &Mem{blobs: map[work.BlobID][]byte{}, parts: map[work.BlobID]*memUsed{}, space: space{max: memBytes}}
	m.trees = newTrees(m)
	return m
}

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

// memUsed is an unfinished blob.
type memUsed struct {
	*Part
	users int
}

// Begin implements Local.
func (m *Mem) Begin(b work.BlobID) (*Part, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.parts[b]; u != nil && u.open() {
		u.users++
		return u.Part, nil
	}
	if err := m.space.take(b.Size); err != nil {
		return nil, err
	}
	u := &memUsed{NewPart(b, make(memPart, b.Size), m), 1}
	m.parts[b] = u
	return u.Part, nil
}

// Pending implements Sharer.
func (m *Mem) Pending(b work.BlobID) *Part {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.parts[b]
	if u == nil || u.users == 0 || !u.open() {
		return nil
	}
	u.users++
	return u.Part
}

// WholePart implements PartEnd.
func (m *Mem) WholePart(p *Part, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !p.Finish() {
		return nil
	}
	if m.blobs[p.b] != nil {
		m.space.free(p.b.Size)
		return nil
	}
	m.blobs[p.b] = p.data.(memPart)
	m.trees.put(p.b, p.tree)
	return nil
}

// LeavePart implements PartEnd. What is unfinished stays until somebody takes it up
// or deletes it.
func (m *Mem) LeavePart(p *Part) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.parts[p.b]
	if u == nil || u.Part != p {
		return
	}
	if u.users--; u.users > 0 {
		return
	}
	if over := !p.open(); over || !p.Begun() {
		delete(m.parts, p.b)
		if !over {
			m.space.free(p.b.Size)
		}
	}
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
		if p := m.parts[b]; p != nil && p.users == 0 {
			m.space.free(b.Size)
			delete(m.parts, b)
		}
	}
	return nil
}

// Size implements Store.
func (m *Mem) Size() (uint64, error) { return m.space.used(), nil }
