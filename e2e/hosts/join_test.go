package hosts

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/netlab"
)

// joinLeave lets two providers join while a job runs, one drain and go, and one vanish:
// no item is lost, and what the drained one had in hand is paid.
func joinLeave(w *world, t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), pick(8*time.Minute, 20*time.Minute))
	defer cancel()
	j := w.post(t, w.by["client0"], "join-leave", pick(1000, 6000), 1_000_000)
	j.started(ctx, t)

	var joined []*machine
	for i := range 2 {
		m := w.add(t, "provider", fmt.Sprint("provider", providers+i), netlab.HostOptions{})
		w.join(t, m)
		m.start(t)
		joined = append(joined, m)
	}
	drained, gone := w.by["provider2"], w.by["provider3"]
	drained.run(t, 0, "provider", "drain")
	stop := drained.running()
	if err := stop.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := stop.ended(t, patience); code != 0 {
		t.Errorf("the drained provider ended with %d\n%s", code, tail(stop.said()))
	}
	gone.kill()
	for _, m := range joined {
		until(ctx, t, "start", patience, func() error { return m.supervise(t) })
	}
	j.done(ctx, t)

	// Who vanished comes back before its duties are missed, and all go on as they were.
	w.whole(t)
	j.follow(ctx, t, nil)
	j.right(t)
	b := j.settled(ctx, t)
	paid := map[string]uint64{}
	for _, batch := range b.Batches {
		paid[string(batch.Provider)] += batch.N
	}
	if address := drained.account(t); paid[address] == 0 {
		t.Errorf("the drained provider, %s, was paid for nothing: %v", address, paid)
	}
	t.Logf("paid for items: drained %d, vanished %d, joined %d and %d", paid[drained.account(t)], paid[gone.account(t)],
		paid[joined[0].account(t)], paid[joined[1].account(t)])
	for _, m := range joined { // others count on eight
		m.run(t, 0, "provider", "drain")
		m.kill()
		w.remove(m)
	}
}

// account is the address of a machine's key.
func (m *machine) account(t *testing.T) string {
	t.Helper()
	for _, word := range strings.Fields(m.run(t, 0, "keys", "list")) {
		if strings.HasPrefix(word, "gotong1") {
			return word
		}
	}
	t.Fatalf("%s has no key", m.Name())
	return ""
}

// remove forgets a machine that no row uses any more.
func (w *world) remove(m *machine) {
	for i, x := range w.all {
		if x == m {
			w.all = append(w.all[:i], w.all[i+1:]...)
			return
		}
	}
}
