package trial

import (
	"errors"
	"flag"
	"reflect"
	"slices"
	"testing"
)

var (
	seeds     = flag.Uint64("seeds", 2, "seeds of each attack on lifecycle")
	onKeepers = flag.Uint64("keepers", 0, "seeds of each attack on the keepers")
)

// TestAttacks is the short form of `make adversaries`: too few seeds for what holds
// on average, enough for what holds in every run.
func TestAttacks(t *testing.T) {
	t.Parallel()
	for _, a := range append(Attacks(), Remaining()...) {
		t.Run(a.ID, func(t *testing.T) {
			t.Parallel()
			n := *seeds
			if a.Slow && n <= 2 {
				n = 1
			}
			pairs := append(try(t, a, Lifecycle, n), try(t, a, Keepers, *onKeepers)...)
			r := Sum(a, pairs, Bound(100))
			t.Log(r.Line())
			for _, err := range r.Why[:min(len(r.Why), 3)] {
				t.Error(err)
			}
		})
	}
}

func try(t *testing.T, a Attack, mk Maker, n uint64) (pairs []Pair) {
	t.Helper()
	for seed := range n {
		p, err := Run(a, mk, seed)
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, p)
	}
	return pairs
}

// TestOnKeepers tries one attack of each kind that the modules of x/ see
// differently than the machines: money, disputes, deliveries, indexers, the commons.
func TestOnKeepers(t *testing.T) {
	t.Parallel()
	for _, a := range Attacks() {
		if !slices.Contains([]string{"1a", "6d", "8b", "11a", "12b"}, a.ID) {
			continue
		}
		t.Run(a.ID, func(t *testing.T) {
			t.Parallel()
			for _, p := range try(t, a, Keepers, 1) {
				if err := a.Judge(p); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The same seed gives the same run: a failing seed is a report.
func TestSameSeed(t *testing.T) {
	t.Parallel()
	a := ring()[1]
	one, two := try(t, a, Lifecycle, 1), try(t, a, Lifecycle, 1)
	if !reflect.DeepEqual(one, two) {
		t.Errorf("seed 0 gave %+v and then %+v", *one[0].Cheat, *two[0].Cheat)
	}
}

// What an attack must not show is noticed.
func TestNotices(t *testing.T) {
	t.Parallel()
	good := func() []Pair {
		var l []Pair
		for range leastForMean {
			l = append(l, Pair{Cheat: &Outcome{Books: -5 * gtg, False: 100, Caught: 40, P: 40, Variance: 24}, Twin: &Outcome{Books: gtg}})
		}
		return l
	}
	every, onMean := Attack{ID: "x", Detects: true}, Attack{ID: "x", Detects: true, Mean: true}
	for _, a := range []Attack{every, onMean} {
		if r := Sum(a, good(), Bound(1)); !r.OK() {
			t.Errorf("what was expected is %v", r.Why)
		}
	}
	for name, change := range map[string]func(l []Pair) Attack{
		"a run that pays":      func(l []Pair) Attack { l[3].Cheat.Books = 2 * gtg; return every },
		"a mean that pays":     func(l []Pair) Attack { l[3].Cheat.Books = 2000 * gtg; return onMean },
		"too few catches":      func(l []Pair) Attack { shift(l, -5); return onMean },
		"too many catches":     func(l []Pair) Attack { shift(l, 5); return onMean },
		"nothing tried":        func(l []Pair) Attack { none(l); return onMean },
		"a slash of an honest": func(l []Pair) Attack { l[7].Twin.Faults = []error{errors.New("slashed")}; return onMean },
		"a paid lie":           func(l []Pair) Attack { l[7].Cheat.PaidCaught = 1; return onMean },
		"uneven draws": func(l []Pair) Attack {
			l[7].Cheat.Drawn = Drawn{[buckets]float64{90}, [buckets]float64{50, 40}}
			return onMean
		},
	} {
		l := good()
		if r := Sum(change(l), l, Bound(1)); r.OK() {
			t.Errorf("%s was not noticed", name)
		}
	}
}

func shift(l []Pair, by int) {
	for _, p := range l {
		p.Cheat.Caught += by
	}
}

func none(l []Pair) {
	for _, p := range l {
		*p.Cheat = Outcome{Books: p.Cheat.Books}
	}
}
