package lifecycle

import (
	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/work"
)

// Bounds of one commit message.
const (
	MaxParts       = 256  // assignments that one batch may use
	MaxBatchRanges = 4096 // ranges of one batch's items
)

// checkParts reports why the parts may not be committed, or gives their items, their
// price, and the indexer that signed them all.
func checkParts(j *Job, chain string, height int64, p Params, provider work.Address, parts []Part) (_ work.RangeSet, _ work.Price, by Signer, err error) {
	if len(parts) == 0 || len(parts) > MaxParts {
		return nil, 0, by, refused("commit of %d parts: want 1 to %d", len(parts), MaxParts)
	}
	var all []work.Range
	var n uint64
	for i := range parts {
		if err := checkPart(j, chain, height, p, provider, &parts[i]); err != nil {
			return nil, 0, by, err
		}
		if by, err = checkSigner(j, &parts[i].Assignment, by); err != nil {
			return nil, 0, by, err
		}
		if parts[i].Assignment.Price != parts[0].Assignment.Price {
			return nil, 0, by, refused("assignments at prices %d and %d: one batch has one price", parts[0].Assignment.Price, parts[i].Assignment.Price)
		}
		all = append(all, parts[i].Items...)
		n += parts[i].Items.Len()
	}
	items := work.NewRangeSet(all...)
	switch {
	case items.Len() != n:
		return nil, 0, by, refused("an item is in two parts of the commit")
	case len(items) > MaxBatchRanges:
		return nil, 0, by, refused("commit of %d ranges: want at most %d", len(items), MaxBatchRanges)
	case items[len(items)-1].Hi > j.Spec.ItemCount:
		return nil, 0, by, refused("item %d: the job has %d items", items[len(items)-1].Hi-1, j.Spec.ItemCount)
	}
	return items, parts[0].Assignment.Price, by, nil
}

// checkSigner finds the indexer of the job that signed a: that of the batch's other
// parts, if they have one.
func checkSigner(j *Job, a *work.Assignment, by Signer) (Signer, error) {
	signers := j.Signers()
	if by.Owner != "" {
		signers = []Signer{by}
	}
	err := refused("no indexer of job %s may sign an assignment that is valid until height %d", j.ID.Short(), a.ExpiresHeight)
	for k := len(signers) - 1; k >= 0; k-- {
		if !signers[k].signs(a.ExpiresHeight) {
			continue
		}
		cause := a.Verify(signers[k].Key)
		if cause == nil {
			return signers[k], nil
		}
		err = refused("%v", cause)
	}
	return by, err
}

func checkPart(j *Job, chain string, height int64, p Params, provider work.Address, part *Part) error {
	a := &part.Assignment
	switch {
	case a.Chain != chain || a.Job != j.ID:
		return refused("assignment is for another job")
	case a.Provider != provider:
		return refused("assignment of %s was used by %s", a.Provider, provider)
	case a.ExpiresHeight < height:
		return refused("assignment expired at height %d", a.ExpiresHeight)
	case a.ExpiresHeight > height+p.ClosingBlocks:
		return refused("assignment is valid until height %d, over %d blocks away", a.ExpiresHeight, p.ClosingBlocks)
	case a.Price > j.Spec.MaxPrice || a.Price < p.MinPrice:
		return refused("assigned price %d: want %d to %d", a.Price, p.MinPrice, j.Spec.MaxPrice)
	case len(part.Items) == 0 || part.Items.Validate() != nil:
		return refused("items of a part: %v", work.ErrRanges)
	case len(part.Items) > MaxBatchRanges:
		return refused("part of %d ranges: want at most %d", len(part.Items), MaxBatchRanges)
	case len(part.Items.Minus(a.Ranges)) > 0:
		return refused("item %s is not assigned", part.Items.Minus(a.Ranges)[0])
	}
	return nil
}

// newBatch reports why the root cannot be committed for items, or makes the batch.
func newBatch(j *Job, chain string, height int64, p Params, provider work.Address, items work.RangeSet, price work.Price, root work.Node, maxItemFuel work.Fuel) (*Batch, error) {
	n, tier := items.Len(), j.Spec.Tier
	switch {
	case n > work.MaxBatchItems:
		return nil, refused("batch of %d items: want at most %d", n, work.MaxBatchItems)
	case tier == work.TierFull && n > uint64(p.MaxFullItems):
		return nil, refused("batch of %d items: tier full takes at most %d", n, p.MaxFullItems)
	case uint64(root.Fuel) < n:
		return nil, refused("%d items with %d fuel: no item weighs nothing", n, root.Fuel)
	case maxItemFuel == 0 || maxItemFuel > j.Spec.Limits.Fuel:
		return nil, refused("bound of %d fuel an item: want 1 to %d", maxItemFuel, j.Spec.Limits.Fuel)
	case uint64(root.Fuel)/n > uint64(maxItemFuel) || uint64(root.Fuel)/n == uint64(maxItemFuel) && uint64(root.Fuel)%n > 0:
		return nil, refused("%d items of at most %d fuel cannot have %d", n, maxItemFuel, root.Fuel)
	}
	b := &Batch{
		Sample: p.Rules().SampleSize(tier, n),
		ID:     work.BatchIDOf(chain, j.ID, provider, items, root), Job: j.ID, Provider: provider, Tier: tier,
		Items: items, N: n, Root: root, MaxItemFuel: maxItemFuel, Price: price, CommitHeight: height,
	}
	var err error
	if b.Pay, err = work.Cost(root.Fuel, price); err != nil {
		return nil, refused("pay of the batch: %v", err)
	}
	if b.CheckBudget, err = p.Rules().CheckBudget(b.load()); err != nil {
		return nil, refused("checks of the batch: %v", err)
	}
	return b, nil
}

// load is the batch as the formulas see it.
func (b *Batch) load() incentive.Batch {
	return incentive.Batch{Tier: b.Tier, Items: b.N, Fuel: b.Root.Fuel, MaxItemFuel: b.MaxItemFuel, Price: b.Price, Sample: b.Sample}
}
