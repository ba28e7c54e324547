package indexer

import (
	"math"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/work"
)

// terms is what differs between a job that the chain keeps and one of the own
// providers: everything else treats them alike.
type terms struct {
	ledger bool           // assigned only while open on the ledger; verified when settled. Else: verified when delivered
	only   []work.Address // providers that may serve it; empty: any
}

func (x *Indexer) terms(t work.Tier) terms {
	if t == work.TierNone {
		if x.cfg.AllOwn {
			return terms{}
		}
		own := x.cfg.Own
		if len(own) == 0 {
			own = []work.Address{""} // nobody
		}
		return terms{only: own}
	}
	return terms{ledger: true}
}

// cap is the highest price that an offer may ask: the own providers are not paid.
func (t terms) cap(p work.Price) work.Price {
	if !t.ledger {
		return math.MaxUint64
	}
	return p
}

// expires is the last height of a commit; what never reaches the ledger has none.
func (t terms) expires(height int64, p lifecycle.Params) int64 {
	if !t.ledger {
		return math.MaxInt64
	}
	return height + p.ClosingBlocks
}

// job is a job that is being served: its state and what is known around it.
type job struct {
	sharers sharers // of its blobs
	*material
	rec   *jobRecord
	state *jobState

	// From the ledger.
	chain lifecycle.JobState // 0: not seen there
	free  work.Amount        // of the escrow
	spent work.Amount
	drops time.Time // when providers were told to stop, because the job was cancelled

	closed bool // on the chain, and the books are closed

	// From the ledger too: the indexers that the job has or had. moved says that this
	// one is not its indexer any more.
	signers []lifecycle.Signer
	moved   bool
	// Of an inherited job: its items are handed out when all that were asked have said
	// what they hold of it, or from dealFrom on, which is zero until its list is here;
	// gathering says that its list and inputs are being looked for.
	dealFrom  time.Time
	asked     map[work.Address]bool
	gathering bool
	gathered  bool
	gatherAt  time.Time
	keptUntil int64 // deadline of the newest claim that was answered

	dirty     bool // something changed that may allow to hand out more
	broke     bool // the escrow is exhausted for now
	stuck     time.Time
	samples   []float64 // item durations, newest 256
	sampleAt  int
	ranked    []match.Ranked
	excluded  map[match.Reason]int
	rankedAt  time.Time
	hostWhy   []failNote // what hosts said, for people
	settling  map[work.BatchID]*settling
	watchers  map[*watcher]struct{}
	doneAt    time.Time
	rate      float64 // items with a result, a second
	rateAt    time.Time
	rateItems uint64
}

func newJob(r *jobRecord) *job {
	m := &material{id: r.Spec.ID(), spec: r.Spec, program: r.Spec.ProgramID()}
	return &job{material: m, rec: r, state: newJobState(r.Spec.ItemCount),
		settling: map[work.BatchID]*settling{}, watchers: map[*watcher]struct{}{}}
}

// peer is a provider that the indexer knows an offer of.
type peer struct {
	addr     work.Address
	offer    *work.Offer
	attested []work.Attestation // of the offer, with true signatures
	raw      []byte
	rep      float64
	given    float64 // items handed to it lately per slot; halves every minute

	link  *link
	gen   uint64 // of the stream that is up; 0: none
	down  time.Time
	rtt   roundTrip
	seen  string    // the network that its connection comes from, see match.Prefix
	until time.Time // cut off until then
	jobs  map[work.JobID]*dealing
}

func (p *peer) up() bool { return p.gen != 0 }

func (p *peer) hangUp() {
	if p.link != nil {
		p.link.cancel()
		p.link = nil
	}
}

// dealing is what one provider and one job have with each other while the
// indexer runs.
type dealing struct {
	introduced bool // the job was sent on this stream
	flushed    bool
	pause      time.Time // it sent items back: nothing new before
	failPause  time.Duration
	busy       bool
	warm       bool      // a result came: the program is compiled and its inputs are there
	since      time.Time // of the measurement
	n          uint64
	rate       float64              // items a second
	heads      map[uint64]time.Time // when a range came to the head of its queue
}

