package trial

import (
	"fmt"
	"math"
)

// Pair is one seed's run with the attacker and with its honest twin.
type Pair struct{ Cheat, Twin *Outcome }

// Run runs a seed of an attack, with the attacker and with its twin.
func Run(a Attack, mk Maker, seed uint64) (Pair, error) {
	cheat, err := once(a, mk, seed, true)
	if err != nil {
		return Pair{}, err
	}
	twin, err := once(a, mk, seed, false)
	return Pair{cheat, twin}, err
}

func once(a Attack, mk Maker, seed uint64, cheat bool) (*Outcome, error) {
	w := newWorld(seed, mk)
	a.Describe(w, cheat)
	if err := w.start(); err != nil {
		return nil, fmt.Errorf("attack %s, seed %d: %w", a.ID, seed, err)
	}
	w.run(a.Most)
	return w.audit(), nil
}

// Gain is what cheating brought against honesty, in ugtg.
func (p Pair) Gain() int64 { return p.Cheat.Books - p.Twin.Books }

// mean gives the mean of values and the standard error of it.
func mean(v []float64) (m, se float64) {
	for _, x := range v {
		m += x
	}
	m /= float64(len(v))
	var s float64
	for _, x := range v {
		s += (x - m) * (x - m)
	}
	return m, math.Sqrt(s / max(1, float64(len(v)-1)) / float64(len(v)))
}
