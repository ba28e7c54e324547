package match

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/gotong-network/gotong/work"
)

// Candidate is an offer and what the indexer knows about its provider.
type Candidate struct {
	Offer      *work.Offer
	Attested   []work.Attestation // of the offer, those whose Verify gave nil
	RTT        time.Duration      // between indexer and provider; 0: not measured yet
	Reputation float64            // 0…1, from Reputation
	Given      float64            // items handed to it lately, per slot
	Barred     bool               // from this job
}

// Request is what a job asks of a provider.
type Request struct {
	NowUnix     int64 // seconds; offers that expire before are out
	Chain       string
	MaxPrice    work.Price
	MemoryBytes uint64     // of one item
	Class       work.Class // empty: any
	Place       work.Placement
	Only        []work.Address
}

// Weights say how much each part of the score counts.
type Weights struct{ Price, RTT, Reputation, Spread float64 }

// DefaultWeights are the weights used where a job states none.
func DefaultWeights() Weights { return Weights{Price: 1, RTT: 0.5, Reputation: 0.5, Spread: 1} }

// Reason is why an offer does not fit.
type Reason string

// The hard filters, in the order in which they are applied.
const (
	ReasonExpired Reason = "have no valid offer"
	ReasonOnly    Reason = "are not among the own providers that this job is limited to"
	ReasonBarred  Reason = "are barred from this job after a void batch"
	ReasonClass   Reason = "offer another class of hardware"
	ReasonMemory  Reason = "have less memory than an item may use"
	ReasonPrice   Reason = "ask more than the job's price cap"
	ReasonSlots   Reason = "offer no slots now (paused or draining)"
)

// Ranked is a candidate that fits, with its score; higher is better.
type Ranked struct {
	Candidate
	Score float64
}

// Rank gives the candidates that pass every hard filter, best first, and how
// many each filter excluded.
//
// The score is w_price·e^(−price/median) + w_rtt·e^(−rtt/30 ms) +
// w_rep·reputation + w_rand/n, where n is 1 + the items per slot that the
// provider was given lately more than the one that was given least: who has had
// little comes first, so that equal offers share small jobs evenly too. Ties are
// broken by account.
func Rank(cs []Candidate, r Request, w Weights) ([]Ranked, map[Reason]int) {
	out := make([]Ranked, 0, len(cs))
	excluded := map[Reason]int{}
	for _, c := range cs {
		if why := exclude(c, r); why != "" {
			excluded[why]++
			continue
		}
		out = append(out, Ranked{Candidate: c})
	}
	median, least := medianPrice(out), math.Inf(1)
	for i := range out {
		least = min(least, out[i].Given)
	}
	for i := range out {
		out[i].Score = score(out[i].Candidate, median, least, w)
	}
	sort.SliceStable(out, func(a, b int) bool {
		if out[a].Score != out[b].Score {
			return out[a].Score > out[b].Score
		}
		return out[a].Offer.Provider < out[b].Offer.Provider
	})
	return out, excluded
}

func exclude(c Candidate, r Request) Reason {
	o := c.Offer
	switch {
	case o.ExpiresUnix < r.NowUnix || r.Chain != "" && o.Chain != r.Chain:
		return ReasonExpired
	case len(r.Only) > 0 && !slices.Contains(r.Only, o.Provider):
		return ReasonOnly
	case c.Barred:
		return ReasonBarred
	case r.Class != "" && o.Class != r.Class:
		return ReasonClass
	case o.MemoryBytes != 0 && o.MemoryBytes < r.MemoryBytes: // 0: unstated
		return ReasonMemory
	case o.Price > r.MaxPrice:
		return ReasonPrice
	case o.Slots == 0:
		return ReasonSlots
	}
	return misplaced(c, r)
}

// unknownRTT stands for a provider that was not measured yet: not worse than a
// neighbouring country, so that newcomers get work.
const unknownRTT = 30 * time.Millisecond

