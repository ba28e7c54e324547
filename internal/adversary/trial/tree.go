package trial

import (
	"math/bits"

	"github.com/gotong-network/gotong/work"
)

// tree keeps the inner nodes of a batch's sum tree, so that a path costs no hash.
type tree struct {
	node        work.Node
	n           uint64
	left, right *tree
}

func grow(nodes []work.Node) (*tree, error) {
	t := &tree{n: uint64(len(nodes))}
	if t.n == 1 {
		t.node = nodes[0]
		return t, nil
	}
	k := uint64(1) << (bits.Len64(t.n-1) - 1)
	var err error
	if t.left, err = grow(nodes[:k]); err != nil {
		return nil, err
	}
	if t.right, err = grow(nodes[k:]); err != nil {
		return nil, err
	}
	t.node, err = work.Root([]work.Node{t.left.node, t.right.node})
	return t, err
}

// path gives the siblings of an item, from the root's children down, as work.Path.
func (t *tree) path(at uint64) (l []work.Node) {
	for t.n > 1 {
		near, far := t.left, t.right
		if at >= t.left.n {
			at -= t.left.n
			near, far = t.right, t.left
		}
		l = append(l, far.node)
		t = near
	}
	return l
}
