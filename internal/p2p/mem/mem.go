// Package mem is the p2p port inside one process: networks that share a Hub
// reach each other without sockets, so roles are tested together in one test.
//
// It promises the behaviour of the real adapter that its users can rely on: sent
// frames wait for Flush, writers block when the reader is slow, the other end's
// key is true, gossip travels over connections only. Links can be cut. It never
// leaves the process and proves no keys: whoever has the hub is trusted.
package mem

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
)

// maxGossipBytes bounds one gossiped message, as the port says.
const maxGossipBytes = 64 << 10

// gossipQueue is how many messages a slow subscriber keeps before it loses the
// oldest.
const gossipQueue = 1024

var errClosed = errors.New("network is closed")

// Hub joins the networks of one process. Safe for concurrent use.
type Hub struct {
	mu    sync.Mutex // guards everything below
	nodes map[sign.PublicKey]*node
	links map[link]bool               // connected pairs
	known map[link]bool               // pairs that were connected once
	cut   map[link]bool               // pairs that cannot talk
	pipes map[link]map[*pipe]struct{} // open streams, to break on a cut
	at    map[sign.PublicKey]netip.Addr
}

// link is an unordered pair of keys.
type link [2]sign.PublicKey

func linkOf(a, b sign.PublicKey) link {
	if slices.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return link{a, b}
}

// NewHub gives an empty hub.
func NewHub() *Hub {
	return &Hub{
		nodes: map[sign.PublicKey]*node{},
		links: map[link]bool{},
		known: map[link]bool{},
		cut:   map[link]bool{},
		pipes: map[link]map[*pipe]struct{}{},
		at:    map[sign.PublicKey]netip.Addr{},
	}
}

// New adds a network under key. A key that is in use is taken over, as by a
// process that starts again after it was killed: the old network is cut off.
func (h *Hub) New(key sign.PrivateKey) p2p.Network {
	n := newNode(h, key.Public())
	h.mu.Lock()
	broken := h.detach(n.key)
	h.nodes[n.key] = n
	h.mu.Unlock()
	breakAll(broken)
	return n
}

// Place says at which address others see a key, in streams that are opened from
// now on; without it they see none.
func (h *Hub) Place(key sign.PublicKey, at netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at[key] = at
}

// placeOf is where a key is seen.
func (h *Hub) placeOf(key sign.PublicKey) netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[key]
}

// Cut breaks the streams and the connection between two keys, and refuses new
// ones until Heal.
func (h *Hub) Cut(a, b sign.PublicKey) {
	l := linkOf(a, b)
	h.mu.Lock()
	h.cut[l] = true
	delete(h.links, l)
	broken := h.takePipes(l)
	h.mu.Unlock()
	breakAll(broken)
}

// Heal lets two keys connect again. Like after a real cut, gossip flows again
// only when one of them connects or dials.
func (h *Hub) Heal(a, b sign.PublicKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.cut, linkOf(a, b))
}

// connect links two keys and gives the node at the other end.
func (h *Hub) connect(from *node, p p2p.Peer) (*node, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	to := p.Key
	l := linkOf(from.key, to)
	peer := h.nodes[to]
	switch {
	case h.nodes[from.key] != from:
		return nil, errClosed
	case to == from.key:
		return nil, fmt.Errorf("%w: %s is this node itself", p2p.ErrUnreachable, to)
	case len(p.Addrs) == 0 && !h.known[l]:
		return nil, fmt.Errorf("%w: no address of %s is known", p2p.ErrUnreachable, to)
	case peer == nil:
		return nil, fmt.Errorf("%w: %s is not in this process", p2p.ErrUnreachable, to)
	case h.cut[l]:
		return nil, fmt.Errorf("%w: the link to %s is cut", p2p.ErrUnreachable, to)
	}
	h.links[l], h.known[l] = true, true
	return peer, nil
}

// opened remembers a stream so that a cut can break it; false if its link went
// away meanwhile.
func (h *Hub) opened(a, b *node, p *pipe) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := linkOf(a.key, b.key)
	if !h.links[l] || h.nodes[a.key] != a || h.nodes[b.key] != b {
		return false
	}
	if h.pipes[l] == nil {
		h.pipes[l] = map[*pipe]struct{}{}
	}
	h.pipes[l][p] = struct{}{}
	return true
}

func (h *Hub) forget(l link, p *pipe) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.pipes[l], p)
	if len(h.pipes[l]) == 0 {
		delete(h.pipes, l)
	}
}

// remove takes a closed node out, unless its key was taken over.
func (h *Hub) remove(n *node) {
	h.mu.Lock()
	var broken []*pipe
	if h.nodes[n.key] == n {
		broken = h.detach(n.key)
	}
	h.mu.Unlock()
	breakAll(broken)
}

// detach drops a key's node, links and streams; h.mu is held.
func (h *Hub) detach(key sign.PublicKey) (broken []*pipe) {
	delete(h.nodes, key)
	for l := range h.links {
		if l[0] == key || l[1] == key {
			delete(h.links, l)
			broken = append(broken, h.takePipes(l)...)
		}
	}
	return broken
}

func (h *Hub) takePipes(l link) (ps []*pipe) {
	for p := range h.pipes[l] {
		ps = append(ps, p)
	}
	delete(h.pipes, l)
	return ps
}

func breakAll(ps []*pipe) {
	for _, p := range ps {
		p.fail(errReset)
	}
}

// neighbours gives the nodes that key is connected to.
func (h *Hub) neighbours(key sign.PublicKey) (ns []*node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.links {
		if l[0] == key {
			ns = append(ns, h.nodes[l[1]])
		} else if l[1] == key {
			ns = append(ns, h.nodes[l[0]])
		}
	}
	return ns
}

