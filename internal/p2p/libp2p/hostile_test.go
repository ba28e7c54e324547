package libp2p

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"

	"github.com/gotong-network/gotong/internal/p2p"
)

// raw opens a stream as a stranger does, who keeps to no rule of ours.
func raw(t *testing.T, from, to *Network, proto p2p.Protocol) network.Stream {
	t.Helper()
	id, err := from.know(to.Self())
	if err != nil {
		t.Fatal(err)
	}
	s, err := from.host.NewStream(t.Context(), id, protocol.ID(proto))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Who holds another key than the one that was chosen is not spoken to.
func TestWrongKeyIsRefused(t *testing.T) {
	t.Parallel()
	a, b := start(t, newKey(t)), start(t, newKey(t))
	var spoken atomic.Bool
	b.Handle(p2p.ProtocolWork, func(context.Context, p2p.Stream) { spoken.Store(true) })
	chosen := p2p.Peer{Key: newKey(t).Public(), Addrs: b.Self().Addrs}
	if _, err := a.Dial(t.Context(), chosen, p2p.ProtocolWork); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("dial of another key: %v", err)
	}
	if err := a.Connect(t.Context(), chosen); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("connect to another key: %v", err)
	}
	if n := len(b.host.Network().Conns()); n > 0 || spoken.Load() {
		t.Errorf("%d connections stand under a wrong key", n)
	}
}

// Nothing but TLS 1.3 is spoken: not an older one, not another protocol, not none.
func TestOnlyTLS13(t *testing.T) {
	t.Parallel()
	n := start(t, newKey(t))
	at := strings.Split(n.Self().Addrs[0], "/") // "", ip4, ADDR, tcp, PORT
	speak := func(security string) (net.Conn, string) {
		c, err := net.Dial("tcp", net.JoinHostPort(at[2], at[4]))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(waiting))
		if _, err := io.WriteString(c, "\x13/multistream/1.0.0\n"+string(rune(len(security)+1))+security+"\n"); err != nil {
			t.Fatal(err)
		}
		var said string
		for lines := 0; lines < 2; {
			b := make([]byte, 1)
			if _, err := c.Read(b); err != nil {
				return c, said
			}
			said += string(b)
			lines = strings.Count(said, "\n")
		}
		return c, said
	}
	for _, other := range []string{"/noise", "/plaintext/2.0.0", "/yamux/1.0.0"} {
		if _, said := speak(other); strings.Contains(said, other) || !strings.Contains(said, "na\n") {
			t.Errorf("%s was answered by %q", other, said)
		}
	}
	c, said := speak("/tls/1.0.0")
	if !strings.Contains(said, "/tls/1.0.0") {
		t.Fatalf("TLS was answered by %q", said)
	}
	old := tls.Client(c, &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true, NextProtos: []string{"libp2p"}})
	if err := old.Handshake(); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("TLS 1.2: %v", err)
	}
}

// Who breaks the framing again and again is cut off and shut out; later it may come
// back.
func TestMalformedFramesShutOut(t *testing.T) {
	t.Parallel()
	bad, good, n := start(t, newKey(t)), start(t, newKey(t)), start(t, newKey(t))
	echoes(n)
	late := atomic.Int64{} // how much later it is
	n.scores.now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	for range banAt / faultFrame {
		s := raw(t, bad, n, p2p.ProtocolWork)
		s.Write([]byte{0xff, 0xff, 0xff, 0xff})
		s.SetReadDeadline(time.Now().Add(waiting))
		io.Copy(io.Discard, s) // until it is broken off
		s.Reset()
	}
	eventually(t, "the bad peer is cut off", func() bool { return len(n.host.Network().ConnsToPeer(bad.host.ID())) == 0 })
	if err := n.Connect(t.Context(), bad.Self()); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("a call to a peer that is shut out: %v", err)
	}
	if s, err := bad.Dial(t.Context(), n.Self(), p2p.ProtocolWork); err == nil {
		s.SetDeadline(time.Now().Add(waiting))
		s.Send([]byte("x"))
		s.Flush()
		if _, err := s.Receive(); err == nil {
			t.Error("a peer that is shut out was served")
		}
	}
	ask(t, good, n.Self(), p2p.ProtocolWork, []byte("still here"))
	late.Store(int64(banTime + time.Second))
	ask(t, bad, n.Self(), p2p.ProtocolWork, []byte("better now"))
}

