// Package checker is the role that re-executes drawn items of other providers'
// batches, blind, and says what it got.
//
// It promises to commit to its leaves before it can have seen any, to keep them
// and their salt on disk before the chain hears of them, to reveal them only in
// the revealing phase, and to try again until its deadline where its host or the
// network fails. Items whose program or inputs nobody gives it, or that no machine
// can run, it commits as lifecycle.Unavailable, so that it is never silent. A
// second look is a check like any other.
//
// It never copies a leaf, never judges (a mismatch is the chain's to see and the
// referee's to decide), and never checks what it was not drawn for.
package checker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Config is what a checker needs. Log, Holders, Parallel, Poll and Retain may be
// left out.
type Config struct {
	Chain   string
	Account work.Address // registered as lifecycle.RoleChecker; Ledger holds its key
	Ledger  ledger.Ledger
	Blobs   blob.Store
	Fetcher blob.Fetcher
	Runtime runtime.Runtime
	Dir     string // records; made if missing

	// Holders says who may have a job's program, list and inputs; nil: the job's
	// indexer, by its key alone.
	Holders  func(ctx context.Context, j *lifecycle.Job, b *lifecycle.Batch) []p2p.Peer
	Parallel int           // items run at once; 0: the runtime's slots
	Poll     time.Duration // how often an open check asks the chain without an event; 0: 5 s
	Retain   time.Duration // how long a closed job's data stays; 0: 10 min
	Log      *slog.Logger
}

// Checker is the role.
type Checker struct{ blind *execute.Blind }

// New opens the records in cfg.Dir.
func New(cfg Config) (*Checker, error) {
	if cfg.Runtime == nil || cfg.Blobs == nil || cfg.Fetcher == nil {
		return nil, errors.New("checker: runtime, blobs and fetcher are required")
	}
	if cfg.Holders == nil {
		cfg.Holders = func(_ context.Context, j *lifecycle.Job, _ *lifecycle.Batch) []p2p.Peer {
			return []p2p.Peer{{Key: j.Indexer().Key}}
		}
	}
	b, err := execute.NewBlind(execute.BlindConfig{
		Chain: cfg.Chain, Account: cfg.Account, Ledger: cfg.Ledger, Execute: execute.New(cfg.Runtime, cfg.Blobs, cfg.Fetcher).ClaimFor("checker"),
		Holders: cfg.Holders, Dir: cfg.Dir, Parallel: cfg.Parallel, Poll: cfg.Poll, Retain: cfg.Retain, Log: cfg.Log,
	}, game(cfg.Chain, cfg.Account))
	if err != nil {
		return nil, err
	}
	return &Checker{b}, nil
}

// Run checks until ctx ends, and closes the records; call it once.
func (c *Checker) Run(ctx context.Context) error { return c.blind.Run(ctx) }

// game is checking as the chain sees it.
func game(chain string, me work.Address) execute.Game {
	return execute.Game{
		Name:   "check",
		Commit: lifecycle.Checking,
		Reveal: lifecycle.Revealing,
		Concerns: func(e ledger.Event) bool {
			return e.Phase == lifecycle.Checking && slices.Contains(e.Checkers, me)
		},
		Duty: func(b *lifecycle.Batch) (execute.Duty, bool) { return duty(b, me) },
		Commitment: func(batch work.BatchID, leaves []work.Leaf, salt work.Hash) work.Hash {
			return lifecycle.CheckCommitment(chain, batch, me, leaves, salt)
		},
		CommitMsg: func(batch work.BatchID, c work.Hash) ledger.Msg {
			return ledger.CommitCheck{Batch: batch, Commitment: c}
		},
		RevealMsg: func(batch work.BatchID, salt work.Hash, leaves []work.Leaf) ledger.Msg {
			return ledger.RevealCheck{Batch: batch, Salt: salt, Leaves: leaves}
		},
	}
}

// duty is me's newest check of b: the opened positions that fell to it.
func duty(b *lifecycle.Batch, me work.Address) (execute.Duty, bool) {
	for i := len(b.Checks) - 1; i >= 0; i-- {
		c := &b.Checks[i]
		if c.Checker != me {
			continue
		}
		d := execute.Duty{Committed: c.CommitHeight > 0, Revealed: c.Revealed, Over: c.Missed, Deadline: c.Deadline}
		for _, k := range c.Draws {
			if int(k) >= len(b.Draws) || !b.Draws[k].Opened {
				return execute.Duty{}, false
			}
			d.Positions = append(d.Positions, b.Draws[k].Position)
		}
		return d, true
	}
	return execute.Duty{}, false
}
