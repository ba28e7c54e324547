package lifecycle

import (
	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/work"
)

// windowOver pays a batch that nobody accuses any more, unless an older one of its
// provider may still be convicted: then it waits, open to challenges, and that
// one's end wakes it.
func (t *turn) windowOver() error {
	q, err := t.m.S.Party(RoleProvider, t.b.Provider)
	if err != nil {
		return err
	}
	q.clear(t.b.ID, true)
	if t.b.CommitHeight <= q.VoidBefore || t.b.CommitHeight < q.undecided() {
		if err := t.m.S.SetParty(q); err != nil {
			return err
		}
		return t.settle()
	}
	t.b.Phase, t.b.Deadline = Window, 0
	return t.m.S.SetParty(q)
}

// clearBatch notes whether the batch holds up the younger ones of its provider.
func (t *turn) clearBatch(cleared bool) error {
	q, err := t.m.S.Party(RoleProvider, t.b.Provider)
	if err != nil {
		return err
	}
	q.clear(t.b.ID, cleared)
	if err := t.wakeWaiting(q.payable()); err != nil {
		return err
	}
	return t.m.S.SetParty(q)
}

// wakeWaiting lets batches that waited for this one end at the next block. One that
// is frozen stays so: its own deadline counts.
func (t *turn) wakeWaiting(l []work.BatchID) error {
	for _, id := range l {
		if id == t.b.ID {
			continue
		}
		if err := t.m.S.WakeBatch(t.h+1, id); err != nil {
			return err
		}
	}
	return nil
}

// settle pays the batch: provider, validators, burn, indexer, checks, and what is
// minted for paid work. A batch from before the provider's second conviction is not paid.
func (t *turn) settle() error {
	b := t.b
	q, err := t.m.S.Party(RoleProvider, b.Provider)
	if err != nil {
		return err
	}
	if b.CommitHeight <= q.VoidBefore {
		return t.returnItems(q, Void, "its provider was slashed until its bond no longer answered for its unsettled batches: all of them are void")
	}
	from := Transfer{FromPot: PotEscrow, From: t.j.Spec.Client}
	validators := permille(b.Pay, t.p.ValidatorPermille)
	burn := permille(b.Pay, 1000-t.p.ProviderPermille-t.p.ValidatorPermille)
	if err := t.payProvider(q, from, b.Pay-validators-burn); err != nil {
		return err
	}
	for _, tr := range []Transfer{
		from.to(PotValidators, "", validators, ReasonValidators),
		from.to(PotBurn, "", burn, ReasonFeeBurn),
		from.to(PotAccount, b.Indexer, b.IndexerFee, ReasonIndexer),
	} {
		if err := t.m.pay(t.j, b, tr); err != nil {
			return err
		}
	}
	if !t.j.Commons {
		if err := t.mint(q, burn); err != nil {
			return err
		}
	}
	q.Settled++
	if err := t.wakeWaiting(q.closeBatch(b, t.h)); err != nil {
		return err
	}
	if err := t.m.S.SetParty(q); err != nil {
		return err
	}
	return t.end(Settled, b.Pay+b.IndexerFee, "")
}

// payProvider pays the provider's share, what rounding left included: a part of it
// vests; of the commons half bonds itself and half vests.
func (t *turn) payProvider(q *Party, from Transfer, share work.Amount) error {
	if t.j.Commons {
		return t.credit(q, from, 0, share/2, share-share/2, ReasonWork)
	}
	vesting := permille(share, t.p.VestPermille)
	return t.credit(q, from, share-vesting, 0, vesting, ReasonWork)
}

// mint rewards paid work by less than the fee that it burned: half bonds itself,
// half vests.
func (t *turn) mint(q *Party, burned work.Amount) error {
	reward, err := incentive.Reward(burned, t.p.MintPermille)
	if err != nil {
		return err
	}
	return t.credit(q, Transfer{FromPot: PotMint}, 0, reward/2, reward-reward/2, ReasonMint)
}

// credit gives a provider money that is free, bonded or vesting. Without a vesting
// time nothing vests.
func (t *turn) credit(q *Party, from Transfer, free, bonded, vesting work.Amount, why Reason) error {
	if t.p.VestBlocks == 0 {
		free, vesting = free+vesting, 0
	}
	from.Role = RoleProvider
	for _, tr := range []Transfer{
		from.to(PotAccount, q.Account, free, why),
		from.to(PotBond, q.Account, bonded, why),
		from.to(PotVesting, q.Account, vesting, why),
	} {
		if err := t.m.pay(t.j, t.b, tr); err != nil {
			return err
		}
	}
	q.Bond += bonded
	if vesting == 0 {
		return nil
	}
	return t.m.S.WakeParty(q.vest(vesting, t.h, t.p), RoleProvider, q.Account)
}

