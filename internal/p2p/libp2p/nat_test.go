//go:build linux

package libp2p

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/netlab"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
)

// TestMain lets the test binary be a node on a host of a lab.
func TestMain(m *testing.M) {
	if conf := os.Getenv("P2P_TEST_NODE"); conf != "" {
		if err := playNode(conf); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// part is what a node on a host is told at its start.
type part struct {
	Seed   byte
	Listen []string
	Boot   []p2p.Peer
	Relay  bool
	Light  bool
}

// order is what a node is told later, one a line; answer is what it says.
type order struct {
	Ask   p2p.Peer     `json:",omitzero"` // pull Bytes from this peer over Proto
	Proto p2p.Protocol `json:",omitempty"`
	Bytes int          `json:",omitempty"`
}

type answer struct {
	Reach  p2p.Reach
	Direct bool // the pull did not go through a relay
	QUIC   bool // it went over QUIC
	Took   time.Duration
	Err    string
}

// playNode serves as many bytes as are asked for, pulls when it is told to, and says
// how it is reached when it is told nothing.
func playNode(conf string) error {
	var p part
	if err := json.Unmarshal([]byte(conf), &p); err != nil {
		return err
	}
	n, err := New(context.Background(), Config{
		Key: sign.FromSeed([32]byte{p.Seed}), Chain: "nat-1", Listen: p.Listen, Relay: p.Relay, Light: p.Light,
		Bootstrap: func() []p2p.Peer { return p.Boot },
		Log:       slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return err
	}
	defer n.Close()
	for _, proto := range []p2p.Protocol{p2p.ProtocolWork, p2p.ProtocolBlob} {
		n.Handle(proto, give)
	}
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return nil // the test is over
		}
		a := answer{}
		if o.Proto != "" {
			start := time.Now()
			if err := pull(n, o, &a); err != nil {
				a.Err = err.Error()
			}
			a.Took = time.Since(start)
		}
		a.Reach = n.Reach()
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// give answers a frame with as many bytes as it says.
func give(_ context.Context, s p2p.Stream) {
	frame, err := s.Receive()
	if err != nil || len(frame) != 8 {
		return
	}
	piece := make([]byte, 1<<20)
	for left := binary.BigEndian.Uint64(frame); left > 0; {
		n := min(left, uint64(len(piece)))
		if s.Send(piece[:n]) != nil {
			return
		}
		left -= n
	}
	s.CloseWrite()
}

func pull(n *Network, o order, a *answer) error {
	ctx, cancel := context.WithTimeout(context.Background(), waiting)
	defer cancel()
	s, err := n.Dial(ctx, o.Ask, o.Proto)
	if err != nil {
		return err
	}
	defer s.Close()
	conn := s.(*stream).raw.Conn()
	a.Direct, a.QUIC = !conn.Stat().Limited, isQUIC(conn.RemoteMultiaddr())
	s.SetDeadline(time.Now().Add(waiting))
	if err := s.Send(binary.BigEndian.AppendUint64(nil, uint64(o.Bytes))); err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	got := 0
	for {
		frame, err := s.Receive()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		got += len(frame)
	}
	if got != o.Bytes {
		return fmt.Errorf("%d bytes of %d", got, o.Bytes)
	}
	return nil
}

// actor is a node on a host.
type actor struct {
	t   *testing.T
	in  *json.Encoder
	out *json.Decoder
	who p2p.Peer
}

func play(t *testing.T, h *netlab.Host, p part) *actor {
	t.Helper()
	conf, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.Command(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "P2P_TEST_NODE="+string(conf))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	logs := &strings.Builder{}
	cmd.Stderr = logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &actor{t: t, in: json.NewEncoder(in), out: json.NewDecoder(out), who: p2p.Peer{Key: sign.FromSeed([32]byte{p.Seed}).Public(), Addrs: p.Listen}}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
		if t.Failed() || testing.Verbose() {
			t.Logf("%s: %s", h.Name(), logs)
		}
	})
	return a
}

func (a *actor) tell(o order) answer {
	a.t.Helper()
	var got answer
	if err := a.in.Encode(o); err != nil {
		a.t.Fatal(err)
	}
	if err := a.out.Decode(&got); err != nil {
		a.t.Fatal(err)
	}
	return got
}

func (a *actor) becomes(kind p2p.ReachKind) (r p2p.Reach) {
	a.t.Helper()
	eventually(a.t, "reached as "+string(kind), func() bool {
		r = a.tell(order{}).Reach
		return r.Kind == kind && len(r.Addrs) > 0
	})
	return r
}

// Two homes: peers behind plain masquerade meet directly, who sits behind a symmetric
// translator is served through the relay, transfers included, and nodes with an
// address of their own are public.
func TestTranslators(t *testing.T) {
	t.Parallel()
	lab, err := netlab.New(netlab.Options{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Close)
	host := func(name string, behind *netlab.Router) *netlab.Host {
		h, err := lab.Host(name, netlab.HostOptions{Behind: behind})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	router := func(name string, n netlab.NAT) *netlab.Router {
		r, err := lab.Router(name, netlab.RouterOptions{NAT: n})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var boot []p2p.Peer
	var relays []*actor
	for i := range 2 {
		h := host(fmt.Sprint("relay", i), nil)
		seed := byte(1 + i)
		listen := []string{fmt.Sprintf("/ip4/%s/tcp/4001", h.Addr()), fmt.Sprintf("/ip4/%s/udp/4001/quic-v1", h.Addr())}
		relays = append(relays, play(t, h, part{Seed: seed, Listen: listen, Relay: true, Boot: slices.Clone(boot)}))
		boot = append(boot, p2p.Peer{Key: sign.FromSeed([32]byte{seed}).Public(), Addrs: listen})
	}
	plainA := play(t, host("plain-a", router("home-a", netlab.Masquerade)), part{Seed: 11, Boot: boot})
	plainB := play(t, host("plain-b", router("home-b", netlab.Masquerade)), part{Seed: 12, Boot: boot})
	hard := play(t, host("hard", router("carrier", netlab.Symmetric)), part{Seed: 13, Boot: boot, Light: true})

	relays[0].becomes(p2p.ReachPublic)
	at := plainA.becomes(p2p.ReachRelayed)
	var got answer
	eventually(t, "from home to home directly", func() bool { // who was late with the punch tries again after a while
		got = plainB.tell(order{Ask: p2p.Peer{Key: plainA.who.Key, Addrs: at.Addrs}, Proto: p2p.ProtocolBlob, Bytes: 64 << 20})
		return got.Err == "" && got.Direct
	})
	t.Logf("from home to home: %+v", got)
	plainA.becomes(p2p.ReachDirect)

	hard.becomes(p2p.ReachRelayed)
	// It knows its relay a moment before the relay can tell others where it is.
	eventually(t, "others find who sits behind a symmetric translator", func() bool {
		return plainB.tell(order{Ask: p2p.Peer{Key: hard.who.Key}, Proto: p2p.ProtocolWork, Bytes: 1}).Err == ""
	})
	for _, proto := range []p2p.Protocol{p2p.ProtocolWork, p2p.ProtocolBlob} {
		got := plainB.tell(order{Ask: p2p.Peer{Key: hard.who.Key}, Proto: proto, Bytes: 64 << 20})
		if got.Err != "" || got.Direct {
			t.Errorf("through the relay: %+v", got)
		}
		t.Logf("through the relay by %s: %+v", proto, got)
	}
	got = hard.tell(order{Ask: p2p.Peer{Key: plainA.who.Key}, Proto: p2p.ProtocolBlob, Bytes: 8 << 20})
	if got.Err != "" {
		t.Errorf("from behind the symmetric translator: %+v", got)
	}
	if r := hard.tell(order{}).Reach; r.Kind != p2p.ReachRelayed {
		t.Errorf("behind a symmetric translator: %+v", r)
	}
}

// Where a firewall lets no TCP through, peers meet over QUIC; else they prefer TCP.
func TestOnlyQUICGetsThrough(t *testing.T) {
	t.Parallel()
	lab, err := netlab.New(netlab.Options{Seed: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Close)
	var actors []*actor
	for i, name := range []string{"open", "walled", "free"} {
		h, err := lab.Host(name, netlab.HostOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if name == "walled" {
			wall := "add table inet wall; add chain inet wall out { type filter hook output priority 0; }; add rule inet wall out meta l4proto tcp drop"
			if out, err := h.Command(t.Context(), "nft", wall).CombinedOutput(); err != nil {
				t.Fatalf("nft: %v: %s", err, out)
			}
		}
		listen := []string{fmt.Sprintf("/ip4/%s/tcp/4001", h.Addr()), fmt.Sprintf("/ip4/%s/udp/4001/quic-v1", h.Addr())}
		actors = append(actors, play(t, h, part{Seed: byte(21 + i), Listen: listen}))
	}
	actors[0].tell(order{}) // it listens
	for i, quic := range map[int]bool{1: true, 2: false} {
		got := actors[i].tell(order{Ask: actors[0].who, Proto: p2p.ProtocolBlob, Bytes: 8 << 20})
		if got.Err != "" || !got.Direct || got.QUIC != quic {
			t.Errorf("%d: %+v, want QUIC: %t", i, got, quic)
		}
	}
}
