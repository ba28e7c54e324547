package indexer

import (
	"slices"
	"sort"

	"github.com/gotong-network/gotong/work"
)

// spans is a set of item numbers that changes in place: sorted, disjoint,
// non-adjacent ranges, so that what is contiguous costs 16 bytes however many
// items it holds. The zero value is empty.
type spans struct {
	r []work.Range
	n uint64
}

// size is the number of items.
func (s *spans) size() uint64 { return s.n }

// find is the first range that ends behind i.
func (s *spans) find(i uint64) int {
	return sort.Search(len(s.r), func(k int) bool { return s.r[k].Hi > i })
}

func (s *spans) has(i uint64) bool {
	k := s.find(i)
	return k < len(s.r) && s.r[k].Lo <= i
}

// add puts [lo, hi) in and gives how many items were new.
func (s *spans) add(a work.Range) uint64 {
	if a.Lo >= a.Hi {
		return 0
	}
	// Ranges from i up to (not including) j touch or overlap a.
	i := sort.Search(len(s.r), func(k int) bool { return s.r[k].Hi >= a.Lo })
	j := i
	var had uint64
	for ; j < len(s.r) && s.r[j].Lo <= a.Hi; j++ {
		had += s.r[j].Len()
	}
	if i == j {
		s.r = slices.Insert(s.r, i, a)
		s.n += a.Len()
		return a.Len()
	}
	m := work.Range{Lo: min(a.Lo, s.r[i].Lo), Hi: max(a.Hi, s.r[j-1].Hi)}
	s.r[i] = m
	if j > i+1 {
		s.r = slices.Delete(s.r, i+1, j)
	}
	s.n += m.Len() - had
	return m.Len() - had
}

// del takes [lo, hi) out and gives how many items were in.
func (s *spans) del(a work.Range) uint64 {
	i := s.find(a.Lo)
	if i == len(s.r) || a.Lo >= a.Hi || s.r[i].Lo >= a.Hi {
		return 0
	}
	var gone uint64
	j := i
	for ; j < len(s.r) && s.r[j].Lo < a.Hi; j++ {
		gone += min(s.r[j].Hi, a.Hi) - max(s.r[j].Lo, a.Lo)
	}
	left := work.Range{Lo: s.r[i].Lo, Hi: min(a.Lo, s.r[i].Hi)}
	right := work.Range{Lo: a.Hi, Hi: s.r[j-1].Hi}
	keepL, keepR := left.Lo < left.Hi, right.Lo < right.Hi
	s.n -= gone
	switch {
	case keepL && keepR && j == i+1:
		s.r[i] = left
		s.r = slices.Insert(s.r, i+1, right)
		return gone
	case keepL && keepR:
		s.r[i], s.r[j-1] = left, right
		i, j = i+1, j-1
	case keepL:
		s.r[i] = left
		i++
	case keepR:
		s.r[j-1] = right
		j--
	}
	if i == 0 && j < len(s.r) {
		s.r = s.r[j:] // a queue is eaten from its front: no copying
	} else if i < j {
		s.r = slices.Delete(s.r, i, j)
	}
	return gone
}

func (s *spans) addAll(t work.RangeSet) (fresh uint64) {
	for _, r := range t {
		fresh += s.add(r)
	}
	return fresh
}

func (s *spans) delAll(t work.RangeSet) (gone uint64) {
	for _, r := range t {
		gone += s.del(r)
	}
	return gone
}

// set is a copy in canonical form.
func (s *spans) set() work.RangeSet { return slices.Clone(s.r) }

// view is the set itself, valid until the next change.
func (s *spans) view() work.RangeSet { return s.r }

// within is the part of t that is in s.
func (s *spans) within(t work.RangeSet) work.RangeSet {
	var out work.RangeSet
	for _, a := range t {
		for k := s.find(a.Lo); k < len(s.r) && s.r[k].Lo < a.Hi; k++ {
			out = append(out, work.Range{Lo: max(a.Lo, s.r[k].Lo), Hi: min(a.Hi, s.r[k].Hi)})
		}
	}
	return out
}

// without is the part of t that is not in s.
func (s *spans) without(t work.RangeSet) work.RangeSet {
	in := s.within(t)
	if len(in) == 0 {
		return t
	}
	return t.Minus(in)
}
