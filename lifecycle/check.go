package lifecycle

import (
	"github.com/gotong-network/gotong/work"
)

// Openings opens every draw of the batch for its provider, who knows the tree.
func (b *Batch) Openings(nodes []work.Node) ([]ItemOpening, error) {
	l := make([]ItemOpening, len(b.Draws))
	for i := range b.Draws {
		pos := b.Draws[i].Position
		if !b.Draws[i].ByIndex {
			pos = Locate(nodes, b.Draws[i].Point)
		}
		path, err := work.Path(nodes, pos)
		if err != nil {
			return nil, err
		}
		l[i] = ItemOpening{Position: pos, Node: nodes[pos], Path: path}
	}
	return l, nil
}

// Locate is the position of the item whose fuel covers point, len(nodes) if none
// does.
func Locate(nodes []work.Node, point work.Fuel) uint64 {
	for i, n := range nodes {
		if point < n.Fuel {
			return uint64(i)
		}
		point -= n.Fuel
	}
	return uint64(len(nodes))
}

// open checks that the openings lead to the root and cover the drawn points.
func (b *Batch) open(provider work.Address, openings []ItemOpening) error {
	if provider != b.Provider {
		return refused("batch %s belongs to %s", b.ID.Short(), b.Provider)
	}
	if len(openings) != len(b.Draws) {
		return refused("%d openings for %d draws", len(openings), len(b.Draws))
	}
	for i, o := range openings {
		d := &b.Draws[i]
		before, err := b.verify(o)
		if err != nil {
			return err
		}
		if d.ByIndex && o.Position != d.Position {
			return refused("draw %d is position %d, not %d", i, d.Position, o.Position)
		}
		if !d.ByIndex && (d.Point < before || d.Point-before >= o.Node.Fuel) {
			return refused("draw %d: point %d is not in item %d, which has [%d, %d)", i, d.Point, o.Position, before, before+o.Node.Fuel)
		}
		d.Opened, d.Position, d.Node = true, o.Position, o.Node
	}
	return nil
}

// verify checks one opened item against root and bound, and gives the fuel before
// it.
func (b *Batch) verify(o ItemOpening) (work.Fuel, error) {
	before, err := work.VerifyPath(b.Root, b.N, o.Position, o.Node, o.Path)
	if err != nil {
		return 0, refused("opening of position %d: %v", o.Position, err)
	}
	if o.Node.Fuel == 0 {
		return 0, refused("position %d weighs nothing: no item does; that is a fault", o.Position)
	}
	if o.Node.Fuel > b.MaxItemFuel {
		return 0, refused("position %d has %d fuel, over the batch's own bound of %d: that is a fault", o.Position, o.Node.Fuel, b.MaxItemFuel)
	}
	return before, nil
}

// startChecks sets the checkers' deadlines, now that the work of each is known.
func (t *turn) startChecks() error {
	if err := t.beginChecks(0); err != nil {
		return err
	}
	t.awaitChecks()
	return nil
}

// beginChecks fixes deadlines and stakes of the checks from first on, whose items
// are opened.
func (t *turn) beginChecks(first int) error {
	for i := first; i < len(t.b.Checks); i++ {
		c := &t.b.Checks[i]
		c.Deadline = t.checkDeadline(c)
		stake, err := t.p.CheckStake(t.fee(c))
		if err != nil {
			return refused("stake of a check: %v", err)
		}
		c.Stake = max(c.Stake, stake)
		q, err := t.m.S.Party(RoleChecker, c.Checker)
		if err != nil {
			return err
		}
		q.stake(c.Stake)
		if err := t.m.S.SetParty(q); err != nil {
			return err
		}
	}
	return nil
}

// CheckStake is what a checker loses, as far as its bond goes, if a check that earns
// fee is judged wrong.
func (p Params) CheckStake(fee work.Amount) (work.Amount, error) {
	stake, err := work.MulDiv(fee, p.CheckStakeFactor, 1)
	return max(stake, p.CheckerBond), err
}

// awaitChecks waits for the next checker. If none is awaited it goes on, by way of
// the second look if that is still to be drawn and there is a check to look at.
func (t *turn) awaitChecks() {
	if t.b.checksPending() == 0 {
		if t.b.Looked || t.p.LookPermille == 0 || !t.b.checked() {
			t.await(Revealing, t.p.RevealBlocks)
		} else {
			t.await(Looking, t.p.LookDelayBlocks)
		}
		return
	}
	t.b.Phase = Checking
	t.b.Deadline = 0
	for i := range t.b.Checks {
		if c := &t.b.Checks[i]; c.pending() && (t.b.Deadline == 0 || c.Deadline < t.b.Deadline) {
			t.b.Deadline = c.Deadline
		}
	}
}

