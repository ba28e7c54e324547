package sim

import (
	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/work"
)

// seat draws the checkers of a batch: k different ones for each of m draws, by bond.
// It reports whether any of them is not simply honest.
func (k *worker) seat(m uint32, checkers uint64, rnd *rng) (odd bool) {
	k.seats = k.seats[:0]
	for d := range m {
		for slot := range checkers {
			var c uint32
			for try := 0; ; try++ {
				c = k.w.draw.pick(rnd)
				if !k.w.usable[c] && try < 64 {
					continue
				}
				if slot == 0 || try >= 64 || !k.seated(c, d) {
					break
				}
			}
			k.seats = append(k.seats, seat{checker: c, draw: d})
			odd = odd || k.w.checkers[c].kind != CheckerHonest
		}
	}
	if rnd.below(1000) < k.w.rules.LookPermille {
		d := uint32(rnd.below(uint64(m)))
		c := k.another(rnd)
		k.seats = append(k.seats, seat{checker: c, draw: d})
		k.day.Looks++
		odd = odd || k.w.checkers[c].kind != CheckerHonest
	}
	return odd
}

// another draws a checker that has no seat yet, if it can.
func (k *worker) another(rnd *rng) (c uint32) {
	for range 64 {
		c = k.w.draw.pick(rnd)
		if k.w.usable[c] && !k.sits(c, len(k.seats)) {
			break
		}
	}
	return c
}

// sits reports whether a checker is among the first n seats.
func (k *worker) sits(c uint32, n int) bool {
	for _, s := range k.seats[:n] {
		if s.checker == c {
			return true
		}
	}
	return false
}

func (k *worker) seated(c, draw uint32) bool {
	for i := len(k.seats) - 1; i >= 0 && k.seats[i].draw == draw; i-- {
		if k.seats[i].checker == c {
			return true
		}
	}
	return false
}

// checksPass pays the checks of an honest batch with honest checkers, and the second
// look if one is drawn.
func (k *worker) checksPass(p *provider, q *quote, m uint32) {
	var paid work.Amount
	for _, s := range k.seats {
		k.fees[s.checker] += q.fee
		paid += q.fee
	}
	k.checked(p, q, paid, uint64(len(k.seats)), k.distinct(), m)
}

// checked counts checks and charges their fees.
func (k *worker) checked(p *provider, q *quote, paid work.Amount, done, reports uint64, m uint32) {
	k.charge(p, paid)
	if p.kind == SelfDealer {
		k.day.Kinds[p.kind].Cost += paid
	}
	k.day.CheckFees += paid
	k.day.Checks += done
	k.day.CheckUnits += done * uint64(q.itemFuel) / work.FuelPerUnit
	k.say(msgOpen, 1, uint64(m)*k.w.sizes.opening(q.items))
	k.say(msgReveal, 1, uint64(m)*k.w.sizes.leaf)
	k.say(msgCheck, reports, 0)
	k.say(msgCheckReveal, reports, done*k.w.sizes.leaf)
}

// distinct is how many checkers sit over the batch: each sends one report.
func (k *worker) distinct() (n uint64) {
	for i, s := range k.seats {
		n += b2u(!k.sits(s.checker, i))
	}
	return n
}

// hear lets the checkers of a batch report, with what is wrong about any of them.
// It gives the dispute that follows if any contradicts the provider, or if the
// provider's own friend does (accused), nil if none does.
func (k *worker) hear(p *provider, q *quote, m uint32, phi uint64, accused bool, rnd *rng) *dispute {
	k.disputed = append(k.disputed[:0], make([]bool, m)...)
	if phi == 0 {
		k.fake = append(k.fake[:0], k.disputed...)
	}
	k.replaceAbsent(rnd)
	d := dispute{q: q, finder: nobody}
	runs := k.contest(p) // items that the referee executes
	if runs == 0 && accused {
		k.disputed[0], d.by, d.finder, runs = true, bySaboteur, saboteur, 1
	}
	for _, s := range k.seats {
		d.guilty = d.guilty || k.disputed[s.draw] && k.fake[s.draw]
		if d.finder == nobody && k.disputed[s.draw] && k.mismatch(p, s) && k.fake[s.draw] && k.w.checkers[s.checker].kind != CheckerLazy {
			d.finder = int(s.checker)
		}
	}
	d.contradicted = k.contradicted(p)
	paid, done, reports := k.payChecks(p, q)
	k.checked(p, q, paid, done, reports, m)
	if runs == 0 {
		return nil
	}
	k.day.FalseDisputes += b2u(!d.guilty)
	open := d
	k.refer(&open, runs*q.checkBlocks)
	return &open
}

// mismatch reports whether a seat's checker says other than the provider.
func (k *worker) mismatch(p *provider, s seat) bool {
	switch k.w.checkers[s.checker].kind {
	case CheckerLazy:
		return true
	case CheckerRing:
		return k.fake[s.draw] && !p.ringed()
	}
	return k.fake[s.draw]
}

// ringed reports whether the ring's checkers confirm what p fakes.
func (p *provider) ringed() bool { return p.kind == Ring || p.kind == Freezer }

