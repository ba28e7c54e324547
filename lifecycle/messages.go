package lifecycle

import (
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Machine moves jobs, batches, disputes and bonds on. Each method is one message,
// sent by the account it names first, or the end of a block. A method that fails
// may have changed State: its caller drops those changes.
type Machine struct{ S State }

// CreateJob posts a job and locks both of its escrows.
func (m Machine) CreateJob(client work.Address, spec work.JobSpec) (work.JobID, error) {
	p, err := m.S.Params()
	if err != nil {
		return work.JobID{}, err
	}
	if err := checkSpec(&spec, client, m.S.Chain(), m.S.Height(), p); err != nil {
		return work.JobID{}, err
	}
	if spec.Escrow == 0 {
		return work.JobID{}, refused("job offers no escrow")
	}
	if err := m.checkIndexer(spec.Client, spec.Indexer, spec.IndexerOwner, p); err != nil {
		return work.JobID{}, err
	}
	j, err := m.freshJob(spec)
	if err != nil {
		return work.JobID{}, err
	}
	id := j.ID
	for _, t := range []Transfer{
		{FromPot: PotAccount, From: client, ToPot: PotEscrow, To: client, Amount: spec.Escrow, Reason: ReasonEscrow},
		{FromPot: PotAccount, From: client, ToPot: PotCheckEscrow, To: client, Amount: spec.CheckEscrow, Reason: ReasonEscrow},
	} {
		if err := m.pay(j, nil, t); err != nil {
			return id, err
		}
	}
	if err := m.S.WakeJob(spec.DeadlineHeight, id); err != nil {
		return id, err
	}
	return id, m.setJob(j)
}

// freshJob makes the record of a job that was not posted before and whose program
// is not suspended.
func (m Machine) freshJob(spec work.JobSpec) (*Job, error) {
	id := spec.ID()
	if _, err := m.S.Job(id); err == nil {
		return nil, refused("job %s exists: a client's next job needs another nonce", id.Short())
	} else if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if s, err := m.S.Suspension(spec.Program.Root); err == nil && len(s.Batches) > 0 {
		return nil, refused("program %s is suspended: checkers contradicted the referee about batch %s, and governance decides", spec.Program.Root.Short(), s.Batches[0].Short())
	} else if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	return newJob(id, spec, m.S.Height()), nil
}

// CancelJob closes a job to new assignments: those already signed may commit for
// ClosingBlocks more. With release, the indexer's signature of ReleaseMessage,
// nothing is outstanding, and the job ends with its last open batch.
func (m Machine) CancelJob(client work.Address, id work.JobID, release *sign.Signature) error {
	p, err := m.S.Params()
	if err != nil {
		return err
	}
	j, err := m.job(id)
	if err != nil {
		return err
	}
	if err := j.cancel(client, m.S.Chain(), m.S.Height(), p, release); err != nil {
		return err
	}
	if err := m.dropClaim(j); err != nil {
		return err
	}
	if err := m.S.WakeJob(max(j.ClosesHeight, m.S.Height()), id); err != nil {
		return err
	}
	if err := m.closeIfDone(j, false); err != nil {
		return err
	}
	return m.setJob(j)
}

// CommitBatch commits results under a root and locks their pay, the budget of
// their checks and the provider's bond; or it is refused whole. A batch of the
// commons names its items in one part without an assignment.
func (m Machine) CommitBatch(provider work.Address, job work.JobID, parts []Part, root work.Node, maxItemFuel work.Fuel) (work.BatchID, error) {
	t, err := m.newTurn(job)
	if err != nil {
		return work.BatchID{}, err
	}
	if err := t.j.commits(t.h); err != nil {
		return work.BatchID{}, err
	}
	var items work.RangeSet
	var price work.Price
	var by Signer
	if t.j.Commons {
		items, price, err = t.checkDrawn(provider, parts)
	} else {
		items, price, by, err = checkParts(t.j, m.S.Chain(), t.h, t.p, provider, parts)
	}
	if err != nil {
		return work.BatchID{}, err
	}
	b, err := newBatch(t.j, m.S.Chain(), t.h, t.p, provider, items, price, root, maxItemFuel)
	if err != nil {
		return work.BatchID{}, err
	}
	taken, err := m.S.Taken(job, provider)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return b.ID, err
	}
	if twice := taken.Intersect(items); len(twice) > 0 {
		return b.ID, refused("item %s was committed by %s before: nobody is paid twice for one item", twice[0], provider)
	}
	if err := m.S.SetTaken(job, provider, taken.Union(items)); err != nil {
		return b.ID, err
	}
	t.b = b
	if !t.j.Commons {
		b.Indexer, b.IndexerFee = by.Owner, permille(b.Pay, uint64(t.j.Spec.IndexerPermille))
	}
	if err := t.lockBond(); err != nil {
		return b.ID, err
	}
	if err := t.j.lock(b); err != nil {
		return b.ID, err
	}
	if !t.j.Commons {
		if err := m.S.SetEvidence(b.ID, parts); err != nil {
			return b.ID, err
		}
	}
	t.j.CommitHeight, t.j.Kept = t.h, 0
	t.await(Committed, t.p.DrawDelayBlocks)
	return b.ID, t.done(true)
}