// Streams without end fill one peer's share and nobody else's, and cost no more than
// was accounted.
func TestEndlessStreams(t *testing.T) {
	t.Parallel()
	const most = 32
	n, err := New(t.Context(), Config{Key: newKey(t), MaxStreamsPerPeer: most})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	echoes(n)
	bad, good := start(t, newKey(t)), start(t, newKey(t))
	open := 0
	for range 4 * most {
		id, _ := bad.know(n.Self())
		s, err := bad.host.NewStream(t.Context(), id, protocol.ID(p2p.ProtocolWork))
		if err != nil {
			continue
		}
		s.SetDeadline(time.Now().Add(waiting))
		if _, err := s.Write([]byte{0, 0, 0, 1, 7}); err != nil {
			continue
		}
		if _, err := io.ReadFull(s, make([]byte, 5)); err == nil {
			open++ // served, and kept open
		}
	}
	if open == 0 || open > most {
		t.Errorf("%d streams of one peer are served, at most %d", open, most)
	}
	ask(t, good, n.Self(), p2p.ProtocolWork, []byte("my turn"))
}

// A stranger who opens a stream and says nothing loses it.
func TestSilentStream(t *testing.T) {
	t.Parallel()
	n, bad := start(t, newKey(t)), start(t, newKey(t))
	n.first = 100 * time.Millisecond
	got := make(chan error, 1)
	n.Handle(p2p.ProtocolWork, func(_ context.Context, s p2p.Stream) {
		_, err := s.Receive()
		got <- err
	})
	s := raw(t, bad, n, p2p.ProtocolWork)
	defer s.Reset()
	s.Write(nil) // the protocol is named, and no more
	select {
	case err := <-got:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(waiting):
		t.Error("it was waited for")
	}
}

// A reader that takes nothing blocks its sender for a while only, and nobody else.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	n, bad, good := start(t, newKey(t)), start(t, newKey(t)), start(t, newKey(t))
	n.stall = 400 * time.Millisecond
	got := make(chan error, 1)
	n.Handle(p2p.ProtocolBlob, func(_ context.Context, s p2p.Stream) {
		s.Receive()
		for {
			if err := s.Send(make([]byte, 1<<20)); err != nil {
				got <- err
				return
			}
		}
	})
	n.Handle(p2p.ProtocolWork, func(_ context.Context, s p2p.Stream) {
		frame, _ := s.Receive()
		s.Send(frame)
		s.Flush()
	})
	s := raw(t, bad, n, p2p.ProtocolBlob)
	defer s.Reset()
	s.Write([]byte{0, 0, 0, 1, 7})
	ask(t, good, n.Self(), p2p.ProtocolWork, []byte("not my fault"))
	select {
	case err := <-got:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(waiting):
		t.Error("a sender waits for ever")
	}
}

