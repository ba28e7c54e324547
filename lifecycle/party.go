package lifecycle

import (
	"fmt"

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
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// leastBond is what a party must have bonded to be registered.
func leastBond(r Role, p Params) work.Amount {
	if r == RoleChecker {
		return p.CheckerBond
	}
	return p.MinBond
}

func (q *Party) register(peer sign.PublicKey, bond work.Amount, height int64, p Params) error {
	if q.Role != RoleProvider && q.Role != RoleChecker {
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

// beforeChange keeps the weight that q had before this block.
func (q *Party) beforeChange(height int64) {
	if q.ChangedHeight != height {
		q.ChangedHeight, q.PriorWeight = height, q.staying()
	}
}

// Weight is the bond that a draw at the end of height counts: what its owner did
// in this very block is left out, because whoever proposes a block knows its
// beacon and could steer the draw by a bond of the right size.
func (q *Party) Weight(height int64) work.Amount {
	if q.ChangedHeight == height {
		return min(q.PriorWeight, q.Bond)
	}
	return q.staying()
}

// lose takes a burned or shared slash out of locked bond.
func (q *Party) lose(amount work.Amount) {
	q.Bond -= amount
	q.Locked -= amount
}

// partyDue returns unbonded bond. What a draw of the same block locked first stays
// until it is free.
func (m Machine) partyDue(k PartyKey) error {
	q, err := m.S.Party(k.Role, k.Account)
	if err != nil {
		return err
	}
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
