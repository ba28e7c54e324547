package libp2p

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/gotong-network/gotong/internal/p2p"
)

type idService = identify.IDService

// Reach says how strangers come to this node, as far as is known.
func (n *Network) Reach() p2p.Reach {
	r := p2p.Reach{Kind: p2p.ReachUnknown, Addrs: n.Self().Addrs}
	if n.wide != nil {
		r.Kind = n.wide.kind(slices.ContainsFunc(n.host.Addrs(), isRelayed))
	}
	return r
}

func (w *wide) kind(relayed bool) p2p.ReachKind {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.public && (w.proven || w.cfg.Reach == p2p.ReachPublic):
		return p2p.ReachPublic
	case w.public && w.scope() < scopePublic:
		return p2p.ReachDirect // in one private network with its peers
	case w.public:
		return p2p.ReachPublic
	case !w.punched.IsZero() && time.Since(w.punched) < punchLife:
		return p2p.ReachDirect
	case relayed:
		return p2p.ReachRelayed
	}
	return p2p.ReachUnknown
}

// guess says before anybody told whether this node can be dialled: a public address
// of its own, or the same private network as its bootstrap peers.
func (w *wide) guess() bool {
	switch w.cfg.Reach {
	case p2p.ReachPublic:
		return true
	case p2p.ReachRelayed, p2p.ReachDirect:
		return false
	}
	if w.scope() == scopePublic {
		return w.near.public()
	}
	peers := w.bootstrap()
	for _, p := range peers {
		if slices.ContainsFunc(p.Addrs, w.near.has) {
			return true
		}
	}
	return len(peers) == 0
}

func (w *wide) isPublic() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.public
}

func (w *wide) setPublic(public, proven bool) {
	w.mu.Lock()
	w.public, w.proven = public, proven
	w.mu.Unlock()
	r := network.ReachabilityPrivate
	if public {
		r = network.ReachabilityPublic
	}
	if err := w.told.Emit(event.EvtLocalReachabilityChanged{Reachability: r}); err != nil {
		w.log.Debug("reachability was not told", "err", err)
	}
	w.wake()
}

// hearReach follows what other peers found when they dialled this node's addresses.
func (w *wide) hearReach(ctx context.Context, sub event.Subscription) {
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-sub.Out():
			if !ok {
				return
			}
			was, heard := w.isPublic(), e.(event.EvtHostReachableAddrsChanged)
			switch {
			case w.cfg.Reach != "":
				continue // the owner knows better
			case len(heard.Reachable) > 0:
				w.setPublic(true, true)
			case len(heard.Unknown) == 0 && len(heard.Unreachable) > 0:
				w.setPublic(false, true)
			}
			if now := w.isPublic(); now != was {
				w.log.Info("reachability has changed", "public", now, "addrs", w.host.Addrs())
			}
		}
	}
}

const (
	punchLife    = time.Hour // how long a hole that was punched says something
	punchAgain   = 20 * time.Second
	maxPunchWait = 10 * time.Minute
	maxPunches   = 512 // peers whose attempts are remembered
	punchesNow   = 4   // attempts at a time
)

// outside are the addresses under which others may see this node, for hole punching:
// even those that a single peer has seen.
func (w *wide) outside() []multiaddr.Multiaddr {
	var all []multiaddr.Multiaddr
	if h, ok := w.host.(interface{ AllAddrs() []multiaddr.Multiaddr }); ok {
		all = h.AllAddrs()
	}
	if w.observed != nil {
		all = append(all, w.observed.Addrs(1)...)
	}
	return slices.DeleteFunc(multiaddr.Unique(all), func(a multiaddr.Multiaddr) bool { return !manet.IsPublicAddr(a) })
}

// Trace implements holepunch.EventTracer.
func (w *wide) Trace(e *holepunch.Event) {
	if end, ok := e.Evt.(*holepunch.EndHolePunchEvt); ok {
		w.log.Debug("hole punching ended", "peer", e.Remote, "success", end.Success, "err", end.Error)
		if end.Success {
			w.mu.Lock()
			w.punched = time.Now()
			w.mu.Unlock()
		}
	}
}

