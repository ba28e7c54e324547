package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// ErrNoOutput reports that a peer does not have an output, or that nobody asked
// gave it.
var ErrNoOutput = errors.New("output is not there")

// OutputRequest asks on a p2p.ProtocolOutput stream for the output of an item. What
// gives the right to ask is one of two:
//
//   - the digest of the output that the item's leaf names: it is secret until the leaf
//     is revealed, as by a claim of non-delivery;
//   - a grant of the job's client key (see Grant): the client may ask the provider of a
//     batch, with no digest, and is given the leaf with its path as well.
type OutputRequest struct {
	Job    work.JobID
	Item   uint64
	Digest work.Hash    // Leaf.Output; zero: by the grant
	Batch  work.BatchID // by the grant: whose item it is
	Grant  *Grant       // nil where the job names no client key
}

// Granted reports whether a peer may ask in the name of a job's client, whose key the
// job names; the zero key lets everybody ask, as it does at the indexer.
func (r *OutputRequest) Granted(chain string, peer, client sign.PublicKey) bool {
	return client.IsZero() || r.Grant != nil && r.Grant.Key == client && r.Grant.Verify(chain, peer) == nil
}

// Output is the answer: what the output is made of, and the bytes of small blobs;
// the others are fetched from the same peer.
type Output struct {
	Output work.Output
	Inline [][]byte
	Proof  *Proof // where a grant asked
}

// Proof is what ties an item's result to its batch: the chain has the root of the
// batch's tree and, once it was revealed, the salt.
type Proof struct {
	Leaf work.Leaf
	Path []work.Node
}

// Verify checks that p proves position pos of the n items under root; salt is the
// batch's.
func (p *Proof) Verify(job work.JobID, root work.Node, n, pos uint64, salt work.Hash) error {
	node := work.ItemNode(p.Leaf.Fuel, p.Leaf.Hash(), work.ItemSalt(salt, job, pos))
	_, err := work.VerifyPath(root, n, pos, node, p.Path)
	return err
}

// Bounds of an answer.
const (
	maxInlines    = 2 + work.MaxFiles
	maxPath       = 64 // siblings on the way to a root
	outputTimeout = 30 * time.Second
)

// Encode gives a frame.
func (r OutputRequest) Encode() []byte {
	var e work.Encoder
	e.Hash(r.Job)
	e.U64(r.Item)
	e.Hash(r.Digest)
	e.Hash(r.Batch)
	e.Bool(r.Grant != nil)
	if r.Grant != nil {
		e.Raw(r.Grant.Key[:])
		e.Raw(r.Grant.Signature[:])
	}
	return e.Bytes()
}

// DecodeOutputRequest reads a frame.
func DecodeOutputRequest(b []byte) (OutputRequest, error) {
	d := work.NewDecoder(b)
	r := OutputRequest{Job: d.Hash(), Item: d.U64(), Digest: d.Hash(), Batch: d.Hash()}
	if d.Bool() {
		r.Grant = new(Grant)
		copy(r.Grant.Key[:], d.Raw(len(r.Grant.Key)))
		copy(r.Grant.Signature[:], d.Raw(len(r.Grant.Signature)))
	}
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
		e.Bool(o.Proof != nil)
		if o.Proof != nil {
			o.Proof.Leaf.Encode(&e)
			e.U32(uint32(len(o.Proof.Path)))
			for _, n := range o.Proof.Path {
				e.U64(uint64(n.Fuel))
				e.Hash(n.Hash)
			}
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
	if d.Bool() {
		o.Proof = &Proof{Leaf: work.DecodeLeaf(d)}
		for range d.Count(maxPath, 8+len(work.Hash{})) {
			o.Proof.Path = append(o.Proof.Path, work.Node{Fuel: work.Fuel(d.U64()), Hash: d.Hash()})
		}
	}
	if err := d.Done(); err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	return o, nil
}

// ServeOutputs answers requests by find, which hears who asks, and gives nil for what
// is not there or not for that peer.
func ServeOutputs(find func(context.Context, sign.PublicKey, OutputRequest) *Output) p2p.Handler {
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
		if err != nil || s.Send(EncodeOutput(find(ctx, s.Peer(), r))) != nil || s.Flush() != nil {
			return
		}
		_ = s.CloseWrite() // the answer is out
	}
}

// askOutput asks one peer.
func askOutput(ctx context.Context, n p2p.Network, from p2p.Peer, r OutputRequest) (*Output, error) {
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
	if err == nil && o == nil {
		err = ErrNoOutput
	}
	return o, err
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
		o, err := askOutput(ctx, n, h, r)
		if err == nil {
			err = fit(&o.Output, leaf, maxBytes)
		}
		if errors.Is(err, errOver) {
			return nil, err
		}
		if err == nil && accept != nil {
			err = accept(&o.Output)
		}
		if err == nil {
			err = storeOutput(ctx, to, f, o, h)
		}
		if err == nil {
			return &o.Output, nil
		}
		why = fmt.Errorf("%w: %s: %w", ErrNoOutput, h.Key, err)
	}
	return nil, why
}

// FetchProven brings an item's result from the provider of its batch, which r names
// with a grant: verify checks the proof that comes along, accept as in FetchOutput.
// ErrNoOutput if the provider does not give it, or gives anything else.
func FetchProven(ctx context.Context, n p2p.Network, to Blobs, f Fetcher, r OutputRequest, maxBytes uint64, from p2p.Peer, verify func(*Proof) error, accept func(*work.Output) error) (*work.Result, error) {
	o, err := askOutput(ctx, n, from, r)
	if err == nil && o.Proof == nil {
		err = errors.New("it comes without its proof")
	}
	if err == nil {
		err = verify(o.Proof)
	}
	if err == nil {
		err = fit(&o.Output, &o.Proof.Leaf, maxBytes)
	}
	if err == nil {
		err = accept(&o.Output)
	}
	if err == nil {
		err = storeOutput(ctx, to, f, o, from)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoOutput, from.Key, err)
	}
	return &work.Result{Index: r.Item, Leaf: o.Proof.Leaf, Output: o.Output}, nil
}

var errOver = fmt.Errorf("%w: it is over the job's bound", ErrNoOutput)

// fit checks an output against its leaf and the bound of its job.
func fit(o *work.Output, leaf *work.Leaf, maxBytes uint64) error {
	switch {
	case o.Digest(leaf.Outcome) != leaf.Output:
		return fmt.Errorf("%w: another one than the leaf names", ErrNoOutput)
	case !within(o.Blobs(), maxBytes):
		return fmt.Errorf("%w of %d bytes", errOver, maxBytes)
	}
	return nil
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
