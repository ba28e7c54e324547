package indexer

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gotong-network/gotong/work"
)

// spans against a plain bitmap, over random changes.
func TestSpansEqualABitmap(t *testing.T) {
	t.Parallel()
	const size = 200
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var s spans
		bits := make([]bool, size+1)
		for range 400 {
			lo := rng.Uint64N(size)
			a := work.Range{Lo: lo, Hi: lo + rng.Uint64N(min(30, size-lo)+1)}
			put := rng.IntN(2) == 0
			var want, got uint64
			for i := a.Lo; i < a.Hi; i++ {
				if bits[i] != put {
					want++
				}
				bits[i] = put
			}
			if put {
				got = s.add(a)
			} else {
				got = s.del(a)
			}
			if got != want {
				t.Fatalf("seed %d: changed %d items, want %d", seed, got, want)
			}
			check(t, &s, bits)
		}
	}
}

func check(t *testing.T, s *spans, bits []bool) {
	t.Helper()
	if err := s.view().Validate(); err != nil {
		t.Fatalf("%v: %v", s.r, err)
	}
	if s.size() != s.view().Len() {
		t.Fatalf("size %d of %v", s.size(), s.r)
	}
	for i, in := range bits {
		if s.has(uint64(i)) != in {
			t.Fatalf("item %d: has %v, want %v", i, !in, in)
		}
	}
	q := work.RangeSet{{Lo: 10, Hi: 60}, {Lo: 90, Hi: 150}}
	if got, want := s.within(q), s.set().Intersect(q); !slices.Equal(got, want) {
		t.Fatalf("within %v, want %v", got, want)
	}
	if got, want := s.without(q), q.Minus(s.set()); !slices.Equal(got, want) {
		t.Fatalf("without %v, want %v", got, want)
	}
}
