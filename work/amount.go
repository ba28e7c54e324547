package work

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Denom is the chain's base denomination; one gtg is a million ugtg.
const Denom = "ugtg"

// UgtgPerGtg is the number of base units in one gtg.
const UgtgPerGtg = 1_000_000

// FuelPerUnit is the fuel of one work unit.
const FuelPerUnit = 1_000_000_000

// Amount is money in ugtg. The whole supply fits, so sums that overflow are
// errors, never wraps.
type Amount uint64

// Price is ugtg per work unit (1e9 fuel).
type Price uint64

// Fuel counts executed work of the gw1 profile.
type Fuel uint64

// Address is an account of the chain in bech32 (gotong1…).
type Address string

// ErrOverflow reports a sum or product that leaves 64 bits.
var ErrOverflow = errors.New("amount overflows 64 bits")

// ErrAmount reports text that is not an amount.
var ErrAmount = errors.New("not an amount: write 1.5gtg or 1500000ugtg")

// Cost is ⌊fuel × price / 1e9⌋ in ugtg.
func Cost(f Fuel, p Price) (Amount, error) { return MulDiv(Amount(f), uint64(p), FuelPerUnit) }

// MulDiv is ⌊a × num / den⌋ with a 128-bit product; den must not be 0.
func MulDiv(a Amount, num, den uint64) (Amount, error) {
	hi, lo := bits.Mul64(uint64(a), num)
	if hi >= den {
		return 0, ErrOverflow
	}
	q, _ := bits.Div64(hi, lo, den)
	return Amount(q), nil
}

// Add is a + b.
func (a Amount) Add(b Amount) (Amount, error) {
	s, c := bits.Add64(uint64(a), uint64(b), 0)
	if c != 0 {
		return 0, ErrOverflow
	}
	return Amount(s), nil
}

// Sub is a − b; taking more than there is, is an error.
func (a Amount) Sub(b Amount) (Amount, error) {
	if b > a {
		return 0, fmt.Errorf("%d ugtg less than %d ugtg: %w", a, b, ErrOverflow)
	}
	return a - b, nil
}

// String gives the amount for people: 1.5gtg, 12ugtg.
func (a Amount) String() string {
	if a < 1000 {
		return strconv.FormatUint(uint64(a), 10) + Denom
	}
	s := fmt.Sprintf("%d.%06d", a/UgtgPerGtg, a%UgtgPerGtg)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") + "gtg"
}

// ParseAmount reads 1.5gtg or 1500000ugtg; more than six decimals of a gtg, a
// sign or another denomination are refused.
func ParseAmount(s string) (Amount, error) {
	if n, ok := strings.CutSuffix(s, Denom); ok {
		v, err := strconv.ParseUint(n, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", clip(s), ErrAmount)
		}
		return Amount(v), nil
	}
	n, ok := strings.CutSuffix(s, "gtg")
	if !ok {
		return 0, fmt.Errorf("%q: %w", clip(s), ErrAmount)
	}
	whole, frac, _ := strings.Cut(n, ".")
	if whole == "" || len(frac) > 6 || strings.HasSuffix(n, ".") || strings.ContainsAny(n, "+-") {
		return 0, fmt.Errorf("%q: %w", clip(s), ErrAmount)
	}
	w, err1 := strconv.ParseUint(whole, 10, 64)
	f, err2 := strconv.ParseUint((frac + "000000")[:6], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%q: %w", clip(s), ErrAmount)
	}
	v, err := MulDiv(Amount(w), UgtgPerGtg, 1)
	if err == nil {
		v, err = v.Add(Amount(f))
	}
	if err != nil {
		return 0, fmt.Errorf("%q: %w", clip(s), err)
	}
	return v, nil
}
