package trial

import (
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// act lets everyone do what the batch waits for.
func (b *Batch) act() {
	if !b.refresh() {
		return
	}
	switch b.now.Phase {
	case lifecycle.Opening:
		b.provide(b.Provider.Opens, func() ledger.Msg { return ledger.OpenBatch{Batch: b.ID, Openings: b.openings()} })
		if b.refresh() && b.now.Phase == lifecycle.Checking {
			b.check()
		}
	case lifecycle.Checking:
		b.check()
	case lifecycle.Revealing:
		b.reveal()
	case lifecycle.Window:
		b.claim()
	case lifecycle.Answering:
		b.provide(b.Provider.Answers, b.answer)
	case lifecycle.Voting:
		b.vote()
	case lifecycle.Tallying:
		b.tally()
	}
	b.refresh()
}

// refresh reads the batch if it may have changed, and reports whether it is open.
func (b *Batch) refresh() bool {
	if b.Ended > 0 {
		return false
	}
	if b.now != nil && !b.dirty && b.now.Phase != lifecycle.Queued && b.w.height <= b.now.Deadline {
		return true
	}
	now, err := b.w.chain.Batch(b.w.ctx, b.ID)
	if err != nil {
		b.w.fault("batch: %w", err)
		b.Ended = b.w.height
		return false
	}
	b.now, b.dirty = now, false
	if now.Dispute != nil && now.Phase == lifecycle.Voting && !now.Dispute.Delivery && !b.votedAt[now.Dispute.OpenedHeight] {
		b.votedAt[now.Dispute.OpenedHeight] = true
		for _, it := range now.Dispute.Items {
			b.voted[it.Position]++
		}
	}
	b.frozen = b.frozen || now.Phase == lifecycle.Frozen
	if len(now.Draws) > 0 && !b.drawn {
		b.drawn = true
		b.observe()
	}
	if now.Phase.Final() {
		b.Ended = b.w.height
		b.w.ended(b)
		return false
	}
	return true
}

// provide sends what the provider owes, if its policy says so.
func (b *Batch) provide(now func(*Batch) bool, msg func() ledger.Msg) {
	if now == nil || now(b) {
		b.w.duty(b, b.Provider.actor, msg())
	}
}

func (b *Batch) openings() []lifecycle.ItemOpening {
	l := make([]lifecycle.ItemOpening, len(b.now.Draws))
	for i := range b.now.Draws {
		at := b.positionOf(&b.now.Draws[i])
		l[i] = lifecycle.ItemOpening{Position: at, Node: b.Nodes[at], Path: b.tree.path(at)}
	}
	return l
}

func (b *Batch) answer() ledger.Msg {
	at := b.now.Dispute.Items[0].Position
	return ledger.AnswerChallenge{Batch: b.ID, Opening: lifecycle.ItemOpening{Position: at, Node: b.Nodes[at], Path: b.tree.path(at)}, Leaf: b.Leaves[at]}
}

// check lets the drawn checkers execute and commit.
func (b *Batch) check() {
	w := b.w
	for i := range b.now.Checks {
		k := &b.now.Checks[i]
		c := w.Checkers[k.Checker]
		if k.Missed || k.CommitHeight != 0 || c.Commits != nil && !c.Commits(b) {
			continue
		}
		leaves := b.leavesOf(c, k)
		own := lifecycle.CheckCommitment(chainName, b.ID, c.Account, leaves, saltOf(c.Account))
		if c.Commitment != nil {
			own = c.Commitment(c, b, own)
		}
		w.duty(b, c.actor, ledger.CommitCheck{Batch: b.ID, Commitment: own})
	}
}

func saltOf(a work.Address) work.Hash { return work.Sum("salt", []byte(a)) }

// leavesOf is what a checker says of its draws: found once.
func (b *Batch) leavesOf(c *Checker, k *lifecycle.Check) []work.Leaf {
	key := source{c.Name, 0}
	l := b.found[key]
	if len(l) == len(k.Draws) {
		return l
	}
	l = nil
	known := map[uint64]work.Leaf{}
	for _, d := range k.Draws {
		at := b.now.Draws[d].Position
		leaf, ok := known[at]
		if !ok {
			var ran work.Fuel
			leaf, ran = c.find(b, at)
			c.execute(ran, b.Job.Spec.MaxPrice)
			known[at] = leaf
		}
		l = append(l, leaf)
	}
	b.found[key] = l
	return l
}

func (c *Checker) find(b *Batch, at uint64) (work.Leaf, work.Fuel) {
	if c.Finds != nil {
		return c.Finds(c, b, at)
	}
	return b.honest(at)
}

// claim lets the client claim an output that it did not get.
func (b *Batch) claim() {
	if b.claimed || !b.Provider.Keeps && !b.Job.Claims {
		return
	}
	b.claimed = true
	b.w.duty(b, b.Job.actor, ledger.ClaimDelivery{Batch: b.ID})
}

// honest is what an executor finds: it fetches the inputs of the client, else of the
// provider.
func (b *Batch) honest(at uint64) (work.Leaf, work.Fuel) {
	if b.Job.Hides && b.Provider.Serves != nil && !b.Provider.Serves(b) {
		return lifecycle.Unavailable, 0
	}
	leaf, _ := b.Job.truth(b.Items.At(at))
	return leaf, leaf.Fuel
}

func (b *Batch) reveal() {
	w := b.w
	if !b.now.Draws[0].Revealed {
		b.provide(b.Provider.Reveals, func() ledger.Msg {
			var l []work.Leaf
			for _, d := range b.now.Draws {
				l = append(l, b.Leaves[d.Position])
			}
			return ledger.RevealBatch{Batch: b.ID, Salt: b.Salt, Leaves: l}
		})
	}
	for i := range b.now.Checks {
		k := &b.now.Checks[i]
		c := w.Checkers[k.Checker]
		if k.Missed || k.Revealed || k.CommitHeight == 0 || c.Reveals != nil && !c.Reveals(b) {
			continue
		}
		w.duty(b, c.actor, ledger.RevealCheck{Batch: b.ID, Salt: saltOf(c.Account), Leaves: b.leavesOf(c, k)})
	}
}

func (b *Batch) vote() {
	for _, v := range b.w.Validators {
		k := b.now.Dispute.VoteOf(v.Account)
		if k == nil || k.Committed || v.Commits != nil && !v.Commits(b) {
			continue
		}
		b.w.duty(b, v.actor, ledger.CommitVote{Batch: b.ID, Commitment: lifecycle.VoteCommitment(chainName, b.ID, v.Account, b.verdict(v), saltOf(v.Account))})
	}
}

func (b *Batch) tally() {
	for _, v := range b.w.Validators {
		if !b.refresh() || b.now.Phase != lifecycle.Tallying {
			return // decided: later reveals are not needed
		}
		k := b.now.Dispute.VoteOf(v.Account)
		if k == nil || !k.Committed || k.Revealed || v.Reveals != nil && !v.Reveals(b) {
			continue
		}
		b.w.duty(b, v.actor, ledger.RevealVote{Batch: b.ID, Salt: saltOf(v.Account), Leaves: b.verdict(v)})
	}
}

// verdict is what a validator says of the disputed items: found once for each
// opening.
func (b *Batch) verdict(v *Validator) []work.Leaf {
	key := source{v.Name, b.now.Dispute.OpenedHeight}
	if l, ok := b.found[key]; ok {
		return l
	}
	var l []work.Leaf
	for _, it := range b.now.Dispute.Items {
		judge := (*Validator).judge
		if v.Judges != nil {
			judge = v.Judges
		}
		leaf, ran := judge(v, b, it.Position)
		v.execute(ran, b.Job.Spec.MaxPrice)
		l = append(l, leaf)
	}
	b.found[key] = l
	return l
}

// judge executes the item or, if its delivery is in dispute, fetches its output.
func (v *Validator) judge(b *Batch, at uint64) (work.Leaf, work.Fuel) {
	if !b.now.Dispute.Delivery {
		return b.honest(at)
	}
	if b.Provider.Keeps {
		return lifecycle.Unavailable, 0
	}
	return b.now.Dispute.Items[0].Claims[0].Leaf, 0
}
