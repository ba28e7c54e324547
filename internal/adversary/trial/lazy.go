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
	w.provider("worker", honest, 600*gtg, j, batches, 12)
	return w.checker("lazy", evil, 200*gtg)
}

// lazy is attack 5: a checker that does not execute.
func lazy() (l []Attack) {
	add := func(name string, tier work.Tier, change func(w *World, c *Checker)) {
		l = append(l, Attack{ID: fmt.Sprintf("5%c", 'a'+len(l)), Name: name, Most: 3000, Describe: func(w *World, cheat bool) {
			c := watched(w, tier, 20)
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
		c.Commitment = func(_ *Checker, b *Batch, own work.Hash) work.Hash {
			now, err := b.w.chain.Batch(b.w.ctx, b.ID)
			if err != nil {
				return own
			}
			for i := range now.Checks {
				if o := &now.Checks[i]; o.CommitHeight != 0 && o.Checker != c.Account {
					return o.Commitment
				}
			}
			return own
		}
		c.Commits = func(b *Batch) bool { return b.now.CheckOf(c.Account).Deadline <= b.w.height+10 }
	})
	add("checker is drawn and absent", work.TierEconomic, func(_ *World, c *Checker) {
		c.Commits = func(*Batch) bool { return false }
	})
	add("checker commits and never reveals", work.TierEconomic, func(_ *World, c *Checker) {
		c.Reveals = func(*Batch) bool { return false }
	})
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
	return l
}
