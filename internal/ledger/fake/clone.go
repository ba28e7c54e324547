package fake

import (
	"slices"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Copies of records that share no memory with them. A test holds them to that, also
// for fields that come later.

func cloneJob(j *lifecycle.Job) *lifecycle.Job {
	c := *j
	c.Copies, c.Indexers = cloneSets(j.Copies), slices.Clone(j.Indexers)
	c.Spec.Place.Jurisdictions, c.Spec.Place.Attesters = slices.Clone(j.Spec.Place.Jurisdictions), slices.Clone(j.Spec.Place.Attesters)
	if j.Takeover != nil {
		c.Takeover = new(*j.Takeover)
	}
	return &c
}

func cloneSets(l []work.RangeSet) []work.RangeSet {
	l = slices.Clone(l)
	for i := range l {
		l[i] = slices.Clone(l[i])
	}
	return l
}

func cloneBatch(b *lifecycle.Batch) *lifecycle.Batch {
	c := *b
	c.Items, c.Placed = slices.Clone(b.Items), cloneSets(b.Placed)
	c.Draws, c.Decided, c.Transfers = slices.Clone(b.Draws), slices.Clone(b.Decided), slices.Clone(b.Transfers)
	c.Checks = slices.Clone(b.Checks)
	for i := range c.Checks {
		k := &c.Checks[i]
		k.Draws, k.Leaves = slices.Clone(k.Draws), slices.Clone(k.Leaves)
	}
	if b.Dispute != nil {
		c.Dispute = cloneDispute(b.Dispute)
	}
	return &c
}

func cloneDispute(d *lifecycle.Dispute) *lifecycle.Dispute {
	c := *d
	c.Items = slices.Clone(d.Items)
	for i := range c.Items {
		item := &c.Items[i]
		item.Claims = slices.Clone(item.Claims)
		if item.Decided != nil {
			leaf := *item.Decided
			item.Decided = &leaf
		}
	}
	c.Votes = slices.Clone(d.Votes)
	for i := range c.Votes {
		c.Votes[i].Leaves = slices.Clone(c.Votes[i].Leaves)
	}
	return &c
}

func cloneParty(p *lifecycle.Party) *lifecycle.Party {
	c := *p
	c.Open, c.Vesting = slices.Clone(p.Open), slices.Clone(p.Vesting)
	return &c
}

func cloneSuspension(v *lifecycle.Suspension) *lifecycle.Suspension {
	return &lifecycle.Suspension{Batches: slices.Clone(v.Batches)}
}

func cloneCommons(v *lifecycle.Commons) *lifecycle.Commons {
	c := *v
	c.Jobs, c.Epochs = slices.Clone(v.Jobs), slices.Clone(v.Epochs)
	for i := range c.Epochs {
		e := &c.Epochs[i]
		e.Jobs, e.Items = slices.Clone(e.Jobs), cloneSets(e.Items)
	}
	return &c
}

func cloneParts(l []lifecycle.Part) []lifecycle.Part {
	l = slices.Clone(l)
	for i := range l {
		l[i].Items, l[i].Assignment.Ranges = slices.Clone(l[i].Items), slices.Clone(l[i].Assignment.Ranges)
	}
	return l
}
