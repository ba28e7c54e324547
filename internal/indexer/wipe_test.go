package indexer_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// A store that knows claims keeps a job's list and outputs until the client has them,
// and nothing of them after; what another job needs stays, and so does the program.
func TestForgottenJobIsWiped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s, err := blob.OpenStore(filepath.Join(t.TempDir(), "blobs"), blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w.blobs = s
	w.checkers("check-1", "check-2")
	w.indexer(t.TempDir())
	w.real("a", nil)()
	first, second := w.spec(40, work.TierEconomic), w.spec(20, work.TierEconomic)
	outputs := map[work.JobID][]work.BlobID{}
	for _, spec := range []work.JobSpec{first, second} {
		id := w.post(spec, wire.Chunk{})
		last, c := w.watched(id)
		if c.Verified != spec.ItemCount {
			t.Fatalf("counts %+v", c)
		}
		for i := range spec.ItemCount {
			outputs[id] = append(outputs[id], last[i].Result.Output.Files[0].Blob)
		}
	}
	w.eventually("the first job is released", func() error {
		_, err := w.ask(&wire.Request{Op: wire.OpRelease, Job: first.ID()})
		return err
	})
	w.must(&wire.Request{Op: wire.OpForget, Job: first.ID()})
	w.eventually("its data goes", func() error {
		for i, b := range outputs[first.ID()] {
			if shared := i < 20; s.Has(b) != shared { // the second job's outputs are the same bytes
				return fmt.Errorf("output %d: here is %v", i, !shared)
			}
		}
		if s.Has(first.Items) {
			return fmt.Errorf("the list is still here")
		}
		return nil
	})
	if !s.Has(first.Program) || !s.Has(second.Items) {
		t.Error("what the second job needs is gone")
	}
	names, err := s.Claims("")
	if err != nil || len(names) != 2 {
		t.Errorf("claims %q, %v", names, err)
	}
}
