package trial

import (
	"testing"
)

func TestKeepers(t *testing.T) {
	for _, a := range Attacks() {
		t.Run(a.ID, func(t *testing.T) {
			pair, err := Run(a, Keepers, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []*Outcome{pair.Cheat, pair.Twin} {
				for i, f := range o.Faults {
					if i < 3 {
						t.Error(f)
					}
				}
			}
			t.Log(float64(pair.Gain()) / gtg)
		})
	}
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	for _, a := range Attacks() {
		t.Run(a.ID, func(t *testing.T) {
			var d []float64
			var p, v float64
			var caught, n int
			for seed := range uint64(20) {
				pair, err := Run(a, Lifecycle, seed)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range []*Outcome{pair.Cheat, pair.Twin} {
					for i, f := range o.Faults {
						if i < 3 {
							t.Errorf("seed %d: %v", seed, f)
						}
					}
				}
				d = append(d, float64(pair.Gain())/gtg)
				p += pair.Cheat.P
				v += pair.Cheat.Variance
				caught += pair.Cheat.Caught
				n += pair.Cheat.False
			}
			m, se := mean(d)
			t.Logf("%s: gain %.2f ± %.2f gtg; false %d caught %d want %.1f ± %.1f; %v", a.Name, m, se, n, caught, p, v, d[:5])
		})
	}
}
