package lifecycle

import (
	"encoding/binary"
	"math/bits"

	"github.com/gotong-network/gotong/work"
)

// maxRounds is how often missing checkers of a batch are replaced; then the
// referee runs what they left.
const maxRounds = 3

// MaxRedraws is how often a batch begins its draw anew because a proposer's turn was
// skipped; then it takes what comes.
const MaxRedraws = 8

// draw fixes the height of the draw, then draws points and checkers from its
// beacon. Both values are those of the block before, because only now it is known
// how that one came about: a value that was decided after a skipped turn draws
// nothing, and the draw begins anew, later each time. Else whoever holds many turns
// in a row could skip until a value suits him.
func (t *turn) draw() error {
	b := t.b
	skipped, err := t.m.S.Skipped(t.h - 1)
	if err != nil {
		return err
	}
	if skipped && b.Redraws < MaxRedraws {
		validators, err := t.m.S.Validators()
		if err != nil {
			return err
		}
		b.DrawHeight = 0
		t.await(Committed, redrawWait(t.p.DrawDelayBlocks, b.Redraws, int64(len(validators))))
		b.Redraws++
		return nil
	}
	value, err := t.m.S.Beacon(t.h - 1)
	if err != nil {
		return err
	}
	if b.DrawHeight == 0 {
		b.DrawHeight = t.h + int64(binary.BigEndian.Uint64(value[:8])%t.p.DrawSpreadBlocks)
		t.await(Committed, b.DrawHeight+1-t.h)
		return nil
	}
	b.Draws = drawPoints(b, value, b.Sample)
	places := make([]place, 0, len(b.Draws))
	for d := range b.Draws {
		for slot := range t.p.Rules().Checkers(b.Tier) {
			places = append(places, place{uint32(d), slot})
		}
	}
	if err := t.drawCheckers(value, places); err != nil {
		return err
	}
	t.await(Opening, t.p.OpenBlocks)
	return nil
}

// redrawWait is how many blocks the next draw waits after so many that were skipped:
// delay and 8, 32, 128, then 256, to be soon out of any row of turns; but no more than
// one and a half rounds of the validators, which leads out of every row as well. It is
// no multiple of their number: where one of few is down, each of its turns is skipped,
// and the same turn would come again.
func redrawWait(delay int64, redraws uint32, validators int64) int64 {
	wait := delay + max(min(int64(8)<<(2*min(redraws, 3)), 256, validators+validators/2), 1)
	if validators > 1 && wait%validators == 0 {
		wait++
	}
	return wait
}

// drawPoints draws m points over the fuel, one in each of m equal strata, or every
// item once if the tier draws them all.
func drawPoints(b *Batch, beacon work.Hash, m uint32) []Draw {
	draws := make([]Draw, m)
	for k := range draws {
		if uint64(m) >= b.N {
			draws[k] = Draw{ByIndex: true, Position: uint64(k)}
			continue
		}
		lo, hi := stratum(b.Root.Fuel, uint64(k), uint64(m)), stratum(b.Root.Fuel, uint64(k)+1, uint64(m))
		draws[k].Point = lo + work.Fuel(below(uint64(hi-lo), work.Sum("gotong/draw/1", beacon[:], b.ID[:], be32(uint32(k)))))
	}
	return draws
}

// stratum is ⌊total × k / m⌋.
func stratum(total work.Fuel, k, m uint64) work.Fuel {
	hi, lo := bits.Mul64(uint64(total), k)
	q, _ := bits.Div64(hi, lo, m)
	return work.Fuel(q)
}

// below maps 128 bits of h evenly onto [0, n): no value is likelier than another
// by more than n in 2^128.
func below(n uint64, h work.Hash) uint64 {
	hi, lo := binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:16])
	top, mid := bits.Mul64(hi, n)
	carry, _ := bits.Mul64(lo, n)
	_, c := bits.Add64(mid, carry, 0)
	return top + c
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// place is one check that is wanted: a draw, and which of its checkers.
type place struct{ draw, slot uint32 }

// candidate is a checker that may be drawn, with its weight.
type candidate struct {
	party  *Party
	weight work.Amount
}

// eligible are the checkers that may check the batch: registered before its
// commit, with the bond of a checker, and owned by none of its parties or its job's
// indexers. How many checks they have open does not count: whoever could fill them
// up would choose who is left.
func (t *turn) eligible(checkers []*Party) []candidate {
	var l []candidate
	for _, q := range checkers {
		w := q.Weight(t.h)
		if q.RegisteredHeight < t.b.CommitHeight && w >= t.p.CheckerBond &&
			q.Account != t.j.Spec.Client && q.Account != t.b.Indexer && !t.j.IndexedBy(q.Account) && q.Account != t.b.Provider {
			l = append(l, candidate{q, w})
		}
	}
	return l
}

