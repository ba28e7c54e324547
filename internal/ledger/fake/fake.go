// Package fake is the ledger in memory: the same machines as the chain over maps,
// with blocks that a test makes by hand, one by one.
//
// It promises the rules of the ledger port, the same result for the same seed and
// messages, that a failed transaction changes nothing, and that money is
// conserved: after every block it adds everything up and panics on a difference, also
// if more was minted for paid work than the fee burn allows.
//
// It has no keys (every account may submit), no network, no goroutine of its own
// and no clock: a block's time is its height times the block interval. A message
// is executed at once into the block being made, so Submit never waits; followers
// hear it when Advance closes the block. Governance is simpler than the chain's
// (governance.go).
package fake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Config is a chain's genesis.
type Config struct {
	Chain      string
	Params     lifecycle.Params
	Genesis    map[work.Address]work.Amount // balances
	Validators []lifecycle.ValidatorPower   // in any order; their stakes, 1 gtg for 1 of power, are part of the supply
	Seed       uint64                       // of the beacon
	// Steer, if set, may replace a block's beacon value as the block begins, as a
	// proposer can who skips its turn, and says whether it did. It must not call the
	// ledger.
	Steer func(height int64, value work.Hash) (work.Hash, bool)
}

// Ledger is the ledger in memory. It is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex // Guards the variables below.
	s      *store
	m      lifecycle.Machine
	blocks []ledger.Block // closed ones, from height 1 on
	grown  chan struct{}  // closed and replaced with each block
	txs    uint64
}

var _ ledger.Ledger = (*Ledger)(nil)

// blockInterval is the time between two blocks, as a local network has it.
const blockInterval = 500 * time.Millisecond

// genesisTime is height 0's.
var genesisTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// New starts a chain at height 0. Parameters that the machine cannot work with
// panic: a test made them.
func New(c Config) *Ledger {
	if err := c.Params.Validate(); err != nil {
		panic("fake: " + err.Error())
	}
	s := newStore(c)
	return &Ledger{s: s, m: lifecycle.Machine{S: s}, grown: make(chan struct{})}
}

// Advance closes the block being made and gives its height.
func (l *Ledger) Advance() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.govern()
	l.s.beginFinal()
	if err := l.m.EndBlock(); err != nil {
		panic(fmt.Sprintf("fake: end of block %d: %v", l.s.height, err))
	}
	l.s.check()
	h := l.s.height
	l.blocks = append(l.blocks, ledger.Block{Height: h, Time: timeOf(h), Events: l.s.events})
	l.s.nextBlock()
	close(l.grown)
	l.grown = make(chan struct{})
	return h
}

// AdvanceTo closes blocks until height is closed.
func (l *Ledger) AdvanceTo(height int64) {
	for l.Height() < height {
		l.Advance()
	}
}

// Run closes a block each interval until ctx ends, and returns its error.
func (l *Ledger) Run(ctx context.Context, interval time.Duration) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			l.Advance()
		}
	}
}

// Height is the last closed height.
func (l *Ledger) Height() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.height - 1
}

// SetValidators replaces the validators from the block being made on.
func (l *Ledger) SetValidators(v []lifecycle.ValidatorPower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.setValidators(v)
}

func timeOf(h int64) time.Time { return genesisTime.Add(time.Duration(h) * blockInterval) }

