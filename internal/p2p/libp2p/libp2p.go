// Package libp2p is the p2p port over go-libp2p: TCP, TLS 1.3, yamux, gossipsub.
//
// It promises that a node's libp2p identity is its own ed25519 key, so that the
// key at a stream's other end is proven by the handshake; that strangers are
// bounded in connections, streams and memory, and shut out for a while when they
// misbehave; and that Close waits for all that it started. Payloads of gossip are
// signed by those who write them, so the envelope is not.
//
// A network of known addresses (no Config.Bootstrap) is only that: whoever dials
// must know where. With bootstrap peers it is a network of strangers: a DHT of its
// own finds addresses, nodes that cannot be dialled keep a place at relays, holes are
// punched through translators of addresses, and QUIC serves where TCP does not get
// through. It never finds peers on the local network by broadcast, and never asks a
// router to forward ports.
package libp2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	golibp2p "github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
	"go.uber.org/fx"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
)

const (
	// addrLife is how long an address is remembered after it was last named.
	addrLife = 24 * time.Hour
	// maxAddrs is how many addresses of one peer are tried; offers are strangers'
	// bytes, and each address costs a connection attempt.
	maxAddrs = 16
	// streamWindow is the most bytes in flight to a reader: one frame of the
	// largest size, 80 MB/s at 100 ms.
	streamWindow = p2p.MaxFrameBytes
	lightWindow  = 1 << 20
	// dialTimeout bounds one connection attempt with its handshake.
	dialTimeout = 15 * time.Second
)

var errClosed = errors.New("network is closed")

// Config says who a network is and where it listens.
type Config struct {
	// Key is the node's identity; required.
	Key sign.PrivateKey
	// Listen are multiaddrs over TCP or, in a network of strangers, QUIC. None means
	// /ip4/127.0.0.1/tcp/0, this machine only; with Bootstrap all interfaces, any
	// port.
	Listen []string
	// MaxConns bounds connections; above it the least used are closed. 0 means
	// 4096, or 128 if Light.
	MaxConns int
	// MaxStreamsPerPeer bounds the streams with one peer. 0 means 1024.
	MaxStreamsPerPeer int
	// Bootstrap gives the peers that all others are found from, which also serve as
	// relays where they can; it is asked again and again and must not block. nil
	// makes this a network of known addresses. The first node of a network of
	// strangers gives none.
	Bootstrap func() []p2p.Peer
	// Chain names the network of strangers: nodes of others are not found.
	Chain string
	// Reach is what the owner knows of how this node is reached: public, or relayed
	// to be dialled through relays only; empty: find out.
	Reach p2p.ReachKind
	// Relay makes the node carry connections of those who cannot be dialled.
	Relay bool
	// AllowReservation says who may be reached through this relay; it must not block.
	// nil: everybody, within the relay's bounds.
	AllowReservation func(sign.PublicKey) bool
	// Light is for one of hundreds on a machine: few connections, small buffers, no
	// service to others.
	Light bool
	// still keeps a node from dialling others to fill its routing table: for tests that
	// say who is connected to whom.
	still bool
	// Log hears of refused streams; nil is silent.
	Log *slog.Logger
}

// Network is a libp2p host behind the port. Safe for concurrent use.
type Network struct {
	host   host.Host
	self   sign.PublicKey
	gossip *gossip
	wide   *wide // nil in a network of known addresses
	scores *scores
	log    *slog.Logger
	stall  time.Duration   // how long a reader may take nothing
	first  time.Duration   // how soon a stranger must say something on its stream
	ctx    context.Context // of handlers; cancelled by Close
	stop   context.CancelFunc
	wg     sync.WaitGroup // handlers, subscriptions and closing streams

	mu      sync.Mutex // guards everything below
	closed  bool
	streams map[*stream]struct{}
	served  map[p2p.Protocol]bool
}

var _ p2p.Network = (*Network)(nil)

