package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gotong-network/gotong/e2e/books"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/work"
)

// TestTierNone holds that a job of tier none runs on the own providers, leaves no
// trace on the chain, and costs nobody anything.
func TestTierNone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	n := newNetwork(t, 2)
	n.ready(ctx, t)
	s := sums{items: 20, rounds: 1_000_000, shared: []byte("nobody checks it"), tier: work.TierNone}
	n.client(ctx, t, func(c *client.Client, l *cosmos.Client) {
		before, err := l.Supply(ctx)
		if err != nil {
			t.Fatal(err)
		}
		had, err := l.Balance(ctx, c.Account())
		if err != nil {
			t.Fatal(err)
		}
		id, err := c.Post(ctx, s.request(t))
		if err != nil {
			t.Fatal(err)
		}
		s.follow(ctx, t, c, id, nil)
		if _, err := l.Job(ctx, id); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("the chain knows the job (%v)", err)
		}
		jobs, err := l.Jobs(ctx, c.Account())
		if err != nil || len(jobs) != 0 {
			t.Errorf("the chain has %d jobs of the client (%v)", len(jobs), err)
		}
		has, err := l.Balance(ctx, c.Account())
		if err != nil || has != had {
			t.Errorf("the client had %s and has %s (%v)", had, has, err)
		}
		after, err := l.Supply(ctx)
		if err != nil || after != before {
			t.Errorf("supply: %+v before, %+v after (%v)", before, after, err)
		}
		books.Conserved(ctx, t, l, before)
	})
}
