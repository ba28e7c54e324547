package provider

import (
	"context"
	"errors"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// suspectBatches is how many of a job's batches, the newest first, are looked at for
// items that another provider has too: an indexer that copies a straggler's items
// makes such overlaps every day, under another attempt.
const suspectBatches = 64

// suspect looks for another provider's batch that holds items of loose work here
// under the same attempt: then the job's indexer has signed them twice, and the two
// assignments are sent to the chain. It comes before the work is committed, because
// that may be refused for just this reason.
func (p *Provider) suspect(ctx context.Context, j *job, on *lifecycle.Job) {
	if on.Convicted() || on.Commons || on.State == lifecycle.JobClosed {
		return
	}
	var taken work.RangeSet
	for _, c := range on.Copies {
		taken = taken.Union(c)
	}
	p.mu.Lock()
	var ours []*assign
	var doubtful work.RangeSet
	for _, c := range j.loose {
		if both := c.items.Intersect(taken).Minus(j.doubted); len(both) > 0 {
			doubtful = doubtful.Union(both)
			ours = append(ours, c.as)
		}
	}
	p.mu.Unlock()
	if len(ours) == 0 {
		return
	}
	if err := p.accuse(ctx, j.id, doubtful, ours); err != nil {
		p.log.Warn("cannot look for equivocation of an indexer", "job", j.id.Short(), "err", err)
		return
	}
	p.mu.Lock()
	j.doubted = j.doubted.Union(doubtful)
	p.mu.Unlock()
}

// suspectBatch looks once more when a batch has been on the chain for some blocks:
// of two providers that commit the same items at the same time neither saw the
// other before.
func (p *Provider) suspectBatch(ctx context.Context, b *batch) {
	on, err := p.Ledger.Job(ctx, b.job.id)
	if err != nil || on.Convicted() || on.Commons || on.State == lifecycle.JobClosed {
		return // nobody can be fined
	}
	var twice work.RangeSet
	for _, c := range on.Copies[min(1, len(on.Copies)):] {
		twice = twice.Union(c.Intersect(b.items))
	}
	if len(twice) == 0 {
		return
	}
	var ours []*assign
	for _, x := range b.parts {
		ours = append(ours, x.as)
	}
	if err := p.accuse(ctx, b.job.id, twice, ours); err != nil {
		p.log.Warn("cannot look for equivocation of an indexer", "job", b.job.id.Short(), "err", err)
	}
}

// accuse reports the first equivocation that the job's batches prove.
func (p *Provider) accuse(ctx context.Context, job work.JobID, items work.RangeSet, ours []*assign) error {
	ids, err := p.Ledger.Batches(ctx, job)
	if err != nil {
		return err
	}
	for k := range min(len(ids), suspectBatches) {
		id := ids[len(ids)-1-k]
		b, err := p.Ledger.Batch(ctx, id)
		if err != nil {
			return err
		}
		if b.Provider == p.Account || len(b.Items.Intersect(items)) == 0 {
			continue
		}
		if reported, err := p.compare(ctx, job, id, ours); reported || err != nil {
			return err
		}
	}
	return nil
}

// compare holds the assignments behind a batch against ours.
func (p *Provider) compare(ctx context.Context, job work.JobID, id work.BatchID, ours []*assign) (reported bool, err error) {
	parts, err := p.Ledger.Evidence(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, theirs := range parts {
		for _, as := range ours {
			a, b := as.a, theirs.Assignment
			if a.Attempt != b.Attempt || a.Provider == b.Provider || len(a.Ranges.Intersect(b.Ranges)) == 0 || b.Verify(as.by) != nil {
				continue
			}
			p.log.Error("the indexer signed the same items to two providers: reporting it", "job", job.Short(), "attempt", a.Attempt, "other", b.Provider)
			_, err := p.Ledger.Submit(ctx, p.Account, ledger.ReportEquivocation{Job: job, A: a, B: b})
			if errors.Is(err, ledger.ErrRefused) { // somebody was faster, or it counts no more
				p.log.Info("the report was refused", "job", job.Short(), "err", err)
				err = nil
			}
			return true, err
		}
	}
	return false, nil
}
