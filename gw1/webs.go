package gw1

// What a local holds is followed along the code: compilers give one local to values that have nothing to do with
// each other, and a NaN that is only copied must not make the arithmetic beside it canonical. Every assignment is
// a node; where ways through the code meet, a join is a node per local, whose edges lead to what the local holds
// on each way. Nodes that a join connects hold values of one class, but only if the join is read.
//
// This takes a step per float or vector local at every branch and join, so it is given up beyond maxWebSteps and
// then every local is one node.

// maxWebSteps bounds the steps in a function: some per byte, and so many in all.
const (
	webStepsPerByte = 8
	maxWebSteps     = 1 << 20
)

// webs tells for one function what each float or vector local holds.
type webs struct {
	coarse bool      // every local is one node
	over   bool      // the bound was reached
	steps  int       // left of the bound
	vars   []int32   // by local: its number among those of floats and vectors, -1 for others
	types  []byte    // by var
	cur    []int32   // by var: the node that it holds at the current instruction
	class  []nanForm // by node; from walk to walk, as every walk makes the same nodes
	used   []bool    // by node: some instruction reads it
	nodes  int       // made in this walk
	edges  []webEdge
	rounds int // through the edges, in all walks
	pool   [][]int32
}

// webEdge says that a join holds what another node holds.
type webEdge struct{ join, from int32 }

// start begins a walk; the first one gives locals their classes: parameters are raw, others zero.
func (s *webs) start(types []byte, params int, bodyBytes int) {
	s.over, s.steps, s.nodes = false, min(webStepsPerByte*bodyBytes+1024, maxWebSteps), 0
	s.vars, s.types, s.cur, s.edges = s.vars[:0], s.types[:0], s.cur[:0], s.edges[:0]
	clear(s.used)
	if len(s.class) == 0 {
		s.rounds = 0
	}
	for i, t := range types {
		if t != typeF32 && t != typeF64 && t != typeV128 {
			s.vars = append(s.vars, -1)
			continue
		}
		class := nanClean
		switch {
		case i < params:
			class = nanNone
		case s.coarse:
			class = loopClass(t, nanClean)
		}
		s.vars = append(s.vars, int32(len(s.types)))
		s.types = append(s.types, t)
		s.cur = append(s.cur, s.node(class))
	}
}

// loopClass guesses what a local of a type holds in a loop, by what it holds before: scalars become dirty as a
// rule, vectors when their form is known.
func loopClass(t byte, before nanForm) nanForm {
	switch {
	case before == nanNone || t == typeV128:
		return before
	case t == typeF32:
		return nanF32
	}
	return nanF64
}

// node makes the next node. class is for the first walk.
func (s *webs) node(class nanForm) int32 {
	s.nodes++
	if s.nodes > len(s.class) {
		s.class = append(s.class, class)
	}
	if s.nodes > len(s.used) {
		s.used = append(s.used, false)
	}
	return int32(s.nodes - 1)
}

// read returns the class of what a local holds.
func (s *webs) read(local uint32) nanForm {
	x := s.vars[local]
	if x < 0 {
		return nanNone
	}
	s.used[s.cur[x]] = true
	return s.class[s.cur[x]]
}

// define makes the node of an assignment and returns its class; nil for locals that are not followed.
func (s *webs) define(local uint32, class nanForm) *nanForm {
	x := s.vars[local]
	if x < 0 {
		return nil
	}
	if !s.coarse {
		s.cur[x] = s.node(class)
	}
	return &s.class[s.cur[x]]
}

// idle reports whether there is nothing to follow, and counts the steps otherwise.
func (s *webs) idle() bool {
	if s.coarse || s.over || len(s.cur) == 0 {
		return true
	}
	s.steps -= len(s.cur)
	s.over = s.steps < 0
	return s.over
}

// noJoin is the join of a frame before anything leads there.
const noJoin = -1

// meet adds what the locals hold at the given point to a join, which is made if it is not there yet.
func (s *webs) meet(join int32, cur []int32) int32 {
	if s.idle() {
		return join
	}
	if join == noJoin {
		join = int32(s.nodes)
		for _, from := range cur {
			s.node(s.class[from])
		}
	}
	for x, from := range cur {
		s.edges = append(s.edges, webEdge{join + int32(x), from})
	}
	return join
}

// enter makes the join at the head of a loop current.
func (s *webs) enter() int32 {
	first := s.nodes == len(s.class)
	join := s.meet(noJoin, s.cur)
	if join != noJoin {
		for x, t := range s.types {
			n := join + int32(x)
			if first {
				s.class[n] = loopClass(t, s.class[n])
			}
			s.cur[x] = n
		}
	}
	return join
}

// leave makes a join current, if there is one.
func (s *webs) leave(join int32) {
	if join == noJoin || s.idle() {
		return
	}
	for x := range s.cur {
		s.cur[x] = join + int32(x)
	}
}

// save returns a copy of what the locals hold here, for restore.
func (s *webs) save() []int32 {
	if s.idle() {
		return nil
	}
	var c []int32
	if n := len(s.pool); n > 0 {
		c, s.pool = s.pool[n-1], s.pool[:n-1]
	}
	return append(c[:0], s.cur...)
}

// restore goes back to what was saved.
func (s *webs) restore(saved []int32) {
	copy(s.cur, saved)
	s.pool = append(s.pool, saved)
}

// maxSettleRounds bounds how often the edges of a function are gone through.
const maxSettleRounds = 24

// settle brings the classes along edges together and reports whether one has changed.
func (s *webs) settle() (changed bool) {
	for ; s.rounds < maxSettleRounds; s.rounds++ {
		moved := false
		for i := len(s.edges) - 1; i >= 0; i-- {
			if e := s.edges[i]; s.used[e.join] && !s.used[e.from] {
				s.used[e.from], moved = true, true
			}
		}
		for _, e := range s.edges {
			if s.used[e.join] && unite(&s.class[e.join], &s.class[e.from]) {
				changed, moved = true, true
			}
		}
		if !moved {
			return changed
		}
	}
	s.over = true
	return true
}

// unite makes the classes of a join and of one of its ways fit and reports whether one has changed: a clean value
// may come into a dirty join, everything else must be equal.
func unite(join, from *nanForm) (changed bool) {
	switch {
	case *join == *from, *from == nanClean:
		return false
	case *join == nanClean:
		*join = *from
	default: // one is raw, or they are dirty in two forms
		*join, *from = nanNone, nanNone
	}
	return true
}