// Who passes on what no honest peer does is shut out; what others publish is heard.
func TestFalseGossipShutOut(t *testing.T) {
	t.Parallel()
	n, bad, good := start(t, newKey(t)), start(t, newKey(t)), start(t, newKey(t))
	heard, err := n.Subscribe(t.Context(), offers, func(b []byte) p2p.Verdict {
		if strings.HasPrefix(string(b), "true") {
			return p2p.Accept
		}
		return p2p.Reject
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Network{bad, good} {
		if err := p.Connect(t.Context(), n.Self()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the liar is shut out", func() bool {
		bad.Publish(t.Context(), offers, []byte("false"))
		return n.scores.banned(bad.host.ID()) && len(n.host.Network().ConnsToPeer(bad.host.ID())) == 0
	})
	eventually(t, "others are heard", func() bool {
		good.Publish(t.Context(), offers, []byte("true"))
		select {
		case <-heard:
			return true
		default:
			return false
		}
	})
}

// Who floods is not heard beyond its share, and shut out in the end.
func TestFloodOfGossip(t *testing.T) {
	t.Parallel()
	n, bad := start(t, newKey(t)), start(t, newKey(t))
	n.gossip.pace = p2p.NewPace[peer.ID](1, 50, 16)
	var judged atomic.Int64
	if _, err := n.Subscribe(t.Context(), offers, func([]byte) p2p.Verdict { judged.Add(1); return p2p.Accept }); err != nil {
		t.Fatal(err)
	}
	if err := bad.Connect(t.Context(), n.Self()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	eventually(t, "the flood is shut out", func() bool {
		for range 100 {
			bad.Publish(t.Context(), offers, []byte("again"))
		}
		return n.scores.banned(bad.host.ID())
	})
	if most := 50 + int64(time.Since(start).Seconds()) + 1; judged.Load() > most {
		t.Errorf("%d messages of a flood were judged, at most %d", judged.Load(), most)
	}
}

// Memory of who misbehaved is bounded, and keeps the guiltiest.
func TestScoresAreBounded(t *testing.T) {
	t.Parallel()
	s, now := newScores(), time.Unix(1000, 0)
	s.now, s.most = func() time.Time { return now }, 100
	if !s.blame("guilty", banAt) || !s.banned("guilty") {
		t.Fatal("not banned")
	}
	s.blame("twice", 2*faultFrame)
	for i := range 3 * s.most {
		s.blame(peer.ID(string(rune(0x10000+i))), 1)
	}
	if len(s.of) > s.most || !s.banned("guilty") || s.rating("twice") != -2*faultFrame {
		t.Errorf("%d peers are remembered, at most %d; the guilty is banned: %v", len(s.of), s.most, s.banned("guilty"))
	}
	now = now.Add(banTime + time.Second)
	if s.banned("guilty") || s.rating("twice") != 0 {
		t.Error("nothing is forgiven")
	}
}

// Sybils of one network fill their share of the table only, and all that may come in:
// the bootstrap peer stays, and the way out stays open.
func TestEclipse(t *testing.T) {
	t.Parallel()
	boot := join(t, Config{Reach: p2p.ReachPublic, Listen: []string{"/ip4/127.1.0.1/tcp/0"}})
	const conns = 16 // of which 15 may come in
	key := newKey(t)
	victim := join(t, Config{Key: key, Reach: p2p.ReachPublic, MaxConns: conns}, boot)
	eventually(t, "the bootstrap peer", func() bool { return victim.dhtHas(boot) })
	for range 18 {
		join(t, Config{Reach: p2p.ReachPublic, Listen: []string{"/ip4/127.0.0.1/tcp/0"}}, victim)
	}
	full := func() bool { return len(victim.host.Network().Conns()) >= (conns+conns/4)*3/4 }
	eventually(t, "as many come in as may", full)
	inbound := 0
	for _, c := range victim.host.Network().Conns() {
		if c.Stat().Direction == network.DirInbound {
			inbound++
		}
	}
	if most := (conns + conns/4) * 3 / 4; inbound > most {
		t.Errorf("%d connections came in, at most %d", inbound, most)
	}
	if n := victim.wide.dht.RoutingTable().Size(); n > groupPerTable+1 {
		t.Errorf("%d of one network are in the table, at most %d", n, groupPerTable)
	}
	if len(victim.host.Network().ConnsToPeer(boot.host.ID())) == 0 || !victim.dhtHas(boot) {
		t.Error("the bootstrap peer was pushed out")
	}
	honest := start(t, newKey(t), "/ip4/127.2.0.1/tcp/0")
	echoes(honest)
	ask(t, victim, honest.Self(), p2p.ProtocolWork, []byte("way out"))
}

func (n *Network) dhtHas(p *Network) bool {
	return n.wide.dht.RoutingTable().Find(p.host.ID()) != ""
}

// Strangers' addresses do not make us knock at doors of private networks that we are
// not part of, nor at our own machine's.
func TestPrivateAddressesAreNotDialled(t *testing.T) {
	t.Parallel()
	g := &gate{scores: newScores(), near: &neighbours{}, private: func() bool { return false }}
	for addr, want := range map[string]bool{
		"/ip4/127.0.0.1/tcp/22":             false,
		"/ip4/10.255.77.1/tcp/22":           false,
		"/ip4/192.168.213.9/tcp/80":         false,
		"/ip6/fd12:3456::1/tcp/80":          false,
		"/ip4/45.77.0.3/tcp/4001":           true,
		"/dns4/bootstrap.example/tcp/4001":  true,
		"/ip4/45.77.0.3/udp/4001/quic-v1":   true,
		"/ip4/169.254.169.254/tcp/80":       false,
		"/ip6/2606:4700:4700::1111/tcp/443": true,
	} {
		if got := g.InterceptAddrDial("x", multiaddr.StringCast(addr)); got != want {
			t.Errorf("%s: dialled %v, want %v", addr, got, want)
		}
	}
}

// FuzzAddrs: addresses are strangers' bytes.
func FuzzAddrs(f *testing.F) {
	for _, s := range []string{"/ip4/1.2.3.4/tcp/5", "/ip4/1.2.3.4/udp/5/quic-v1", "/ip6/::1/tcp/1", "/dns4/x/tcp/1", "/p2p-circuit",
		"/ip4/45.77.0.3/tcp/1/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X/p2p-circuit", "/unix/a", ""} {
		f.Add(s)
	}
	g := &gate{scores: newScores(), near: &neighbours{}, private: func() bool { return false }}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			return
		}
		g.InterceptAddrDial("x", a)
		if ranked := rank([]multiaddr.Multiaddr{a, a}); len(ranked) != 2 {
			t.Errorf("%d of 2 addresses are ranked", len(ranked))
		}
		if byWorth(a, a) != 0 || narrowest([]multiaddr.Multiaddr{a}) != min(scopeOf(a), scopePublic) {
			t.Error("an address is not like itself")
		}
	})
}
