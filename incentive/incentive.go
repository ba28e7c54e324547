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
	ClientPermille uint64 // of a slash
	// RefereePermille of a slash goes to the validators that judged; the rest is
	// burned.
	RefereePermille uint64
	CheckPermille   uint64 // a check's fee as a share of fuel × price
	LookPermille    uint64 // chance of a second look at one draw of a batch
	// RerollPermille is α, the share of voting power that is assumed to skip blocks
	// whose draw would catch the cheat: see Evade.
	RerollPermille uint64
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
	// Sample is m if it is not the tier's own: see ReducedSample. 0 is the tier's.
	Sample uint32
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
	m := r.draws(b)
	if m < b.Items || m == 0 {
		return m
	}
	largest := max(min(b.MaxItemFuel, b.Fuel), 1)
	return min(max(uint64(b.Fuel/largest), 1), m)
}

// draws is m of the batch.
func (r Rules) draws(b Batch) uint64 {
	m := uint64(r.SampleSize(b.Tier, b.Items))
	if b.Sample > 0 {
		m = min(m, uint64(b.Sample))
	}
	return m
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

// Evade turns the chance miss that one draw catches nothing into the chance,
// rounded up, that a cheat goes free who may re-roll: whoever proposes the block
// of the draw alone knows its beacon in time and can only skip the block, and then
// the next proposer's beacon counts. With a share α of all proposers on the
// cheat's side, who skip whenever the draw catches it, the chance M to go free
// solves M = miss + α·(1−miss)·M.
func (r Rules) Evade(miss uint64) uint64 {
	left := One - mulUp(r.RerollPermille*(One/1000), One-miss) // 1 − αP, rounded down
	hi, lo := bits.Mul64(miss, One)
	if hi >= left {
		return One
	}
	q, rem := bits.Div64(hi, lo, left)
	if rem > 0 {
		q++
	}
	return min(q, One)
}

// segments is into how many pieces RequiredBond cuts the faked shares.
const segments = 32

// worst is a lower bound of P(φ)/φ over all faked shares φ in (0, 1], P being the
// chance to be caught in spite of re-rolls, as a fixed-point number at most One.
// Without re-rolls P is concave and φ = 1 is the worst. With them it is not: on a
// piece (a, b] P(φ)/φ is at least P(a)/b, since P grows; and on the first one, (0,
// b], at least (1−α)·P₀(b)/b, since P ≥ (1−α)·P₀ and the chance P₀ of one roll is
// concave.
func (r Rules) worst(m, k, rhoPermille uint64) uint64 {
	at := func(i uint64) uint64 { return Miss(One/segments*i, m, k, rhoPermille) }
	if r.RerollPermille == 0 {
		return One - at(segments)
	}
	least := mulDown((1000-r.RerollPermille)*(One/1000), One-at(1))
	least = min(least, One/segments) * segments
	for i := uint64(1); i < segments; i++ {
		caught := One - r.Evade(at(i))
		hi, lo := bits.Mul64(caught, segments)
		q, _ := bits.Div64(hi, lo, i+1) // hi ≤ 1 < i+1
		least = min(least, q)
	}
	return min(least, One-r.Evade(at(segments)))
}

// RequiredBond is what a provider locks for a batch, and what it loses if it is
// convicted. Honesty is the strict optimum if for every faked share φ
//
//	P(φ)·(W + s·B) > φ·c·W
//
// with W the pay, c ≤ 1 the cost that faking saves as a share of W, P the chance to
// be caught in spite of re-rolls (Evade), and s·B the burned part of the slash
// only: finder, client and referees may be the cheat's own accounts. So with w the
// least P(φ)/φ, s·B > W·(1−w)/w is enough. The bond is at least MinBond and
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
	burned, err := r.Deterrent(b)
	if err != nil {
		return 0, err
	}
	bond, err := mulDivUp(burned, 1000, burn)
	if err != nil {
		return 0, err
	}
	least, err := mulDivUp(pay, r.SlashPermille, 1000)
	if err != nil {
		return 0, err
	}
	return max(r.MinBond, least, bond), nil
}

