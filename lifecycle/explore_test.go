package lifecycle_test

import (
	"flag"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

var explore = flag.Int("explore", 12_000, "at most how many runs of each world TestExplore makes; 0 makes all")

// TestExplore runs one batch of small worlds through every sequence of what its
// parties may do: each does its duty, lies, says that it could not fetch, or is
// silent, at every step where the protocol waits for it, and a stranger or the
// client may accuse. In every run:
//
//   - the batch ends, the job closes, and nothing stays locked: no wait is for ever,
//   - money is conserved in every block (the fake ledger checks it),
//   - with two thirds of the power honest, nobody honest loses bond or stake,
//   - and a lie is paid only if nobody honest executed it: no checker that told the
//     truth about it, no challenger.
//
// The first two worlds of one checker are explored whole; the one with two is cut
// here, and whole with -explore 0.
func TestExplore(t *testing.T) {
	t.Parallel()
	for _, w := range []exploration{
		{name: "one checker", checkers: 2, validators: 3, tier: work.TierEconomic},
		{name: "accusers", checkers: 2, validators: 3, tier: work.TierEconomic, accusers: true},
		{name: "two checkers and a second look", checkers: 3, validators: 3, tier: work.TierAssured, look: 1000},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.all(t)
		})
	}
}

// exploration is a small world with all its choices.
type exploration struct {
	name                 string
	checkers, validators int
	tier                 work.Tier
	look                 uint64
	accusers             bool
}

// choices is one path through the tree of choices: an odometer whose wheels appear
// as a run comes to them.
type choices struct {
	taken []int
	of    []int
	at    int
}

// choose is the choice among n at this step of the run.
func (c *choices) choose(n int) int {
	if c.at == len(c.taken) {
		c.taken, c.of = append(c.taken, 0), append(c.of, n)
	}
	c.of[c.at] = n
	v := c.taken[c.at]
	c.at++
	return v
}

// next turns the last wheel that can turn; false after the last path.
func (c *choices) next() bool {
	c.taken, c.of = c.taken[:c.at], c.of[:c.at]
	for i := len(c.taken) - 1; i >= 0; i-- {
		if c.taken[i]+1 < c.of[i] {
			c.taken = append(c.taken[:i:i], c.taken[i]+1)
			c.of = c.of[:i+1]
			c.at = 0
			return true
		}
	}
	return false
}

func (e exploration) all(t *testing.T) {
	c := &choices{}
	ends := map[lifecycle.Phase]int{}
	runs := 0
	for more := true; more; more = c.next() {
		ends[e.run(t, c)]++
		runs++
		if t.Failed() {
			t.Fatalf("choices %v", c.taken[:c.at])
		}
		if *explore > 0 && runs >= *explore {
			break
		}
	}
	t.Logf("%d runs ended %v", runs, ends)
	if ends[lifecycle.Settled] == 0 || ends[lifecycle.Void] == 0 {
		t.Errorf("the exploration saw too little: %v", ends)
	}
}

// actor is what a party has chosen so far.
type actor struct {
	honest bool // has done its duty truthfully, each time
	says   int  // 0 truth, 1 a lie, 2 unavailable; of an executor
	acted  map[lifecycle.Phase]bool
}

type explorationRun struct {
	*world
	e        exploration
	c        *choices
	r        *results
	actors   map[work.Address]*actor
	accused  bool
	rightful bool // a challenger told the truth
}

