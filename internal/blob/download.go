package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const (
	// rangeGroups is the number of groups in a range: what a holder takes on at once.
	rangeGroups = rangeBytes / groupSize
	// window is the most gets under way at one holder, and maxPiece the most groups of
	// one: together 8 MiB, 80 MB/s at 100 ms. Small pieces stay in the processor's cache
	// until they are verified.
	window, maxPiece = 32, 4
	// firstPiece and firstWindow are asked of a holder whose speed is not known: a
	// relayed connection may carry tens of kilobytes a second.
	firstPiece, firstWindow = 2, 2
	// trips is how many round trips' worth of bytes are kept under way at a holder.
	trips = 4
	// stealAge is how long a holder may take for a range before another one that has
	// nothing else to do fetches it too.
	stealAge = time.Second
	// hopeTime is how long a sibling that was named may take to say that it fetches
	// the blob too; until then, and while it does, its share is left to it.
	hopeTime = 2 * time.Second
	// idleSibling is how long a sibling may bring nothing new before its share is
	// fetched from elsewhere.
	idleSibling = 5 * time.Second
	// askAgain is how often a sibling is asked what it has, at first and at most.
	askAgain, askSlowly = 25 * time.Millisecond, 500 * time.Millisecond
	// maxLacked is how often in a row a sibling may lack what it said to have.
	maxLacked = 16
	// muchSlower is how much slower than a holder all siblings together may be before
	// nothing is left to them.
	muchSlower = 4
)

// source is one holder of a blob that is being fetched.
type source struct {
	key     sign.PublicKey
	sibling bool // fetches the blob for itself too: it is asked before the others, for what it has

	// Guarded by the download's mu.
	state  sourceState
	have   bitmap        // of a partial one
	grown  time.Time     // when it last had something new, or was named
	held   map[int]*hold // ranges that it has taken on
	cur    int           // one of them that is not all asked for, -1: none
	next   uint64        // group of it to ask for next
	piece  uint64        // groups a get
	window int           // gets under way
	moved  int           // groups that it brought
	lacked int           // gets in a row of what it said to have and had not
	last   time.Time     // when the last answer came
	speed  float64       // bytes a second
	poll   time.Time     // when a partial one is asked again what it has
	every  time.Duration // how often that is done
	trip   time.Duration // the least time from a get to its answer
}

// hold is a range in a source's hands.
type hold struct {
	under int  // gets under way
	asked bool // nothing more of it is asked for
}

type sourceState uint8

const (
	hoped   sourceState = iota // named, not heard of yet
	partial                    // has some
	whole                      // has all, as far as is known
	gone
)

// download is a large blob on its way: ranges are taken by the holders that are
// driven, and again by faster ones from those who keep them too long.
type download struct {
	b     work.BlobID
	self  sign.PublicKey
	part  *Part
	began time.Time

	mu      sync.Mutex // guards everything below
	ranges  []taken
	low     int // ranges before it are whole
	sources map[sign.PublicKey]*source
	news    chan struct{} // closed and replaced when something changed
	over    chan struct{} // closed when the blob is whole
	done    bool
}

// taken is who fetches a range.
type taken struct {
	by    int // sources
	since time.Time
}

func newDownload(self sign.PublicKey, part *Part) *download {
	d := &download{b: part.b, self: self, part: part, began: time.Now(), sources: map[sign.PublicKey]*source{},
		ranges: make([]taken, (part.b.Size+rangeBytes-1)/rangeBytes), news: make(chan struct{}), over: make(chan struct{})}
	d.tell()
	return d
}

// join names a holder; the same one again is the same source.
func (d *download) join(key sign.PublicKey, sibling bool) *source {
	d.mu.Lock()
	defer d.mu.Unlock()
	src := d.sources[key]
	if src == nil {
		src = &source{key: key, sibling: sibling, held: map[int]*hold{}}
		d.sources[key] = src
	}
	src.state, src.grown = whole, time.Now()
	if sibling {
		src.state = hoped
	}
	src.cur, src.piece, src.window, src.every, src.last, src.poll, src.lacked = -1, firstPiece, firstWindow, askAgain, time.Time{}, time.Time{}, 0
	return src
}

// leave ends a source: what it had taken is free.
func (d *download) leave(src *source) {
	d.mu.Lock()
	defer d.mu.Unlock()
	src.state = gone
	d.freeLocked(src)
	d.tellLocked()
}

func (d *download) freeLocked(src *source) {
	for r := range src.held {
		d.ranges[r].by--
	}
	clear(src.held)
	src.cur = -1
}

// askedLocked ends the asking for the range that a source is at.
func (d *download) askedLocked(src *source) {
	h := src.held[src.cur]
	h.asked = true
	d.settleLocked(src, src.cur)
	src.cur = -1
}

// answeredLocked counts an answer of a range.
func (d *download) answeredLocked(src *source, r int) {
	if h := src.held[r]; h != nil {
		h.under--
		d.settleLocked(src, r)
	}
}

