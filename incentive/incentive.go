// Package incentive holds the formulas that make honesty pay: how many items of a
// batch are drawn, how many checkers each gets, the bond a provider locks per
// batch, the chance that a cheat is caught, and what it loses on average. The
// chain, the dry run, the console and the simulator use these same functions.
//
// It promises whole-number arithmetic only, rounded against the cheat, so that
// every machine gets the same bits; and that a bond of RequiredBond makes
// honesty the strict optimum for every share of faked work (see RequiredBond).
//
// It never knows accounts, heights or the state of a batch.
package incentive

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/gotong-network/gotong/work"
)

// One is 1.0 of this package's fixed-point numbers: probabilities in 1e-18.
const One = 1_000_000_000_000_000_000

// The assumed share of checker bond in the cheat's hands, in permille. Below the
// floor nobody is believed, because one owner may hide behind many accounts.
// Above the cap no bond helps: where a single checker exists, and it is the
// provider's, only challenges are left; the dry run says so.
const (
	MinRhoPermille = 200
	MaxRhoPermille = 900
)

// ErrTier reports a tier that is not checked.
var ErrTier = errors.New("tier is not checked")

// Rules are the parameters of the chain that the formulas use.
type Rules struct {
	SampleEconomic  uint32 // draws of a batch in tier economic
	SampleAssured   uint32
	MaxFullItems    uint32 // most items of a batch in tier full
	CheckersAssured uint32 // checkers of each draw in tier assured; 1 elsewhere

	MinBond        work.Amount
	SlashPermille  uint64 // of a batch's pay, the least slash
	FinderPermille uint64 // of a slash
	ClientPermille uint64 // of a slash; the rest is burned
	CheckPermille  uint64 // a check's fee as a share of fuel × price
}

// Batch is what the formulas need to know of a batch.
type Batch struct {
	Tier        work.Tier
	Items       uint64
	Fuel        work.Fuel // of all items
	MaxItemFuel work.Fuel // the provider's bound on each item
	Price       work.Price
	// LargestPermille is the largest owner's share of the bonds of the checkers
	// that may be drawn; RhoPermille bounds it.
	LargestPermille uint64
}

// Pay is what the batch's work is paid, shares of validators and burn included.
func (b Batch) Pay() (work.Amount, error) { return work.Cost(b.Fuel, b.Price) }

// RhoPermille is ρ: the share of checker bond assumed to belong to the cheat.
func (b Batch) RhoPermille() uint64 {
	return min(max(b.LargestPermille, MinRhoPermille), MaxRhoPermille)
}

// SampleSize is m: how many of n items a tier draws.
func (r Rules) SampleSize(t work.Tier, n uint64) uint32 {
	most := uint64(0)
	switch t {
	case work.TierEconomic:
		most = uint64(r.SampleEconomic)
	case work.TierAssured:
		most = uint64(r.SampleAssured)
	case work.TierFull:
		most = uint64(r.MaxFullItems)
	}
	return uint32(min(n, most))
}

// Checkers is k: how many checkers each drawn item of a tier gets.
func (r Rules) Checkers(t work.Tier) uint32 {
	switch t {
	case work.TierEconomic, work.TierFull:
		return 1
	case work.TierAssured:
		return r.CheckersAssured
	}
	return 0
}

// EffectiveDraws is the m that the formulas may count on. Points drawn over the
// fuel each hit a faked share φ with chance φ, however it is spread over items;
// so m counts in full. If instead every item is drawn once, a cheat may put most
// of the fuel into one item, which is checked once only: then ⌊total / largest⌋
// counts. Faking φ takes at least φ·⌊total/largest⌋ items, and by the weighted
// AM-GM inequality (1−φ+φx)^m ≥ x^(φm), so that one formula bounds both.
func (r Rules) EffectiveDraws(b Batch) uint64 {
	m := uint64(r.SampleSize(b.Tier, b.Items))
	if m < b.Items || m == 0 {
		return m
	}
	largest := max(min(b.MaxItemFuel, b.Fuel), 1)
	return min(max(uint64(b.Fuel/largest), 1), m)
}

// Miss is the chance, rounded up, that a cheat who fakes a share phi of the fuel
// is not caught: (1−φ(1−ρ^k))^m, as a fixed-point number. phi is one too.
func Miss(phi, m, k, rhoPermille uint64) uint64 {
	honest := One - pow(rhoPermille*(One/1000), k) // some checker of the draw is honest
	return pow(One-mulDown(min(phi, One), honest), m)
}

// DetectionPermille is the chance, rounded down, that faking phiPermille of the
// fuel is caught by m draws with k checkers each.
func DetectionPermille(phiPermille, m, k, rhoPermille uint64) uint64 {
	return (One - Miss(phiPermille*(One/1000), m, k, rhoPermille)) / (One / 1000)
}

