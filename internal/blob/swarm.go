package blob

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const (
	// maxHoldersAtOnce and maxSiblingsAtOnce bound who one large blob is fetched from
	// at a time; others wait for one of these to fail.
	maxHoldersAtOnce  = 4
	maxSiblingsAtOnce = 8
	// spreadBytes is the size from which a blob is shared among those who fetch it;
	// smaller ones are not worth the questions.
	spreadBytes = 2 * rangeBytes
	// maxRedials is how often a holder that broke off is dialled again while what it
	// brings is new.
	maxRedials = 16
)

// Holders are where a blob may be had.
type Holders struct {
	// Origins have it, as far as is known.
	Origins []p2p.Peer
	// Siblings fetch it for themselves, or have done so: large blobs come from them
	// first, so that the origins give each part about once.
	Siblings []p2p.Peer
}

// swarm fetches one large blob from several holders at a time.
type swarm struct {
	f    *NetFetcher
	b    work.BlobID
	d    *download
	ctx  context.Context
	stop context.CancelFunc
	ends chan *ended

	known   map[sign.PublicKey]bool
	waiting []holder
	active  [2]int // by sibling or not
	failed  []*ended
	moved   int
	wg      sync.WaitGroup
}

// holder is one whom the blob is fetched from.
type holder struct {
	peer    p2p.Peer
	sibling bool
}

// ended is what became of a holder.
type ended struct {
	holder
	err   error
	moved int
}

// swarm fetches b from all holders that there are, and those who come to be known
// meanwhile.
func (f *NetFetcher) swarm(ctx context.Context, b work.BlobID, holders func() Holders, more <-chan struct{}) error {
	part, err := f.store.Begin(b)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", b, err)
	}
	defer part.Close()
	s := &swarm{f: f, b: b, d: newDownload(f.net.Self().Key, part), ends: make(chan *ended), known: map[sign.PublicKey]bool{}}
	s.ctx, s.stop = context.WithCancel(ctx)
	defer s.wg.Wait()
	defer s.stop()
	if err := s.run(holders, more); err != nil {
		return err
	}
	return part.Commit(false)
}

func (s *swarm) run(holders func() Holders, more <-chan struct{}) error {
	s.add(holders())
	s.meet()
	for {
		s.start()
		select {
		case <-s.d.over:
			return nil
		default:
		}
		if s.active == [2]int{} && !s.again() {
			return s.failure()
		}
		select {
		case <-s.d.over:
			return nil
		case <-more:
			s.add(holders())
		case <-s.d.part.met:
			s.meet()
		case e := <-s.ends:
			if err := s.end(e); err != nil {
				return err
			}
		case <-s.ctx.Done():
			return fmt.Errorf("fetch %s: %w", s.b, s.ctx.Err())
		}
	}
}

// add queues holders that are new.
func (s *swarm) add(h Holders) {
	for i, ps := range [][]p2p.Peer{h.Siblings, h.Origins} {
		if i == 0 && s.b.Size < spreadBytes {
			continue
		}
		for _, p := range ps {
			if !s.known[p.Key] && p.Key != s.d.self {
				s.known[p.Key] = true
				s.waiting = append(s.waiting, holder{p, i == 0})
			}
		}
	}
}

// meet queues those who asked for what is here: they fetch the blob too. They are
// connected, so their addresses are known.
func (s *swarm) meet() {
	var h Holders
	for _, k := range s.d.part.siblings() {
		h.Siblings = append(h.Siblings, p2p.Peer{Key: k})
	}
	s.add(h)
}

// start drives those who wait, as many as may be.
func (s *swarm) start() {
	keep := s.waiting[:0]
	for _, h := range s.waiting {
		i, most := 0, maxHoldersAtOnce
		if h.sibling {
			i, most = 1, maxSiblingsAtOnce
		}
		if s.active[i] >= most {
			keep = append(keep, h)
			continue
		}
		s.active[i]++
		src := s.d.join(h.peer.Key, h.sibling) // its share is its own from now on
		s.wg.Go(func() {
			e := &ended{holder: h}
			e.moved, e.err = s.follow(h, src)
			select {
			case s.ends <- e:
			case <-s.ctx.Done():
			}
		})
	}
	s.waiting = keep
}

// follow fetches from one holder, dialled again as long as that brings something.
func (s *swarm) follow(h holder, src *source) (moved int, err error) {
	began := s.d.movedBy(src) // by an earlier try
	for try := 0; ; try++ {
		before := s.d.movedBy(src)
		err := s.once(h, src)
		now := s.d.movedBy(src)
		if err == nil || s.ctx.Err() != nil || now == before || try >= maxRedials ||
			errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFull) || errors.Is(err, ErrMissing) || errors.Is(err, errWire) {
			s.d.leave(src)
			return now - began, err
		}
		s.f.opts.Log.Debug("holder broke off, dialled again", "holder", h.peer.Key, "blob", s.b, "err", err)
		src = s.d.join(h.peer.Key, h.sibling)
	}
}

func (s *swarm) once(h holder, src *source) error {
	stream, err := s.f.net.Dial(s.ctx, h.peer, p2p.ProtocolBlob)
	if err != nil {
		s.d.leave(src)
		return err
	}
	session := newSession(stream, s.f.opts.StallTime)
	defer session.close()
	return s.d.drive(s.ctx, session, src)
}

// end notes a holder that is given up; its error if it is the end of all.
func (s *swarm) end(e *ended) error {
	i := 0
	if e.sibling {
		i = 1
	}
	s.active[i]--
	s.moved += e.moved
	switch {
	case e.err == nil:
		return nil
	case errors.Is(e.err, ErrFull):
		return fmt.Errorf("fetch %s: %w", s.b, e.err)
	case errors.Is(e.err, ErrCorrupt):
		s.f.opts.Log.Warn("holder sent wrong bytes: nothing more is taken from it", "holder", e.peer.Key, "blob", s.b, "err", e.err)
	default:
		s.f.opts.Log.Debug("holder failed", "holder", e.peer.Key, "blob", s.b, "err", e.err)
	}
	s.failed = append(s.failed, e)
	return nil
}

// again gives all holders but liars another try, if the last one brought anything.
func (s *swarm) again() bool {
	if s.moved == 0 || len(s.waiting) > 0 {
		return len(s.waiting) > 0
	}
	s.moved = 0
	failed := s.failed
	s.failed = nil
	for _, e := range failed {
		if errors.Is(e.err, ErrCorrupt) {
			s.failed = append(s.failed, e)
			continue
		}
		s.waiting = append(s.waiting, e.holder)
	}
	s.start()
	return s.active != [2]int{}
}

func (s *swarm) failure() error {
	if len(s.failed) == 0 {
		return fmt.Errorf("%w: nobody is named who holds it", missing(s.b))
	}
	var errs []error
	for _, e := range s.failed[:min(len(s.failed), 8)] {
		errs = append(errs, fmt.Errorf("%s: %w", e.peer.Key, e.err))
	}
	return fmt.Errorf("fetch %s: %w", s.b, errors.Join(errs...))
}

// movedBy is what a source brought since the download began.
func (d *download) movedBy(src *source) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return src.moved
}