// contest picks the draws that the referee executes, as few as judge every checker
// that mismatches, and says how many they are.
func (k *worker) contest(p *provider) (n uint64) {
	for _, s := range k.seats {
		if !k.mismatch(p, s) || k.judged(p, s.checker) {
			continue
		}
		k.disputed[s.draw] = true
		n++
	}
	return n
}

// judged reports whether a draw at which the checker mismatches is disputed.
func (k *worker) judged(p *provider, c uint32) bool {
	for _, s := range k.seats {
		if s.checker == c && k.disputed[s.draw] && k.mismatch(p, s) {
			return true
		}
	}
	return false
}

// contradicted reports whether two checkers stand by a lie before the referee.
func (k *worker) contradicted(p *provider) bool {
	if !p.ringed() {
		return false
	}
	for i, s := range k.seats {
		if !k.disputed[s.draw] || !k.fake[s.draw] || k.mismatch(p, s) {
			continue
		}
		for _, o := range k.seats[i+1:] {
			if o.draw == s.draw && o.checker != s.checker && !k.mismatch(p, o) {
				return true
			}
		}
	}
	return false
}

// replaceAbsent gives the seats of checkers that miss their deadline to others.
func (k *worker) replaceAbsent(rnd *rng) {
	for i := range k.seats {
		c := k.seats[i].checker
		if k.w.checkers[c].kind != CheckerAbsent || k.sits(c, i) || !rnd.hit(absentPermille) {
			continue
		}
		k.day.Missed++
		for j := i; j < len(k.seats); j++ {
			if k.seats[j].checker == c {
				k.seats[j].checker = k.another(rnd)
			}
		}
	}
}

// payChecks pays who reported what the referee, if asked, confirms; the others lose
// their stakes. It gives the fees, the checks done, and the reports.
func (k *worker) payChecks(p *provider, q *quote) (paid work.Amount, done, reports uint64) {
	for i, s := range k.seats {
		first := !k.sits(s.checker, i)
		reports += b2u(first)
		kind := k.w.checkers[s.checker].kind
		lied := kind == CheckerRing && p.ringed() && k.lied(s.checker)
		if (lied || kind == CheckerLazy) && first {
			k.losses[s.checker] += must(k.w.cfg.Params.CheckStake(q.fee * k.seatsOf(s.checker)))
		}
		done += b2u(kind != CheckerLazy)
		if !lied && kind != CheckerLazy {
			k.fees[s.checker] += q.fee
			paid += q.fee
		}
	}
	return paid, done, reports
}

// seatsOf is how many draws fell to a checker.
func (k *worker) seatsOf(c uint32) (n work.Amount) {
	for _, s := range k.seats {
		n += work.Amount(b2u(s.checker == c))
	}
	return n
}

// lied reports whether a checker confirmed a fake that came before the referee.
func (k *worker) lied(c uint32) bool {
	for _, s := range k.seats {
		if s.checker == c && k.fake[s.draw] && k.disputed[s.draw] {
			return true
		}
	}
	return false
}

// odds is the closed form of incentive for a batch's being caught, in parts of 1e9.
// For the ring, ρ lies between two permilles: between their odds lies the right one.
func (w *world) odds(kind Kind, phi, m, k uint64) uint64 {
	miss := func(rho uint64) uint64 {
		v := incentive.Miss(phi*(incentive.One/1000), m, k, rho)
		if kind != Ring && kind != Freezer || w.rules.LookPermille == 0 {
			return v
		}
		return w.looked(v, phi, k, rho)
	}
	var free uint64
	switch kind {
	case Ring, Freezer:
		rho := w.ringShare / 1_000_000
		lo, hi := miss(rho), miss(min(rho+1, 1000))
		free = lo + must64(hi-lo, w.ringShare%1_000_000, 1_000_000)
	case Grinder:
		free = incentive.Rules{RerollPermille: grinderPermille}.Evade(miss(0))
	default:
		free = miss(0)
	}
	return (incentive.One - free) / (incentive.One / 1_000_000_000)
}

// looked is the chance to go free of a ring under second looks: who was missed so
// far has a fake among the drawn items with chance φρ^k/(1−φ+φρ^k) each, and the
// look is at one of them, by a checker that is the ring's with chance ρ.
func (w *world) looked(miss, phi, k, rho uint64) uint64 {
	shielded := phi * (incentive.One / 1000)
	for range k {
		shielded = must64(shielded, rho, 1000)
	}
	open := incentive.One - phi*(incentive.One/1000) + shielded
	if open == 0 { // nobody goes unseen
		return miss
	}
	caught := must64(must64(incentive.One, shielded, open), (1000-rho)*w.rules.LookPermille, 1_000_000)
	return must64(miss, incentive.One-caught, incentive.One)
}

func must64(a, num, den uint64) uint64 { return uint64(must(work.MulDiv(work.Amount(a), num, den))) }

// oddsBook keeps odds by kind, draws and checkers, for a day.
type oddsBook struct {
	known map[[4]uint64]uint64
}

func (b *oddsBook) get(w *world, kind Kind, phi uint64, m uint32, k uint64) uint64 {
	name := [4]uint64{uint64(kind), phi, uint64(m), k}
	v, ok := b.known[name]
	if !ok {
		if b.known == nil {
			b.known = map[[4]uint64]uint64{}
		}
		v = w.odds(kind, phi, uint64(m), k)
		b.known[name] = v
	}
	return v
}
