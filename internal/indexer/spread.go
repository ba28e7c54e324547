package indexer

import (
	"github.com/gotong-network/gotong/match"
)

// A job may bound the part of its items that providers of one owner, or of one
// network, hold. What a provider holds are the items that it was given and whose
// results it did not lose; where it is no longer known (its offer ended and it
// owes nothing), its part is forgotten.

// spread makes the groups that j bounds among the providers that may get items,
// and notes who has no part left.
func (x *Indexer) spread(j *job, os []offered) []match.Group {
	var out []match.Group
	for _, b := range j.bounds() {
		held := x.held(j, b.key)
		out = append(out, match.Spread(len(os), b.limit, func(i int) string { return b.key(os[i].peer) }, func(k string) uint64 { return held[k] })...)
	}
	for _, g := range out {
		if g.Room > 0 {
			continue
		}
		for _, i := range g.Takers {
			os[i].full = true
		}
	}
	return out
}

// partLeft reports whether p may get n more items of j.
func (x *Indexer) partLeft(j *job, p *peer, n uint64) bool {
	for _, b := range j.bounds() {
		if x.held(j, b.key)[b.key(p)]+n > b.limit {
			return false
		}
	}
	return true
}

// bound is the largest number of items that peers of one key may hold.
type bound struct {
	limit uint64
	key   func(p *peer) string
}

func (j *job) bounds() []bound {
	var out []bound
	if m := j.spec.Place.MaxPerOwner; m > 0 {
		out = append(out, bound{match.Cap(j.state.n, m), func(p *peer) string { return string(p.offer.Owner) }})
	}
	if m := j.spec.Place.MaxPerPrefix; m > 0 {
		out = append(out, bound{match.Cap(j.state.n, m), func(p *peer) string { return p.seen }})
	}
	return out
}

// held is how many items of j the peers of each key hold.
func (x *Indexer) held(j *job, key func(p *peer) string) map[string]uint64 {
	out := map[string]uint64{}
	for _, s := range j.state.provs {
		if p := x.peers[s.addr]; p != nil {
			out[key(p)] += s.part()
		}
	}
	return out
}

// part is how many items of the job p holds: at work, with a result, or paid.
func (s *provState) part() uint64 {
	return s.out.set().Union(s.have.set()).Union(s.won.set()).Len()
}
