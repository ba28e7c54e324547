package sim

import (
	"time"

	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/work"
)

// neighbourhood is how many offers one indexer ranks for a job: those that it has
// heard of and that fit.
const neighbourhood = 32

// maxVisits is to how many neighbourhoods a job goes in one tick.
const maxVisits = 4

// scratch is a worker's memory of the neighbourhood that it plays.
type scratch struct {
	offers []work.Offer
	cands  []match.Candidate
	ids    []uint32
	takers []match.Taker
	who    []uint32
}

// demand makes the demand of a tick and sends what may go anywhere to the region
// that match ranks best for it.
func (w *world) demand() {
	for i := range w.cells {
		w.cells[i].arrivals = 0
	}
	for c := range classes {
		for r := range regions {
			rnd := stream(w.cfg.Seed, forDemand, uint64(c)<<8|uint64(r), uint64(w.tick))
			n := w.wanted(c, r, &rnd)
			bound := n * boundPermille / 1000
			w.cells[c*len(regions)+r].arrivals += bound
			w.route(c, r, n-bound)
		}
	}
}

// wanted is the demand, in grains, of a region for a class in this tick: by local
// hour and weekday, with noise, and now and then a burst of some hours.
func (w *world) wanted(c, r int, rnd *rng) uint64 {
	k := &classes[c]
	hour := ((w.tick+regions[r].utc)%ticksPerDay + ticksPerDay) % ticksPerDay
	day := w.tick / ticksPerDay % 7
	// The median device makes grainsPerTick; the mean of spread is 1.12 of it.
	all := uint64(w.cfg.Providers) * k.share * k.online * grainsPerTick / 1_000_000 * 1120 / 1000
	n := all * k.appetite / 1000 * regions[r].demand / 1000
	n = n * k.want[hour] / 1000 * weekday[day] / 1000
	n = n * (900 + rnd.below(201)) / 1000
	if w.bursts(c, r) {
		n *= 2
	}
	return n
}

// bursts reports whether demand doubles now: about once a week for six hours.
func (w *world) bursts(c, r int) bool {
	b := stream(w.cfg.Seed, forDemand, 1<<20|uint64(c)<<8|uint64(r), uint64(w.tick/6))
	return b.below(28) == 0
}

// route deals demand of a class that may go anywhere to regions, by price and
// distance, as far as they had room in the last tick; the rest stays at home.
func (w *world) route(class, from int, grains uint64) {
	offers := make([]work.Offer, len(regions))
	cands := make([]match.Candidate, len(regions))
	cells := w.cells[class*len(regions):][:len(regions)]
	for r := range regions {
		offers[r] = work.Offer{Provider: work.Address(regions[r].code), Price: work.Price(cells[r].price), Slots: 1, Region: regions[r].code}
		cands[r] = match.Candidate{Offer: &offers[r], RTT: time.Duration(rtt[from][r]) * time.Millisecond}
	}
	ranked, _ := match.Rank(cands, match.Request{MaxPrice: maxPrice}, match.DefaultWeights())
	for _, k := range ranked {
		for r := range cells {
			if regions[r].code != k.Offer.Region {
				continue
			}
			n := min(grains, cells[r].free/4) // others send there too
			cells[r].arrivals += n
			cells[r].free -= n
			grains -= n
		}
	}
	cells[from].arrivals += grains
}

// play is one tick of a cell.
func (k *worker) play(c *cell) {
	w := k.w
	h := Hour{}
	c.online, c.room = c.online[:0], 0
	for i := c.lo; i < c.hi; i++ {
		k.wake(c, i)
	}
	h.Supply = c.room
	k.post(c)
	h.Wanted = c.arrivals
	rnd := stream(w.cfg.Seed, forMarket, uint64(c.class)<<8|uint64(c.region), uint64(w.tick))
	for i := len(c.online) - 1; i > 0; i-- {
		j := rnd.below(uint64(i + 1))
		c.online[i], c.online[j] = c.online[j], c.online[i]
	}
	h.Served, h.Paid = k.deal(c)
	c.free = c.room - min(c.room, h.Served)
	if h.Served > 0 {
		c.price = uint32(h.Paid / h.Served)
	}
	h.Price = c.price
	for _, i := range c.online {
		k.rest(&w.providers[i], i)
	}
	c.queued = 0
	for i := range c.queue {
		c.queued += c.queue[i].left
	}
	h.Queued = c.queued
	c.hours = append(c.hours, h)
	k.day.GrainsOffered += h.Supply
	k.day.GrainsWanted += h.Wanted
	k.day.GrainsServed += h.Served
}

