package trial

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// proposers says whether the attacker proposes the block of a height in a round.
type proposers func(height int64, round int) bool

// drawn by lot: each proposer is the attacker with its share of the power.
func byLot(seed uint64, permille uint64) proposers {
	return func(height int64, round int) bool {
		var e work.Encoder
		e.U64(seed)
		e.U64(uint64(height))
		e.U64(uint64(round))
		h := work.Sum("proposer", e.Bytes())
		return binary.BigEndian.Uint64(h[:8])%1000 < permille
	}
}

// rotating is the weighted round robin of CometBFT: a height's first proposer is
// the rotation's entry of that height, and each skipped round takes the next entry
// without using it up. The first key is the attacker's, with permille of all power.
func rotating(permille int64, others int) proposers {
	powers := []int64{permille * int64(others)}
	for range others {
		powers = append(powers, 1000-permille)
	}
	var total int64
	for _, p := range powers {
		total += p
	}
	priorities := make([]int64, len(powers))
	var order []bool
	return func(height int64, round int) bool {
		for at := int(height) + round; len(order) <= at; {
			best := 0
			for i := range priorities {
				priorities[i] += powers[i]
				if priorities[i] > priorities[best] {
					best = i
				}
			}
			priorities[best] -= total
			order = append(order, best == 0)
		}
		return order[int(height)+round]
	}
}

// adjacent is a rotation of n equal keys of which the attacker's k follow each
// other.
func adjacent(n, k int) proposers {
	return func(height int64, round int) bool { return (int(height)+round)%n < k }
}

// plan is when a batch is drawn, as far as the beacon has told.
type plan struct {
	fix, draw int64 // heights of the values; draw is 0 until it is fixed
	redraws   int
}

// maxRedraws and redrawWait are the rules of the chain, written down once more.
const maxRedraws = 8

func redrawWait(delay int64, redraws, validators int) int64 {
	wait := delay + int64(max(min([]int{8, 32, 128, 256}[min(redraws, 3)], validators*3/2), 1))
	if validators > 1 && wait%int64(validators) == 0 {
		wait++
	}
	return wait
}

// grind makes the attacker skip its blocks until a draw misses its lies and, if it
// knows the proposers to come, until a draw falls on a block of its own.
func grind(w *World, evilProposes proposers, knows bool) {
	plans := map[*Batch]*plan{}
	drawAt := func(at int64, value work.Hash) int64 {
		return at + 1 + int64(binary.BigEndian.Uint64(value[:8])%w.P.DrawSpreadBlocks)
	}
	likes := func(at int64, value work.Hash, round int) bool {
		for b, p := range plans {
			if round > 0 && p.redraws < maxRedraws {
				continue // after a skipped turn this value draws nothing for it
			}
			if b.Provider.Owner != evil || len(b.False) == 0 || b.now == nil {
				continue
			}
			if knows && at == p.fix && !evilProposes(drawAt(at, value), 0) || at == p.draw && b.hit(value) {
				return false
			}
		}
		return true
	}
	w.steer = func(at int64, value work.Hash) (work.Hash, bool) {
		for b := range plans {
			if !slices.Contains(w.open, b) {
				delete(plans, b)
			}
		}
		for _, b := range w.open {
			if plans[b] == nil {
				plans[b] = &plan{fix: b.Committed + w.P.DrawDelayBlocks - 1}
			}
		}
		round := 0
		for ; evilProposes(at, round) && !likes(at, value, round); round++ {
			value = work.Sum("skipped", value[:])
		}
		for _, p := range plans {
			switch {
			case at != p.fix && at != p.draw:
			case round > 0 && p.redraws < maxRedraws:
				p.fix, p.draw = at+redrawWait(w.P.DrawDelayBlocks, p.redraws, len(w.Validators)), 0
				p.redraws++
			case at == p.fix:
				p.draw = drawAt(at, value)
			}
		}
		return value, round > 0
	}
}

// hit reports whether a draw by a beacon would fall on a lie: the points as
// docs/spec says them.
func (b *Batch) hit(beacon work.Hash) bool {
	m := min(uint64(b.now.Sample), b.Items.Len())
	if m == b.Items.Len() {
		return len(b.False) > 0
	}
	var total work.Fuel
	for _, n := range b.Nodes {
		total += n.Fuel
	}
	for k := range m {
		lo, hi := total*work.Fuel(k)/work.Fuel(m), total*work.Fuel(k+1)/work.Fuel(m)
		h := work.Sum("gotong/draw/1", beacon[:], b.ID[:], binary.BigEndian.AppendUint32(nil, uint32(k)))
		top, mid := bits.Mul64(binary.BigEndian.Uint64(h[:8]), uint64(hi-lo))
		carry, _ := bits.Mul64(binary.BigEndian.Uint64(h[8:16]), uint64(hi-lo))
		_, c := bits.Add64(mid, carry, 0)
		if slices.Contains(b.False, lifecycle.Locate(b.Nodes, lo+work.Fuel(top+c))) {
			return true
		}
	}
	return false
}

// grinder is attack 9: whoever proposes blocks skips those whose beacon catches it.
func grinder() (l []Attack) {
	add := func(a Attack) {
		a.ID, a.Most = fmt.Sprintf("9%c", 'a'+len(l)), 5000
		l = append(l, a)
	}
	thrifty := func(w *World, cheat bool, by proposers, knows bool) *Provider {
		p := single(w, work.TierEconomic, 30, 24)
		if cheat {
			p.Compute = share(w, 200)
			grind(w, by, knows)
		}
		return p
	}
	for _, permille := range []uint64{100, 333} {
		add(Attack{Name: fmt.Sprintf("beacon grinder with %d %% of the power fakes 20 %%", (permille+5)/10), Detects: true, Describe: func(w *World, cheat bool) {
			p := thrifty(w, cheat, byLot(w.Seed, permille), false)
			// One batch at a time: to skip because of one draws the others anew too.
			p.When = func(int64) bool { return len(w.open) == 0 }
			if cheat {
				w.alpha = float64(permille) / 1000
			}
		}})
	}
	for _, permille := range []int64{100, 333} {
		add(Attack{Name: fmt.Sprintf("one key with %d %% of the power, commits timed to the known proposers", (permille+5)/10), Describe: func(w *World, cheat bool) {
			by := rotating(permille, 40)
			p := thrifty(w, cheat, by, true)
			w.validators(41)
			p.When = func(h int64) bool { return timed(w.P, by, h, int(permille*8/1000+1)) }
		}})
	}
	add(Attack{Name: "worker commits the same items twice under different roots", Describe: func(w *World, cheat bool) {
		p := single(w, work.TierEconomic, 20, 24)
		if !cheat {
			return
		}
		p.Compute = share(w, 200)
		salted := 0
		w.EachBlock = func(w *World) {
			for _, b := range w.open {
				if b.Committed != w.height-1 {
					continue
				}
				salted++
				if c := w.commit(p, p.Job, b.Items); c != nil {
					w.fault("the same items were committed twice by one provider")
				}
			}
			if p.Left == 0 {
				w.EachBlock = nil
			}
		}
	}})
	return l
}

// timed reports whether a commit at h would have at least n of its possible draws
// at blocks of the attacker's.
func timed(p lifecycle.Params, by proposers, h int64, n int) bool {
	for d := range int64(p.DrawSpreadBlocks) {
		if by(h+p.DrawDelayBlocks+d, 0) {
			n--
		}
	}
	return n <= 0
}
