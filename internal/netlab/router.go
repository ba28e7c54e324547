//go:build linux

package netlab

import (
	"fmt"
	"net/netip"
	"os"
)

// NAT is how a router translates the addresses of the hosts behind it.
type NAT int

const (
	// Masquerade keeps a sender's port for all its destinations, as home routers do, so
	// that two peers who know each other's port can meet in the middle.
	Masquerade NAT = iota
	// Symmetric takes a new random port for each destination: nobody can foresee it.
	Symmetric
)

// RouterOptions say what a router is like.
type RouterOptions struct {
	Addr netip.Addr // its public address; without one, the next public-looking one
	NAT  NAT
}

// Router hides a private network of hosts behind one public address. Nothing comes in
// that did not first go out.
type Router struct {
	lab     *Lab
	name    string
	addr    netip.Addr // outside
	inside  netip.Addr
	segment string // of the switch, for its hosts
	space   *space
	ports   [2]string // at the switch: outside, inside
	hosts   int       // guarded by lab.mu: addresses given out
}

// Router adds a router; hosts go Behind it.
func (l *Lab) Router(name string, o RouterOptions) (*Router, error) {
	l.mu.Lock()
	n := len(l.routers)
	l.mu.Unlock()
	if n >= maxRouters {
		return nil, fmt.Errorf("netlab: a lab has at most %d routers", maxRouters)
	}
	r := &Router{
		lab: l, name: name, addr: o.Addr, segment: fmt.Sprintf("lan%d", n),
		inside: netip.AddrFrom4([4]byte{192, 168, byte(100 + n), 1}),
	}
	if !r.addr.IsValid() {
		r.addr = netip.AddrFrom4([4]byte{46, byte(60 + n), 0, 10})
	}
	var err error
	if r.space, err = newSpace(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.routers = append(l.routers, r)
	l.mu.Unlock()
	if err := l.bridge(r.segment); err != nil {
		return nil, err
	}
	if r.ports[0], _, err = l.plug(r.space, "wan0", "wan", nil); err != nil {
		return nil, err
	}
	if r.ports[1], _, err = l.plug(r.space, "lan0", r.segment, nil); err != nil {
		return nil, err
	}
	err = r.space.ip(
		"link set wan0 up", "link set lan0 up",
		"addr add "+r.addr.String()+"/32 dev wan0",
		"addr add "+r.inside.String()+"/24 dev lan0",
		"route add default dev wan0",
	)
	if err != nil {
		return nil, err
	}
	if err := r.space.nft(translation(o.NAT)); err != nil {
		return nil, err
	}
	return r, r.space.visit(func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
			return fmt.Errorf("netlab: let %s forward: %w", name, err)
		}
		return nil
	})
}

// Name is what the router was called.
func (r *Router) Name() string { return r.name }

// Addr is the router's public address.
func (r *Router) Addr() netip.Addr { return r.addr }

func (r *Router) nextInside() netip.Addr {
	r.lab.mu.Lock()
	defer r.lab.mu.Unlock()
	r.hosts++
	a := r.inside.As4()
	a[3] = byte(1 + r.hosts) // maxHosts keeps it below 255
	return netip.AddrFrom4(a)
}

// translation is the rules of a router: what goes out takes its address, what comes in
// must answer something that went out.
func translation(n NAT) string {
	flags := ""
	if n == Symmetric {
		flags = " random,fully-random"
	}
	return `table ip nat {
	chain out {
		type nat hook postrouting priority 100
		oifname "wan0" masquerade` + flags + `
	}
	chain through {
		type filter hook forward priority 0; policy drop
		ct state established,related accept
		iifname "lan0" oifname "wan0" accept
	}
	chain in {
		type filter hook input priority 0; policy drop
		ct state established,related accept
		iifname { "lan0", "lo" } accept
		icmp type echo-request accept
	}
}
`
}
