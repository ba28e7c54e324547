package libp2p

import (
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	relayv2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/x/rate"
	"github.com/pbnjay/memory"
)

// What strangers may take. A pool behind one address translator is one address
// to us, so the bounds per address are far above the library's 8.
const (
	memoryBytes        = 4 << 30 // at most; a quarter of the machine's
	memoryBytesLight   = 256 << 20
	memoryBytesPerPeer = 256 << 20 // at most; a quarter of all
	connsPerPeer       = 8
	connsPerAddress    = 512
	connsPerSecond     = 20 // per address, in the long run
)

// newResourceManager bounds connections, streams and buffers. What it refuses is
// reset at once: the other end sees a failed dial and tries again later.
func newResourceManager(cfg Config) (network.ResourceManager, error) {
	conns := rcmgr.LimitVal(cfg.MaxConns + cfg.MaxConns/4) // above what the connection manager keeps
	streams := rcmgr.LimitVal(16 * cfg.MaxConns)
	perPeer := rcmgr.LimitVal(cfg.MaxStreamsPerPeer)
	all := rcmgr.LimitVal64(min(memoryBytes, max(memory.TotalMemory()/4, memoryBytesLight)))
	if cfg.Light {
		all = memoryBytesLight
	}
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			// Strangers who fill all that may come in leave room to go out.
			Conns: conns, ConnsInbound: conns * 3 / 4, ConnsOutbound: conns, FD: conns,
			Streams: streams, StreamsInbound: streams, StreamsOutbound: streams,
			Memory: all,
		},
		Transient: rcmgr.ResourceLimits{ // not yet known who, or for what
			Conns: conns / 4, ConnsInbound: conns * 3 / 16, ConnsOutbound: conns / 4, FD: conns / 4,
			Streams: streams / 4, StreamsInbound: streams / 4, StreamsOutbound: streams / 4,
			Memory: all / 4,
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: connsPerPeer, ConnsInbound: connsPerPeer, ConnsOutbound: connsPerPeer, FD: connsPerPeer,
			Streams: 2 * perPeer, StreamsInbound: perPeer, StreamsOutbound: perPeer,
			Memory: min(memoryBytesPerPeer, all/4),
		},
	}
	if cfg.Relay {
		carry := rcmgr.ResourceLimits{Streams: 4 * relayReservations, StreamsInbound: 4 * relayReservations, StreamsOutbound: 4 * relayReservations, Memory: relayMemory}
		each := rcmgr.ResourceLimits{Streams: 4 * relayCircuits, StreamsInbound: 2 * relayCircuits, StreamsOutbound: 2 * relayCircuits, Memory: relayPeerMemory}
		limits.Service = map[string]rcmgr.ResourceLimits{relayv2.ServiceName: carry}
		limits.ServicePeer = map[string]rcmgr.ResourceLimits{relayv2.ServiceName: each}
	}
	return rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(limits.Build(rcmgr.InfiniteLimits)),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerAddress}},
		),
		rcmgr.WithConnRateLimiters(newRateLimiter()),
	)
}

// newRateLimiter bounds new connections per address; this machine may do what it
// likes to itself.
func newRateLimiter() *rate.Limiter {
	perAddress := rate.Limit{RPS: connsPerSecond, Burst: connsPerAddress}
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{
			{Prefix: netip.MustParsePrefix("127.0.0.0/8")},
			{Prefix: netip.MustParsePrefix("::1/128")},
		},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: perAddress}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: perAddress}},
			GracePeriod:      time.Minute,
		},
	}
}
