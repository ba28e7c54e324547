// Package p2ptest is the conformance suite of the p2p port: every adapter passes
// it, so roles may be tested on one and run on another.
//
// It promises to check what callers rely on and nothing that only one adapter
// does. It holds no state and starts nothing that outlives a test.
package p2ptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
)

// limit ends a test that hangs; no test needs more than a fraction of it.
const limit = 60 * time.Second

// Make starts one network under a key, able to reach the others that the same
// Make started. The suite closes it.
type Make func(t *testing.T, key sign.PrivateKey) p2p.Network

// Run checks an adapter; fresh gives a Make for one test.
func Run(t *testing.T, fresh func(t *testing.T) Make) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, s *suite)
	}{
		{"echo", testEcho},
		{"large frames", testLargeFrames},
		{"frame over its bound", testFrameBound},
		{"half close", testHalfClose},
		{"peer identity", testIdentity},
		{"unreachable", testUnreachable},
		{"cancelled dial", testCancelledDial},
		{"handler isolation", testHandlerIsolation},
		{"slow reader", testSlowReader},
		{"close unblocks the other end", testCloseUnblocks},
		{"deadline", testDeadline},
		{"many streams", testManyStreams},
		{"restart", testRestart},
		{"close ends handlers", testCloseEndsHandlers},
		{"gossip", testGossip},
		{"gossip check", testGossipCheck},
		{"gossip to a slow subscriber", testGossipSlow},
		{"gossip over its bound", testGossipBound},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c.test(t, &suite{t: t, ctx: ctx, make: fresh(t)})
		})
	}
}

type suite struct {
	t    *testing.T
	ctx  context.Context // of one test; the suite lives no longer
	make Make
}

const (
	protoEcho p2p.Protocol = "/gotong/test/echo/1"
	protoHold p2p.Protocol = "/gotong/test/hold/1"
)

func (s *suite) node() p2p.Network {
	s.t.Helper()
	key, err := sign.NewKey()
	s.ok(err)
	return s.nodeOf(key)
}

func (s *suite) nodeOf(key sign.PrivateKey) p2p.Network {
	s.t.Helper()
	n := s.make(s.t, key)
	s.t.Cleanup(func() { n.Close() })
	return n
}

func (s *suite) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) dial(from, to p2p.Network, proto p2p.Protocol) p2p.Stream {
	s.t.Helper()
	st, err := from.Dial(s.ctx, to.Self(), proto)
	s.ok(err)
	s.ok(st.SetDeadline(time.Now().Add(limit)))
	s.t.Cleanup(func() { st.Close() })
	return st
}

// echo answers every frame with itself until the other end is done.
func echo(_ context.Context, st p2p.Stream) {
	defer st.Close()
	for {
		frame, err := st.Receive()
		if err == io.EOF {
			st.CloseWrite()
			return
		}
		if err != nil || st.Send(frame) != nil || st.Flush() != nil {
			return
		}
	}
}

// hold keeps a stream open and reads nothing until its network closes.
func hold(ctx context.Context, st p2p.Stream) {
	defer st.Close()
	<-ctx.Done()
}

// ask sends a frame and expects it back.
func (s *suite) ask(st p2p.Stream, frame []byte) {
	s.t.Helper()
	s.ok(st.Send(frame))
	s.ok(st.Flush())
	got, err := st.Receive()
	s.ok(err)
	if !bytes.Equal(got, frame) {
		s.t.Fatalf("sent %d bytes, %d came back", len(frame), len(got))
	}
}

