package blob

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// maxSessions bounds the holders to whom a stream for small blobs is kept open.
const maxSessions = 256

var errFetcherClosed = errors.New("fetcher is closed")

// FetcherOptions bound a fetcher.
type FetcherOptions struct {
	// MaxBlobBytes bounds one blob; 0 means 16 GiB.
	MaxBlobBytes uint64
	// StallTime is how long a holder may send nothing before the next one is
	// tried; 0 means 30 s.
	StallTime time.Duration
	// Log hears of holders that failed; nil is silent.
	Log *slog.Logger
}

// NetFetcher fetches blobs from peers into a store. Safe for concurrent use.
type NetFetcher struct {
	net    p2p.Network
	store  Local
	opts   FetcherOptions
	puller *puller
	ctx    context.Context // of all flights; cancelled by Close
	stop   context.CancelFunc
	wg     sync.WaitGroup // flights

	mu       sync.Mutex // guards everything below
	closed   bool
	flights  map[work.BlobID]*flight
	sessions map[sign.PublicKey]*pooled
}

// flight is a blob being fetched for all who want it.
type flight struct {
	ctx    context.Context // ends when nobody waits any more
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set when done is closed

	more chan struct{} // told when holders came

	holders Holders // guarded by the fetcher's mu, like waiters
	waiters int
}

// pooled is a session that is kept for the next use.
type pooled struct {
	*session
	used time.Time
}

var _ SharedFetcher = (*NetFetcher)(nil)

// NewFetcher gives a fetcher that dials over net; Close it.
func NewFetcher(net p2p.Network, store Local, opts FetcherOptions) *NetFetcher {
	if opts.MaxBlobBytes == 0 {
		opts.MaxBlobBytes = DefaultMaxBlobBytes
	}
	if opts.StallTime == 0 {
		opts.StallTime = stallTime
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	f := &NetFetcher{
		net: net, store: store, opts: opts, puller: &puller{store},
		flights: map[work.BlobID]*flight{}, sessions: map[sign.PublicKey]*pooled{},
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// Fetch implements Fetcher. Ranges that came through are kept when a holder
// fails, also for a later Fetch of the same blob.
func (f *NetFetcher) Fetch(ctx context.Context, b work.BlobID, holders []p2p.Peer) error {
	return f.FetchShared(ctx, b, Holders{Origins: holders})
}

// FetchShared is Fetch where siblings are known: others who fetch the same blob.
// Large ones are fetched from several holders at a time and given on as they come.
func (f *NetFetcher) FetchShared(ctx context.Context, b work.BlobID, holders Holders) error {
	if f.store.Has(b) {
		return nil
	}
	if err := f.check(b); err != nil {
		return err
	}
	fl, err := f.join(b, holders)
	if err != nil {
		return err
	}
	defer f.leave(fl)
	select {
	case <-fl.done:
		return fl.err
	case <-ctx.Done():
		return fmt.Errorf("fetch %s: %w", b, ctx.Err())
	}
}

// FetchMany makes blobs present. Small ones, of at most 64 KiB, share round
// trips and syncs; large ones are fetched like Fetch does. What could be had is
// stored even when some could not.
func (f *NetFetcher) FetchMany(ctx context.Context, bs []work.BlobID, holders []p2p.Peer) error {
	var small, large []work.BlobID
	seen := make(map[work.BlobID]bool, len(bs))
	for _, b := range bs {
		switch {
		case seen[b] || f.store.Has(b):
		case b.Size <= groupSize:
			small = append(small, b)
		default:
			large = append(large, b)
		}
		seen[b] = true
	}
	var errs []error
	if len(small) > 0 {
		errs = append(errs, f.collect(ctx, small, func() []p2p.Peer { return holders }))
	}
	for _, b := range large {
		errs = append(errs, f.Fetch(ctx, b, holders))
	}
	return errors.Join(errs...)
}

// Close ends all fetching and waits for it.
func (f *NetFetcher) Close() error {
	f.mu.Lock()
	f.closed = true
	sessions := f.sessions
	f.sessions = map[sign.PublicKey]*pooled{}
	f.mu.Unlock()
	f.stop()
	for _, s := range sessions {
		s.close()
	}
	f.wg.Wait()
	return nil
}

func (f *NetFetcher) check(b work.BlobID) error {
	if b.Size > f.opts.MaxBlobBytes {
		return tooLarge(b.Size, f.opts.MaxBlobBytes)
	}
	return nil
}

// join waits with the others who want b, and brings its holders along.
func (f *NetFetcher) join(b work.BlobID, h Holders) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errFetcherClosed
	}
	fl := f.flights[b]
	if fl != nil && fl.ctx.Err() == nil {
		fl.holders.Origins = append(fl.holders.Origins, unknown(fl.holders.Origins, h.Origins)...)
		fl.holders.Siblings = append(fl.holders.Siblings, unknown(fl.holders.Siblings, h.Siblings)...)
		fl.waiters++
		select {
		case fl.more <- struct{}{}:
		default:
		}
		return fl, nil
	}
	fl = &flight{done: make(chan struct{}), more: make(chan struct{}, 1), waiters: 1,
		holders: Holders{unknown(nil, h.Origins), unknown(nil, h.Siblings)}}
	fl.ctx, fl.cancel = context.WithCancel(f.ctx)
	f.flights[b] = fl
	f.wg.Go(func() { f.fly(b, fl) })
	return fl, nil
}

// unknown gives the peers that are not in have, each once.
func unknown(have, peers []p2p.Peer) (fresh []p2p.Peer) {
	seen := map[sign.PublicKey]bool{}
	for _, p := range have {
		seen[p.Key] = true
	}
	for _, p := range peers {
		if !seen[p.Key] {
			fresh = append(fresh, p)
		}
		seen[p.Key] = true
	}
	return fresh
}

// leave gives up waiting; the last one who does ends the flight.
func (f *NetFetcher) leave(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiters--; fl.waiters == 0 {
		fl.cancel()
	}
}

func (f *NetFetcher) fly(b work.BlobID, fl *flight) {
	holders := func() Holders {
		f.mu.Lock()
		defer f.mu.Unlock()
		return fl.holders
	}
	if b.Size > groupSize {
		fl.err = f.swarm(fl.ctx, b, holders, fl.more)
	} else {
		fl.err = f.collect(fl.ctx, []work.BlobID{b}, func() []p2p.Peer { return holders().Origins })
	}
	f.mu.Lock()
	if f.flights[b] == fl {
		delete(f.flights, b)
	}
	f.mu.Unlock()
	fl.cancel()
	close(fl.done)
}

// collect asks holder after holder for small blobs, and all of them again as long as
// anything comes through. A holder that sent wrong bytes is not asked again.
func (f *NetFetcher) collect(ctx context.Context, ids []work.BlobID, holders func() []p2p.Peer) error {
	reasons := map[sign.PublicKey]error{}
	for {
		moved := 0
		hs := holders()
		for i := 0; i < len(hs); i++ {
			h := hs[i]
			if errors.Is(reasons[h.Key], ErrCorrupt) {
				continue
			}
			rest, n, err := f.from(ctx, h, ids)
			moved += n
			if len(rest) == 0 {
				return nil
			}
			ids = rest
			if ctx.Err() != nil {
				return fmt.Errorf("fetch %s: %w", ids[0], ctx.Err())
			}
			if errors.Is(err, ErrFull) {
				return fmt.Errorf("fetch %s: %w", ids[0], err)
			}
			f.opts.Log.Debug("holder failed", "holder", h.Key, "blob", ids[0], "left", len(ids), "err", err)
			reasons[h.Key] = err
			hs = holders() // whoever joined may have brought more
		}
		if moved == 0 {
			return fetchError(ids, hs, reasons)
		}
	}
}

func fetchError(ids []work.BlobID, holders []p2p.Peer, reasons map[sign.PublicKey]error) error {
	if len(holders) == 0 {
		return fmt.Errorf("%w: nobody is named who holds it", missing(ids[0]))
	}
	var errs []error
	for _, h := range holders[:min(len(holders), 8)] {
		errs = append(errs, fmt.Errorf("%s: %w", h.Key, reasons[h.Key]))
	}
	return fmt.Errorf("fetch %s (and %d more): %w", ids[0], len(ids)-1, errors.Join(errs...))
}

// from asks one holder. A shared session that broke is opened anew once, because
// one that lay idle may have been closed by the other end.
func (f *NetFetcher) from(ctx context.Context, h p2p.Peer, ids []work.BlobID) (rest []work.BlobID, moved int, err error) {
	for {
		s, reused, err := f.session(ctx, h)
		if err != nil {
			return ids, moved, err
		}
		out := f.puller.pull(ctx, s, ids)
		broken := !s.alive()
		f.putBack(h, s)
		moved += out.moved
		ids, err = out.left(ids)
		if len(ids) == 0 || !broken || !reused || ctx.Err() != nil ||
			errors.Is(err, ErrCorrupt) || errors.Is(err, os.ErrDeadlineExceeded) {
			return ids, moved, err
		}
		f.opts.Log.Debug("session broke, opened anew", "holder", h.Key, "err", err)
	}
}

// session gives the session that small blobs of a holder share; reused says that it
// was there already.
func (f *NetFetcher) session(ctx context.Context, h p2p.Peer) (s *session, reused bool, err error) {
	if s := f.pooled(h); s != nil {
		return s, true, nil
	}
	stream, err := f.net.Dial(ctx, h, p2p.ProtocolBlob)
	if err != nil {
		return nil, false, err
	}
	return f.share(h, newSession(stream, f.opts.StallTime))
}

func (f *NetFetcher) pooled(h p2p.Peer) *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.sessions[h.Key]
	if p == nil || !p.alive() {
		return nil
	}
	p.used = time.Now()
	return p.session
}

