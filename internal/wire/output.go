package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/work"
)

// ErrNoOutput reports that a peer does not have an output, or that nobody asked
// gave it.
var ErrNoOutput = errors.New("output is not there")

// OutputRequest asks on a p2p.ProtocolOutput stream for the output of an item that a
// leaf names. The digest is the right to ask: it is secret until the leaf is
// revealed, and the client's claim of non-delivery is what reveals it.
type OutputRequest struct {
	Job    work.JobID
	Item   uint64
	Digest work.Hash // Leaf.Output
}

// Output is the answer: what the output is made of, and the bytes of small blobs;
// the others are fetched from the same peer.
type Output struct {
	Output work.Output
	Inline [][]byte
}

// Bounds of an answer.
const (
	maxInlines    = 2 + work.MaxFiles
	outputTimeout = 30 * time.Second
)

// Encode gives a frame.
func (r OutputRequest) Encode() []byte {
	var e work.Encoder
	e.Hash(r.Job)
	e.U64(r.Item)
	e.Hash(r.Digest)
	return e.Bytes()
}

// DecodeOutputRequest reads a frame.
func DecodeOutputRequest(b []byte) (OutputRequest, error) {
	d := work.NewDecoder(b)
	r := OutputRequest{d.Hash(), d.U64(), d.Hash()}
	return r, d.Done()
}

// EncodeOutput gives a frame; nil says that the output is not there.
func EncodeOutput(o *Output) []byte {
	var e work.Encoder
	e.Bool(o != nil)
	if o != nil {
		o.Output.Encode(&e)
		e.U32(uint32(len(o.Inline)))
		for _, b := range o.Inline {
			e.ByteString(b)
		}
	}
	return e.Bytes()
}

// DecodeOutput reads a frame; nil says that the output is not there.
func DecodeOutput(b []byte) (*Output, error) {
	d := work.NewDecoder(b)
	if !d.Bool() {
		return nil, d.Done()
	}
	o := &Output{Output: work.DecodeOutput(d)}
	for range d.Count(maxInlines, 4) {
		o.Inline = append(o.Inline, d.ByteString(MaxInlineBytes))
	}
	if err := d.Done(); err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	return o, nil
}

// ServeOutputs answers requests by find, which gives nil for what is not there.
func ServeOutputs(find func(context.Context, OutputRequest) *Output) p2p.Handler {
	return func(ctx context.Context, s p2p.Stream) {
		defer s.Close()
		if s.SetDeadline(time.Now().Add(outputTimeout)) != nil {
			return
		}
		raw, err := s.Receive()
		if err != nil {
			return
		}
		r, err := DecodeOutputRequest(raw)
		if err != nil || s.Send(EncodeOutput(find(ctx, r))) != nil || s.Flush() != nil {
			return
		}
		_ = s.CloseWrite() // the answer is out
	}
}

// askOutput asks one peer. The answer has the leaf's digest.
func askOutput(ctx context.Context, n p2p.Network, from p2p.Peer, r OutputRequest, leaf *work.Leaf) (*Output, error) {
	ctx, cancel := context.WithTimeout(ctx, outputTimeout)
	defer cancel()
	s, err := n.Dial(ctx, from, p2p.ProtocolOutput)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := errors.Join(s.Send(r.Encode()), s.Flush()); err != nil {
		return nil, err
	}
	raw, err := s.Receive()
	if err != nil {
		return nil, err
	}
	o, err := DecodeOutput(raw)
	switch {
	case err != nil:
		return nil, err
	case o == nil:
		return nil, ErrNoOutput
	case o.Output.Digest(leaf.Outcome) != leaf.Output:
		return nil, fmt.Errorf("%w: another one than the leaf names", ErrNoOutput)
	}
	return o, nil
}

// Blobs is where outputs are kept and fetched to.
type Blobs interface {
	Has(b work.BlobID) bool
	Put(data []byte) (work.BlobID, error)
}

// Fetcher brings blobs into Blobs.
type Fetcher interface {
	Fetch(ctx context.Context, b work.BlobID, holders []p2p.Peer) error
}

// FetchOutput brings all blobs of the output that leaf names into a store, from the
// first holder that gives it whole, and says what it is made of. ErrNoOutput if
// none does, or if it is over maxBytes, which the job bounds outputs by. accept, if
// not nil, hears what is to be stored, before it is; its error refuses the holder.
func FetchOutput(ctx context.Context, n p2p.Network, to Blobs, f Fetcher, r OutputRequest, leaf *work.Leaf, maxBytes uint64, holders []p2p.Peer, accept func(*work.Output) error) (*work.Output, error) {
	why := ErrNoOutput
	for _, h := range holders {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", why, ctx.Err())
		}
		if h.Key == n.Self().Key {
			continue
		}
		o, err := askOutput(ctx, n, h, r, leaf)
		if err == nil && !within(o.Output.Blobs(), maxBytes) {
			return nil, fmt.Errorf("%w: it is over %d bytes", ErrNoOutput, maxBytes)
		}
		if err == nil {
			if accept != nil {
				err = accept(&o.Output)
			}
			if err == nil {
				err = storeOutput(ctx, to, f, o, h)
			}
		}
		if err == nil {
			return &o.Output, nil
		}
		why = fmt.Errorf("%w: %s: %w", ErrNoOutput, h.Key, err)
	}
	return nil, why
}

func within(bs []work.BlobID, maxBytes uint64) bool {
	for _, b := range bs {
		if b.Size > maxBytes {
			return false
		}
		maxBytes -= b.Size
	}
	return true
}

// storeOutput keeps the blobs that came along, and fetches the rest.
func storeOutput(ctx context.Context, to Blobs, f Fetcher, o *Output, from p2p.Peer) error {
	wanted := map[work.BlobID]bool{}
	for _, b := range o.Output.Blobs() {
		wanted[b] = !to.Has(b)
	}
	for _, data := range o.Inline {
		if b := work.BlobOf(data); wanted[b] {
			if _, err := to.Put(data); err != nil {
				return err
			}
			wanted[b] = false
		}
	}
	for _, b := range o.Output.Blobs() {
		if !wanted[b] {
			continue
		}
		if err := f.Fetch(ctx, b, []p2p.Peer{from}); err != nil {
			return err
		}
	}
	return nil
}
