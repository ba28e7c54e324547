package trial

import (
	"flag"
	"testing"
)

var (
	seeds     = flag.Uint64("seeds", 3, "seeds of each attack on lifecycle")
	onKeepers = flag.Uint64("keepers", 0, "seeds of each attack on the keepers")
)

// TestAttacks is the short form of `make adversaries`.
func TestAttacks(t *testing.T) {
	t.Parallel()
	for _, a := range append(Attacks(), Remaining()...) {
		t.Run(a.ID, func(t *testing.T) {
			t.Parallel()
			var pairs []Pair
			run := func(mk Maker, n uint64) {
				for seed := range n {
					p, err := Run(a, mk, seed)
					if err != nil {
						t.Fatal(err)
					}
					pairs = append(pairs, p)
				}
			}
			run(Lifecycle, *seeds)
			run(Keepers, *onKeepers)
			r := Sum(a, pairs, Bound(100))
			t.Logf("%s: gain %.3f ± %.3f gtg, above %d; false %d caught %d want %.1f (%.1f sd, promised %.1f); referee %d longest %d", a.Name, r.Mean, r.Error, r.Above,
				r.False, r.Caught, r.P, r.Deviation, r.Promised, r.MostReferee, r.Longest)
			for i, err := range r.Why {
				if i < 3 {
					t.Error(err)
				}
			}
		})
	}
}
