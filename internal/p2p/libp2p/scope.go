package libp2p

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// scope is how far an address is good for.
type scope int

const (
	scopeHost   scope = iota // loopback
	scopeLAN                 // private networks
	scopePublic              // everywhere
)

// scopeOf is the scope of an address; of a relayed one, its relay's. Names count as
// public: whoever gives his network a name knows why.
func scopeOf(a multiaddr.Multiaddr) scope {
	ip, err := manet.ToIP(a)
	switch {
	case err != nil:
		return scopePublic
	case ip.IsLoopback():
		return scopeHost
	case manet.IsPublicAddr(a):
		return scopePublic
	}
	return scopeLAN
}

// narrowest is the scope of the network that some addresses span: a laboratory's
// bootstrap peers have private addresses, and so may all that are found there.
func narrowest(addrs []multiaddr.Multiaddr) scope {
	least := scopePublic
	for _, a := range addrs {
		least = min(least, scopeOf(a))
	}
	return least
}

func isRelayed(a multiaddr.Multiaddr) bool {
	_, err := a.ValueForProtocol(multiaddr.P_CIRCUIT)
	return err == nil
}

func isQUIC(a multiaddr.Multiaddr) bool {
	_, err := a.ValueForProtocol(multiaddr.P_QUIC_V1)
	return err == nil
}

// byWorth orders addresses: public before relayed before private before loopback,
// TCP before QUIC.
func byWorth(a, b multiaddr.Multiaddr) int {
	return cmp.Or(cmp.Compare(worth(b), worth(a)), a.Compare(b))
}

func worth(a multiaddr.Multiaddr) int {
	w := 4 * int(scopeOf(a))
	if !isRelayed(a) {
		w += 2
	}
	if !isQUIC(a) {
		w++
	}
	return w
}

// neighbours knows which networks this machine is attached to.
type neighbours struct {
	mu   sync.Mutex // guards everything below
	nets []netip.Prefix
	read time.Time
}

// neighboursLife is how long the interfaces are believed to stay.
const neighboursLife = 30 * time.Second

// has reports whether an address lies in one of this machine's own networks.
func (n *neighbours) has(a multiaddr.Multiaddr) bool {
	ip, err := manet.ToIP(a)
	if err != nil {
		return false
	}
	addr, ok := netip.AddrFromSlice(ip)
	return ok && slices.ContainsFunc(n.now(), func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
}

// public reports whether the machine has a public address itself.
func (n *neighbours) public() bool {
	return slices.ContainsFunc(n.now(), func(p netip.Prefix) bool {
		a, err := manet.FromIP(p.Addr().AsSlice())
		return err == nil && manet.IsPublicAddr(a)
	})
}

// now gives each interface's address with its prefix.
func (n *neighbours) now() []netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.read) < neighboursLife && !n.read.IsZero() {
		return n.nets
	}
	n.read, n.nets = time.Now(), nil
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			n.nets = append(n.nets, p)
		}
	}
	return n.nets
}
