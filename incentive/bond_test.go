package incentive

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/gotong-network/gotong/work"
)

// Evade never understates the chance to go free of a cheat that re-rolls, and is
// exact to a few parts in 10^18.
func TestEvade(t *testing.T) {
	t.Parallel()
	for _, alpha := range []uint64{0, 1, 100, 333, 600, 999} {
		r := Rules{RerollPermille: alpha}
		for _, miss := range []uint64{0, 1, One / 1000, One / 3, One / 2, One - 1, One} {
			p := new(big.Rat).SetFrac(new(big.Int).SetUint64(One-miss), new(big.Int).SetUint64(One))
			want := new(big.Rat).Sub(rat(1, 1), evaded(r, p))
			got := new(big.Rat).SetFrac(new(big.Int).SetUint64(r.Evade(miss)), new(big.Int).SetUint64(One))
			off := new(big.Rat).Sub(got, want)
			if off.Sign() < 0 || off.Cmp(rat(10_000, One)) > 0 {
				t.Errorf("α %d miss %d: %s, want %s", alpha, miss, got.FloatString(20), want.FloatString(20))
			}
		}
	}
}

// A cheat that re-rolls as often as its proposers allow is caught as Evade says.
func TestEvadeBySimulation(t *testing.T) {
	t.Parallel()
	const games, alpha, miss = 200_000, 333, 0.3
	rng := rand.New(rand.NewPCG(1, 2))
	free := 0
	for range games {
		for {
			if rng.Float64() < miss {
				free++
				break
			}
			if rng.Float64() >= alpha/1000.0 {
				break // the block is another's: caught
			}
		}
	}
	want := float64(Rules{RerollPermille: alpha}.Evade(One*3/10)) / One
	if got := float64(free) / games; got < want-0.004 || got > want+0.004 {
		t.Errorf("%.4f go free, want %.4f", got, want)
	}
}

// TestOneBondDetersFromManyFalseBatches plays every set of false batches of up to
// six that are open at a time against one bond: the largest. Only what is caught
// nowhere is paid.
func TestOneBondDetersFromManyFalseBatches(t *testing.T) {
	t.Parallel()
	r := local()
	r.SlashPermille, r.RerollPermille = 0, 333
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		n := 1 + rng.IntN(6)
		pays, miss, bonds := make([]*big.Rat, n), make([]*big.Rat, n), make([]work.Amount, n)
		for i := range n {
			b := Batch{Tier: work.TierEconomic, Items: 1 + uint64(rng.IntN(5)), MaxItemFuel: 1e9, Price: work.Price(1 + rng.IntN(1e6)), LargestPermille: uint64(rng.IntN(900))}
			b.Fuel = work.Fuel(b.Items) * 1e9
			var err error
			if bonds[i], err = r.RequiredBond(b); err != nil {
				t.Fatal(err)
			}
			pay, _ := b.Pay()
			pays[i] = new(big.Rat).SetUint64(uint64(pay))
			p := evaded(r, caught(rat(1, 1), r.EffectiveDraws(b), 1, rat(int64(b.RhoPermille()), 1000)))
			miss[i] = new(big.Rat).Sub(rat(1, 1), p)
		}
		lost := burned(r, OneBond(bonds))
		for set := 1; set < 1<<n; set++ {
			free, pay := rat(1, 1), new(big.Rat)
			for i := range n {
				if set>>i&1 == 1 {
					free.Mul(free, miss[i])
					pay.Add(pay, pays[i])
				}
			}
			// Free: pay for nothing. Caught: the burned part. Honest work at cost gains 0.
			gain := new(big.Rat).Mul(pay, free)
			loss := new(big.Rat).Mul(lost, new(big.Rat).Sub(rat(1, 1), free))
			if gain.Cmp(loss) >= 0 {
				t.Fatalf("false batches %b pay %s against %s", set, gain.FloatString(3), loss.FloatString(3))
			}
		}
	}
}

// What a smaller sample no longer deters, the pledge does.
func TestReducedSample(t *testing.T) {
	t.Parallel()
	r := local()
	r.RerollPermille = 333
	for _, slashable := range []work.Amount{0, 1, 1e6, 1e9, 1e12} {
		b := Batch{Tier: work.TierAssured, Items: 1000, Fuel: 1e12, MaxItemFuel: 1e10, Price: 1e6, LargestPermille: 300}
		bond, err := r.RequiredBond(b)
		if err != nil {
			t.Fatal(err)
		}
		m, pledge, err := r.ReducedSample(b, bond, slashable)
		if err != nil || pledge > slashable || m == 0 || m > r.SampleAssured || (m < r.SampleAssured) != (pledge > 0) {
			t.Fatalf("slashable %d: m %d, pledge %d, %v", slashable, m, pledge, err)
		}
		b.Sample = m
		pay, _ := b.Pay()
		w := new(big.Rat).SetUint64(uint64(pay))
		stake := new(big.Rat).Add(w, burned(r, bond))
		stake.Add(stake, new(big.Rat).SetUint64(uint64(pledge)))
		for _, phi := range []int64{1, 31, 100, 500, 1000} {
			f := rat(phi, 1000)
			p := evaded(r, caught(f, uint64(m), 2, rat(3, 10)))
			if p.Mul(p, stake).Cmp(f.Mul(f, w)) <= 0 {
				t.Errorf("slashable %d: faking %d permille of a sample of %d pays", slashable, phi, m)
			}
		}
	}
}

// Whoever pays himself, as client, provider, checker and validator at once, loses
// at least half of the fee burn.
func TestSelfDealingLoses(t *testing.T) {
	t.Parallel()
	for _, fee := range []work.Amount{1, 2, 3, 999, 1000, 1e9, 1<<63 - 1} {
		for _, kappa := range []uint64{0, 1, 500, 999, 1000, 5000} {
			v, err := Reward(fee, kappa)
			if err != nil || v >= fee {
				t.Errorf("burning %d mints %d at κ = %d permille, %v", fee, v, kappa, err)
			}
		}
	}
}

// The emission of all epochs is finite: twice the first halving's.
func TestEmissionDecays(t *testing.T) {
	t.Parallel()
	const first, halving = 1000, 10
	var sum work.Amount
	last := work.Amount(first)
	for e := range int64(1000) {
		v := Emission(first, e, halving)
		if v > last {
			t.Fatalf("emission rises at epoch %d", e)
		}
		last, sum = v, sum+v
	}
	if last != 0 || sum > 2*first*halving {
		t.Errorf("epochs gave %d in all, the last one %d", sum, last)
	}
}