func (p *peer) dealing(id work.JobID) *dealing {
	d := p.jobs[id]
	if d == nil {
		d = &dealing{heads: map[uint64]time.Time{}}
		p.jobs[id] = d
	}
	return d
}

// given starts the clock of a provider that had nothing.
func (d *dealing) given(now time.Time) {
	if !d.busy {
		d.busy, d.since, d.n = true, now, 0
	}
}

// measureEvery bounds how often the rate is taken.
const measureEvery = 20 * time.Millisecond

// returned takes n results in; left is what the provider still has. It gives the
// seconds that one item took a slot, 0 when it is not time to tell.
func (d *dealing) returned(n, left uint64, slots uint32, now time.Time) (itemSeconds float64) {
	if !d.warm {
		// The first result's time holds the program's compilation and the transfer of
		// inputs: it says nothing about the items behind it.
		d.warm, d.busy, d.since, d.n = true, left > 0, now, 0
		return 0
	}
	d.n += n
	dt := now.Sub(d.since)
	if d.n == 0 || dt < measureEvery && left > 0 {
		return 0
	}
	rate := float64(d.n) / max(dt.Seconds(), 1e-5)
	itemSeconds = float64(min(uint64(max(slots, 1)), left+d.n)) / rate
	if d.rate > 0 {
		rate = (rate + d.rate) / 2
	}
	d.rate, d.busy, d.since, d.n = rate, left > 0, now, 0
	return itemSeconds
}

func (d *dealing) itemSeconds(slots uint32) float64 {
	if d.rate <= 0 {
		return 0
	}
	return float64(max(slots, 1)) / d.rate
}

// record applies an event to a job, stores it and tells who watches.
func (x *Indexer) record(j *job, e *event) {
	touched := e.Items
	if e.Kind == evBar {
		touched = j.state.prov(e.Provider).outstanding()
	}
	x.set(logKey(j.id, j.state.seq), e.encode())
	j.state.apply(e)
	j.dirty = true
	x.touch(j, touched, e.Kind == evResults || e.Kind == evSettle || e.Kind == evFail)
}

// touch tells watchers that items changed; urgent is what clients wait for.
func (x *Indexer) touch(j *job, items work.RangeSet, urgent bool) {
	for w := range j.watchers {
		w.add(items, urgent)
		x.woken[w] = struct{}{}
	}
}

func (x *Indexer) saveJob(j *job) { x.set(jobKey(keyJob, j.id), j.rec.encode()) }

// serving reports whether items of j may be handed out.
func (j *job) serving(t terms) bool {
	if j.rec.Commons || j.moved {
		return false
	}
	if j.rec.Inherited {
		if j.dealFrom.IsZero() || len(j.asked) > 0 && time.Now().Before(j.dealFrom) {
			return false // its providers are about to say what they have of it
		}
		return !j.rec.Released && !j.rec.Forgotten && !j.rec.Over && j.list != nil && j.chain == lifecycle.JobOpen
	}
	if !j.rec.Accepted && time.Now().Unix()-j.rec.Since < unaskedSeconds {
		return false // its client is about to say how it wants it served
	}
	return !j.rec.Released && !j.rec.Forgotten && !j.rec.Over && j.list != nil && (!t.ledger || j.chain == lifecycle.JobOpen)
}

// unaskedSeconds is how long a job that was found on the ledger waits for its
// client to ask for it.
const unaskedSeconds = 10

// rankEvery bounds how often the offers are ranked anew for a job.
const rankEvery = 100 * time.Millisecond

func (x *Indexer) rank(j *job, now time.Time) []match.Ranked {
	if !j.rankedAt.IsZero() && now.Sub(j.rankedAt) < rankEvery {
		return j.ranked
	}
	cs := make([]match.Candidate, 0, len(x.peers))
	for _, p := range x.peers {
		if now.Before(p.until) {
			continue
		}
		s := j.state.byAddr[p.addr]
		cs = append(cs, match.Candidate{Offer: p.offer, Attested: p.attested, RTT: p.rtt.best(), Reputation: p.rep, Given: p.given, Barred: s != nil && s.barred})
	}
	j.ranked, j.excluded = match.Rank(cs, x.request(j, now), x.cfg.Weights)
	j.rankedAt = now
	return j.ranked
}