// share pools a session, or gives the one that another user pooled meanwhile.
func (f *NetFetcher) share(h p2p.Peer, s *session) (_ *session, reused bool, err error) {
	f.mu.Lock()
	drop := s
	defer func() {
		f.mu.Unlock()
		if drop != nil {
			drop.close()
		}
	}()
	if f.closed {
		return nil, false, errFetcherClosed
	}
	if p := f.sessions[h.Key]; p != nil && p.alive() {
		return p.session, true, nil
	}
	drop = nil
	if len(f.sessions) >= maxSessions {
		drop = f.evict()
	}
	f.sessions[h.Key] = &pooled{session: s, used: time.Now()}
	return s, false, nil
}

// evict takes the session out that was used longest ago; f.mu is held.
func (f *NetFetcher) evict() *session {
	var oldest sign.PublicKey
	for key, p := range f.sessions {
		if o := f.sessions[oldest]; o == nil || p.used.Before(o.used) {
			oldest = key
		}
	}
	s := f.sessions[oldest].session
	delete(f.sessions, oldest)
	return s
}

// putBack ends a session that is not shared, or that broke.
func (f *NetFetcher) putBack(h p2p.Peer, s *session) {
	f.mu.Lock()
	p := f.sessions[h.Key]
	shared := p != nil && p.session == s
	if shared && !s.alive() {
		delete(f.sessions, h.Key)
		shared = false
	}
	f.mu.Unlock()
	if !shared {
		s.close()
	}
}