func testEcho(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	b.Handle(protoEcho, echo)
	st := s.dial(a, b, protoEcho)
	for i := range 100 {
		s.ask(st, fmt.Appendf(nil, "frame %d", i))
	}
	s.ask(st, nil)
	// What the caller does with its slice after Send is its own affair.
	frame := []byte("reused")
	s.ok(st.Send(frame))
	copy(frame, "------")
	s.ok(st.Flush())
	if got, err := st.Receive(); err != nil || string(got) != "reused" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func testLargeFrames(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	b.Handle(protoEcho, echo)
	st := s.dial(a, b, protoEcho)
	for _, size := range []int{64 << 10, 1<<20 + 1, p2p.MaxFrameBytes} {
		frame := make([]byte, size)
		for i := range frame {
			frame[i] = byte(i * 7)
		}
		s.ask(st, frame)
	}
}

func testFrameBound(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	b.Handle(protoEcho, echo)
	st := s.dial(a, b, protoEcho)
	if err := st.Send(make([]byte, p2p.MaxFrameBytes+1)); !errors.Is(err, p2p.ErrFrame) {
		t.Fatalf("frame over the bound: %v, want ErrFrame", err)
	}
	s.ask(st, []byte("the stream is still good"))
}

func testHalfClose(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	b.Handle(protoEcho, func(_ context.Context, st p2p.Stream) {
		defer st.Close()
		n := 0
		for {
			if _, err := st.Receive(); err == io.EOF {
				break
			} else if err != nil {
				return
			}
			n++
		}
		st.Send(fmt.Appendf(nil, "%d", n))
		st.Flush()
	})
	st := s.dial(a, b, protoEcho)
	for range 3 {
		s.ok(st.Send([]byte("x")))
	}
	s.ok(st.CloseWrite()) // also flushes
	if got, err := st.Receive(); err != nil || string(got) != "3" {
		t.Fatalf("answer after half close: %q, %v", got, err)
	}
	if _, err := st.Receive(); err != io.EOF {
		t.Fatalf("after the other end closed: %v, want EOF", err)
	}
}

func testIdentity(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	seen := make(chan sign.PublicKey, 1)
	b.Handle(protoEcho, func(ctx context.Context, st p2p.Stream) {
		seen <- st.Peer()
		echo(ctx, st)
	})
	st := s.dial(a, b, protoEcho)
	s.ask(st, []byte("hello"))
	if got := <-seen; got != a.Self().Key {
		t.Fatalf("the handler saw %s, the caller is %s", got, a.Self().Key)
	}
	if st.Peer() != b.Self().Key {
		t.Fatalf("the caller saw %s, want %s", st.Peer(), b.Self().Key)
	}
	// Somebody else's key at b's address must not connect.
	other, err := sign.NewKey()
	s.ok(err)
	st2, err := a.Dial(s.ctx, p2p.Peer{Key: other.Public(), Addrs: b.Self().Addrs}, protoEcho)
	if !errors.Is(err, p2p.ErrUnreachable) {
		t.Fatalf("dial of a wrong key: %v, %v, want ErrUnreachable", st2, err)
	}
}

func testUnreachable(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	b.Handle(protoEcho, echo)
	if _, err := a.Dial(s.ctx, a.Self(), protoEcho); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("dial of oneself: %v, want ErrUnreachable", err)
	}
	key, err := sign.NewKey()
	s.ok(err)
	if _, err := a.Dial(s.ctx, p2p.Peer{Key: key.Public()}, protoEcho); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("dial of an unknown key: %v, want ErrUnreachable", err)
	}
	if _, err := a.Dial(s.ctx, p2p.Peer{Key: b.Self().Key}, protoEcho); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("dial without an address: %v, want ErrUnreachable", err)
	}
	if err := a.Connect(s.ctx, p2p.Peer{Key: key.Public()}); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("connect to an unknown key: %v, want ErrUnreachable", err)
	}
	if _, err := a.Dial(s.ctx, b.Self(), protoHold); !errors.Is(err, p2p.ErrUnreachable) {
		t.Errorf("dial of a protocol nobody serves: %v, want ErrUnreachable", err)
	}
	s.ask(s.dial(a, b, protoEcho), []byte("another protocol still works"))
}

func testCancelledDial(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	b.Handle(protoEcho, echo)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := a.Dial(ctx, b.Self(), protoEcho); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled dial: %v, want context.Canceled", err)
	}
	// The context bounds the dialling, not the stream.
	ctx, cancel = context.WithCancel(s.ctx)
	st, err := a.Dial(ctx, b.Self(), protoEcho)
	s.ok(err)
	defer st.Close()
	cancel()
	s.ask(st, []byte("still open"))
}

func testHandlerIsolation(t *testing.T, s *suite) {
	a, b, c := s.node(), s.node(), s.node()
	b.Handle(protoHold, hold)
	b.Handle(protoEcho, echo)
	for range 20 {
		st := s.dial(a, b, protoHold)
		s.ok(st.Send([]byte("nobody reads this")))
		s.ok(st.Flush())
	}
	s.ask(s.dial(a, b, protoEcho), []byte("same peer, other protocol"))
	s.ask(s.dial(c, b, protoEcho), []byte("other peer"))
}

