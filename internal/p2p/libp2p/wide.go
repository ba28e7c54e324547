package libp2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/observedaddrs"
	relayv2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/gotong-network/gotong/internal/p2p"
)

const (
	maxBootstrap = 64 // bootstrap peers that are looked at
	// Bootstrap peers are tried again for ever, this far apart.
	bootstrapPause    = time.Second
	maxBootstrapPause = 15 * time.Second
	connectTime       = 15 * time.Second
	// A light node that has nobody but bootstrap peers looks for others, ever less often.
	alonePause    = 10 * time.Second
	maxAlonePause = 10 * time.Minute
	// How many peers of one /16 (IPv4) or one operator (IPv6) the table of the DHT
	// may hold: who fills it must own networks, not addresses.
	groupPerBucket = 4
	groupPerTable  = 16
	// announced is how many addresses of a node are told to others: an offer holds 16.
	announced = 12
	bootTag   = "gotong-bootstrap"
)

func init() {
	// An outside address is believed when two peers at different addresses saw it; the
	// library wants four, and young networks have no four bootstrap peers.
	observedaddrs.ActivationThresh = 2
}

// wide is a node's part in a network of strangers: bootstrap, lookups, relays, hole
// punching and what is known about its own reachability. A network of known
// addresses has none.
type wide struct {
	cfg  Config
	log  *slog.Logger
	near *neighbours

	host     host.Host
	observed basichost.ObservedAddrsManager
	dht      *dht.IpfsDHT
	relay    *relayv2.Relay     // nil unless this node serves as one
	punch    *holepunch.Service // upgrades relayed connections
	finder   finder
	slots    slots
	told     event.Emitter // of the reachability
	// spawn runs a part of the network until Close ends its context; false when the
	// network is closed.
	spawn func(func(context.Context)) bool
	kick  chan struct{} // connections came or went
	since time.Time

	bootMu   sync.Mutex // guards bootNow and bootRead
	bootNow  []peer.AddrInfo
	bootRead time.Time

	mu      sync.Mutex // guards everything below
	public  bool       // anybody may dial this node
	proven  bool       // … and somebody tried
	punched time.Time  // when a peer last came through this node's translator
	boot    map[peer.ID]*attempt
	stuck   map[peer.ID]time.Time // peers that did not become direct, and when
}

// attempt paces what is tried again and again.
type attempt struct {
	next  time.Time
	pause time.Duration
	busy  bool
}

// failed puts the next attempt off, ever longer.
func (a *attempt) failed(now time.Time, first, most time.Duration) {
	a.pause = min(max(first, 2*a.pause), most)
	a.next = now.Add(a.pause)
}

func newWide(cfg Config, near *neighbours) *wide {
	return &wide{cfg: cfg, log: cfg.Log, near: near, kick: make(chan struct{}, 1), boot: map[peer.ID]*attempt{}, stuck: map[peer.ID]time.Time{}, since: time.Now()}
}

// start joins the network; spawn runs its parts until the network closes.
func (w *wide) start(h host.Host, spawn func(func(context.Context)) bool) (err error) {
	w.host, w.spawn = h, spawn
	w.finder.init()
	if err = w.slots.init(h); err != nil {
		return err
	}
	if w.told, err = h.EventBus().Emitter(new(event.EvtLocalReachabilityChanged), eventbus.Stateful); err != nil {
		return err
	}
	if w.cfg.Relay {
		if w.relay, err = newRelay(h, w.cfg, w.scope() < scopePublic); err != nil {
			return fmt.Errorf("relay: %w", err)
		}
	}
	ids := h.(interface{ IDService() idService }).IDService()
	if w.punch, err = holepunch.NewService(h, ids, w.outside, holepunch.WithTracer(w)); err != nil {
		return fmt.Errorf("hole punching: %w", err)
	}
	if w.dht, err = w.newDHT(); err != nil {
		return fmt.Errorf("dht: %w", err)
	}
	reach, err := h.EventBus().Subscribe(new(event.EvtHostReachableAddrsChanged))
	if err != nil {
		return err
	}
	h.Network().Notify(&network.NotifyBundle{
		ConnectedF: func(network.Network, network.Conn) { w.wake() },
		DisconnectedF: func(net network.Network, c network.Conn) {
			if net.Connectedness(c.RemotePeer()) == network.NotConnected {
				w.slots.lost(c.RemotePeer())
			}
			w.wake()
		},
	})
	w.setPublic(w.guess(), false)
	spawn(func(ctx context.Context) { w.hearReach(ctx, reach) })
	spawn(w.keepPeers)
	spawn(w.keepSlots)
	spawn(w.keepPunching)
	if w.cfg.Light {
		spawn(w.keepCompany)
	}
	return nil
}

// stop ends what start began, the host not included.
func (w *wide) stop() error {
	var errs []error
	if w.dht != nil {
		errs = append(errs, w.dht.Close())
	}
	if w.punch != nil {
		errs = append(errs, w.punch.Close())
	}
	if w.relay != nil {
		errs = append(errs, w.relay.Close())
	}
	return errors.Join(errs...)
}

