package hosts

import (
	"context"
	"errors"
	"testing"
	"time"
)

// indexerDies kills the indexer of a running job for good: the other one takes the job
// over from what the chain and the providers know, and it ends as if nothing had
// happened.
func indexerDies(w *world, t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), pick(8*time.Minute, 15*time.Minute))
	defer cancel()
	j := w.post(t, w.by["client0"], "indexer-dies", pick(1000, 5000), 1_000_000)
	j.started(ctx, t)
	record, err := w.ledger(t).Job(ctx, j.id)
	if err != nil {
		t.Fatal(err)
	}
	first := record.Indexer().Key
	var dead *machine
	for _, m := range w.role("indexer") {
		if m.status(ctx, t).Peer.Key == first {
			dead = m
		}
	}
	if dead == nil {
		t.Fatalf("no indexer has the key %s", first)
	}
	dead.kill()
	killed := time.Now()
	until(ctx, t, "another indexer has the job", patience, func() error {
		record, err := w.ledger(t).Job(ctx, j.id)
		if err == nil && record.Indexer().Key == first {
			err = errors.New("it is the dead one's still")
		}
		return err
	})
	took := time.Since(killed)
	j.follow(ctx, t, nil)
	if err := dead.ready(); err == nil {
		t.Error("the dead indexer runs")
	}
	j.right(t)
	// A takeover takes longer than a window here: the client rightly claims an output that
	// nobody gives it, and pays for the claim when the referees do find it.
	b := j.closed(ctx, t)
	for who, lost := range b.Slashed() {
		if who != b.Job.Spec.Client {
			t.Errorf("honest %s was slashed by %s", who, lost)
		}
		t.Logf("the client lost %s for claims", lost)
	}
	t.Logf("%s died; taken over after %s, all right after %s", dead.Name(), took.Round(time.Second), time.Since(killed).Round(time.Second))
}
