package execute

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

type origin struct {
	from, to *blob.Mem
	fetches  atomic.Int64
}

func (o *origin) Fetch(_ context.Context, b work.BlobID, _ []p2p.Peer) error {
	o.fetches.Add(1)
	data, err := o.from.Get(b, b.Size)
	if err == nil {
		_, err = o.to.Put(data)
	}
	return err
}

// reader gives what it read of its inputs, as a runtime does.
type reader struct{ blobs *blob.Mem }

func (reader) Slots() int   { return 2 }
func (reader) Close() error { return nil }

func (r reader) Run(_ context.Context, t runtime.Task) (*runtime.Run, error) {
	for _, f := range t.Item.Files {
		if _, err := r.blobs.Get(f.Blob, f.Blob.Size); err != nil {
			return nil, fmt.Errorf("input %s: %w", f.Path, err)
		}
	}
	in := t.Item.InputDigest(work.Program(t.Program, t.Profile), t.Limits, t.Seed)
	return &runtime.Run{Leaf: work.Leaf{Input: in, Outcome: work.Outcome{Kind: work.Exited}, Fuel: 1}}, nil
}

func setUp(t *testing.T, list work.ItemList, count uint64) (*Executor, *origin, work.JobSpec) {
	t.Helper()
	o := &origin{from: blob.NewMem(), to: blob.NewMem()}
	put := func(b []byte) work.BlobID {
		id, err := o.from.Put(b)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for i := range list.Each {
		list.Each[i].Blob = put([]byte(list.Each[i].Path))
	}
	s := work.JobSpec{Chain: "c", Program: put([]byte("module")), Profile: "gw1/1", Items: put(list.Encode()), ItemCount: count}
	return New(reader{o.to}, o.to, o), o, s
}

func TestInputsAreFetchedOnceAndAgainWhenLost(t *testing.T) {
	t.Parallel()
	list := work.ItemList{Args: []string{"{in}"}, Source: work.SourceEach, Each: []work.File{{Path: "a"}, {Path: "b"}}}
	e, o, s := setUp(t, list, 2)
	p, err := e.Prepare(t.Context(), &s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := p.Run(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := o.fetches.Load(); n != 3 { // list, module, one input
		t.Errorf("%d fetches", n)
	}
	it, err := p.Item(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.to.Delete(it.Files[0].Blob); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(t.Context(), 1); err != nil {
		t.Errorf("after the store made room: %v", err)
	}
	if _, err := p.Run(t.Context(), 2); !errors.Is(err, ErrBadList) {
		t.Errorf("an item beyond the list: %v", err)
	}
}

func TestBadLists(t *testing.T) {
	t.Parallel()
	list := work.ItemList{Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: 5}}
	e, _, s := setUp(t, list, 6)
	if _, err := e.Prepare(t.Context(), &s, nil); !errors.Is(err, ErrBadList) {
		t.Errorf("list of another length: %v", err)
	}
	s.Items = s.Program
	if _, err := e.Prepare(t.Context(), &s, nil); !errors.Is(err, ErrBadList) {
		t.Errorf("no list at all: %v", err)
	}
	s.Items.Size = 1 << 40
	if _, err := e.Prepare(t.Context(), &s, nil); !errors.Is(err, ErrBadList) {
		t.Errorf("endless list: %v", err)
	}
}

func TestPreparedJobsAreBounded(t *testing.T) {
	t.Parallel()
	e, _, s := setUp(t, work.ItemList{Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: 5}}, 5)
	for i := range uint64(3 * maxPrepared) {
		s.Nonce = i
		if _, err := e.Prepare(t.Context(), &s, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := e.recent.Len(); n != maxPrepared || len(e.prepared) != n {
		t.Errorf("%d lists in memory, %d in the index", n, len(e.prepared))
	}
}

func TestStoreKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "records")
	log := slog.New(slog.DiscardHandler)
	s, err := OpenStore(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	w := s.NewBatch()
	w.Set([]byte("a/1"), []byte("one"))
	w.Set([]byte("a/2"), nil)
	w.Set([]byte("a\xff"), []byte("other"))
	w.SetCursor(42)
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenStore(dir, log); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if h, err := s.Cursor(); h != 42 || err != nil {
		t.Errorf("cursor %d, %v", h, err)
	}
	var keys []string
	if err := s.Scan([]byte("a/"), func(k, _ []byte) error { keys = append(keys, string(k)); return nil }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(keys) != "[a/1 a/2]" {
		t.Errorf("scanned %q", keys)
	}
	w = s.NewBatch()
	w.DeletePrefix([]byte("a/"))
	if err := w.CommitLazy(); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get([]byte("a/1")); v != nil || err != nil {
		t.Errorf("deleted record: %q, %v", v, err)
	}
}

func TestAfter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prefix, want string }{{"a", "b"}, {"a\xff", "b"}, {"a\xff\xff", "b"}, {"ab", "ac"}} {
		if got := string(after([]byte(c.prefix))); got != c.want {
			t.Errorf("after %q: %q, want %q", c.prefix, got, c.want)
		}
	}
	if got := after([]byte{0xff}); got != nil {
		t.Errorf("after the last prefix: %q", got)
	}
}
