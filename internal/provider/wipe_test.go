package provider_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/checker"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// fileCopier fetches from the client's store into a store that knows claims.
type fileCopier struct {
	from *blob.Mem
	to   *blob.FileStore
}

func (c fileCopier) Fetch(_ context.Context, b work.BlobID, _ []p2p.Peer) error {
	data, err := c.from.Get(b, b.Size)
	if err != nil {
		return err
	}
	_, err = c.to.Put(data)
	return err
}

func (w *world) store() *blob.FileStore {
	w.t.Helper()
	s, err := blob.OpenStore(filepath.Join(w.t.TempDir(), "blobs"), blob.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close() })
	return s
}

// TestWipe wants nothing of a closed job to be left at its provider and its checker
// but the program: neither inputs nor outputs.
func TestWipe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mine, checks := w.store(), w.store()
	a := w.provider("prov-a", &toy{slots: 2, out: 100_000})
	a.edit = func(cfg *provider.Config) {
		cfg.Blobs, cfg.Fetcher, cfg.Retain = mine, fileCopier{w.blobs, mine}, time.Second
	}
	w.checker("check-1", &toy{out: 100_000}, w.chain, func(cfg *checker.Config) {
		cfg.Blobs, cfg.Fetcher, cfg.Retain = checks, fileCopier{w.blobs, checks}, time.Second
	})()
	w.tick()
	input := w.put([]byte("what the client wants nobody to keep"))
	list := work.ItemList{Args: []string{"{i}"}, Shared: []work.File{{Path: "in", Blob: input}}, Source: work.SourceRange, Range: work.Range{Lo: 1, Hi: 101}}
	s := w.run(a, func(s *work.JobSpec) { s.Items = w.put(list.Encode()) })
	b := w.ended(s)
	if b.Phase != lifecycle.Settled {
		t.Fatalf("the batch is %s: %s", b.Phase, b.Why)
	}
	for _, st := range []*blob.FileStore{mine, checks} {
		if !st.Has(input) || !st.Has(s.Items) || !st.Has(s.Program) {
			t.Fatal("an input is gone before the job is over")
		}
	}
	if n, _ := mine.Size(); n < 100*100_000 {
		t.Fatalf("%d bytes of outputs are kept while the job is open", n)
	}
	w.eventually("the job closes", func() error {
		j, err := w.chain.Job(t.Context(), s.ID())
		if err == nil && j.State == lifecycle.JobClosed {
			return nil
		}
		if err == nil {
			_, err = w.chain.Submit(t.Context(), "client", ledger.CancelJob{Job: s.ID()})
		}
		return errors.Join(errors.New("not yet"), err)
	})
	w.eventually("its data is wiped", func() error {
		for who, st := range map[string]*blob.FileStore{"provider": mine, "checker": checks} {
			n, _ := st.Size()
			if st.Has(input) || st.Has(s.Items) || n != s.Program.Size {
				return fmt.Errorf("the %s keeps %d bytes", who, n)
			}
			if !st.Has(s.Program) {
				return fmt.Errorf("the program is gone at the %s", who)
			}
		}
		return nil
	})
}
