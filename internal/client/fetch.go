package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// Bounds of what Deliver fetches at once: small outputs share round trips, and
// memory stays bounded.
const (
	fetchBlobs = 4096
	fetchBytes = 64 << 20
)

// Bytes fetches one blob from the indexer into memory.
func (c *Client) Bytes(ctx context.Context, b work.BlobID) ([]byte, error) {
	var data []byte
	err := c.with(ctx, []work.BlobID{b}, func() (err error) {
		data, err = c.store.Get(b, b.Size)
		return err
	})
	return data, err
}

// Opener reads blobs that are here now.
type Opener func(b work.BlobID) (io.ReadCloser, error)

// Deliver fetches the outputs of results, many at once, and calls f for each in
// order with a way to read them. What was fetched is dropped after f.
func (c *Client) Deliver(ctx context.Context, results []*work.Result, f func(r *work.Result, open Opener) error) error {
	open := func(b work.BlobID) (io.ReadCloser, error) {
		r, err := c.store.Open(b)
		if err != nil {
			return nil, err
		}
		return readCloser{io.NewSectionReader(r, 0, int64(b.Size)), r}, nil
	}
	for len(results) > 0 {
		var blobs []work.BlobID
		var size uint64
		n := 0
		for n < len(results) && (n == 0 || len(blobs) < fetchBlobs && size < fetchBytes) {
			for _, b := range results[n].Output.Blobs() {
				blobs, size = append(blobs, b), size+b.Size
			}
			n++
		}
		group := results[:n]
		results = results[n:]
		err := c.with(ctx, blobs, func() error {
			for _, r := range group {
				if err := f(r, open); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// with fetches blobs, runs f, and lets go of them.
func (c *Client) with(ctx context.Context, bs []work.BlobID, f func() error) error {
	bs = slices.DeleteFunc(slices.Clone(bs), func(b work.BlobID) bool { return b == emptyBlob })
	c.store.want(bs)
	defer c.store.release(bs)
	if err := c.fetch(ctx, bs); err != nil {
		return err
	}
	return f()
}

// fetch makes wanted blobs present; a lost connection is tried again.
func (c *Client) fetch(ctx context.Context, bs []work.BlobID) error {
	wait := firstWait
	for try := 0; len(bs) > 0; try++ {
		peers := c.sources()
		err := c.fetcher.FetchMany(ctx, bs, peers)
		if others := c.otherHolders(); err != nil && ctx.Err() == nil && len(others) > 0 { // they may have what it does not give
			err = c.fetcher.FetchMany(ctx, bs, append(peers, others...))
		}
		if err == nil || ctx.Err() != nil || !errors.Is(err, p2p.ErrUnreachable) || try == 5 {
			return err
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
		wait = min(2*wait, longestWait)
	}
	return nil
}

// maxGivers bounds the providers that are remembered as holders.
const maxGivers = 32

// remember notes a provider that gave an output itself: its blobs are there.
func (c *Client) remember(p p2p.Peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(c.givers), func(q p2p.Peer) bool { return q.Key == p.Key })
	c.givers = append([]p2p.Peer{p}, rest[:min(len(rest), maxGivers-1)]...)
}

// otherHolders are peers besides indexers that may have an output's blobs.
func (c *Client) otherHolders() []p2p.Peer {
	c.mu.Lock()
	out := slices.Clone(c.givers)
	c.mu.Unlock()
	if c.cfg.Holders != nil {
		out = append(out, c.cfg.Holders()...)
	}
	return out
}

func sortedUpdates(m map[uint64]wire.Update) []wire.Update {
	return slices.SortedFunc(maps.Values(m), func(a, b wire.Update) int { return cmp.Compare(a.Index, b.Index) })
}
