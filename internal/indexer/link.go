package indexer

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// link keeps one stream to one provider up: it dials, says hello, sends what it
// is given and hands on what comes back, until it is cancelled.
type link struct {
	x        *Indexer
	peer     *peer // touched only through posts
	provider work.Address
	cancel   context.CancelFunc
	kick     chan struct{} // dial now

	mu    sync.Mutex // guards the six below
	at    p2p.Peer
	gen   uint64
	queue []outgoing
	wake  chan struct{}
	ping  uint64    // number of the ping that is under way
	asked time.Time // when it was sent; zero: none is
}

// Bounds of a link.
const (
	dialTimeout  = 15 * time.Second
	helloTimeout = 15 * time.Second
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

// errNonsense reports a provider that broke the protocol: it is cut off for a
// while.
var errNonsense = errors.New("the provider broke the protocol")

// connect starts the link to p, or lets it dial at once.
func (x *Indexer) connect(p *peer) {
	at := p2p.Peer{Key: p.offer.Peer, Addrs: p.offer.Addrs}
	if p.link != nil {
		p.link.mu.Lock()
		same := p.link.at.Key == at.Key
		p.link.at = at
		p.link.mu.Unlock()
		if same {
			select {
			case p.link.kick <- struct{}{}:
			default:
			}
			return
		}
		p.hangUp()
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{x: x, peer: p, provider: p.addr, cancel: cancel, kick: make(chan struct{}, 1), at: at, wake: make(chan struct{}, 1)}
	p.link, p.gen = l, 0
	x.spawn(func() { l.run(ctx) })
}

func (l *link) run(ctx context.Context) {
	wait := firstBackoff
	for ctx.Err() == nil {
		began := time.Now()
		err := l.once(ctx)
		if ctx.Err() != nil {
			return
		}
		l.x.log.Debug("stream to provider ended", "provider", l.provider, "err", err)
		if errors.Is(err, blob.ErrFull) {
			l.x.log.Error("no space left for outputs: make room, providers send them again", "err", err)
		}
		if errors.Is(err, errNonsense) {
			l.x.log.Warn("provider is left alone for a while", "provider", l.provider, "err", err)
			wait = l.x.cfg.Timing.Cut
		} else if time.Since(began) > lastBackoff {
			wait = firstBackoff
		}
		if !l.rest(ctx, wait, !errors.Is(err, errNonsense)) {
			return
		}
		wait = min(2*wait, lastBackoff)
	}
}

// rest waits before the next dial; a new offer ends it early.
func (l *link) rest(ctx context.Context, wait time.Duration, early bool) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		case <-l.kick:
			if early {
				return true
			}
		}
	}
}

// once dials and serves one stream until it ends.
func (l *link) once(ctx context.Context) error {
	l.mu.Lock()
	at := l.at
	l.mu.Unlock()
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	s, err := l.x.cfg.Net.Dial(dctx, at, p2p.ProtocolWork)
	cancel()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	defer s.Close()
	rtt, err := l.hello(s)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.gen++
	gen := l.gen
	l.queue, l.asked = nil, time.Time{}
	l.mu.Unlock()
	seen := match.Prefix(s.Remote())
	if !l.x.post(func() { l.x.linkUp(l.peer, l, gen, seen, rtt) }) {
		return ErrClosed
	}
	over := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { l.write(s, over) })
	err = l.read(ctx, s, at.Key)
	close(over)
	s.Close()
	writer.Wait()
	nonsense := errors.Is(err, errNonsense)
	l.x.post(func() { l.x.linkDown(l.peer, l, gen, nonsense) })
	return err
}

// hello says who speaks and hears who answers; it measures the round trip.
func (l *link) hello(s p2p.Stream) (time.Duration, error) {
	s.SetDeadline(time.Now().Add(helloTimeout))
	defer s.SetDeadline(time.Time{})
	began := time.Now()
	if err := s.Send(wire.EncodeHello(wire.Hello{Chain: l.x.cfg.Chain, Account: l.x.cfg.Owner})); err != nil {
		return 0, err
	}
	if err := s.Flush(); err != nil {
		return 0, err
	}
	b, err := s.Receive()
	if err != nil {
		return 0, err
	}
	f, err := wire.Decode(b, s.Peer())
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errNonsense, err)
	case f.Hello == nil || f.Hello.Chain != l.x.cfg.Chain || f.Hello.Account != l.provider:
		return 0, fmt.Errorf("%w: its hello is not that of %s", errNonsense, l.provider)
	}
	return time.Since(began), nil
}

