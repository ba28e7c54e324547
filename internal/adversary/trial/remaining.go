package trial

import (
	"fmt"

	"github.com/gotong-network/gotong/work"
)

// Remaining are attacks that the protocol does not stop yet, or only at other
// parameters; docs/adversaries.md says what they need and what they cost. They are
// measured, and audited like all others, but may pay.
func Remaining() (l []Attack) {
	for i, keys := range []int{10, 33} {
		l = append(l, Attack{
			ID: fmt.Sprintf("R%d", i+1), Name: fmt.Sprintf("%d of 100 keys that propose in a row, commits timed to them, fakes 20 %%", keys), Most: 5000, Open: true,
			Describe: func(w *World, cheat bool) {
				by := adjacent(100, keys)
				p := single(w, work.TierEconomic, 10, 24)
				w.validators(100)
				p.When = func(h int64) bool { return by(h+2, 0) && !by(h+1, 0) }
				if cheat {
					p.Compute = share(w, 200)
					grind(w, by, true)
				}
			},
		})
	}
	return l
}
