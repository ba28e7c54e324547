package types

import (
	"fmt"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Bounds of lists in messages, before anything is decoded; the machines have
// their own.
const (
	maxParts    = 4096
	maxLeaves   = 4096
	maxPath     = 64
	maxOpenings = 4096
)

// FromNode puts a node into a message.
func FromNode(n work.Node) *Node { return &Node{Fuel: uint64(n.Fuel), Hash: n.Hash[:]} }

// Work reads a node of a message.
func (n *Node) Work() (work.Node, error) {
	if n == nil || len(n.Hash) != 32 {
		return work.Node{}, fmt.Errorf("node: want a hash of 32 bytes")
	}
	return work.Node{Fuel: work.Fuel(n.Fuel), Hash: work.Hash(n.Hash)}, nil
}

// FromParts puts the parts of a commit into a message.
func FromParts(parts []lifecycle.Part) []*Part {
	l := make([]*Part, len(parts))
	for i, p := range parts {
		var e work.Encoder
		p.Items.Encode(&e)
		l[i] = &Part{Assignment: p.Assignment.Encode(), Items: e.Bytes()}
	}
	return l
}

// ToParts reads the parts of a commit.
func ToParts(parts []*Part) ([]lifecycle.Part, error) {
	if len(parts) > maxParts {
		return nil, fmt.Errorf("%d parts: want at most %d", len(parts), maxParts)
	}
	l := make([]lifecycle.Part, 0, len(parts))
	for i, p := range parts {
		a, err := work.DecodeAssignment(p.Assignment)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", i, err)
		}
		d := work.NewDecoder(p.Items)
		items := work.DecodeRangeSet(d, work.MaxBatchItems)
		if err := d.Done(); err != nil {
			return nil, fmt.Errorf("items of part %d: %w", i, err)
		}
		l = append(l, lifecycle.Part{Assignment: *a, Items: items})
	}
	return l, nil
}

// FromOpening puts an opening into a message.
func FromOpening(o lifecycle.ItemOpening) *Opening {
	m := &Opening{Position: o.Position, Node: FromNode(o.Node)}
	for _, n := range o.Path {
		m.Path = append(m.Path, FromNode(n))
	}
	return m
}

// Lifecycle reads an opening.
func (o *Opening) Lifecycle() (lifecycle.ItemOpening, error) {
	if o == nil || len(o.Path) > maxPath {
		return lifecycle.ItemOpening{}, fmt.Errorf("opening: want one with a path of at most %d nodes", maxPath)
	}
	n, err := o.Node.Work()
	if err != nil {
		return lifecycle.ItemOpening{}, err
	}
	r := lifecycle.ItemOpening{Position: o.Position, Node: n}
	for _, p := range o.Path {
		n, err := p.Work()
		if err != nil {
			return lifecycle.ItemOpening{}, err
		}
		r.Path = append(r.Path, n)
	}
	return r, nil
}

// FromOpenings puts openings into a message.
func FromOpenings(l []lifecycle.ItemOpening) []*Opening {
	m := make([]*Opening, len(l))
	for i, o := range l {
		m[i] = FromOpening(o)
	}
	return m
}

// ToOpenings reads openings.
func ToOpenings(l []*Opening) ([]lifecycle.ItemOpening, error) {
	if len(l) > maxOpenings {
		return nil, fmt.Errorf("%d openings: want at most %d", len(l), maxOpenings)
	}
	r := make([]lifecycle.ItemOpening, 0, len(l))
	for i, o := range l {
		v, err := o.Lifecycle()
		if err != nil {
			return nil, fmt.Errorf("opening %d: %w", i, err)
		}
		r = append(r, v)
	}
	return r, nil
}

// FromLeaves puts leaves into a message: nothing for one that could not be fetched.
func FromLeaves(l []work.Leaf) [][]byte {
	m := make([][]byte, len(l))
	for i, v := range l {
		if v != lifecycle.Unavailable {
			m[i] = v.Bytes()
		}
	}
	return m
}

// ToLeaves reads leaves.
func ToLeaves(l [][]byte) ([]work.Leaf, error) {
	if len(l) > maxLeaves {
		return nil, fmt.Errorf("%d leaves: want at most %d", len(l), maxLeaves)
	}
	r := make([]work.Leaf, 0, len(l))
	for i, b := range l {
		if len(b) == 0 {
			r = append(r, lifecycle.Unavailable)
			continue
		}
		v, err := work.ParseLeaf(b)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %w", i, err)
		}
		r = append(r, v)
	}
	return r, nil
}

// DecodeParams reads the parameters that a MsgUpdateParams carries: JSON with no name
// that this version does not know, of values that can work together.
func DecodeParams(b []byte) (lifecycle.Params, error) {
	var p lifecycle.Params
	err := p.Set(b)
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		return lifecycle.Params{}, fmt.Errorf("parameters: %w", err)
	}
	return p, nil
}
