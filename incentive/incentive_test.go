package incentive

import (
	"errors"
	"math/big"
	"testing"

	"github.com/gotong-network/gotong/work"
)

func local() Rules {
	return Rules{
		SampleEconomic: 3, SampleAssured: 20, MaxFullItems: 256, CheckersAssured: 2,
		MinBond: 1, SlashPermille: 600, FinderPermille: 300, ClientPermille: 200, RefereePermille: 100, CheckPermille: 1300,
		LookPermille: 100,
	}
}

var tiers = []work.Tier{work.TierEconomic, work.TierAssured, work.TierFull}

func rat(n, d int64) *big.Rat { return big.NewRat(n, d) }

func ratPow(x *big.Rat, n uint64) *big.Rat {
	v := rat(1, 1)
	for range n {
		v.Mul(v, x)
	}
	return v
}

// caught is 1−(1−φ(1−ρ^k))^m, exactly.
func caught(phi *big.Rat, m, k uint64, rho *big.Rat) *big.Rat {
	one := rat(1, 1)
	hit := new(big.Rat).Mul(phi, new(big.Rat).Sub(one, ratPow(rho, k)))
	return new(big.Rat).Sub(one, ratPow(new(big.Rat).Sub(one, hit), m))
}

// burned is what certainly burns of a bond.
func burned(r Rules, bond work.Amount) *big.Rat {
	b := uint64(bond)
	return new(big.Rat).SetUint64(b - b*r.FinderPermille/1000 - b*r.ClientPermille/1000 - b*r.RefereePermille/1000)
}

// evaded is what re-rolls leave of the chance p to be caught: p(1−α)/(1−αp).
func evaded(r Rules, p *big.Rat) *big.Rat {
	alpha, one := rat(int64(r.RerollPermille), 1000), rat(1, 1)
	left := new(big.Rat).Sub(one, new(big.Rat).Mul(alpha, p))
	return new(big.Rat).Quo(new(big.Rat).Mul(p, new(big.Rat).Sub(one, alpha)), left)
}

// TestRequiredBondMakesHonestyOptimal checks P(φ)·(W + s·B) > φ·W exactly, over a
// grid of shares, tiers, batches, concentrations of checkers and rules.
func TestRequiredBondMakesHonestyOptimal(t *testing.T) {
	t.Parallel()
	bare := local()
	bare.SlashPermille = 0 // the formula alone must do
	dear := local()
	dear.FinderPermille, dear.ClientPermille = 500, 390
	rules := []Rules{local(), bare, dear}
	for _, alpha := range []uint64{100, 333, 600, 900} {
		r := bare
		r.RerollPermille = alpha
		rules = append(rules, r)
	}
	for _, r := range rules {
		for _, tier := range tiers {
			for _, n := range []uint64{1, 2, 3, 4, 19, 20, 21, 100, 256} {
				for _, rho := range []uint64{0, 200, 334, 500, 899, 1000} {
					for _, price := range []work.Price{1, 1000, 1e6} {
						b := Batch{Tier: tier, Items: n, Fuel: work.Fuel(n) * 1e9, MaxItemFuel: 1e9, Price: price, LargestPermille: rho}
						checkOptimal(t, r, b)
						b.MaxItemFuel = b.Fuel // one item may be nearly all
						checkOptimal(t, r, b)
					}
				}
			}
		}
	}
}

func checkOptimal(t *testing.T, r Rules, b Batch) {
	t.Helper()
	bond, err := r.RequiredBond(b)
	if err != nil {
		t.Fatalf("%+v: %v", b, err)
	}
	pay, _ := b.Pay()
	w := new(big.Rat).SetUint64(uint64(pay))
	stake := new(big.Rat).Add(w, burned(r, bond))
	for _, phi := range []int64{1, 10, 31, 32, 63, 100, 333, 500, 900, 999, 1000} {
		f := rat(phi, 1000)
		p := evaded(r, caught(f, r.EffectiveDraws(b), uint64(r.Checkers(b.Tier)), rat(int64(b.RhoPermille()), 1000)))
		if p.Mul(p, stake).Cmp(f.Mul(f, w)) <= 0 {
			t.Fatalf("faking %d permille of %+v pays under a bond of %d", phi, b, bond)
		}
	}
}