func (e exploration) run(t *testing.T, c *choices) lifecycle.Phase {
	c.at = 0
	w := newWorld(t, setup{
		seed: 5, providers: 1, checkers: e.checkers, validators: e.validators,
		params: func(p *lifecycle.Params) {
			p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks, p.WindowBlocks, p.GovernanceBlocks = 1, 1, 1, 1, 2, 2
			p.FuelPerBlock, p.WaitFactor, p.DrawDelayBlocks, p.DrawSpreadBlocks = 1e12, 1, 1, 1
			p.LookPermille, p.SampleEconomic, p.SampleAssured = e.look, 1, 1
			p.ClosingBlocks = 20
		},
		spec: func(s *work.JobSpec) { s.Tier, s.ItemCount, s.MaxPrice = e.tier, 2, 1e6 },
	})
	x := &explorationRun{world: w, e: e, c: c, actors: map[work.Address]*actor{}}
	lies := c.choose(2) == 1
	x.actor(provider(0)).honest = !lies
	x.r = w.commit(provider(0), 0, 2, func(uint64) bool { return lies })
	for range 60 {
		if b := x.r.batch(); b.Phase.Final() {
			break
		}
		x.step()
		w.l.Advance()
	}
	return x.audit(lies)
}

func (x *explorationRun) actor(a work.Address) *actor {
	if x.actors[a] == nil {
		x.actors[a] = &actor{honest: true, acted: map[lifecycle.Phase]bool{}}
	}
	return x.actors[a]
}

// once reports whether a party comes to a phase for the first time: it chooses
// then, and keeps to its choice in an extension.
func (x *explorationRun) once(a work.Address, p lifecycle.Phase) bool {
	first := !x.actor(a).acted[p]
	x.actor(a).acted[p] = true
	return first
}

// does lets a party choose between its duty and silence.
func (x *explorationRun) does(a work.Address) bool {
	if x.c.choose(2) == 0 {
		return true
	}
	x.actor(a).honest = false
	return false
}

// executes lets a party choose what it says that it found, or silence.
func (x *explorationRun) executes(a work.Address) bool {
	says := x.c.choose(4)
	if says > 0 {
		x.actor(a).honest = false
	}
	x.actor(a).says = says
	return says < 3
}

func (x *explorationRun) finds(a work.Address) found {
	return func(i uint64) work.Leaf {
		switch x.actor(a).says {
		case 1:
			return lie(i, "all liars agree")
		case 2:
			return lifecycle.Unavailable
		}
		return truth(i)
	}
}

// step lets everyone act whom the batch waits for.
func (x *explorationRun) step() {
	b := x.r.batch()
	switch b.Phase {
	case lifecycle.Opening:
		if x.once(provider(0), b.Phase) && x.does(provider(0)) {
			x.must(provider(0), ledger.OpenBatch{Batch: x.r.id, Openings: x.r.openings(b)})
		}
	case lifecycle.Checking:
		for i := range b.Checks {
			if c := &b.Checks[i]; c.CommitHeight == 0 && !c.Missed && x.once(c.Checker, b.Phase) && x.executes(c.Checker) {
				x.ok(x.r.commitCheck(b, c, x.finds(c.Checker)))
			}
		}
	case lifecycle.Revealing:
		if x.once(provider(0), b.Phase) && x.does(provider(0)) {
			x.ok(x.r.reveal(b))
		}
		for i := range b.Checks {
			if c := &b.Checks[i]; x.r.batch().Phase == lifecycle.Revealing && c.CommitHeight != 0 && !c.Missed && x.once(c.Checker, b.Phase) && x.does(c.Checker) {
				x.ok(x.r.revealCheck(b, c, x.finds(c.Checker)))
			}
		}
	case lifecycle.Window:
		x.accuse()
	case lifecycle.Answering:
		if x.once(provider(0), b.Phase) && x.does(provider(0)) {
			pos := b.Dispute.Items[0].Position
			path, _ := work.Path(x.r.nodes, pos)
			x.must(provider(0), ledger.AnswerChallenge{Batch: x.r.id, Opening: lifecycle.ItemOpening{Position: pos, Node: x.r.nodes[pos], Path: path}, Leaf: x.r.leaves[pos]})
		}
	case lifecycle.Voting:
		for i := range x.e.validators {
			if v := validator(i); x.once(v, b.Phase) && x.executes(v) {
				x.ok(x.r.commitVote(b, v, x.votes(b, v)))
			}
		}
	case lifecycle.Tallying:
		for i := range x.e.validators {
			v := validator(i)
			if x.r.batch().Phase == lifecycle.Tallying && b.Dispute.VoteOf(v).Committed && x.once(v, b.Phase) && x.does(v) {
				x.ok(x.r.revealVote(b, v, x.votes(b, v)))
			}
		}
	}
}

