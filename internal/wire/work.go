package wire

import (
	"fmt"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Kind is the first byte of a frame on a p2p.ProtocolWork stream. The indexer
// dials; the provider answers on the same stream as work ends.
type Kind uint8

// The frames.
const (
	KindHello   Kind = iota + 1 // both ways first: who speaks
	KindJob                     // indexer: a job's spec and where its blobs are, before its first Assign
	KindAssign                  // indexer: signed items to run
	KindFlush                   // indexer: no more items of a job for now: commit what there is
	KindDrop                    // indexer: stop running these items (cancelled job)
	KindReceipt                 // provider: signed results and failures
	KindResume                  // indexer: it has taken a job over: say what you hold of it; provider: that was all
	KindHeld                    // provider: an assignment of an earlier indexer that it works on; receipts follow
)

// The frames that measure a stream's round trip.
const (
	KindPing Kind = iota + 32 // indexer: a number
	KindPong                  // provider: the same number, at once
)

// Hello opens a stream. A provider that recovers re-sends receipts of what it
// holds for this indexer.
type Hello struct {
	Chain   string
	Account work.Address
}

// Job introduces a job to a provider.
type Job struct {
	Spec    work.JobSpec
	Holders []p2p.Peer // of the program, the item list and the inputs
	// Siblings are other providers of the job, who fetch the same or have done so:
	// large blobs come from them first.
	Siblings []p2p.Peer
}

// Assign hands out items; the provider sends receipts as ranges of Chunk items
// end. After a reconnect the indexer assigns again, under the same attempt, what
// it has no receipt of: items that the provider has already are no news.
type Assign struct {
	Assignment work.Assignment
	Chunk      uint64
}

// Items names items of a job: KindFlush, KindDrop.
type Items struct {
	Job   work.JobID
	Items work.RangeSet
}

// Held shows an assignment that an earlier indexer of a job signed, and which of its
// items are queued, running or done here.
type Held struct {
	Assignment work.Assignment
	Items      work.RangeSet
}

// Receipt reports items, signed by the provider's peer key. Inline holds the
// bytes of small outputs; other blobs are fetched from the provider.
type Receipt struct {
	Job      work.JobID
	Attempt  uint32
	Provider work.Address
	Results  []work.Result
	Failures []Failure
	Inline   [][]byte

	Signature sign.Signature
}

// Failure is an item that gave no result.
type Failure struct {
	Items   work.RangeSet
	Refused bool // the profile refuses the program: final
	Why     string

	// Unrun says that the items were never begun (queue full, assignment expired, told to
	// stop), or that others' batches hold all paid copies of them: no fault, and they may
	// come to this provider again.
	Unrun bool
}

// Bounds of frames.
const (
	MaxReceiptResults = 1024
	MaxInlineBytes    = 16 << 10 // per blob
	maxWhy            = 512
	MaxSiblings       = 8 // named to a provider
	maxHolders        = 16
	maxHolderAddrs    = 16
)

const receiptTag = "gotong/receipt/1"

// EncodeHello gives a frame.
func EncodeHello(h Hello) []byte {
	var e work.Encoder
	e.U8(uint8(KindHello))
	e.String(h.Chain)
	e.String(string(h.Account))
	return e.Bytes()
}

// EncodeJob gives a frame.
func EncodeJob(j Job) []byte {
	var e work.Encoder
	e.U8(uint8(KindJob))
	e.ByteString(j.Spec.Encode())
	for _, peers := range [][]p2p.Peer{j.Holders, j.Siblings} {
		e.U32(uint32(len(peers)))
		for _, h := range peers {
			e.Raw(h.Key[:])
			e.Strings(h.Addrs)
		}
	}
	return e.Bytes()
}

// EncodeAssign gives a frame.
func EncodeAssign(a Assign) []byte {
	var e work.Encoder
	e.U8(uint8(KindAssign))
	e.U64(a.Chunk)
	e.ByteString(a.Assignment.Encode())
	return e.Bytes()
}

// EncodeItems gives a frame of KindFlush or KindDrop.
func EncodeItems(k Kind, it Items) []byte {
	var e work.Encoder
	e.U8(uint8(k))
	e.Hash(it.Job)
	it.Items.Encode(&e)
	return e.Bytes()
}

// EncodeResume gives a frame.
func EncodeResume(job work.JobID) []byte {
	var e work.Encoder
	e.U8(uint8(KindResume))
	e.Hash(job)
	return e.Bytes()
}

// EncodeHeld gives a frame.
func EncodeHeld(h Held) []byte {
	var e work.Encoder
	e.U8(uint8(KindHeld))
	e.ByteString(h.Assignment.Encode())
	h.Items.Encode(&e)
	return e.Bytes()
}

// EncodePing gives a frame of KindPing or KindPong.
func EncodePing(k Kind, number uint64) []byte {
	var e work.Encoder
	e.U8(uint8(k))
	e.U64(number)
	return e.Bytes()
}

// EncodeReceipt signs r and gives a frame.
func EncodeReceipt(r *Receipt, k sign.PrivateKey) []byte {
	body := r.body()
	r.Signature = k.Sign(receiptTag, body)
	b := make([]byte, 0, 1+len(body)+64)
	b = append(append(b, byte(KindReceipt)), body...)
	return append(b, r.Signature[:]...)
}

func (r *Receipt) body() []byte {
	var e work.Encoder
	e.Grow(256 + 224*len(r.Results))
	e.Hash(r.Job)
	e.U32(r.Attempt)
	e.String(string(r.Provider))
	e.U32(uint32(len(r.Results)))
	for i := range r.Results {
		r.Results[i].Encode(&e)
	}
	e.U32(uint32(len(r.Failures)))
	for _, f := range r.Failures {
		f.Items.Encode(&e)
		e.Bool(f.Refused)
		e.Bool(f.Unrun)
		e.String(clip(f.Why, maxWhy))
	}
	e.U32(uint32(len(r.Inline)))
	for _, b := range r.Inline {
		e.ByteString(b)
	}
	return e.Bytes()
}

// Frame is a decoded frame: exactly one field is set.
type Frame struct {
	Hello   *Hello
	Job     *Job
	Assign  *Assign
	Flush   *Items
	Drop    *Items
	Receipt *Receipt
	Resume  *work.JobID
	Held    *Held
	Ping    *uint64
	Pong    *uint64
}

// Decode reads a frame. A receipt's signature is checked against from, the
// stream's peer; an assignment's is not: its job's indexer key is the caller's
// to know.
func Decode(b []byte, from sign.PublicKey) (Frame, error) {
	d := work.NewDecoder(b)
	var f Frame
	switch k := Kind(d.U8()); k {
	case KindHello:
		f.Hello = &Hello{d.String(64), work.Address(d.String(128))}
	case KindJob:
		return decodeJob(d)
	case KindAssign:
		chunk, raw := d.U64(), d.ByteString(1<<20)
		if err := d.Done(); err != nil {
			return Frame{}, err
		}
		a, err := work.DecodeAssignment(raw)
		if err != nil {
			return Frame{}, err
		}
		return Frame{Assign: &Assign{*a, chunk}}, nil
	case KindFlush:
		f.Flush = &Items{d.Hash(), work.DecodeRangeSet(d, 1<<16)}
	case KindDrop:
		f.Drop = &Items{d.Hash(), work.DecodeRangeSet(d, 1<<16)}
	case KindReceipt:
		return decodeReceipt(b[1:], from)
	case KindResume:
		f.Resume = new(d.Hash())
	case KindHeld:
		return decodeHeld(d)
	case KindPing:
		f.Ping = new(d.U64())
	case KindPong:
		f.Pong = new(d.U64())
	default:
		return Frame{}, fmt.Errorf("%w: unknown frame %d", work.ErrMalformed, k)
	}
	return f, d.Done()
}

func decodeHeld(d *work.Decoder) (Frame, error) {
	raw, items := d.ByteString(1<<20), work.DecodeRangeSet(d, 1<<16)
	if err := d.Done(); err != nil {
		return Frame{}, err
	}
	a, err := work.DecodeAssignment(raw)
	if err != nil {
		return Frame{}, err
	}
	if len(items) == 0 || len(items.Minus(a.Ranges)) > 0 {
		return Frame{}, fmt.Errorf("%w: held items that were not assigned", work.ErrMalformed)
	}
	return Frame{Held: &Held{*a, items}}, nil
}

func decodeJob(d *work.Decoder) (Frame, error) {
	raw := d.ByteString(64 << 10)
	holders, siblings := decodePeers(d, maxHolders), decodePeers(d, MaxSiblings)
	if err := d.Done(); err != nil {
		return Frame{}, err
	}
	s, err := work.DecodeJobSpec(raw)
	if err != nil {
		return Frame{}, err
	}
	return Frame{Job: &Job{*s, holders, siblings}}, nil
}

func decodePeers(d *work.Decoder, most int) (ps []p2p.Peer) {
	for range d.Count(most, 36) {
		var p p2p.Peer
		copy(p.Key[:], d.Raw(32))
		p.Addrs = d.Strings(maxHolderAddrs, 256)
		ps = append(ps, p)
	}
	return ps
}

func decodeReceipt(b []byte, from sign.PublicKey) (Frame, error) {
	if len(b) < 64 {
		return Frame{}, fmt.Errorf("receipt: %w", work.ErrMalformed)
	}
	var sig sign.Signature
	body := b[:len(b)-64]
	copy(sig[:], b[len(b)-64:])
	if err := from.Verify(receiptTag, body, sig); err != nil {
		return Frame{}, fmt.Errorf("receipt: %w", err)
	}
	return parseReceipt(body, sig)
}

// ReadReceipt reads a receipt's frame without checking its signature: for the
// sender's own records.
func ReadReceipt(b []byte) (*Receipt, error) {
	if len(b) < 65 || Kind(b[0]) != KindReceipt {
		return nil, fmt.Errorf("receipt: %w", work.ErrMalformed)
	}
	f, err := parseReceipt(b[1:len(b)-64], sign.Signature(b[len(b)-64:]))
	return f.Receipt, err
}

func parseReceipt(body []byte, sig sign.Signature) (Frame, error) {
	d := work.NewDecoder(body)
	r := &Receipt{Job: d.Hash(), Attempt: d.U32(), Provider: work.Address(d.String(128)), Signature: sig}
	for range d.Count(MaxReceiptResults, 8+work.LeafSize+84) {
		r.Results = append(r.Results, work.DecodeResult(d))
	}
	for range d.Count(MaxReceiptResults, 10) {
		r.Failures = append(r.Failures, Failure{Items: work.DecodeRangeSet(d, 1<<16), Refused: d.Bool(), Unrun: d.Bool(), Why: d.String(maxWhy)})
	}
	for range d.Count(4*MaxReceiptResults, 4) {
		r.Inline = append(r.Inline, d.ByteString(MaxInlineBytes))
	}
	if err := d.Done(); err != nil {
		return Frame{}, fmt.Errorf("receipt: %w", err)
	}
	return Frame{Receipt: r}, nil
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