// New starts a network; it listens when New returns. The context bounds the
// start only.
func New(ctx context.Context, cfg Config) (*Network, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if cfg.Key.IsZero() {
		return nil, errors.New("libp2p: a network needs a key")
	}
	n := &Network{
		self: cfg.Key.Public(), log: cfg.Log, scores: newScores(), stall: stallTime, first: firstTime,
		streams: map[*stream]struct{}{}, served: map[p2p.Protocol]bool{},
	}
	near := &neighbours{}
	if cfg.Bootstrap != nil {
		n.wide = newWide(cfg, near)
	}
	var err error
	if n.host, err = newHost(cfg, n.wide, n.gate(near)); err != nil {
		return nil, fmt.Errorf("libp2p: %w", err)
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	if n.gossip, err = newGossip(n.ctx, n); err != nil {
		return nil, fmt.Errorf("libp2p: gossip: %w", errors.Join(err, n.Close()))
	}
	if n.wide != nil {
		if err := n.wide.start(n.host, n.spawn); err != nil {
			return nil, fmt.Errorf("libp2p: %w", errors.Join(err, n.Close()))
		}
	}
	return n, nil
}

func (n *Network) gate(near *neighbours) *gate {
	private := func() bool { return true }
	if w := n.wide; w != nil {
		private = func() bool { return w.scope() < scopePublic }
	}
	return &gate{scores: n.scores, near: near, private: private}
}

// spawn runs f until Close ends its context; false when the network is closed.
func (n *Network) spawn(f func(context.Context)) bool {
	if !n.begin() {
		return false
	}
	go func() {
		defer n.wg.Done()
		f(n.ctx)
	}()
	return true
}

func (c Config) withDefaults() Config {
	switch {
	case len(c.Listen) > 0:
	case c.Bootstrap == nil:
		c.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	case c.Light:
		c.Listen = []string{"/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"}
	default:
		c.Listen = []string{"/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/udp/0/quic-v1"}
	}
	if c.MaxConns == 0 {
		c.MaxConns = 4096
		if c.Light {
			c.MaxConns = 128
		}
	}
	if c.MaxStreamsPerPeer == 0 {
		c.MaxStreamsPerPeer = 1024
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func newHost(cfg Config, w *wide, g *gate) (host.Host, error) {
	if w != nil && cfg.Chain == "" {
		return nil, errors.New("a network of strangers needs the name of its chain")
	}
	seed, pub := cfg.Key.Seed(), cfg.Key.Public()
	identity, err := crypto.UnmarshalEd25519PrivateKey(append(seed[:], pub[:]...))
	if err != nil {
		return nil, err
	}
	resources, err := newResourceManager(cfg)
	if err != nil {
		return nil, err
	}
	conns, err := connmgr.NewConnManager(cfg.MaxConns*9/10, cfg.MaxConns, connmgr.WithGracePeriod(time.Minute))
	if err != nil {
		return nil, err
	}
	mux := *yamux.DefaultTransport
	mux.MaxStreamWindowSize = streamWindow
	if cfg.Light {
		mux.MaxStreamWindowSize = lightWindow
	}
	opts := []golibp2p.Option{
		golibp2p.Identity(identity),
		golibp2p.ListenAddrStrings(cfg.Listen...),
		golibp2p.Security(tls.ID, tls.New),
		golibp2p.Muxer(yamux.ID, &mux),
		golibp2p.ResourceManager(resources),
		golibp2p.ConnectionManager(conns),
		golibp2p.WithDialTimeout(dialTimeout),
		golibp2p.UserAgent("gotong"),
		golibp2p.ConnectionGater(g),
		golibp2p.SwarmOpts(swarm.WithDialRanker(rank)),
		golibp2p.DisableMetrics(),
		golibp2p.Ping(false),
	}
	if w == nil {
		opts = append(opts, knownAddresses()...)
	} else {
		opts = append(opts, strangers(cfg, w)...)
	}
	h, err := golibp2p.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", cfg.Listen, err)
	}
	return h, nil
}

func knownAddresses() []golibp2p.Option {
	return []golibp2p.Option{
		golibp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		golibp2p.DisableRelay(),
		golibp2p.DisableIdentifyAddressDiscovery(),
	}
}

func strangers(cfg Config, w *wide) []golibp2p.Option {
	opts := []golibp2p.Option{
		// Connections leave from the port that is listened on, so that what others see
		// of it is where they can come back to.
		golibp2p.Transport(tcp.NewTCPTransport),
		golibp2p.Transport(quic.NewTransport),
		golibp2p.EnableRelay(),
		golibp2p.AddrsFactory(w.announce),
		golibp2p.ForceReachabilityPrivate(), // until wide says what it is
		golibp2p.WithFxOption(fx.Populate(&w.observed)),
	}
	if !cfg.Light {
		opts = append(opts, golibp2p.EnableAutoNATv2())
	}
	return opts
}

// Self implements p2p.Network: the addresses that work from outside, best first,
// at most 12 in a network of strangers.
func (n *Network) Self() p2p.Peer {
	all := n.host.Addrs()
	if n.wide != nil {
		slices.SortFunc(all, byWorth)
		all = all[:min(len(all), announced)]
	}
	var addrs []string
	for _, a := range all {
		addrs = append(addrs, a.String())
	}
	return p2p.Peer{Key: n.self, Addrs: addrs}
}

// Peers is how many peers are connected.
func (n *Network) Peers() int { return len(n.host.Network().Peers()) }

// Handle implements p2p.Network.
func (n *Network) Handle(proto p2p.Protocol, h p2p.Handler) {
	n.mu.Lock()
	twice := n.served[proto]
	n.served[proto] = true
	n.mu.Unlock()
	if twice {
		panic("libp2p: two handlers for " + string(proto))
	}
	n.host.SetStreamHandler(protocol.ID(proto), func(raw network.Stream) { n.serve(raw, h) })
}

// serve runs a handler; libp2p gives each stream a goroutine of its own.
func (n *Network) serve(raw network.Stream, h p2p.Handler) {
	key, err := keyOf(raw.Conn().RemotePeer())
	if err != nil {
		n.log.Debug("stream refused", "peer", raw.Conn().RemotePeer(), "err", err)
		raw.Reset()
		return
	}
	if err := raw.Scope().ReserveMemory(streamBytes, network.ReservationPriorityHigh); err != nil {
		n.log.Debug("stream refused", "peer", key, "err", err)
		raw.Reset()
		return
	}
	s, ok := n.open(raw, key)
	if !ok {
		raw.Reset()
		return
	}
	s.opened = time.Now()
	defer n.wg.Done()
	defer s.Close()
	h(n.ctx, s)
}

// blame counts a peer's fault; who has too many is cut off and shut out for a while.
func (n *Network) blame(id peer.ID, weight float64, why string) {
	n.log.Debug("peer misbehaves", "peer", id, "why", why)
	if !n.scores.blame(id, weight) {
		return
	}
	n.log.Warn("peer is shut out", "peer", id, "for", banTime, "why", why)
	// Not from here: the caller may be one of the connection's own goroutines.
	n.spawn(func(context.Context) { n.host.Network().ClosePeer(id) })
}

// open wraps a stream and counts one user of it in wg; false when the network
// is closed.
func (n *Network) open(raw network.Stream, key sign.PublicKey) (*stream, bool) {
	s := newStream(n, raw, key)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, false
	}
	n.streams[s] = struct{}{}
	n.wg.Add(1)
	return s, true
}

// gone forgets a stream that is over.
func (n *Network) gone(s *stream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.streams, s)
}