// request is what j asks of a provider.
func (x *Indexer) request(j *job, now time.Time) match.Request {
	t := x.terms(j.spec.Tier)
	return match.Request{NowUnix: now.Unix(), Chain: x.cfg.Chain, MaxPrice: t.cap(j.spec.MaxPrice), MemoryBytes: j.spec.Limits.MemoryBytes,
		Class: work.ClassCPU, Place: j.spec.Place, Only: t.only}
}

// rerank makes every job look at the offers anew.
func (x *Indexer) rerank() {
	for _, j := range x.active {
		j.rankedAt, j.dirty = time.Time{}, true
	}
}

// dispatchAll hands out what may be handed out, job by job; the oldest first, but
// each provider's window is shared by all jobs that have something for it.
func (x *Indexer) dispatchAll(now time.Time) {
	hungry := uint64(0)
	for _, j := range x.active {
		if j.state.waiting.size() > 0 {
			hungry++
		}
	}
	for _, j := range x.active {
		if j.dirty {
			j.dirty = false
			x.dispatch(j, max(hungry, 1), now)
		}
	}
}

// offered is a fitting provider that is up, with what it may get.
type offered struct {
	peer  *peer
	state *provState // nil: never had anything of the job
	deal  *dealing
	chunk uint64
	full  bool // its owner or its network has its part of the job
}

func (x *Indexer) dispatch(j *job, hungry uint64, now time.Time) {
	t := x.terms(j.spec.Tier)
	if !j.serving(t) {
		x.flush(j, nil)
		return
	}
	waiting := j.state.waiting.size()
	if waiting == 0 {
		x.flush(j, nil)
		return
	}
	var os []offered
	var ts []match.Taker
	var slots uint64
	ranked := x.rank(j, now)
	for _, r := range ranked {
		if x.peers[r.Offer.Provider].up() {
			slots += uint64(r.Offer.Slots)
		}
	}
	c := match.Chunking{Items: j.rec.Chunk.Items, Seconds: float64(j.rec.Chunk.Seconds)}
	least := uint64(0)
	for _, r := range ranked {
		p := x.peers[r.Offer.Provider]
		if !p.up() {
			continue
		}
		o := offered{peer: p, state: j.state.byAddr[p.addr], deal: p.dealing(j.id)}
		o.chunk = c.Size(o.deal.itemSeconds(r.Offer.Slots), waiting, slots)
		tk := match.Taker{Slots: r.Offer.Slots, Speed: o.deal.rate}
		if o.state != nil {
			tk.Outstanding = o.state.out.size()
		}
		window := max(match.Window(r.Offer.Slots, o.chunk, o.deal.rate)/hungry, o.chunk)
		// Refilled when half empty: fewer and larger assignments.
		if tk.Outstanding <= window/2 && !now.Before(o.deal.pause) {
			tk.Room = min(window-tk.Outstanding, j.state.takable(o.state))
		}
		if least == 0 || o.chunk < least {
			least = o.chunk
		}
		os, ts = append(os, o), append(ts, tk)
	}
	if len(os) > 0 {
		n := x.affordable(j, t, waiting)
		j.broke = n == 0
		for i, n := range match.Share(ts, n, least, x.spread(j, os)...) {
			if n > 0 {
				x.hand(j, &os[i], n, now)
			}
		}
	}
	x.flush(j, os)
}

// affordable is how many of n items the free escrow pays for, by the mean fuel of
// the items so far. When nothing is under way one more is tried: the next may be
// lighter.
func (x *Indexer) affordable(j *job, t terms, n uint64) uint64 {
	if !t.ledger {
		return n
	}
	var items, fuel, away uint64
	var price work.Price
	for _, p := range j.state.provs {
		items, fuel = items+p.items, fuel+p.fuel
		away += p.out.size() + p.have.size() - p.committed.within(p.have.view()).Len()
		if o := x.peers[p.addr]; o != nil {
			price = max(price, min(o.offer.Price, j.spec.MaxPrice))
		}
	}
	if items == 0 {
		return n
	}
	cost, err := work.Cost(work.Fuel(fuel/items), max(price, x.params.MinPrice))
	if err != nil || cost == 0 {
		return n
	}
	can := uint64(j.free / cost)
	switch {
	case can > away:
		return min(n, can-away)
	case away == 0 && len(j.state.open) == 0 && j.free > 0:
		return 1
	}
	return 0
}

