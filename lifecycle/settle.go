package lifecycle

import (
	"github.com/gotong-network/gotong/work"
)

// settle pays the batch: provider, validators, burn, checks.
func (t *turn) settle() error {
	b := t.b
	for _, tr := range payout(b, t.j.Spec.Client, t.p) {
		if err := t.m.pay(t.j, b, tr); err != nil {
			return err
		}
	}
	q, err := t.m.S.Party(RoleProvider, b.Provider)
	if err != nil {
		return err
	}
	q.Locked -= b.Bond
	q.Settled++
	if err := t.m.S.SetParty(q); err != nil {
		return err
	}
	return t.end(Settled, b.Pay, "")
}

// payout splits the pay of a batch: what rounding leaves is the provider's.
func payout(b *Batch, client work.Address, p Params) []Transfer {
	validators := permille(b.Pay, p.ValidatorPermille)
	burn := permille(b.Pay, 1000-p.ProviderPermille-p.ValidatorPermille)
	from := Transfer{FromPot: PotEscrow, From: client}
	return []Transfer{
		from.to(PotAccount, b.Provider, b.Pay-validators-burn, ReasonWork),
		from.to(PotValidators, "", validators, ReasonValidators),
		from.to(PotBurn, "", burn, ReasonFeeBurn),
	}
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

// void ends the batch without pay and slashes the whole bond that was locked for
// it: finder and client get their parts, the rest burns. finder is nil if nobody
// found the fault by executing.
func (t *turn) void(finder *Claim, why string) error {
	b := t.b
	for _, tr := range slashing(b, finder, t.j.Spec.Client, t.p) {
		if err := t.m.pay(t.j, b, tr); err != nil {
			return err
		}
	}
	q, err := t.m.S.Party(RoleProvider, b.Provider)
	if err != nil {
		return err
	}
	q.lose(b.Bond)
	q.Convictions++
	if err := t.m.setParty(q); err != nil {
		return err
	}
	t.j.takeBack(b)
	return t.end(Void, 0, why)
}

// slashing splits a lost bond.
func slashing(b *Batch, finder *Claim, client work.Address, p Params) []Transfer {
	from := Transfer{FromPot: PotBond, From: b.Provider, Role: RoleProvider}
	damages := permille(b.Bond, p.ClientPermille)
	burn := b.Bond - damages
	var l []Transfer
	if finder != nil {
		bounty := permille(b.Bond, p.FinderPermille)
		burn -= bounty
		l = append(l, from.to(PotAccount, finder.Account, bounty, ReasonBounty))
	}
	return append(l, from.to(PotAccount, client, damages, ReasonDamages), from.to(PotBurn, "", burn, ReasonSlash))
}

// unpaid ends the batch without a verdict: items return, nobody is slashed, and a
// challenger pays for the dispute.
func (t *turn) unpaid(why string) error {
	if err := t.stakeBurns(); err != nil {
		return err
	}
	q, err := t.m.S.Party(RoleProvider, t.b.Provider)
	if err != nil {
		return err
	}
	q.Locked -= t.b.Bond
	if err := t.m.S.SetParty(q); err != nil {
		return err
	}
	t.j.takeBack(t.b)
	return t.end(Unpaid, 0, why)
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
	q.lose(c.Stake)
	q.Convictions++
	c.Lost = true
	burn := Transfer{FromPot: PotBond, From: checker, Role: RoleChecker}.to(PotBurn, "", c.Stake, ReasonSlash)
	if err := t.m.pay(t.j, t.b, burn); err != nil {
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
	if !c.Lost {
		q.Locked -= c.Stake
	}
	earned := c.Revealed && !c.Lost
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