// wake settles what a provider earned, lets it come, go or come back, and says what
// room it has in this tick.
func (k *worker) wake(c *cell, i int) {
	w := k.w
	p := &w.providers[i]
	k.settle(p)
	if p.room, p.granted = 0, 0; p.out && !k.comeBack(p) {
		return
	}
	now := int32(w.tick * tickMinutes)
	rnd := stream(w.cfg.Seed, forChurn, uint64(i), uint64(w.tick))
	cl := &classes[c.class]
	if p.online = p.online && p.until > now; !p.online {
		hour := ((w.tick+regions[c.region].utc)%ticksPerDay + ticksPerDay) % ticksPerDay
		if !rnd.hit(cl.begin[hour]) {
			return
		}
		now += int32(rnd.below(tickMinutes))
		length := max(cl.session*rnd.spread()/1000, 10)
		p.online, p.until = true, now+int32(length)
		k.day.Sessions++
		k.day.SessionHours[min(length/60, uint64(len(k.day.SessionHours)-1))]++
	}
	minutes := uint64(min(p.until, int32((w.tick+1)*tickMinutes)) - now)
	// Rounded at random, so that slow devices lose nothing.
	p.room = uint32((uint64(p.speed)*minutes*grainsPerTick/tickMinutes + rnd.below(1000)) / 1000)
	if p.bond < p.target {
		more := min(p.target-p.bond, p.wallet)
		p.wallet, p.bond = p.wallet-more, p.bond+more
	}
	p.offered += uint64(p.room)
	k.day.Kinds[p.kind].Offered += uint64(p.room) * (uint64(c.grain()) / work.FuelPerUnit)
	if p.room == 0 {
		return
	}
	if p.kind == SelfDealer {
		k.selfDeal(p, uint32(i))
		return
	}
	c.room += uint64(p.room)
	c.online = append(c.online, uint32(i))
}

// comeBack lets a provider that lost its bond begin anew under another name.
func (k *worker) comeBack(p *provider) bool {
	if int(p.rejoin) > k.w.tick || p.wallet < p.target {
		return false
	}
	p.wallet -= p.target
	p.bond += p.target
	p.out, p.convictedAt, p.convictions, p.settled, p.missed = false, -1, 0, 0, 0
	k.day.Returners++
	return true
}

// selfDeal lets a provider pay itself for everything that it could do.
func (k *worker) selfDeal(p *provider, i uint32) {
	p.price = p.lo
	worst := 2 * mustCost(classes[p.class].fuel*grainSeconds*work.Fuel(p.room), p.price)
	if p.wallet < worst {
		return
	}
	k.program = ownProgram
	k.commit(p, i, 1, 0, uint64(p.room))
}

// post cuts this tick's demand into jobs.
func (k *worker) post(c *cell) {
	rnd := stream(k.w.cfg.Seed, forDemand, 1<<21|uint64(c.class)<<8|uint64(c.region), uint64(k.w.tick))
	mid := 5 * classes[c.class].lo // what the median client would pay at most
	for left := c.arrivals; left > 0; {
		n := min(left, max(60*rnd.wide()/1000, 4))
		j := job{left: n, limit: uint32(max(mid*rnd.spread()/1000, uint64(k.w.cfg.Params.MinPrice))), kind: uint8(rnd.below(uint64(len(itemsPerGrain)))), born: int32(k.w.tick)}
		if rnd.hit(assuredPermille) {
			j.tier = 1
		}
		if j.program = pickProgram(&rnd); k.w.court.suspended[j.program] > k.w.tick {
			k.day.GrainsSuspended += n
			left -= n
			continue
		}
		c.queue = append(c.queue, j)
		left -= n
		k.day.Jobs++
	}
}

// deal gives the jobs of a cell, oldest first, to its neighbourhoods in turn.
func (k *worker) deal(c *cell) (served, paid uint64) {
	kept := c.queue[:0]
	n := (len(c.online) + neighbourhood - 1) / neighbourhood
	at, loaded := 0, -1
	for _, j := range c.queue {
		if k.w.tick-int(j.born) >= patienceTicks {
			k.day.GrainsDropped += j.left
			continue
		}
		for visits := 0; j.left > 0 && visits < min(maxVisits, n); visits++ {
			if loaded != at {
				k.load(c, at)
				loaded = at
			}
			s, p := k.serve(c, &j)
			served, paid = served+s, paid+p
			if j.left > 0 {
				at = (at + 1) % n
			}
		}
		if j.left > 0 {
			kept = append(kept, j)
		}
	}
	c.queue = kept
	return served, paid
}

