package match

import "github.com/gotong-network/gotong/work"

// AskingPrice is what a provider asks whose slots are busy by loadPermille: its
// owner's lower bound when it is idle, the upper one when it is full, and in
// proportion between, so that prices follow supply and demand. A load over 1000
// counts as full; hi under lo counts as lo.
func AskingPrice(lo, hi work.Price, loadPermille uint32) work.Price {
	if hi <= lo {
		return lo
	}
	span, err := work.MulDiv(work.Amount(hi-lo), uint64(min(loadPermille, 1000)), 1000)
	if err != nil {
		return hi
	}
	return lo + work.Price(span)
}

// SmoothLoad follows a load: a quarter of the way from the load so far to the
// present one, so that one idle minute does not make a provider cheap.
func SmoothLoad(before, now uint32) uint32 {
	return uint32((3*uint64(min(before, 1000)) + uint64(min(now, 1000)) + 2) / 4)
}

// decay is e^−x for x ≥ 0 to nine digits, 0 for what is no number. It has the same
// bits on every machine, which the library's does not: each product is rounded by
// its own conversion, so that no compiler fuses it with a sum.
func decay(x float64) float64 {
	if !(x < 700) {
		return 0
	}
	y := x / 1024
	v := 1 - float64(y/4)
	v = 1 - float64(float64(y/3)*v)
	v = 1 - float64(float64(y/2)*v)
	v = 1 - float64(y*v)
	for range 10 { // (e^−y)^1024
		v = float64(v * v)
	}
	return v
}
