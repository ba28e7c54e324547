package work

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Node is a node of the Merkle-sum tree: the hash commits to the fuel below it.
//
//	item node  = H("gotong/node/1"  ‖ fuel ‖ leaf ‖ salt_i)
//	inner node = H("gotong/inner/1" ‖ sumL ‖ hashL ‖ sumR ‖ hashR)
//
// The shape is given by the number of items: the left subtree holds the largest
// power of two below it (as in RFC 6962).
type Node struct {
	Fuel Fuel `json:"fuel"`
	Hash Hash `json:"hash"`
}

// ErrProof reports a path that does not lead to the root.
var ErrProof = errors.New("path does not lead to the root")

// ItemSalt is salt_i of a batch: H(salt ‖ batch nonce ‖ i), so that revealing one
// item's salt says nothing about another's.
func ItemSalt(salt Hash, nonce Hash, i uint64) Hash {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], i)
	return Sum("gotong/salt/1", salt[:], nonce[:], n[:])
}

// ItemNode commits to an item's fuel and leaf under its salt.
func ItemNode(fuel Fuel, leaf, salt Hash) Node {
	var f [8]byte
	binary.BigEndian.PutUint64(f[:], uint64(fuel))
	return Node{fuel, Sum("gotong/node/1", f[:], leaf[:], salt[:])}
}

func join(l, r Node) (Node, error) {
	s, c := bits.Add64(uint64(l.Fuel), uint64(r.Fuel), 0)
	if c != 0 {
		return Node{}, fmt.Errorf("fuel of a batch: %w", ErrOverflow)
	}
	var fl, fr [8]byte
	binary.BigEndian.PutUint64(fl[:], uint64(l.Fuel))
	binary.BigEndian.PutUint64(fr[:], uint64(r.Fuel))
	return Node{Fuel(s), Sum("gotong/inner/1", fl[:], l.Hash[:], fr[:], r.Hash[:])}, nil
}

// split is the number of items left of an inner node over n ≥ 2 items.
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// Root folds the item nodes of a batch; an empty batch has none.
func Root(nodes []Node) (Node, error) {
	switch n := uint64(len(nodes)); n {
	case 0:
		return Node{}, errors.New("a batch of no items has no root")
	case 1:
		return nodes[0], nil
	default:
		l, err := Root(nodes[:split(n)])
		if err != nil {
			return Node{}, err
		}
		r, err := Root(nodes[split(n):])
		if err != nil {
			return Node{}, err
		}
		return join(l, r)
	}
}

// Path gives the siblings of item i, from the root's children down.
func Path(nodes []Node, i uint64) ([]Node, error) {
	n := uint64(len(nodes))
	if i >= n {
		return nil, fmt.Errorf("item %d of %d: %w", i, n, ErrItem)
	}
	if n == 1 {
		return nil, nil
	}
	k := split(n)
	near, far, at := nodes[:k], nodes[k:], i
	if i >= k {
		near, far, at = nodes[k:], nodes[:k], i-k
	}
	sib, err := Root(far)
	if err != nil {
		return nil, err
	}
	rest, err := Path(near, at)
	return append([]Node{sib}, rest...), err
}

// VerifyPath checks that node is item i of the n items under root, and gives the
// fuel of the items before it: item i covers the points [before, before+fuel).
func VerifyPath(root Node, n, i uint64, node Node, path []Node) (before Fuel, err error) {
	if i >= n || len(path) > 64 {
		return 0, ErrProof
	}
	got, before, rest, err := climb(n, i, node, path)
	if err != nil {
		return 0, err
	}
	if len(rest) != 0 || got != root {
		return 0, ErrProof
	}
	return before, nil
}

// climb folds node up through the siblings of a tree over n items.
func climb(n, i uint64, node Node, path []Node) (top Node, before Fuel, rest []Node, err error) {
	if n == 1 {
		return node, 0, path, nil
	}
	if len(path) == 0 {
		return Node{}, 0, nil, ErrProof
	}
	sib, k := path[0], split(n)
	if i < k {
		l, before, rest, err := climb(k, i, node, path[1:])
		if err != nil {
			return Node{}, 0, nil, err
		}
		top, err = join(l, sib)
		return top, before, rest, err
	}
	r, before, rest, err := climb(n-k, i-k, node, path[1:])
	if err != nil {
		return Node{}, 0, nil, err
	}
	if top, err = join(sib, r); err != nil { // also bounds the sum below
		return Node{}, 0, nil, err
	}
	return top, sib.Fuel + before, rest, nil
}