func score(c Candidate, median, least float64, w Weights) float64 {
	rtt := c.RTT
	if rtt <= 0 {
		rtt = unknownRTT
	}
	nearness := float64(w.RTT * decay(rtt.Seconds()/0.030))
	trust := float64(w.Reputation * c.Reputation)
	cheapness := w.Price
	if median > 0 {
		cheapness = float64(w.Price * decay(float64(c.Offer.Price)/median))
	}
	s := nearness + trust + w.Spread/(1+c.Given-least) + cheapness
	return s
}

func medianPrice(rs []Ranked) float64 {
	if len(rs) == 0 {
		return 0
	}
	ps := make([]work.Price, len(rs))
	for i, r := range rs {
		ps[i] = r.Offer.Price
	}
	slices.Sort(ps)
	return float64(ps[len(ps)/2])
}

// Reputation maps a provider's record to 0…1: a newcomer starts in the middle,
// each missed duty weighs like ten settled batches, each conviction like a
// thousand.
func Reputation(settled, missed uint64, convictions uint32) float64 {
	good := 1 + float64(settled)
	return good / (good + 1 + 10*float64(missed) + 1000*float64(convictions))
}

// Taker is a provider that may get items now, in the order of its rank.
type Taker struct {
	Slots       uint32
	Outstanding uint64  // items it has and has not returned
	Room        uint64  // items it may get on top
	Speed       float64 // items a second of all its slots; 0: not known yet
}

// sharePicks bounds the picks per taker of one Share.
const sharePicks = 32

// Share deals items to takers: to each its room if there is enough for all, else
// in units to the one with the least outstanding work for its capacity, the
// better rank first. Nobody gets more than its room, nor a group more than its.
func Share(ts []Taker, items, unit uint64, groups ...Group) []uint64 {
	grants := make([]uint64, len(ts))
	var room uint64
	for _, t := range ts {
		room += t.Room
	}
	if room <= items && len(groups) == 0 {
		for i, t := range ts {
			grants[i] = t.Room
		}
		return grants
	}
	unit = max(unit, 1, items/uint64(sharePicks*max(len(ts), 1)))
	d := &deal{takers: ts, grants: grants, in: make([][]*Group, len(ts)),
		bySpeed: !slices.ContainsFunc(ts, func(t Taker) bool { return t.Speed <= 0 })}
	for _, g := range slices.Clone(groups) {
		for _, i := range g.Takers {
			d.in[i] = append(d.in[i], &g)
		}
	}
	for items > 0 {
		best := d.emptiest()
		if best < 0 {
			break
		}
		n := min(unit, items, d.room(best))
		grants[best] += n
		for _, g := range d.in[best] {
			g.Room -= n
		}
		items -= n
	}
	return grants
}

// deal is one Share under way.
type deal struct {
	takers  []Taker
	grants  []uint64
	in      [][]*Group // groups of each taker, with the room that is left
	bySpeed bool       // capacity is measured; else it is the slots
}

// room is what taker i may still get.
func (d *deal) room(i int) uint64 {
	n := d.takers[i].Room - d.grants[i]
	for _, g := range d.in[i] {
		n = min(n, g.Room)
	}
	return n
}

func (d *deal) emptiest() int {
	best, least := -1, 0.0
	for i, t := range d.takers {
		if d.room(i) == 0 {
			continue
		}
		capacity := float64(max(t.Slots, 1))
		if d.bySpeed {
			capacity = t.Speed
		}
		if fill := float64(t.Outstanding+d.grants[i]) / capacity; best < 0 || fill < least {
			best, least = i, fill
		}
	}
	return best
}

// Jain is Jain's index of fairness of loads: 1 when all are equal, 1/n when one
// has everything.
func Jain(loads []float64) float64 {
	var sum, squares float64
	for _, l := range loads {
		sum += l
		squares += l * l
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(loads)) * squares)
}
