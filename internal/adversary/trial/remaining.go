package trial

import (
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
	}}
}
