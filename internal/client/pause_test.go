package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/provider"
)

// busy waits until a provider has items in hand.
func (w *world) busy(p *provider.Provider) {
	w.t.Helper()
	for end := time.Now().Add(60 * time.Second); p.Status().ItemsRunning == 0; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("nothing runs: %+v", p.Status())
		}
	}
}

// TestPausedProviderKeepsNobodyWaiting pauses a provider that holds part of a job
// whose items would run forever there: the rest of the network ends the job.
func TestPausedProviderKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.indexer()
	stuck := &toy{gate: make(chan struct{})}
	w.provider("a", stuck)
	w.provider("b", &toy{})
	w.checker("check-1")
	c := w.client("client", nil)
	w.ready(c, 2)
	id, err := c.Post(t.Context(), request(60))
	if err != nil {
		t.Fatal(err)
	}
	a := w.provs["a"]
	w.busy(a)
	a.Pause()
	proven, out := follow(t, c, id)
	if out.Verified.Len() != 60 || len(proven) != 60 || len(out.Failed) != 0 {
		t.Fatalf("%d verified, failed %v, missing %v", out.Verified.Len(), out.Failed, out.Missing)
	}
	if s := a.Status(); s.State != provider.Paused || s.ItemsQueued+s.ItemsRunning > 0 {
		t.Errorf("%+v", s)
	}
	close(stuck.gate)
	a.Resume()
	w.ready(c, 2)
	if id, err = c.Post(t.Context(), request(61)); err != nil {
		t.Fatal(err)
	}
	if _, out = follow(t, c, id); out.Verified.Len() != 61 {
		t.Errorf("after resuming %d verified, failed %v", out.Verified.Len(), out.Failed)
	}
}

// TestDrainMidJob drains one of two providers in the middle of a job: everything is
// verified, and what the drained one did is settled when Drain returns.
func TestDrainMidJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.indexer()
	slow := &toy{gate: make(chan struct{})}
	w.provider("a", slow)
	w.provider("b", &toy{})
	w.checker("check-1")
	c := w.client("client", nil)
	w.ready(c, 2)
	id, err := c.Post(t.Context(), request(200))
	if err != nil {
		t.Fatal(err)
	}
	a := w.provs["a"]
	w.busy(a)
	drained := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	go func() { drained <- a.Drain(ctx) }()
	for end := time.Now().Add(60 * time.Second); a.Status().State != provider.Draining; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", a.Status())
		}
	}
	close(slow.gate)
	_, out := follow(t, c, id)
	if out.Verified.Len() != 200 || len(out.Failed) != 0 {
		t.Fatalf("%d verified, failed %v, missing %v", out.Verified.Len(), out.Failed, out.Missing)
	}
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if s := a.Status(); s.State != provider.Drained || s.BatchesOpen+s.Undelivered > 0 || s.ItemsUncommitted > 0 {
		t.Errorf("%+v", s)
	}
}
