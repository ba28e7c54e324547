package trial

import (
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Remaining are attacks that the protocol does not stop yet, or only at other
// parameters; docs/adversaries.md says what they need and what they cost. They are
// measured, and audited like all others, but may pay.
func Remaining() []Attack {
	return []Attack{{
		ID: "R1", Name: "10 of 100 keys that propose in a row, commits timed to them, fakes 20 %", Most: 5000, Open: true,
		Describe: func(w *World, cheat bool) {
			by := adjacent(100, 10)
			p := single(w, work.TierEconomic, 10, 24)
			p.When = func(h int64) bool { return by(h+2, 0) && !by(h+1, 0) }
			if cheat {
				p.Compute = share(w, 200)
				grind(w, by, true)
			}
		},
	}, {
		ID: "R2", Name: "attack 4h where the window is shorter than a conviction, as on a local network", Most: 5000, Open: true,
		Describe: func(w *World, cheat bool) {
			local := lifecycle.LocalParams()
			w.P.OpenBlocks, w.P.RevealBlocks, w.P.VoteBlocks, w.P.WindowBlocks = local.OpenBlocks, local.RevealBlocks, local.VoteBlocks, local.WindowBlocks
			slowRing(w, cheat)
		},
	}, {
		ID: "R3", Name: "ring of 33 %, one-item batches, hides the inputs where caught, client offline", Most: 5000, Open: true,
		Describe: func(w *World, cheat bool) {
			p := single(w, work.TierEconomic, 60, 1)
			joinRing(w, 3, 333, cheat)
			p.Job.Hides = true
			p.Job.Weigh = func(uint64) work.Fuel { return 30 * unit } // the fee is small beside it
			p.Job.Spec.Escrow, p.Job.Spec.CheckEscrow, p.Job.funds = 4000*gtg, 4000*gtg, 9000*gtg
			if cheat {
				p.Compute = all
				p.Serves = func(b *Batch) bool { return !b.exposed() }
			}
		},
	}, absent()}
}
