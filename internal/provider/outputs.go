package provider

import (
	"context"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Output gives the output of an item that was run here, nil if there is none of
// that digest: for referees that cannot have it from the indexer. A client has no
// digest then; it is given the proof as well (see prove). What an output names stays
// until the job is over and forgotten here (Config.Retain).
func (p *Provider) Output(ctx context.Context, peer sign.PublicKey, q wire.OutputRequest) *wire.Output {
	if q.Digest.IsZero() {
		return p.prove(ctx, peer, q)
	}
	return p.output(q)
}

// prove gives an item of an open batch to who may ask in the name of the job's client,
// with the path to the root of the batch, so that nothing else can be given instead.
func (p *Provider) prove(ctx context.Context, peer sign.PublicKey, q wire.OutputRequest) *wire.Output {
	p.mu.Lock()
	b := p.batches[q.Batch]
	ok := b != nil && !p.stopped && b.job.id == q.Job && q.Granted(p.Chain, peer, b.job.spec.ClientKey)
	var pos uint64
	if ok {
		pos, ok = b.items.Position(q.Item)
	}
	if ok {
		p.wg.Add(1) // the records stay open
		defer p.wg.Done()
	}
	p.mu.Unlock()
	if !ok {
		return nil
	}
	select { // one tree is made at a time: strangers do not decide how much memory that takes
	case p.proving <- struct{}{}:
		defer func() { <-p.proving }()
	case <-ctx.Done():
		return nil
	}
	leaves, err := p.leaves(b)
	if err != nil {
		p.log.Warn("cannot prove an output to its client", "job", q.Job.Short(), "item", q.Item, "err", err)
		return nil
	}
	path, err := work.Path(nodesOf(leaves, b.salt, q.Job), pos)
	if err != nil {
		p.log.Warn("cannot prove an output to its client", "job", q.Job.Short(), "item", q.Item, "err", err)
		return nil
	}
	q.Digest = leaves[pos].Output
	o := p.output(q)
	if o != nil {
		o.Proof = &wire.Proof{Leaf: leaves[pos], Path: path}
	}
	return o
}

// output finds an item's output by its digest.
func (p *Provider) output(q wire.OutputRequest) *wire.Output {
	p.mu.Lock()
	var at []uint64
	if j := p.jobs[q.Job]; j != nil && !p.stopped {
		for seq, c := range j.chunks {
			if c.items.Contains(q.Item) {
				at = append(at, seq)
			}
		}
	}
	if len(at) > 0 {
		p.wg.Add(1) // the records stay open
		defer p.wg.Done()
	}
	p.mu.Unlock()
	for _, seq := range at {
		r, err := p.receipt(q.Job, seq)
		if err != nil {
			p.log.Warn("cannot read an output that was asked for", "job", q.Job.Short(), "item", q.Item, "err", err)
			continue
		}
		for i := range r.Results {
			if res := &r.Results[i]; res.Index == q.Item && res.Leaf.Output == q.Digest {
				return outputOf(r, res)
			}
		}
	}
	return nil
}

// outputOf takes an item's output, and its small blobs, out of a receipt.
func outputOf(r *wire.Receipt, res *work.Result) *wire.Output {
	return &wire.Output{Output: res.Output, Inline: inlineOf(r).of(res)}
}