// Deterrent is what a convicted cheat of the batch must lose for good, beside its
// pay, so that honesty is the strict optimum: the s·B of RequiredBond.
func (r Rules) Deterrent(b Batch) (work.Amount, error) {
	pay, err := b.Pay()
	if err != nil {
		return 0, err
	}
	m, k := r.EffectiveDraws(b), uint64(r.Checkers(b.Tier))
	if m == 0 || k == 0 {
		return 0, fmt.Errorf("tier %s of %d items: %w", b.Tier, b.Items, ErrTier)
	}
	w := r.worst(m, k, b.RhoPermille())
	if w == 0 {
		return 0, fmt.Errorf("bond of %d draws: %w", m, work.ErrOverflow)
	}
	burned, err := mulDivUp(pay, One-w, w)
	if err != nil {
		return 0, err
	}
	return burned.Add(1)
}

// ReducedSample is the least m with which the batch's bond and a pledge of the
// provider's unvested pay still deter, and that pledge. Only what can be slashed
// lowers m: a good history alone never does, because it costs nothing to sell.
// slashable is what may be pledged; a pledge of 0 comes with the tier's own m.
func (r Rules) ReducedSample(b Batch, bond, slashable work.Amount) (m uint32, pledge work.Amount, err error) {
	m = r.SampleSize(b.Tier, b.Items)
	burn, err := r.burnPermille()
	if err != nil || slashable == 0 {
		return m, 0, err
	}
	burned, err := work.MulDiv(bond, burn, 1000)
	if err != nil {
		return m, 0, err
	}
	for less := uint32(1); less < m; less++ {
		b.Sample = less
		need, err := r.Deterrent(b)
		if err == nil && need-min(need, burned) <= slashable {
			return less, max(need-min(need, burned), 1), nil
		}
	}
	return m, 0, nil
}

// OneBond is what a provider locks for all its unsettled batches: the largest of
// their bonds, on the condition that a slash after which the bond covers the
// others no more voids them all. It is enough for any number of false batches at a
// time: with miss chances q and deterrents a = W·q/(1−q) ≤ A, all of them go free
// with chance Q = Πq, and ΣW·Q/(1−Q) ≤ A, because Σ(1/q − 1) ≤ Π(1/q) − 1.
func OneBond(bonds []work.Amount) (largest work.Amount) {
	for _, b := range bonds {
		largest = max(largest, b)
	}
	return largest
}

// Reward is what is minted for paid work that burned fee: less than it, so that
// nobody gains by paying himself.
func Reward(fee work.Amount, mintPermille uint64) (work.Amount, error) {
	return work.MulDiv(fee, min(mintPermille, 999), 1000)
}

// Emission is what an epoch of the commons may be paid: first, halved after each
// halving epochs.
func Emission(first work.Amount, epoch, halving int64) work.Amount {
	n := max(epoch, 0) / max(halving, 1)
	if n > 63 {
		return 0
	}
	return first >> uint(n)
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
	miss := r.Evade(Miss(phiPermille*(One/1000), r.EffectiveDraws(b), uint64(r.Checkers(b.Tier)), b.RhoPermille()))
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
// largest item; drawing every item once costs the total. A second look costs one
// check more of one item.
func (r Rules) CheckBudget(b Batch) (work.Amount, error) {
	m := r.draws(b)
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
	checks, err := mulDivUp(cost, r.CheckPermille*uint64(r.Checkers(b.Tier)), 1000)
	if err != nil || r.LookPermille == 0 {
		return checks, err
	}
	look, err := r.CheckFee(min(b.MaxItemFuel, b.Fuel), b.Price)
	if err != nil {
		return 0, err
	}
	return checks.Add(look)
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
	if r.FinderPermille+r.ClientPermille+r.RefereePermille >= 1000 {
		return 0, errors.New("finder, client and referees take the whole slash: nothing deters a cheat who is all of them")
	}
	return 1000 - r.FinderPermille - r.ClientPermille - r.RefereePermille, nil
}

// pow is x^n of a fixed-point number at most One, rounded up.
func pow(x, n uint64) uint64 {
	v := uint64(One)
	for range min(n, 1<<12) { // smaller exponents only bound the result from above
		v = mulUp(v, x)
	}
	return v
}

// mulDown is x × y of fixed-point numbers at most One, rounded down.
func mulDown(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	q, _ := bits.Div64(hi, lo, One)
	return q
}

// mulUp is x × y of fixed-point numbers at most One, rounded up.
func mulUp(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	q, rem := bits.Div64(hi, lo, One)
	if rem > 0 {
		q++
	}
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
