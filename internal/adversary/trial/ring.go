package trial

import (
	"fmt"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// ring is attack 4: the worker owns checkers too.
func ring() (l []Attack) {
	add := func(a Attack) {
		a.ID, a.Most = fmt.Sprintf("4%c", 'a'+len(l)), 5000
		l = append(l, a)
	}
	for _, v := range []struct {
		tier     work.Tier
		ring     uint64
		permille uint64
		batches  int
		mean     bool
	}{
		{work.TierEconomic, 200, 200, 30, false}, {work.TierEconomic, 333, 200, 30, false}, {work.TierEconomic, 333, 1000, 8, false},
		{work.TierAssured, 333, 50, 25, true}, {work.TierAssured, 333, 1000, 4, false},
	} {
		add(Attack{Name: fmt.Sprintf("ring with %d %% of checker bond fakes %d %%, tier %s", (v.ring+5)/10, v.permille/10, v.tier), Mean: v.mean, Detects: true,
			Describe: func(w *World, cheat bool) {
				p := single(w, v.tier, v.batches, 24)
				joinRing(w, 3, v.ring, cheat)
				if cheat {
					p.Compute = share(w, v.permille)
				}
			}})
	}
	for _, permille := range []uint64{200, 333} {
		add(Attack{Name: fmt.Sprintf("ring with %d %% of checker bond, one-item batches, all false", (permille+5)/10), Detects: true, Describe: func(w *World, cheat bool) {
			p := single(w, work.TierEconomic, 60, 1)
			joinRing(w, 3, permille, cheat)
			if cheat {
				p.Compute = all
			}
		}})
	}
	add(Attack{Name: "ring with 33 % of checker bond, 120 one-item batches at once, all false, slow where caught", Detects: true, Mean: true, Slow: true, Describe: slowRing})
	add(Attack{Name: "the same where the window is shorter than a conviction, as on a local network", Detects: true, Mean: true, Slow: true, Describe: func(w *World, cheat bool) {
		local := lifecycle.LocalParams()
		w.P.OpenBlocks, w.P.RevealBlocks, w.P.VoteBlocks, w.P.WindowBlocks = local.OpenBlocks, local.RevealBlocks, local.VoteBlocks, local.WindowBlocks
		slowRing(w, cheat)
	}})
	add(Attack{Name: "ring of 33 % split over 30 checkers", Detects: true, Describe: func(w *World, cheat bool) {
		p := single(w, work.TierEconomic, 30, 24)
		joinRing(w, 30, 333, cheat)
		if cheat {
			p.Compute = share(w, 200)
		}
	}})
	add(Attack{Name: "worker splits its bond over 10 accounts, each fakes one batch", Detects: true, Describe: func(w *World, cheat bool) {
		w.honestNetwork(5, 4)
		j := w.job("client", honest, work.TierEconomic, 240, dear)
		for i := range 10 {
			p := w.provider(fmt.Sprint("worker", i), evil, j, 1, 24)
			if cheat {
				p.Compute = share(w, 500)
			}
		}
	}})
	add(Attack{Name: "worker challenges its own lies to take the finder's part", Describe: func(w *World, cheat bool) {
		p := single(w, work.TierEconomic, 10, 24)
		sybil := w.actor("sybil", evil, 1000*gtg)
		if cheat {
			p.Compute = first(1)
			w.EachBlock = func(w *World) {
				for _, b := range w.open {
					if b.refresh() && b.now.Phase == lifecycle.Window {
						leaf, _ := p.Job.truth(b.Items.At(0))
						if err := w.send(sybil, ledger.Challenge{Batch: b.ID, Position: 0, Leaf: leaf}); err == nil {
							b.dirty = true
						}
					}
				}
				if p.Left == 0 && len(w.open) == 0 {
					w.EachBlock = nil
				}
			}
		}
	}})
	add(Attack{Name: "ring of 40 % contradicts the referee about a lie that was challenged: frozen, then convicted", Describe: func(w *World, cheat bool) {
		p := single(w, work.TierAssured, 20, 4)
		joinRing(w, 4, 400, cheat)
		watcher := w.actor("watcher", honest, 1000*gtg)
		if !cheat {
			return
		}
		p.Compute = first(1)
		w.EachBlock = func(w *World) {
			for _, b := range w.open {
				if b.refresh() && b.now.Phase == lifecycle.Window && !b.exposed() {
					leaf, _ := p.Job.truth(b.Items.At(0))
					w.duty(b, watcher, ledger.Challenge{Batch: b.ID, Leaf: leaf})
				}
			}
			if p.Left == 0 && len(w.open) == 0 {
				w.EachBlock = nil
			}
		}
	}})
	l = append(l, exhaust())
	return l
}

// slowRing is a ring that delays the conviction of what was caught, so that the rest
// may settle before.
func slowRing(w *World, cheat bool) {
	p := single(w, work.TierEconomic, 120, 1)
	p.Burst = 120
	joinRing(w, 3, 333, cheat)
	if cheat {
		p.Compute = all
		late := func(b *Batch) bool { return !b.exposed() || b.w.height >= b.now.Deadline }
		p.Opens, p.Reveals = late, late
	}
}

// ringChecker says of the ring's batches what the ring says, unless an honest
// checker was drawn for a lie: then it takes the finder's part with the truth. Of
// others' batches it says the truth.
func ringChecker(c *Checker, b *Batch, at uint64) (work.Leaf, work.Fuel) {
	if b.Provider.Owner == evil && !b.exposed() {
		return b.Leaves[at], 0
	}
	return b.honest(at)
}

// joinRing adds n checkers of the attacker's who hold permille of all checker bond.
func joinRing(w *World, n int, permille uint64, cheat bool) {
	var honest work.Amount
	for _, c := range w.Checkers {
		honest += c.Bond
	}
	each := honest * work.Amount(permille) / work.Amount(1000-permille) / work.Amount(n)
	for i := range n {
		if c := w.checker(fmt.Sprint("ring", i), evil, each); cheat {
			c.Finds = ringChecker
		}
	}
}

// exhaust is the ring that keeps all honest checkers busy with batches of its own
// client, until only the ring is left to check its false batch.
func exhaust() Attack {
	return Attack{
		ID: "4z", Name: "ring exhausts the honest checkers' stakes, then lies", Most: 2000,
		Describe: func(w *World, cheat bool) {
			w.honestNetwork(5, 4)
			own := w.job("ownclient", evil, work.TierAssured, 5000, w.P.MinPrice)
			own.Spec.Escrow = 5 * gtg
			own.Spec.CheckEscrow = 5 * gtg
			filler := w.provider("filler", evil, own, 41, 24)
			filler.Burst = 41
			late := func(b *Batch) bool { return b.w.height >= b.now.Deadline }
			filler.Opens, filler.Reveals = late, late
			j := w.job("client", honest, work.TierEconomic, 24, dear)
			p := w.provider("worker", evil, j, 1, 24)
			p.Start = 25
			if cheat {
				p.Compute = all
			}
			var ring []*Checker
			for i := range 4 {
				c := w.checker(fmt.Sprint("ring", i), evil, 10*gtg)
				if cheat {
					c.Finds = ringChecker
				}
				ring = append(ring, c)
				c.Later = true
			}
			w.EachBlock = func(w *World) {
				if w.height == 22 {
					w.EachBlock = nil
					for _, c := range ring {
						if err := w.send(c.actor, ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: c.Bond}); err != nil {
							w.fault("%v", err)
						}
					}
				}
			}
		},
	}
}
