// Package p2p is the port to peers: streams by peer key, gossip of offers, and
// blobs verified as they arrive. Adapters are p2p/libp2p (the real one) and
// p2p/mem (one process, for tests of roles).
//
// It promises that a stream's other end holds the key it was opened to, that
// frames are bounded, and that nothing a stranger sends blocks another peer. It
// knows nothing of what the frames mean.
package p2p

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/gotong-network/gotong/sign"
)

// Protocol names what a stream speaks.
type Protocol string

// The protocols.
const (
	ProtocolWork   Protocol = "/gotong/work/1"   // indexer → provider: assignments there, receipts back
	ProtocolClient Protocol = "/gotong/client/1" // client → indexer: jobs, progress, results
	ProtocolBlob   Protocol = "/gotong/blob/1"   // anybody → holder: verified ranges
	ProtocolOutput Protocol = "/gotong/output/1" // anybody → holder: what the output that a leaf names is made of
)

// What callers branch on.
var (
	ErrUnreachable = errors.New("peer cannot be reached")
	ErrFrame       = errors.New("frame over its bound")
)

// MaxFrameBytes bounds one frame.
const MaxFrameBytes = 8 << 20

// Peer is where a key can be reached.
type Peer struct {
	Key   sign.PublicKey `json:"key"`
	Addrs []string       `json:"addrs"` // multiaddrs without the /p2p part
}

// Stream carries length-prefixed frames both ways. One goroutine may send while
// another receives; neither side may be used by two at once.
type Stream interface {
	// Peer is the key of the other end, proven by the connection.
	Peer() sign.PublicKey
	// Remote is the address that the other end is seen at; the zero address if
	// that tells nothing about it: behind a relay, or in the same process.
	Remote() netip.Addr
	// Send writes one frame; it may be buffered until Flush.
	Send(frame []byte) error
	// Flush sends what is buffered.
	Flush() error
	// Receive reads one frame of at most MaxFrameBytes; the slice is the
	// caller's. io.EOF when the other side closed its writing.
	Receive() ([]byte, error)
	// CloseWrite tells the other end that no more frames come.
	CloseWrite() error
	// SetDeadline bounds all further reads and writes; the zero time lifts it.
	SetDeadline(t time.Time) error
	io.Closer
}

// Handler serves a stream that a peer opened, and closes it.
type Handler func(ctx context.Context, s Stream)

// Check judges a gossiped message before it is heard or passed on. It may be called
// from several goroutines and must not block: it stands in the way of all gossip.
type Check func(data []byte) Verdict

// Verdict is what a Check says.
type Verdict uint8

// The verdicts.
const (
	Accept Verdict = iota // heard and passed on
	Ignore                // dropped: useless here, but the peer that brought it did no wrong
	Reject                // dropped, and held against the peer that brought it
)

// Network is the whole port.
type Network interface {
	// Self is how others reach this node.
	Self() Peer
	// Dial opens a stream; addresses that are known already may be left out.
	Dial(ctx context.Context, p Peer, proto Protocol) (Stream, error)
	// Handle serves a protocol; at most once each.
	Handle(proto Protocol, h Handler)
	// Connect makes a peer known and connected, for gossip.
	Connect(ctx context.Context, p Peer) error
	// Publish gossips data of at most 64 KiB on a topic.
	Publish(ctx context.Context, topic string, data []byte) error
	// Subscribe hears a topic until ctx ends. Slow readers lose the oldest
	// messages: what is gossiped is repeated by its sender. check, if not nil,
	// decides whether a message is heard and passed on to others.
	Subscribe(ctx context.Context, topic string, check Check) (<-chan []byte, error)
	io.Closer
}
