package main

import "math"

// maxSamples bounds the paths per pixel.
const maxSamples = 1 << 14

// Sample dimensions come in pairs. The pixel and the lens use one pair each,
// every bounce up to steadyBounces three; later bounces are hashed.
const (
	pairPixel     = 0
	pairLens      = 1
	pairBounce    = 2
	pairsABounce  = 3
	steadyBounces = 4
	pairs         = pairBounce + pairsABounce*steadyBounces
)

// Offsets of a bounce's pairs.
const (
	pairScatter = iota // direction
	pairLight          // point on a light
	pairChoice         // which lobe, which light
)

// pattern holds the frame's sample points: for each pair of dimensions a
// scrambled (0,2)-sequence, the same for all pixels, which every pixel shifts
// by its own value of a blue-noise mask. Neighbouring pixels then err in
// opposite directions, and what noise is left is fine-grained.
type pattern struct {
	samples int
	points  []float32 // [pair][sample][2]
	mask    []uint16
	shift   [pairs][4]int // of the mask, for x and y of each coordinate
	seed    uint64
}

func newPattern(samples int, seed uint64, mask []uint16) *pattern {
	p := &pattern{samples: samples, mask: mask, seed: seed, points: make([]float32, 2*pairs*samples)}
	for pair := range pairs {
		key := hash(seed, uint64(pair))
		flip0, flip1, order := uint32(key), uint32(key>>32), uint32(hash(key, 1))
		for s := range samples {
			// Pairs take their points in different orders, or they would
			// correlate. Only whole powers of two survive reordering.
			i := uint32(s)
			if samples&(samples-1) == 0 {
				i = scramble(i, order) & uint32(samples-1)
			}
			a, b := sobol(i)
			out := p.points[2*(pair*samples+s):]
			out[0], out[1] = unitFloat(scramble(a, flip0)), unitFloat(scramble(b, flip1))
		}
		move := hash(key, 2)
		for k := range p.shift[pair] {
			p.shift[pair][k] = int(move>>(8*k)) & (maskSide - 1)
		}
	}
	return p
}

// at returns the point of one pair of dimensions for a pixel's sample.
func (p *pattern) at(pair, sample, x, y int) (float32, float32) {
	if pair >= pairs {
		h := hash(hash(p.seed, uint64(uint32(x))<<32|uint64(uint32(y))), uint64(pair)<<32|uint64(uint32(sample)))
		return unitFloat(uint32(h)), unitFloat(uint32(h >> 32))
	}
	k := 2 * (pair*p.samples + sample)
	sh := &p.shift[pair]
	u := p.points[k] + p.rank(x+sh[0], y+sh[1])
	v := p.points[k+1] + p.rank(x+sh[2], y+sh[3])
	return u - float32(math.Floor(float64(u))), v - float32(math.Floor(float64(v)))
}

func (p *pattern) rank(x, y int) float32 {
	r := p.mask[(y&(maskSide-1))*maskSide+x&(maskSide-1)]
	return (float32(r) + 0.5) * (1.0 / (maskSide * maskSide))
}

// sobol returns the first two dimensions of Sobol's sequence.
func sobol(i uint32) (a, b uint32) {
	v := uint32(1) << 31
	w := v
	for ; i != 0; i >>= 1 {
		if i&1 != 0 {
			a ^= v
			b ^= w
		}
		v >>= 1
		w ^= w >> 1
	}
	return a, b
}

// scramble flips every bit of x depending on the bits above it only, as
// Owen's nested uniform scrambling does, so that a (0,2)-net stays one. The
// hash between the reversals is Laine and Karras's with Vegdahl's constants.
func scramble(x, key uint32) uint32 {
	x = reverse(x)
	x += key
	x ^= x * 0x6c50b47c
	x ^= x * 0xb82f1e52
	x ^= x * 0xc7afe638
	x ^= x * 0x8d22f6e6
	return reverse(x)
}

func reverse(x uint32) uint32 {
	x = x>>1&0x55555555 | x&0x55555555<<1
	x = x>>2&0x33333333 | x&0x33333333<<2
	x = x>>4&0x0f0f0f0f | x&0x0f0f0f0f<<4
	x = x>>8&0x00ff00ff | x&0x00ff00ff<<8
	return x>>16 | x<<16
}

// unitFloat maps 32 bits into [0, 1).
func unitFloat(x uint32) float32 { return float32(x>>8) * (1.0 / (1 << 24)) }

// hash mixes a counter into a key (the finaliser of SplitMix64).
func hash(key, counter uint64) uint64 {
	z := key + (counter+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
