package lifecycle

import (
	"slices"

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

// talliesMissing ends the reveals at their deadline, after one extension if they
// decide nothing yet.
func (t *turn) talliesMissing() error {
	if d := t.b.Dispute; !d.decide() && !d.Extended {
		d.Extended = true
		t.await(Tallying, t.p.RevealBlocks)
		return nil
	}
	return t.tally("the referee gave no verdict: too few validators revealed")
}

// tally ends a vote with the verdict, if two thirds of the power agree on every
// item.
func (t *turn) tally(otherwise string) error {
	if !t.b.Dispute.decide() {
		return t.unpaid(otherwise)
	}
	if err := t.leaveCourt(); err != nil {
		return err
	}
	if t.b.Dispute.contradicted() {
		return t.freeze()
	}
	return t.judge()
}

// judge applies a decided dispute to every vote and every claim.
func (t *turn) judge() error {
	d := t.b.Dispute
	if err := t.slashVotes(); err != nil {
		return err
	}
	if d.Delivery {
		return t.judgeDelivery()
	}
	var convicted, unavailable, challengerWrong bool
	var finder *Claim
	for i := range d.Items {
		item := &d.Items[i]
		if *item.Decided == Unavailable {
			unavailable = true
			continue
		}
		t.b.Decided = append(t.b.Decided, Decided{Position: item.Position, Leaf: *item.Decided})
		wrong, earliest, challenger, err := t.judgeItem(item)
		if err != nil {
			return err
		}
		convicted = convicted || wrong
		challengerWrong = challengerWrong || challenger
		if earliest != nil && (finder == nil || earliest.Height < finder.Height) {
			finder = earliest
		}
	}
	if err := t.endStake(challengerWrong); err != nil {
		return err
	}
	switch {
	case convicted:
		return t.convict(finder, "the referee found another result")
	case unavailable:
		return t.unavailable("two thirds of the validators could not fetch its program or inputs")
	}
	return t.resumeWindow()
}

// judgeItem judges the claims about one item that the referee could execute: the
// first is the provider's. The earliest right accuser of a wrong provider is the
// finder.
func (t *turn) judgeItem(item *DisputeItem) (providerWrong bool, finder *Claim, challengerWrong bool, err error) {
	providerWrong = item.Claims[0].Leaf != *item.Decided
	for k := range item.Claims[1:] {
		c := &item.Claims[1+k]
		switch {
		case c.Leaf == *item.Decided:
			if providerWrong && (finder == nil || c.Height < finder.Height) {
				finder = c
			}
		case c.Account == t.b.Dispute.Challenger:
			challengerWrong = true
		case c.Leaf == Unavailable:
			if check := t.b.CheckOf(c.Account); check != nil {
				check.Forfeit = true
			}
		default:
			if err := t.checkerLoses(c.Account); err != nil {
				return false, nil, false, err
			}
		}
	}
	return providerWrong, finder, challengerWrong, nil
}

// judgeDelivery ends a claim of the client: the output was there for two thirds of
// the power, or it was not.
func (t *turn) judgeDelivery() error {
	item := &t.b.Dispute.Items[0]
	if *item.Decided != item.Claims[0].Leaf {
		if err := t.stakeReturns(); err != nil {
			return err
		}
		return t.unavailable("two thirds of the validators could not fetch an output that the client claimed")
	}
	t.b.Decided = append(t.b.Decided, Decided{Position: item.Position, Leaf: *item.Decided, Delivery: true})
	if err := t.stakeBurns(); err != nil {
		return err
	}
	return t.resumeWindow()
}

// slashVotes slashes the validators that revealed another leaf than the decided
// one, since whoever executed has the same, and a little those that revealed none:
// else to be absent would be cheaper than to execute. To have fetched nothing is no
// fault.
func (t *turn) slashVotes() error {
	d := t.b.Dispute
	for i := range d.Votes {
		v, share := &d.Votes[i], uint64(0)
		switch {
		case !v.Revealed:
			share = t.p.VoteMissPermille
		case d.wrong(v):
			share = t.p.VoteSlashPermille
		}
		if share == 0 {
			continue
		}
		if err := t.m.S.SlashValidator(v.Validator, share); err != nil {
			return err
		}
		t.m.S.Emit(Event{Kind: EventFault, Job: t.j.ID, Batch: t.b.ID, Account: v.Validator})
	}
	return nil
}

func (d *Dispute) wrong(v *Vote) bool {
	if d.Delivery {
		return false // nobody executed
	}
	for i := range v.Leaves {
		if decided := *d.Items[i].Decided; v.Leaves[i] != decided && v.Leaves[i] != Unavailable && decided != Unavailable {
			return true
		}
	}
	return false
}

// right reports whether a vote is the verdict.
func (d *Dispute) right(v *Vote) bool {
	if !v.Revealed {
		return false
	}
	for i := range v.Leaves {
		if d.Items[i].Decided == nil || v.Leaves[i] != *d.Items[i].Decided {
			return false
		}
	}
	return true
}

// contradicted reports whether the verdict is against a provider with whom two
// checkers agree: both of them executed blind.
func (d *Dispute) contradicted() bool {
	for i := range d.Items {
		item := &d.Items[i]
		own := item.Claims[0].Leaf
		if d.Delivery || *item.Decided == own || *item.Decided == Unavailable {
			continue
		}
		var agree []work.Address
		for _, c := range item.Claims[1:] {
			if c.Leaf == own && c.Account != d.Challenger && !slices.Contains(agree, c.Account) {
				agree = append(agree, c.Account)
			}
		}
		if len(agree) >= 2 {
			return true
		}
	}
	return false
}

// stakeFactor is how many times the price of a batch's largest item a challenge
// stakes: what the referee's executions of it may cost.
const stakeFactor = 10

// AccusationStake is what who challenges an item of a batch, or claims its delivery,
// stakes: it is burned, less the referees' part, if the accusation is wrong.
func (p Params) AccusationStake(maxItemFuel work.Fuel, price work.Price) (work.Amount, error) {
	cost, err := work.Cost(maxItemFuel, price)
	if err != nil {
		return 0, err
	}
	stake, err := work.MulDiv(cost, stakeFactor, 1)
	return max(stake, p.ChallengeStake), err
}

// accuse takes the stake of a challenger, or of a client that claims non-delivery
// (no leaf), and asks the provider to open the item.
func (t *turn) accuse(account work.Address, position uint64, leaf *work.Leaf) error {
	b := t.b
	if position >= b.N {
		return refused("batch %s has no position %d: it has %d items", b.ID.Short(), position, b.N)
	}
	for _, d := range b.Decided {
		if d.Position == position && (d.Delivery || leaf != nil) {
			return refused("the referee has decided about position %d of batch %s already", position, b.ID.Short())
		}
	}
	stake, err := t.p.AccusationStake(b.MaxItemFuel, b.Price)
	if err != nil {
		return refused("stake: %v", err)
	}
	if err := t.m.pay(t.j, b, Transfer{FromPot: PotAccount, From: account, ToPot: PotStake, To: account, Amount: stake, Reason: ReasonStakeIn}); err != nil {
		return err
	}
	item := DisputeItem{Position: position}
	if leaf != nil {
		item.Claims = []Claim{{Account: account, Leaf: *leaf, Height: t.h}}
	}
	if err := t.clearBatch(false); err != nil {
		return err
	}
	b.Dispute = &Dispute{Challenger: account, Delivery: leaf == nil, Stake: stake, Items: []DisputeItem{item}}
	b.WindowLeft = b.Deadline - t.h - 1 // one less each time, so that challenges end
	t.await(Answering, t.p.OpenBlocks)
	return nil
}

// answer opens and reveals the accused item: the provider's leaf becomes the first
// claim, those of the checkers that executed it follow.
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
	claims := []Claim{{Account: provider, Leaf: leaf, Height: b.CommitHeight}}
	if !b.Dispute.Delivery {
		if drawn := b.claims(o.Position); len(drawn) > 0 {
			claims = append(claims, drawn[1:]...)
		}
	}
	item.Claims = append(claims, item.Claims...)
	return nil
}