// hand gives p up to n waiting items.
func (x *Indexer) hand(j *job, o *offered, n uint64, now time.Time) {
	for _, t := range j.state.byAttempt(j.state.take(o.state, n)) {
		if t.attempt >= maxAttempts {
			x.record(j, &event{Kind: evFail, Items: t.items, Why: "handed out 64 times without a result: see the providers' logs"})
			continue
		}
		x.assign(j, o.peer, t, o.chunk, now)
	}
}

// assign records an assignment and puts it on its way; it leaves when the record
// is durable.
func (x *Indexer) assign(j *job, p *peer, t turn, chunk uint64, now time.Time) {
	e := &event{Kind: evAssign, Provider: p.addr, Attempt: t.attempt, Items: t.items, Chunk: chunk,
		Price: max(p.offer.Price, x.params.MinPrice), Expires: x.terms(j.spec.Tier).expires(x.height, x.params)}
	x.record(j, e)
	x.log.Debug("items handed out", "job", j.id.Short(), "provider", p.addr, "items", t.items.Len(), "attempt", t.attempt)
	x.durable = true
	d := p.dealing(j.id)
	d.given(now)
	d.flushed = false
	p.given += float64(t.items.Len()) / float64(max(p.offer.Slots, 1))
	x.sendAssign(j, p, lease{t.attempt, t.items, chunk, e.Price, e.Expires})
}

// sendAssign sends a lease, after the job itself if the stream has not seen it.
func (x *Indexer) sendAssign(j *job, p *peer, l lease) {
	x.introduce(j, p)
	a := work.Assignment{Chain: x.cfg.Chain, Job: j.id, Provider: p.addr, Attempt: l.attempt, Ranges: l.items, Price: l.price, ExpiresHeight: l.expires}
	key, chunk := x.cfg.Key, l.chunk
	x.send(p, func() []byte {
		a.Sign(key)
		return wire.EncodeAssign(wire.Assign{Assignment: a, Chunk: chunk})
	})
}

func (x *Indexer) introduce(j *job, p *peer) {
	d := p.dealing(j.id)
	if d.introduced {
		return
	}
	d.introduced = true
	siblings := j.sharers.next(p2p.Peer{Key: p.offer.Peer, Addrs: p.offer.Addrs})
	holders := append([]p2p.Peer{x.cfg.Net.Self()}, j.rec.Holders...)
	spec := j.spec
	x.send(p, func() []byte { return wire.EncodeJob(wire.Job{Spec: spec, Holders: holders, Siblings: siblings}) })
}

func (x *Indexer) send(p *peer, frame func() []byte) {
	if p.link != nil && p.up() {
		x.outbox = append(x.outbox, outgoing{link: p.link, gen: p.gen, frame: frame})
	}
}

// flush tells providers for which nothing is left to commit what they have.
func (x *Indexer) flush(j *job, os []offered) {
	for _, s := range j.state.provs {
		p := x.peers[s.addr]
		if p == nil || !p.up() || s.out.size() == 0 && s.have.size() == 0 {
			continue
		}
		d := p.dealing(j.id)
		if d.flushed {
			continue
		}
		more := len(os) > 0 && !j.broke && !s.barred && len(j.state.take(s, 1)) > 0 &&
			slices.ContainsFunc(os, func(o offered) bool { return o.peer == p && !o.full })
		if more {
			continue
		}
		d.flushed = true
		x.introduce(j, p)
		id := j.id
		x.send(p, func() []byte { return wire.EncodeItems(wire.KindFlush, wire.Items{Job: id}) })
	}
}

