package main

// sequence is a vector of +1 and −1.
type sequence []int8

// energy is the sum of the squares of all aperiodic autocorrelations but the one
// without shift, by its definition.
func (s sequence) energy() (sum int) {
	for k := 1; k < len(s); k++ {
		c := 0
		for i := 0; i+k < len(s); i++ {
			c += int(s[i]) * int(s[i+k])
		}
		sum += c * c
	}
	return sum
}

// search walks for steps sequences and gives the best it saw: lssOrel of Bošković,
// Brglez and Brest. From a random sequence it goes to the best neighbour that this
// walk has not seen, however bad, and begins elsewhere after walkLength steps.
func search(length int, number uint64, steps int) sequence {
	w := newWalk(length, number)
	var best sequence
	least := -1
	for steps > 0 {
		w.restart()
		for n := min(steps, w.walkLength()); n > 0; n-- {
			if steps--; least < 0 || w.energy < least {
				least, best = w.energy, append(best[:0], w.s...)
			}
			if !w.step() {
				break
			}
		}
	}
	return best
}

// walk is a sequence with what a step needs to know of it.
type walk struct {
	rng    uint64
	s      sequence
	corr   []int // by shift
	energy int
	// A skew-symmetric sequence has s[n+i] = (−1)^i·s[n−i] around its middle n. All
	// autocorrelations of odd shift are 0 then, and a move flips two mirrored places,
	// so that there is half as much to search and half as much to add up.
	skew    bool
	moves   int
	keys    []uint64 // by move
	key     uint64   // of the moves made since the restart
	visited map[uint64]bool
}

func newWalk(length int, number uint64) *walk {
	w := &walk{rng: uint64(length)<<40 ^ number, s: make(sequence, length), corr: make([]int, length), skew: length%2 == 1, moves: length}
	if w.skew {
		w.moves = length/2 + 1
	}
	w.keys = make([]uint64, w.moves)
	for i := range w.keys {
		w.keys[i] = w.random()
	}
	return w
}

// random is splitmix64.
func (w *walk) random() uint64 {
	w.rng += 0x9e3779b97f4a7c15
	z := w.rng
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// walkLength is how long a walk goes before it begins elsewhere.
func (w *walk) walkLength() int { return 8 * w.moves }

// restart begins at a random sequence.
func (w *walk) restart() {
	n := len(w.s) / 2
	for i := range w.s {
		w.s[i] = 1
		if w.random()&1 == 1 {
			w.s[i] = -1
		}
	}
	if w.skew {
		for i := 1; i <= n; i++ {
			w.s[n+i] = w.s[n-i]
			if i%2 == 1 {
				w.s[n+i] = -w.s[n+i]
			}
		}
	}
	w.energy = 0
	for k := 1; k < len(w.s); k++ {
		w.corr[k] = 0
		for i := 0; i+k < len(w.s); i++ {
			w.corr[k] += int(w.s[i]) * int(w.s[i+k])
		}
		w.energy += w.corr[k] * w.corr[k]
	}
	w.key, w.visited = 0, map[uint64]bool{0: true}
}

// step goes to the best neighbour that was not visited; false if there is none.
func (w *walk) step() bool {
	to, least := -1, 0
	for m := range w.moves {
		if w.visited[w.key^w.keys[m]] {
			continue
		}
		if e := w.after(m, false); to < 0 || e < least {
			to, least = m, e
		}
	}
	if to < 0 {
		return false
	}
	w.after(to, true)
	w.key ^= w.keys[to]
	w.visited[w.key] = true
	return true
}

// after is the energy after move m, which is made if make says so.
func (w *walk) after(m int, make bool) (energy int) {
	i, j, stride := m, m, 1
	if w.skew {
		j, stride = len(w.s)-1-m, 2
	}
	for k := stride; k < len(w.s); k += stride {
		d := w.change(i, k)
		if j != i {
			d += w.change(j, k)
			if j-i == k { // both ends flip: their product stays
				d += 4 * int(w.s[i]) * int(w.s[j])
			}
		}
		c := w.corr[k] + d
		if make {
			w.corr[k] = c
		}
		energy += c * c
	}
	if make {
		w.s[i] = -w.s[i]
		if j != i {
			w.s[j] = -w.s[j]
		}
		w.energy = energy
	}
	return energy
}

// change is what flipping place i alone adds to the autocorrelation of shift k.
func (w *walk) change(i, k int) int {
	near := 0
	if i >= k {
		near += int(w.s[i-k])
	}
	if i+k < len(w.s) {
		near += int(w.s[i+k])
	}
	return -2 * int(w.s[i]) * near
}
