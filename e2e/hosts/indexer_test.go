package hosts

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
)

// indexerDies kills the indexer of a running job for good: the other one takes the job
// over from what the chain and the providers know, and it ends as if nothing had
// happened.
func indexerDies(w *world, t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), pick(10*time.Minute, 15*time.Minute))
	defer cancel()
	by := map[sign.PublicKey]*machine{} // asked for now: when the job runs there is no time
	for _, m := range w.role("indexer") {
		by[m.status(ctx, t).Peer.Key] = m
	}
	j := w.post(t, w.by["client0"], "indexer-dies", pick(600, 2000), 3_000_000)
	record, err := w.ledger(t).Job(ctx, j.id)
	if err != nil {
		t.Fatal(err)
	}
	first := record.Indexer().Key
	dead := by[first]
	if dead == nil {
		t.Fatalf("no indexer has the key %s", first)
	}
	// At once: providers finish what they have in hand without an indexer, and where that
	// is all there is nothing to take over.
	j.started(ctx, t)
	dead.kill()
	killed := time.Now()
	// It takes blocks, about a minute of them on a quiet machine: as long as the row has.
	until(ctx, t, "another indexer has the job", left(ctx), func() error {
		record, err := w.ledger(t).Job(ctx, j.id)
		if err == nil && record.Indexer().Key == first {
			err = errors.New("it is the dead one's still")
			if record.State == lifecycle.JobClosed {
				t.Fatal("the job ended without an indexer: all was handed out before it died")
			}
		}
		return err
	})
	took := time.Since(killed)
	j.follow(ctx, t, nil)
	if err := dead.ready(); err == nil {
		t.Error("the dead indexer runs")
	}
	j.right(t)
	j.settled(ctx, t)
	t.Logf("%s died; taken over after %s, all right after %s", dead.Name(), took.Round(time.Second), time.Since(killed).Round(time.Second))
}