// drop tells p to stop running items.
func (x *Indexer) drop(j *job, addr work.Address, items work.RangeSet) {
	p := x.peers[addr]
	if p == nil || !p.up() || len(items) == 0 {
		return
	}
	if len(items) > 1<<16 {
		items = items[:1<<16]
	}
	id := j.id
	x.send(p, func() []byte { return wire.EncodeItems(wire.KindDrop, wire.Items{Job: id, Items: items}) })
}

// tick looks at the waits.
func (x *Indexer) tick(now time.Time) {
	halve := 1 - 0.693*x.cfg.Timing.Tick.Seconds()/60
	for _, p := range x.peers {
		p.given *= halve
	}
	x.forgetOffers(now)
	for _, j := range slices.Clone(x.active) {
		j.rankedAt, j.dirty = time.Time{}, true
		x.measure(j, now)
		x.lose(j, now)
		x.judge(j, now)
		x.copyStragglers(j, now)
		x.chaseDeliveries(j, now)
		x.inherit(j, now)
		x.retire(j, now)
	}
}

// measure takes the job's rate, for its ETA.
func (x *Indexer) measure(j *job, now time.Time) {
	if j.rateAt.IsZero() {
		j.rateAt, j.rateItems = now, j.state.reached()
		return
	}
	if dt := now.Sub(j.rateAt).Seconds(); dt >= 1 {
		r := (float64(j.state.reached()) - float64(j.rateItems)) / dt
		if j.rate > 0 {
			r = 0.7*j.rate + 0.3*r
		}
		j.rate, j.rateAt, j.rateItems = max(r, 0), now, j.state.reached()
	}
}

// reached is the number of items that have a result or failed finally.
func (j *jobState) reached() uint64 {
	return j.provisional.size() + j.verified.size() + j.failed.size()
}

// lose gives the items of providers that are out of reach to others.
func (x *Indexer) lose(j *job, now time.Time) {
	for _, s := range j.state.provs {
		p := x.peers[s.addr]
		if p != nil && (p.up() || p.down.IsZero()) {
			continue
		}
		gone := x.cfg.Timing.Uncommitted
		if p != nil {
			gone = now.Sub(p.down)
		}
		var items work.RangeSet
		if gone >= x.cfg.Timing.Lost {
			items = s.out.set()
		}
		if gone >= x.cfg.Timing.Uncommitted && x.terms(j.spec.Tier).ledger {
			items = items.Union(s.committed.without(s.have.set()))
		}
		if len(items) > 0 {
			x.log.Info("provider is out of reach: its items go to others", "job", j.id.Short(), "provider", s.addr, "items", items.Len())
			x.record(j, &event{Kind: evYield, Provider: s.addr, Items: items})
		}
	}
}

// judge decides about items that hosts failed.
func (x *Indexer) judge(j *job, now time.Time) {
	failed := j.state.hostFailed.within(j.state.waiting.view())
	if len(failed) == 0 {
		j.stuck = time.Time{}
		return
	}
	if len(j.state.refused) >= 2 { // two hosts say it independently: one alone could lie
		rest := j.state.verified.without(j.state.provisional.without(work.RangeSet{{Lo: 0, Hi: j.state.n}}))
		x.fail(j, rest)
		return
	}
	var dead, waits work.RangeSet
	ranked := x.rank(j, now)
	for _, r := range x.uniform(j, failed) {
		untried := 0
		for _, o := range ranked {
			if s := j.state.byAddr[o.Offer.Provider]; s == nil || !s.hostFailed.has(r.Lo) {
				untried++
			}
		}
		waited := time.Duration(0)
		if !j.stuck.IsZero() {
			waited = now.Sub(j.stuck)
		}
		switch match.Retry(j.state.tried(r.Lo), untried, waited, x.cfg.Timing.Patience) {
		case match.GiveUp:
			dead = append(dead, r)
		case match.WaitForOther:
			waits = append(waits, r)
		}
	}
	switch {
	case len(waits) == 0:
		j.stuck = time.Time{}
	case j.stuck.IsZero():
		j.stuck = now
	}
	if len(dead) > 0 {
		x.fail(j, work.NewRangeSet(dead...))
	}
}

