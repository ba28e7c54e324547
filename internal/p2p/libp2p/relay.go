package libp2p

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	relayv2 "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/gotong-network/gotong/sign"
)

// What a relay gives. The library's bounds, 128 KiB and 2 minutes, are for hole
// punching only and cut every transfer; who may reserve is bounded by bond instead.
const (
	relayBytes        = 4 << 30 // each way, of one connection
	relayTime         = 2 * time.Hour
	relayBuffer       = 64 << 10
	relayCircuits     = 256 // of one peer: an indexer calls many
	relayReservations = 4096
	relayPerAddress   = 512 // a pool behind one translator is one address
	relayMemory       = 512 << 20
	relayPeerMemory   = relayCircuits * 4 * relayBuffer
	reservationLife   = time.Hour
)

// newRelay serves as a relay; private says that private addresses may be vouched for.
func newRelay(h host.Host, cfg Config, private bool) (*relayv2.Relay, error) {
	filter := manet.IsPublicAddr
	if private {
		filter = func(multiaddr.Multiaddr) bool { return true }
	}
	return relayv2.New(h,
		relayv2.WithResources(relayv2.Resources{
			Limit:                 &relayv2.RelayLimit{Duration: relayTime, Data: relayBytes},
			ReservationTTL:        reservationLife,
			MaxReservations:       relayReservations,
			MaxCircuits:           relayCircuits,
			BufferSize:            relayBuffer,
			MaxReservationsPerIP:  relayPerAddress,
			MaxReservationsPerASN: relayReservations,
		}),
		relayv2.WithACL(admission(cfg.AllowReservation)),
		relayv2.WithReservationAddressFilter(filter),
	)
}

// admission lets those reserve whom allow names; anybody may call who reserved.
type admission func(sign.PublicKey) bool

// AllowReserve implements relayv2.ACLFilter.
func (a admission) AllowReserve(p peer.ID, _ multiaddr.Multiaddr) bool {
	if a == nil {
		return true
	}
	key, err := keyOf(p)
	return err == nil && a(key)
}

// AllowConnect implements relayv2.ACLFilter.
func (a admission) AllowConnect(peer.ID, multiaddr.Multiaddr, peer.ID) bool { return true }

const (
	// wantSlots is how many relays a node keeps a reservation with.
	wantSlots      = 3
	wantSlotsLight = 2
	slotPause      = time.Second
	maxSlotPause   = 30 * time.Second // a node may bond at any time
	slotCheck      = time.Second
	reserveTime    = 10 * time.Second
	addrsPerRelay  = 4
)

// slots are this node's reservations with relays.
type slots struct {
	told event.Emitter

	mu  sync.Mutex // guards everything below
	of  map[peer.ID]*slot
	now []multiaddr.Multiaddr // as told last
}

type slot struct {
	attempt
	until time.Time // zero: none
}

func (s *slots) init(h host.Host) (err error) {
	s.of = map[peer.ID]*slot{}
	s.told, err = h.EventBus().Emitter(new(event.EvtAutoRelayAddrsUpdated), eventbus.Stateful)
	return err
}

// lost forgets a reservation whose relay forgets it too: all connections are gone.
func (s *slots) lost(id peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl := s.of[id]; sl != nil {
		sl.until = time.Time{}
	}
}

// held counts the reservations.
func (s *slots) held() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.of {
		if time.Now().Before(sl.until) {
			n++
		}
	}
	return n
}

// keepSlots keeps reservations while this node is not public, until ctx ends.
func (w *wide) keepSlots(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	t := time.NewTicker(slotCheck)
	defer t.Stop()
	for {
		relays := w.bootstrap()
		if !w.isPublic() {
			for _, p := range relays {
				if w.slotDue(p.ID) {
					wg.Go(func() { w.reserve(ctx, p) })
				}
			}
		}
		w.tellSlots(relays)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-w.kick:
		}
	}
}

// slotDue reports whether to ask a relay now, and then marks it so.
func (w *wide) slotDue(id peer.ID) bool {
	if w.host.Network().Connectedness(id) != network.Connected {
		return false
	}
	if ok, err := w.host.Peerstore().SupportsProtocols(id, proto.ProtoIDv2Hop); err != nil || len(ok) == 0 {
		return false // not identified yet, or no relay
	}
	want := wantSlots
	if w.cfg.Light {
		want = wantSlotsLight
	}
	held := w.slots.held()
	w.slots.mu.Lock()
	defer w.slots.mu.Unlock()
	sl := w.slots.of[id]
	if sl == nil {
		if len(w.slots.of) >= maxBootstrap {
			clear(w.slots.of)
		}
		sl = &slot{}
		w.slots.of[id] = sl
	}
	now := time.Now()
	fresh := now.Add(reservationLife / 4).Before(sl.until)
	if sl.busy || fresh || now.Before(sl.next) || held >= want && now.After(sl.until) {
		return false
	}
	sl.busy = true
	return true
}

func (w *wide) reserve(ctx context.Context, p peer.AddrInfo) {
	ctx, cancel := context.WithTimeout(ctx, reserveTime)
	defer cancel()
	got, err := client.Reserve(ctx, w.host, p)
	w.slots.mu.Lock()
	defer w.slots.mu.Unlock()
	sl := w.slots.of[p.ID]
	if sl == nil {
		return
	}
	sl.busy = false
	if err != nil {
		sl.failed(time.Now(), slotPause, maxSlotPause)
		w.log.Debug("no place at this relay: trying again", "relay", p.ID, "in", sl.pause, "err", err)
		return
	}
	*sl = slot{until: got.Expiration}
	w.host.ConnManager().Protect(p.ID, relayTag)
	w.wake()
}

const relayTag = "gotong-relay"

// tellSlots tells the host which relayed addresses it has now.
func (w *wide) tellSlots(relays []peer.AddrInfo) {
	var addrs []multiaddr.Multiaddr
	w.slots.mu.Lock()
	defer w.slots.mu.Unlock()
	for _, p := range relays {
		if sl := w.slots.of[p.ID]; sl != nil && time.Now().Before(sl.until) && !w.isPublic() {
			addrs = append(addrs, w.through(p)...)
		}
	}
	if same(addrs, w.slots.now) {
		return
	}
	w.slots.now = addrs
	if err := w.slots.told.Emit(event.EvtAutoRelayAddrsUpdated{RelayAddrs: addrs}); err != nil {
		w.log.Debug("relayed addresses were not told", "err", err)
	}
}

// through are this node's addresses by way of a relay.
func (w *wide) through(relay peer.AddrInfo) []multiaddr.Multiaddr {
	circuit, err := multiaddr.NewMultiaddr("/p2p/" + relay.ID.String() + "/p2p-circuit")
	if err != nil {
		return nil
	}
	least := w.scope()
	var out []multiaddr.Multiaddr
	for _, a := range multiaddr.Unique(append(slices.Clone(relay.Addrs), w.host.Peerstore().Addrs(relay.ID)...)) {
		if !isRelayed(a) && scopeOf(a) >= least && len(out) < addrsPerRelay {
			out = append(out, a.Encapsulate(circuit))
		}
	}
	return out
}

func same(a, b []multiaddr.Multiaddr) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}