// OpenBatch opens every drawn item, in the order of Batch.Draws.
func (m Machine) OpenBatch(provider work.Address, id work.BatchID, openings []ItemOpening) error {
	t, err := m.turn(id, Opening, "opened")
	if err != nil {
		return err
	}
	if err := t.b.open(provider, openings); err != nil {
		return err
	}
	if err := t.startChecks(); err != nil {
		return err
	}
	return t.done(true)
}

// CommitCheck commits a checker's leaves, before it may see any.
func (m Machine) CommitCheck(checker work.Address, id work.BatchID, commitment work.Hash) error {
	t, err := m.turn(id, Checking, "checked")
	if err != nil {
		return err
	}
	if err := t.b.commitCheck(checker, commitment, t.h); err != nil {
		return err
	}
	if t.b.checksPending() == 0 {
		t.awaitChecks()
	}
	return t.done(t.b.Phase != Checking)
}

// RevealBatch reveals the batch's salt and its drawn leaves, in the order of
// Batch.Draws.
func (m Machine) RevealBatch(provider work.Address, id work.BatchID, salt work.Hash, leaves []work.Leaf) error {
	t, err := m.turn(id, Revealing, "revealed")
	if err != nil {
		return err
	}
	if err := t.b.reveal(provider, salt, leaves); err != nil {
		return err
	}
	return t.afterReveal()
}

// RevealCheck reveals a checker's leaves, in the order of Check.Draws.
func (m Machine) RevealCheck(checker work.Address, id work.BatchID, salt work.Hash, leaves []work.Leaf) error {
	t, err := m.turn(id, Revealing, "revealed")
	if err != nil {
		return err
	}
	if err := t.b.revealCheck(m.S.Chain(), checker, salt, leaves); err != nil {
		return err
	}
	return t.afterReveal()
}

// Challenge claims another leaf for an item of a batch in its window, under a
// stake. One challenge runs at a time.
func (m Machine) Challenge(account work.Address, id work.BatchID, position uint64, leaf work.Leaf) error {
	t, err := m.turn(id, Window, "challenged")
	if err != nil {
		return err
	}
	if leaf == Unavailable {
		return refused("a challenge says what the leaf is; who cannot get an output claims its delivery")
	}
	if err := t.accuse(account, position, &leaf); err != nil {
		return err
	}
	return t.done(true)
}

// AnswerChallenge opens and reveals the challenged or claimed item.
func (m Machine) AnswerChallenge(provider work.Address, id work.BatchID, o ItemOpening, leaf work.Leaf) error {
	t, err := m.turn(id, Answering, "answered")
	if err != nil {
		return err
	}
	if err := t.b.answer(provider, o, leaf); err != nil {
		return err
	}
	if t.b.Dispute.Delivery || t.b.Dispute.Items[0].disputed() {
		err = t.queue()
	} else if err = t.stakeBurns(); err == nil {
		err = t.resumeWindow()
	}
	if err != nil {
		return err
	}
	return t.done(true)
}

// ClaimDelivery says, under a stake, that the client cannot get the output of an
// item: the provider opens it, and the validators try to fetch its output.
func (m Machine) ClaimDelivery(client work.Address, id work.BatchID, position uint64) error {
	t, err := m.turn(id, Window, "claimed")
	if err != nil {
		return err
	}
	if client != t.j.Spec.Client {
		return refused("job %s belongs to %s: only its client claims non-delivery", t.j.ID.Short(), t.j.Spec.Client)
	}
	if err := t.accuse(client, position, nil); err != nil {
		return err
	}
	return t.done(true)
}

// Decide ends the freeze of a batch: with the referee's verdict, or against it.
// Its caller has made sure that governance says so.
func (m Machine) Decide(id work.BatchID, uphold bool) error {
	t, err := m.turn(id, Frozen, "decided")
	if err != nil {
		return err
	}
	if err := t.thaw(uphold); err != nil {
		return err
	}
	return t.done(true)
}

// CommitVote commits a validator's verdict in a dispute.
func (m Machine) CommitVote(validator work.Address, id work.BatchID, commitment work.Hash) error {
	t, err := m.turn(id, Voting, "voted on")
	if err != nil {
		return err
	}
	if err := t.b.Dispute.commitVote(validator, commitment); err != nil {
		return err
	}
	if t.b.Dispute.power(Vote.committed) == t.b.Dispute.TotalPower {
		t.await(Tallying, t.p.RevealBlocks)
	}
	return t.done(t.b.Phase != Voting)
}

