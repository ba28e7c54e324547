package lifecycle

import (
	"github.com/gotong-network/gotong/work"
)

// disputed reports whether two claims about the item differ.
func (i *DisputeItem) disputed() bool {
	for _, c := range i.Claims[1:] {
		if c.Leaf != i.Claims[0].Leaf {
			return true
		}
	}
	return false
}

// startVote calls the referee: the validators of this height judge the dispute's
// items.
func (t *turn) startVote() error {
	d := t.b.Dispute
	validators, err := t.m.S.Validators()
	if err != nil {
		return err
	}
	d.OpenedHeight, d.TotalPower, d.Votes = t.h, 0, nil
	for _, v := range validators {
		if v.Power > 0 {
			d.Votes = append(d.Votes, Vote{Validator: v.Account, Power: v.Power})
			d.TotalPower += v.Power
		}
	}
	t.await(Voting, t.voteBlocks())
	return nil
}

// voteBlocks is how long the referee may take.
func (t *turn) voteBlocks() int64 {
	var fuel work.Fuel
	for _, i := range t.b.Dispute.Items {
		most := work.Fuel(0)
		for _, c := range i.Claims { // the provider may have claimed too little
			most = max(most, min(c.Leaf.Fuel, t.j.Spec.Limits.Fuel))
		}
		fuel += most
	}
	return waitBlocks(t.p.VoteBlocks, fuel, t.p)
}

func (v Vote) committed() bool { return v.Committed }
func (v Vote) revealed() bool  { return v.Revealed }

// power sums the power of the votes that are so.
func (d *Dispute) power(is func(Vote) bool) (sum int64) {
	for _, v := range d.Votes {
		if is(v) {
			sum += v.Power
		}
	}
	return sum
}

// quorum reports whether power is two thirds of all.
func (d *Dispute) quorum(power int64) bool { return power > 0 && power >= d.TotalPower-d.TotalPower/3 }

// VoteOf is a validator's vote, nil if it has none.
func (d *Dispute) VoteOf(validator work.Address) *Vote {
	for i := range d.Votes {
		if d.Votes[i].Validator == validator {
			return &d.Votes[i]
		}
	}
	return nil
}

func (d *Dispute) commitVote(validator work.Address, commitment work.Hash) error {
	v := d.VoteOf(validator)
	if v == nil {
		return refused("%s was no validator at height %d", validator, d.OpenedHeight)
	}
	if v.Committed {
		return refused("%s has committed its verdict already", validator)
	}
	v.Commitment, v.Committed = commitment, true
	return nil
}

func (d *Dispute) revealVote(chain string, batch work.BatchID, validator work.Address, salt work.Hash, leaves []work.Leaf) error {
	v := d.VoteOf(validator)
	switch {
	case v == nil || !v.Committed:
		return refused("%s has committed no verdict", validator)
	case v.Revealed:
		return refused("%s has revealed its verdict already", validator)
	case len(leaves) != len(d.Items):
		return refused("%d leaves for %d disputed items", len(leaves), len(d.Items))
	case VoteCommitment(chain, batch, validator, leaves, salt) != v.Commitment:
		return refused("leaves and salt of %s are not what it committed to", validator)
	}
	v.Leaves, v.Revealed = leaves, true
	return nil
}

// decide gives each item the leaf that two thirds of the power found, and reports
// whether every item has one.
func (d *Dispute) decide() bool {
	all := true
	for i := range d.Items {
		if d.Items[i].Decided == nil {
			d.Items[i].Decided = d.majority(i)
		}
		all = all && d.Items[i].Decided != nil
	}
	return all
}

func (d *Dispute) majority(item int) *work.Leaf {
	for _, v := range d.Votes {
		if !v.Revealed {
			continue
		}
		leaf := v.Leaves[item]
		if d.quorum(d.power(func(o Vote) bool { return o.Revealed && o.Leaves[item] == leaf })) {
			return &leaf
		}
	}
	return nil
}

// votesMissing ends the commits at their deadline: enough power goes on to the
// tally, else the referee gets one extension.
func (t *turn) votesMissing() error {
	d := t.b.Dispute
	switch {
	case d.quorum(d.power(Vote.committed)):
		t.await(Tallying, t.p.RevealBlocks)
	case !d.Extended:
		d.Extended = true
		t.await(Voting, t.voteBlocks())
	default:
		return t.unpaid("the referee gave no verdict: too few validators voted")
	}
	return nil
}