func (w *wide) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// newDHT joins the network's own DHT. It finds addresses and nothing else: values and
// providers of content are switched off.
func (w *wide) newDHT() (*dht.IpfsDHT, error) {
	mode := dht.ModeAuto // server when public
	if w.cfg.Light {
		mode = dht.ModeClient
	}
	var few []dht.Option
	if w.cfg.Light || w.cfg.still {
		// A light node asks its bootstrap peers when it looks for somebody; a table of its
		// own, kept fresh, means dialling everybody at each start.
		few = append(few, dht.DisableAutoRefresh())
	}
	return dht.New(w.host, append(few,
		dht.ProtocolPrefix(protocol.ID("/gotong/"+w.cfg.Chain)),
		dht.Mode(mode),
		dht.DisableProviders(),
		dht.DisableValues(),
		dht.AddressFilter(w.worthTelling),
		dht.RoutingTablePeerDiversityFilter(dht.NewRTPeerDiversityFilter(w.host, groupPerBucket, groupPerTable)),
		dht.BootstrapPeersFunc(w.bootstrap),
	)...)
}

// bootstrap are the peers that others are found from, as of a second ago at most.
func (w *wide) bootstrap() []peer.AddrInfo {
	w.bootMu.Lock()
	defer w.bootMu.Unlock()
	if time.Since(w.bootRead) < bootstrapPause && !w.bootRead.IsZero() {
		return w.bootNow
	}
	w.bootRead, w.bootNow = time.Now(), nil
	peers := w.cfg.Bootstrap()
	for _, p := range peers[:min(len(peers), maxBootstrap)] {
		if p.Key == w.cfg.Key.Public() {
			continue
		}
		if id, err := idOf(p.Key); err == nil {
			w.bootNow = append(w.bootNow, peer.AddrInfo{ID: id, Addrs: parseAddrs(p.Addrs, w.log)})
		}
	}
	return w.bootNow
}

// scope is how far the network's addresses reach: its bootstrap peers' are an
// example.
func (w *wide) scope() scope {
	var all []multiaddr.Multiaddr
	for _, p := range w.bootstrap() {
		all = append(all, p.Addrs...)
	}
	if len(all) > 0 {
		return narrowest(all)
	}
	// This node is the first, maybe of a laboratory: what it listens on tells.
	for _, a := range parseAddrs(w.cfg.Listen, w.log) {
		if !manet.IsIPUnspecified(a) {
			all = append(all, a)
		}
	}
	if len(all) == 0 && !w.near.public() {
		return scopeHost
	}
	return narrowest(all)
}

// worthTelling drops addresses that mean nothing to others of this network.
func (w *wide) worthTelling(addrs []multiaddr.Multiaddr) []multiaddr.Multiaddr {
	least := min(w.scope(), scopeLAN) // private ones serve peers in the same network
	return slices.DeleteFunc(slices.Clone(addrs), func(a multiaddr.Multiaddr) bool { return scopeOf(a) < least })
}

// announce is the host's choice of its addresses: what works from outside.
func (w *wide) announce(addrs []multiaddr.Multiaddr) []multiaddr.Multiaddr {
	only, hidden := w.cfg.Reach == p2p.ReachRelayed, !w.isPublic()
	return slices.DeleteFunc(w.worthTelling(addrs), func(a multiaddr.Multiaddr) bool {
		// What others see of a hidden node leads nowhere; who dials it in vain keeps the
		// port busy with which it could have met half-way.
		return !isRelayed(a) && (only || hidden && scopeOf(a) == scopePublic)
	})
}

// keepPeers stays connected to the bootstrap peers until ctx ends.
func (w *wide) keepPeers(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	t := time.NewTicker(bootstrapPause)
	defer t.Stop()
	for {
		for _, p := range w.bootstrap() {
			if w.due(p.ID) {
				wg.Go(func() { w.reconnect(ctx, p) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// keepCompany has a light node fill a routing table after all, while nobody but its
// bootstrap peers is connected: who is heard is dialled, by indexers for one, so those few
// do not pass on what it says.
func (w *wide) keepCompany(ctx context.Context) {
	pause := alonePause
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if !w.alone() {
			pause = alonePause
			continue
		}
		w.dht.RefreshRoutingTable() // in the background
		pause = min(2*pause, maxAlonePause)
	}
}

// alone reports whether no peer is connected but bootstrap peers.
func (w *wide) alone() bool {
	boot := w.bootstrap()
	return !slices.ContainsFunc(w.host.Network().Peers(), func(id peer.ID) bool {
		return !slices.ContainsFunc(boot, func(b peer.AddrInfo) bool { return b.ID == id })
	})
}

// due reports whether a bootstrap peer is to be dialled now, and then marks it so.
func (w *wide) due(id peer.ID) bool {
	if w.host.Network().Connectedness(id) == network.Connected {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.boot[id]
	if a == nil {
		if len(w.boot) >= 4*maxBootstrap {
			clear(w.boot)
		}
		a = &attempt{}
		w.boot[id] = a
	}
	if a.busy || time.Now().Before(a.next) {
		return false
	}
	a.busy = true
	return true
}

func (w *wide) reconnect(ctx context.Context, p peer.AddrInfo) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	forgive(w.host, p.ID) // the pause is kept here
	err := w.host.Connect(ctx, p)
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.boot[p.ID]
	if a == nil {
		return
	}
	a.busy = false
	if err != nil {
		a.failed(time.Now(), bootstrapPause, maxBootstrapPause)
		w.log.Debug("bootstrap peer is not there: trying again", "peer", p.ID, "in", a.pause, "err", err)
		return
	}
	// An attacker who fills all connections cannot push these out.
	w.host.ConnManager().Protect(p.ID, bootTag)
	*a = attempt{}
}
