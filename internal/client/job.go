package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Cancel closes a job. With the indexer's signature that nothing is outstanding
// the rest of the escrow is back at once; it is asked for as long as wait lasts.
// Without it, signed assignments may still commit, and released is false: the rest
// comes back when the chain's closing time is over.
func (c *Client) Cancel(ctx context.Context, id work.JobID, wait time.Duration) (released bool, err error) {
	j, err := c.cfg.Ledger.Job(ctx, id)
	if err != nil {
		return false, err
	}
	if j.State == lifecycle.JobClosed {
		return true, nil
	}
	release, err := c.release(ctx, id, 0)
	if release == nil && j.State == lifecycle.JobOpen && ctx.Err() == nil {
		// While the job is open the indexer hands out more: close it first.
		if ended, err := c.cancel(ctx, id, nil); ended || err != nil {
			return ended, err
		}
	}
	if release == nil {
		release, err = c.release(ctx, id, wait)
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if release == nil {
		c.log.Debug("no release", "job", id.Short(), "err", err)
		return false, nil
	}
	if ended, err := c.cancel(ctx, id, release); ended || err != nil {
		return ended, err
	}
	return true, nil
}

// cancel sends one cancellation; ended says that the job was closed meanwhile.
func (c *Client) cancel(ctx context.Context, id work.JobID, release *sign.Signature) (ended bool, err error) {
	_, err = c.cfg.Ledger.Submit(ctx, c.cfg.Account, ledger.CancelJob{Job: id, Release: release})
	if errors.Is(err, ledger.ErrRefused) {
		if j, jerr := c.cfg.Ledger.Job(ctx, id); jerr == nil && j.State == lifecycle.JobClosed {
			return true, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("cancel job %s: %w", id.Short(), err)
	}
	return false, nil
}

// release asks for the indexer's signature until it gives it or wait is over.
func (c *Client) release(ctx context.Context, id work.JobID, wait time.Duration) (*sign.Signature, error) {
	end := time.Now().Add(wait)
	for {
		var s *sign.Signature
		err := c.ask(ctx, &wire.Request{Op: wire.OpRelease, Job: id}, func(a *wire.Answer) error { s = a.Release; return nil })
		if err == nil && s != nil || time.Now().After(end) {
			return s, err
		}
		if !pause(ctx, 250*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}

// Retry has items that finally failed on hosts run again, on the open job. All
// failed ones if items is empty.
func (c *Client) Retry(ctx context.Context, id work.JobID, items work.RangeSet) error {
	return c.ask(ctx, &wire.Request{Op: wire.OpRetry, Job: id, Items: items}, func(*wire.Answer) error { return nil })
}

// Forget tells the indexer that nothing of the job is wanted any more.
func (c *Client) Forget(ctx context.Context, id work.JobID) error {
	return c.ask(ctx, &wire.Request{Op: wire.OpForget, Job: id}, func(*wire.Answer) error { return nil })
}

// Explain asks the indexer why items wait, run or failed.
func (c *Client) Explain(ctx context.Context, id work.JobID) ([]wire.Note, wire.Counts, error) {
	var notes []wire.Note
	var counts wire.Counts
	err := c.ask(ctx, &wire.Request{Op: wire.OpExplain, Job: id}, func(a *wire.Answer) error {
		notes = a.Notes
		if a.Counts != nil {
			counts = *a.Counts
		}
		return nil
	})
	return notes, counts, err
}

// Cost is a job's money, as the chain has it.
type Cost struct {
	Escrowed   work.Amount `json:"escrowed"`    // both escrows, as posted
	PaidWork   work.Amount `json:"paid_work"`   // providers, validators and fee burn
	PaidChecks work.Amount `json:"paid_checks"` // checkers
	Locked     work.Amount `json:"locked"`      // for batches that are not settled
	Free       work.Amount `json:"free"`
	Refunded   work.Amount `json:"refunded"`
	Closed     bool        `json:"closed"` // nothing can change any more
}

// Paid is what was spent.
func (c Cost) Paid() work.Amount { return c.PaidWork + c.PaidChecks }

// CostOf reads a job's money.
func CostOf(j *lifecycle.Job) Cost {
	return Cost{
		Escrowed: j.Spec.Escrow + j.Spec.CheckEscrow, PaidWork: j.PaidWork, PaidChecks: j.PaidChecks,
		Locked: j.EscrowLocked + j.CheckLocked, Free: j.EscrowFree + j.CheckFree, Refunded: j.Refunded, Closed: j.State == lifecycle.JobClosed,
	}
}

// Cost asks the chain about a job's money.
func (c *Client) Cost(ctx context.Context, id work.JobID) (Cost, error) {
	j, err := c.cfg.Ledger.Job(ctx, id)
	if err != nil {
		return Cost{}, err
	}
	return CostOf(j), nil
}

// WaitClosed waits until the chain has closed a job and returned the rest, or for
// at most wait.
func (c *Client) WaitClosed(ctx context.Context, id work.JobID, wait time.Duration) (Cost, error) {
	end := time.Now().Add(wait)
	for {
		cost, err := c.Cost(ctx, id)
		if err == nil && cost.Closed || time.Now().After(end) {
			return cost, err
		}
		if !pause(ctx, 200*time.Millisecond) {
			return cost, ctx.Err()
		}
	}
}

// How long to wait before trying again.
const (
	firstWait   = 200 * time.Millisecond
	longestWait = 5 * time.Second
)

// pause waits, false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// BlockTime is the chain's pace over its last blocks.
func (c *Client) BlockTime(ctx context.Context) (time.Duration, error) {
	const blocks = 20
	st, err := c.cfg.Ledger.Status(ctx)
	if err != nil {
		return 0, err
	}
	var first, last ledger.Block
	enough := errors.New("enough")
	err = c.cfg.Ledger.Follow(ctx, max(1, st.Height-blocks), func(b ledger.Block) error {
		if first.Height == 0 {
			first = b
		}
		last = b
		if b.Height >= st.Height && b.Height > first.Height {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		return 0, fmt.Errorf("pace of the chain: %w", err)
	}
	return max(last.Time.Sub(first.Time)/time.Duration(last.Height-first.Height), time.Millisecond), nil
}
