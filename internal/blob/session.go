package blob

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/work"
)

// sessionQueue is the most gets under way on one session, of all its users.
const sessionQueue = 256

var errSessionOver = errors.New("session is over")

// session asks for ranges over one stream. Many users may share it: answers come
// in the order of the gets.
type session struct {
	stream  p2p.Stream
	stall   time.Duration
	pending chan *call

	sendMu sync.Mutex // held while gets are sent, so that they are queued in order

	mu    sync.Mutex    // guards everything below
	err   error         // why the session is over
	open  int           // gets without an answer
	until time.Time     // the stream's deadline
	tick  chan struct{} // told, if it listens, when an answer came
	done  chan struct{}
	ended chan struct{} // closed by the reader at its end
}

// call is one get or have under way.
type call struct {
	kind   byte // kindGet or kindHave
	b      work.BlobID
	off, n uint64
	first  bool // of a large blob: the holder may have to hash it
	sent   time.Time
	answer chan []byte // the reply frame; of capacity 1
}

func (c *call) encode() []byte {
	if c.kind == kindHave {
		return encodeHave(c.b)
	}
	return encodeGet(c.b, c.off, c.n)
}

// newSession starts a session; a holder that answers nothing for stall loses it.
func newSession(stream p2p.Stream, stall time.Duration) *session {
	s := &session{
		stream: stream, stall: stall, pending: make(chan *call, sessionQueue),
		tick: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{}),
	}
	go s.read()
	return s
}

// get sends gets and flushes them; wait gives their answers.
func (s *session) get(calls ...*call) error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	err := s.extend(s.stall)
	for _, c := range calls {
		if err != nil {
			break
		}
		c.answer = make(chan []byte, 1)
		s.count(1)
		select {
		case s.pending <- c:
			err = s.stream.Send(c.encode())
		case <-s.done:
			return s.failure()
		}
	}
	if err == nil {
		err = s.stream.Flush()
	}
	if err != nil {
		s.fail(err)
		return s.failure()
	}
	return nil
}

// wait gives the answer to a get: the slice, not verified yet, or ErrMissing, or
// what ended the session.
func (s *session) wait(ctx context.Context, c *call) ([]byte, error) {
	select {
	case frame := <-c.answer:
		return s.reply(c, frame)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.done:
	}
	select {
	case frame := <-c.answer:
		return s.reply(c, frame)
	default:
		return nil, s.failure()
	}
}

// errEnough ends a wait for an answer that nobody needs any more.
var errEnough = errors.New("enough")

// waitOr gives the answer's frame, errEnough if enough is closed first, or what
// ended the session.
func (s *session) waitOr(ctx context.Context, c *call, enough <-chan struct{}) ([]byte, error) {
	select {
	case frame := <-c.answer:
		return frame, nil
	case <-enough:
		return nil, errEnough
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.done:
	}
	select {
	case frame := <-c.answer:
		return frame, nil
	default:
		return nil, s.failure()
	}
}

func (s *session) reply(c *call, frame []byte) ([]byte, error) {
	slice, err := decodeReply(frame)
	switch {
	case errors.Is(err, ErrMissing):
		return nil, missing(c.b)
	case err != nil:
		s.fail(err)
	}
	return slice, err
}

// read gives answers to those who wait for them, in order. It reads nothing that
// was not asked for.
func (s *session) read() {
	defer close(s.ended)
	for {
		select {
		case c := <-s.pending:
			s.extend(s.patience(c))
			frame, err := s.receive(c)
			if err != nil {
				s.fail(err)
				return
			}
			c.answer <- frame
			s.count(-1)
			select {
			case s.tick <- struct{}{}:
			default:
			}
		case <-s.done:
			return
		}
	}
}

// bufferedReceiver is a stream that can receive into memory that is there.
type bufferedReceiver interface {
	ReceiveInto(buf []byte) ([]byte, error)
}

// pieces are buffers for answers, used again.
var pieces = sync.Pool{New: func() any {
	buf := make([]byte, 0, pieceBytes)
	return &buf
}}

// pieceBytes holds the answer to a get of maxPiece groups.
const pieceBytes = 1 + maxPiece*(groupSize+parentSize) + 64*parentSize

// receive reads a frame, a large one into a buffer that is used again.
func (s *session) receive(c *call) ([]byte, error) {
	r, ok := s.stream.(bufferedReceiver)
	if !ok || c.n <= groupSize/2 {
		return s.stream.Receive()
	}
	return r.ReceiveInto(*pieces.Get().(*[]byte))
}

// recycle takes a frame back that nobody looks at any more.
func (s *session) recycle(frame []byte) {
	if _, ok := s.stream.(bufferedReceiver); ok && cap(frame) >= pieceBytes {
		frame = frame[:0]
		pieces.Put(&frame)
	}
}

// hashRate is the bytes a second at which the slowest holder we wait for reads
// a large blob to build its tree.
const hashRate = 64 << 20

// patience is how long the answer to a get may take.
func (s *session) patience(c *call) time.Duration {
	if c.first {
		return s.stall + time.Duration(c.b.Size/hashRate)*time.Second
	}
	return s.stall
}

// extend moves the stream's deadline to d from now, unless it is later already.
func (s *session) extend(d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := time.Now().Add(d)
	if t.Before(s.until) {
		return nil
	}
	s.until = t
	return s.stream.SetDeadline(t)
}

func (s *session) count(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += by
}

// fail ends the session and its stream.
func (s *session) fail(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
		close(s.done)
	}
	s.mu.Unlock()
	if first {
		s.stream.Close()
	}
}

func (s *session) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Errorf("holder %s: %w", s.stream.Peer(), s.err)
}

// alive reports whether the session can be used.
func (s *session) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil
}

// close ends the session with its stream.
func (s *session) close() {
	s.fail(errSessionOver)
	<-s.ended
}

// release ends the session and leaves the stream to its owner, after the answers
// that are still under way; false if the session broke, and the stream with it.
func (s *session) release() bool {
	for !s.releaseIdle() {
		select {
		case <-s.tick:
		case <-s.done:
			s.close()
			return false
		}
	}
	<-s.ended
	return true
}

// releaseIdle ends a session that waits for no answer.
func (s *session) releaseIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.open > 0 {
		return false
	}
	s.err = errSessionOver
	close(s.done)
	return true
}
