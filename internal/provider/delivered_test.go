package provider

import (
	"testing"
	"time"

	"github.com/gotong-network/gotong/work"
)

// TestDeliveredTakesOutputs holds that a chunk counts as delivered only when its
// indexer had time to fetch the outputs that did not travel with it.
func TestDeliveredTakesOutputs(t *testing.T) {
	t.Parallel()
	large := work.BlobOf([]byte("large"))
	for size, want := range map[uint64]time.Duration{
		100: deliveredAfter, 30 << 20: deliveredAfter + 30*time.Second, 1 << 60: deliveredAfter + fetchedAfter,
	} {
		large.Size = size
		c := newChunk(1, &assign{job: &job{}}, []work.Result{{Index: 7, Output: work.Output{Files: []work.File{{Path: "r", Blob: large}}}}}, time.Now())
		if c.takes() != want {
			t.Errorf("%d bytes take %s, want %s", size, c.takes(), want)
		}
		now := time.Now()
		c.sent, c.sentAt = &session{}, now.Add(-want)
		if !c.delivered(now) || c.delivered(now.Add(-time.Millisecond)) {
			t.Errorf("%d bytes: delivered %v", size, c.delivered(now))
		}
	}
}
