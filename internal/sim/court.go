package sim

import (
	"cmp"
	"slices"

	"github.com/gotong-network/gotong/work"
)

// dispute is a batch before the referee, from what contradicts it to the verdict.
// Younger batches of its provider wait behind it.
type dispute struct {
	p      *provider
	q      *quote
	pledge work.Amount
	voids  uint32 // of p when it was committed: else nothing answers for it any more
	opened int    // tick
	order  uint64 // among those of its tick
	after  pending
	next   *dispute // the next younger one of p; or of its frozen ones

	by           accuser
	finder       int
	guilty       bool   // the provider is wrong
	undelivered  bool   // nobody can have an output
	contradicted bool   // two checkers stand by the provider against the verdict
	blocks       uint64 // that the referee needs
	wrong        uint64 // fakes in it, if it is paid after all
	program      uint8
	until        int // tick at which governance's time is over; 0 if it is not frozen
}

// court is the referee's queue, and the money of those who accuse.
type court struct {
	queue  []*dispute // oldest first
	blocks uint64     // that the queue needs
	debt   uint64     // blocks that the last case took beyond its hour
	frozen []*dispute // in the order of their ends

	suspended [programs]int         // by program: the tick until which it gets no new jobs
	spam      uint64                // chance of a false challenge of a batch, in 1e-9
	held      work.Amount           // stakes
	purses    [accusers]work.Amount // clients have their own
	names     []*provider           // of the saboteurs
	endowed   work.Amount           // what these had at the start
}

// open begins a dispute about the batch that p has just committed.
func (k *worker) open(p *provider, id uint32, d *dispute) {
	d.p, d.voids, d.opened, d.program = p, p.voids, k.w.tick, k.program
	d.order = mix(mix(k.w.cfg.Seed+uint64(k.w.tick)) + uint64(id))
	if p.newest == nil {
		p.first = d
	} else {
		p.newest.next = d
	}
	p.newest = d
	k.opened = append(k.opened, d)
}

// refer counts a dispute whose items take the referee so many blocks; each round of
// votes takes two more.
func (k *worker) refer(d *dispute, blocks uint64) {
	d.blocks = blocks + 4
	votes := uint64(len(k.w.stakes))
	k.day.Disputes++
	k.day.CourtBlocks += d.blocks
	k.say(msgVote, votes, 0)
	k.say(msgVoteReveal, votes, votes*k.w.sizes.leaf)
}

// bucket is where p's next batch waits.
func (p *provider) bucket() *pending {
	if p.newest == nil {
		return &p.pending
	}
	return &p.newest.after
}

// largest is the largest bond of p's open batches.
func (p *provider) largest() work.Amount {
	most := p.pending.largest
	for d := p.first; d != nil; d = d.next {
		most = max(most, d.q.bond, d.after.largest)
	}
	for d := p.frozen; d != nil; d = d.next {
		most = max(most, d.q.bond)
	}
	return most
}

// open is how many batches of p have not ended.
func (p *provider) open() (n uint64) {
	n = p.pending.batches
	for d := p.first; d != nil; d = d.next {
		n += 1 + d.after.batches
	}
	for d := p.frozen; d != nil; d = d.next {
		n++
	}
	return n
}

// decided takes a dispute out of p's undecided ones. What waited behind it waits
// behind the one before it now, if there is one: for that it gives the place.
func (p *provider) decided(d *dispute) *pending {
	place, link := &p.pending, &p.first
	var before *dispute
	for *link != d {
		before = *link
		place, link = &before.after, &before.next
	}
	*link = d.next
	if p.newest == d {
		p.newest = before
	}
	place.add(&d.after)
	d.after, d.next = pending{}, nil
	return place
}

