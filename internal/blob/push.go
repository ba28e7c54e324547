package blob

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/work"
)

// Push stores blobs at a peer whose server accepts them. The peer asks for what
// it has not got and verifies it, so what is there already costs one round trip.
// Errors: ErrMissing if a blob is not in store, ErrRefused or ErrFull if the
// peer does not take it; what it took before stays there.
func Push(ctx context.Context, net p2p.Network, peer p2p.Peer, store Store, bs []work.BlobID) error {
	for _, b := range bs {
		if !store.Has(b) {
			return fmt.Errorf("push: %w", missing(b))
		}
	}
	if len(bs) == 0 {
		return nil
	}
	stream, err := net.Dial(ctx, peer, p2p.ProtocolBlob)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.Close() })()

	offered := make(map[work.BlobID]bool, len(bs))
	for _, b := range bs {
		offered[b] = true
	}
	a := newAsked(stream, newAnswers(store), func(b work.BlobID) bool { return offered[b] })
	defer a.close()
	for len(bs) > 0 {
		offer := bs[:min(len(bs), maxOffer)]
		bs = bs[len(offer):]
		if err := pushOffer(a, stream, offer); err != nil {
			return fmt.Errorf("push to %s: %w", peer.Key, errors.Join(ctx.Err(), err))
		}
		if len(bs) > 0 {
			a.resume()
		}
	}
	return nil
}

// pushOffer offers blobs and answers what is asked for until the peer says end.
func pushOffer(a *asked, stream p2p.Stream, offer []work.BlobID) error {
	if err := stream.Send(encodeOffer(offer)); err != nil {
		return err
	}
	r, err := a.next() // flushes
	if err != nil {
		return err
	}
	if r.kind != kindEnd || len(r.end) != len(offer) {
		return fmt.Errorf("%w: no end to an offer", errWire)
	}
	var errs []error
	for i, s := range r.end {
		if err := s.err(offer[i]); err != nil && len(errs) < 4 { // some are enough to tell
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// err says what a status means to who pushed.
func (s status) err(b work.BlobID) error {
	switch s {
	case statusStored:
		return nil
	case statusRefused:
		return fmt.Errorf("%w: %s", ErrRefused, b)
	case statusFull:
		return fmt.Errorf("peer: %w: %s", ErrFull, b)
	}
	return fmt.Errorf("peer could not take %s: try again", b)
}
