package lifecycle_test

import (
	"encoding/json"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// TestRecordsDoNotGrowWithItems holds that the chain sees batches and never items: a
// batch of 65,536 items leaves records, and takes messages, of the size of one of a
// hundred, but for the longer paths of what is drawn.
func TestRecordsDoNotGrowWithItems(t *testing.T) {
	t.Parallel()
	const many = 1 << 16
	small, large := footprint(t, 100), footprint(t, many)
	t.Logf("bytes of records and messages: %d for 100 items, %d for %d", small, large, many)
	if large > 2*small {
		t.Errorf("%d bytes for 100 items, %d for %d", small, large, many)
	}
}

// footprint is the bytes that a job of n items in one batch leaves on the chain and in
// the provider's messages to it.
func footprint(t *testing.T, n uint64) (bytes int) {
	t.Helper()
	count := func(v any) {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		bytes += len(b)
	}
	w := newWorld(t, setup{providers: 1, checkers: 3, validators: 1, spec: func(s *work.JobSpec) { s.ItemCount = n }})
	items := work.NewRangeSet(work.Range{Lo: 0, Hi: n})
	r, msg := w.commitMsg(provider(0), items, nil)
	msg.Parts = []lifecycle.Part{w.assign(provider(0), items, func(a *work.Assignment) { a.Price = w.p.MinPrice })}
	w.must(provider(0), msg)
	count(msg)
	count(ledger.OpenBatch{Batch: r.id, Openings: r.openings(r.until(lifecycle.Opening))})
	r.check(honest)
	count(r.until(lifecycle.Settled))
	count(w.jobNow())
	return bytes
}
