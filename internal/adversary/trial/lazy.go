package trial

import (
	"fmt"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// watched is a world with an honest provider's batches and one checker of the
// attacker's among the honest.
func watched(w *World, tier work.Tier, batches int) *Checker {
	w.honestNetwork(4, 4)
	j := w.job("client", honest, tier, uint64(batches)*12, dear)
	w.provider("worker", honest, j, batches, 12)
	return w.checker("lazy", evil, 200*gtg)
}

// lazy is attack 5: a checker that does not execute.
func lazy() (l []Attack) {
	add := func(name string, tier work.Tier, change func(w *World, c *Checker)) {
		l = append(l, Attack{ID: fmt.Sprintf("5%c", 'a'+len(l)), Name: name, Most: 3000, Describe: func(w *World, cheat bool) {
			c := watched(w, tier, 15)
			if cheat {
				change(w, c)
			}
		}})
	}
	// What a checker can know before the reveals: the item, its fuel from the opened
	// node, and the outputs of the items before. Everything but the memory digest may
	// be guessed.
	guess := func(_ *Checker, b *Batch, at uint64) (work.Leaf, work.Fuel) {
		leaf, _ := b.Job.truth(b.Items.At(at))
		leaf.Memory = work.Sum("guess", leaf.Memory[:])
		return leaf, 0
	}
	add("checker guesses small outputs and always matches", work.TierEconomic, func(_ *World, c *Checker) { c.Finds = guess })
	add("checker guesses, and keeps silent when it was wrong", work.TierEconomic, func(_ *World, c *Checker) {
		c.Finds = guess
		c.Reveals = func(b *Batch) bool { // it waits to see the provider's leaves
			if !b.now.Draws[0].Revealed {
				return false
			}
			k := b.now.CheckOf(c.Account)
			for i, leaf := range b.leavesOf(c, k) {
				if leaf != b.now.Draws[k.Draws[i]].Leaf {
					return false
				}
			}
			return true
		}
	})
	add("checker replays another's commitment", work.TierAssured, func(_ *World, c *Checker) {
		c.Finds = func(_ *Checker, b *Batch, at uint64) (work.Leaf, work.Fuel) { return b.Leaves[at], 0 }
		others := func(b *Batch) *lifecycle.Check {
			for i := range b.now.Checks {
				if o := &b.now.Checks[i]; o.CommitHeight != 0 && o.Checker != c.Account {
					return o
				}
			}
			return nil
		}
		c.Commits = func(b *Batch) bool { return others(b) != nil }
		c.Commitment = func(_ *Checker, b *Batch, _ work.Hash) work.Hash { return others(b).Commitment }
	})
	add("checker is drawn and absent", work.TierEconomic, func(_ *World, c *Checker) {
		c.Commits = func(*Batch) bool { return false }
	})
	add("checker commits and never reveals", work.TierEconomic, func(_ *World, c *Checker) {
		c.Reveals = func(*Batch) bool { return false }
	})
	for _, v := range []struct {
		name  string
		price work.Price
	}{{"cheap", 1000}, {"dear", dear}} {
		l = append(l, Attack{ID: fmt.Sprintf("5%c", 'a'+len(l)), Name: "checker copies the leaves that a worker with 20 % lies leaks, " + v.name + " items", Most: 5000, Mean: true,
			Describe: func(w *World, cheat bool) {
				w.honestNetwork(4, 4)
				j := w.job("client", honest, work.TierEconomic, 30*12, v.price)
				p := w.provider("leaky", evil+"'s friend", j, 30, 12)
				p.Compute = share(w, 200)
				c := w.checker("lazy", evil, 1000*gtg)
				if cheat {
					c.Finds = func(_ *Checker, b *Batch, at uint64) (work.Leaf, work.Fuel) { return b.Leaves[at], 0 }
				}
			}})
	}
	return l
}

// withhold is attack 6: somebody keeps back what the others need.
func withhold() (l []Attack) {
	add := func(a Attack) {
		a.ID, a.Most = fmt.Sprintf("6%c", 'a'+len(l)), 5000
		l = append(l, a)
	}
	for _, v := range []struct {
		phase lifecycle.Phase
		name  string
	}{{lifecycle.Opening, "does not open"}, {lifecycle.Revealing, "does not reveal"}} {
		add(Attack{Name: fmt.Sprintf("worker fakes 20 %% and %s when a fake is drawn", v.name), Detects: true, Describe: func(w *World, cheat bool) {
			p := single(w, work.TierEconomic, 30, 24)
			if !cheat {
				return
			}
			p.Compute = share(w, 200)
			silent := func(b *Batch) bool { return !b.Caught }
			if v.phase == lifecycle.Opening {
				p.Opens = silent
			} else {
				p.Reveals = silent
			}
		}})
	}
	add(Attack{Name: "worker fakes 20 % and hides the inputs when a lie is drawn, client offline", Detects: true, Describe: func(w *World, cheat bool) {
		p := single(w, work.TierEconomic, 30, 24)
		p.Job.Hides = true
		if cheat {
			p.Compute = share(w, 200)
			p.Serves = func(b *Batch) bool { return !b.exposed() }
		}
	}})
	add(Attack{Name: "ring of 33 % hides the inputs of dear one-item batches where caught, client offline", Detects: true, Describe: func(w *World, cheat bool) {
		p := single(w, work.TierEconomic, 30, 1)
		joinRing(w, 3, 333, cheat)
		p.Job.Hides = true
		p.Job.Weigh = func(uint64) work.Fuel { return 30 * unit }
		p.Job.Spec.Escrow, p.Job.Spec.CheckEscrow, p.Job.funds = 2000*gtg, 2000*gtg, 5000*gtg
		if cheat {
			p.Compute = all
			p.Serves = func(b *Batch) bool { return !b.exposed() }
		}
	}})
	add(Attack{Name: "worker is paid and keeps its outputs", Describe: func(w *World, cheat bool) {
		single(w, work.TierEconomic, 10, 12).Keeps = cheat
	}})
	add(Attack{Name: "client and its own worker let nobody fetch the program", Describe: func(w *World, cheat bool) {
		w.honestNetwork(5, 4)
		j := w.job("client", evil, work.TierEconomic, 60, dear)
		p := w.provider("worker", evil, j, 5, 12)
		w.Ended = worth(j)
		j.Hides = cheat
		p.Serves = func(*Batch) bool { return !cheat }
	}})
	add(Attack{Name: "client hides the inputs from all but its workers, who serve them", Harmless: true, Describe: func(w *World, cheat bool) {
		w.honestNetwork(5, 4)
		j := w.job("client", evil, work.TierEconomic, 60, dear)
		w.provider("worker", honest, j, 5, 12)
		j.Hides = cheat
	}})
	add(Attack{Name: "client claims outputs that it has", Describe: func(w *World, cheat bool) {
		w.honestNetwork(5, 4)
		j := w.job("client", evil, work.TierEconomic, 60, dear)
		j.funds += 200 * gtg
		w.provider("worker", honest, j, 5, 12)
		j.Claims = cheat
	}})
	return l
}
