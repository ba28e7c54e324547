package sim

import (
	"slices"

	"github.com/gotong-network/gotong/work"
)

// accuser is who brought a batch before the referee.
type accuser uint8

const (
	byChecker  accuser = iota
	byWatcher          // executes an item of a batch in its window, and is right
	bySpammer          // challenges honest batches with lies
	byVulture          // the same, if a provider has just gone dark
	byClient           // claims an output
	bySaboteur         // accuses a lie of its own ring
	accusers
)

// How often a batch in its window is accused, beside spam. Assumptions, as costs are.
const (
	watchE9         = 1_000_000 // a stranger executes one of its items, in 1e-9
	wrongClaimE9    = 20_000    // a client claims an output that it could have, in 1e-9
	keepPermille    = 200       // a keeper keeps the outputs
	claimPermille   = 950       // and its client claims one
	vulturePermille = 50        // somebody challenges the last batch of who went dark
	darkPermille    = 700       // and that one is not back in time to answer
)

// accuse says who accuses a batch in its window, and gives the dispute that follows;
// nil if nobody does. phi is the share of its fuel that is faked.
func (k *worker) accuse(p *provider, q *quote, phi uint64, rnd *rng) *dispute {
	if p.kind == SelfDealer || p.kind == Freezer {
		return nil
	}
	if p.kind == Keeper && rnd.hit(keepPermille) {
		k.day.Kept++
		if rnd.hit(claimPermille) {
			return k.claim(q, true)
		}
		return nil
	}
	at, spam := rnd.below(1_000_000_000), k.w.court.spam
	switch {
	case at < watchE9:
		return k.watch(p, q, phi, rnd)
	case at < watchE9+wrongClaimE9:
		return k.claim(q, false)
	case at < watchE9+wrongClaimE9+spam && phi == 0:
		return k.challenge(q, bySpammer)
	}
	return nil
}

// watch lets a stranger execute one item of a batch: if it is a fake, he challenges.
func (k *worker) watch(p *provider, q *quote, phi uint64, rnd *rng) *dispute {
	k.day.Watched++
	k.day.WatchCost += permille(mustCost(q.itemFuel, p.lo), costPermille)
	if !rnd.hit(phi) {
		return nil
	}
	d := k.challenge(q, byWatcher)
	d.finder, d.guilty = watcher, true
	k.day.WatchFound++
	k.day.FalseDisputes--
	return d
}

// challenge brings one item before the referee: the provider opens it, the
// validators execute it.
func (k *worker) challenge(q *quote, by accuser) *dispute {
	d := &dispute{q: q, by: by, finder: nobody}
	k.day.Challenges++
	k.day.FalseDisputes++
	k.say(msgChallenge, 1, 0)
	k.say(msgAnswer, 1, k.w.sizes.opening(q.items))
	k.refer(d, q.checkBlocks)
	return d
}

// claim brings an output before the referee, which tries to fetch it.
func (k *worker) claim(q *quote, right bool) *dispute {
	d := &dispute{q: q, by: byClient, finder: nobody, undelivered: right}
	k.day.Claims++
	k.day.FalseDisputes += b2u(!right)
	k.say(msgClaim, 1, 0)
	k.say(msgAnswer, 1, k.w.sizes.opening(q.items))
	k.refer(d, 1)
	return d
}

// preyOn challenges the last batch of a provider that has just gone dark. If it is
// not back in time it is slashed for its silence, and the stake returns.
func (k *worker) preyOn(p *provider, id uint32, rnd *rng) {
	k.day.Vultures++
	q := k.quotes.get(k.w, p.last)
	if rnd.hit(darkPermille) {
		k.day.VultureHits++
		k.day.Challenges++
		k.say(msgChallenge, 1, 0)
		k.silence(p, q)
		return
	}
	if p.phi() > 0 {
		return // its leaves may not be true: he leaves it
	}
	pledge := k.takeBack(p, q)
	d := k.challenge(q, byVulture)
	d.pledge = pledge
	k.open(p, id, d)
}

// takeBack takes the last batch that p committed out of those that have passed.
func (k *worker) takeBack(p *provider, q *quote) (pledge work.Amount) {
	b := p.bucket()
	_, pledge = q.draws(k.w.rules, p.unvested)
	pledge = min(pledge, b.pledged)
	k.put(b, p, q, ^uint64(0), -pledge, uint64(k.w.tick)) // minus one: wraps as the sums do
	return pledge
}

// endow gives money to those who accuse: enough for their stakes.
func (c *court) endow(cfg *Config) {
	days, thousands := work.Amount(cfg.Days), work.Amount(cfg.Providers/1000+1)
	c.purses[byWatcher] = (days + 10) * thousands * 100 * work.UgtgPerGtg
	c.purses[bySpammer] = days * thousands * work.Amount(cfg.Spam) * 20 * work.UgtgPerGtg
	c.purses[byVulture] = days * thousands * 100 * work.UgtgPerGtg
	c.purses[bySaboteur] = days * work.Amount(cfg.Freeze) * 20 * work.UgtgPerGtg
	c.endowed = c.purses[bySaboteur]
}