func (t *turn) checkDeadline(c *Check) int64 {
	var fuel work.Fuel
	for _, pos := range t.b.positions(c) {
		fuel += t.b.nodeAt(pos).Fuel
	}
	return t.h + waitBlocks(t.p.CheckBlocks, fuel, t.p)
}

// waitBlocks is how long executing fuel may take: at least least, and WaitFactor
// times what a slow machine needs.
func waitBlocks(least int64, fuel work.Fuel, p Params) int64 {
	blocks := uint64(fuel) / uint64(p.FuelPerBlock)
	if uint64(fuel)%uint64(p.FuelPerBlock) > 0 {
		blocks++
	}
	return max(least, p.WaitFactor*int64(min(blocks, maxBlocks/uint64(p.WaitFactor)+1)))
}

// positions are the places in the tree that a check covers, each once, in the
// order of its draws.
func (b *Batch) positions(c *Check) []uint64 {
	var l []uint64
	for _, d := range c.Draws {
		if !contains(l, b.Draws[d].Position) {
			l = append(l, b.Draws[d].Position)
		}
	}
	return l
}

func contains(l []uint64, v uint64) bool {
	for _, x := range l {
		if x == v {
			return true
		}
	}
	return false
}

// nodeAt is the opened node of a drawn position.
func (b *Batch) nodeAt(pos uint64) work.Node {
	for i := range b.Draws {
		if b.Draws[i].Opened && b.Draws[i].Position == pos {
			return b.Draws[i].Node
		}
	}
	return work.Node{}
}

func (c *Check) pending() bool { return !c.Missed && c.CommitHeight == 0 }

// checksPending is how many checkers still owe a commit.
func (b *Batch) checksPending() (n int) {
	for i := range b.Checks {
		if b.Checks[i].pending() {
			n++
		}
	}
	return n
}

// checked reports whether any checker has committed.
func (b *Batch) checked() bool {
	for i := range b.Checks {
		if b.Checks[i].CommitHeight != 0 {
			return true
		}
	}
	return false
}

func (b *Batch) commitCheck(checker work.Address, commitment work.Hash, height int64) error {
	c := b.CheckOf(checker)
	switch {
	case c == nil:
		return refused("%s was not drawn for batch %s", checker, b.ID.Short())
	case c.Missed:
		return refused("%s was due until height %d and was replaced", checker, c.Deadline)
	case c.CommitHeight != 0:
		return refused("%s has committed its check already", checker)
	}
	c.Commitment, c.CommitHeight = commitment, height
	return nil
}

// replaceMissing gives the draws of silent checkers to others, a bounded number of
// times.
func (t *turn) replaceMissing() error {
	var places []place
	for i := range t.b.Checks {
		c := &t.b.Checks[i]
		if !c.pending() || c.Deadline > t.h {
			continue
		}
		if err := t.miss(c); err != nil {
			return err
		}
		for _, d := range c.Draws {
			places = append(places, place{d, uint32(i)})
		}
	}
	if t.b.Round < maxRounds && len(places) > 0 {
		t.b.Round++
		value, err := t.m.S.Beacon(t.h)
		if err != nil {
			return err
		}
		first := len(t.b.Checks)
		if err := t.drawCheckers(value, places); err != nil {
			return err
		}
		for i := first; i < len(t.b.Checks); i++ {
			t.b.Checks[i].Look = t.b.Looked // what is missing after the draw of the look is the look
		}
		if err := t.beginChecks(first); err != nil {
			return err
		}
	}
	t.awaitChecks()
	return nil
}

// miss marks a silent checker: it gets no fee.
func (t *turn) miss(c *Check) error {
	c.Missed = true
	q, err := t.m.S.Party(RoleChecker, c.Checker)
	if err != nil {
		return err
	}
	q.Missed++
	return t.m.S.SetParty(q)
}

// reveal binds the provider to its leaves: each must be the one in the opened
// node.
func (b *Batch) reveal(provider work.Address, salt work.Hash, leaves []work.Leaf) error {
	switch {
	case provider != b.Provider:
		return refused("batch %s belongs to %s", b.ID.Short(), b.Provider)
	case b.revealed():
		return refused("batch %s is revealed already", b.ID.Short())
	case len(leaves) != len(b.Draws):
		return refused("%d leaves for %d draws", len(leaves), len(b.Draws))
	case salt.IsZero():
		return refused("the salt is zero: draw a random one per batch")
	}
	for i, l := range leaves {
		d := &b.Draws[i]
		if work.ItemNode(l.Fuel, l.Hash(), work.ItemSalt(salt, b.Job, d.Position)) != d.Node {
			return refused("leaf of position %d is not the committed one", d.Position)
		}
		d.Leaf, d.Revealed = l, true
	}
	b.Salt = salt
	return nil
}

