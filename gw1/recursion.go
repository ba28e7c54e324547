package gw1

import "slices"

// callGraph finds the functions that can recurse: those on a cycle of calls, where a call through a table may
// reach every function of its type that a table can hold.
type callGraph struct {
	edges []uint32 // direct callees, then types called, of every function in turn
	ends  []graphEnds
}

// graphEnds tells where a function's edges end; they begin where the previous function's do.
type graphEnds struct{ direct, all int }

// add takes the edges of the next function; it sorts them and leaves repetitions out, so that edges never take
// much more than the calls that make them.
func (g *callGraph) add(direct, indirect []uint32) {
	direct, indirect = distinct(direct), distinct(indirect)
	g.edges = append(g.edges, direct...)
	e := graphEnds{direct: len(g.edges)}
	g.edges = append(g.edges, indirect...)
	e.all = len(g.edges)
	g.ends = append(g.ends, e)
}

func distinct(edges []uint32) []uint32 {
	slices.Sort(edges)
	return slices.Compact(edges)
}

// graphNodes resolves edges: nodes below imported are leaves, then come functions, then one node per distinct
// type, whose edges lead to the functions of that type that a table can hold.
type graphNodes struct {
	*callGraph
	imported, funcs int
	typeNode        []uint32   // distinct type by type index
	holders         [][]uint32 // functions by distinct type
}

func (n *graphNodes) count() int { return n.funcs + len(n.holders) }

// edge returns the i-th edge of a node.
func (n *graphNodes) edge(node uint32, i int) (uint32, bool) {
	switch v := int(node); {
	case v < n.imported:
		return 0, false
	case v >= n.funcs:
		h := n.holders[v-n.funcs]
		if i >= len(h) {
			return 0, false
		}
		return h[i], true
	default:
		v -= n.imported
		from := 0
		if v > 0 {
			from = n.ends[v-1].all
		}
		switch at := from + i; {
		case at < n.ends[v].direct:
			return n.edges[at], true
		case at < n.ends[v].all:
			return uint32(n.funcs) + n.typeNode[n.edges[at]], true
		}
		return 0, false
	}
}

// recursive tells for each function of the module, imports left out, whether it can recurse.
func (g *callGraph) recursive(p *parsed) []bool {
	n := &graphNodes{callGraph: g, imported: p.imported, funcs: len(p.funcs), typeNode: make([]uint32, len(p.types))}
	types := map[string]uint32{} // number by signature
	for i, t := range p.types {
		key := string(t.params) + ":" + string(t.results)
		d, ok := types[key]
		if !ok {
			d = uint32(len(types))
			types[key] = d
			n.holders = append(n.holders, nil)
		}
		n.typeNode[i] = d
	}
	for f := p.imported; f < len(p.funcs); f++ {
		if p.addressed[f] {
			t := n.typeNode[p.funcs[f]]
			n.holders[t] = append(n.holders[t], uint32(f))
		}
	}
	return n.cycles()
}

// cycles is Tarjan's algorithm for strongly connected components, with a stack of its own.
func (n *graphNodes) cycles() []bool {
	type visit struct {
		node uint32
		next int // edge to look at
	}
	index := make([]uint32, n.count()) // 0: not visited
	low := make([]uint32, n.count())
	onStack := make([]bool, n.count())
	result := make([]bool, n.funcs-n.imported)
	var stack []uint32
	var path []visit
	var counter uint32
	enter := func(v uint32) {
		counter++
		index[v], low[v] = counter, counter
		stack, onStack[v] = append(stack, v), true
		path = append(path, visit{node: v})
	}
	cyclic := func(v uint32) {
		if f := int(v) - n.imported; f >= 0 && f < len(result) {
			result[f] = true
		}
	}
	for root := range uint32(n.count()) {
		if index[root] != 0 {
			continue
		}
		enter(root)
		for len(path) > 0 {
			top := &path[len(path)-1]
			v := top.node
			if to, ok := n.edge(v, top.next); ok {
				top.next++
				switch {
				case to == v:
					cyclic(v)
				case index[to] == 0:
					enter(to)
				case onStack[to]:
					low[v] = min(low[v], index[to])
				}
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				up := path[len(path)-1].node
				low[up] = min(low[up], low[v])
			}
			if low[v] != index[v] {
				continue
			}
			for size := 1; ; size++ {
				member := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				onStack[member] = false
				if member != v || size > 1 {
					cyclic(member)
				}
				if member == v {
					break
				}
			}
		}
	}
	return result
}
