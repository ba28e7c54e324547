package blob

import (
	"context"
	"errors"

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const (
	// batch is how many small blobs are asked for, and stored, at once; two
	// batches are under way.
	batch = 64
)

// puller brings blobs into a store over sessions.
type puller struct{ store Local }

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
			g.calls = append(g.calls, &call{kind: kindGet, b: ids[i], n: ids[i].Size})
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

// pullLarge brings what is missing of a blob from one holder. What came through is
// kept for the next try if the blob does not become whole.
func (p *puller) pullLarge(ctx context.Context, s *session, b work.BlobID) (moved int, err error) {
	part, err := p.store.Begin(b)
	if err != nil {
		return 0, err
	}
	defer part.Close()
	d := newDownload(sign.PublicKey{}, part)
	src := d.join(s.stream.Peer(), false)
	err = d.drive(ctx, s, src)
	if err == nil {
		err = part.Commit(true)
	}
	return src.moved, err
}
