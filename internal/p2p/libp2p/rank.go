package libp2p

import (
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"
)

// QUIC costs three times the CPU of TCP with TLS, and a relay is somebody else's
// line: each gets its chance only after what is cheaper had one. When all before it
// have failed sooner, it is tried at once.
const (
	quicDelay  = 500 * time.Millisecond
	relayDelay = time.Second
)

// rank says when each address of a peer is dialled: TCP first, then QUIC, then relays
// over either.
func rank(addrs []multiaddr.Multiaddr) []network.AddrDelay {
	var direct, relayed, quic, quicRelayed []multiaddr.Multiaddr
	for _, a := range addrs {
		switch {
		case isRelayed(a) && isQUIC(a):
			quicRelayed = append(quicRelayed, a)
		case isRelayed(a):
			relayed = append(relayed, a)
		case isQUIC(a):
			quic = append(quic, a)
		default:
			direct = append(direct, a)
		}
	}
	var out []network.AddrDelay
	for _, class := range []struct {
		addrs []multiaddr.Multiaddr
		delay time.Duration
	}{{direct, 0}, {quic, quicDelay}, {relayed, relayDelay}, {quicRelayed, relayDelay + quicDelay}} {
		offset := class.delay
		if len(out) == 0 {
			offset = 0
		}
		for _, d := range swarm.DefaultDialRanker(class.addrs) {
			d.Delay += offset
			out = append(out, d)
		}
	}
	return out
}