// flood carries a message from its publisher to every node that is reached over
// subscribers who pass it on.
func (h *Hub) flood(from *node, topic string, data []byte) {
	seen := map[*node]bool{from: true}
	for queue := []*node{from}; len(queue) > 0; queue = queue[1:] {
		for _, n := range h.neighbours(queue[0].key) {
			if seen[n] {
				continue
			}
			seen[n] = true
			if n.hear(topic, data) {
				queue = append(queue, n)
			}
		}
	}
}

// node is one network of the hub.
type node struct {
	hub  *Hub
	key  sign.PublicKey
	ctx  context.Context // ends the handlers; cancelled by Close
	stop context.CancelFunc
	wg   sync.WaitGroup // handlers and subscriptions

	mu       sync.Mutex // guards everything below
	closed   bool
	handlers map[p2p.Protocol]p2p.Handler
	topics   map[string]map[*subscription]struct{}
}

type subscription struct {
	check p2p.Check
	out   chan []byte
	mu    sync.Mutex // one deliverer at a time; guards ended
	ended bool
}

var _ p2p.Network = (*node)(nil)

func newNode(h *Hub, key sign.PublicKey) *node {
	ctx, stop := context.WithCancel(context.Background())
	return &node{
		hub: h, key: key, ctx: ctx, stop: stop,
		handlers: map[p2p.Protocol]p2p.Handler{},
		topics:   map[string]map[*subscription]struct{}{},
	}
}

// Self implements p2p.Network.
func (n *node) Self() p2p.Peer {
	return p2p.Peer{Key: n.key, Addrs: []string{"/memory/" + n.key.String()[:12]}}
}

// Handle implements p2p.Network.
func (n *node) Handle(proto p2p.Protocol, h p2p.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handlers[proto] != nil {
		panic("mem: two handlers for " + string(proto))
	}
	n.handlers[proto] = h
}

// Connect implements p2p.Network.
func (n *node) Connect(ctx context.Context, p p2p.Peer) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("connect to %s: %w", p.Key, err)
	}
	_, err := n.hub.connect(n, p)
	return err
}

// Dial implements p2p.Network.
func (n *node) Dial(ctx context.Context, p p2p.Peer, proto p2p.Protocol) (p2p.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("dial %s: %w", p.Key, err)
	}
	peer, err := n.hub.connect(n, p)
	if err != nil {
		return nil, err
	}
	l := linkOf(n.key, peer.key)
	pp := newPipe()
	pp.ended = func() { n.hub.forget(l, pp) }
	near, far := pp.streams(n.key, peer.key)
	near.at, far.at = n.hub.placeOf(peer.key), n.hub.placeOf(n.key)
	if !n.hub.opened(n, peer, pp) {
		return nil, fmt.Errorf("%w: the link to %s went away", p2p.ErrUnreachable, p.Key)
	}
	if err := peer.serve(proto, far); err != nil {
		pp.fail(errReset)
		return nil, err
	}
	return near, nil
}

// serve runs the handler of a stream that a peer opened.
func (n *node) serve(proto p2p.Protocol, s p2p.Stream) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.handlers[proto]
	if n.closed || h == nil {
		return fmt.Errorf("%w: %s does not serve %s", p2p.ErrUnreachable, n.key, proto)
	}
	n.wg.Go(func() {
		defer s.Close()
		h(n.ctx, s)
	})
	return nil
}

// Publish implements p2p.Network.
func (n *node) Publish(ctx context.Context, topic string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(data) > maxGossipBytes {
		return fmt.Errorf("%w: gossip of %d bytes, at most %d", p2p.ErrFrame, len(data), maxGossipBytes)
	}
	n.mu.Lock()
	closed := n.closed
	n.mu.Unlock()
	if closed {
		return errClosed
	}
	n.hub.flood(n, topic, data)
	return nil
}

// Subscribe implements p2p.Network.
func (n *node) Subscribe(ctx context.Context, topic string, check p2p.Check) (<-chan []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &subscription{check: check, out: make(chan []byte, gossipQueue)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, errClosed
	}
	if n.topics[topic] == nil {
		n.topics[topic] = map[*subscription]struct{}{}
	}
	n.topics[topic][s] = struct{}{}
	n.wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-n.ctx.Done():
		}
		n.unsubscribe(topic, s)
	})
	return s.out, nil
}

func (n *node) unsubscribe(topic string, s *subscription) {
	n.mu.Lock()
	delete(n.topics[topic], s)
	if len(n.topics[topic]) == 0 {
		delete(n.topics, topic)
	}
	n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	close(s.out)
}

// hear gives a message to the subscribers of a topic; whether it is passed on.
func (n *node) hear(topic string, data []byte) bool {
	n.mu.Lock()
	var subs []*subscription
	for s := range n.topics[topic] {
		subs = append(subs, s)
	}
	n.mu.Unlock()
	for _, s := range subs {
		if s.check != nil && s.check(data) != p2p.Accept {
			return false
		}
	}
	for _, s := range subs {
		s.deliver(slices.Clone(data))
	}
	return len(subs) > 0
}

// deliver queues a message, dropping the oldest when the queue is full.
func (s *subscription) deliver(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended {
		select {
		case s.out <- data:
			return
		default:
		}
		select {
		case <-s.out:
		default:
		}
	}
}

// Close implements p2p.Network: it breaks all streams and waits for handlers.
func (n *node) Close() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.stop()
	n.hub.remove(n)
	n.wg.Wait()
	return nil
}
