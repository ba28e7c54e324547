package hosts

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// day is the blocks of what stands for a day: 60 s of them.
const day = 120

// clientGone lets a client's machine vanish right after it posted, and come back a day
// later, in the full form a day after the job was paid: the results are there.
func clientGone(w *world, t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c := w.by["client1"]
	j := w.post(t, c, "client-gone", pick(200, 2000), 300_000)
	w.cut(t, c)
	gone := w.at(ctx, t, w.by["validator0"])
	until(ctx, t, "the job is paid while its client is gone", left(ctx), func() error {
		r, err := w.ledger(t).Job(ctx, j.id)
		if err == nil && r.PaidWork == 0 {
			err = fmt.Errorf("nothing is paid yet")
		}
		return err
	})
	paid := w.at(ctx, t, w.by["validator0"])
	w.grows(ctx, t, w.by["validator0"], pick(max(1, gone+day-paid), day))
	j.closed(ctx, t) // the last batch too, or get says that results are missing yet
	w.heal(t)
	c.run(t, 0, "get", j.id.String())
	j.right(t)
	now := w.at(ctx, t, w.by["validator0"])
	t.Logf("fetched %d results %d blocks after the first payment, %d after the client had gone", j.items, now-paid, now-gone)
	j.follow(ctx, t, nil)
	j.settled(ctx, t)
}