// uniform splits items so that each range failed on the same hosts throughout.
func (x *Indexer) uniform(j *job, items work.RangeSet) []work.Range {
	out := []work.Range(items)
	for _, p := range j.state.provs {
		if p.hostFailed.size() == 0 {
			continue
		}
		in := p.hostFailed.within(work.NewRangeSet(out...))
		var next []work.Range
		for _, r := range out {
			one := work.RangeSet{r}
			next = append(next, one.Intersect(in)...)
			next = append(next, one.Minus(in)...)
		}
		out = next
	}
	return out
}

// fail ends items with what their hosts said.
func (x *Indexer) fail(j *job, items work.RangeSet) {
	left := j.state.failed.without(items)
	for _, n := range j.hostWhy {
		said := n.items.within(left)
		if len(said) == 0 {
			continue
		}
		left = left.Minus(said)
		x.record(j, &event{Kind: evFail, Items: said, Why: n.why})
	}
	if len(left) > 0 {
		why := "failed on every provider that fits"
		for p := range j.state.refused {
			why = "the program is refused by its profile, says " + string(p) + " and another provider"
		}
		x.record(j, &event{Kind: evFail, Items: left, Why: why})
	}
}

// copyStragglers gives ranges that take too long to another owner too.
func (x *Indexer) copyStragglers(j *job, now time.Time) {
	st := j.state
	pr := match.Progress{Done: st.reached(), Total: st.n, P75ItemSeconds: match.Quantile(j.samples, 0.75), Floor: x.cfg.Timing.SlowFloor}
	if 2*pr.Done < pr.Total || pr.Done == pr.Total || !j.serving(x.terms(j.spec.Tier)) {
		return
	}
	for _, s := range slices.Clone(st.provs) {
		p := x.peers[s.addr]
		if p == nil || s.out.size() == 0 {
			continue
		}
		d := p.dealing(j.id)
		for _, h := range heads(s, d, max(p.offer.Slots, 1), now) {
			if st.waiting.size() == 0 && pr.Straggler(h.items.Len(), now.Sub(h.since)) {
				x.copyTo(j, p, h, now)
			}
		}
	}
}

// head is a range that its provider should be running now.
type head struct {
	items work.RangeSet
	chunk uint64
	since time.Time
}

// heads are the first ranges of s's queue, one a slot, with the time since which
// they are that.
func heads(s *provState, d *dealing, slots uint32, now time.Time) []head {
	var out []head
	seen := map[uint64]time.Time{}
	for _, l := range s.leases {
		for _, r := range s.out.within(l.items) {
			for lo := r.Lo; lo < r.Hi && len(out) < int(slots); {
				hi := min(lo-lo%max(l.chunk, 1)+max(l.chunk, 1), r.Hi)
				hi = max(hi, lo+1)
				since, ok := d.heads[lo]
				if !ok {
					since = now
				}
				seen[lo] = since
				out = append(out, head{work.RangeSet{{Lo: lo, Hi: hi}}, l.chunk, since})
				lo = hi
			}
		}
	}
	d.heads = seen
	return out
}

func (x *Indexer) copyTo(j *job, slow *peer, h head, now time.Time) {
	if j.state.holders(h.items[0].Lo) >= j.spec.MaxCopies {
		return
	}
	for _, r := range x.rank(j, now) {
		p := x.peers[r.Offer.Provider]
		if !p.up() || p == slow || p.offer.Owner == slow.offer.Owner || !x.partLeft(j, p, h.items.Len()) {
			continue
		}
		items := h.items
		if s := j.state.byAddr[p.addr]; s != nil {
			if s.out.size() >= uint64(p.offer.Slots) {
				continue
			}
			items = j.state.mayGet(s, items)
		}
		for _, t := range j.state.byAttempt(items) {
			if t.attempt < maxAttempts {
				x.log.Info("slow range goes to another provider too", "job", j.id.Short(), "items", t.items, "slow", slow.addr, "to", p.addr)
				x.assign(j, p, t, h.chunk, now)
			}
		}
		if len(items) > 0 {
			return
		}
	}
}

