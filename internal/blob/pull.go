package blob

import (
	"context"
	"errors"
	"sync"

	"github.com/gotong-network/gotong/work"
)

const (
	// window is the most ranges of one large blob under way: 8 MiB.
	window = 8
	// batch is how many small blobs are asked for, and stored, at once; two
	// batches are under way.
	batch = 64
	// keptDownloads is how many unfinished large blobs wait to be resumed.
	keptDownloads = 8
)

// puller brings blobs into a store over sessions.
type puller struct {
	store     Local
	downloads *downloads
}

func newPuller(store Local) *puller {
	return &puller{store: store, downloads: &downloads{store: store}}
}

// pulled is what came of one pull.
type pulled struct {
	errs  []error // one for each blob; nil where it is stored
	moved int     // ranges that came through
}

// left gives the blobs that are not stored, and why.
func (p pulled) left(ids []work.BlobID) (rest []work.BlobID, err error) {
	var errs []error
	for i, e := range p.errs {
		if e == nil {
			continue
		}
		rest = append(rest, ids[i])
		if len(errs) < 4 { // some are enough to tell
			errs = append(errs, e)
		}
	}
	return rest, errors.Join(errs...)
}

// pull asks one holder for blobs. Small ones share round trips and syncs, large
// ones come one after the other. A holder that sends wrong bytes is asked for
// nothing more.
func (p *puller) pull(ctx context.Context, s *session, ids []work.BlobID) pulled {
	out := pulled{errs: make([]error, len(ids))}
	var small []int
	for i, b := range ids {
		if b.Size > 0 && b.Size <= groupSize {
			small = append(small, i)
		}
	}
	p.pullSmall(ctx, s, ids, small, &out)
	for i, b := range ids {
		switch {
		case b == empty || b.Size > 0 && b.Size <= groupSize:
		case b.Size == 0:
			out.errs[i] = missing(b) // nothing has no other root
		case !s.alive():
			out.errs[i] = s.failure()
		default:
			n, err := p.pullLarge(ctx, s, b)
			out.moved += n
			out.errs[i] = err
			if errors.Is(err, ErrCorrupt) {
				s.fail(err)
			}
		}
	}
	return out
}

// pullSmall brings the blobs ids[i] for i in which; one range each.
func (p *puller) pullSmall(ctx context.Context, s *session, ids []work.BlobID, which []int, out *pulled) {
	type group struct {
		which []int
		calls []*call
		err   error
	}
	ask := func() *group {
		g := &group{which: which[:min(batch, len(which))]}
		which = which[len(g.which):]
		for _, i := range g.which {
			g.calls = append(g.calls, &call{b: ids[i], n: ids[i].Size})
		}
		if len(g.calls) > 0 {
			g.err = s.get(g.calls...)
		}
		return g
	}
	for next := ask(); len(next.which) > 0; {
		now := next
		next = ask()
		if now.err != nil {
			for _, i := range now.which {
				out.errs[i] = now.err
			}
			continue
		}
		p.storeSmall(ctx, s, ids, now.which, now.calls, out)
	}
}

// storeSmall waits for a batch, verifies it and stores it with one sync.
func (p *puller) storeSmall(ctx context.Context, s *session, ids []work.BlobID, which []int, calls []*call, out *pulled) {
	var good []int
	var datas [][]byte
	for k, i := range which {
		slice, err := s.wait(ctx, calls[k])
		if err == nil {
			slice, err = appendVerified(nil, ids[i], 0, ids[i].Size, slice)
		}
		if out.errs[i] = err; err == nil {
			good, datas = append(good, i), append(datas, slice)
		} else if errors.Is(err, ErrCorrupt) {
			s.fail(err)
		}
	}
	_, err := p.store.PutMany(ctx, datas)
	for _, i := range good {
		out.errs[i] = err
	}
	if err == nil {
		out.moved += len(good)
	}
}

// pullLarge brings the ranges that are missing yet. What came through is kept
// for the next try if the blob does not become whole.
func (p *puller) pullLarge(ctx context.Context, s *session, b work.BlobID) (moved int, err error) {
	d, err := p.downloads.take(b)
	if err != nil {
		return 0, err
	}
	before := d.left
	err = d.run(ctx, s)
	moved = before - d.left
	if errors.Is(err, ErrFull) {
		d.part.Abort() // the space is worth more than the ranges
		return moved, err
	}
	if err != nil {
		p.downloads.keep(d)
		return moved, err
	}
	err = d.part.Commit()
	d.part.Abort()
	return moved, err
}

// download is a large blob that is not whole yet.
type download struct {
	b    work.BlobID
	part Partial
	done []bool // by range
	left int    // ranges to come
	buf  []byte // one range
}

func (d *download) run(ctx context.Context, s *session) error {
	var out []*call // under way, in order
	next, asked := 0, false
	for d.left > 0 {
		for ; len(out) < window && next < len(d.done); next++ {
			if d.done[next] {
				continue
			}
			off := uint64(next) * rangeBytes
			c := &call{b: d.b, off: off, n: min(rangeBytes, d.b.Size-off), first: !asked}
			asked = true
			if err := s.get(c); err != nil {
				return err
			}
			out = append(out, c)
		}
		if err := d.take(ctx, s, out[0]); err != nil {
			return err
		}
		out = out[1:]
	}
	return nil
}

// take waits for a range, verifies and keeps it.
func (d *download) take(ctx context.Context, s *session, c *call) error {
	slice, err := s.wait(ctx, c)
	if err != nil {
		return err
	}
	if d.buf, err = appendVerified(d.buf[:0], d.b, c.off, c.n, slice); err != nil {
		return err
	}
	if _, err := d.part.WriteAt(d.buf, int64(c.off)); err != nil {
		return err
	}
	d.done[c.off/rangeBytes] = true
	d.left--
	return nil
}

// downloads keeps unfinished blobs, the oldest is given up first.
type downloads struct {
	store Local

	mu     sync.Mutex // guards everything below
	kept   []*download
	closed bool
}

// take gives an unfinished blob to one user, or begins it.
func (ds *downloads) take(b work.BlobID) (*download, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for i, d := range ds.kept {
		if d.b == b {
			ds.kept = append(ds.kept[:i], ds.kept[i+1:]...)
			return d, nil
		}
	}
	part, err := ds.store.Begin(b)
	if err != nil {
		return nil, err
	}
	n := int((b.Size + rangeBytes - 1) / rangeBytes)
	return &download{b: b, part: part, done: make([]bool, n), left: n}, nil
}

// keep takes an unfinished blob back. One without a range is not worth keeping.
func (ds *downloads) keep(d *download) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.buf = nil
	if ds.closed || d.left == len(d.done) {
		d.part.Abort()
		return
	}
	ds.kept = append(ds.kept, d)
	if len(ds.kept) > keptDownloads {
		ds.kept[0].part.Abort()
		ds.kept = ds.kept[1:]
	}
}

// close gives all of them up.
func (ds *downloads) close() {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.closed = true
	for _, d := range ds.kept {
		d.part.Abort()
	}
	ds.kept = nil
}
