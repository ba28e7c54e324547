package libp2p

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/p2ptest"
	"github.com/gotong-network/gotong/sign"
)

func start(t *testing.T, key sign.PrivateKey, listen ...string) *Network {
	t.Helper()
	n, err := New(t.Context(), Config{Key: key, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func newKey(t *testing.T) sign.PrivateKey {
	t.Helper()
	key, err := sign.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestConformance(t *testing.T) {
	t.Parallel()
	p2ptest.Run(t, func(*testing.T) p2ptest.Make {
		return func(t *testing.T, key sign.PrivateKey) p2p.Network { return start(t, key) }
	})
}

func TestIdentityMapsBothWays(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	n := start(t, key)
	id, err := idOf(key.Public())
	if err != nil || id != n.host.ID() {
		t.Fatalf("id of the key is %s (%v), the host's is %s", id, err, n.host.ID())
	}
	if got, err := keyOf(id); err != nil || got != key.Public() {
		t.Fatalf("key of the id is %s, %v", got, err)
	}
}

// A stranger who breaks the framing loses its stream, nothing else.
func TestMalformedFrame(t *testing.T) {
	t.Parallel()
	a, b := start(t, newKey(t)), start(t, newKey(t))
	got := make(chan error, 1)
	b.Handle(p2p.ProtocolWork, func(_ context.Context, s p2p.Stream) {
		_, err := s.Receive()
		if _, again := s.Receive(); again == nil {
			err = errors.New("a broken stream was read on")
		}
		got <- err
	})
	for _, c := range []struct {
		name  string
		wire  []byte
		bound bool
	}{
		{"length over the bound", binary.BigEndian.AppendUint32(nil, p2p.MaxFrameBytes+1), true},
		{"truncated frame", []byte{0, 0, 0, 9, 1, 2}, false},
		{"truncated length", []byte{0, 0}, false},
	} {
		id, err := a.know(b.Self())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := a.host.NewStream(t.Context(), id, protocol.ID(p2p.ProtocolWork))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Write(c.wire); err != nil {
			t.Fatal(err)
		}
		raw.CloseWrite()
		if err := <-got; err == nil || errors.Is(err, p2p.ErrFrame) != c.bound {
			t.Errorf("%s: %v", c.name, err)
		}
		raw.Close()
	}
}

// A peer that starts again elsewhere is found once its new address is named.
func TestRestartOnNewAddress(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	a, b := start(t, newKey(t)), start(t, key)
	if err := a.Connect(t.Context(), b.Self()); err != nil {
		t.Fatal(err)
	}
	b.Close()
	b = start(t, key)
	b.Handle(p2p.ProtocolWork, func(_ context.Context, s p2p.Stream) {
		s.Send([]byte("here"))
		s.Flush()
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		s, err := a.Dial(ctx, b.Self(), p2p.ProtocolWork)
		if err == nil {
			var got []byte
			if got, err = s.Receive(); err == nil && string(got) == "here" {
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	if _, err := New(t.Context(), Config{}); err == nil {
		t.Error("a network without a key")
	}
	if _, err := New(t.Context(), Config{Key: newKey(t), Listen: []string{"127.0.0.1:80"}}); err == nil {
		t.Error("a network on something that is no multiaddr")
	}
	a := start(t, newKey(t))
	if _, err := New(t.Context(), Config{Key: newKey(t), Listen: a.Self().Addrs}); err == nil {
		t.Error("two networks on one port")
	}
	bad := p2p.Peer{Key: newKey(t).Public(), Addrs: []string{"nonsense", "/ip4/127.0.0.1/tcp/1"}}
	if _, err := a.Dial(t.Context(), bad, p2p.ProtocolWork); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("dial of bad addresses: %v", err)
	}
}

// Not parallel: it looks at all goroutines of the process.
func TestCloseLeavesNothing(t *testing.T) {
	a, b := start(t, newKey(t)), start(t, newKey(t))
	b.Handle(p2p.ProtocolWork, func(_ context.Context, s p2p.Stream) { s.Receive() })
	for range 5 {
		s, err := a.Dial(t.Context(), b.Self(), p2p.ProtocolWork)
		if err != nil {
			t.Fatal(err)
		}
		s.Send([]byte("x"))
		s.Flush()
		defer s.Close()
	}
	closed, err := a.Dial(t.Context(), b.Self(), p2p.ProtocolWork)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close() // lingers
	if _, err := b.Subscribe(context.Background(), "offers", nil); err != nil {
		t.Fatal(err)
	}
	a.Close()
	b.Close()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "internal/p2p/libp2p.(") && !strings.Contains(stack, "testing.tRunner") {
			t.Errorf("still running after Close:\n%s", stack)
		}
	}
}

func echoPair(b *testing.B) p2p.Stream {
	var nets []*Network
	for range 2 {
		key, err := sign.NewKey()
		if err != nil {
			b.Fatal(err)
		}
		n, err := New(b.Context(), Config{Key: key})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { n.Close() })
		nets = append(nets, n)
	}
	nets[1].Handle(p2p.ProtocolWork, func(_ context.Context, s p2p.Stream) {
		for n := 1; ; n++ {
			frame, err := s.Receive()
			if err != nil || s.Send(frame) != nil {
				return
			}
			if n%burst == 0 || frame[0] == 1 {
				s.Flush()
			}
		}
	})
	s, err := nets[0].Dial(b.Context(), nets[1].Self(), p2p.ProtocolWork)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

const burst = 64

func BenchmarkRoundTrip(b *testing.B) {
	s := echoPair(b)
	frame := make([]byte, 200)
	frame[0] = 1
	for b.Loop() {
		s.Send(frame)
		s.Flush()
		if _, err := s.Receive(); err != nil {
			b.Fatal(err)
		}
	}
}

// One long stream: bursts of 64 frames there and back.
func BenchmarkStream(b *testing.B) {
	s := echoPair(b)
	frame := make([]byte, 200)
	for b.Loop() {
		for range burst {
			s.Send(frame)
		}
		s.Flush()
		for range burst {
			if _, err := s.Receive(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*burst)/b.Elapsed().Seconds(), "frames/s")
}
