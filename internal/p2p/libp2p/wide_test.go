package libp2p

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/multiformats/go-multiaddr"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/p2ptest"
	"github.com/gotong-network/gotong/sign"
)

// waiting is how long a test waits for what normally takes milliseconds.
const waiting = 60 * time.Second

func join(t *testing.T, cfg Config, boot ...*Network) *Network {
	t.Helper()
	if cfg.Key.IsZero() {
		cfg.Key = newKey(t)
	}
	if len(cfg.Listen) == 0 {
		cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	var peers []p2p.Peer
	for _, b := range boot {
		peers = append(peers, b.Self())
	}
	cfg.Chain, cfg.Bootstrap = "test-1", func() []p2p.Peer { return peers }
	n, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(waiting); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func echoes(n *Network) {
	for _, proto := range []p2p.Protocol{p2p.ProtocolWork, p2p.ProtocolBlob} {
		n.Handle(proto, func(_ context.Context, s p2p.Stream) {
			for {
				frame, err := s.Receive()
				if err != nil {
					s.CloseWrite()
					return
				}
				if s.Send(frame) != nil || s.Flush() != nil {
					return
				}
			}
		})
	}
}

// ask sends a frame and expects it back, as often as it takes.
func ask(t *testing.T, from *Network, to p2p.Peer, proto p2p.Protocol, frame []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waiting)
	defer cancel()
	for {
		err := askOnce(ctx, from, to, proto, frame)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func askOnce(ctx context.Context, from *Network, to p2p.Peer, proto p2p.Protocol, frame []byte) error {
	s, err := from.Dial(ctx, to, proto)
	if err != nil {
		return err
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(waiting))
	if err := s.Send(frame); err != nil {
		return err
	}
	if err := s.Flush(); err != nil {
		return err
	}
	got, err := s.Receive()
	if err == nil && string(got) != string(frame) {
		err = fmt.Errorf("%d bytes came back of %d", len(got), len(frame))
	}
	return err
}

// Whatever holds between known addresses holds among strangers. They dial nobody by
// themselves, or they hear from its source what somebody between did not pass on.
func TestConformanceAmongStrangers(t *testing.T) {
	t.Parallel()
	p2ptest.Run(t, func(*testing.T) p2ptest.Make {
		return func(t *testing.T, key sign.PrivateKey) p2p.Network { return join(t, Config{Key: key, still: true}) }
	})
}

// TCP is dialled before QUIC, and both before relays.
func TestRank(t *testing.T) {
	t.Parallel()
	tcp, quic := "/ip4/45.77.0.3/tcp/1", "/ip4/45.77.0.3/udp/1/quic-v1"
	relay := "/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X/p2p-circuit"
	order := func(texts ...string) (out []string) {
		var addrs []multiaddr.Multiaddr
		for _, s := range texts {
			addrs = append(addrs, multiaddr.StringCast(s))
		}
		ranked := rank(addrs)
		slices.SortStableFunc(ranked, func(a, b network.AddrDelay) int { return cmp.Compare(a.Delay, b.Delay) })
		for i, r := range ranked {
			out = append(out, r.Addr.String())
			if i == 0 && r.Delay != 0 || i > 0 && r.Delay-ranked[i-1].Delay < quicDelay {
				t.Errorf("%v: %s is dialled after %v", texts, r.Addr, r.Delay)
			}
		}
		return out
	}
	want := []string{tcp, quic, tcp + relay, quic + relay}
	if got := order(want[3], want[2], want[1], want[0]); !slices.Equal(got, want) {
		t.Errorf("dialled in the order %v", got)
	}
	if got := order(want[3], want[1]); !slices.Equal(got, []string{want[1], want[3]}) {
		t.Errorf("without TCP: %v", got)
	}
}

// A peer of which only the key is known is found from the bootstrap peer.
func TestFindsUnknownPeers(t *testing.T) {
	t.Parallel()
	first := join(t, Config{})
	a, b := join(t, Config{}, first), join(t, Config{}, first)
	echoes(b)
	ask(t, a, p2p.Peer{Key: b.Self().Key}, p2p.ProtocolWork, []byte("found"))
	nobody := p2p.Peer{Key: newKey(t).Public()}
	if _, err := a.Dial(t.Context(), nobody, p2p.ProtocolWork); err == nil {
		t.Fatal("a stream to nobody")
	}
}

// Who cannot be dialled is reached through the relay, with small and large frames.
func TestReachesThroughRelay(t *testing.T) {
	t.Parallel()
	relay := join(t, Config{Relay: true, Reach: p2p.ReachPublic})
	hidden := join(t, Config{Reach: p2p.ReachRelayed}, relay)
	echoes(hidden)
	a := join(t, Config{}, relay)
	eventually(t, "a relayed address", func() bool { return hidden.Reach().Kind == p2p.ReachRelayed && len(hidden.Reach().Addrs) > 0 })
	for _, addr := range hidden.Self().Addrs {
		if !strings.Contains(addr, "p2p-circuit") {
			t.Errorf("address %s of a node that is reached through relays only", addr)
		}
	}
	ask(t, a, hidden.Self(), p2p.ProtocolWork, []byte("hello"))
	ask(t, a, p2p.Peer{Key: hidden.Self().Key}, p2p.ProtocolBlob, slices.Repeat([]byte("x"), p2p.MaxFrameBytes))
}

// Only those who may reserve are reached through a relay; a party that bonds later
// gets its place then.
func TestRelayAsksWhoMay(t *testing.T) {
	t.Parallel()
	bonded, stranger := newKey(t), newKey(t)
	relay := join(t, Config{Relay: true, Reach: p2p.ReachPublic,
		AllowReservation: func(k sign.PublicKey) bool { return k == bonded.Public() }})
	a := join(t, Config{Key: bonded, Reach: p2p.ReachRelayed}, relay)
	b := join(t, Config{Key: stranger, Reach: p2p.ReachRelayed}, relay)
	eventually(t, "a place for the bonded", func() bool { return a.Reach().Kind == p2p.ReachRelayed })
	eventually(t, "an answer to the stranger", func() bool {
		b.wide.slots.mu.Lock()
		defer b.wide.slots.mu.Unlock()
		sl := b.wide.slots.of[relay.host.ID()]
		return sl != nil && sl.pause > 0
	})
	if r := b.Reach(); r.Kind != p2p.ReachUnknown || len(r.Addrs) > 0 {
		t.Errorf("a stranger got a place: %+v", r)
	}
}

// A node that starts before its bootstrap peer finds it when it comes.
func TestBootstrapIsTriedAgain(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	first := join(t, Config{Key: key, Listen: []string{"/ip4/127.7.0.1/tcp/0"}}) // where no other takes its port
	addr := first.Self().Addrs[0]
	first.Close()
	boot := p2p.Peer{Key: key.Public(), Addrs: []string{addr}}
	a, err := New(t.Context(), Config{Key: newKey(t), Chain: "test-1", Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Bootstrap: func() []p2p.Peer { return []p2p.Peer{boot} }})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	first = join(t, Config{Key: key, Listen: []string{addr}})
	eventually(t, "a connection to the bootstrap peer", func() bool { return len(a.host.Network().ConnsToPeer(first.host.ID())) > 0 })
}

// A light node that nobody dials finds others than its bootstrap peers by itself: what it
// says may not come further than these.
func TestALightNodeFindsCompany(t *testing.T) {
	t.Parallel()
	boot := join(t, Config{})
	other := join(t, Config{}, boot)
	eventually(t, "the other is in the table of the first", func() bool { return boot.wide.dht.RoutingTable().Size() > 0 })
	light := join(t, Config{Light: true}, boot)
	eventually(t, "a light node that nobody dials has dialled the other", func() bool {
		return light.host.Network().Connectedness(other.host.ID()) == network.Connected
	})
}
