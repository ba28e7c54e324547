package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// tend sees a batch through to its end on the chain, or until ctx ends: it asks
// where the batch stands and does what is missing, whatever happened before.
func (p *Provider) tend(ctx context.Context, b *batch) {
	wait := 250 * time.Millisecond
	for ctx.Err() == nil {
		done, err := p.advance(ctx, b)
		if done && err == nil || ctx.Err() != nil { // an end that the disk had no room for comes again
			return
		}
		pause := p.Poll
		if err != nil {
			p.log.Warn("a batch does not go on: trying again", "batch", b.id.Short(), "err", err)
			pause, wait = wait, min(2*wait, 5*time.Second)
		} else {
			wait = 250 * time.Millisecond
		}
		t := time.NewTimer(pause)
		select {
		case <-b.wake:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// advance does the next thing that the chain awaits of this provider.
func (p *Provider) advance(ctx context.Context, b *batch) (done bool, err error) {
	on, err := p.Ledger.Batch(ctx, b.id)
	if errors.Is(err, ledger.ErrNotFound) {
		return p.submitBatch(ctx, b)
	}
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	b.seen = true
	p.mu.Unlock()
	switch on.Phase {
	case lifecycle.Opening:
		return false, p.openBatch(ctx, b, on)
	case lifecycle.Revealing:
		if on.Salt.IsZero() {
			return false, p.revealBatch(ctx, b, on)
		}
	case lifecycle.Answering:
		return false, p.answer(ctx, b, on)
	case lifecycle.Settled:
		p.log.Info("batch paid", "batch", b.id.Short(), "job", b.job.id.Short(), "items", b.items.Len(), "pay", on.Pay.String())
		return true, p.endBatch(b, batchSettled)
	case lifecycle.Void, lifecycle.Unpaid:
		p.log.Error("batch not paid", "batch", b.id.Short(), "job", b.job.id.Short(), "items", b.items.Len(), "end", on.Phase.String(), "why", on.Why)
		return true, p.endBatch(b, batchLost)
	}
	return false, nil
}

// submitBatch commits what is on disk. It may be called again for the same batch:
// the chain takes it once.
func (p *Provider) submitBatch(ctx context.Context, b *batch) (done bool, err error) {
	msg := ledger.CommitBatch{Job: b.job.id, Root: b.root, MaxItemFuel: b.maxFuel}
	if b.job.commons { // nobody signed for it: the beacon did
		msg.Parts = []ledger.BatchPart{{Items: b.items}}
	} else {
		msg.Parts = b.assigned()
	}
	_, err = p.Ledger.Submit(ctx, p.Account, msg)
	if err == nil {
		p.mu.Lock()
		b.seen = true
		p.mu.Unlock()
		p.log.Info("batch committed", "batch", b.id.Short(), "job", b.job.id.Short(), "items", b.items.Len())
		return false, nil
	}
	if !errors.Is(err, ledger.ErrRefused) && !errors.Is(err, ledger.ErrFunds) {
		return false, err
	}
	refusal := err
	if _, err := p.Ledger.Batch(ctx, b.id); !errors.Is(err, ledger.ErrNotFound) {
		return false, err // it was there already
	}
	return true, p.takeApart(b, refusal)
}

// assigned are the batch's parts as the chain wants them.
func (b *batch) assigned() (parts []ledger.BatchPart) {
	for _, pt := range b.parts {
		parts = append(parts, ledger.BatchPart{Assignment: pt.as.a, Items: pt.items})
	}
	return parts
}

// takeApart frees the chunks of a batch that the chain refused, for the batcher to try
// them again otherwise, or to give them up.
func (p *Provider) takeApart(b *batch, refusal error) error {
	p.log.Warn("batch refused by the chain", "batch", b.id.Short(), "job", b.job.id.Short(), "items", b.items.Len(), "err", refusal)
	w := p.store.NewBatch()
	w.Delete(key('b', b.job.id, b.seq))
	if err := w.Commit(); err != nil {
		return fmt.Errorf("%w: %w", errRecords, err)
	}
	funds := errors.Is(refusal, ledger.ErrFunds)
	j := b.job
	p.mu.Lock()
	delete(p.batches, b.id)
	for _, c := range b.chunks {
		c.batch = nil
		old := time.Since(c.since) > p.MaxUncommitted
		if !funds {
			c.refused++
		}
		j.loose = append(j.loose, c)
		if c.refused >= maxRefusals || funds && old {
			c.giveUp = "refused by the chain: " + refusal.Error()
		}
	}
	sortLoose(j.loose)
	if funds {
		j.notBefore = time.Now().Add(2 * time.Second)
	}
	p.mu.Unlock()
	nudge(p.batchSoon)
	return nil
}

func (p *Provider) openBatch(ctx context.Context, b *batch, on *lifecycle.Batch) error {
	if b.nodes == nil {
		leaves, err := p.leaves(b)
		if err != nil {
			return err
		}
		b.nodes = nodesOf(leaves, b.salt, b.job.id)
	}
	openings, err := on.Openings(b.nodes)
	if err != nil {
		return fmt.Errorf("open batch: %w", err)
	}
	if _, err = p.Ledger.Submit(ctx, p.Account, ledger.OpenBatch{Batch: b.id, Openings: openings}); err != nil {
		return err
	}
	b.nodes = nil
	p.suspectBatch(ctx, b)
	return nil
}

func (p *Provider) revealBatch(ctx context.Context, b *batch, on *lifecycle.Batch) error {
	at := make([]uint64, len(on.Draws))
	for i, d := range on.Draws {
		if !d.Opened || d.Position >= b.items.Len() {
			return errors.New("reveal batch: the chain asks for leaves that were not opened")
		}
		at[i] = b.items.At(d.Position)
	}
	drawn, err := p.leavesOf(b, at)
	if err != nil {
		return err
	}
	_, err = p.Ledger.Submit(ctx, p.Account, ledger.RevealBatch{Batch: b.id, Salt: b.salt, Leaves: drawn})
	return err
}

func (p *Provider) answer(ctx context.Context, b *batch, on *lifecycle.Batch) error {
	if on.Dispute == nil || len(on.Dispute.Items) == 0 {
		return nil
	}
	leaves, err := p.leaves(b)
	if err != nil {
		return err
	}
	at := on.Dispute.Items[0].Position
	nodes := nodesOf(leaves, b.salt, b.job.id)
	path, err := work.Path(nodes, at)
	if err != nil {
		return fmt.Errorf("answer a challenge: %w", err)
	}
	_, err = p.Ledger.Submit(ctx, p.Account, ledger.AnswerChallenge{
		Batch: b.id, Opening: ledger.Opening{Position: at, Node: nodes[at], Path: path}, Leaf: leaves[at],
	})
	return err
}

// endBatch notes how a batch ended.
func (p *Provider) endBatch(b *batch, s batchState) error {
	p.mu.Lock()
	b.state = s
	delete(p.batches, b.id)
	for _, c := range b.chunks {
		c.lost = s == batchLost
	}
	p.mu.Unlock()
	return p.saveBatch(b)
}

// leavesOf reads the leaves of some items of a batch, and only their chunks.
func (p *Provider) leavesOf(b *batch, items []uint64) ([]work.Leaf, error) {
	out := make([]work.Leaf, len(items))
	for _, c := range b.chunks {
		if !slices.ContainsFunc(items, c.items.Contains) {
			continue
		}
		r, err := p.receipt(b.job.id, c.seq)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errRecords, err)
		}
		for _, res := range r.Results {
			for i := range items {
				if items[i] == res.Index {
					out[i] = res.Leaf
				}
			}
		}
	}
	for i := range out {
		if out[i].Input.IsZero() {
			return nil, fmt.Errorf("%w: batch %s has no leaf of item %d: %w", errRecords, b.id.Short(), items[i], execute.ErrDamaged)
		}
	}
	return out, nil
}
