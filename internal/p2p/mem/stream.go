package mem

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
)

// Bounds of one direction of a stream.
const (
	windowBytes = 1 << 20  // sent, not yet received: writers block above it
	bufferBytes = 64 << 10 // written, not yet flushed: flushed by itself above it
)

var (
	errReset       = errors.New("stream was reset")
	errWriteClosed = errors.New("stream is closed for writing")
)

// pipe is a stream's two directions.
type pipe struct {
	ab, ba *half
	once   sync.Once
	ended  func() // called once, when no direction can carry frames any more
}

// half carries frames one way. Waiters wait on changed, which is closed and
// replaced at every change.
type half struct {
	mu      sync.Mutex // guards everything below
	frames  [][]byte
	bytes   int
	eof     bool  // the writer is done
	err     error // broken: no frame comes through any more
	changed chan struct{}
}

// stream is one end of a pipe.
type stream struct {
	pipe     *pipe
	peer     sign.PublicKey
	at       netip.Addr // of peer, see Hub.Place
	in, out  *half
	deadline *deadline

	mu      sync.Mutex // guards pending and pendingBytes
	pending [][]byte
	bytes   int
}

var _ p2p.Stream = (*stream)(nil)

func newPipe() *pipe {
	return &pipe{ab: newHalf(), ba: newHalf(), ended: func() {}}
}

func newHalf() *half { return &half{changed: make(chan struct{})} }

// streams gives the ends held by a and b.
func (p *pipe) streams(a, b sign.PublicKey) (atA, atB *stream) {
	atA = &stream{pipe: p, peer: b, in: p.ba, out: p.ab, deadline: newDeadline()}
	atB = &stream{pipe: p, peer: a, in: p.ab, out: p.ba, deadline: newDeadline()}
	return atA, atB
}

// fail breaks both directions.
func (p *pipe) fail(err error) {
	p.ab.fail(err)
	p.ba.fail(err)
	p.once.Do(p.ended)
}

// change runs f and wakes everybody who waits; f is called with h.mu held.
func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *half) fail(err error) {
	h.change(func() {
		if h.err == nil {
			h.err, h.frames, h.bytes = err, nil, 0
		}
	})
}

// try runs f until it reports true, waiting for changes in between.
func (h *half) try(d *deadline, f func() (ok bool, err error)) error {
	for {
		h.mu.Lock()
		ok, err := f()
		wait := h.changed
		h.mu.Unlock()
		if ok || err != nil {
			return err
		}
		passed, moved := d.wait()
		select {
		case <-wait:
		case <-passed:
			return os.ErrDeadlineExceeded
		case <-moved:
		}
	}
}

func (h *half) push(d *deadline, frame []byte) error {
	err := h.try(d, func() (bool, error) {
		switch {
		case h.err != nil:
			return false, h.err
		case h.eof:
			return false, errWriteClosed
		case h.bytes > 0 && h.bytes+len(frame) > windowBytes:
			return false, nil
		}
		return true, nil
	})
	if err == nil {
		// One goroutine sends on a direction, so the room found is still there.
		h.change(func() {
			if h.err == nil && !h.eof {
				h.frames, h.bytes = append(h.frames, frame), h.bytes+len(frame)
			}
		})
	}
	return err
}

func (h *half) pop(d *deadline) (frame []byte, err error) {
	err = h.try(d, func() (bool, error) {
		switch {
		case h.err != nil:
			return false, h.err
		case len(h.frames) > 0:
			frame = h.frames[0]
			return true, nil
		case h.eof:
			return false, io.EOF
		}
		return false, nil
	})
	if err == nil {
		h.change(func() {
			if len(h.frames) > 0 {
				h.frames, h.bytes = h.frames[1:], h.bytes-len(h.frames[0])
			}
		})
	}
	return frame, err
}

// Peer implements p2p.Stream.
func (s *stream) Peer() sign.PublicKey { return s.peer }

// Remote implements p2p.Stream.
func (s *stream) Remote() netip.Addr { return s.at }

// Send implements p2p.Stream.
func (s *stream) Send(frame []byte) error {
	if err := p2p.CheckFrame(len(frame)); err != nil {
		return err
	}
	if s.deadline.over() {
		return os.ErrDeadlineExceeded
	}
	s.mu.Lock()
	s.pending = append(s.pending, slices.Clone(frame))
	s.bytes += len(frame)
	full := s.bytes > bufferBytes
	s.mu.Unlock()
	if full {
		return s.Flush()
	}
	return nil
}

// Flush implements p2p.Stream.
func (s *stream) Flush() error {
	s.mu.Lock()
	pending := s.pending
	s.pending, s.bytes = nil, 0
	s.mu.Unlock()
	for _, frame := range pending {
		if err := s.out.push(s.deadline, frame); err != nil {
			return err
		}
	}
	return nil
}

// Receive implements p2p.Stream.
func (s *stream) Receive() ([]byte, error) {
	if s.deadline.over() {
		return nil, os.ErrDeadlineExceeded
	}
	return s.in.pop(s.deadline)
}

// CloseWrite implements p2p.Stream.
func (s *stream) CloseWrite() error {
	err := s.Flush()
	s.endWriting()
	return err
}

func (s *stream) endWriting() {
	s.out.change(func() { s.out.eof = true })
	s.settle()
}

// Close implements p2p.Stream: what was flushed still arrives, the other end
// can send no more.
func (s *stream) Close() error {
	s.deadline.set(time.Time{})
	s.in.change(func() {
		if s.in.err == nil {
			s.in.err, s.in.frames, s.in.bytes = errReset, nil, 0
		}
	})
	s.endWriting()
	return nil
}

// settle tells the hub once both directions are over.
func (s *stream) settle() {
	s.in.mu.Lock()
	in := s.in.err != nil || s.in.eof
	s.in.mu.Unlock()
	s.out.mu.Lock()
	out := s.out.err != nil || s.out.eof
	s.out.mu.Unlock()
	if in && out {
		s.pipe.once.Do(s.pipe.ended)
	}
}

// SetDeadline implements p2p.Stream.
func (s *stream) SetDeadline(t time.Time) error {
	s.deadline.set(t)
	return nil
}

// deadline is a moment that wakes waiters when it comes or moves.
type deadline struct {
	mu    sync.Mutex // guards everything below
	at    time.Time
	timer *time.Timer
	done  chan struct{} // closed when the moment came
	move  chan struct{} // closed when the moment moved
}

func newDeadline() *deadline {
	return &deadline{done: make(chan struct{}), move: make(chan struct{})}
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	done := make(chan struct{})
	d.at, d.done = t, done
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), func() { close(done) })
	}
	close(d.move)
	d.move = make(chan struct{})
}

func (d *deadline) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.at.IsZero() && !time.Now().Before(d.at)
}

// wait gives what closes when the moment comes, and when it moves.
func (d *deadline) wait() (passed, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done, d.move
}
