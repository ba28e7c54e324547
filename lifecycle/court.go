package lifecycle

import (
	"errors"
	"slices"

	"github.com/gotong-network/gotong/work"
)

// queue puts the batch's dispute behind those that wait for the referee. Its window
// stands still; the end of the block lets it in if there is room.
func (t *turn) queue() error {
	c, err := t.m.S.Court()
	if err != nil {
		return err
	}
	if err := t.m.S.SetQueued(c.Tail, t.b.ID); err != nil {
		return err
	}
	c.Tail++
	t.b.Phase, t.b.Deadline = Queued, 0
	return t.m.S.SetCourt(c)
}

// leaveCourt makes room for the next dispute.
func (t *turn) leaveCourt() error {
	c, err := t.m.S.Court()
	if err != nil {
		return err
	}
	c.Open--
	return t.m.S.SetCourt(c)
}

// admitDisputes opens the votes for which there is room, in the order of the queue.
func (m Machine) admitDisputes() error {
	c, err := m.S.Court()
	if err != nil || c.Head == c.Tail {
		return err
	}
	p, err := m.S.Params()
	if err != nil {
		return err
	}
	for ; c.Open < p.MaxDisputes && c.Head < c.Tail; c.Head++ {
		id, err := m.S.Queued(c.Head)
		if err != nil {
			return err
		}
		if err := m.S.SetQueued(c.Head, work.BatchID{}); err != nil {
			return err
		}
		t, err := m.turn(id, Queued, "judged")
		if err != nil {
			return err
		}
		if err := t.startVote(); err != nil {
			return err
		}
		if err := t.done(true); err != nil {
			return err
		}
		c.Open++
	}
	return m.S.SetCourt(c)
}

// freeze stops a batch about which two checkers contradict the referee: nothing is
// paid or slashed, and its program is suspended for new jobs, until governance
// decides or its time is over.
func (t *turn) freeze() error {
	root := t.j.Spec.Program.Root
	s, err := t.m.S.Suspension(root)
	if errors.Is(err, ErrNotFound) {
		s, err = &Suspension{}, nil
	}
	if err != nil {
		return err
	}
	s.Batches = append(s.Batches, t.b.ID)
	if err := t.clearBatch(true); err != nil {
		return err
	}
	t.await(Frozen, t.p.GovernanceBlocks)
	return t.m.S.SetSuspension(root, s)
}

// thaw ends a freeze: by the verdict, or by the provider's word, which then stands
// without a loser.
func (t *turn) thaw(uphold bool) error {
	root := t.j.Spec.Program.Root
	s, err := t.m.S.Suspension(root)
	if err != nil {
		return err
	}
	s.Batches = slices.DeleteFunc(s.Batches, func(id work.BatchID) bool { return id == t.b.ID })
	if err := t.m.S.SetSuspension(root, s); err != nil {
		return err
	}
	if uphold {
		return t.judge()
	}
	if err := t.clearBatch(false); err != nil {
		return err
	}
	for _, item := range t.b.Dispute.Items {
		t.b.Decided = append(t.b.Decided, Decided{Position: item.Position, Leaf: item.Claims[0].Leaf})
	}
	if err := t.stakeReturns(); err != nil {
		return err
	}
	return t.resumeWindow()
}