func (d *download) settleLocked(src *source, r int) {
	if h := src.held[r]; h.asked && h.under == 0 {
		delete(src.held, r)
		d.ranges[r].by--
	}
}

// tell wakes those who wait for something to do.
func (d *download) tell() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tellLocked()
}

func (d *download) tellLocked() {
	close(d.news)
	d.news = make(chan struct{})
	if !d.done && d.part.Whole() {
		d.done = true
		close(d.over)
	}
}

func (d *download) wake() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.news
}

// drive asks one holder for what is missing until the blob is whole (nil), the
// holder fails, or ctx ends. Wrong bytes give ErrCorrupt and end the session.
func (d *download) drive(ctx context.Context, s *session, src *source) error {
	defer d.leave(src)
	var out []*call // under way, in order
	var p proof
	asked := false
	for {
		var fresh []*call
		for c := d.choose(src, len(out)+len(fresh)); c != nil; c = d.choose(src, len(out)+len(fresh)) {
			c.sent = time.Now()
			c.first = !asked && c.kind == kindGet
			asked = asked || c.first
			fresh = append(fresh, c)
		}
		if len(fresh) > 0 {
			if err := s.get(fresh...); err != nil {
				return err
			}
			out = append(out, fresh...)
		}
		select {
		case <-d.over:
			return nil
		default:
		}
		if len(out) == 0 {
			if err := d.idle(ctx, s); err != nil {
				return err
			}
			continue
		}
		frame, err := s.waitOr(ctx, out[0], d.over)
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
		c := out[0]
		out = out[1:]
		if err := d.take(s, src, c, frame, &p); err != nil {
			return err
		}
	}
}

// idle waits until there may be something to ask for.
func (d *download) idle(ctx context.Context, s *session) error {
	t := time.NewTimer(askAgain)
	defer t.Stop()
	select {
	case <-d.wake():
	case <-t.C:
	case <-d.over:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return s.failure()
	}
	return nil
}

// take keeps what an answer brought.
func (d *download) take(s *session, src *source, c *call, frame []byte, p *proof) error {
	if c.kind == kindHave {
		return d.heard(s, src, frame)
	}
	slice, err := decodeReply(frame)
	if errors.Is(err, ErrMissing) {
		return d.lacks(src)
	}
	if err == nil {
		err = p.verify(d.b, c.off, c.n, slice)
	}
	if err != nil {
		err = fmt.Errorf("holder %s: %w", src.key, err)
		s.fail(err)
		return err
	}
	fresh, err := d.part.keep(p)
	if err != nil {
		return err
	}
	s.recycle(frame)
	d.arrived(src, c, fresh)
	return nil
}

// lacks notes that a holder has not what it was asked for: a sibling, or a holder
// that fetches the blob itself, may have it later.
func (d *download) lacks(src *source) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.freeLocked(src)
	switch {
	case src.state == whole && !src.sibling:
		src.state, src.poll, src.grown = hoped, time.Time{}, time.Now()
		return nil
	case src.state != whole && src.lacked < maxLacked:
		src.lacked++
		return nil // asked before we knew
	}
	return missing(d.b)
}

