package blob

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const (
	// DefaultMaxBlobBytes bounds what is fetched or taken where no bound is named.
	DefaultMaxBlobBytes = 16 << 30
	// stallTime is how long a peer may send nothing that is waited for.
	stallTime = 30 * time.Second
	// idleTime is how long a stream may ask for nothing before it is closed.
	idleTime = 5 * time.Minute
	// maxStreams and maxStreamsPerPeer bound the streams served; more are closed
	// at once.
	maxStreams        = 4096
	maxStreamsPerPeer = 64
	// maxAnswers and maxAnswersPeer bound the large answers in memory; more wait for one
	// of these to be taken, which must not take longer than answerTime.
	maxAnswers     = 256
	maxAnswersPeer = 8
	answerTime     = time.Minute
	// readAhead is how many gets are read before the first is answered.
	readAhead = 64
)

// ServerOptions say what a server takes.
type ServerOptions struct {
	// AcceptPush says whether a peer may store a blob that is not here; nil takes
	// nothing. It may be called from many goroutines.
	AcceptPush func(peer sign.PublicKey, b work.BlobID) bool
	// MaxBlobBytes bounds a blob that is taken; 0 means 16 GiB.
	MaxBlobBytes uint64
	// Log hears of peers that break the protocol; nil is silent.
	Log *slog.Logger
}

// Server serves a store's blobs to everybody who knows their names, on
// p2p.ProtocolBlob, and takes blobs that AcceptPush wants. The store outlives
// the network that the handler is given to.
func Server(store Local, opts ServerOptions) p2p.Handler {
	if opts.MaxBlobBytes == 0 {
		opts.MaxBlobBytes = DefaultMaxBlobBytes
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &server{
		store: store, opts: opts, answers: newAnswers(store), puller: &puller{store},
		streams: map[sign.PublicKey]*served{}, slots: make(chan struct{}, maxAnswers),
	}
	return s.handle
}

type server struct {
	store   Local
	opts    ServerOptions
	answers *answers
	puller  *puller
	slots   chan struct{} // of large answers in memory

	mu      sync.Mutex // guards everything below
	streams map[sign.PublicKey]*served
	total   int
}

// served is one peer that is being served.
type served struct {
	streams int
	slots   chan struct{} // of large answers in memory
}

func (s *server) handle(ctx context.Context, stream p2p.Stream) {
	defer stream.Close()
	mine := s.enter(stream.Peer())
	if mine == nil {
		s.opts.Log.Debug("blob stream refused: too many", "peer", stream.Peer())
		return
	}
	defer s.leave(stream.Peer())
	a := newAsked(stream, s.answers, nil)
	a.slots = []chan struct{}{mine.slots, s.slots}
	defer a.close()
	for {
		r, err := a.next()
		if err == nil && r.kind != kindOffer {
			err = fmt.Errorf("%w: a frame of kind %d", errWire, r.kind)
		}
		if err == nil {
			err = s.take(ctx, stream, r.offer)
		}
		if err != nil {
			s.opts.Log.Debug("blob stream over", "peer", stream.Peer(), "err", err)
			return
		}
		a.resume()
	}
}

// enter counts a stream of a peer; nil if there are too many.
func (s *server) enter(peer sign.PublicKey) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.streams[peer]
	if s.total >= maxStreams || p != nil && p.streams >= maxStreamsPerPeer {
		return nil
	}
	if p == nil {
		p = &served{slots: make(chan struct{}, maxAnswersPeer)}
		s.streams[peer] = p
	}
	s.total++
	p.streams++
	return p
}

func (s *server) leave(peer sign.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if p := s.streams[peer]; p.streams > 1 {
		p.streams--
	} else {
		delete(s.streams, peer)
	}
}

// take gets what is wanted of an offer, over the stream it came on, and says
// what became of it. Until a job claims it, it is kept for a day for who pushed it.
func (s *server) take(ctx context.Context, stream p2p.Stream, offer []work.BlobID) error {
	end := make([]status, len(offer))
	var ids []work.BlobID
	var which []int
	for i, b := range offer {
		if b.Size > s.opts.MaxBlobBytes || s.opts.AcceptPush == nil || !s.opts.AcceptPush(stream.Peer(), b) {
			if !s.store.Has(b) {
				end[i] = statusRefused
			}
			continue
		}
		ids, which = append(ids, b), append(which, i)
	}
	if err := s.claim(stream.Peer(), ids); err != nil {
		return err
	}
	var lack []work.BlobID
	var at []int
	for k, b := range ids {
		if !s.store.Has(b) {
			lack, at = append(lack, b), append(at, which[k])
		}
	}
	if len(lack) > 0 {
		session := newSession(stream, stallTime)
		out := s.puller.pull(ctx, session, lack)
		for k, i := range at {
			if out.errs[k] != nil {
				s.opts.Log.Debug("a pushed blob was not taken", "peer", stream.Peer(), "blob", lack[k], "err", out.errs[k])
			}
			end[i] = statusOf(out.errs[k])
		}
		if !session.release() {
			return session.failure()
		}
	}
	if err := stream.Send(encodeEnd(end)); err != nil {
		return err
	}
	return stream.Flush()
}

// claim keeps what a peer pushes, also what is here already, until a job does.
func (s *server) claim(peer sign.PublicKey, bs []work.BlobID) error {
	c, ok := s.store.(Claimer)
	if !ok || len(bs) == 0 {
		return nil
	}
	hour := time.Now().UTC().Format("2006-01-02T15")
	return c.Claim(pushClaim+hour+"/"+peer.String(), Wipe, bs...)
}

func statusOf(err error) status {
	switch {
	case err == nil:
		return statusStored
	case errors.Is(err, ErrFull):
		return statusFull
	}
	return statusFailed
}