// onHeight renews and expires leases.
func (x *Indexer) onHeight() {
	for _, j := range x.active {
		t := x.terms(j.spec.Tier)
		if !t.ledger {
			continue
		}
		for _, s := range j.state.provs {
			for _, l := range slices.Clone(s.leases) {
				x.checkLease(j, t, s, l)
			}
			s.leases = slices.DeleteFunc(s.leases, func(l lease) bool { return l.expires < x.height || len(s.live(l)) == 0 })
		}
	}
}

// live are the items of a lease that its provider may still commit.
func (s *provState) live(l lease) work.RangeSet {
	return s.committed.without(s.out.within(l.items).Union(s.late.within(l.items)).Union(s.have.within(l.items)))
}

func (x *Indexer) checkLease(j *job, t terms, s *provState, l lease) {
	left := l.expires - x.height
	if left >= 0 && left*2 > x.params.ClosingBlocks {
		return
	}
	items := s.live(l)
	if len(items) == 0 {
		return
	}
	p := x.peers[s.addr]
	switch {
	case left < 0:
		x.log.Info("an assignment expired: its items go to others", "job", j.id.Short(), "provider", s.addr, "items", items.Len())
		x.record(j, &event{Kind: evExpire, Provider: s.addr, Items: items})
	case p != nil && p.up() && !s.barred && j.serving(t):
		// The same items, provider and attempt, valid for longer.
		e := &event{Kind: evAssign, Provider: s.addr, Attempt: l.attempt, Items: items, Chunk: l.chunk, Price: l.price, Expires: x.height + x.params.ClosingBlocks}
		x.record(j, e)
		x.durable = true
		x.sendAssign(j, p, lease{l.attempt, items, l.chunk, l.price, e.Expires})
		p.dealing(j.id).flushed = false
	}
}

// retire ends jobs for which nothing more can happen, and takes them out of
// memory when nobody watches.
func (x *Indexer) retire(j *job, now time.Time) {
	t := x.terms(j.spec.Tier)
	if !j.closed && j.chain == lifecycle.JobClosed && len(j.state.open) == 0 {
		x.closeBooks(j)
	}
	over := j.state.done() && !t.ledger || j.closed || j.moved
	over = over || j.rec.Over
	if t.ledger && !j.rec.OnLedger && now.Unix()-j.rec.Since > int64(x.cfg.Timing.Unposted.Seconds()) {
		over = true
	}
	if !over || len(j.watchers) > 0 {
		j.doneAt = time.Time{}
		return
	}
	if j.doneAt.IsZero() {
		j.doneAt = now
	}
	if now.Sub(j.doneAt) < retireAfter {
		return
	}
	j.rec.Over = true
	x.saveJob(j)
	x.ended(j, now)
	x.unload(j)
}

// closeBooks ends what a closed job can no longer bring.
func (x *Indexer) closeBooks(j *job) {
	j.closed = true
	rest := work.RangeSet{{Lo: 0, Hi: j.state.n}}
	for _, s := range []*spans{&j.state.verified, &j.state.failed, &j.state.provisional} {
		rest = s.without(rest)
	}
	for _, s := range j.state.provs {
		if lost := rest.Intersect(s.unpaid.set()); len(lost) > 0 {
			x.record(j, &event{Kind: evFail, Items: lost, Why: s.why + "; the job is closed on the chain: run the command again, which makes a job of what is missing"})
			rest = rest.Minus(lost)
		}
	}
	if len(rest) > 0 {
		x.record(j, &event{Kind: evFail, Items: rest, Why: "the job was closed on the chain before these were done"})
	}
	x.touch(j, nil, true)
}

// over reports whether a client has nothing more to wait for.
func (j *job) over() bool { return j.state.done() || j.closed || j.rec.Over }

// retireAfter is how long a job that is over stays in memory.
const retireAfter = 30 * time.Second

func (x *Indexer) unload(j *job) {
	delete(x.jobs, j.id)
	x.lists.Delete(j.id)
	x.active = slices.DeleteFunc(x.active, func(o *job) bool { return o == j })
	for _, p := range x.peers {
		delete(p.jobs, j.id)
	}
}
