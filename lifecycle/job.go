package lifecycle

import (
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// checkSpec reports why a job cannot be posted.
func checkSpec(s *work.JobSpec, client work.Address, chain string, height int64, p Params) error {
	if err := s.Validate(); err != nil {
		return refused("%v", err)
	}
	switch {
	case s.Chain != chain:
		return refused("job is for chain %q, this is %q", s.Chain, chain)
	case s.Client != client:
		return refused("job of %s was sent by %s", s.Client, client)
	case len(s.Profile) > 32 || len(s.IndexerOwner) > 128 || len(s.Client) > 128:
		return refused("job's profile or accounts are too long")
	case s.MaxPrice < p.MinPrice:
		return refused("price cap %d is under the floor price of %d ugtg per work unit", s.MaxPrice, p.MinPrice)
	case s.Limits.Fuel > p.MaxItemFuel:
		return refused("fuel limit %d of an item is over the chain's %d", s.Limits.Fuel, p.MaxItemFuel)
	case s.DeadlineHeight <= height:
		return refused("deadline at height %d has passed: the chain is at %d", s.DeadlineHeight, height)
	case s.DeadlineHeight-height > p.MaxJobBlocks:
		return refused("deadline at height %d is over %d blocks away", s.DeadlineHeight, p.MaxJobBlocks)
	}
	return nil
}

func newJob(id work.JobID, spec work.JobSpec, height int64) *Job {
	return &Job{
		ID: id, Spec: spec, State: JobOpen, PostedHeight: height,
		EscrowFree: spec.Escrow, CheckFree: spec.CheckEscrow,
		Indexers: []Signer{{Key: spec.Indexer, Owner: spec.IndexerOwner, Since: height}},
		Copies:   make([]work.RangeSet, spec.MaxCopies),
	}
}

// cancel starts the closing of j. Under a release it has closed to commits at once.
func (j *Job) cancel(client work.Address, chain string, height int64, p Params, release *sign.Signature) error {
	switch {
	case j.Spec.Client != client:
		return refused("job %s belongs to %s", j.ID.Short(), j.Spec.Client)
	case j.State == JobClosed:
		return refused("job %s is closed", j.ID.Short())
	case j.State == JobClosing && release == nil:
		return refused("job %s is closing already", j.ID.Short())
	}
	if release != nil {
		for _, s := range j.Signers() {
			if s.Until >= height {
				return refused("what an earlier indexer of job %s signed may commit until height %d: no release before", j.ID.Short(), s.Until)
			}
		}
		if err := j.Indexer().Key.Verify(ReleaseTag, ReleaseMessage(chain, j.ID), *release); err != nil {
			return refused("release of job %s: %v", j.ID.Short(), err)
		}
		j.State, j.ClosesHeight = JobClosing, height-1
		return nil
	}
	j.startClosing(height, p)
	return nil
}

func (j *Job) startClosing(height int64, p Params) {
	j.State, j.ClosesHeight = JobClosing, height+p.ClosingBlocks
}

// commits reports why j takes no commit at height.
func (j *Job) commits(height int64) error {
	switch {
	case j.State == JobClosed:
		return refused("job %s is closed", j.ID.Short())
	case j.State == JobClosing && height > j.ClosesHeight:
		return refused("job %s took its last commit at height %d", j.ID.Short(), j.ClosesHeight)
	}
	return nil
}

// place puts items into the first copies where they are free, without changing j.
func (j *Job) place(items work.RangeSet) ([]work.RangeSet, error) {
	placed := make([]work.RangeSet, len(j.Copies))
	left := items
	for c := range j.Copies {
		placed[c] = left.Minus(j.Copies[c])
		left = left.Minus(placed[c])
	}
	if len(left) > 0 {
		return nil, refused("item %s has all %d paid copies already", left[0], len(j.Copies))
	}
	return placed, nil
}

// lock takes the batch's pay, its indexer's fee and its check budget out of the free
// escrows and places its items. The budget comes from the check escrow first, then from the other.
func (j *Job) lock(b *Batch) error {
	cost, err := b.Pay.Add(b.IndexerFee)
	if err != nil || j.EscrowFree < cost {
		return noFunds("job %s has %s free in its escrow, the batch costs %s and its indexer %s", j.ID.Short(), j.EscrowFree, b.Pay, b.IndexerFee)
	}
	fromChecks := min(j.CheckFree, b.CheckBudget)
	b.CheckFromEscrow = b.CheckBudget - fromChecks
	if j.EscrowFree-cost < b.CheckFromEscrow {
		return noFunds("job %s has %s free for checks that may cost %s", j.ID.Short(), j.CheckFree+j.EscrowFree-cost, b.CheckBudget)
	}
	placed, err := j.place(b.Items)
	if err != nil {
		return err
	}
	b.Placed = placed
	for c, items := range placed {
		j.Copies[c] = j.Copies[c].Union(items)
	}
	j.EscrowFree -= cost + b.CheckFromEscrow
	j.EscrowLocked += cost + b.CheckFromEscrow
	j.CheckFree -= fromChecks
	j.CheckLocked += fromChecks
	j.OpenBatches++
	return nil
}

// takeBack gives the items of a batch that is not paid back to the queue.
func (j *Job) takeBack(b *Batch) {
	for c, items := range b.Placed {
		j.Copies[c] = j.Copies[c].Minus(items)
	}
}

// unlock ends the batch's hold on the escrows: work and checks were spent, the
// rest is free again.
func (j *Job) unlock(b *Batch, work, checks work.Amount) {
	fromChecks := b.CheckBudget - b.CheckFromEscrow
	spentChecks := min(checks, fromChecks) // the check escrow pays first
	spentEscrow := work + checks - spentChecks
	locked := b.Pay + b.IndexerFee + b.CheckFromEscrow
	j.EscrowLocked -= locked
	j.EscrowFree += locked - spentEscrow
	j.CheckLocked -= fromChecks
	j.CheckFree += fromChecks - spentChecks
	j.PaidWork += work
	j.PaidChecks += checks
	j.OpenBatches--
}

// complete reports whether every item is settled: without open batches the copies
// hold settled items only.
func (j *Job) complete() bool {
	if j.OpenBatches > 0 {
		return false
	}
	var all work.RangeSet
	for _, c := range j.Copies {
		all = all.Union(c)
	}
	return all.Len() == j.Spec.ItemCount
}

// closeIfDone returns what is left to the client once nothing can be committed or
// settled any more. At the end of a block the height of the last commit is over.
func (m Machine) closeIfDone(j *Job, endOfBlock bool) error {
	over := j.State == JobClosing && (m.S.Height() > j.ClosesHeight || endOfBlock && m.S.Height() == j.ClosesHeight)
	if j.State == JobClosed || j.OpenBatches > 0 || !over && !j.complete() {
		return nil
	}
	if err := m.dropClaim(j); err != nil {
		return err
	}
	client := j.Spec.Client
	back := Transfer{ToPot: PotAccount, To: client}
	if j.Commons {
		back = Transfer{ToPot: PotCommons}
		if err := m.addToPool(j.EscrowFree + j.CheckFree); err != nil {
			return err
		}
	}
	for _, t := range []Transfer{
		{FromPot: PotEscrow, From: client, ToPot: back.ToPot, To: back.To, Amount: j.EscrowFree, Reason: ReasonRefund},
		{FromPot: PotCheckEscrow, From: client, ToPot: back.ToPot, To: back.To, Amount: j.CheckFree, Reason: ReasonRefund},
	} {
		if err := m.pay(j, nil, t); err != nil {
			return err
		}
	}
	j.State = JobClosed
	j.Refunded += j.EscrowFree + j.CheckFree
	j.EscrowFree, j.CheckFree = 0, 0
	return nil
}

// jobDue hands a job over that was claimed, closes it to new assignments at its
// deadline, and ends it when its last commit is over.
func (m Machine) jobDue(id work.JobID) error {
	j, err := m.S.Job(id)
	if err != nil {
		return err
	}
	was := j.State
	changed, err := m.claimDue(j)
	if err != nil {
		return err
	}
	if j.State == JobOpen && m.S.Height() >= j.Spec.DeadlineHeight {
		if err := m.dropClaim(j); err != nil {
			return err
		}
		p, err := m.S.Params()
		if err != nil {
			return err
		}
		j.startClosing(m.S.Height(), p)
		if err := m.S.WakeJob(j.ClosesHeight, id); err != nil {
			return err
		}
	}
	if err := m.closeIfDone(j, true); err != nil {
		return err
	}
	if j.State == was && !changed {
		return nil
	}
	return m.setJob(j)
}