// answers makes the answers to gets, from a store.
type answers struct {
	store Store
	trees *trees
}

func newAnswers(store Store) *answers {
	switch s := store.(type) {
	case *FileStore:
		return &answers{store, s.trees}
	case *Mem:
		return &answers{store, s.trees}
	}
	return &answers{store, newTrees(store)}
}

// has says what is here of a blob.
func (an *answers) has(b work.BlobID, asks sign.PublicKey) []byte {
	if an.store.Has(b) {
		return encodeHas(hasAll, nil)
	}
	if part := an.pending(b); part != nil {
		defer part.Close()
		part.asked(asks)
		return encodeHas(hasSome, part.bitmap())
	}
	return encodeHas(hasNone, nil)
}

// pending gives an unfinished large blob, nil if there is none.
func (an *answers) pending(b work.BlobID) *Part {
	if l, ok := an.store.(Sharer); ok && b.Size > groupSize {
		return l.Pending(b)
	}
	return nil
}

// frames are large buffers that are used again: answers to slow peers would
// otherwise be the collector's work.
var frames = sync.Pool{New: func() any {
	buf := make([]byte, 0, frameBytes)
	return &buf
}}

// frameBytes holds the largest answer.
const frameBytes = 1 + rangeBytes + rangeBytes/groupSize*parentSize + 64*parentSize

// asked is the side of a stream that answers.
type asked struct {
	stream   p2p.Stream
	answers  *answers
	allowed  func(work.BlobID) bool // nil allows all
	in       chan received
	resumed  chan struct{}
	stop     chan struct{}
	ended    chan struct{}
	patience time.Duration   // for a large answer to be taken
	slots    []chan struct{} // one of each is held by a large answer

	open   runtime.BlobReader // the large blob asked for last
	openID work.BlobID
}

type received struct {
	request request
	err     error
}

// newAsked starts to read a stream; close ends it.
func newAsked(stream p2p.Stream, an *answers, allowed func(work.BlobID) bool) *asked {
	a := &asked{
		stream: stream, answers: an, allowed: allowed,
		in: make(chan received, readAhead), resumed: make(chan struct{}),
		stop: make(chan struct{}), ended: make(chan struct{}), patience: answerTime,
	}
	go a.read()
	return a
}

// read decodes requests ahead of their answers. After one that is no get it
// waits for resume, because the stream then has another reader.
func (a *asked) read() {
	defer close(a.ended)
	for {
		var r received
		a.stream.SetDeadline(time.Now().Add(idleTime))
		frame, err := a.stream.Receive()
		if r.err = err; err == nil {
			r.request, r.err = decodeRequest(frame)
		}
		select {
		case a.in <- r:
		case <-a.stop:
			return
		}
		if r.err != nil {
			return
		}
		if r.request.kind == kindGet || r.request.kind == kindHave {
			continue
		}
		select {
		case <-a.resumed:
		case <-a.stop:
			return
		}
	}
}

// next answers gets and haves until something else comes.
func (a *asked) next() (request, error) {
	for {
		r, err := a.receive()
		switch {
		case err != nil:
			return r, err
		case r.kind == kindGet:
			err = a.answer(r)
		case r.kind == kindHave:
			err = a.stream.Send(a.has(r.blob))
		default:
			return r, nil
		}
		if err != nil {
			return r, err
		}
	}
}

// receive gives the next request, flushing answers before it waits.
func (a *asked) receive() (request, error) {
	select {
	case r := <-a.in:
		return r.request, r.err
	default:
	}
	if err := a.stream.Flush(); err != nil {
		return request{}, err
	}
	r := <-a.in // read always ends with an error
	return r.request, r.err
}

// resume reads on after what next gave.
func (a *asked) resume() { a.resumed <- struct{}{} }

// close closes the stream and waits for the reader.
func (a *asked) close() {
	close(a.stop)
	a.stream.Close()
	<-a.ended
	a.closeOpen()
}

func (a *asked) closeOpen() {
	if a.open != nil {
		a.open.Close()
	}
	a.open, a.openID = nil, work.BlobID{}
}

// answer sends the slice of a get, or that the blob is missing: whatever the
// store's trouble is, the peer should ask somebody else.
func (a *asked) answer(r request) error {
	if r.n > groupSize {
		for _, c := range a.slots {
			c <- struct{}{} // whoever holds one gives it back within answerTime
			defer func() { <-c }()
		}
		defer time.AfterFunc(a.patience, func() { a.stream.Close() }).Stop()
	}
	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	frame := append((*buf)[:0], kindData)
	frame, err := a.appendSlice(frame, r)
	*buf = frame
	if err != nil {
		frame = []byte{kindMissing}
	}
	return a.stream.Send(frame)
}

func (a *asked) has(b work.BlobID) []byte {
	if a.allowed != nil && !a.allowed(b) {
		return encodeHas(hasNone, nil)
	}
	return a.answers.has(b, a.stream.Peer())
}

func (a *asked) appendSlice(dst []byte, r request) ([]byte, error) {
	if a.allowed != nil && !a.allowed(r.blob) {
		return dst, missing(r.blob)
	}
	if r.blob.Size <= groupSize {
		data, err := a.answers.store.Get(r.blob, groupSize)
		return append(dst, data...), err
	}
	if a.openID != r.blob {
		if part := a.answers.pending(r.blob); part != nil {
			defer part.Close()
			return part.appendSlice(dst, r.off, r.n)
		}
		a.closeOpen()
		f, err := a.answers.store.Open(r.blob)
		if err != nil {
			return dst, err
		}
		a.open, a.openID = f, r.blob
	}
	t, err := a.answers.trees.get(r.blob)
	if err != nil {
		return dst, err
	}
	return t.appendSlice(dst, a.open, r.blob.Size, r.off, r.n)
}