// heard notes what a holder says to have.
func (d *download) heard(s *session, src *source, frame []byte) error {
	state, have, err := decodeHas(d.b, frame)
	if err != nil {
		s.fail(err)
		return fmt.Errorf("holder %s: %w", src.key, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	src.every = min(2*src.every, askSlowly)
	src.poll = now.Add(src.every)
	switch state {
	case hasNone:
		if src.state != hoped || !src.sibling || now.Sub(src.grown) > hopeTime {
			return missing(d.b)
		}
		return nil
	case hasAll:
		src.state = whole
	case hasSome:
		if n := have.count(); n > src.have.count() || src.state == hoped {
			src.grown, src.every = now, askAgain
		}
		src.state, src.have = partial, have
	}
	d.tellLocked()
	return nil
}

// arrived counts what a get brought and adapts to the holder's speed.
func (d *download) arrived(src *source, c *call, fresh int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.answeredLocked(src, int(c.off/rangeBytes))
	src.moved += fresh
	src.lacked = 0
	src.grown = now
	if trip := now.Sub(c.sent); src.trip == 0 || trip < src.trip {
		src.trip = trip
	}
	if !src.last.IsZero() {
		if sec := now.Sub(src.last).Seconds(); sec > 0 {
			v := float64(c.n) / sec
			if src.speed > 0 {
				v = 0.7*src.speed + 0.3*v
			}
			src.speed = v
			goal := uint64(v*trips*src.trip.Seconds()) / groupSize // groups under way
			src.piece = min(max(goal/4, 1), 2*src.piece, maxPiece)
			src.window = int(min(max(goal/src.piece, 2*firstWindow), window))
		}
	}
	src.last = now
	for d.low < len(d.ranges) && d.wholeRange(d.low) {
		d.low++
	}
	if d.wholeRange(int(c.off / rangeBytes)) {
		d.tellLocked()
	}
}

// bounds are a range's groups.
func (d *download) bounds(r int) (lo, hi uint64) {
	lo = uint64(r) * rangeGroups
	return lo, min(lo+rangeGroups, groups(d.b))
}

func (d *download) wholeRange(r int) bool {
	lo, hi := d.bounds(r)
	return d.part.missingIn(lo, hi) == 0
}

// choose gives what to ask a holder for next, nil if nothing now; under are the
// gets under way there.
func (d *download) choose(src *source, under int) *call {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done || under >= src.window {
		return nil
	}
	now := time.Now()
	if src.state == hoped || src.state == partial {
		if src.poll.Before(now) {
			src.poll = now.Add(time.Hour) // until the answer
			return &call{kind: kindHave, b: d.b}
		}
		if src.state == hoped {
			return nil
		}
	}
	for {
		if src.cur < 0 && !d.pickLocked(src, now) {
			return nil
		}
		if c := d.pieceLocked(src); c != nil {
			src.held[src.cur].under++
			return c
		}
		d.askedLocked(src)
	}
}

// pieceLocked gives the next get of the range that a holder is at, nil at its end.
func (d *download) pieceLocked(src *source) *call {
	_, hi := d.bounds(src.cur)
	lo := src.next
	for lo < hi && (d.part.hasGroup(lo) || src.state == partial && !src.have.has(lo)) {
		lo++
	}
	end := lo
	for end < hi && end-lo < src.piece && !d.part.hasGroup(end) && (src.state != partial || src.have.has(end)) {
		end++
	}
	src.next = end
	if lo == end {
		return nil
	}
	off := lo * groupSize
	return &call{kind: kindGet, b: d.b, off: off, n: min(end*groupSize, d.b.Size) - off}
}

// pickLocked gives a holder its next range: one that nobody fetches, or else one
// that somebody has been fetching for too long.
func (d *download) pickLocked(src *source, now time.Time) bool {
	best, stolen := -1, false
	hurry := !src.sibling && d.slowSiblings(src, now)
	n := len(d.ranges)
	first := d.low
	if src.sibling || src.state == partial { // different ones at different holders: they can be swapped
		first = int(mix(d.self, uint64(n)) % uint64(n))
	}
	for k := range n {
		r := (first + k) % n
		if r < d.low || src.held[r] != nil || !d.hasRange(src, r) || d.wholeRange(r) {
			continue
		}
		t := &d.ranges[r]
		if t.by == 0 {
			if !src.sibling && !hurry && d.leftToSiblings(r, now) {
				continue
			}
			best, stolen = r, false
			break
		}
		if t.by == 1 && now.Sub(t.since) > stealAge && (best < 0 || t.since.Before(d.ranges[best].since)) {
			best, stolen = r, true
		}
	}
	if best < 0 {
		return false
	}
	t := &d.ranges[best]
	t.by++
	if !stolen {
		t.since = now
	}
	src.cur = best
	src.held[best] = &hold{}
	src.next, _ = d.bounds(best)
	return true
}

// hasRange reports whether a holder has something of a range that is missing here.
func (d *download) hasRange(src *source, r int) bool {
	if src.state == whole {
		return true
	}
	lo, hi := d.bounds(r)
	for i := lo; i < hi; i++ {
		if src.have.has(i) && !d.part.hasGroup(i) {
			return true
		}
	}
	return false
}

// leftToSiblings reports whether a range that nobody fetches is to come from a
// sibling: one has it, or it is the share of one that is at work. Each range is the
// share of one of all who fetch the blob together, the same for all of them, so
// that the first holder gives it about once.
func (d *download) leftToSiblings(r int, now time.Time) bool {
	best, mine := mix(d.self, uint64(r)), true
	for _, o := range d.sources {
		if !o.sibling || o.state == gone {
			continue
		}
		if o.state != hoped && d.hasRange(o, r) {
			return true
		}
		patience := hopeTime
		if o.state != hoped {
			patience = idleSibling
		}
		if v := mix(o.key, uint64(r)); v > best && now.Sub(o.grown) < patience {
			best, mine = v, false
		}
	}
	return !mine
}

// slowSiblings reports whether all siblings together are much slower than a holder
// that would leave ranges to them.
func (d *download) slowSiblings(src *source, now time.Time) bool {
	if now.Sub(d.began) < hopeTime || src.speed == 0 {
		return false
	}
	var all float64
	for _, o := range d.sources {
		if o.sibling && now.Sub(o.last) < idleSibling {
			all += o.speed
		}
	}
	return all*muchSlower < src.speed
}

// mix spreads ranges over keys, alike on every machine.
func mix(k sign.PublicKey, r uint64) uint64 {
	x := binary.LittleEndian.Uint64(k[8:16]) ^ (r+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