// resumeWindow opens the window, or goes on with what was left of it when the
// batch was challenged.
func (t *turn) resumeWindow() error {
	switch {
	case t.b.Dispute.Challenger == "":
		t.await(Window, t.p.WindowBlocks)
	case t.b.WindowLeft < 1:
		return t.windowOver()
	default:
		t.await(Window, t.b.WindowLeft)
	}
	return nil
}

// endStake burns or returns the challenger's stake, if there is one.
func (t *turn) endStake(burn bool) error {
	if burn {
		return t.stakeBurns()
	}
	return t.stakeReturns()
}

// stakeBurns ends a wrong challenger's stake: the referees get their part.
func (t *turn) stakeBurns() error {
	d := t.b.Dispute
	stake := d.Stake
	d.Stake = 0
	from := Transfer{FromPot: PotStake, From: d.Challenger}
	paid, err := t.payReferees(from, stake)
	if err != nil {
		return err
	}
	return t.m.pay(t.j, t.b, from.to(PotBurn, "", stake-paid, ReasonStake))
}

func (t *turn) stakeReturns() error {
	d := t.b.Dispute
	stake := d.Stake
	d.Stake = 0
	return t.m.pay(t.j, t.b, Transfer{FromPot: PotStake, From: d.Challenger}.to(PotAccount, d.Challenger, stake, ReasonReturn))
}

// payReferees gives RefereePermille of what a wrong party loses to the validators
// that voted the verdict, by their power, and says how much that was. Without a
// verdict it is nothing.
func (t *turn) payReferees(from Transfer, lost work.Amount) (paid work.Amount, err error) {
	d := t.b.Dispute
	if d == nil {
		return 0, nil
	}
	var total uint64
	for i := range d.Votes {
		if d.right(&d.Votes[i]) {
			total += uint64(d.Votes[i].Power)
		}
	}
	pot := permille(lost, t.p.RefereePermille)
	for i := range d.Votes {
		v := &d.Votes[i]
		if !d.right(v) {
			continue
		}
		share, err := work.MulDiv(pot, uint64(v.Power), total)
		if err != nil {
			return 0, err
		}
		if err := t.m.pay(t.j, t.b, from.to(PotAccount, v.Validator, share, ReasonReferee)); err != nil {
			return 0, err
		}
		paid += share
	}
	return paid, nil
}
