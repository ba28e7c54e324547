package sim

import "math/bits"

// rng is a stream of random numbers (splitmix64): a counter and a mixer, so that
// any stream can be made at any time from what it is for.
type rng struct{ state uint64 }

// What streams are for.
const (
	forSetup uint64 = iota + 1
	forChurn
	forDemand
	forMarket
	forBatches
	forCommons
	forFreeze
)

// stream is the stream of a purpose and two numbers, such as a provider and a tick.
func stream(seed, purpose, a, b uint64) rng {
	return rng{mix(mix(mix(seed^purpose<<56)+a) + b)}
}

func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *rng) next() uint64 {
	z := mix(r.state)
	r.state += 0x9e3779b97f4a7c15
	return z
}

// below is in [0, n); no value is likelier than another by more than n in 2^64.
func (r *rng) below(n uint64) uint64 {
	hi, _ := bits.Mul64(r.next(), n)
	return hi
}

// hit is true with a chance in permille.
func (r *rng) hit(permille uint64) bool { return r.below(1000) < permille }

// spread is a factor in permille from a log-normal of median 1 and σ = 0.5, by 32
// quantiles: whole numbers, so that no machine's logarithm counts.
func (r *rng) spread() uint64 { return quantiles[r.below(uint64(len(quantiles)))] }

// wide is a factor in permille of twice that σ.
func (r *rng) wide() uint64 {
	q := r.spread()
	return max(q*q/1000, 1)
}

var quantiles = [32]uint64{341, 433, 492, 541, 583, 623, 660, 696, 731, 766, 800, 835, 870, 906, 943, 981,
	1020, 1061, 1104, 1149, 1197, 1249, 1306, 1368, 1437, 1515, 1605, 1714, 1850, 2032, 2312, 2936}
