package trial

import (
	"math"
	"slices"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Outcome is what a run showed.
type Outcome struct {
	Seed    uint64
	Books   int64 // of the attacker, less what it began with
	Height  int64
	Settled int
	Void    int
	Unpaid  int

	// Of the batches with a lie: how many there were, how many had an honest checker
	// drawn for a lie, and the sums of the exact chance of that, its variance, and
	// the chance that incentive promises at least.
	False, Caught         int
	P, Variance, Promised float64
	PaidCaught            int // were paid although caught
	Frozen                int // because checkers contradicted the referee
	MostReferee           int // runs of one item
	Longest               int64
	Drawn                 Drawn
	Faults                []error
}

// observe judges a draw as soon as it is made: what the chance was that it catches
// a lie, and whether it does.
func (b *Batch) observe() {
	if len(b.False) == 0 {
		return
	}
	k := int(b.w.P.Rules().Checkers(b.now.Tier))
	ring, share := b.w.ring(k)
	b.P = 1 - b.miss(ring)
	phi := b.phi()
	m := b.w.P.Rules().EffectiveDraws(incentive.Batch{Tier: b.now.Tier, Items: b.now.N, Fuel: b.now.Root.Fuel, MaxItemFuel: b.now.MaxItemFuel, Sample: b.now.Sample})
	b.Closed = 1 - float64(incentive.Miss(uint64(phi*incentive.One), m, uint64(k), uint64(math.Ceil(share*1000))))/incentive.One
	if a := b.w.alpha; a > 0 { // it skips, each time the next proposer is its own with chance a
		b.P, b.Closed = b.P*(1-a)/(1-a*b.P), b.Closed*(1-a)/(1-a*b.Closed)
	}
	b.Caught = b.exposed()
}

// exposed reports whether an honest checker, second looks included, was drawn for a
// lie.
func (b *Batch) exposed() bool {
	for i := range b.now.Checks {
		c := &b.now.Checks[i]
		if b.w.Checkers[c.Checker].Owner != honest {
			continue
		}
		for _, d := range c.Draws {
			if slices.Contains(b.False, b.positionOf(&b.now.Draws[d])) {
				return true
			}
		}
	}
	return false
}

func (b *Batch) positionOf(d *lifecycle.Draw) uint64 {
	if d.ByIndex || d.Opened {
		return d.Position
	}
	return lifecycle.Locate(b.Nodes, d.Point)
}

// phi is the share of the fuel that is faked.
func (b *Batch) phi() float64 {
	var sum work.Fuel
	for _, at := range b.False {
		sum += b.Leaves[at].Fuel
	}
	return float64(sum) / float64(b.now.Root.Fuel)
}

// ring gives the chance that all k checkers of a draw are the attacker's, and its
// share of the bonds.
func (w *World) ring(k int) (all, share float64) {
	parties, err := w.chain.Parties(w.ctx, lifecycle.RoleChecker)
	if err != nil {
		w.fault("checkers: %w", err)
	}
	var total, bad float64
	var l []float64
	for _, q := range parties {
		v := float64(q.Weight(w.height))
		if v < float64(w.P.CheckerBond) {
			continue
		}
		total += v
		if w.Checkers[q.Account].Owner != honest {
			bad += v
			l = append(l, v)
		}
	}
	if total == 0 {
		return 0, 0
	}
	if k == 1 {
		return bad / total, bad / total
	}
	for _, v := range l { // two different ones
		all += v / total * (bad - v) / (total - v)
	}
	return all, bad / total
}

// miss is the exact chance that no draw of a lie has an honest checker, given that
// all k checkers of a draw are the attacker's with chance ring.
func (b *Batch) miss(ring float64) float64 {
	if b.now.Draws[0].ByIndex {
		return math.Pow(ring, float64(len(b.False)))
	}
	m, miss := uint64(len(b.now.Draws)), 1.0
	total := float64(b.now.Root.Fuel)
	for k := range m {
		lo, hi := math.Floor(total*float64(k)/float64(m)), math.Floor(total*float64(k+1)/float64(m))
		var before, bad float64
		for at, n := range b.Nodes {
			from, to := before, before+float64(n.Fuel)
			before = to
			if slices.Contains(b.False, uint64(at)) {
				bad += max(0, min(to, hi)-max(from, lo))
			}
		}
		miss *= 1 - bad/(hi-lo)*(1-ring)
	}
	return miss
}

// ended keeps how a batch ended.
func (w *World) ended(b *Batch) {
	if b.now.Phase == lifecycle.Settled {
		w.settled++
	}
	if w.Ended != nil {
		w.Ended(b)
	}
}

// audit sums up a run and looks for what must never be.
func (w *World) audit() *Outcome {
	o := &Outcome{Seed: w.Seed, Books: w.books(evil), Height: w.height, Faults: w.faults}
	for _, a := range w.order {
		if a.Owner == evil {
			o.Books -= int64(a.funds)
			for _, v := range w.Validators {
				if v.actor == a {
					o.Books -= v.Power * gtg
				}
			}
		}
	}
	o.Books += w.pooled()
	o.Drawn = w.drawn
	for _, b := range w.Batches {
		w.auditBatch(o, b)
	}
	for _, a := range w.order {
		w.auditParty(a)
	}
	w.auditStakes()
	for _, j := range w.Jobs {
		if r, err := w.chain.Job(w.ctx, j.ID); err == nil && (r.State != lifecycle.JobClosed || r.EscrowFree+r.EscrowLocked+r.CheckFree+r.CheckLocked != 0) {
			w.fault("job of %s is not closed in the end: %d batches open, %s locked", j.Name, r.OpenBatches, r.EscrowLocked)
		}
	}
	o.Faults = w.faults
	return o
}

func (w *World) auditBatch(o *Outcome, b *Batch) {
	if b.Ended == 0 {
		w.fault("batch of %s is still %s at height %d", b.Provider.Name, b.now.Phase, w.height)
		return
	}
	o.Longest = max(o.Longest, b.Ended-b.Committed)
	most := longest(w.P) + w.queued()
	if b.frozen {
		o.Frozen++
		most += w.P.GovernanceBlocks
	}
	if b.Ended-b.Committed > most {
		w.fault("batch of %s took %d blocks: at most %d", b.Provider.Name, b.Ended-b.Committed, most)
	}
	switch b.now.Phase {
	case lifecycle.Settled:
		o.Settled++
	case lifecycle.Void:
		o.Void++
		if b.Provider.Owner == honest && len(b.False) == 0 {
			w.fault("batch of honest %s is void: %s", b.Provider.Name, b.now.Why)
		}
	case lifecycle.Unpaid:
		o.Unpaid++
	}
	for at, runs := range b.voted {
		o.MostReferee = max(o.MostReferee, runs)
		if runs > 1 {
			w.fault("the referee ran position %d of a batch %d times", at, runs)
		}
	}
	if len(b.False) == 0 || !b.drawn {
		return
	}
	o.False++
	o.P += b.P
	o.Variance += b.P * (1 - b.P)
	o.Promised += b.Closed
	if b.Closed > b.P+1e-3 {
		w.fault("a draw catches with %.4f, incentive promises %.4f", b.P, b.Closed)
	}
	if b.Caught {
		o.Caught++
		if b.now.Phase == lifecycle.Settled {
			o.PaidCaught++
		}
	}
}

// queued bounds how long a dispute waits behind all others of the run.
func (w *World) queued() int64 {
	var n int
	for _, b := range w.Batches {
		n += len(b.votedAt)
	}
	return int64(n/int(w.P.MaxDisputes)+1) * (2*w.P.VoteBlocks + 2*w.P.RevealBlocks)
}

// pooled is what the validators' pool got, if it is the attacker's.
func (w *World) pooled() (sum int64) {
	if !w.pool {
		return 0
	}
	for _, b := range w.Batches {
		sum += int64(b.sum(lifecycle.ReasonValidators))
	}
	return sum
}

// sum is what a batch moved for a reason.
func (b *Batch) sum(why lifecycle.Reason) (v work.Amount) {
	for _, t := range b.now.Transfers {
		if t.Reason == why {
			v += t.Amount
		}
	}
	return v
}

func (w *World) auditParty(a *actor) {
	for _, role := range roles {
		q, err := w.chain.Party(w.ctx, role, a.Account)
		if err != nil {
			continue
		}
		if q.Locked != 0 {
			w.fault("%s %s has %s locked for nothing", role, a.Name, q.Locked)
		}
		if a.Owner == honest && (q.Convictions != 0 || q.Missed != 0 || q.Bond < w.deposit(role, a)) {
			w.fault("honest %s %s suffered: bond %s, %d convictions, %d missed", role, a.Name, q.Bond, q.Convictions, q.Missed)
		}
	}
}

// auditStakes wants the stake of every honest validator whole.
func (w *World) auditStakes() {
	for _, v := range w.Validators {
		if stake := w.chain.Stake(v.Account); v.Owner == honest && stake != work.Amount(v.Power)*gtg {
			w.fault("honest validator %s was slashed: its stake is %s", v.Name, stake)
		}
	}
}

func (w *World) deposit(role lifecycle.Role, a *actor) work.Amount {
	if c := w.Checkers[a.Account]; role == lifecycle.RoleChecker && c != nil {
		return c.Bond
	}
	if role == lifecycle.RoleIndexer {
		return a.indexes
	}
	for _, p := range w.Providers {
		if role == lifecycle.RoleProvider && p.actor == a {
			return p.Bond
		}
	}
	return 0
}

// longest bounds the life of a batch where executing always takes less than the
// least waits.
func longest(p lifecycle.Params) int64 {
	dispute := 2*p.VoteBlocks + 2*p.RevealBlocks
	return p.DrawDelayBlocks + int64(p.DrawSpreadBlocks) + p.OpenBlocks + 5*p.CheckBlocks + p.LookDelayBlocks + p.RevealBlocks + dispute +
		p.WindowBlocks*(1+p.OpenBlocks+dispute) + 10
}