// push queues a frame for the stream it was made for; frames of an earlier stream
// are dropped, because assignments are sent anew on each.
func (l *link) push(o outgoing) {
	l.mu.Lock()
	if o.gen == l.gen {
		l.queue = append(l.queue, o)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) write(s p2p.Stream, over <-chan struct{}) {
	beat := time.NewTicker(l.x.cfg.Timing.Ping)
	defer beat.Stop()
	l.sendPing(s)
	for {
		l.mu.Lock()
		out := l.queue
		l.queue = nil
		l.mu.Unlock()
		if len(out) == 0 {
			if s.Flush() != nil {
				s.Close()
				return
			}
			select {
			case <-l.wake:
			case <-beat.C:
				l.sendPing(s)
			case <-over:
				return
			}
			continue
		}
		for _, o := range out {
			if s.Send(o.frame()) != nil {
				s.Close() // the reader ends then, and with it the stream
				return
			}
		}
	}
}

// sendPing asks for an echo, to measure the round trip; a fault shows at the next
// frame. The number cannot be guessed, so that nobody answers before he was asked.
func (l *link) sendPing(s p2p.Stream) {
	var b [8]byte
	rand.Read(b[:]) // never fails
	l.mu.Lock()
	l.ping, l.asked = binary.LittleEndian.Uint64(b[:]), time.Now()
	n := l.ping
	l.mu.Unlock()
	if s.Send(wire.EncodePing(wire.KindPing, n)) == nil {
		_ = s.Flush() // the next frame tells
	}
}

// pong takes an echo in.
func (l *link) pong(n uint64) {
	l.mu.Lock()
	d, ok, gen := time.Since(l.asked), n == l.ping && !l.asked.IsZero(), l.gen
	l.asked = time.Time{}
	l.mu.Unlock()
	if ok {
		l.x.post(func() {
			if l.peer.link == l && l.peer.gen == gen {
				l.peer.rtt.add(d)
			}
		})
	}
}

// roundTrip is the newest measurements of a provider's round trip.
type roundTrip struct {
	last [8]time.Duration
	n    int
}

func (r *roundTrip) add(d time.Duration) {
	r.last[r.n%len(r.last)] = max(d, time.Microsecond)
	r.n++
}

// best is the shortest of the newest measurements: work that waits in the same
// queues makes an echo late, nothing makes it early. 0 if there is none.
func (r *roundTrip) best() time.Duration {
	if r.n == 0 {
		return 0
	}
	return slices.Min(r.last[:min(r.n, len(r.last))])
}

func (l *link) read(ctx context.Context, s p2p.Stream, key sign.PublicKey) error {
	for {
		b, err := s.Receive()
		if err != nil {
			return err
		}
		f, err := wire.Decode(b, key)
		if err != nil {
			return fmt.Errorf("%w: %w", errNonsense, err)
		}
		if f.Pong != nil {
			l.pong(*f.Pong)
			continue
		}
		if f.Held != nil {
			if err := l.x.onHeld(l, f.Held); err != nil {
				return err
			}
			continue
		}
		if f.Resume != nil {
			l.x.post(func() { l.x.heldAll(l.peer, *f.Resume) })
			continue
		}
		if f.Receipt == nil {
			return fmt.Errorf("%w: a provider sends only receipts", errNonsense)
		}
		if err := l.x.receive(ctx, l, f.Receipt); err != nil {
			return err
		}
	}
}

// linkUp makes a provider's stream usable: what it still has is sent again, and
// what nobody else took meanwhile is its again.
func (x *Indexer) linkUp(p *peer, l *link, gen uint64, seen string, rtt time.Duration) {
	if p.link != l {
		return
	}
	p.gen, p.seen, p.down = gen, seen, time.Time{}
	p.rtt.add(rtt)
	x.log.Info("provider is connected", "provider", p.addr, "rtt", rtt)
	for _, d := range p.jobs {
		d.introduced, d.flushed = false, false
	}
	for _, j := range x.active {
		x.askHeir(j, p)
		x.resume(j, p)
	}
	x.rerank()
}

func (x *Indexer) resume(j *job, p *peer) {
	s := j.state.byAddr[p.addr]
	// What was signed may be sent again even before the chain was asked about the
	// job; not once it closes.
	if s == nil || j.rec.Commons || j.moved || j.rec.Released || j.rec.Over || j.chain > lifecycle.JobOpen {
		return
	}
	var back work.RangeSet
	for _, l := range s.leases {
		if l.expires > x.height {
			back = back.Union(s.late.within(l.items))
		}
	}
	if back = j.state.waiting.within(back); len(back) > 0 {
		x.record(j, &event{Kind: evResume, Provider: p.addr, Items: back})
		x.durable = true
	}
	for _, l := range s.leases {
		if items := s.out.within(l.items); len(items) > 0 && l.expires > x.height {
			for len(items) > 0 {
				n := min(len(items), work.MaxAssignmentRanges)
				l.items, items = items[:n], items[n:]
				x.sendAssign(j, p, l)
			}
			p.dealing(j.id).given(time.Now())
		}
	}
}

func (x *Indexer) linkDown(p *peer, l *link, gen uint64, nonsense bool) {
	if p.link != l || p.gen != gen {
		return
	}
	p.gen, p.down = 0, time.Now()
	if nonsense {
		p.until = p.down.Add(x.cfg.Timing.Cut)
	}
	for _, d := range p.jobs {
		d.busy = false
	}
	x.rerank()
}

// cut ends the stream of a provider that broke the protocol in a way that only
// the owner of the jobs can see.
func (x *Indexer) cut(p *peer, why string) {
	x.log.Warn("provider broke the protocol", "provider", p.addr, "why", why)
	now := time.Now()
	p.gen, p.down, p.until = 0, now, now.Add(x.cfg.Timing.Cut)
	p.hangUp()
	x.rerank()
}
