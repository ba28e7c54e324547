package lifecycle

import (
	"fmt"

	"github.com/gotong-network/gotong/work"
)

// turn is one message or deadline of one batch: what it may change, until done
// writes it back.
type turn struct {
	m Machine
	p Params
	h int64
	b *Batch
	j *Job
}

// newTurn starts a turn on a job that gets a new batch.
func (m Machine) newTurn(job work.JobID) (*turn, error) {
	p, err := m.S.Params()
	if err != nil {
		return nil, err
	}
	j, err := m.job(job)
	if err != nil {
		return nil, err
	}
	return &turn{m: m, p: p, h: m.S.Height(), j: j}, nil
}

// turn starts a turn on a batch that must be in phase; verb says what a batch of
// another phase cannot be.
func (m Machine) turn(id work.BatchID, phase Phase, verb string) (*turn, error) {
	b, err := m.S.Batch(id)
	if err != nil {
		return nil, fmt.Errorf("batch %s: %w", id.Short(), err)
	}
	if b.Phase != phase {
		return nil, refused("batch %s cannot be %s: it is %s", id.Short(), verb, b.Phase)
	}
	t, err := m.newTurn(b.Job)
	if err != nil {
		return nil, err
	}
	t.b = b
	return t, nil
}

// await enters a phase that lasts blocks more.
func (t *turn) await(phase Phase, blocks int64) {
	t.b.Phase = phase
	t.b.Deadline = t.h + blocks
}

// done tells and keeps what the turn changed. If the deadline may have moved it
// asks to be woken at it.
func (t *turn) done(wake bool) error {
	b := t.b
	e := Event{Kind: EventBatch, Job: t.j.ID, Batch: b.ID, Phase: b.Phase, Account: b.Provider, Indexer: t.j.Indexer().Key}
	for _, c := range b.Checks {
		if !c.Missed {
			e.Checkers = append(e.Checkers, c.Checker)
		}
	}
	t.m.S.Emit(e)
	if wake && !b.Phase.Final() && b.Deadline > 0 {
		if err := t.m.S.WakeBatch(b.Deadline, b.ID); err != nil {
			return err
		}
	}
	if err := t.m.S.SetBatch(b); err != nil {
		return err
	}
	return t.m.S.SetJob(t.j)
}

// batchDue applies the default of a deadline that has passed. A wake that an
// earlier message made needless does nothing.
func (m Machine) batchDue(id work.BatchID) error {
	b, err := m.S.Batch(id)
	if err != nil {
		return err
	}
	if b.Phase.Final() || b.Phase == Queued || m.S.Height() < b.Deadline {
		return nil
	}
	t, err := m.newTurn(b.Job)
	if err != nil {
		return err
	}
	t.b = b
	if err := t.expire(); err != nil {
		return err
	}
	return t.done(true)
}

// expire is the default of each wait.
func (t *turn) expire() error {
	switch t.b.Phase {
	case Committed:
		return t.draw()
	case Opening:
		return t.silent("the provider did not open the drawn items")
	case Checking:
		return t.replaceMissing()
	case Looking:
		return t.look()
	case Revealing:
		if t.b.Salt.IsZero() {
			return t.silent("the provider did not reveal")
		}
		return t.compare()
	case Window:
		return t.windowOver()
	case Answering:
		if err := t.stakeReturns(); err != nil {
			return err
		}
		return t.silent("the provider did not answer a challenge or claim")
	case Voting:
		return t.votesMissing()
	case Tallying:
		return t.talliesMissing()
	case Frozen:
		return t.thaw(true)
	}
	return fmt.Errorf("phase %s has no deadline", t.b.Phase)
}

// lockBond counts the batch among the provider's unsettled ones, which its one bond
// must cover, and lets unvested pay stand for draws.
func (t *turn) lockBond() error {
	q, err := t.m.S.Party(RoleProvider, t.b.Provider)
	if err != nil {
		return fmt.Errorf("%s is not registered as a provider: %w", t.b.Provider, err)
	}
	checkers, err := t.m.S.Parties(RoleChecker)
	if err != nil {
		return err
	}
	load := t.b.load()
	load.LargestPermille = largestPermille(t.eligible(checkers))
	if t.b.Bond, err = t.p.Rules().RequiredBond(load); err != nil {
		return refused("bond of the batch: %v", err)
	}
	if len(q.Open) >= MaxOpenBatches {
		return refused("%s has %d unsettled batches: commit again when some have settled", q.Account, len(q.Open))
	}
	q.Open = append(q.Open, OpenBatch{ID: t.b.ID, Bond: t.b.Bond, Height: t.h})
	if q.lockOpen(); q.Locked > q.staying() {
		return noFunds("%s has a bond of %s that stays, its unsettled batches with this one need %s", q.Account, q.staying(), q.Locked)
	}
	if t.b.Sample, t.b.Pledge, err = t.p.Rules().ReducedSample(load, t.b.Bond, q.Unvested-q.Pledged); err != nil {
		return refused("sample of the batch: %v", err)
	}
	q.Pledged += t.b.Pledge
	return t.m.S.SetParty(q)
}
