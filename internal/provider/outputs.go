package provider

import (
	"context"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// Output gives the output of an item that was run here, nil if there is none of
// that digest: for clients and referees that cannot have it from the indexer. What
// it names stays until the job is over and forgotten here (Config.Retain).
func (p *Provider) Output(_ context.Context, q wire.OutputRequest) *wire.Output {
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