func (b *Batch) revealed() bool { return !b.Salt.IsZero() }

func (b *Batch) revealCheck(chain string, checker work.Address, salt work.Hash, leaves []work.Leaf) error {
	c := b.CheckOf(checker)
	switch {
	case c == nil || c.Missed:
		return refused("%s has no part in batch %s", checker, b.ID.Short())
	case c.Revealed:
		return refused("%s has revealed its check already", checker)
	case len(leaves) != len(c.Draws):
		return refused("%d leaves for %d draws", len(leaves), len(c.Draws))
	case CheckCommitment(chain, b.ID, checker, leaves, salt) != c.Commitment:
		return refused("leaves and salt of %s are not what it committed to", checker)
	}
	c.Leaves, c.Revealed = leaves, true
	return nil
}

// afterReveal compares as soon as everybody has revealed.
func (t *turn) afterReveal() error {
	ready := t.b.revealed()
	for i := range t.b.Checks {
		ready = ready && (t.b.Checks[i].Missed || t.b.Checks[i].Revealed)
	}
	if ready {
		if err := t.compare(); err != nil {
			return err
		}
	}
	return t.done(ready)
}

// compare holds the checkers' leaves against the provider's. A mismatch, or a
// draw with a checker too few, goes to the referee; else the window opens.
func (t *turn) compare() error {
	for i := range t.b.Checks {
		if c := &t.b.Checks[i]; !c.Missed && !c.Revealed {
			if err := t.miss(c); err != nil {
				return err
			}
		}
	}
	items := t.b.contested(int(t.p.Rules().Checkers(t.b.Tier)))
	if len(items) == 0 {
		t.await(Window, t.p.WindowBlocks)
		return nil
	}
	t.b.Dispute = &Dispute{Items: items}
	return t.queue()
}

// contested lists the items that the referee must run: those of draws with fewer
// than k checks, and as many mismatched ones as judge every mismatching checker.
func (b *Batch) contested(k int) []DisputeItem {
	var at []uint64
	for d := range b.Draws {
		if b.liveChecks(uint32(d)) < k && !contains(at, b.Draws[d].Position) {
			at = append(at, b.Draws[d].Position)
		}
	}
	for i := range b.Checks {
		if wrong := b.mismatches(&b.Checks[i]); len(wrong) > 0 && !overlap(at, wrong) {
			at = append(at, wrong[0])
		}
	}
	items := make([]DisputeItem, len(at))
	for i, pos := range at {
		items[i] = DisputeItem{Position: pos, Claims: b.claims(pos)}
	}
	return items
}

// liveChecks is how many checkers revealed a leaf for a draw, second looks not
// counted.
func (b *Batch) liveChecks(draw uint32) (n int) {
	for i := range b.Checks {
		if b.Checks[i].Revealed && !b.Checks[i].Look && b.Checks[i].has(draw) {
			n++
		}
	}
	return n
}

// mismatches are the positions where a checker's leaf is not the provider's.
func (b *Batch) mismatches(c *Check) []uint64 {
	var l []uint64
	for i := range c.Leaves {
		if d := &b.Draws[c.Draws[i]]; c.Leaves[i] != d.Leaf {
			l = append(l, d.Position)
		}
	}
	return l
}

func overlap(a, b []uint64) bool {
	for _, v := range b {
		if contains(a, v) {
			return true
		}
	}
	return false
}

// claims are what the provider and the position's checkers say its leaf is, the
// provider first.
func (b *Batch) claims(pos uint64) []Claim {
	var l []Claim
	for i := range b.Draws {
		if b.Draws[i].Position == pos {
			l = append(l, Claim{Account: b.Provider, Leaf: b.Draws[i].Leaf, Height: b.CommitHeight})
			break
		}
	}
	for i := range b.Checks {
		c := &b.Checks[i]
		for k := range c.Leaves {
			if b.Draws[c.Draws[k]].Position == pos {
				l = append(l, Claim{Account: c.Checker, Leaf: c.Leaves[k], Height: c.CommitHeight})
			}
		}
	}
	return l
}
