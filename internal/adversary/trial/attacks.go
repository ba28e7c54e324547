package trial

import (
	"fmt"

	"github.com/gotong-network/gotong/work"
)

// Attack is one way to cheat, with what must be seen of it.
type Attack struct {
	ID       string // number of the attack in the issue, and a letter
	Name     string
	Expected string
	// Describe sets up a world; with cheat unset the attacker is its honest twin.
	Describe func(w *World, cheat bool)
	// Most bounds a run, in blocks.
	Most int64
	// Mean: the attacker's books are below its twin's on average only, because a
	// single run may be lucky.
	Mean bool
	// Detects: detection must be as the closed form says.
	Detects bool
}

// Attacks are all attacks, in the order of the table.
func Attacks() []Attack {
	var l []Attack
	l = append(l, garbage()...)
	l = append(l, thrifty()...)
	l = append(l, exhaust())
	return l
}

// price is what a unit costs in most trials: a batch is then worth many times the
// least bond.
const price = 1e6

// single is a world with one provider of the attacker's who commits n batches.
func single(w *World, tier work.Tier, batches int, size uint64) *Provider {
	w.honestNetwork(5, 4)
	j := w.job("client", "honest", tier, uint64(batches)*size, price)
	return w.provider("worker", evil, work.Amount(size)*40*gtg, j, batches, size)
}

func garbage() (l []Attack) {
	for i, t := range []work.Tier{work.TierEconomic, work.TierAssured, work.TierFull} {
		l = append(l, Attack{
			ID: fmt.Sprintf("1%c", 'a'+i), Name: fmt.Sprintf("garbage worker, tier %s", t), Expected: "loses in every run", Detects: true, Most: 2000,
			Describe: func(w *World, cheat bool) {
				p := single(w, t, 10, 24)
				if cheat {
					p.Compute = func(_ *Provider, i, _, _ uint64) (work.Leaf, work.Fuel) { return lie(i), 0 }
				}
			},
		})
	}
	return l
}

// fakes makes a provider fake the share phi of its items, as the seed says.
func fakes(w *World, p *Provider, permille uint64) {
	p.Compute = func(_ *Provider, i, _, _ uint64) (work.Leaf, work.Fuel) {
		if w.rng.Uint64N(1000) < permille {
			return lie(i), 0
		}
		return truth(i), truth(i).Fuel
	}
}

func thrifty() (l []Attack) {
	for i, v := range []struct {
		tier     work.Tier
		permille uint64
		batches  int
		mean     bool
	}{{work.TierEconomic, 10, 100, true}, {work.TierEconomic, 50, 100, true}, {work.TierEconomic, 200, 60, false},
		{work.TierAssured, 10, 100, true}, {work.TierAssured, 50, 60, false}, {work.TierAssured, 200, 30, false}} {
		l = append(l, Attack{
			ID: fmt.Sprintf("2%c", 'a'+i), Name: fmt.Sprintf("thrifty worker, %d %% of items, tier %s", v.permille/10, v.tier),
			Expected: "loses", Detects: true, Mean: v.mean, Most: 4000,
			Describe: func(w *World, cheat bool) {
				p := single(w, v.tier, v.batches, 24)
				if cheat {
					fakes(w, p, v.permille)
				}
			},
		})
	}
	return l
}
