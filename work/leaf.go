package work

import "fmt"

// OutcomeKind is how an item ended. Each is a deterministic result: final,
// checked and paid by fuel.
type OutcomeKind uint8

// The outcomes.
const (
	Exited       OutcomeKind = iota + 1 // Code is the exit code
	Trapped                             // a WASM trap: unreachable, out of bounds, division by zero…
	OutOfFuel                           // over Limits.Fuel
	OutOfDepth                          // recursion over the profile's stack
	OutputCapped                        // more output than Limits.OutputBytes, or too many files
)

// Outcome is how an item ended, with its exit code if it exited.
type Outcome struct {
	Kind OutcomeKind `json:"kind"`
	Code uint32      `json:"code"`
}

// OK reports a run that exited with 0.
func (o Outcome) OK() bool { return o == Outcome{Kind: Exited} }

// String says it for people.
func (o Outcome) String() string {
	switch o.Kind {
	case Exited:
		return fmt.Sprintf("exit %d", o.Code)
	case Trapped:
		return "trap"
	case OutOfFuel:
		return "out of fuel"
	case OutOfDepth:
		return "recursion too deep"
	case OutputCapped:
		return "output over its cap"
	}
	return fmt.Sprintf("unknown outcome %d", o.Kind)
}

// Leaf is the preimage of an item's leaf: what executing it gives.
type Leaf struct {
	Input   Hash    `json:"input"`  // Item.InputDigest
	Output  Hash    `json:"output"` // Output.Digest
	Outcome Outcome `json:"outcome"`
	Fuel    Fuel    `json:"fuel"`
	Memory  Hash    `json:"memory"` // final linear memory and globals: unguessable without running
}

// LeafSize is the length of a leaf's canonical bytes.
const LeafSize = 32 + 32 + 1 + 4 + 8 + 32

// Encode appends LeafSize canonical bytes.
func (l Leaf) Encode(e *Encoder) {
	e.Hash(l.Input)
	e.Hash(l.Output)
	e.U8(uint8(l.Outcome.Kind))
	e.U32(l.Outcome.Code)
	e.U64(uint64(l.Fuel))
	e.Hash(l.Memory)
}

// Bytes gives the canonical bytes.
func (l Leaf) Bytes() []byte {
	e := Encoder{make([]byte, 0, LeafSize)}
	l.Encode(&e)
	return e.Bytes()
}

// Hash is the leaf.
func (l Leaf) Hash() Hash { return Sum("gotong/leaf/1", l.Bytes()) }

// DecodeLeaf reads LeafSize bytes.
func DecodeLeaf(d *Decoder) Leaf {
	l := Leaf{d.Hash(), d.Hash(), Outcome{OutcomeKind(d.U8()), d.U32()}, Fuel(d.U64()), d.Hash()}
	if d.Err() == nil && (l.Outcome.Kind < Exited || l.Outcome.Kind > OutputCapped || l.Outcome.Kind != Exited && l.Outcome.Code != 0) {
		d.fail("unknown outcome")
	}
	return l
}

// ParseLeaf reads exactly one leaf.
func ParseLeaf(b []byte) (Leaf, error) {
	d := NewDecoder(b)
	l := DecodeLeaf(d)
	return l, d.Done()
}

// Output is what a run left behind: blobs, not bytes.
type Output struct {
	Stdout BlobID `json:"stdout"`
	Stderr BlobID `json:"stderr"`
	Files  []File `json:"files"` // sorted by path, below out/
}

// Digest binds the output to how the run ended.
func (o *Output) Digest(out Outcome) Hash {
	e := Encoder{make([]byte, 0, 256)} // most outputs fit: no allocation
	e.Blob(o.Stdout)
	e.Blob(o.Stderr)
	e.U8(uint8(out.Kind))
	e.U32(out.Code)
	encodeFiles(&e, o.Files)
	return Sum("gotong/output/1", e.Bytes())
}

// Encode appends the canonical bytes.
func (o *Output) Encode(e *Encoder) {
	e.Blob(o.Stdout)
	e.Blob(o.Stderr)
	encodeFiles(e, o.Files)
}

// DecodeOutput reads what Encode wrote.
func DecodeOutput(d *Decoder) Output {
	o := Output{d.Blob(), d.Blob(), decodeFiles(d, MaxFiles)}
	for i := 1; i < len(o.Files); i++ {
		if o.Files[i].Path <= o.Files[i-1].Path {
			d.fail("output files are not sorted by path")
			return Output{}
		}
	}
	return o
}

// Blobs are all blobs of the output that are not empty.
func (o *Output) Blobs() []BlobID {
	var l []BlobID
	for _, b := range append([]BlobID{o.Stdout, o.Stderr}, blobsOf(o.Files)...) {
		if b.Size > 0 {
			l = append(l, b)
		}
	}
	return l
}

func blobsOf(fs []File) []BlobID {
	l := make([]BlobID, len(fs))
	for i, f := range fs {
		l[i] = f.Blob
	}
	return l
}
