package light

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cometbft/cometbft/proto/tendermint/crypto"
	ics23 "github.com/cosmos/ics23/go"
)

// The two steps from a key to the hash of the whole state: the tree of its store, and
// the tree of the stores' roots.
const (
	storeOp = "ics23:iavl"
	rootOp  = "ics23:simple"
)

// maxProofBytes bounds a step: a key, its neighbours and their paths.
const maxProofBytes = 8 << 20

var errProof = errors.New("proof does not hold")

// checkProof tells whether a store has value under key, or, with a nil value, that it
// has no such key, in the state of an app hash.
func checkProof(appHash []byte, store string, key, value []byte, ops *crypto.ProofOps) error {
	if ops == nil || len(ops.Ops) != 2 {
		return fmt.Errorf("%w: want two steps", errProof)
	}
	inner, err := step(ops.Ops[0], storeOp, key)
	if err != nil {
		return err
	}
	outer, err := step(ops.Ops[1], rootOp, []byte(store))
	if err != nil {
		return err
	}
	root, err := storeRoot(inner, key, value)
	if err != nil {
		return fmt.Errorf("%w: store %s, key %X, a value of %d bytes: %v", errProof, store, key, len(value), err)
	}
	if !ics23.VerifyMembership(ics23.TendermintSpec, appHash, outer, []byte(store), root) {
		return fmt.Errorf("%w: the state has another root for store %s", errProof, store)
	}
	return nil
}

// storeRoot gives the root of a store in which key has value, or, with a nil value, is
// not. Package ics23 has the same checks; but it takes no leaf without a value, and
// such are the neighbours of many a missing key.
func storeRoot(p *ics23.CommitmentProof, key, value []byte) ([]byte, error) {
	if value != nil {
		e := p.GetExist()
		if e == nil || !bytes.Equal(e.Key, key) || !bytes.Equal(e.Value, value) {
			return nil, errors.New("it is about something else")
		}
		return leafRoot(e)
	}
	n := p.GetNonexist()
	if n == nil {
		return nil, errors.New("it is no proof of absence")
	}
	var roots [][]byte
	for _, e := range []*ics23.ExistenceProof{n.Left, n.Right} {
		if e != nil {
			root, err := leafRoot(e)
			if err != nil {
				return nil, err
			}
			roots = append(roots, root)
		}
	}
	spec := ics23.IavlSpec.InnerSpec
	switch {
	case n.Left != nil && bytes.Compare(n.Left.Key, key) >= 0, n.Right != nil && bytes.Compare(key, n.Right.Key) >= 0:
		return nil, errors.New("its neighbours are not around the key")
	case n.Left == nil && !ics23.IsLeftMost(spec, n.Right.Path), n.Right == nil && !ics23.IsRightMost(spec, n.Left.Path):
		return nil, errors.New("its one neighbour is not at the end of the store")
	case len(roots) == 2 && !bytes.Equal(roots[0], roots[1]):
		return nil, errors.New("its neighbours are of two stores")
	case len(roots) == 2 && (len(n.Left.Path) == 0 || len(n.Right.Path) == 0 || !ics23.IsLeftNeighbor(spec, n.Left.Path, n.Right.Path)):
		return nil, errors.New("its neighbours are none")
	}
	return roots[0], nil
}

// leafRoot follows a leaf up to the root of its store.
func leafRoot(e *ics23.ExistenceProof) ([]byte, error) {
	if err := e.CheckAgainstSpec(ics23.IavlSpec); err != nil {
		return nil, err
	}
	if len(e.Key) == 0 {
		return nil, errors.New("a leaf without a key")
	}
	// As the specification has it: the prefix, the key and the hash of the value, each
	// with its length in front.
	b := binary.AppendUvarint(bytes.Clone(e.Leaf.Prefix), uint64(len(e.Key)))
	b = binary.AppendUvarint(append(b, e.Key...), sha256.Size)
	v := sha256.Sum256(e.Value)
	h := sha256.Sum256(append(b, v[:]...))
	at := h[:]
	for _, step := range e.Path {
		var err error
		if at, err = step.Apply(at); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// step reads one step, which must be about a key and contain nothing compressed or
// batched: what expands is a way to fill memory.
func step(op crypto.ProofOp, kind string, key []byte) (*ics23.CommitmentProof, error) {
	if op.Type != kind || !bytes.Equal(op.Key, key) || len(op.Data) > maxProofBytes {
		return nil, fmt.Errorf("%w: a step of %d bytes is %.20q about %X, want %s about %X", errProof, len(op.Data), op.Type, op.Key[:min(len(op.Key), 80)], kind, key)
	}
	p := new(ics23.CommitmentProof)
	if err := p.Unmarshal(op.Data); err != nil {
		return nil, fmt.Errorf("%w: %v", errProof, err)
	}
	if !whole(p) {
		return nil, fmt.Errorf("%w: neither of existence nor of absence", errProof)
	}
	return p, nil
}

// whole reports whether a proof has the parts that the checks of ics23 take for
// granted.
func whole(p *ics23.CommitmentProof) bool {
	if e := p.GetExist(); e != nil {
		return wholeExistence(e)
	}
	n := p.GetNonexist()
	return n != nil && (n.Left != nil || n.Right != nil) && (n.Left == nil || wholeExistence(n.Left)) && (n.Right == nil || wholeExistence(n.Right))
}

func wholeExistence(e *ics23.ExistenceProof) bool {
	if e.Leaf == nil {
		return false
	}
	for _, p := range e.Path {
		if p == nil {
			return false
		}
	}
	return true
}