// keepPunching tries again to reach directly who came through a relay: the first
// attempt, which the library makes, fails if the other side was not ready. It also
// lets go of relayed connections that nobody needs.
func (w *wide) keepPunching(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var (
		slot  = make(chan struct{}, punchesNow)
		tries = map[peer.ID]*attempt{}
		t     = time.NewTicker(punchAgain / 10)
	)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		w.dropRelayed()
		here := w.cameRelayed()
		for p := range tries {
			if !here[p] {
				delete(tries, p)
			}
		}
		for p := range here {
			a := tries[p]
			switch {
			case a == nil && len(tries) < maxPunches:
				a = &attempt{}
				a.failed(time.Now(), punchAgain, maxPunchWait) // the library's own attempt
				tries[p] = a
				continue
			case a == nil, time.Now().Before(a.next), len(w.outside()) == 0:
				continue
			}
			select {
			case slot <- struct{}{}:
			default:
				continue
			}
			a.failed(time.Now(), punchAgain, maxPunchWait)
			wg.Go(func() {
				defer func() { <-slot }()
				if err := w.punch.DirectConnect(p); err != nil {
					w.log.Debug("peer stays behind its relay", "peer", p, "err", err)
				}
			})
		}
	}
}

// cameRelayed are the peers that opened a relayed connection and have no other.
func (w *wide) cameRelayed() map[peer.ID]bool {
	out := map[peer.ID]bool{}
	for _, c := range w.host.Network().Conns() {
		if c.Stat().Limited && c.Stat().Direction == network.DirInbound &&
			w.host.Network().Connectedness(c.RemotePeer()) == network.Limited {
			out[c.RemotePeer()] = true
		}
	}
	return out
}

// dropRelayed closes relayed connections that are idle beside a direct one.
func (w *wide) dropRelayed() {
	for _, c := range w.host.Network().Conns() {
		if c.Stat().Limited && len(c.GetStreams()) == 0 && time.Since(c.Stat().Opened) > punchAgain &&
			w.host.Network().Connectedness(c.RemotePeer()) == network.Connected {
			c.Close()
		}
	}
}

const (
	// How long a stream waits for a direct connection beside a relayed one: a
	// transfer gains more by it than a message does.
	waitMessage  = 2 * time.Second
	waitTransfer = 5 * time.Second
	maxStuck     = 1024 // peers that are known to stay behind their relays
)

// direct opens a stream over a direct connection to a peer that so far has a relayed
// one only, if one comes soon.
func (w *wide) direct(ctx context.Context, id peer.ID, proto p2p.Protocol) (network.Stream, error) {
	if w.isStuck(id) {
		return nil, network.ErrLimitedConn
	}
	wait := waitMessage
	if proto == p2p.ProtocolBlob {
		wait = waitTransfer
	}
	soon, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	raw, err := w.host.NewStream(soon, id, protocol.ID(proto))
	if err != nil && ctx.Err() == nil {
		w.setStuck(id)
	}
	return raw, err
}

// isStuck reports whether waiting for a direct connection was in vain just now.
func (w *wide) isStuck(id peer.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.stuck[id]
	return ok && time.Since(at) < punchAgain
}

func (w *wide) setStuck(id peer.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.stuck) >= maxStuck {
		clear(w.stuck)
	}
	w.stuck[id] = time.Now()
}

// punchStart is how long after its start a node waits, before it calls a peer through
// a relay, until it can be met half-way: the peer tries to come directly at once.
const punchStart = 3 * time.Second

// readyToPunch waits for this node's own part in hole punching, if it may be needed.
func (w *wide) readyToPunch(ctx context.Context, id peer.ID) {
	if w.isPublic() || w.scope() < scopePublic || w.host.Network().Connectedness(id) != network.NotConnected ||
		slices.ContainsFunc(w.host.Peerstore().Addrs(id), func(a multiaddr.Multiaddr) bool { return !isRelayed(a) && scopeOf(a) == scopePublic }) {
		return
	}
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for time.Since(w.since) < punchStart && !slices.Contains(w.host.Mux().Protocols(), holepunch.Protocol) {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
