package e2e

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// awayLedger is a chain that cannot be reached while gone.
type awayLedger struct {
	ledger.Ledger
	gone *atomic.Bool
}

func (l awayLedger) here() error {
	if l.gone.Load() {
		return fmt.Errorf("%w: it is away", ledger.ErrUnreachable)
	}
	return nil
}

func asked[T any](l awayLedger, ask func() (T, error)) (v T, err error) {
	if err = l.here(); err == nil {
		v, err = ask()
	}
	return v, err
}

func (l awayLedger) Submit(ctx context.Context, from work.Address, m ...ledger.Msg) (ledger.Included, error) {
	return asked(l, func() (ledger.Included, error) { return l.Ledger.Submit(ctx, from, m...) })
}

func (l awayLedger) Status(ctx context.Context) (ledger.Status, error) {
	return asked(l, func() (ledger.Status, error) { return l.Ledger.Status(ctx) })
}

func (l awayLedger) Params(ctx context.Context) (lifecycle.Params, error) {
	return asked(l, func() (lifecycle.Params, error) { return l.Ledger.Params(ctx) })
}

func (l awayLedger) Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error) {
	return asked(l, func() (*lifecycle.Job, error) { return l.Ledger.Job(ctx, id) })
}

func (l awayLedger) Batch(ctx context.Context, id work.BatchID) (*lifecycle.Batch, error) {
	return asked(l, func() (*lifecycle.Batch, error) { return l.Ledger.Batch(ctx, id) })
}

func (l awayLedger) Batches(ctx context.Context, id work.JobID) ([]work.BatchID, error) {
	return asked(l, func() ([]work.BatchID, error) { return l.Ledger.Batches(ctx, id) })
}

func (l awayLedger) Party(ctx context.Context, r lifecycle.Role, who work.Address) (*lifecycle.Party, error) {
	return asked(l, func() (*lifecycle.Party, error) { return l.Ledger.Party(ctx, r, who) })
}

func (l awayLedger) Parties(ctx context.Context, r lifecycle.Role) ([]*lifecycle.Party, error) {
	return asked(l, func() ([]*lifecycle.Party, error) { return l.Ledger.Parties(ctx, r) })
}

// Follow stands still while the chain is away, as the real one does.
func (l awayLedger) Follow(ctx context.Context, from int64, f func(ledger.Block) error) error {
	return l.Ledger.Follow(ctx, from, func(b ledger.Block) error {
		for l.gone.Load() {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
		return f(b)
	})
}

// TestUnreachableChainKillsNoWork holds guarantee G6: while no role reaches the chain,
// workers go on with what they were given, and once it is back all of it is committed
// and paid: nothing is lost, and nothing run anew but a straggler's copy.
func TestUnreachableChainKillsNoWork(t *testing.T) {
	t.Parallel()
	const items = 400
	var gone atomic.Bool
	var ran atomic.Int64
	a := newArena(t, 2, 3, func(_ string, c *node.Config) {
		c.Ledger = awayLedger{c.Ledger, &gone}
		if c.Provider != nil {
			c.Wrap = func(rt runtime.Runtime) runtime.Runtime { return counted{rt, &ran} }
		}
	}, func(p *lifecycle.Params) { p.OpenBlocks, p.CheckBlocks, p.RevealBlocks = 200, 200, 200 }) // nobody is late
	id := a.post(items, work.TierEconomic)
	reach := func(n int64) {
		a.eventually(fmt.Sprintf("%d items were run", n), func() error {
			if got := ran.Load(); got < n {
				return fmt.Errorf("%d were", got)
			}
			return nil
		})
	}
	reach(items / 10)
	gone.Store(true)
	before := ran.Load()
	reach(items)
	gone.Store(false)
	t.Logf("%d of %d items were run without a chain", items-before, items)
	for _, b := range a.settled(id, items) {
		if b.Phase != lifecycle.Settled {
			t.Errorf("a batch is %s: %s", b.Phase, b.Why)
		}
	}
	if n := ran.Load(); n > items+items/4 {
		t.Errorf("%d items were run %d times", items, n)
	}
	a.unhurt(a.provider(0), a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}
