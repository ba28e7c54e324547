package main

import "math"

const maskSide = 64

// blueNoise returns a threshold mask of ranks 0 to 4095 in which near ranks
// lie far apart, by a void-filling variant of Ulichney's void-and-cluster:
// each rank goes where the ranks before it weigh least. Weights are integers,
// so that the mask is the same on every machine.
func blueNoise() []uint16 {
	const (
		cells = maskSide * maskSide
		sigma = 1.7
		unit  = 1 << 24
	)
	var bell [cells]int64
	for i := range bell {
		x, y := i%maskSide, i/maskSide
		x, y = min(x, maskSide-x), min(y, maskSide-y)
		bell[i] = int64(math.Round(unit * math.Exp(-float64(x*x+y*y)/(2*sigma*sigma))))
	}
	// A little seeded roughness breaks the ties of the empty mask.
	var weight [cells]int64
	state := uint64(1)
	for i := range weight {
		state = state*6364136223846793005 + 1442695040888963407
		weight[i] = int64(state >> 44)
	}
	ranks := make([]uint16, cells)
	var taken [cells]bool
	for rank := range cells {
		at := -1
		for i := range weight {
			if !taken[i] && (at < 0 || weight[i] < weight[at]) {
				at = i
			}
		}
		taken[at] = true
		ranks[at] = uint16(rank)
		ax, ay := at%maskSide, at/maskSide
		for i := range weight {
			dx, dy := (i%maskSide-ax)&(maskSide-1), (i/maskSide-ay)&(maskSide-1)
			weight[i] += bell[dy*maskSide+dx]
		}
	}
	return ranks
}