// permille is ⌊a × share / 1000⌋ for a share of at most 1000.
func permille(a work.Amount, share uint64) work.Amount {
	v, err := work.MulDiv(a, min(share, 1000), 1000)
	if err != nil {
		panic("lifecycle: a share of an amount overflows")
	}
	return v
}

func (t Transfer) to(pot Pot, account work.Address, amount work.Amount, why Reason) Transfer {
	t.ToPot, t.To, t.Amount, t.Reason = pot, account, amount, why
	return t
}

// convict ends the batch without pay and slashes its provider: by the batch's bond
// and pledge; or, convicted a second time, by its whole bond and all unvested pay,
// and no batch that it committed until now is paid. finder is nil if nobody found
// the fault by executing.
func (t *turn) convict(finder *Claim, why string) error {
	q, err := t.m.S.Party(RoleProvider, t.b.Provider)
	if err != nil {
		return err
	}
	if !q.covers(t.b) { // an earlier slash took all that answers for it
		q.Convictions++
		return t.returnItems(q, Void, why)
	}
	bond, unvested := min(t.b.Bond, q.Bond), min(t.b.Pledge, q.Unvested)
	if again := q.ConvictedHeight > 0 && t.h-q.ConvictedHeight <= t.p.ConvictionBlocks; again {
		bond, unvested = q.Bond, q.Unvested
		if err := t.wakeWaiting(q.voidOpen(t.h)); err != nil {
			return err
		}
	}
	return t.slash(q, bond, unvested, finder, why)
}

// silent ends the batch of a provider that owed an answer: as a first conviction,
// even if it is not the first, so that an outage never takes a whole bond.
func (t *turn) silent(why string) error {
	q, err := t.m.S.Party(RoleProvider, t.b.Provider)
	if err != nil {
		return err
	}
	if !q.covers(t.b) {
		return t.returnItems(q, Void, why)
	}
	return t.slash(q, min(t.b.Bond, q.Bond), min(t.b.Pledge, q.Unvested), nil, why)
}

// slash takes bond and unvested pay from the provider and ends the batch. The bond
// is shared between finder, client, referees and fire; unvested pay all burns.
func (t *turn) slash(q *Party, bond, unvested work.Amount, finder *Claim, why string) error {
	if err := t.shareSlash(bond, finder); err != nil {
		return err
	}
	vesting := Transfer{FromPot: PotVesting, From: q.Account, Role: RoleProvider}
	if err := t.m.pay(t.j, t.b, vesting.to(PotBurn, "", unvested, ReasonSlash)); err != nil {
		return err
	}
	q.lose(bond)
	q.dropVesting(unvested)
	q.Convictions++
	q.ConvictedHeight = t.h
	return t.returnItems(q, Void, why)
}

// shareSlash splits a lost bond.
func (t *turn) shareSlash(bond work.Amount, finder *Claim) error {
	from := Transfer{FromPot: PotBond, From: t.b.Provider, Role: RoleProvider}
	burn, err := bond.Sub(permille(bond, t.p.ClientPermille))
	if err != nil {
		return err
	}
	if finder != nil {
		bounty := permille(bond, t.p.FinderPermille)
		burn -= bounty
		if err := t.m.pay(t.j, t.b, from.to(PotAccount, finder.Account, bounty, ReasonBounty)); err != nil {
			return err
		}
	}
	if err := t.m.pay(t.j, t.b, from.to(PotAccount, t.j.Spec.Client, permille(bond, t.p.ClientPermille), ReasonDamages)); err != nil {
		return err
	}
	paid, err := t.payReferees(from, bond)
	if err != nil {
		return err
	}
	return t.m.pay(t.j, t.b, from.to(PotBurn, "", burn-paid, ReasonSlash))
}

