// Package libp2p is the p2p port over go-libp2p: TCP, TLS 1.3, yamux, gossipsub.
//
// It promises that a node's libp2p identity is its own ed25519 key, so that the
// key at a stream's other end is proven by the handshake; that strangers are
// bounded in connections, streams and memory; and that Close waits for all that
// it started. Payloads of gossip are signed by those who write them, so the
// envelope is not. It uses no relay, no DHT and no local discovery: whoever
// dials must know addresses.
package libp2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"

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
	// dialTimeout bounds one connection attempt with its handshake.
	dialTimeout = 15 * time.Second
)

var errClosed = errors.New("network is closed")

// Config says who a network is and where it listens.
type Config struct {
	// Key is the node's identity; required.
	Key sign.PrivateKey
	// Listen are TCP multiaddrs; none means /ip4/127.0.0.1/tcp/0, this machine
	// only.
	Listen []string
	// MaxConns bounds connections; above it the least used are closed. 0 means
	// 4096.
	MaxConns int
	// MaxStreamsPerPeer bounds the streams with one peer. 0 means 4096.
	MaxStreamsPerPeer int
	// Log hears of refused streams; nil is silent.
	Log *slog.Logger
}

// Network is a libp2p host behind the port. Safe for concurrent use.
type Network struct {
	host   host.Host
	self   sign.PublicKey
	gossip *gossip
	log    *slog.Logger
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
	h, err := newHost(cfg)
	if err != nil {
		return nil, fmt.Errorf("libp2p: %w", err)
	}
	n := &Network{
		host: h, self: cfg.Key.Public(), log: cfg.Log,
		streams: map[*stream]struct{}{}, served: map[p2p.Protocol]bool{},
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	if n.gossip, err = newGossip(n.ctx, h); err != nil {
		n.stop()
		h.Close()
		return nil, fmt.Errorf("libp2p: gossip: %w", err)
	}
	return n, nil
}

func (c Config) withDefaults() Config {
	if len(c.Listen) == 0 {
		c.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	if c.MaxConns == 0 {
		c.MaxConns = 4096
	}
	if c.MaxStreamsPerPeer == 0 {
		c.MaxStreamsPerPeer = 4096
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func newHost(cfg Config) (host.Host, error) {
	if cfg.Key.IsZero() {
		return nil, errors.New("a network needs a key")
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
	h, err := golibp2p.New(
		golibp2p.Identity(identity),
		golibp2p.ListenAddrStrings(cfg.Listen...),
		golibp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		golibp2p.Security(tls.ID, tls.New),
		golibp2p.Muxer(yamux.ID, &mux),
		golibp2p.ResourceManager(resources),
		golibp2p.ConnectionManager(conns),
		golibp2p.WithDialTimeout(dialTimeout),
		golibp2p.UserAgent("gotong"),
		golibp2p.DisableRelay(),
		golibp2p.DisableMetrics(),
		golibp2p.DisableIdentifyAddressDiscovery(),
		golibp2p.Ping(false),
	)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", cfg.Listen, err)
	}
	return h, nil
}

// Self implements p2p.Network.
func (n *Network) Self() p2p.Peer {
	var addrs []string
	for _, a := range n.host.Addrs() {
		addrs = append(addrs, a.String())
	}
	return p2p.Peer{Key: n.self, Addrs: addrs}
}

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
	s, ok := n.open(raw, key)
	if !ok {
		raw.Reset()
		return
	}
	defer n.wg.Done()
	defer s.Close()
	h(n.ctx, s)
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
	return n.failure(ctx, "connect to", p.Key, n.host.Connect(ctx, peer.AddrInfo{ID: id}))
}

// Dial implements p2p.Network.
func (n *Network) Dial(ctx context.Context, p p2p.Peer, proto p2p.Protocol) (p2p.Stream, error) {
	id, err := n.know(p)
	if err != nil {
		return nil, err
	}
	known := n.host.Network().Connectedness(id) == network.Connected
	raw, err := n.host.NewStream(ctx, id, protocol.ID(proto))
	if err != nil && known && ctx.Err() == nil {
		// The connection that was there may have died just now: once more.
		raw, err = n.host.NewStream(ctx, id, protocol.ID(proto))
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

// know remembers a peer's addresses, and forgets that dialling them failed
// before: how often to try is the caller's decision.
func (n *Network) know(p p2p.Peer) (peer.ID, error) {
	if p.Key == n.self {
		return "", fmt.Errorf("%w: %s is this node itself", p2p.ErrUnreachable, p.Key)
	}
	id, err := idOf(p.Key)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %v", p2p.ErrUnreachable, p.Key, err)
	}
	var good []multiaddr.Multiaddr
	for _, text := range p.Addrs[:min(len(p.Addrs), maxAddrs)] {
		if a, err := multiaddr.NewMultiaddr(text); err == nil {
			good = append(good, a)
		} else {
			n.log.Debug("address ignored", "peer", p.Key, "err", err)
		}
	}
	n.host.Peerstore().AddAddrs(id, good, addrLife)
	if sw, ok := n.host.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(id)
	}
	return id, nil
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

// Subscribe implements p2p.Network. A message that check refuses is neither
// heard nor passed on; what this node publishes itself it does not hear.
func (n *Network) Subscribe(ctx context.Context, topic string, check func([]byte) bool) (<-chan []byte, error) {
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
		err = n.host.Close()
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
