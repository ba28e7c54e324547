package sim

import (
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// worker plays cells, one at a time. What it counts is added up at the end of the
// tick, in whole numbers, so that it does not matter which worker played what.
type worker struct {
	w      *world
	quotes quoteBook
	odds   oddsBook
	fees   []work.Amount // to each checker, of this tick: fees and bounties
	losses []work.Amount // stakes that each checker lost in this tick
	day    Tally
	seats  []seat // of the batch being judged
	fake   []bool // by draw, of the same
	market scratch

	disputed []bool // by draw, of the same

	program uint8      // that the batches being played run
	opened  []*dispute // in this tick

	batchesNow uint64 // of this tick

	fromClients, toClients, toPool, toWatchers, toSaboteurs work.Amount // of this tick
}

// seat is one check of one draw.
type seat struct {
	checker uint32
	draw    uint32
}

// commit plays the batches that a provider makes of grains of a job in this tick:
// as many full ones as there are, and a last one of the rest.
func (k *worker) commit(p *provider, id uint32, kind, tier uint8, grains uint64) {
	rnd := stream(k.w.cfg.Seed, forBatches, uint64(id), uint64(k.w.tick)<<20|uint64(p.granted))
	p.granted += uint32(grains)
	size := uint64(grainsPerBatch)
	if p.scams() {
		size = 1 // the more at a time the better, it thinks
	}
	name := key{class: p.class, kind: kind, tier: tier, price: p.price}
	name.grains = uint8(size)
	k.batches(p, id, name, grains/size, &rnd)
	if rest := grains % size; rest > 0 {
		name.grains = uint8(rest)
		k.batches(p, id, name, 1, &rnd)
	}
}

func (p *provider) scams() bool { return p.kind == ExitScam && p.settled >= scamAfter }

// phi is the share of fuel that p fakes now, in permille.
func (p *provider) phi() uint64 {
	if p.kind == ExitScam && !p.scams() {
		return 0
	}
	return fakes[p.kind]
}

// batches plays n batches alike, one after the other. What an honest provider's are
// paid is added up before it moves; a cheat's move one by one, because a conviction
// takes those before it along.
func (k *worker) batches(p *provider, id uint32, name key, n uint64, rnd *rng) {
	if n == 0 {
		return
	}
	q := k.quotes.get(k.w, name)
	var passed uint64
	var pledges work.Amount
	for range n {
		if p.out {
			break
		}
		if k.w.cfg.each {
			q = k.w.newQuote(name)
		}
		pledge, d, ok := k.batch(p, q, passed, rnd)
		switch {
		case d != nil: // those before it do not wait for it
			k.pass(p, name, q, passed, pledges)
			passed, pledges = 0, 0
			d.pledge = pledge
			k.open(p, id, d)
		case ok:
			passed, pledges = passed+1, pledges+pledge
		}
		if k.w.cfg.each || p.phi() > 0 {
			k.pass(p, name, q, passed, pledges)
			passed, pledges = 0, 0
		}
	}
	k.pass(p, name, q, passed, pledges)
}

// pass keeps n batches until their windows have passed; their pay is locked.
func (k *worker) pass(p *provider, name key, q *quote, n uint64, pledges work.Amount) {
	if n > 0 {
		p.last = name
		k.put(p.bucket(), p, q, n, pledges, uint64(k.w.tick))
	}
}

// put adds n batches of a tick to d.
func (k *worker) put(d *pending, p *provider, q *quote, n uint64, pledges work.Amount, tick uint64) {
	a := work.Amount(n)
	d.batches += n
	d.ticks += n * tick
	d.pay += a * q.pay
	d.free += a * q.free
	d.vest += a * q.vest
	d.bond += a * q.mintBond
	d.mint += a * q.mint
	d.val += a * q.val
	d.feeBurn += a * q.feeBurn
	d.blocks += n * q.payBlocks
	d.pledged += pledges
	d.largest = max(d.largest, q.bond)
	k.charge(p, a*q.pay)
}

// charge takes money from whoever is the client.
func (k *worker) charge(p *provider, a work.Amount) {
	if p.kind == SelfDealer || p.kind == Freezer {
		p.wallet -= a
	} else {
		k.fromClients += a
	}
}

// batch plays one batch from its commit to the end of its window, behind some more
// of this tick that were not put anywhere yet. It gives what it pledges, and the
// dispute about it if there is one; it is not ok if it ended at once.
func (k *worker) batch(p *provider, q *quote, more uint64, rnd *rng) (pledge work.Amount, d *dispute, ok bool) {
	t := &k.day.Kinds[p.kind]
	if !p.lock(q.bond, more) {
		k.day.Refused++
		return 0, nil, false
	}
	m, pledge := q.draws(k.w.rules, p.unvested-min(p.unvested, p.pledged))
	p.pledged += pledge
	phi := p.phi()
	k.day.Batches++
	k.batchesNow++
	k.day.Items += q.items
	k.day.Units += uint64(q.fuel) / work.FuelPerUnit
	k.day.Draws += uint64(m)
	t.Batches++
	if p.kind != SelfDealer {
		t.Cost += permille(mustCost(q.fuel, p.lo), costPermille*(1000-phi)/1000)
	}
	k.say(msgCommit, 1, 0)
	if phi > 0 {
		d, ok = k.cheat(p, q, m, pledge, phi, rnd)
		return pledge, d, ok
	}
	if odd := k.seat(m, q.checkers, rnd); odd {
		d = k.hear(p, q, m, 0, false, rnd) // whoever contradicts it is wrong
	} else {
		k.checksPass(p, q, m)
	}
	if d == nil {
		d = k.accuse(p, q, 0, rnd)
	}
	return pledge, d, true
}

// costPermille is what work costs its provider, as a share of its lowest price:
// energy and wear.
const costPermille = 600

// lock is the machine's rule of one bond: it covers the largest open batch. more
// are open beside those that p knows.
func (p *provider) lock(bond work.Amount, more uint64) bool {
	return max(bond, p.largest()) <= p.bond && p.open()+more < lifecycle.MaxOpenBatches
}

// cheat plays a batch with fakes in it.
func (k *worker) cheat(p *provider, q *quote, m uint32, pledge work.Amount, phi uint64, rnd *rng) (d *dispute, ok bool) {
	t := &k.day.Kinds[p.kind]
	k.seat(m, q.checkers, rnd)
	for rolls := 0; p.kind == Grinder && rolls < lifecycle.MaxRedraws && k.rollFakes(m, phi, rnd) > 0 && rnd.hit(grinderPermille); rolls++ {
		k.day.SkippedBlocks++
		k.seat(m, q.checkers, rnd)
	}
	if p.kind != Grinder {
		k.rollFakes(m, phi, rnd)
	}
	t.Faked++
	odds := k.odds.get(k.w, p.kind, phi, m, q.checkers)
	t.ExpectE9 += odds
	t.VarianceE9 += odds * (1_000_000_000 - odds) / 1_000_000_000
	if p.kind == Withholder && k.anyFake() {
		t.Caught++
		k.day.Silences++
		k.day.Void++
		k.slash(p, q, pledge, nobody, false)
		return nil, false
	}
	d = k.hear(p, q, m, phi, false, rnd)
	wrong := wrongItems(q.items, phi, rnd)
	switch {
	case d != nil && d.guilty:
		t.Caught++
		return d, true
	case d == nil:
		d = k.accuse(p, q, phi, rnd)
	}
	if d != nil {
		d.wrong = wrong
	} else {
		p.bucket().wrong += wrong
	}
	return d, true
}

// wrongItems is how many items a cheat fakes, rounded at random.
func wrongItems(items, phi uint64, rnd *rng) uint64 {
	n := items * phi
	return n/1000 + b2u(rnd.below(1000) < n%1000)
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// rollFakes says which drawn items are fakes, and how many.
func (k *worker) rollFakes(m uint32, phi uint64, rnd *rng) (n int) {
	k.fake = k.fake[:0]
	for range m {
		f := rnd.hit(phi)
		k.fake = append(k.fake, f)
		if f {
			n++
		}
	}
	return n
}

func (k *worker) anyFake() bool {
	for _, f := range k.fake {
		if f {
			return true
		}
	}
	return false
}

// Finders of a fault that are no checkers. Nobody finds one by executing if the
// provider was silent, or only a guess contradicted it.
const (
	nobody   = -1
	watcher  = -2
	saboteur = -3 // who accuses himself
)

// convict slashes a provider whose result was wrong: as a first time, or, within
// ConvictionBlocks of another conviction, for good.
func (k *worker) convict(p *provider, q *quote, pledge work.Amount, finder int) {
	k.day.Convictions++
	last := int64(k.w.tick-int(p.convictedAt)) * blocksPerTick
	if p.convictedAt < 0 || last > k.w.cfg.Params.ConvictionBlocks {
		k.slash(p, q, pledge, finder, true)
		return
	}
	k.day.SecondConvictions++
	p.convictions++
	k.lose(p, p.bond, p.unvested, finder, true)
	k.voidOpen(p)
	p.out, p.online, p.room = true, false, 0
	p.rejoin = int32(k.w.tick + awayTicks)
	k.day.Leavers++
}

// slash takes what answers for one batch.
func (k *worker) slash(p *provider, q *quote, pledge work.Amount, finder int, judged bool) {
	p.convictions++
	k.lose(p, min(q.bond, p.bond), min(pledge, p.unvested), finder, judged)
	p.pledged -= min(pledge, p.pledged)
	p.convictedAt = int32(k.w.tick)
	k.cover(p)
}

// cover voids the open batches for which what is left of a bond answers no more.
func (k *worker) cover(p *provider) {
	if p.largest() > p.bond {
		k.voidOpen(p)
	}
}

// lose takes bond and unvested pay from a provider and shares the bond as the
// machine does: finder, client, referees, fire.
func (k *worker) lose(p *provider, bond, unvested work.Amount, finder int, judged bool) {
	rules := &k.w.cfg.Params
	damages := permille(bond, rules.ClientPermille)
	burn := bond - damages
	if finder != nobody {
		bounty := permille(bond, rules.FinderPermille)
		burn -= bounty
		switch finder {
		case watcher:
			k.toWatchers += bounty
			k.day.WatchEarned += bounty
		case saboteur:
			k.toSaboteurs += bounty
		default:
			k.fees[finder] += bounty
		}
		k.day.Bounties += bounty
	}
	if judged {
		ref := permille(bond, rules.RefereePermille)
		burn -= ref
		k.toPool += ref
		k.day.Referees += ref
	}
	p.bond -= bond
	p.dropVesting(unvested, k.w.step)
	if p.kind == Freezer { // its own client
		k.toSaboteurs += damages
	} else {
		k.toClients += damages
	}
	k.day.Damages += damages
	k.day.SlashBurn += burn + unvested
	k.day.Kinds[p.kind].Lost += bond + unvested
}

// voidOpen gives the pay of unsettled batches back. Those before the referee are
// void when it has spoken.
func (k *worker) voidOpen(p *provider) {
	all := p.pending
	for d := p.first; d != nil; d = d.next {
		all.add(&d.after)
		d.after = pending{}
	}
	k.day.Void += all.batches
	if p.kind == SelfDealer {
		p.wallet += all.pay
	} else {
		k.toClients += all.pay
	}
	p.pending, p.pledged = pending{}, 0
	p.first, p.newest, p.frozen = nil, nil, nil
	p.voids++
}

// settle pays what earlier batches earned that no dispute holds up.
func (k *worker) settle(p *provider) {
	d := &p.pending
	if d.batches == 0 {
		return
	}
	p.pledged -= min(d.pledged, p.pledged)
	if late := int64(d.batches)*int64(k.w.tick-1) - int64(d.ticks); late > 0 {
		k.day.HeldTicks += uint64(late)
		d.blocks += uint64(late) * blocksPerTick
	}
	p.wallet += d.free
	p.bond += d.bond
	p.vest(d.vest, k.w.step)
	p.settled += uint32(d.batches)
	k.toPool += d.val
	k.day.Settled += d.batches
	k.day.WrongItems += d.wrong
	k.day.Pay += d.pay
	k.day.PayBlocks += d.blocks
	k.day.FeeBurn += d.feeBurn
	k.day.Minted += d.mint
	k.day.Validators += d.val
	k.day.Kinds[p.kind].Income += d.free + d.vest + d.bond
	k.day.Kinds[p.kind].Settled += d.batches
	if p.kind == SelfDealer { // it paid all of this itself
		k.day.Kinds[p.kind].Cost += d.pay
	}
	*d = pending{}
}

// vest adds pay that becomes free when vestSteps steps have passed.
func (p *provider) vest(a work.Amount, step int64) {
	p.unvested += a
	p.tranches[(step+vestSteps+1)%int64(len(p.tranches))] += a
}

// release frees the tranche of a step.
func (p *provider) release(step int64) {
	t := &p.tranches[step%int64(len(p.tranches))]
	p.wallet += *t
	p.unvested -= *t
	*t = 0
}

// dropVesting takes unvested pay, what vests last first.
func (p *provider) dropVesting(a work.Amount, step int64) {
	p.unvested -= a
	n := int64(len(p.tranches))
	for back := int64(0); back < n && a > 0; back++ {
		t := &p.tranches[(step+vestSteps+1-back+n)%n]
		cut := min(a, *t)
		*t -= cut
		a -= cut
	}
}