// Connect implements p2p.Network. It is cheap when the connection is there, so
// whoever wants to stay connected calls it again from time to time.
func (n *Network) Connect(ctx context.Context, p p2p.Peer) error {
	id, err := n.know(p)
	if err != nil {
		return err
	}
	ctx, cancel := n.during(ctx)
	defer cancel()
	return n.failure(ctx, "connect to", p.Key, n.reach(ctx, id))
}

// during ends a context with the network: a closed host may keep its callers waiting.
func (n *Network) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(n.ctx, cancel)
	return ctx, func() { unhook(); cancel() }
}

// Dial implements p2p.Network. Through a relay it opens a stream too, after it gave a
// direct connection the time to come.
func (n *Network) Dial(ctx context.Context, p p2p.Peer, proto p2p.Protocol) (p2p.Stream, error) {
	id, err := n.know(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := n.during(ctx)
	defer cancel()
	known := n.host.Network().Connectedness(id) == network.Connected
	raw, err := n.newStream(ctx, id, proto)
	if err != nil && known && ctx.Err() == nil {
		// The connection that was there may have died just now: once more.
		raw, err = n.newStream(ctx, id, proto)
	}
	if err != nil {
		return nil, n.failure(ctx, "dial", p.Key, err)
	}
	s, ok := n.open(raw, p.Key)
	if !ok {
		raw.Reset()
		return nil, errClosed
	}
	n.wg.Done() // its user is the caller, whom Close does not wait for
	return s, nil
}

// reach connects to a peer, directly or through a relay. Where its addresses are
// unknown or lead nowhere, the network is asked for them, once.
func (n *Network) reach(ctx context.Context, id peer.ID) error {
	if n.ctx.Err() != nil {
		return errClosed
	}
	ctx = network.WithAllowLimitedConn(ctx, "gotong")
	if n.wide == nil {
		return n.host.Connect(ctx, peer.AddrInfo{ID: id})
	}
	var err error
	if len(n.host.Peerstore().Addrs(id)) > 0 {
		n.wide.readyToPunch(ctx, id)
		if err = n.host.Connect(ctx, peer.AddrInfo{ID: id}); err == nil || ctx.Err() != nil {
			return err
		}
	}
	if lost := n.wide.find(ctx, id); lost != nil {
		return errors.Join(err, lost)
	}
	forgive(n.host, id)
	return n.host.Connect(ctx, peer.AddrInfo{ID: id})
}

func (n *Network) newStream(ctx context.Context, id peer.ID, proto p2p.Protocol) (network.Stream, error) {
	if err := n.reach(ctx, id); err != nil {
		return nil, err
	}
	ctx = network.WithNoDial(ctx, "connected")
	if n.wide != nil && n.host.Network().Connectedness(id) == network.Limited {
		if raw, err := n.wide.direct(ctx, id, proto); err == nil || ctx.Err() != nil {
			return raw, err
		}
	}
	return n.host.NewStream(network.WithAllowLimitedConn(ctx, "gotong"), id, protocol.ID(proto))
}

// know remembers a peer's addresses.
func (n *Network) know(p p2p.Peer) (peer.ID, error) {
	if p.Key == n.self {
		return "", fmt.Errorf("%w: %s is this node itself", p2p.ErrUnreachable, p.Key)
	}
	id, err := idOf(p.Key)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %v", p2p.ErrUnreachable, p.Key, err)
	}
	n.host.Peerstore().AddAddrs(id, parseAddrs(p.Addrs, n.log), addrLife)
	forgive(n.host, id)
	return id, nil
}

