package lifecycle

import (
	"errors"
	"slices"

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// checkIndexer reports why an indexer may not sign for a client's job: strangers'
// jobs are handled by indexers with a bond; a client may be its own, and then its
// escrow answers for what the indexer signs.
func (m Machine) checkIndexer(client work.Address, key sign.PublicKey, owner work.Address, p Params) error {
	if owner == client {
		return nil
	}
	q, err := m.S.Party(RoleIndexer, owner)
	switch {
	case errors.Is(err, ErrNotFound):
		return refused("%s is not registered as an indexer", owner)
	case err != nil:
		return err
	case q.Peer != key:
		return refused("the indexer key of the job is not that of %s", owner)
	case q.staying() < p.IndexerBond:
		return refused("indexer %s has a bond of %s: an indexer keeps at least %s", owner, q.staying(), p.IndexerBond)
	}
	return nil
}

// ReportEquivocation fines an indexer of a job that signed one item to two
// providers under one attempt: once per job and indexer, out of the indexer's bond, or out of
// the free escrow of a client that is its own indexer. Half is the reporter's, half
// burns, so that to report oneself costs too.
func (m Machine) ReportEquivocation(reporter work.Address, id work.JobID, a, b work.Assignment) error {
	p, err := m.S.Params()
	if err != nil {
		return err
	}
	j, err := m.job(id)
	if err != nil {
		return err
	}
	by, err := j.checkEquivocation(m.S.Chain(), &a, &b)
	if err != nil {
		return err
	}
	m.S.Emit(Event{Kind: EventFault, Job: id, Account: by.Owner, Indexer: by.Key})
	if by.Owner == j.Spec.Client {
		fine := min(p.IndexerBond, j.EscrowFree)
		j.EscrowFree -= fine
		j.Fined += fine
		if err := m.payFine(j, Transfer{FromPot: PotEscrow, From: j.Spec.Client}, reporter, fine); err != nil {
			return err
		}
		return m.setJob(j)
	}
	q, err := m.S.Party(RoleIndexer, by.Owner)
	if err != nil {
		return err
	}
	fine := min(p.IndexerBond, q.Bond)
	q.lose(fine)
	q.Convictions++
	if err := m.payFine(j, Transfer{FromPot: PotBond, From: q.Account, Role: RoleIndexer}, reporter, fine); err != nil {
		return err
	}
	if err := m.setParty(q); err != nil {
		return err
	}
	return m.setJob(j)
}

func (m Machine) payFine(j *Job, from Transfer, reporter work.Address, fine work.Amount) error {
	if err := m.pay(j, nil, from.to(PotAccount, reporter, fine/2, ReasonFine)); err != nil {
		return err
	}
	return m.pay(j, nil, from.to(PotBurn, "", fine-fine/2, ReasonFine))
}

// checkEquivocation marks the indexer that signed both assignments as convicted, and
// gives it; or reports why there is none.
func (j *Job) checkEquivocation(chain string, a, b *work.Assignment) (Signer, error) {
	if err := j.conflict(chain, a, b); err != nil {
		return Signer{}, err
	}
	j.Indexers = slices.Clone(j.Signers())
	err := refused("the assignments are not signed by one indexer of job %s", j.ID.Short())
	for i := range j.Indexers {
		s := &j.Indexers[i]
		switch {
		case a.Verify(s.Key) != nil || b.Verify(s.Key) != nil:
		case s.Equivocated:
			err = refused("this indexer of job %s was fined already", j.ID.Short())
		default:
			s.Equivocated = true
			return *s, nil
		}
	}
	return Signer{}, err
}

// conflict reports why two assignments do not contradict each other.
func (j *Job) conflict(chain string, a, b *work.Assignment) error {
	switch {
	case j.State == JobClosed:
		return refused("job %s is closed", j.ID.Short())
	case a.Chain != chain || b.Chain != chain || a.Job != j.ID || b.Job != j.ID:
		return refused("an assignment is for another job")
	case a.Attempt != b.Attempt:
		return refused("attempts %d and %d: to hand items out again under another attempt is no fault", a.Attempt, b.Attempt)
	case a.Provider == b.Provider:
		return refused("both assignments are of %s: that is a renewal", a.Provider)
	case a.Ranges.Validate() != nil || b.Ranges.Validate() != nil || len(a.Ranges) > MaxBatchRanges || len(b.Ranges) > MaxBatchRanges:
		return refused("ranges of an assignment: %v", work.ErrRanges)
	case len(a.Ranges.Intersect(b.Ranges)) == 0:
		return refused("the assignments have no item in common")
	}
	return nil
}
