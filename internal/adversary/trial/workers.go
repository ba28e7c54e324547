package trial

import (
	"fmt"

	"github.com/gotong-network/gotong/work"
)

// garbage is attack 1: nothing is executed, everything is a lie.
func garbage() (l []Attack) {
	for i, t := range []work.Tier{work.TierEconomic, work.TierAssured, work.TierFull} {
		l = append(l, Attack{
			ID: fmt.Sprintf("1%c", 'a'+i), Name: fmt.Sprintf("garbage worker, tier %s", t), Detects: true, Most: 2000,
			Describe: func(w *World, cheat bool) {
				p := single(w, t, 3, 24)
				if cheat {
					p.Compute = all
				}
			},
		})
	}
	return l
}

// thrifty is attack 2: a share of the fuel is faked, in many shapes.
func thrifty() (l []Attack) {
	add := func(a Attack) {
		a.ID, a.Detects, a.Most = fmt.Sprintf("2%c", 'a'+len(l)), true, 5000
		l = append(l, a)
	}
	for _, v := range []struct {
		tier     work.Tier
		permille uint64
		batches  int
		mean     bool
	}{
		{work.TierEconomic, 10, 40, true}, {work.TierEconomic, 50, 40, true}, {work.TierEconomic, 200, 30, false},
		{work.TierAssured, 10, 15, true}, {work.TierAssured, 50, 15, true}, {work.TierAssured, 200, 10, false},
	} {
		add(Attack{Name: fmt.Sprintf("thrifty worker fakes %d %%, tier %s", v.permille/10, v.tier), Mean: v.mean, Describe: func(w *World, cheat bool) {
			p := single(w, v.tier, v.batches, 24)
			if cheat {
				p.Compute = share(w, v.permille)
			}
		}})
	}
	for _, permille := range []uint64{10, 50, 200} {
		batches := 30
		add(Attack{Name: fmt.Sprintf("fakes one giant item of %d %% in 24", permille/10), Mean: true, Describe: func(w *World, cheat bool) {
			p := single(w, work.TierEconomic, batches, 24)
			p.Job.Weigh = giant(24, permille)
			if cheat {
				p.Compute = first(1)
			}
		}})
	}
	add(Attack{Name: "fakes one giant item of 95 % in 3: every item is drawn once", Describe: func(w *World, cheat bool) {
		p := single(w, work.TierEconomic, 20, 3)
		p.Job.Weigh = giant(3, 950)
		p.Job.Spec.Escrow, p.Job.Spec.CheckEscrow, p.Job.funds = 4000*gtg, 4000*gtg, 10000*gtg
		if cheat {
			p.Compute = first(1)
		}
	}})
	for _, permille := range []uint64{10, 50, 200} {
		add(Attack{Name: fmt.Sprintf("inflates the fuel of one item by %d %% of the batch", permille/10), Mean: true, Describe: func(w *World, cheat bool) {
			p := single(w, work.TierEconomic, 30, 24)
			p.Job.Weigh = func(uint64) work.Fuel { return unit }
			p.Inflates = unit * work.Fuel(permille) / 1000
			if cheat {
				p.Compute = func(_ *Provider, i, k, n uint64) (work.Leaf, work.Fuel) {
					leaf, _ := p.Job.truth(i)
					if k == 0 {
						leaf.Fuel += work.Fuel(n) * unit * work.Fuel(permille) / 1000
					}
					return leaf, unit
				}
			}
		}})
	}
	for _, permille := range []uint64{10, 50, 200} {
		add(Attack{Name: fmt.Sprintf("one-item batches, fakes %d %% of them", permille/10), Mean: permille < 200, Describe: func(w *World, cheat bool) {
			p := single(w, work.TierEconomic, 60, 1)
			if cheat {
				p.Compute = share(w, permille)
			}
		}})
	}
	return l
}

// giant makes the first of n items weigh a share of the batch's fuel.
func giant(n, permille uint64) func(uint64) work.Fuel {
	return func(i uint64) work.Fuel {
		if i%n == 0 {
			return work.Fuel((n - 1) * unit * permille / (1000 - permille))
		}
		return unit
	}
}

// exitScam is attack 3: a long honest career, then false batches all at once, as
// many as the seed says.
func exitScam() []Attack {
	return []Attack{{
		ID: "3a", Name: "exit scam: 500 honest batches, then 1 to 200 false at once", Most: 2000, Detects: true, Slow: true,
		Describe: func(w *World, cheat bool) {
			n := 1 + int(w.Seed*37%200)
			w.honestNetwork(5, 4)
			for _, c := range w.Checkers {
				c.Bond, c.funds = 4000*gtg, 8000*gtg
			}
			j := w.job("client", honest, work.TierEconomic, uint64(500+n)*4, dear)
			p := w.provider("worker", evil, j, 500, 4)
			p.Every, p.Burst = 6, 10
			w.EachBlock = func(w *World) {
				if p.Left == 0 && w.settled >= 500 {
					w.EachBlock = nil
					p.Left, p.Burst = n, n
					if cheat {
						p.Compute = all
					}
				}
			}
		},
	}}
}