// sit is the referee's hour: it judges, in the order of their opening, as many
// disputes as MaxDisputes at a time allow, and ends freezes whose time is over.
func (w *world) sit() {
	c := &w.court
	w.trySuspending()
	w.docket()
	for len(c.frozen) > 0 && c.frozen[0].until <= w.tick {
		d := c.frozen[0]
		c.frozen = c.frozen[1:]
		w.conclude(d) // by the verdict: governance did not decide otherwise
	}
	hour := uint64(w.cfg.Params.MaxDisputes) * blocksPerTick
	used := min(c.debt, hour)
	c.debt -= used
	for len(c.queue) > 0 && used < hour {
		d := c.queue[0]
		c.queue[0], c.queue = nil, c.queue[1:]
		c.blocks -= d.blocks
		used += d.blocks
		t := &w.workers[0].day
		t.CourtWaits[min(w.tick-d.opened, len(t.CourtWaits)-1)]++
		if d.contradicted {
			w.freeze(d)
		} else {
			w.conclude(d)
		}
	}
	c.debt += used - min(used, hour)
	w.expectSpam()
}

// docket puts this tick's disputes behind the others, and takes the accusers' stakes.
func (w *world) docket() {
	c := &w.court
	var fresh []*dispute
	for _, k := range w.workers {
		fresh = append(fresh, k.opened...)
		clear(k.opened)
		k.opened = k.opened[:0]
	}
	slices.SortStableFunc(fresh, func(a, b *dispute) int { return cmp.Compare(a.order, b.order) })
	for _, d := range fresh {
		if !w.takeStake(d) { // who cannot stake does not accuse
			w.dismiss(d)
			continue
		}
		c.queue = append(c.queue, d)
		c.blocks += d.blocks
	}
}

// dismiss drops an accusation without a stake: the batch goes on.
func (w *world) dismiss(d *dispute) {
	d.by, d.guilty, d.undelivered = byChecker, false, false
	w.workers[0].day.Dismissed++
	w.conclude(d)
}

// conclude ends a dispute: whoever is wrong pays, or the batch goes on.
func (w *world) conclude(d *dispute) {
	k, p := w.workers[0], d.p
	w.endStake(d)
	if d.voids != p.voids { // its provider lost what answered for it
		k.day.Void++
		k.day.Convictions += b2u(d.guilty)
		return
	}
	place := &p.pending
	if d.until > 0 {
		p.melt(d)
	} else {
		place = w.release(d)
	}
	switch {
	case d.guilty:
		k.day.Void++
		k.convict(p, d.q, d.pledge, d.finder)
	case d.undelivered:
		k.day.Void++
		k.fine(p, d)
	default:
		k.put(place, p, d.q, 1, d.pledge, uint64(d.opened))
		place.wrong += d.wrong
		w.workers[0].day.Held += b2u(w.tick > d.opened)
	}
}

// release lets what waited behind a dispute go on, and counts it.
func (w *world) release(d *dispute) *pending {
	if w.tick > d.opened {
		w.workers[0].day.Held += d.after.batches
	}
	return d.p.decided(d)
}

// fine takes the fee for an output that nobody can have.
func (k *worker) fine(p *provider, d *dispute) {
	fee := min(max(k.w.cfg.Params.UnavailableFee, d.q.burned), p.bond)
	p.bond -= fee
	p.pledged -= min(d.pledge, p.pledged)
	k.day.SlashBurn += fee
	k.day.Kinds[p.kind].Lost += fee
	k.cover(p)
}

// freeze keeps a batch for governance, and its program from new jobs. It holds up
// no other batch.
func (w *world) freeze(d *dispute) {
	w.workers[0].day.Freezes++
	d.until = w.tick + int(max(w.cfg.Params.GovernanceBlocks/blocksPerTick, 1))
	if p := d.p; d.voids == p.voids {
		w.release(d)
		d.next, p.frozen = p.frozen, d
	}
	w.court.frozen = append(w.court.frozen, d)
	w.court.suspended[d.program] = max(w.court.suspended[d.program], d.until)
}

// melt takes a batch out of p's frozen ones.
func (p *provider) melt(d *dispute) {
	link := &p.frozen
	for *link != d {
		link = &(*link).next
	}
	*link, d.next = d.next, nil
}