// TestWholeBatchDrawsBySize plays every cheat against a batch that is drawn whole,
// one check an item, however skewed its items are.
func TestWholeBatchDrawsBySize(t *testing.T) {
	t.Parallel()
	r := local()
	r.SlashPermille = 0
	for _, fuels := range [][]uint64{{1e9}, {9e9, 1e9}, {5e9, 5e9, 1}, {1e9, 1e9, 1e9}, {1, 2e9, 3e9}} {
		var total, most uint64
		for _, f := range fuels {
			total, most = total+f, max(most, f)
		}
		b := Batch{Tier: work.TierFull, Items: uint64(len(fuels)), Fuel: work.Fuel(total), MaxItemFuel: work.Fuel(most), Price: 1e6, LargestPermille: 334}
		bond, err := r.RequiredBond(b)
		if err != nil {
			t.Fatal(err)
		}
		pay, _ := b.Pay()
		stake := new(big.Rat).Add(new(big.Rat).SetUint64(uint64(pay)), burned(r, bond))
		for cheat := 1; cheat < 1<<len(fuels); cheat++ {
			var faked, n uint64
			for i, f := range fuels {
				if cheat>>i&1 == 1 {
					faked, n = faked+f, n+1
				}
			}
			p := new(big.Rat).Sub(rat(1, 1), ratPow(rat(334, 1000), n))
			gain := new(big.Rat).Mul(new(big.Rat).SetFrac(new(big.Int).SetUint64(faked), new(big.Int).SetUint64(total)), new(big.Rat).SetUint64(uint64(pay)))
			if p.Mul(p, stake).Cmp(gain) <= 0 {
				t.Errorf("faking items %b of %v pays under a bond of %d", cheat, fuels, bond)
			}
		}
	}
}

// TestWorstCaseIsTheWholeBatch holds what RequiredBond leans on: P(φ)/φ falls.
func TestWorstCaseIsTheWholeBatch(t *testing.T) {
	t.Parallel()
	for _, m := range []uint64{1, 3, 20} {
		for _, k := range []uint64{1, 2} {
			last := (*big.Rat)(nil)
			for phi := int64(1); phi <= 1000; phi += 37 {
				f := rat(phi, 1000)
				ratio := new(big.Rat).Quo(caught(f, m, k, rat(1, 5)), f)
				if last != nil && ratio.Cmp(last) > 0 {
					t.Fatalf("m %d k %d: P/φ rises at %d permille", m, k, phi)
				}
				last = ratio
			}
		}
	}
}

