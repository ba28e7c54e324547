package trial

import (
	"fmt"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// ringChecker says of the ring's batches what the ring says, and the truth of
// others.
func ringChecker(c *Checker, b *Batch, at uint64) (work.Leaf, work.Fuel) {
	if b.Provider.Owner == evil {
		return b.Leaves[at], 0
	}
	return b.honest(c.Account, at)
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
		ID: "4z", Name: "ring exhausts the honest checkers' stakes, then lies", Expected: "loses", Most: 2000,
		Describe: func(w *World, cheat bool) {
			w.honestNetwork(5, 4)
			own := w.job("ownclient", evil, work.TierAssured, 5000, w.P.MinPrice)
			own.Spec.Escrow = 5 * gtg
			own.Spec.CheckEscrow = 5 * gtg
			filler := w.provider("filler", evil, 60*gtg, own, 45, 30)
			filler.Burst = 45
			late := func(b *Batch) bool { return b.w.height >= b.now.Deadline }
			filler.Opens, filler.Reveals = late, late
			j := w.job("client", "honest", work.TierEconomic, 24, price)
			p := w.provider("worker", evil, 200*gtg, j, 1, 24)
			p.Start = 25
			if cheat {
				p.Compute = func(_ *Provider, i, _, _ uint64) (work.Leaf, work.Fuel) { return lie(i), 0 }
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