func testSlowReader(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	read := make(chan struct{})
	const frames, size = 64, 1 << 20
	b.Handle(protoHold, func(_ context.Context, st p2p.Stream) {
		defer st.Close()
		<-read
		for range frames {
			if frame, err := st.Receive(); err != nil || len(frame) != size {
				return
			}
		}
		st.Send([]byte("all read"))
		st.Flush()
	})
	b.Handle(protoEcho, echo)
	st := s.dial(a, b, protoHold)
	sent := make(chan error, 1)
	go func() {
		frame := make([]byte, size)
		for range frames {
			if err := st.Send(frame); err != nil {
				sent <- err
				return
			}
		}
		sent <- st.Flush()
	}()
	// 64 MiB do not fit into any window: the writer must wait, others must not.
	s.ask(s.dial(a, b, protoEcho), []byte("not blocked"))
	select {
	case err := <-sent:
		t.Fatalf("64 MiB were buffered for a reader that reads nothing (%v)", err)
	default:
	}
	close(read)
	s.ok(<-sent)
	if got, err := st.Receive(); err != nil || string(got) != "all read" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func testCloseUnblocks(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	b.Handle(protoEcho, func(_ context.Context, st p2p.Stream) {
		st.Receive()
		st.Close()
	})
	st := s.dial(a, b, protoEcho)
	frame := make([]byte, 1<<20)
	for range 256 {
		if err := st.Send(frame); err != nil {
			return
		}
	}
	t.Fatal("256 MiB went to an end that closed the stream")
}

func testDeadline(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	b.Handle(protoHold, hold)
	st := s.dial(a, b, protoHold)
	s.ok(st.Send([]byte("x")))
	s.ok(st.Flush())
	s.ok(st.SetDeadline(time.Now().Add(20 * time.Millisecond)))
	if _, err := st.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("receive past the deadline: %v", err)
	}
	// A deadline that is set later wakes whoever waits already.
	s.ok(st.SetDeadline(time.Time{}))
	got := make(chan error, 1)
	go func() {
		_, err := st.Receive()
		got <- err
	}()
	s.ok(st.SetDeadline(time.Now().Add(20 * time.Millisecond)))
	if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("receive past a moved deadline: %v", err)
	}
}

func testManyStreams(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	b.Handle(protoEcho, echo)
	const streams = 300
	var open []p2p.Stream
	for range streams {
		open = append(open, s.dial(a, b, protoEcho))
	}
	for i, st := range open {
		s.ask(st, fmt.Appendf(nil, "stream %d", i))
	}
	for _, st := range open {
		s.ok(st.Close())
	}
	// Closed streams give their place back.
	for i := range 3 * streams {
		st := s.dial(a, b, protoEcho)
		s.ask(st, fmt.Appendf(nil, "again %d", i))
		s.ok(st.Close())
	}
}

func testRestart(t *testing.T, s *suite) {
	key, err := sign.NewKey()
	s.ok(err)
	a, b := s.node(), s.nodeOf(key)
	b.Handle(protoEcho, echo)
	st := s.dial(a, b, protoEcho)
	s.ask(st, []byte("before"))
	old := b.Self()
	s.ok(b.Close())
	if _, err := st.Receive(); err == nil {
		t.Fatal("a stream outlived its peer")
	}
	for { // the connection's end may take a moment to arrive
		st, err := a.Dial(s.ctx, old, protoEcho)
		if errors.Is(err, p2p.ErrUnreachable) {
			break
		}
		if err != nil {
			t.Fatalf("dial of a peer that is gone: %v, want ErrUnreachable", err)
		}
		st.Close()
	}
	b = s.nodeOf(key)
	b.Handle(protoEcho, echo)
	s.ask(s.dial(a, b, protoEcho), []byte("after"))
	if _, err := a.Dial(s.ctx, p2p.Peer{Key: key.Public()}, protoEcho); err != nil {
		t.Fatalf("dial without addresses of a known peer: %v", err)
	}
}

func testCloseEndsHandlers(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	started, ended := make(chan struct{}), make(chan struct{})
	b.Handle(protoHold, func(ctx context.Context, st p2p.Stream) {
		defer close(ended)
		close(started)
		st.Receive() // nothing comes: only the end of the network wakes it
		<-ctx.Done()
	})
	st := s.dial(a, b, protoHold)
	s.ok(st.Send(nil))
	s.ok(st.Flush())
	<-started
	heard, err := b.Subscribe(context.Background(), "offers", nil)
	s.ok(err)
	s.ok(b.Close())
	if _, open := <-heard; open {
		t.Fatal("a subscription outlived its network")
	}
	select {
	case <-ended:
	default:
		t.Fatal("Close returned before the handler did")
	}
	if _, err := b.Dial(s.ctx, a.Self(), protoHold); err == nil {
		t.Error("a closed network dials")
	}
	if err := b.Connect(s.ctx, a.Self()); err == nil {
		t.Error("a closed network connects")
	}
	if err := b.Publish(s.ctx, "offers", nil); err == nil {
		t.Error("a closed network publishes")
	}
	if _, err := b.Subscribe(s.ctx, "offers", nil); err == nil {
		t.Error("a closed network subscribes")
	}
	s.ok(b.Close()) // twice is once
}

