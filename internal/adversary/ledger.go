package adversary

import (
	"context"
	"sync"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Silent is the chain of a role that swallows the messages that drop names: the role
// believes that they were included.
func Silent(l ledger.Ledger, drop func(ledger.Msg) bool) ledger.Ledger { return silent{l, drop} }

type silent struct {
	ledger.Ledger
	drop func(ledger.Msg) bool
}

// Submit implements ledger.Submitter.
func (s silent) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	for _, m := range msgs {
		if s.drop(m) {
			return ledger.Included{}, ctx.Err()
		}
	}
	return s.Ledger.Submit(ctx, from, msgs...)
}

// Rich is the chain of an indexer that takes every escrow for so many times what it is,
// and signs as much away.
func Rich(l ledger.Ledger, times work.Amount) ledger.Ledger { return rich{l, times} }

type rich struct {
	ledger.Ledger
	times work.Amount
}

// Job implements ledger.Reader.
func (r rich) Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error) {
	j, err := r.Ledger.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	lie := *j
	lie.EscrowFree += (r.times - 1) * j.Spec.Escrow
	return &lie, nil
}

// Twice is the chain of a role that sends each batch twice, the second time under
// another root.
func Twice(l ledger.Ledger) ledger.Ledger { return twice{l} }

type twice struct{ ledger.Ledger }

// Submit implements ledger.Submitter.
func (s twice) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	in, err := s.Ledger.Submit(ctx, from, msgs...)
	for _, m := range msgs {
		if c, ok := m.(ledger.CommitBatch); ok {
			_, _ = s.Ledger.Submit(ctx, from, c) // what the chain thinks of it is what a test looks at
			c.Root.Hash[0] ^= 1
			_, _ = s.Ledger.Submit(ctx, from, c)
		}
	}
	return in, err
}

// Replay is the chain of a checker that commits to what another checker of the batch
// has committed to, and reveals what that one reveals, if there is one.
func Replay(l ledger.Ledger) ledger.Ledger {
	return &replay{Ledger: l, copied: map[work.BatchID]bool{}}
}

type replay struct {
	ledger.Ledger
	mu     sync.Mutex // guards copied
	copied map[work.BatchID]bool
}

// Copied is how many commitments a Replay has copied.
func Copied(l ledger.Ledger) int {
	r := l.(*replay)
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.copied)
}

// Submit implements ledger.Submitter.
func (r *replay) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	for i, m := range msgs {
		if c, ok := m.(ledger.CommitCheck); ok {
			b, err := r.Batch(ctx, c.Batch)
			if err != nil {
				return ledger.Included{}, err
			}
			if other := committed(b, from); other != nil {
				c.Commitment = other.Commitment
				msgs[i] = c
				r.mu.Lock()
				r.copied[c.Batch] = true
				r.mu.Unlock()
			} else if b.Phase == lifecycle.Checking && len(b.Checks) > 1 {
				return ledger.Included{}, ledger.ErrUnreachable // waits for somebody to copy
			}
		}
	}
	return r.Ledger.Submit(ctx, from, msgs...)
}

func committed(b *lifecycle.Batch, but work.Address) *lifecycle.Check {
	for i := range b.Checks {
		if c := &b.Checks[i]; c.Checker != but && c.CommitHeight > 0 {
			return c
		}
	}
	return nil
}