// unavailable ends a batch whose data or output nobody could fetch: no pay, no
// conviction, a fee. Its provider ran it, or should have, and so can serve all of
// it. The fee is what burns of a slash: to hide what a lie was made of is no cheaper
// than to be caught, and to keep outputs costs more than their pay.
func (t *turn) unavailable(why string) error {
	q, err := t.m.S.Party(RoleProvider, t.b.Provider)
	if err != nil {
		return err
	}
	fee := min(max(t.p.UnavailableFee, permille(t.b.Bond, t.p.burnPermille())), q.Bond)
	if err := t.m.pay(t.j, t.b, Transfer{FromPot: PotBond, From: q.Account, Role: RoleProvider}.to(PotBurn, "", fee, ReasonFee)); err != nil {
		return err
	}
	q.lose(fee)
	return t.returnItems(q, Void, why)
}

// unpaid ends the batch without a verdict: items return, nobody is slashed, and a
// challenger pays for the dispute.
func (t *turn) unpaid(why string) error {
	if err := t.leaveCourt(); err != nil {
		return err
	}
	if err := t.stakeBurns(); err != nil {
		return err
	}
	q, err := t.m.S.Party(RoleProvider, t.b.Provider)
	if err != nil {
		return err
	}
	return t.returnItems(q, Unpaid, why)
}

// returnItems ends a batch without pay: its items are free again.
func (t *turn) returnItems(q *Party, phase Phase, why string) error {
	if err := t.wakeWaiting(q.closeBatch(t.b, t.h)); err != nil {
		return err
	}
	if err := t.m.setParty(q); err != nil {
		return err
	}
	t.j.takeBack(t.b)
	return t.end(phase, 0, why)
}

// checkerLoses burns the stake of a checker whose leaf is not the decided one.
func (t *turn) checkerLoses(checker work.Address) error {
	c := t.b.CheckOf(checker)
	if c == nil || c.Lost {
		return nil
	}
	q, err := t.m.S.Party(RoleChecker, checker)
	if err != nil {
		return err
	}
	lost := min(c.Stake, q.Bond)
	q.lose(lost)
	q.Convictions++
	c.Lost = true
	from := Transfer{FromPot: PotBond, From: checker, Role: RoleChecker}
	paid, err := t.payReferees(from, lost)
	if err != nil {
		return err
	}
	if err := t.m.pay(t.j, t.b, from.to(PotBurn, "", lost-paid, ReasonSlash)); err != nil {
		return err
	}
	return t.m.setParty(q)
}

// end pays the checks that were done, frees the checkers' stakes and the escrows,
// and closes the job if this was its last batch.
func (t *turn) end(phase Phase, spent work.Amount, why string) error {
	b := t.b
	var fees work.Amount
	for i := range b.Checks {
		fee, err := t.endCheck(&b.Checks[i], fees)
		if err != nil {
			return err
		}
		fees += fee
	}
	t.j.unlock(b, spent, fees)
	b.Phase, b.Deadline, b.Why = phase, 0, why
	was := t.j.State
	if err := t.m.closeIfDone(t.j, false); err != nil {
		return err
	}
	if t.j.State != was {
		return t.m.setJob(t.j)
	}
	return nil
}

// endCheck frees a checker's stake and pays its fee, behind the fees paid before.
func (t *turn) endCheck(c *Check, before work.Amount) (work.Amount, error) {
	q, err := t.m.S.Party(RoleChecker, c.Checker)
	if err != nil {
		return 0, err
	}
	q.closeCheck()
	earned := c.Revealed && !c.Lost && !c.Forfeit
	if earned {
		q.Settled++
	}
	if err := t.m.S.SetParty(q); err != nil || !earned {
		return 0, err
	}
	fee := min(t.fee(c), t.b.CheckBudget-before)
	inChecks := t.b.CheckBudget - t.b.CheckFromEscrow
	first := min(fee, inChecks-min(inChecks, before))
	from := Transfer{From: t.j.Spec.Client}
	from.FromPot = PotCheckEscrow
	if err := t.m.pay(t.j, t.b, from.to(PotAccount, c.Checker, first, ReasonCheck)); err != nil {
		return 0, err
	}
	from.FromPot = PotEscrow
	return fee, t.m.pay(t.j, t.b, from.to(PotAccount, c.Checker, fee-first, ReasonCheck))
}

// fee is what a check earns: by the fuel that the provider committed to, each item
// once. The budget covers all fees, unless the parameters changed meanwhile; then
// it bounds them.
func (t *turn) fee(c *Check) work.Amount {
	var sum work.Amount
	for _, pos := range t.b.positions(c) {
		fee, err := t.p.Rules().CheckFee(t.b.nodeAt(pos).Fuel, t.b.Price)
		if err != nil || fee > t.b.CheckBudget-sum {
			return t.b.CheckBudget
		}
		sum += fee
	}
	return sum
}
