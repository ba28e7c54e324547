package match

import (
	"math"
	"testing"

	"github.com/gotong-network/gotong/work"
)

func TestAskingPrice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lo, hi work.Price
		load   uint32
		want   work.Price
	}{{10, 110, 0, 10}, {10, 110, 500, 60}, {10, 110, 1000, 110}, {10, 110, 4000, 110}, {90, 20, 500, 90}, {1, math.MaxUint64, 1000, math.MaxUint64}} {
		if got := AskingPrice(c.lo, c.hi, c.load); got != c.want {
			t.Errorf("%d to %d at %d: %d, want %d", c.lo, c.hi, c.load, got, c.want)
		}
	}
}

func TestSmoothLoadReachesASteadyLoad(t *testing.T) {
	t.Parallel()
	for _, want := range []uint32{0, 370, 1000} {
		l := uint32(500)
		for range 40 {
			l = SmoothLoad(l, want)
		}
		if max(l, want)-min(l, want) > 2 {
			t.Errorf("a steady load of %d reads %d", want, l)
		}
	}
}

// TestDecay pins bits too: rankings must not depend on the machine.
func TestDecay(t *testing.T) {
	t.Parallel()
	for _, x := range []float64{0, 1e-9, 0.1, 0.5, 1, 2.7, 6, 12} {
		if got, want := decay(x), math.Exp(-x); math.Abs(got-want) > 1e-8 {
			t.Errorf("decay(%g) = %g, want %g", x, got, want)
		}
	}
	if decay(math.NaN()) != 0 || decay(math.Inf(1)) != 0 {
		t.Error("what is no number must decay to 0")
	}
	if got := math.Float64bits(decay(1)); got != decayOfOne {
		t.Errorf("bits of decay(1) are %#x", got)
	}
}

// decayOfOne is 0.36787944… as computed with separately rounded products.
const decayOfOne = 0x3fd78b56362cf004
