package lifecycle

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// String gives the role's name.
func (r Role) String() string {
	switch r {
	case RoleProvider:
		return "provider"
	case RoleChecker:
		return "checker"
	case RoleIndexer:
		return "indexer"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// leastBond is what a party must have bonded to be registered.
func leastBond(r Role, p Params) work.Amount {
	switch r {
	case RoleChecker:
		return p.CheckerBond
	case RoleIndexer:
		return p.IndexerBond
	}
	return p.MinBond
}

// MaxOpenBatches is how many unsettled batches a provider may have.
const MaxOpenBatches = 256

func (q *Party) register(peer sign.PublicKey, bond work.Amount, height int64, p Params) error {
	if q.Role < RoleProvider || q.Role > RoleIndexer {
		return refused("no such role: %s", q.Role)
	}
	if peer.IsZero() {
		return refused("registration of %s without a peer key", q.Account)
	}
	total, err := q.Bond.Add(bond)
	if err != nil {
		return refused("bond: %v", err)
	}
	if total-min(total, q.Unbonding) < leastBond(q.Role, p) {
		return refused("a %s bonds at least %s", q.Role, leastBond(q.Role, p))
	}
	q.beforeChange(height)
	if q.Bond == 0 {
		q.RegisteredHeight = height
	}
	q.Bond, q.Peer = total, peer
	return nil
}

func (q *Party) unbond(amount work.Amount, height int64, p Params) error {
	if amount == 0 {
		return refused("unbonding of nothing")
	}
	if amount > q.Free() {
		return noFunds("%s has %s of its bond free, %s is locked", q.Account, q.Free(), q.Locked)
	}
	q.beforeChange(height)
	q.Unbonding += amount
	q.UnbondHeight = height + p.UnbondBlocks
	return nil
}

// staying is the bond that was not asked back.
func (q *Party) staying() work.Amount { return q.Bond - min(q.Bond, q.Unbonding) }

// beforeChange keeps the weight that q had before what it changes now and changed
// in the block before.
func (q *Party) beforeChange(height int64) {
	if height-q.ChangedHeight >= weightBlocks {
		q.PriorWeight = q.staying()
	}
	q.ChangedHeight = height
}

// weightBlocks is how many blocks a change of a bond waits until draws count it: the
// block of the draw's beacon and the one after it, in which the draw is made.
const weightBlocks = 2

// Weight is the bond that a draw at the end of height counts: what its owner did
// since the draw's beacon could be known is left out, because it could steer the
// draw by a bond of the right size.
func (q *Party) Weight(height int64) work.Amount {
	if height-q.ChangedHeight < weightBlocks {
		return min(q.PriorWeight, q.Bond)
	}
	return q.staying()
}

// lose takes a burned or shared slash out of the bond.
func (q *Party) lose(amount work.Amount) {
	q.Bond -= amount
	q.Locked = min(q.Locked, q.Bond)
	q.Unbonding = min(q.Unbonding, q.Bond)
}

// openCheck gives a checker a part in one batch more. The stake is locked once for
// all of them: else a stranger could lock honest checkers out of a draw by keeping
// batches of his own open.
func (q *Party) openCheck(stake work.Amount) {
	q.Checks++
	q.stake(stake)
}

// stake locks what the dearest of the open checks stakes, as far as the bond goes.
func (q *Party) stake(amount work.Amount) { q.Locked = min(max(q.Locked, amount), q.Bond) }

// closeCheck ends a part in a batch.
func (q *Party) closeCheck() {
	if q.Checks--; q.Checks == 0 {
		q.Locked = 0
	}
}

// lockOpen locks what the unsettled batches need.
func (q *Party) lockOpen() {
	bonds := make([]work.Amount, len(q.Open))
	for i := range q.Open {
		bonds[i] = q.Open[i].Bond
	}
	q.Locked = incentive.OneBond(bonds)
}

// voidOpen says that no batch committed up to height is paid: nothing answers for
// them any more. It gives those that were waiting to be paid.
func (q *Party) voidOpen(height int64) (waiting []work.BatchID) {
	for i := range q.Open {
		if q.Open[i].Cleared {
			waiting = append(waiting, q.Open[i].ID)
		}
	}
	q.VoidBefore, q.Open, q.Locked, q.Pledged = height, nil, 0, 0
	return waiting
}

// closeBatch takes an ended batch out of the unsettled ones. If a slash left less
// than the others need, they are void. It gives those that need no longer wait to
// be settled.
func (q *Party) closeBatch(b *Batch, height int64) (waiting []work.BatchID) {
	for i := range q.Open {
		if q.Open[i].ID == b.ID {
			q.Open = append(q.Open[:i:i], q.Open[i+1:]...)
			break
		}
	}
	q.Pledged -= min(q.Pledged, b.Pledge)
	if q.lockOpen(); q.Locked > q.Bond {
		return q.voidOpen(height)
	}
	return q.payable()
}

// payable are the batches whose windows are over and that no older one holds up.
func (q *Party) payable() (l []work.BatchID) {
	oldest := q.undecided()
	for i := range q.Open {
		if o := &q.Open[i]; o.Cleared && o.Height < oldest {
			l = append(l, o.ID)
		}
	}
	return l
}

// clear notes whether the batch holds up younger ones.
func (q *Party) clear(id work.BatchID, cleared bool) {
	for i := range q.Open {
		if q.Open[i].ID == id {
			q.Open[i].Cleared = cleared
		}
	}
}

// undecided is the commit height of the oldest unsettled batch that may still be
// convicted, the largest height if there is none. A batch is paid only if it is
// older: one bond deters from many false batches only if a conviction comes before
// the others are paid, and whoever is caught can drag out what convicts him.
func (q *Party) undecided() int64 {
	oldest := int64(math.MaxInt64)
	for i := range q.Open {
		if !q.Open[i].Cleared {
			oldest = min(oldest, q.Open[i].Height)
		}
	}
	return oldest
}

// covers reports whether the batch is still one of those that q's bond answers for.
func (q *Party) covers(b *Batch) bool {
	for i := range q.Open {
		if q.Open[i].ID == b.ID {
			return true
		}
	}
	return false
}

// vestingSteps is into how many steps the vesting time is cut: a party has at most
// two tranches more.
const vestingSteps = 16

// vest adds pay that becomes free VestBlocks later, and gives the height.
func (q *Party) vest(amount work.Amount, height int64, p Params) (due int64) {
	step := max(p.VestBlocks/vestingSteps, 1)
	due = (height + p.VestBlocks + step - 1) / step * step
	q.Unvested += amount
	for i := range q.Vesting {
		if q.Vesting[i].Height == due {
			q.Vesting[i].Amount += amount
			return due
		}
	}
	q.Vesting = append(q.Vesting, Tranche{Height: due, Amount: amount})
	slices.SortFunc(q.Vesting, func(a, b Tranche) int { return cmp.Compare(a.Height, b.Height) })
	return due
}

// dropVesting takes amount out of the unvested pay, what vests last first.
func (q *Party) dropVesting(amount work.Amount) {
	q.Unvested -= amount
	for i := len(q.Vesting) - 1; i >= 0 && amount > 0; i-- {
		cut := min(amount, q.Vesting[i].Amount)
		q.Vesting[i].Amount -= cut
		amount -= cut
	}
	q.Vesting = slices.DeleteFunc(q.Vesting, func(t Tranche) bool { return t.Amount == 0 })
}

// vested takes out what is due at height. What is pledged stays, and is due a step
// later.
func (q *Party) vested(height int64, p Params) (free work.Amount, again int64) {
	var kept []Tranche
	for _, t := range q.Vesting {
		if t.Height <= height {
			free += t.Amount
		} else {
			kept = append(kept, t)
		}
	}
	q.Vesting = kept
	q.Unvested -= free
	if held := q.Pledged - min(q.Pledged, q.Unvested); held > 0 {
		free -= held
		p.VestBlocks = max(p.VestBlocks/vestingSteps, 1)
		again = q.vest(held, height, p)
	}
	return free, again
}

// partyDue pays out vested pay and unbonded bond.
func (m Machine) partyDue(k PartyKey) error {
	q, err := m.S.Party(k.Role, k.Account)
	if err != nil {
		return err
	}
	if len(q.Vesting) > 0 && q.Vesting[0].Height <= m.S.Height() {
		if err := m.payVested(q); err != nil {
			return err
		}
	}
	return m.payUnbonded(k, q)
}

func (m Machine) payVested(q *Party) error {
	p, err := m.S.Params()
	if err != nil {
		return err
	}
	free, again := q.vested(m.S.Height(), p)
	if again > 0 {
		if err := m.S.WakeParty(again, q.Role, q.Account); err != nil {
			return err
		}
	}
	if err := m.pay(nil, nil, Transfer{FromPot: PotVesting, From: q.Account, ToPot: PotAccount, To: q.Account, Role: q.Role, Amount: free, Reason: ReasonVested}); err != nil {
		return err
	}
	return m.setParty(q)
}

// payUnbonded returns unbonded bond. What a draw of the same block locked first
// stays until it is free.
func (m Machine) payUnbonded(k PartyKey, q *Party) error {
	if q.Unbonding == 0 || m.S.Height() < q.UnbondHeight {
		return nil
	}
	back := min(q.Unbonding, q.Bond-q.Locked)
	q.Bond -= back
	q.Unbonding = min(q.Unbonding-back, q.Bond)
	if q.Unbonding > 0 {
		p, err := m.S.Params()
		if err != nil {
			return err
		}
		q.UnbondHeight = m.S.Height() + p.UnbondBlocks
		if err := m.S.WakeParty(q.UnbondHeight, k.Role, k.Account); err != nil {
			return err
		}
	}
	if err := m.pay(nil, nil, Transfer{FromPot: PotBond, From: k.Account, ToPot: PotAccount, To: k.Account, Role: k.Role, Amount: back, Reason: ReasonUnbond}); err != nil {
		return err
	}
	return m.setParty(q)
}
