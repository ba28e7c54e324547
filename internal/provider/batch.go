package provider

import (
	"slices"
	"time"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// expiryRush is how many heights before an assignment's end its results are
// committed, whatever else the rules say.
const expiryRush = 20

// uncommitted is a job's finished work in no batch, as the rule sees it.
type uncommitted struct {
	items   uint64
	oldest  time.Duration // since its first result
	idle    bool          // nothing of the job is queued or running here
	flush   bool          // the indexer has no more for now
	expires int64         // heights until the first of its assignments ends
	full    bool          // more than one batch may hold
	draw    bool          // of the commons
	drawn   bool          // … and the oldest draw has run
}

// due is when work is committed: at enough items and after enough time, whichever
// is later; at the job's tail; and before it waits too long, or grows too large.
func (c *Config) due(u uncommitted) bool {
	switch {
	case u.items == 0:
		return false
	case u.draw: // nobody waits: the whole draw makes one batch, and is checked once
		return u.drawn || u.full || u.expires <= expiryRush
	case u.flush && u.idle, u.full, u.expires <= expiryRush, u.oldest >= c.MaxUncommitted:
		return true
	}
	return u.items >= c.MinBatchItems && u.oldest >= c.BatchTime
}

// need is what a batch would lock.
type need struct {
	bond   work.Amount // of the provider's one bond
	escrow work.Amount // of the job's work escrow
	checks work.Amount // of the job's check escrow
}

// limits are the bounds of the next batch of a job.
type limits struct {
	items  uint64
	height int64
	rules  incentive.Rules
	tier   work.Tier

	bond        work.Amount   // that stays: it answers for all unsettled batches
	open        []work.Amount // what each of those asks of it
	escrowFree  work.Amount
	checkFree   work.Amount
	rhoPermille uint64 // largest checker's share, for the bond
	feePermille uint64 // of the indexer, on top of the pay
	oneDraw     bool   // a batch of the commons is of one draw
}

// price is what a batch of items under one price would lock; false if it is over
// what a batch can be.
func (l *limits) price(n uint64, fuel, maxFuel work.Fuel, price work.Price) (need, bool) {
	b := incentive.Batch{Tier: l.tier, Items: n, Fuel: fuel, MaxItemFuel: maxFuel, Price: price, LargestPermille: l.rhoPermille}
	bond, err1 := l.rules.RequiredBond(b)
	pay, err2 := b.Pay()
	budget, err3 := l.rules.CheckBudget(b)
	if err1 != nil || err2 != nil || err3 != nil {
		return need{}, false
	}
	checks := min(budget, l.checkFree)
	fee, err := work.MulDiv(pay, l.feePermille, 1000)
	if err != nil {
		return need{}, false
	}
	if pay, err = pay.Add(fee); err != nil {
		return need{}, false
	}
	escrow, err := pay.Add(budget - checks)
	return need{bond, escrow, checks}, err == nil
}

func (l *limits) affords(n need) bool {
	return len(l.open) < lifecycle.MaxOpenBatches && incentive.OneBond(append(slices.Clip(l.open), n.bond)) <= l.bond && n.escrow <= l.escrowFree
}

// choose takes as many of the loose chunks, oldest first, as make one batch: of
// one price and one signer, unexpired, within the bounds of a commit and of the bond and escrow
// there is. A chunk that the chain refused before goes alone, so that it does not
// take others down.
func choose(loose []*chunk, l limits) ([]*chunk, need) {
	var out []*chunk
	var got need
	var n uint64
	var fuel, maxFuel work.Fuel
	ranges := 0
	parts := map[*assign]bool{}
	for _, c := range loose {
		switch {
		case c.as.a.ExpiresHeight <= l.height || c.giveUp != "":
			continue
		case len(out) > 0 && (c.as.a.Price != out[0].as.a.Price || c.as.by != out[0].as.by || c.refused > 0 || l.oneDraw && c.as != out[0].as):
			continue
		}
		nextParts := len(parts)
		if !parts[c.as] {
			nextParts++
		}
		if n+c.n() > l.items || ranges+len(c.items) > lifecycle.MaxBatchRanges || nextParts > lifecycle.MaxParts {
			break
		}
		want, ok := l.price(n+c.n(), fuel+c.fuel, max(maxFuel, c.maxFuel), c.as.a.Price)
		if !ok || !l.affords(want) {
			if len(out) == 0 {
				continue // a smaller one may fit
			}
			break
		}
		out, got = append(out, c), want
		n, fuel, maxFuel, ranges = n+c.n(), fuel+c.fuel, max(maxFuel, c.maxFuel), ranges+len(c.items)
		parts[c.as] = true
		if c.refused > 0 {
			break
		}
	}
	return out, got
}

// partsOf groups the items of chunks by their assignment, in the order of the
// assignments.
func partsOf(chunks []*chunk) ([]part, work.RangeSet) {
	by := map[*assign][]work.Range{}
	var all []work.Range
	for _, c := range chunks {
		by[c.as] = append(by[c.as], c.items...)
		all = append(all, c.items...)
	}
	parts := make([]part, 0, len(by))
	for as, rs := range by {
		parts = append(parts, part{as, work.NewRangeSet(rs...)})
	}
	slices.SortFunc(parts, func(a, b part) int {
		if a.as.id < b.as.id {
			return -1
		}
		return 1
	})
	return parts, work.NewRangeSet(all...)
}

// nodesOf commits to each leaf under its own salt; leaves are in the order of
// their positions.
func nodesOf(leaves []work.Leaf, salt work.Hash, job work.JobID) []work.Node {
	nodes := make([]work.Node, len(leaves))
	for i, l := range leaves {
		nodes[i] = work.ItemNode(l.Fuel, l.Hash(), work.ItemSalt(salt, job, uint64(i)))
	}
	return nodes
}

// fullItems are the items of a job that no further copy is paid for.
func fullItems(j *lifecycle.Job) work.RangeSet {
	if len(j.Copies) == 0 || len(j.Copies) < int(j.Spec.MaxCopies) {
		return nil
	}
	full := j.Copies[0]
	for _, c := range j.Copies[1:] {
		full = full.Intersect(c)
	}
	return full
}