// largestPermille is the largest share among candidates, rounded up.
func largestPermille(l []candidate) uint64 {
	var largest, total work.Amount
	for _, c := range l {
		largest, total = max(largest, c.weight), total+c.weight
	}
	if total == 0 {
		return 0
	}
	share, err := work.MulDiv(largest, 1000, uint64(total))
	if err != nil {
		return 1000
	}
	return uint64(share) + 1
}

// drawCheckers finds a checker for each place, weighted by bond, different ones
// for one draw, and locks their stakes. Checkers that have a part in the batch
// already get no more. A place for which nobody is left stays empty.
func (t *turn) drawCheckers(beacon work.Hash, places []place) error {
	all, err := t.m.S.Parties(RoleChecker)
	if err != nil {
		return err
	}
	var free []candidate
	for _, c := range t.eligible(all) {
		if t.b.CheckOf(c.party.Account) == nil {
			free = append(free, c)
		}
	}
	first := len(t.b.Checks)
	for _, pl := range places {
		seed := work.Sum("gotong/checker/1", beacon[:], t.b.ID[:], be32(pl.draw), be32(pl.slot), be32(t.b.Round))
		c := pick(free, t.b.Checks[first:], pl.draw, seed)
		if c == nil {
			continue
		}
		t.b.addCheck(first, c.Account, pl.draw)
	}
	for i := first; i < len(t.b.Checks); i++ {
		c := &t.b.Checks[i]
		q, err := t.m.S.Party(RoleChecker, c.Checker)
		if err != nil {
			return err
		}
		c.Stake = t.p.CheckerBond
		q.openCheck(c.Stake)
		if err := t.m.S.SetParty(q); err != nil {
			return err
		}
	}
	return nil
}

// pick draws one of the candidates that do not check the draw yet, nil if there
// is none.
func pick(free []candidate, drawn []Check, draw uint32, seed work.Hash) *Party {
	var left []candidate
	var total work.Amount
	for _, c := range free {
		if !checksDraw(drawn, c.party.Account, draw) {
			left = append(left, c)
			total += c.weight
		}
	}
	if len(left) == 0 {
		return nil
	}
	at := work.Amount(below(uint64(total), seed))
	for _, c := range left {
		if at < c.weight {
			return c.party
		}
		at -= c.weight
	}
	panic("lifecycle: a point beyond all weights")
}

func checksDraw(checks []Check, account work.Address, draw uint32) bool {
	for i := range checks {
		if checks[i].Checker == account && checks[i].has(draw) {
			return true
		}
	}
	return false
}

func (c *Check) has(draw uint32) bool {
	for _, d := range c.Draws {
		if d == draw {
			return true
		}
	}
	return false
}

// addCheck gives a draw to a checker, in its one check among those from first on.
func (b *Batch) addCheck(first int, checker work.Address, draw uint32) {
	for i := first; i < len(b.Checks); i++ {
		if b.Checks[i].Checker == checker {
			b.Checks[i].Draws = append(b.Checks[i].Draws, draw)
			return
		}
	}
	b.Checks = append(b.Checks, Check{Checker: checker, Draws: []uint32{draw}})
}

// lookSlot is the slot of a draw's second look, behind its checkers'.
const lookSlot = maxSample + 1

// look asks the beacon, once all checks are committed, whether one draw is executed
// once more by a checker that has no part in the batch. The first checkers could
// not know it when they committed, and nothing is revealed yet that the second one
// could copy.
func (t *turn) look() error {
	b := t.b
	b.Looked = true
	value, err := t.m.S.Beacon(t.h)
	if err != nil {
		return err
	}
	if below(1000, work.Sum("gotong/look/1", value[:], b.ID[:])) < t.p.LookPermille {
		draw := uint32(below(uint64(len(b.Draws)), work.Sum("gotong/look/draw/1", value[:], b.ID[:])))
		first := len(b.Checks)
		if err := t.drawCheckers(value, []place{{draw, lookSlot}}); err != nil {
			return err
		}
		for i := first; i < len(b.Checks); i++ {
			b.Checks[i].Look = true
		}
		if err := t.beginChecks(first); err != nil {
			return err
		}
	}
	t.awaitChecks()
	return nil
}

// CheckOf is a checker's part of the batch, nil if it has none.
func (b *Batch) CheckOf(checker work.Address) *Check {
	for i := range b.Checks {
		if b.Checks[i].Checker == checker {
			return &b.Checks[i]
		}
	}
	return nil
}
