package main

import (
	"math"
	"slices"
)

// corner is a vertex on the scene file's integer grid. The tree is built on
// these, in integers, so that it comes out the same on every machine.
type corner [3]int64

// box is an axis-aligned box on the grid.
type box struct{ lo, hi corner }

func emptyBox() box {
	const far = math.MaxInt32
	return box{corner{far, far, far}, corner{-far, -far, -far}}
}

func (b *box) include(o box) {
	for k := range 3 {
		b.lo[k], b.hi[k] = min(b.lo[k], o.lo[k]), max(b.hi[k], o.hi[k])
	}
}

func (b box) halfArea() int64 {
	x, y, z := b.hi[0]-b.lo[0], b.hi[1]-b.lo[1], b.hi[2]-b.lo[2]
	return x*y + y*z + z*x
}

// leafLimit is the most triangles in a leaf, leafWanted what the builder
// does not split without a gain.
const (
	leafLimit  = 6
	leafWanted = 2
	bins       = 32
)

// tree is a bounding volume hierarchy: children as the scene file has them,
// and the order of the triangles in the leaves.
type tree struct {
	left, right []int32
	boxes       [][2]box // of the children
	order       []int
}

type builder struct {
	tree
	items   []box
	centres []corner // doubled, to stay integers
}

// buildTree splits by the surface area heuristic over bins.
func buildTree(boxes []box) tree {
	b := &builder{items: boxes, centres: make([]corner, len(boxes))}
	items := make([]int, len(boxes))
	for i := range boxes {
		items[i] = i
		for k := range 3 {
			b.centres[i][k] = boxes[i].lo[k] + boxes[i].hi[k]
		}
	}
	b.split(items)
	return b.tree
}

// split makes a node of the items and returns its number.
func (b *builder) split(items []int) int32 {
	number := int32(len(b.left))
	b.left, b.right = append(b.left, 0), append(b.right, 0)
	middle := b.partition(items)
	b.boxes = append(b.boxes, [2]box{b.around(items[:middle]), b.around(items[middle:])})
	b.left[number] = b.child(items[:middle])
	b.right[number] = b.child(items[middle:])
	return number
}

// child makes a leaf or a node.
func (b *builder) child(items []int) int32 {
	if len(items) > leafLimit || len(items) > leafWanted && b.worthSplitting(items) {
		return b.split(items)
	}
	first := len(b.order)
	b.order = append(b.order, items...)
	return ^int32(first<<4 | len(items))
}

// worthSplitting weighs two more box tests against fewer triangle tests.
func (b *builder) worthSplitting(items []int) bool {
	whole := b.around(items)
	cost, _, _, _ := b.bestPlane(items)
	return cost+whole.halfArea() < int64(len(items))*whole.halfArea()
}

// around returns the box of all items.
func (b *builder) around(items []int) box {
	whole := emptyBox()
	for _, i := range items {
		whole.include(b.items[i])
	}
	return whole
}

// partition reorders items and returns how many go left, at least one on
// either side.
func (b *builder) partition(items []int) int {
	_, axis, lo, plane := b.bestPlane(items)
	if axis < 0 { // all centres coincide
		return len(items) / 2
	}
	width := b.binWidth(items, axis)
	slices.SortStableFunc(items, func(x, y int) int {
		return side(b.bin(x, axis, lo, width), plane) - side(b.bin(y, axis, lo, width), plane)
	})
	n := 0
	for n < len(items) && b.bin(items[n], axis, lo, width) < plane {
		n++
	}
	return n
}

func side(bin, plane int) int {
	if bin < plane {
		return 0
	}
	return 1
}

func (b *builder) bin(item, axis int, lo, width int64) int {
	return int((b.centres[item][axis] - lo) / width)
}

// binWidth is at least 1, and such that bins are numbered 0 to bins-1.
func (b *builder) binWidth(items []int, axis int) int64 {
	lo, hi := b.spread(items, axis)
	return (hi-lo)/bins + 1
}

func (b *builder) spread(items []int, axis int) (lo, hi int64) {
	lo, hi = math.MaxInt64, math.MinInt64
	for _, i := range items {
		lo, hi = min(lo, b.centres[i][axis]), max(hi, b.centres[i][axis])
	}
	return lo, hi
}

// bestPlane returns the cheapest division: items in bins below plane go
// left. The axis is -1 if there is none.
func (b *builder) bestPlane(items []int) (cost int64, axis int, lo int64, plane int) {
	cost, axis = math.MaxInt64, -1
	for k := range 3 {
		from, to := b.spread(items, k)
		if from == to {
			continue
		}
		width := b.binWidth(items, k)
		var count [bins]int64
		var filled [bins]box
		for i := range filled {
			filled[i] = emptyBox()
		}
		for _, i := range items {
			at := b.bin(i, k, from, width)
			count[at]++
			filled[at].include(b.items[i])
		}
		if c, p := cheapest(&count, &filled); c < cost {
			cost, axis, lo, plane = c, k, from, p
		}
	}
	return cost, axis, lo, plane
}

// cheapest sweeps the planes between bins.
func cheapest(count *[bins]int64, filled *[bins]box) (int64, int) {
	var rightCost [bins]int64
	right, n := emptyBox(), int64(0)
	for i := bins - 1; i > 0; i-- {
		right.include(filled[i])
		n += count[i]
		if n > 0 {
			rightCost[i] = n * right.halfArea()
		}
	}
	best, plane := int64(math.MaxInt64), 0
	left, below, total := emptyBox(), int64(0), n+count[0]
	for i := 1; i < bins; i++ {
		left.include(filled[i-1])
		below += count[i-1]
		if below == 0 || below == total {
			continue
		}
		if c := below*left.halfArea() + rightCost[i]; c < best {
			best, plane = c, i
		}
	}
	return best, plane
}

// wideNode has up to four children: a leaf, maybe empty, or a wide node
// each.
type wideNode struct {
	children [4]int32
	boxes    [4]box
}

// widen merges the nodes of a tree into nodes of four. Parents come first.
func (t *tree) widen() []wideNode {
	var out []wideNode
	var add func(node int32) int32
	add = func(node int32) int32 {
		number := int32(len(out))
		out = append(out, wideNode{})
		children := []int32{t.left[node], t.right[node]}
		boxes := []box{t.boxes[node][0], t.boxes[node][1]}
		for len(children) < 4 {
			open := largestNode(children, boxes)
			if open < 0 {
				break
			}
			inner := children[open]
			children[open], boxes[open] = t.left[inner], t.boxes[inner][0]
			children, boxes = append(children, t.right[inner]), append(boxes, t.boxes[inner][1])
		}
		for k := range out[number].boxes {
			out[number].children[k] = ^int32(0)
			out[number].boxes[k] = box{lo: corner{9, 9, 9}, hi: corner{1, 1, 1}} // inside out
		}
		for k, c := range children {
			if c >= 0 {
				c = add(c)
			}
			out[number].children[k], out[number].boxes[k] = c, boxes[k]
		}
		return number
	}
	add(0)
	return out
}

// largestNode returns which child is the largest that is no leaf, or -1.
func largestNode(children []int32, boxes []box) int {
	best := -1
	for i, c := range children {
		if c >= 0 && (best < 0 || boxes[i].halfArea() > boxes[best].halfArea()) {
			best = i
		}
	}
	return best
}