// votes is what a validator says: about a delivery the truth is the provider's leaf.
func (x *explorationRun) votes(b *lifecycle.Batch, v work.Address) found {
	if b.Dispute.Delivery && x.actor(v).says == 0 {
		return func(i uint64) work.Leaf { return x.r.leaves[i] }
	}
	return x.finds(v)
}

func (x *explorationRun) ok(err error) {
	if err != nil {
		x.t.Error(err)
	}
}

// accuse lets a stranger challenge truly or falsely, or the client claim
// non-delivery, once.
func (x *explorationRun) accuse() {
	if !x.e.accusers || x.accused {
		return
	}
	x.accused = true
	b := x.r.batch()
	pos := uint64(0)
	switch x.c.choose(4) {
	case 1:
		if err := x.try("stranger", ledger.Challenge{Batch: b.ID, Position: pos, Leaf: truth(pos)}); err == nil {
			x.rightful = true
		}
	case 2:
		_ = x.try("stranger", ledger.Challenge{Batch: b.ID, Position: pos, Leaf: lie(pos, "stranger")}) // refused if it was decided
	case 3:
		x.must("client", ledger.ClaimDelivery{Batch: b.ID, Position: pos})
	}
}

func (x *explorationRun) audit(lies bool) lifecycle.Phase {
	b := x.r.batch()
	if !b.Phase.Final() {
		x.t.Errorf("the batch hangs %s", b.Phase)
	}
	if b.Phase != lifecycle.Settled {
		x.must("client", ledger.CancelJob{Job: x.job})
		x.l.AdvanceTo(x.l.Height() + 25)
	}
	if j := x.jobNow(); j.State != lifecycle.JobClosed {
		x.t.Errorf("the job of a batch that ended %s is in state %d", b.Phase, j.State)
	}
	power := 0
	for i := range x.e.validators {
		if x.actor(validator(i)).honest {
			power++
		}
	}
	honestQuorum := 3*power >= 2*x.e.validators
	x.auditParties(b, honestQuorum)
	if lies && b.Phase == lifecycle.Settled && honestQuorum {
		x.auditLie(b)
	}
	return b.Phase
}

func (x *explorationRun) auditParties(b *lifecycle.Batch, honestQuorum bool) {
	parties := []work.Address{provider(0)}
	for i := range x.e.checkers {
		parties = append(parties, checker(i))
	}
	for i, a := range parties {
		role := lifecycle.RoleChecker
		if i == 0 {
			role = lifecycle.RoleProvider
		}
		q := x.party(role, a)
		if q.Locked != 0 || q.Checks != 0 || len(q.Open) != 0 {
			x.t.Errorf("%s has something locked for nothing: %+v", a, q)
		}
		if honestQuorum && x.actor(a).honest && (q.Bond < 100*gtg || q.Convictions > 0) {
			x.t.Errorf("honest %s suffered: %+v; the batch is %s: %s", a, q, b.Phase, b.Why)
		}
	}
}

// auditLie says why a lie was paid although somebody honest executed it.
func (x *explorationRun) auditLie(b *lifecycle.Batch) {
	if x.rightful {
		x.t.Error("a lie was paid in spite of a right challenge")
	}
	for i := range b.Checks {
		if c := &b.Checks[i]; c.Revealed && x.actor(c.Checker).says == 0 {
			x.t.Errorf("a lie was paid that %s checked", c.Checker)
		}
	}
}
