package hosts

import "testing"

// row is one line of the table: what is taken away, and what must hold.
type row struct {
	name string
	run  func(*world, *testing.T)
}

var table = []row{
	{"kills", kills},
	{"one validator cut", oneCut},
	{"two validators cut", twoCut},
	{"client gone for a day", clientGone},
	{"providers join and leave", joinLeave},
	{"nodes restarted during posts", posts},
	{"NAT", nat},
	{"a lying node", lyingNode},
	{"faults of machines", faults},
	{"the indexer dies", indexerDies},
	{"many light providers", lightProviders},
}

// TestHosts runs the table.
func TestHosts(t *testing.T) {
	t.Logf("-seed %d", *seed)
	w := newWorld(t)
	for _, r := range table {
		t.Run(r.name, func(t *testing.T) {
			score.rows++
			defer func() {
				if t.Failed() {
					score.failed = append(score.failed, r.name)
				}
			}()
			w.whole(t)
			r.run(w, t)
		})
	}
}