// load reads the offers of a neighbourhood.
func (k *worker) load(c *cell, at int) {
	s := &k.market
	s.offers, s.cands, s.ids = s.offers[:0], s.cands[:0], s.ids[:0]
	cl := &classes[c.class]
	for _, i := range c.online[at*neighbourhood : min((at+1)*neighbourhood, len(c.online))] {
		p := &k.w.providers[i]
		s.offers = append(s.offers, work.Offer{Provider: k.w.name(int(i)), Class: cl.name, Slots: cl.slots, Price: work.Price(p.price)})
		s.ids = append(s.ids, i)
	}
	for n := range s.offers {
		p := &k.w.providers[s.ids[n]]
		s.cands = append(s.cands, match.Candidate{Offer: &s.offers[n], RTT: time.Duration(p.latency+rtt[c.region][c.region]) * time.Millisecond,
			Reputation: match.Reputation(uint64(p.settled), uint64(p.missed), p.convictions)})
	}
}

// serve gives as much of a job to the neighbourhood as fits.
func (k *worker) serve(c *cell, j *job) (served, paid uint64) {
	s := &k.market
	var open []match.Candidate
	for n := range s.cands {
		p := &k.w.providers[s.ids[n]]
		if p.granted < p.room && p.price <= j.limit {
			s.cands[n].Given = float64(p.given)
			open = append(open, s.cands[n])
		}
	}
	if len(open) == 0 {
		return 0, 0
	}
	ranked, _ := match.Rank(open, match.Request{MaxPrice: work.Price(j.limit), Class: classes[c.class].name}, match.DefaultWeights())
	s.takers, s.who = s.takers[:0], s.who[:0]
	var room uint64
	for _, r := range ranked {
		i := number(r.Offer.Provider)
		p := &k.w.providers[i]
		free := uint64(p.room - p.granted)
		s.takers = append(s.takers, match.Taker{Slots: r.Offer.Slots, Outstanding: uint64(p.granted), Room: free, Speed: float64(p.speed)})
		s.who = append(s.who, i)
		if room += free; room >= 2*j.left { // the best of them have enough room
			break
		}
	}
	for n, g := range match.Share(s.takers, j.left, grainsPerBatch) {
		if g == 0 {
			continue
		}
		p := &k.w.providers[s.who[n]]
		k.program = j.program
		k.commit(p, s.who[n], j.kind, j.tier, g)
		k.day.Assignments++
		p.served += g
		p.given += uint32(g * itemsPerGrain[j.kind] / uint64(classes[c.class].slots))
		served += g
		paid += g * uint64(p.price)
	}
	j.left -= served
	k.day.Waits[min(k.w.tick-int(j.born), len(k.day.Waits)-1)] += served
	return served, paid
}

// number reads a provider's number out of its account.
func number(a work.Address) (n uint32) {
	for _, d := range []byte(a) {
		n = 10*n + uint32(d-'0')
	}
	return n
}

// rest ends a provider's tick: its price follows its load, and now and then its
// session ends without a good-bye: in the middle of a check, or with a batch in its
// window, which somebody may challenge to see it fail to answer.
func (k *worker) rest(p *provider, i uint32) {
	if p.until <= int32((k.w.tick+1)*tickMinutes) && p.bucket().batches > 0 {
		rnd := stream(k.w.cfg.Seed, forChurn, uint64(i), 1<<32|uint64(k.w.tick))
		switch {
		case !rnd.hit(classes[p.class].abrupt):
		case rnd.hit(exposedPermille):
			k.vanish(p)
		case p.kind != SelfDealer && rnd.hit(vulturePermille):
			k.preyOn(p, i, &rnd)
		}
	}
	p.load = uint16(match.SmoothLoad(uint32(p.load), min(p.granted*1000/max(p.room, 1), 1000)))
	p.price = uint32(match.AskingPrice(work.Price(p.lo), work.Price(p.hi), uint32(p.load)))
	p.given /= 2
}

// exposedPermille is how often an outage hits a provider between commit and reveal,
// two to three minutes of each twenty, and outlasts the wait for its answer.
const exposedPermille = 60

// vanish is a provider that goes dark while its last batch is being checked: it
// cannot open or reveal, and pays as for a first conviction.
func (k *worker) vanish(p *provider) {
	k.silence(p, k.quotes.get(k.w, p.last))
}

// silence slashes a provider that owed an answer about its last batch.
func (k *worker) silence(p *provider, q *quote) {
	pledge := k.takeBack(p, q)
	k.day.Void++
	p.missed++
	k.day.Silences++
	before := k.day.Kinds[p.kind].Lost
	k.slash(p, q, pledge, nobody, false)
	if p.kind == Honest {
		k.day.HonestSilences++
		k.day.HonestLost += k.day.Kinds[p.kind].Lost - before
	}
}
