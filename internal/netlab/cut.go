//go:build linux

package netlab

import (
	"fmt"
	"slices"
	"strings"
)

// Cut takes hosts off the network: they reach each other and nobody else. Frames vanish
// without a word, as on a broken line: interfaces stay up and no connection is reset.
// A router belongs to the hosts that are cut if all hosts behind it do. Who was cut
// before, with others, is parted from those.
func (l *Lab) Cut(hosts ...*Host) error {
	l.mu.Lock()
	island := 1
	for _, h := range l.hosts {
		island = max(island, h.island+1)
	}
	for _, h := range hosts {
		h.island = island
	}
	l.mu.Unlock()
	return l.islands()
}

// Heal brings hosts back to the main land; without any, all of them.
func (l *Lab) Heal(hosts ...*Host) error {
	l.mu.Lock()
	for _, h := range l.hosts {
		if len(hosts) == 0 || slices.Contains(hosts, h) {
			h.island = 0
		}
	}
	l.mu.Unlock()
	return l.islands()
}

// islands loads the switch's rules in one step: no frame passes between an island and
// anywhere else.
func (l *Lab) islands() error {
	var b strings.Builder
	b.WriteString("table bridge islands\ndelete table bridge islands\ntable bridge islands {\n\tchain pass {\n\t\ttype filter hook forward priority 0\n")
	for _, ports := range l.shores() {
		set := `{ "` + strings.Join(ports, `", "`) + `" }`
		fmt.Fprintf(&b, "\t\tiifname %s oifname != %s drop\n\t\toifname %s iifname != %s drop\n", set, set, set, set)
	}
	b.WriteString("\t}\n}\n")
	return l.core.nft(b.String())
}

// shores gives the ports of each island, in a fixed order.
func (l *Lab) shores() [][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := map[int][]string{}
	for _, h := range l.hosts {
		of[h.island] = append(of[h.island], h.port)
	}
	for _, r := range l.routers {
		if island := r.island(l.hosts); island != 0 {
			of[island] = append(of[island], r.ports[:]...)
		}
	}
	delete(of, 0)
	out := make([][]string, 0, len(of))
	for island := range of {
		out = append(out, of[island])
	}
	slices.SortFunc(out, slices.Compare)
	return out
}

// island is where all hosts behind the router are, or the main land.
func (r *Router) island(hosts []*Host) int {
	island := -1
	for _, h := range hosts {
		switch {
		case h.router != r:
		case island >= 0 && h.island != island:
			return 0
		default:
			island = h.island
		}
	}
	return max(island, 0)
}