// gossipUntil publishes again and again, as senders of offers do, until every
// channel heard the message.
func (s *suite) gossipUntil(from p2p.Network, topic, msg string, chans []<-chan []byte) {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, ch := range chans {
		for heard := false; !heard; {
			select {
			case got, ok := <-ch:
				if !ok {
					s.t.Fatal("the subscription ended")
				}
				heard = string(got) == msg
			case <-tick.C:
				s.ok(from.Publish(s.ctx, topic, []byte(msg)))
			case <-s.ctx.Done():
				s.t.Fatalf("%q was not heard", msg)
			}
		}
	}
}

func testGossip(t *testing.T, s *suite) {
	const n = 6
	var nodes []p2p.Network
	var chans []<-chan []byte
	subCtx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	for i := range n {
		node := s.node()
		ch, err := node.Subscribe(subCtx, "offers", nil)
		s.ok(err)
		if i > 0 { // a chain: messages must be passed on
			s.ok(node.Connect(s.ctx, nodes[i-1].Self()))
		}
		nodes, chans = append(nodes, node), append(chans, ch)
	}
	s.gossipUntil(nodes[0], "offers", "first", chans[1:])
	// The same bytes again are a new message: that is how offers are repeated.
	s.gossipUntil(nodes[0], "offers", "first", chans[1:])
	s.gossipUntil(nodes[n-1], "offers", "back", chans[:n-1])

	// A publisher need not subscribe; other topics are not heard.
	outside := s.node()
	s.ok(outside.Connect(s.ctx, nodes[2].Self()))
	s.ok(outside.Publish(s.ctx, "other", []byte("unheard")))
	s.gossipUntil(outside, "offers", "from outside", chans)

	cancel()
	for _, ch := range chans {
		for got := range ch { // ends, because the subscription's context did
			if string(got) == "unheard" {
				t.Fatal("a message of another topic was heard")
			}
		}
	}
}

func testGossipCheck(t *testing.T, s *suite) {
	a, b, c := s.node(), s.node(), s.node()
	s.ok(b.Connect(s.ctx, a.Self()))
	s.ok(c.Connect(s.ctx, b.Self()))
	onlyGood := func(data []byte) p2p.Verdict {
		if string(data) == "good" {
			return p2p.Accept
		}
		return p2p.Ignore
	}
	atB, err := b.Subscribe(s.ctx, "offers", onlyGood)
	s.ok(err)
	atC, err := c.Subscribe(s.ctx, "offers", nil)
	s.ok(err)
	for range 3 {
		s.ok(a.Publish(s.ctx, "offers", []byte("bad")))
	}
	chans := []<-chan []byte{atB, atC}
	for _, ch := range chans {
		tick := time.NewTicker(50 * time.Millisecond)
		for heard := false; !heard; {
			select {
			case got := <-ch:
				if heard = true; string(got) != "good" {
					t.Fatalf("%q was passed on", got)
				}
			case <-tick.C:
				s.ok(a.Publish(s.ctx, "offers", []byte("bad")))
				s.ok(a.Publish(s.ctx, "offers", []byte("good")))
			case <-s.ctx.Done():
				t.Fatal("nothing was heard")
			}
		}
		tick.Stop()
	}
}

func testGossipSlow(t *testing.T, s *suite) {
	a, b, c := s.node(), s.node(), s.node()
	s.ok(b.Connect(s.ctx, a.Self()))
	s.ok(c.Connect(s.ctx, a.Self()))
	slow, err := b.Subscribe(s.ctx, "offers", nil)
	s.ok(err)
	quick, err := c.Subscribe(s.ctx, "offers", nil)
	s.ok(err)
	s.gossipUntil(a, "offers", "hello", []<-chan []byte{slow, quick})
	// More than anybody queues, while b reads nothing.
	for i := range 3000 {
		s.ok(a.Publish(s.ctx, "offers", fmt.Appendf(nil, "old %d", i)))
	}
	s.gossipUntil(a, "offers", "newest", []<-chan []byte{quick, slow})
}

func testGossipBound(t *testing.T, s *suite) {
	a, b := s.node(), s.node()
	s.ok(b.Connect(s.ctx, a.Self()))
	ch, err := b.Subscribe(s.ctx, "offers", nil)
	s.ok(err)
	if err := a.Publish(s.ctx, "offers", make([]byte, 64<<10+1)); !errors.Is(err, p2p.ErrFrame) {
		t.Fatalf("gossip over its bound: %v, want ErrFrame", err)
	}
	s.gossipUntil(a, "offers", string(make([]byte, 64<<10)), []<-chan []byte{ch})
}