// RevealVote reveals a validator's verdict, in the order of Dispute.Items.
func (m Machine) RevealVote(validator work.Address, id work.BatchID, salt work.Hash, leaves []work.Leaf) error {
	t, err := m.turn(id, Tallying, "judged")
	if err != nil {
		return err
	}
	d := t.b.Dispute
	if err := d.revealVote(m.S.Chain(), id, validator, salt, leaves); err != nil {
		return err
	}
	if d.power(Vote.committed) == d.power(Vote.revealed) {
		if err := t.tally("the validators disagree: no leaf has two thirds of the power"); err != nil {
			return err
		}
	}
	return t.done(t.b.Phase != Tallying)
}

// Register bonds the account in a role, or adds to its bond, or changes its peer
// key.
func (m Machine) Register(account work.Address, role Role, peer sign.PublicKey, bond work.Amount) error {
	p, err := m.S.Params()
	if err != nil {
		return err
	}
	q, err := m.S.Party(role, account)
	if errors.Is(err, ErrNotFound) {
		q, err = &Party{Account: account, Role: role}, nil
	}
	if err != nil {
		return err
	}
	if err := q.register(peer, bond, m.S.Height(), p); err != nil {
		return err
	}
	if err := m.pay(nil, nil, Transfer{FromPot: PotAccount, From: account, ToPot: PotBond, To: account, Role: role, Amount: bond, Reason: ReasonBond}); err != nil {
		return err
	}
	return m.setParty(q)
}

// Unbond starts to return free bond; it arrives after UnbondBlocks. Asking again
// starts the wait anew for all that is being returned.
func (m Machine) Unbond(account work.Address, role Role, amount work.Amount) error {
	p, err := m.S.Params()
	if err != nil {
		return err
	}
	q, err := m.S.Party(role, account)
	if err != nil {
		return fmt.Errorf("%s as %s: %w", account, role, err)
	}
	if err := q.unbond(amount, m.S.Height(), p); err != nil {
		return err
	}
	if err := m.S.WakeParty(q.UnbondHeight, role, account); err != nil {
		return err
	}
	return m.setParty(q)
}

// EndBlock does what is due at the end of a height: draws, defaults of missed
// deadlines, payouts, closing of jobs, returns of bonds. It fails only on a broken
// State.
func (m Machine) EndBlock() error {
	due, err := m.S.Due(m.S.Height())
	if err != nil {
		return err
	}
	if err := m.EndRecords(due); err != nil {
		return err
	}
	if err := m.EndQueue(); err != nil {
		return err
	}
	return m.EndEpoch()
}

// EndRecords is the first part of EndBlock: what is due of single records. The parts
// are there for a State in which one is broken: the others go on without it.
func (m Machine) EndRecords(due Due) error {
	for _, id := range due.Batches {
		if err := m.batchDue(id); err != nil {
			return fmt.Errorf("batch %s: %w", id, err)
		}
	}
	for _, id := range due.Jobs {
		if err := m.jobDue(id); err != nil {
			return fmt.Errorf("job %s: %w", id, err)
		}
	}
	for _, k := range due.Parties {
		if err := m.partyDue(k); err != nil {
			return fmt.Errorf("%s %s: %w", k.Role, k.Account, err)
		}
	}
	return nil
}

// EndQueue is the second part of EndBlock: it lets waiting disputes in.
func (m Machine) EndQueue() error {
	if err := m.admitDisputes(); err != nil {
		return fmt.Errorf("queue of disputes: %w", err)
	}
	return nil
}

// EndEpoch is the last part of EndBlock: it begins an epoch of the commons.
func (m Machine) EndEpoch() error {
	if err := m.commonsDue(); err != nil {
		return fmt.Errorf("commons: %w", err)
	}
	return nil
}

// job reads a job that a message names.
func (m Machine) job(id work.JobID) (*Job, error) {
	j, err := m.S.Job(id)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", id.Short(), err)
	}
	return j, nil
}

func (m Machine) setJob(j *Job) error {
	m.S.Emit(Event{Kind: EventJob, Job: j.ID, JobState: j.State, Account: j.Spec.Client, Indexer: j.Indexer().Key})
	return m.S.SetJob(j)
}

func (m Machine) setParty(q *Party) error {
	m.S.Emit(Event{Kind: EventParty, Account: q.Account})
	return m.S.SetParty(q)
}

// pay moves money and tells it; b keeps what it moved.
func (m Machine) pay(j *Job, b *Batch, t Transfer) error {
	if t.Amount == 0 {
		return nil
	}
	e := Event{Kind: EventTransfer, Account: t.To, Transfer: &t}
	if e.Account == "" {
		e.Account = t.From
	}
	if j != nil {
		e.Job, e.Indexer = j.ID, j.Indexer().Key
	}
	if b != nil {
		e.Batch = b.ID
		b.Transfers = append(b.Transfers, t)
	}
	if err := m.S.Move(e.Job, t); err != nil {
		return fmt.Errorf("%s of %s: %w", t.Reason, t.Amount, err)
	}
	m.S.Emit(e)
	return nil
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

func noFunds(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFunds, fmt.Sprintf(format, args...))
}