// forgive forgets that dialling a peer failed before: how often to try is the
// caller's decision.
func forgive(h host.Host, id peer.ID) {
	if sw, ok := h.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(id)
	}
}

// parseAddrs reads the first addresses of a peer and leaves out what is none.
func parseAddrs(texts []string, log *slog.Logger) []multiaddr.Multiaddr {
	var good []multiaddr.Multiaddr
	for _, text := range texts[:min(len(texts), maxAddrs)] {
		if a, err := multiaddr.NewMultiaddr(text); err == nil {
			good = append(good, a)
		} else {
			log.Debug("address ignored", "err", err)
		}
	}
	return good
}

func (n *Network) failure(ctx context.Context, what string, key sign.PublicKey, err error) error {
	switch {
	case err == nil:
		return nil
	case n.ctx.Err() != nil:
		return errClosed
	case ctx.Err() != nil:
		return fmt.Errorf("%s %s: %w", what, key, ctx.Err())
	}
	return fmt.Errorf("%w: %s %s: %v", p2p.ErrUnreachable, what, key, err)
}

// Publish implements p2p.Network.
func (n *Network) Publish(ctx context.Context, topic string, data []byte) error {
	return n.gossip.publish(ctx, topic, data)
}

// Subscribe implements p2p.Network. What this node publishes itself it does not hear.
func (n *Network) Subscribe(ctx context.Context, topic string, check p2p.Check) (<-chan []byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, errClosed
	}
	out, pump, err := n.gossip.subscribe(ctx, n.ctx, topic, check)
	if err != nil {
		return nil, err
	}
	n.wg.Go(pump)
	return out, nil
}

// Close implements p2p.Network: it resets all streams, and waits for handlers
// and subscriptions.
func (n *Network) Close() error {
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	var open []*stream
	for s := range n.streams {
		open = append(open, s)
	}
	n.mu.Unlock()
	n.stop()
	for _, s := range open {
		s.raw.Reset()
	}
	var err error
	if first {
		if n.wide != nil {
			err = n.wide.stop()
		}
		err = errors.Join(err, n.host.Close())
	}
	n.wg.Wait()
	return err
}

// idOf gives the libp2p name of a key.
func idOf(k sign.PublicKey) (peer.ID, error) {
	pub, err := crypto.UnmarshalEd25519PublicKey(k[:])
	if err != nil {
		return "", err
	}
	return peer.IDFromPublicKey(pub)
}

// keyOf gives the key that a libp2p name stands for.
func keyOf(id peer.ID) (k sign.PublicKey, err error) {
	pub, err := id.ExtractPublicKey()
	if err != nil {
		return k, err
	}
	if pub.Type() != crypto.Ed25519 {
		return k, fmt.Errorf("peer %s has no ed25519 key", id)
	}
	raw, err := pub.Raw()
	if err != nil || len(raw) != len(k) {
		return k, fmt.Errorf("peer %s has no ed25519 key of 32 bytes", id)
	}
	return sign.PublicKey(raw), nil
}