// Submit executes msgs as one transaction into the block being made.
func (l *Ledger) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	if err := ctx.Err(); err != nil {
		return ledger.Included{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.begin()
	for _, msg := range msgs {
		if err := l.execute(from, msg); err != nil {
			l.s.rollback()
			return ledger.Included{}, mapped(err)
		}
	}
	l.txs++
	var e work.Encoder
	e.U64(l.txs)
	return ledger.Included{Height: l.s.height, TxHash: work.Sum("gotong/faketx/1", e.Bytes()).String()}, nil
}

// execute gives a message to the machine.
func (l *Ledger) execute(from work.Address, msg ledger.Msg) (err error) {
	switch v := msg.(type) {
	case ledger.CreateJob:
		_, err = l.m.CreateJob(from, v.Spec)
	case ledger.CancelJob:
		err = l.m.CancelJob(from, v.Job, v.Release)
	case ledger.CommitBatch:
		_, err = l.m.CommitBatch(from, v.Job, v.Parts, v.Root, v.MaxItemFuel)
	case ledger.OpenBatch:
		err = l.m.OpenBatch(from, v.Batch, v.Openings)
	case ledger.CommitCheck:
		err = l.m.CommitCheck(from, v.Batch, v.Commitment)
	case ledger.RevealBatch:
		err = l.m.RevealBatch(from, v.Batch, v.Salt, v.Leaves)
	case ledger.RevealCheck:
		err = l.m.RevealCheck(from, v.Batch, v.Salt, v.Leaves)
	case ledger.Challenge:
		err = l.m.Challenge(from, v.Batch, v.Position, v.Leaf)
	case ledger.AnswerChallenge:
		err = l.m.AnswerChallenge(from, v.Batch, v.Opening, v.Leaf)
	case ledger.CommitVote:
		err = l.m.CommitVote(from, v.Batch, v.Commitment)
	case ledger.RevealVote:
		err = l.m.RevealVote(from, v.Batch, v.Salt, v.Leaves)
	case ledger.ClaimDelivery:
		err = l.m.ClaimDelivery(from, v.Batch, v.Position)
	case ledger.ReportEquivocation:
		err = l.m.ReportEquivocation(from, v.Job, v.A, v.B)
	case ledger.TakeOver:
		err = l.m.TakeOver(from, v.Job)
	case ledger.KeepJob:
		err = l.m.KeepJob(from, v.Job)
	case ledger.Reassign:
		err = l.m.Reassign(from, v.Job, v.Indexer, v.Owner)
	case ledger.Propose:
		err = l.propose(from, v)
	case ledger.VoteProposal:
		err = l.vote(from, v)
	case ledger.ApproveCommons, ledger.Decide, ledger.SetParams, ledger.Upgrade:
		err = fmt.Errorf("%w: only governance sends a %T", lifecycle.ErrRefused, msg)
	case ledger.Register:
		err = l.m.Register(from, v.Role, v.Peer, v.Bond)
	case ledger.Unbond:
		err = l.m.Unbond(from, v.Role, v.Amount)
	case ledger.Send:
		t := lifecycle.Transfer{FromPot: lifecycle.PotAccount, From: from, ToPot: lifecycle.PotAccount, To: v.To, Amount: v.Amount, Reason: "send"}
		if err = l.s.Move(work.JobID{}, t); err == nil {
			l.s.Emit(lifecycle.Event{Kind: lifecycle.EventTransfer, Account: v.To, Transfer: &t})
		}
	default:
		err = fmt.Errorf("%w: unknown message %T", lifecycle.ErrRefused, msg)
	}
	return err
}

// mapped puts the machine's errors into the port's words.
func mapped(err error) error {
	switch {
	case errors.Is(err, lifecycle.ErrFunds):
		return fmt.Errorf("%w: %s", ledger.ErrFunds, strings.TrimPrefix(err.Error(), lifecycle.ErrFunds.Error()+": "))
	case errors.Is(err, lifecycle.ErrRefused), errors.Is(err, lifecycle.ErrNotFound):
		return fmt.Errorf("%w: %s", ledger.ErrRefused, strings.TrimPrefix(err.Error(), lifecycle.ErrRefused.Error()+": "))
	}
	return err
}

// found maps a missing record for readers.
func found[T any](v T, err error) (T, error) {
	if errors.Is(err, lifecycle.ErrNotFound) {
		err = fmt.Errorf("%w: %v", ledger.ErrNotFound, err)
	}
	return v, err
}

// Status gives the last closed block.
func (l *Ledger) Status(ctx context.Context) (ledger.Status, error) {
	h := l.Height()
	return ledger.Status{Chain: l.s.chain, Height: h, Time: timeOf(h)}, ctx.Err()
}

// Params gives the chain's parameters.
func (l *Ledger) Params(ctx context.Context) (lifecycle.Params, error) { return l.s.params, ctx.Err() }

// Job gives a job.
func (l *Ledger) Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return found(l.s.Job(id))
}

// Jobs gives the jobs of a client, or all, in the order in which they were posted.
func (l *Ledger) Jobs(ctx context.Context, client work.Address) ([]*lifecycle.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*lifecycle.Job
	for _, id := range l.s.jobOrder {
		j, err := l.s.Job(id)
		if err != nil {
			return nil, err
		}
		if client == "" || j.Spec.Client == client {
			out = append(out, j)
		}
	}
	return out, nil
}

// Batch gives a batch.
func (l *Ledger) Batch(ctx context.Context, id work.BatchID) (*lifecycle.Batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return found(l.s.Batch(id))
}

// Batches gives a job's batches in the order of their commits.
func (l *Ledger) Batches(ctx context.Context, job work.JobID) ([]work.BatchID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.s.batchOrder[job]), nil
}

// Party gives a party.
func (l *Ledger) Party(ctx context.Context, role lifecycle.Role, account work.Address) (*lifecycle.Party, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return found(l.s.Party(role, account))
}

// Parties gives all parties of a role by account.
func (l *Ledger) Parties(ctx context.Context, role lifecycle.Role) ([]*lifecycle.Party, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.Parties(role)
}

// Evidence gives the assignments that a batch used.
func (l *Ledger) Evidence(ctx context.Context, id work.BatchID) ([]ledger.BatchPart, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts, ok := l.s.evidence[id]
	if !ok {
		return nil, fmt.Errorf("evidence of batch %s: %w", id, ledger.ErrNotFound)
	}
	return cloneParts(parts), ctx.Err()
}

// Commons gives what the beacon drew for the commons.
func (l *Ledger) Commons(ctx context.Context) (*lifecycle.Commons, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cloneCommons(l.s.commons), ctx.Err()
}

// Stake gives a validator's stake, 0 for one that is none. It is not part of the
// port.
func (l *Ledger) Stake(validator work.Address) work.Amount {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.pots[staked(validator)]
}

// Balance gives an account's balance, 0 for one that never had any.
func (l *Ledger) Balance(ctx context.Context, account work.Address) (work.Amount, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.pots[pot{kind: lifecycle.PotAccount, account: account}], nil
}

// Supply gives what money there is.
func (l *Ledger) Supply(ctx context.Context) (ledger.Supply, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.supply(), nil
}

// Follow calls f for each block from height `from` on, as they are closed.
func (l *Ledger) Follow(ctx context.Context, from int64, f func(ledger.Block) error) error {
	for h := max(from, 1); ; {
		l.mu.Lock()
		grown, blocks := l.grown, l.blocks
		l.mu.Unlock()
		for ; h <= int64(len(blocks)); h++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			b := blocks[h-1]
			b.Events = slices.Clone(b.Events)
			if err := f(b); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}