// talliesMissing ends the reveals at their deadline, after one extension.
func (t *turn) talliesMissing() error {
	if d := t.b.Dispute; !d.Extended {
		d.Extended = true
		t.await(Tallying, t.p.RevealBlocks)
		return nil
	}
	return t.unpaid("the referee gave no verdict: too few validators revealed")
}

// verdict judges every claim of a decided dispute.
func (t *turn) verdict() error {
	d := t.b.Dispute
	var convicted, challengerWrong bool
	var finder *Claim
	for i := range d.Items {
		item := &d.Items[i]
		providerWrong := item.Claims[0].Leaf != *item.Decided
		convicted = convicted || providerWrong
		for k := range item.Claims[1:] {
			c := &item.Claims[1+k]
			switch {
			case c.Leaf == *item.Decided:
				if providerWrong && (finder == nil || c.Height < finder.Height) {
					finder = c
				}
			case c.Account == d.Challenger:
				challengerWrong = true
			default:
				if err := t.checkerLoses(c.Account); err != nil {
					return err
				}
			}
		}
	}
	if err := t.endStake(challengerWrong); err != nil {
		return err
	}
	if convicted {
		return t.void(finder, "the referee found another result")
	}
	if d.Challenger != "" {
		return t.resumeWindow()
	}
	t.await(Window, t.p.WindowBlocks)
	return nil
}

// challenge takes a challenger's stake and asks the provider to open the item.
func (t *turn) challenge(account work.Address, position uint64, leaf work.Leaf) error {
	stake := t.p.ChallengeStake
	err := t.m.pay(t.j, t.b, Transfer{FromPot: PotAccount, From: account, ToPot: PotStake, To: account, Amount: stake, Reason: ReasonStakeIn})
	if err != nil {
		return err
	}
	claim := Claim{Account: account, Leaf: leaf, Height: t.h}
	t.b.Dispute = &Dispute{Challenger: account, Stake: stake, Items: []DisputeItem{{Position: position, Claims: []Claim{claim}}}}
	t.b.WindowLeft = t.b.Deadline - t.h - 1 // one less each time, so that challenges end
	t.await(Answering, t.p.OpenBlocks)
	return nil
}

// answer opens and reveals the challenged item: its leaf becomes the first claim.
func (b *Batch) answer(provider work.Address, o ItemOpening, leaf work.Leaf) error {
	item := &b.Dispute.Items[0]
	switch {
	case provider != b.Provider:
		return refused("batch %s belongs to %s", b.ID.Short(), b.Provider)
	case o.Position != item.Position:
		return refused("position %d is challenged, not %d", item.Position, o.Position)
	}
	if _, err := b.verify(o); err != nil {
		return err
	}
	if work.ItemNode(leaf.Fuel, leaf.Hash(), work.ItemSalt(b.Salt, b.Job, o.Position)) != o.Node {
		return refused("leaf of position %d is not the committed one", o.Position)
	}
	own := Claim{Account: provider, Leaf: leaf, Height: b.CommitHeight}
	item.Claims = append([]Claim{own}, item.Claims...)
	return nil
}

// resumeWindow goes on with what was left of the window when it was challenged.
func (t *turn) resumeWindow() error {
	if t.b.WindowLeft < 1 {
		return t.settle()
	}
	t.await(Window, t.b.WindowLeft)
	return nil
}

// endStake burns or returns the challenger's stake, if there is one.
func (t *turn) endStake(burn bool) error {
	if burn {
		return t.stakeBurns()
	}
	return t.stakeReturns()
}

func (t *turn) stakeBurns() error {
	return t.moveStake(Transfer{ToPot: PotBurn, Reason: ReasonStake})
}

func (t *turn) stakeReturns() error {
	return t.moveStake(Transfer{ToPot: PotAccount, To: t.b.Dispute.Challenger, Reason: ReasonReturn})
}

func (t *turn) moveStake(to Transfer) error {
	d := t.b.Dispute
	to.FromPot, to.From, to.Amount = PotStake, d.Challenger, d.Stake
	d.Stake = 0
	return t.m.pay(t.j, t.b, to)
}