func TestMissNeverUnderstates(t *testing.T) {
	t.Parallel()
	for _, m := range []uint64{1, 3, 20, 256} {
		for _, rho := range []uint64{200, 334, 900} {
			for _, phi := range []uint64{0, 1, 37, 500, 1000} {
				exact := new(big.Rat).Sub(rat(1, 1), caught(rat(int64(phi), 1000), m, 2, rat(int64(rho), 1000)))
				got := new(big.Rat).SetFrac(new(big.Int).SetUint64(Miss(phi*(One/1000), m, 2, rho)), big.NewInt(One))
				if got.Cmp(exact) < 0 || new(big.Rat).Sub(got, exact).Cmp(rat(1, 1e12)) > 0 {
					t.Errorf("miss(%d, %d, 2, %d) = %s, exactly %s", phi, m, rho, got.FloatString(15), exact.FloatString(15))
				}
			}
		}
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	r := local()
	r.MinBond = 1e6
	b := Batch{Tier: work.TierEconomic, Items: 100, Fuel: 1e12, MaxItemFuel: 2e10, Price: 10_000}
	for _, c := range []struct {
		name string
		got  uint64
		want uint64
	}{
		{"economic, all faked", DetectionPermille(1000, 3, 1, 200), 992},
		{"economic, a tenth faked", DetectionPermille(100, 3, 1, 200), 221},
		{"assured, a tenth faked", DetectionPermille(100, 20, 2, 200), 867},
		{"nothing faked", DetectionPermille(0, 3, 1, 200), 0},
		{"draws of economic", uint64(r.SampleSize(work.TierEconomic, 2)), 2},
		{"draws of assured", uint64(r.SampleSize(work.TierAssured, 100)), 20},
		{"draws of none", uint64(r.SampleSize(work.TierNone, 100)), 0},
		{"checkers of assured", uint64(r.Checkers(work.TierAssured)), 2},
		{"checkers of none", uint64(r.Checkers(work.TierNone)), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.name, c.got, c.want)
		}
	}
	bond, err := r.RequiredBond(b)
	if err != nil || bond != 6_000_000 {
		t.Errorf("bond of a 10 gtg batch: %d, %v", bond, err)
	}
	if budget, _ := r.CheckBudget(b); budget != 1_040_000 { // 1.3 × (3 + 1 second look) × 2e10 fuel
		t.Errorf("budget %d", budget)
	}
	loss, err := r.ExpectedLoss(b, 1000)
	if err != nil || loss != 2_300_800 { // 0.992 × (10 + 2.4) − 10
		t.Errorf("loss %d, %v", loss, err)
	}
	if _, err := r.RequiredBond(Batch{Tier: work.TierNone, Items: 1, Fuel: 1, MaxItemFuel: 1, Price: 1}); !errors.Is(err, ErrTier) {
		t.Errorf("tier none: %v", err)
	}
	r.FinderPermille = 800
	if _, err := r.RequiredBond(b); err == nil {
		t.Error("a slash that burns nothing was accepted")
	}
}

// TestLossIsPositive: what the dry run shows never says that cheating pays.
func TestLossIsPositive(t *testing.T) {
	t.Parallel()
	r := local()
	r.MinBond = 1e6
	for _, tier := range tiers {
		for _, n := range []uint64{1, 3, 50} {
			b := Batch{Tier: tier, Items: n, Fuel: work.Fuel(n) * 5e9, MaxItemFuel: 6e9, Price: 5000, LargestPermille: 400}
			for phi := uint64(1); phi <= 1000; phi += 111 {
				if loss, err := r.ExpectedLoss(b, phi); err != nil || loss == 0 {
					t.Errorf("%s, %d items, %d permille: loss %d, %v", tier, n, phi, loss, err)
				}
			}
		}
	}
}

// TestBudgetCoversFees: the checks of any draw cost at most the budget.
func TestBudgetCoversFees(t *testing.T) {
	t.Parallel()
	r := local()
	for _, tier := range tiers {
		for _, n := range []uint64{1, 3, 4, 50} {
			for _, fuel := range []work.Fuel{1, 999, 1e6 + 1, 7e9 + 3} {
				b := Batch{Tier: tier, Items: n, Fuel: fuel * work.Fuel(n), MaxItemFuel: fuel, Price: 333}
				budget, err := r.CheckBudget(b)
				if err != nil {
					t.Fatal(err)
				}
				fee, err := r.CheckFee(fuel, b.Price)
				if err != nil {
					t.Fatal(err)
				}
				if most := fee * work.Amount(r.SampleSize(tier, n)*r.Checkers(tier)); most > budget {
					t.Errorf("%+v: fees %d, budget %d", b, most, budget)
				}
			}
		}
	}
}

func TestOverflowIsAnError(t *testing.T) {
	t.Parallel()
	r := local()
	huge := Batch{Tier: work.TierEconomic, Items: 100, Fuel: 1 << 63, MaxItemFuel: 1 << 63, Price: 1 << 40}
	if _, err := r.RequiredBond(huge); !errors.Is(err, work.ErrOverflow) {
		t.Errorf("bond: %v", err)
	}
	if _, err := r.CheckBudget(huge); !errors.Is(err, work.ErrOverflow) {
		t.Errorf("budget: %v", err)
	}
	if _, err := r.CheckFee(1<<63, 1<<40); !errors.Is(err, work.ErrOverflow) {
		t.Errorf("fee: %v", err)
	}
	if _, err := mulDivUp(1<<63, 3, 2); err != nil && !errors.Is(err, work.ErrOverflow) {
		t.Error(err)
	}
}
