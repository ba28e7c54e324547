package ledgertest

import (
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// truth is what item i gives.
func truth(i uint64) work.Leaf {
	var e work.Encoder
	e.U64(i)
	return work.Leaf{Input: work.Sum("in", e.Bytes()), Output: work.Sum("out", e.Bytes()), Outcome: work.Outcome{Kind: work.Exited},
		Fuel: 1e8 + work.Fuel(i)*1e7, Memory: work.Sum("memory", e.Bytes())}
}

// results is a provider's side of a batch.
type results struct {
	s        *suite
	id       work.BatchID
	provider work.Address
	items    work.RangeSet
	part     lifecycle.Part
	leaves   []work.Leaf
	nodes    []work.Node
	salt     work.Hash

	inWindow func(id work.BatchID)              // done once, when the window opens
	verdict  func(*lifecycle.Batch) []work.Leaf // of the referee; judged if nil
}

// batch commits items whose leaves are as leaf says, plays every role until the
// batch has ended, and gives its record.
func (s *suite) batch(job work.JobID, provider work.Address, lo, hi uint64, leaf func(uint64) work.Leaf) *lifecycle.Batch {
	s.Helper()
	items := work.NewRangeSet(work.Range{Lo: lo, Hi: hi})
	a := work.Assignment{Chain: s.Chain, Job: job, Provider: provider, Attempt: 1, Ranges: items, Price: 1e6, ExpiresHeight: s.height() + 500}
	a.Sign(s.indexer)
	return s.commit(job, provider, lifecycle.Part{Assignment: a, Items: items}, leaf).play()
}

// commit commits a part's items.
func (s *suite) commit(job work.JobID, provider work.Address, part lifecycle.Part, leaf func(uint64) work.Leaf) *results {
	s.Helper()
	s.salts++
	var e work.Encoder
	e.U64(s.salts)
	items := part.Items
	r := &results{s: s, provider: provider, items: items, part: part, salt: work.Sum("salt", e.Bytes())}
	var most work.Fuel
	for k := range items.Len() {
		l := leaf(items.At(k))
		r.leaves = append(r.leaves, l)
		r.nodes = append(r.nodes, work.ItemNode(l.Fuel, l.Hash(), work.ItemSalt(r.salt, job, k)))
		most = max(most, l.Fuel)
	}
	root, err := work.Root(r.nodes)
	s.check(err)
	s.must(provider, ledger.CommitBatch{Job: job, Parts: []lifecycle.Part{part}, Root: root, MaxItemFuel: most})
	r.id = work.BatchIDOf(s.Chain, job, provider, items, root)
	return r
}

// play plays every role until the batch has ended.
func (r *results) play() *lifecycle.Batch {
	s := r.s
	s.Helper()
	for {
		b, err := s.Ledger.Batch(s.ctx, r.id)
		s.check(err)
		if b.Phase.Final() {
			s.ended[b.Phase]++
			return b
		}
		if !r.act(b) {
			s.nextBlock()
		}
	}
}

// act does what the batch waits for, and reports whether that was anything.
func (r *results) act(b *lifecycle.Batch) bool {
	s := r.s
	s.Helper()
	switch b.Phase {
	case lifecycle.Opening:
		s.must(r.provider, ledger.OpenBatch{Batch: r.id, Openings: r.openings(b)})
		return true
	case lifecycle.Checking:
		for i := range b.Checks {
			if c := &b.Checks[i]; c.CommitHeight == 0 && !c.Missed {
				s.must(c.Checker, ledger.CommitCheck{Batch: r.id, Commitment: lifecycle.CheckCommitment(s.Chain, r.id, c.Checker, r.checked(b, c), checkSalt(c.Checker))})
			}
		}
		return true
	case lifecycle.Revealing:
		if !b.Draws[0].Revealed {
			var leaves []work.Leaf
			for _, d := range b.Draws {
				leaves = append(leaves, r.leaves[d.Position])
			}
			s.must(r.provider, ledger.RevealBatch{Batch: r.id, Salt: r.salt, Leaves: leaves})
		}
		for i := range b.Checks {
			if c := &b.Checks[i]; !c.Revealed && !c.Missed {
				s.must(c.Checker, ledger.RevealCheck{Batch: r.id, Salt: checkSalt(c.Checker), Leaves: r.checked(b, c)})
			}
		}
		return true
	case lifecycle.Window:
		if r.inWindow != nil {
			r.inWindow(r.id)
			r.inWindow = nil
			return true
		}
	case lifecycle.Answering:
		at := b.Dispute.Items[0].Position
		path, err := work.Path(r.nodes, at)
		s.check(err)
		s.must(r.provider, ledger.AnswerChallenge{Batch: r.id, Opening: lifecycle.ItemOpening{Position: at, Node: r.nodes[at], Path: path}, Leaf: r.leaves[at]})
		return true
	case lifecycle.Voting:
		s.must(s.Validator, ledger.CommitVote{Batch: r.id, Commitment: lifecycle.VoteCommitment(s.Chain, r.id, s.Validator, r.judged(b), checkSalt(s.Validator))})
		return true
	case lifecycle.Tallying:
		s.must(s.Validator, ledger.RevealVote{Batch: r.id, Salt: checkSalt(s.Validator), Leaves: r.judged(b)})
		return true
	}
	return false
}

func checkSalt(a work.Address) work.Hash { return work.Sum("check salt", []byte(a)) }

// openings opens each draw: its point lies in the item's share of the fuel.
func (r *results) openings(b *lifecycle.Batch) (l []lifecycle.ItemOpening) {
	for _, d := range b.Draws {
		k := d.Position
		if !d.ByIndex {
			var before work.Fuel
			for k = 0; before+r.nodes[k].Fuel <= d.Point; k++ {
				before += r.nodes[k].Fuel
			}
		}
		path, err := work.Path(r.nodes, k)
		r.s.check(err)
		l = append(l, lifecycle.ItemOpening{Position: k, Node: r.nodes[k], Path: path})
	}
	return l
}

// checked are the leaves that an honest checker finds.
func (r *results) checked(b *lifecycle.Batch, c *lifecycle.Check) (l []work.Leaf) {
	for _, d := range c.Draws {
		l = append(l, truth(r.items.At(b.Draws[d].Position)))
	}
	return l
}

// judged are the leaves that an honest referee finds.
func (r *results) judged(b *lifecycle.Batch) (l []work.Leaf) {
	if r.verdict != nil {
		return r.verdict(b)
	}
	for _, i := range b.Dispute.Items {
		l = append(l, truth(r.items.At(i.Position)))
	}
	return l
}
