package trial

import (
	"errors"
	"fmt"
	"math"
)

// Pair is one seed's run with the attacker and with its honest twin.
type Pair struct {
	Seed        uint64
	Cheat, Twin *Outcome
}

// Run runs a seed of an attack, with the attacker and with its twin.
func Run(a Attack, mk Maker, seed uint64) (Pair, error) {
	cheat, err := once(a, mk, seed, true)
	if err != nil {
		return Pair{}, err
	}
	twin, err := once(a, mk, seed, false)
	return Pair{seed, cheat, twin}, err
}

func once(a Attack, mk Maker, seed uint64, cheat bool) (o *Outcome, err error) {
	defer func() {
		if r := recover(); r != nil { // the ledgers panic on money that is not conserved
			err = fmt.Errorf("attack %s, seed %d: %v", a.ID, seed, r)
		}
	}()
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

// Judge says what a single run showed that it must not.
func (a Attack) Judge(p Pair) error {
	var errs []error
	for _, o := range []*Outcome{p.Cheat, p.Twin} {
		errs = append(errs, o.Faults[:min(len(o.Faults), 3)]...)
	}
	if p.Cheat.PaidCaught > 0 {
		errs = append(errs, fmt.Errorf("%d batches were paid though an honest checker saw a lie", p.Cheat.PaidCaught))
	}
	switch gain := p.Gain(); {
	case a.Open:
	case a.Harmless && gain > a.Slack:
		errs = append(errs, fmt.Errorf("the attacker gained %d ugtg: at most %d", gain, a.Slack))
	case !a.Harmless && !a.Mean && gain >= 0:
		errs = append(errs, fmt.Errorf("the attack paid %d ugtg", gain))
	}
	if a.Check != nil {
		errs = append(errs, a.Check(p))
	}
	return errors.Join(errs...)
}

// Row is what all seeds of an attack showed.
type Row struct {
	Attack      Attack
	Seeds       int // runs, on both kinds of chain
	OnKeepers   int
	Failed      []Pair // of the first failing seeds
	Why         []error
	Mean, Error float64 // of the gain, in gtg, with its standard error
	Above       int     // runs in which the attacker came out above its twin
	False       int
	Caught      int
	P           float64 // expected catches
	Deviation   float64 // of the catches, in standard deviations
	Promised    float64
	ChiSquare   float64
	MostReferee int
	Longest     int64
}

// leastForMean is the least number of runs from which a mean says anything.
const leastForMean = 100

// Sum sums up the pairs of an attack. z is the bound of a deviation, in standard
// deviations: see Bound.
func Sum(a Attack, pairs []Pair, z float64) *Row {
	r := &Row{Attack: a, Seeds: len(pairs)}
	var gains []float64
	var variance float64
	for _, p := range pairs {
		gains = append(gains, float64(p.Gain())/gtg)
		if p.Gain() > 0 {
			r.Above++
		}
		o := p.Cheat
		r.False, r.Caught, r.P, variance, r.Promised = r.False+o.False, r.Caught+o.Caught, r.P+o.P, variance+o.Variance, r.Promised+o.Promised
		r.MostReferee, r.Longest = max(r.MostReferee, o.MostReferee, p.Twin.MostReferee), max(r.Longest, o.Longest, p.Twin.Longest)
		if err := a.Judge(p); err != nil {
			r.Failed, r.Why = append(r.Failed, p), append(r.Why, fmt.Errorf("seed %d: %w", p.Seed, err))
		}
	}
	r.Mean, r.Error = mean(gains)
	var drawn Drawn
	for _, p := range pairs {
		drawn.add(p.Cheat.Drawn)
	}
	if r.ChiSquare = drawn.chiSquare(); r.ChiSquare > chiSquare99_9 {
		r.Why = append(r.Why, fmt.Errorf("draws of the commons are not even: χ² = %.1f over %d parts, at most %.1f with p = 0.001", r.ChiSquare, buckets, chiSquare99_9))
	}
	if a.Mean && len(pairs) >= leastForMean && r.Mean+z*r.Error >= 0 {
		r.Why = append(r.Why, fmt.Errorf("on average the attack pays %.3f ± %.3f gtg: it must lose at %.1f standard errors", r.Mean, r.Error, z))
	}
	if a.Detects {
		r.Deviation = (float64(r.Caught) - r.P) / math.Sqrt(max(variance, 1e-12))
		if variance < 1e-9 {
			r.Deviation = float64(r.Caught) - r.P
		}
		switch {
		case r.False == 0:
			r.Why = append(r.Why, errors.New("no batch had a lie: the trial tried nothing"))
		case math.Abs(r.Deviation) > z:
			r.Why = append(r.Why, fmt.Errorf("%d of %d false batches were caught, %.1f expected: %.1f standard deviations off", r.Caught, r.False, r.P, r.Deviation))
		}
	}
	return r
}

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

// Bound is how many standard deviations one of n cells may be off, so that all of
// them are inside at once with 99.9 % (Bonferroni, two-sided).
func Bound(n int) float64 { return math.Sqrt2 * math.Erfinv(1-0.001/float64(n)) }
