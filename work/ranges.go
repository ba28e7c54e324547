package work

import (
	"fmt"
	"slices"
	"sort"
)

// Range is the half-open interval [Lo, Hi) of item numbers.
type Range struct {
	Lo uint64 `json:"lo"`
	Hi uint64 `json:"hi"`
}

// Len is the number of items.
func (r Range) Len() uint64 { return r.Hi - r.Lo }

// String gives lo-hi, both included, as people write ranges.
func (r Range) String() string {
	if r.Len() == 1 {
		return fmt.Sprint(r.Lo)
	}
	return fmt.Sprintf("%d-%d", r.Lo, r.Hi-1)
}

// RangeSet is a set of item numbers as sorted, disjoint, non-adjacent, non-empty
// ranges: its one canonical form. The nil set is empty. Operations give new sets
// and leave their arguments alone.
type RangeSet []Range

// ErrRanges reports ranges that are empty, unsorted, overlapping or adjacent.
var ErrRanges = fmt.Errorf("%w: ranges must be non-empty, sorted, disjoint and merged", ErrMalformed)

// Validate reports whether s is in canonical form.
func (s RangeSet) Validate() error {
	for i, r := range s {
		if r.Lo >= r.Hi || i > 0 && r.Lo <= s[i-1].Hi {
			return ErrRanges
		}
	}
	return nil
}

// Len is the number of items in the set.
func (s RangeSet) Len() (n uint64) {
	for _, r := range s {
		n += r.Len()
	}
	return n
}

// Contains reports whether item i is in the set.
func (s RangeSet) Contains(i uint64) bool {
	k := sort.Search(len(s), func(k int) bool { return s[k].Hi > i })
	return k < len(s) && s[k].Lo <= i
}

// NewRangeSet merges any ranges, dropping empty ones.
func NewRangeSet(rs ...Range) RangeSet {
	l := make(RangeSet, 0, len(rs))
	for _, r := range rs {
		if r.Lo < r.Hi {
			l = append(l, r)
		}
	}
	slices.SortFunc(l, func(a, b Range) int {
		switch {
		case a.Lo < b.Lo:
			return -1
		case a.Lo > b.Lo:
			return 1
		}
		return 0
	})
	out := l[:0]
	for _, r := range l {
		if n := len(out); n > 0 && r.Lo <= out[n-1].Hi {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// Union is the set of items in s or t.
func (s RangeSet) Union(t RangeSet) RangeSet {
	return NewRangeSet(append(append(make([]Range, 0, len(s)+len(t)), s...), t...)...)
}

// Minus is the set of items in s and not in t.
func (s RangeSet) Minus(t RangeSet) RangeSet {
	var out RangeSet
	k := 0
	for _, r := range s {
		lo := r.Lo
		for k < len(t) && t[k].Hi <= lo {
			k++
		}
		for j := k; j < len(t) && t[j].Lo < r.Hi; j++ {
			if lo < t[j].Lo {
				out = append(out, Range{lo, t[j].Lo})
			}
			lo = max(lo, t[j].Hi)
		}
		if lo < r.Hi {
			out = append(out, Range{lo, r.Hi})
		}
	}
	return out
}

// Intersect is the set of items in both.
func (s RangeSet) Intersect(t RangeSet) RangeSet {
	var out RangeSet
	for i, j := 0, 0; i < len(s) && j < len(t); {
		if lo, hi := max(s[i].Lo, t[j].Lo), min(s[i].Hi, t[j].Hi); lo < hi {
			out = append(out, Range{lo, hi})
		}
		if s[i].Hi < t[j].Hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// At is the k-th item of the set in order; k must be below Len.
func (s RangeSet) At(k uint64) uint64 {
	for _, r := range s {
		if k < r.Len() {
			return r.Lo + k
		}
		k -= r.Len()
	}
	panic("work: position beyond the set")
}

// Position is the place of item i in the set's order, false if it is not in it.
func (s RangeSet) Position(i uint64) (k uint64, ok bool) {
	for _, r := range s {
		if i < r.Lo {
			return 0, false
		}
		if i < r.Hi {
			return k + i - r.Lo, true
		}
		k += r.Len()
	}
	return 0, false
}

// Take splits off the first n items: taken holds at most n, rest the others.
func (s RangeSet) Take(n uint64) (taken, rest RangeSet) {
	for i, r := range s {
		if n == 0 {
			return taken, append(rest, s[i:]...)
		}
		if r.Len() > n {
			taken = append(taken, Range{r.Lo, r.Lo + n})
			rest = append(rest, Range{r.Lo + n, r.Hi})
			return taken, append(rest, s[i+1:]...)
		}
		taken = append(taken, r)
		n -= r.Len()
	}
	return taken, nil
}

// Encode appends a count and each range's bounds.
func (s RangeSet) Encode(e *Encoder) {
	e.U32(uint32(len(s)))
	for _, r := range s {
		e.U64(r.Lo)
		e.U64(r.Hi)
	}
}

// DecodeRangeSet reads at most max ranges in canonical form.
func DecodeRangeSet(d *Decoder, max int) RangeSet {
	n := d.Count(max, 16)
	if n == 0 {
		return nil
	}
	s := make(RangeSet, 0, n)
	for range n {
		s = append(s, Range{d.U64(), d.U64()})
	}
	if d.Err() == nil && s.Validate() != nil {
		d.fail(ErrRanges.Error())
		return nil
	}
	return s
}
