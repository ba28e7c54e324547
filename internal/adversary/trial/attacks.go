package trial

import (
	"github.com/gotong-network/gotong/work"
)

// Attack is one way to cheat, with what must be seen of it.
type Attack struct {
	ID   string // number of the attack in the list of docs/adversaries.md, and a letter
	Name string
	// Describe sets up a world; with cheat unset the attacker is its honest twin.
	Describe func(w *World, cheat bool)
	// Most bounds a run, in blocks.
	Most int64
	// Mean: the attacker's books are below its twin's on average only, because a
	// single run may be lucky.
	Mean bool
	// Harmless: the attacker may come out even, never above its twin by more than
	// Slack.
	Harmless bool
	Slack    int64 // ugtg
	// Detects: the draws must catch as often as the closed form says.
	Detects bool
	// Check, if set, looks for more that must hold.
	Check func(p Pair) error
}

// Attacks are all attacks, in the order of the table.
func Attacks() []Attack {
	var l []Attack
	for _, f := range []func() []Attack{garbage, thrifty, exitScam, ring, lazy, withhold, griefing, farm, grinder, spam, referee} {
		l = append(l, f()...)
	}
	return l
}

// dear is what a unit costs in most trials: a batch is then worth many times the
// least bond, so that it is not the least bond that deters.
const dear = 1e6

// single is a world with one provider of the attacker's who commits n batches.
func single(w *World, tier work.Tier, batches int, size uint64) *Provider {
	w.honestNetwork(5, 4)
	j := w.job("client", honest, tier, uint64(batches)*size, dear)
	return w.provider("worker", evil, work.Amount(size)*40*gtg, j, batches, size)
}

// all lies in every item and executes none.
func all(p *Provider, i, _, _ uint64) (work.Leaf, work.Fuel) { return p.Job.lie(i), 0 }

// share makes a policy that fakes a share of the items, as the seed says.
func share(w *World, permille uint64) func(*Provider, uint64, uint64, uint64) (work.Leaf, work.Fuel) {
	return func(p *Provider, i, _, _ uint64) (work.Leaf, work.Fuel) {
		if w.rng.Uint64N(1000) < permille {
			return p.Job.lie(i), 0
		}
		l, _ := p.Job.truth(i)
		return l, l.Fuel
	}
}

// first lies in the first n items of each batch.
func first(n uint64) func(*Provider, uint64, uint64, uint64) (work.Leaf, work.Fuel) {
	return func(p *Provider, i, k, _ uint64) (work.Leaf, work.Fuel) {
		if k < n {
			return p.Job.lie(i), 0
		}
		l, _ := p.Job.truth(i)
		return l, l.Fuel
	}
}
