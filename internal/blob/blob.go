// Package blob keeps content by its BLAKE3 root and size, and moves it between
// peers with every range verified as it arrives (Bao, groups of 64 KiB).
//
// It promises that bytes it gives are the bytes of their name, that writes are
// atomic and durable once Put returns (a fetched blob may have to be fetched again
// after a power cut), that its space is bounded, and that what only released claims
// kept is unlinked. It never decides who may read, and never trusts a size, a bitmap
// or a proof of a stranger. docs/spec/blobs.md has the protocol.
package blob

import (
	"context"
	"errors"
	"io"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// What callers branch on.
var (
	ErrMissing = runtime.ErrBlobMissing
	ErrCorrupt = errors.New("bytes do not fit their blob id")
	ErrFull    = errors.New("no space left")
	// ErrTooLarge reports a blob over the size that the caller allows.
	ErrTooLarge = errors.New("blob is larger than allowed")
	// ErrRefused reports a blob that a peer does not take.
	ErrRefused = errors.New("peer does not take the blob")
)

// Store keeps blobs. Safe for concurrent use.
type Store interface {
	runtime.Blobs
	// Has reports whether the whole blob is here. The empty blob always is.
	Has(b work.BlobID) bool
	// Get reads a whole blob of at most maxBytes.
	Get(b work.BlobID, maxBytes uint64) ([]byte, error)
	// Put stores bytes and names them.
	Put(data []byte) (work.BlobID, error)
	// PutReader stores a stream of at most maxBytes.
	PutReader(r io.Reader, maxBytes uint64) (work.BlobID, error)
	// Delete forgets blobs; missing ones are no error.
	Delete(bs ...work.BlobID) error
	// Size is the number of bytes kept.
	Size() (uint64, error)
}

// Local is a Store that serving, fetching and pushing work on. FileStore and Mem
// are.
type Local interface {
	Store
	// PutMany stores many blobs with one sync for the small ones; all or an
	// error, after which any of them may be stored.
	PutMany(ctx context.Context, datas [][]byte) ([]work.BlobID, error)
	// Begin makes room for a blob of more than 64 KiB that arrives in groups, or takes
	// up what an earlier try left of it. All who begin one blob share it; each ends
	// with Close.
	Begin(b work.BlobID) (*Part, error)
}

// Sharer is a Local that gives on what it has of blobs that are not whole yet.
type Sharer interface {
	// Pending gives an unfinished blob that somebody fetches now, nil if nobody does;
	// the caller closes it.
	Pending(b work.BlobID) *Part
}

// Fetcher brings blobs from holders.
type Fetcher interface {
	// Fetch makes b present, from any of the holders; it verifies every range
	// and tries the next holder where one fails. Concurrent fetches of one blob
	// share the work.
	Fetch(ctx context.Context, b work.BlobID, holders []p2p.Peer) error
}

// SharedFetcher is a Fetcher that may be told who else fetches.
type SharedFetcher interface {
	Fetcher
	FetchShared(ctx context.Context, b work.BlobID, holders Holders) error
}
