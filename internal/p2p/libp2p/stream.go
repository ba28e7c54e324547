package libp2p

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
)

const (
	// bufferBytes is each way's buffer: an indexer holds thousands of streams.
	bufferBytes = 16 << 10
	// muxHead is the head of a message of the muxer: what is buffered goes out with
	// one, and both together fill a record of TLS.
	muxHead = 12
	// lingerTime and lingerBytes bound how long a closed stream waits for the
	// other end to finish before it is reset. A reset at once would throw away
	// what was sent and not yet read; no reset at all would leave the other end
	// blocked in Send for ever.
	lingerTime  = 5 * time.Second
	lingerBytes = 1 << 20
	// Unless a role sets deadlines of its own: how soon a stranger must say something
	// on a stream that it opened, how long a frame may take to come, and how long a
	// reader may take nothing.
	firstTime = time.Minute
	frameTime = 5 * time.Minute
	stallTime = 2 * time.Minute
	// streamBytes is what a stream costs besides what is in flight.
	streamBytes = 2*bufferBytes + 8<<10
)

var errStreamClosed = errors.New("stream is closed")

// stream is a libp2p stream that carries frames.
type stream struct {
	net  *Network
	raw  network.Stream
	peer sign.PublicKey
	w    *bufio.Writer

	readMu sync.Mutex // held by who reads; guards everything below
	r      *bufio.Reader
	broken error // why no frame can be read any more; io.EOF at the good end

	own     atomic.Bool  // a role set a deadline
	armed   atomic.Int64 // when the deadline of writing was set, in Unix nanoseconds
	opened  time.Time    // when a stranger opened it; zero after its first frame; guarded by readMu
	closing sync.Once
	closed  chan struct{}
}

var _ p2p.Stream = (*stream)(nil)

func newStream(n *Network, raw network.Stream, key sign.PublicKey) *stream {
	s := &stream{
		net: n, raw: raw, peer: key,
		r:      bufio.NewReaderSize(raw, bufferBytes),
		closed: make(chan struct{}),
	}
	s.w = bufio.NewWriterSize(writer{s}, bufferBytes-muxHead)
	return s
}

// writer writes what is buffered; a reader that takes nothing for too long breaks the
// stream.
type writer struct{ *stream }

func (w writer) Write(b []byte) (int, error) {
	if now := time.Now(); !w.own.Load() && now.UnixNano()-w.armed.Load() > int64(w.net.stall/4) {
		w.armed.Store(now.UnixNano())
		if err := w.raw.SetWriteDeadline(now.Add(w.net.stall)); err != nil {
			return 0, err
		}
	}
	return w.raw.Write(b)
}

// Peer implements p2p.Stream.
func (s *stream) Peer() sign.PublicKey { return s.peer }

// Remote implements p2p.Stream.
func (s *stream) Remote() netip.Addr { return seenAt(s.raw.Conn().RemoteMultiaddr()) }

// seenAt is the IP address of a connection's other end, zero if a relay is
// between.
func seenAt(m ma.Multiaddr) netip.Addr {
	if m == nil {
		return netip.Addr{}
	}
	if _, err := m.ValueForProtocol(ma.P_CIRCUIT); err == nil {
		return netip.Addr{}
	}
	ip, err := manet.ToIP(m)
	if err != nil {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// Send implements p2p.Stream. After an error nothing more can be sent.
func (s *stream) Send(frame []byte) error { return s.failure(p2p.WriteFrame(s.w, frame)) }

// Flush implements p2p.Stream.
func (s *stream) Flush() error { return s.failure(s.w.Flush()) }

// Receive implements p2p.Stream. A deadline that passes between frames harms
// nothing; inside a frame it breaks the stream.
func (s *stream) Receive() ([]byte, error) { return s.ReceiveInto(nil) }

// ReceiveInto is Receive into the memory of buf, as far as it reaches.
func (s *stream) ReceiveInto(buf []byte) ([]byte, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if s.broken != nil {
		return nil, s.broken
	}
	if !s.opened.IsZero() {
		s.within(s.opened.Add(s.net.first))
	}
	head, err := s.r.Peek(1)
	if len(head) == 0 {
		if err == io.EOF {
			s.broken = err
		}
		return nil, s.failure(err)
	}
	part := !s.whole()
	if part {
		s.within(time.Now().Add(frameTime))
	}
	frame, err := p2p.ReadFrameInto(s.r, buf)
	if err != nil {
		s.broken = s.failure(err)
		if errors.Is(err, p2p.ErrFrame) {
			s.net.blame(s.raw.Conn().RemotePeer(), faultFrame, "a frame over its bound")
		}
		return nil, s.broken
	}
	if s.opened = (time.Time{}); part {
		s.within(time.Time{})
	}
	return frame, nil
}

// CloseWrite implements p2p.Stream.
func (s *stream) CloseWrite() error {
	if err := s.Flush(); err != nil {
		return err
	}
	return s.failure(s.raw.CloseWrite())
}

// whole reports whether the next frame has come entirely.
func (s *stream) whole() bool {
	have := s.r.Buffered()
	if have < 4 {
		return false
	}
	head, err := s.r.Peek(4)
	return err == nil && uint32(have-4) >= binary.BigEndian.Uint32(head)
}

// within bounds reading, unless the role does.
func (s *stream) within(t time.Time) {
	if !s.own.Load() {
		s.raw.SetReadDeadline(t)
	}
}

// SetDeadline implements p2p.Stream.
func (s *stream) SetDeadline(t time.Time) error {
	s.own.Store(!t.IsZero())
	s.armed.Store(0)
	return s.failure(s.raw.SetDeadline(t))
}

// Close implements p2p.Stream. It does not block, may be called while others
// send or receive, which then fail, and does not flush.
func (s *stream) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		s.raw.CloseWrite()
		s.raw.SetReadDeadline(time.Unix(1, 0)) // wakes a reader
		if !s.net.begin() {
			s.raw.Reset()
			s.net.gone(s)
			return
		}
		go s.linger()
	})
	return nil
}

// begin counts a goroutine of the network; false when it is closed.
func (n *Network) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.wg.Add(1)
	}
	return !n.closed
}

// linger waits for the other end to close too.
func (s *stream) linger() {
	defer s.net.wg.Done()
	defer s.net.gone(s)
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if s.broken == io.EOF {
		s.raw.Close()
		return
	}
	s.broken = errStreamClosed
	s.raw.SetReadDeadline(time.Now().Add(lingerTime))
	if _, err := io.CopyN(io.Discard, s.raw, lingerBytes); err == io.EOF {
		s.raw.Close()
	} else {
		s.raw.Reset()
	}
}

// failure names an error of libp2p in the terms of the port.
func (s *stream) failure(err error) error {
	var timeout net.Error
	switch {
	case err == nil, err == io.EOF, errors.Is(err, p2p.ErrFrame):
		return err
	case s.isClosed():
		return errStreamClosed
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %v", os.ErrDeadlineExceeded, err)
	}
	return err
}

func (s *stream) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}
