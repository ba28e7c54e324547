package e2e

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/gotong-network/gotong/e2e/books"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

const (
	sigint  = syscall.SIGINT
	sigterm = syscall.SIGTERM
)

// TestStop holds that both signals end a network cleanly, also in the middle of a
// job, and that it goes on when it is started again.
func TestStop(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	n := newNetwork(t, 2)
	n.ready(ctx, t)
	s := sums{items: 30, rounds: 40_000_000, shared: []byte("stop"), tier: work.TierEconomic}
	n.client(ctx, t, func(c *client.Client, l *cosmos.Client) {
		before, err := l.Supply(ctx)
		if err != nil {
			t.Fatal(err)
		}
		id, err := c.Post(ctx, s.request(t))
		if err != nil {
			t.Fatal(err)
		}
		followed, some := make(chan struct{}), make(chan struct{}, 1)
		go func() {
			defer close(followed)
			s.follow(ctx, t, c, id, func(p client.Progress) {
				for _, u := range p.Changed {
					if u.State == wire.ItemProvisional {
						select {
						case some <- struct{}{}:
						default:
						}
					}
				}
			})
		}()
		for _, sig := range []syscall.Signal{sigint, sigterm} {
			select {
			case <-some:
			case <-followed:
				t.Fatal("the job was over before the signal")
			}
			if code := n.up.stop(t, sig); code != 0 {
				t.Errorf("%s in the middle of a job: exit code %d\n%s", sig, code, n.up.errw.String())
			}
			n.start(t)
			n.announced(ctx, t)
			select { // results that came before the stop
			case <-some:
			default:
			}
		}
		<-followed
		if t.Failed() {
			t.Fatal(n.logTail())
		}
		if _, err := c.WaitClosed(ctx, id, patience); err != nil {
			t.Fatal(err)
		}
		b := books.Read(ctx, t, l, id)
		b.Check(t)
		b.Honest(ctx, t, l, memberBond)
		books.Conserved(ctx, t, l, before)
	})
	if code := n.up.stop(t, sigint); code != 0 {
		t.Errorf("SIGINT at rest: exit code %d\n%s", code, n.up.errw.String())
	}
}