// RequiredBond is what a provider locks for a batch, and what it loses if it is
// convicted. Honesty is the strict optimum if for every faked share φ
//
//	P(φ)·(W + s·B) > φ·c·W
//
// with W the pay, c ≤ 1 the cost that faking saves as a share of W, and s·B the
// burned part of the slash only: the finder and the client may be the cheat's
// own accounts. P is concave with P(0) = 0, so P(φ)/φ falls and φ = 1, c = 1 is
// the worst case: s·B > W·ρ^(km)/(1−ρ^(km)). The bond is at least MinBond and
// SlashPermille of the pay.
func (r Rules) RequiredBond(b Batch) (work.Amount, error) {
	pay, err := b.Pay()
	if err != nil {
		return 0, err
	}
	burn, err := r.burnPermille()
	if err != nil {
		return 0, err
	}
	m, k := r.EffectiveDraws(b), uint64(r.Checkers(b.Tier))
	if m == 0 || k == 0 {
		return 0, fmt.Errorf("tier %s of %d items: %w", b.Tier, b.Items, ErrTier)
	}
	miss := Miss(One, m, k, b.RhoPermille())
	burned, err := mulDivUp(pay, miss, One-miss)
	if err != nil {
		return 0, err
	}
	bond, err := mulDivUp(burned+1, 1000, burn)
	if err != nil {
		return 0, err
	}
	least, err := mulDivUp(pay, r.SlashPermille, 1000)
	if err != nil {
		return 0, err
	}
	return max(r.MinBond, least, bond), nil
}

// ExpectedLoss is what a cheat who fakes phiPermille of the batch's fuel under
// its required bond loses on average against working honestly, in ugtg, rounded
// down. It is positive.
func (r Rules) ExpectedLoss(b Batch, phiPermille uint64) (work.Amount, error) {
	bond, err := r.RequiredBond(b)
	if err != nil {
		return 0, err
	}
	burn, err := r.burnPermille()
	if err != nil {
		return 0, err
	}
	pay, err := b.Pay()
	if err != nil {
		return 0, err
	}
	burned, err := work.MulDiv(bond, burn, 1000)
	if err != nil {
		return 0, err
	}
	stake, err := pay.Add(burned)
	if err != nil {
		return 0, err
	}
	phiPermille = min(phiPermille, 1000)
	miss := Miss(phiPermille*(One/1000), r.EffectiveDraws(b), uint64(r.Checkers(b.Tier)), b.RhoPermille())
	lost, err := work.MulDiv(stake, One-miss, One)
	if err != nil {
		return 0, err
	}
	saved, err := work.MulDiv(pay, phiPermille, 1000)
	if err != nil {
		return 0, err
	}
	if saved >= lost { // only by rounding, at a few ugtg
		return 0, nil
	}
	return lost - saved, nil
}

// CheckBudget is the most that the checks of a batch can cost. Two points may hit
// one item and then both draws check it, so m draws cost up to m times the
// largest item; drawing every item once costs the total.
func (r Rules) CheckBudget(b Batch) (work.Amount, error) {
	m := uint64(r.SampleSize(b.Tier, b.Items))
	fuel := b.Fuel
	if m < b.Items {
		hi, lo := bits.Mul64(m, uint64(min(b.MaxItemFuel, b.Fuel)))
		if hi != 0 {
			return 0, fmt.Errorf("fuel of checks: %w", work.ErrOverflow)
		}
		fuel = work.Fuel(lo)
	}
	cost, err := mulDivUp(work.Amount(fuel), uint64(b.Price), work.FuelPerUnit)
	if err != nil {
		return 0, err
	}
	return mulDivUp(cost, r.CheckPermille*uint64(r.Checkers(b.Tier)), 1000)
}

// CheckFee is what re-executing fuel earns a checker.
func (r Rules) CheckFee(fuel work.Fuel, p work.Price) (work.Amount, error) {
	cost, err := work.Cost(fuel, p)
	if err != nil {
		return 0, err
	}
	return work.MulDiv(cost, r.CheckPermille, 1000)
}

func (r Rules) burnPermille() (uint64, error) {
	if r.FinderPermille+r.ClientPermille >= 1000 {
		return 0, errors.New("finder and client take the whole slash: nothing deters a cheat who is both")
	}
	return 1000 - r.FinderPermille - r.ClientPermille, nil
}

// pow is x^n of a fixed-point number at most One, rounded up.
func pow(x, n uint64) uint64 {
	v := uint64(One)
	for range min(n, 1<<12) { // smaller exponents only bound the result from above
		hi, lo := bits.Mul64(v, x)
		q, rem := bits.Div64(hi, lo, One)
		if rem > 0 {
			q++
		}
		v = q
	}
	return v
}

// mulDown is x × y of fixed-point numbers at most One, rounded down.
func mulDown(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	q, _ := bits.Div64(hi, lo, One)
	return q
}

// mulDivUp is ⌈a × num / den⌉.
func mulDivUp(a work.Amount, num, den uint64) (work.Amount, error) {
	hi, lo := bits.Mul64(uint64(a), num)
	if hi >= den {
		return 0, work.ErrOverflow
	}
	q, rem := bits.Div64(hi, lo, den)
	if rem > 0 {
		return work.Amount(q).Add(1)
	}
	return work.Amount(q), nil
}
