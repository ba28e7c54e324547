package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const (
	helloTime = 10 * time.Second
	// A chunk counts as delivered when its stream lived this long after it was
	// sent: by then the indexer has it on disk.
	deliveredAfter = 10 * time.Second
	// … and this long for each MiB of outputs that it fetches on top, up to
	// fetchedAfter.
	fetchPerMiB  = time.Second
	fetchedAfter = 10 * time.Minute
	// Frames beyond this are read from disk again when their turn comes.
	maxOutboxBytes = 32 << 20
)

// session is the stream of one indexer.
type session struct {
	peer   sign.PublicKey
	stream p2p.Stream

	mu    sync.Mutex // guards the fields below
	box   []outgoing
	bytes int
	wake  chan struct{}
	over  time.Time // when the stream ended; zero while it lives
}

// outgoing is a frame on its way; a chunk without a frame is read from disk.
type outgoing struct {
	job   work.JobID
	chunk *chunk // nil: the frame is not on disk
	frame []byte
}

func newSession(s p2p.Stream) *session {
	return &session{peer: s.Peer(), stream: s, wake: make(chan struct{}, 1)}
}

// push queues a frame; it never blocks.
func (s *session) push(o outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over.IsZero() {
		return
	}
	if s.bytes+len(o.frame) > maxOutboxBytes {
		if o.chunk == nil {
			return // a refusal that the indexer is too slow to hear: its range times out
		}
		o.frame = nil
	}
	s.bytes += len(o.frame)
	s.box = append(s.box, o)
	nudge(s.wake)
}

func (s *session) drain() []outgoing {
	s.mu.Lock()
	defer s.mu.Unlock()
	box := s.box
	s.box, s.bytes = nil, 0
	return box
}

func (s *session) end(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over.IsZero() {
		s.over = now
	}
	s.box, s.bytes = nil, 0
}

// livedUntil is when the stream ended, or now.
func (s *session) livedUntil(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over.IsZero() {
		return now
	}
	return s.over
}

// delivered reports whether the job's indexer surely has the chunk.
func (c *chunk) delivered(now time.Time) bool {
	return c.sent != nil && c.sent.peer == c.as.job.indexer && c.sent.livedUntil(now).Sub(c.sentAt) >= c.takes()
}

// takes is how long its indexer may need for a chunk and the outputs that did not
// travel with it.
func (c *chunk) takes() time.Duration {
	return deliveredAfter + min(time.Duration(c.away>>20)*fetchPerMiB, fetchedAfter)
}

// serve speaks with one indexer until the stream or ctx ends.
func (p *Provider) serve(ctx context.Context, st p2p.Stream) {
	defer st.Close()
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return
	}
	p.wg.Add(1)
	p.mu.Unlock()
	defer p.wg.Done()
	defer context.AfterFunc(ctx, func() { st.Close() })()
	if err := p.greet(st); err != nil {
		p.log.Warn("an indexer's stream did not start", "peer", st.Peer().String()[:12], "err", err)
		return
	}
	s := newSession(st)
	if !p.attach(s) {
		return
	}
	defer p.detach(s)
	var sender sync.WaitGroup
	gone := make(chan struct{})
	sender.Go(func() { p.send(s, gone) })
	err := p.receive(ctx, s)
	if !errors.Is(err, io.EOF) && ctx.Err() == nil {
		p.log.Info("an indexer's stream ended", "peer", s.peer.String()[:12], "err", err)
	}
	close(gone)
	st.Close()
	sender.Wait()
}

func (p *Provider) greet(st p2p.Stream) error {
	if err := st.SetDeadline(time.Now().Add(helloTime)); err != nil {
		return err
	}
	raw, err := st.Receive()
	if err != nil {
		return err
	}
	f, err := wire.Decode(raw, st.Peer())
	if err != nil {
		return err
	}
	if f.Hello == nil || f.Hello.Chain != p.Chain {
		return fmt.Errorf("it did not say hello for chain %q", p.Chain)
	}
	if err := st.Send(wire.EncodeHello(wire.Hello{Chain: p.Chain, Account: p.Account})); err != nil {
		return err
	}
	if err := st.Flush(); err != nil {
		return err
	}
	return st.SetDeadline(time.Time{})
}

// attach makes s the stream of its indexer, in place of an older one, and queues
// what the indexer may not have.
func (p *Provider) attach(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	if old := p.sessions[s.peer]; old != nil {
		old.end(time.Now())
		old.stream.Close()
	}
	p.sessions[s.peer] = s
	now := time.Now()
	for _, j := range p.jobs {
		if j.indexer == s.peer {
			p.replayLocked(j, s, now)
		}
	}
	return true
}

func (p *Provider) detach(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.end(time.Now())
	if p.sessions[s.peer] == s {
		delete(p.sessions, s.peer)
	}
}

// receive handles the indexer's frames until the stream ends, and says why it did.
func (p *Provider) receive(ctx context.Context, s *session) error {
	for {
		raw, err := s.stream.Receive()
		if err != nil {
			return err
		}
		f, err := wire.Decode(raw, s.peer)
		if err != nil {
			return err
		}
		switch {
		case f.Job != nil:
			if err := p.introduce(ctx, s.peer, f.Job); err != nil {
				p.log.Warn("job not taken", "err", err)
			}
		case f.Assign != nil:
			p.assigned(ctx, s.peer, f.Assign)
		case f.Flush != nil:
			p.flushed(s.peer, f.Flush)
		case f.Drop != nil:
			p.dropped(s.peer, f.Drop)
		case f.Resume != nil:
			p.resumed(ctx, s, *f.Resume)
		case f.Ping != nil:
			s.push(outgoing{frame: wire.EncodePing(wire.KindPong, *f.Ping)})
		}
	}
}

// send writes what is queued until the stream ends.
func (p *Provider) send(s *session, gone <-chan struct{}) {
	for {
		select {
		case <-gone:
			return
		case <-s.wake:
		}
		for _, o := range s.drain() {
			if err := p.sendOne(s, o); err != nil {
				s.stream.Close() // receive ends, and the indexer dials again
				return
			}
		}
		if err := s.stream.Flush(); err != nil {
			s.stream.Close()
			return
		}
	}
}

func (p *Provider) sendOne(s *session, o outgoing) error {
	if o.frame == nil {
		raw, err := p.store.Get(chunkKey(o.job, o.chunk.seq))
		if err != nil {
			return err
		}
		if raw == nil {
			return nil // cleaned or replaced meanwhile
		}
		if o.frame, err = chunkFrame(raw); err != nil {
			return err
		}
	}
	if err := s.stream.Send(o.frame); err != nil {
		return err
	}
	if o.chunk != nil {
		p.mu.Lock()
		o.chunk.sent, o.chunk.sentAt = s, time.Now()
		p.mu.Unlock()
	}
	return nil
}