// money is all that the court and those who accuse have.
func (c *court) money() work.Amount {
	sum := c.held
	for _, v := range c.purses {
		sum += v
	}
	for _, p := range c.names {
		sum += p.wallet + p.bond + p.pending.pay
	}
	return sum
}

// freezeCost is what the saboteurs have lost. Stakes of disputes that have not ended
// are not lost: they are right.
func (c *court) freezeCost() work.Amount {
	left := c.purses[bySaboteur]
	for _, d := range append(slices.Clone(c.frozen), c.queue...) {
		if d.by == bySaboteur {
			left += d.q.stake
		}
	}
	for _, p := range c.names {
		left += p.wallet + p.bond
	}
	return c.endowed - min(c.endowed, left)
}

// pot is where an accuser's stake comes from; nil for who stakes nothing here.
func (w *world) pot(by accuser) *work.Amount {
	switch by {
	case byChecker:
		return nil
	case byClient:
		return &w.clients
	}
	return &w.court.purses[by]
}

// takeStake takes the stake of a dispute's accuser, if he has it.
func (w *world) takeStake(d *dispute) bool {
	from := w.pot(d.by)
	switch {
	case from == nil:
		return true
	case *from < d.q.stake:
		return false
	}
	*from -= d.q.stake
	w.court.held += d.q.stake
	return true
}

// endStake returns an accuser's stake, or burns it less the referees' part.
func (w *world) endStake(d *dispute) {
	to := w.pot(d.by)
	if to == nil {
		return
	}
	w.court.held -= d.q.stake
	if d.guilty || d.undelivered {
		*to += d.q.stake
		return
	}
	t := &w.workers[0].day
	ref := permille(d.q.stake, w.cfg.Params.RefereePermille)
	w.pool += ref
	t.Referees += ref
	t.SlashBurn += d.q.stake - ref
	t.StakesLost[d.by] += d.q.stake
}

// expectSpam spreads the spammers' challenges of the next hour over its batches,
// taking it for as many as there were in this one.
func (w *world) expectSpam() {
	var batches uint64
	for _, k := range w.workers {
		batches += k.batchesNow
		k.batchesNow = 0
	}
	wanted := uint64(w.cfg.Spam) * uint64(w.cfg.Providers) * 1_000_000 / ticksPerDay
	w.court.spam = min(wanted/max(batches, 1), 900_000_000)
}

// Programs that jobs run, in the order of how many do: the n-th one's share falls
// with 1/n.
const (
	programs   = 64
	ownProgram = programs - 1 // of those who pay themselves
)

// programCuts are sums of 1/n, in millionths.
var programCuts = func() (c [programs]uint64) {
	sum := uint64(0)
	for i := range c {
		sum += 1_000_000 / uint64(i+1)
		c[i] = sum
	}
	return c
}()

func pickProgram(rnd *rng) uint8 {
	at := rnd.below(programCuts[programs-1])
	i, _ := slices.BinarySearch(programCuts[:], at+1)
	return uint8(i)
}

// trySuspending lets the ring try to have programs suspended: under a new name it
// commits a batch of one item, a lie, in the tier with two checkers. If both are the
// ring's it challenges itself with the truth, and they contradict the referee.
func (w *world) trySuspending() {
	c, p, k := &w.court, &w.cfg.Params, w.workers[0]
	hour := uint64(w.tick % ticksPerDay)
	n := uint64(w.cfg.Freeze)*(hour+1)/ticksPerDay - uint64(w.cfg.Freeze)*hour/ticksPerDay
	for i := range n {
		rnd := stream(w.cfg.Seed, forFreeze, uint64(w.tick), i)
		fuel := work.Fuel(p.FuelPerBlock)
		q := w.price(&quote{items: 1, fuel: fuel, itemFuel: fuel}, work.TierAssured, uint32(p.MinPrice))
		need := q.bond + q.pay + work.Amount(q.checkers+1)*q.fee
		if c.purses[bySaboteur] < need+q.stake {
			return
		}
		c.purses[bySaboteur] -= need
		f := &provider{kind: Freezer, convictedAt: -1, bond: q.bond, wallet: need - q.bond}
		c.names = append(c.names, f)
		k.program = c.victim(w.tick)
		k.day.FreezeTries++
		if d := k.stage(f, q, &rnd); d != nil {
			k.open(f, uint32(i), d)
		}
	}
}

// victim is the program with most jobs that is not suspended.
func (c *court) victim(tick int) uint8 {
	for i, until := range c.suspended {
		if until <= tick {
			return uint8(i)
		}
	}
	return 0
}

// stage plays the batch of one try.
func (k *worker) stage(f *provider, q *quote, rnd *rng) *dispute {
	t := &k.day.Kinds[Freezer]
	t.Batches++
	t.Faked++
	odds := k.odds.get(k.w, Freezer, 1000, 1, q.checkers)
	t.ExpectE9 += odds
	t.VarianceE9 += odds * (1_000_000_000 - odds) / 1_000_000_000
	k.say(msgCommit, 1, 0)
	k.seat(1, q.checkers, rnd)
	k.rollFakes(1, 1000, rnd)
	d := k.hear(f, q, 1, 1000, true, rnd)
	t.Caught += b2u(d.by == byChecker)
	return d
}
