package provider

import (
	"context"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

const (
	// Finished items wait this long for others of their assignment, if others are
	// imminent: one signature and one record then serve many.
	linger = 20 * time.Millisecond
	// Items that take longer than this are not worth waiting for.
	imminentSec = 0.010
	// A receipt is sent when it holds this much; a frame takes 8 MiB, and one item
	// at most half of that.
	maxReceiptBytes = 2 << 20
)

// open is a chunk that is still being filled.
type open struct {
	as     *assign
	ran    []ran
	failed []failed
	bytes  int
	since  time.Time
}

// write makes finished work durable in chunks, many at a time, then reports it.
// It ends with ctx, or when the records fail.
func (p *Provider) write(ctx context.Context) error {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	pending := map[uint64]*open{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case pc := <-p.done:
			p.gather(pending, pc)
		case <-t.C:
		}
		for more := true; more; { // all that is there by now shares a write
			select {
			case pc := <-p.done:
				p.gather(pending, pc)
			default:
				more = false
			}
		}
		if err := p.writeDue(pending); err != nil {
			return err
		}
		if len(pending) > 0 {
			t.Reset(linger / 4)
		}
	}
}

func (p *Provider) gather(pending map[uint64]*open, pc *piece) {
	o := pending[pc.as.id]
	if o == nil {
		o = &open{as: pc.as, since: time.Now()}
		pending[pc.as.id] = o
	}
	o.ran = append(o.ran, pc.ran...)
	o.failed = append(o.failed, pc.failed...)
	for i := range pc.ran {
		o.bytes += pc.ran[i].bytes
	}
	p.mu.Lock()
	pc.as.job.running -= uint64(len(pc.items))
	pc.as.job.unwritten += len(pc.items)
	p.mu.Unlock()
}

// writeDue writes the chunks that wait for nothing more.
func (p *Provider) writeDue(pending map[uint64]*open) error {
	var due []*open
	p.mu.Lock()
	for id, o := range pending {
		j := o.as.job
		waits := (j.running > 0 || len(o.as.todo) > 0) && j.itemSec < imminentSec
		if !waits || len(o.ran) >= p.chunkItems(j) || o.bytes >= maxReceiptBytes || time.Since(o.since) >= linger {
			due = append(due, o)
			delete(pending, id)
		}
	}
	p.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	w := p.store.NewBatch()
	var made []written
	for _, o := range due {
		for _, part := range p.split(o) {
			c, frame := p.seal(part)
			w.Set(chunkKey(o.as.job.id, c.seq), encodeChunk(c, frame))
			made = append(made, written{c, frame, failures(part.failed)})
		}
	}
	if err := w.Commit(); err != nil {
		return err
	}
	p.report(made)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range due { // only now is nothing of it on its way: a last batch takes all
		n := len(o.ran) + len(o.failed)
		o.as.running -= n
		if o.as.job.unwritten -= n; o.as.job.flush {
			nudge(p.batchSoon)
		}
	}
	return nil
}

type written struct {
	chunk  *chunk
	frame  []byte
	failed []wire.Failure
}

// chunkItems bounds the items of a chunk: batches are made of whole chunks, and
// those of tier full are small.
func (p *Provider) chunkItems(j *job) int {
	if j.spec.Tier == work.TierFull {
		return 32
	}
	return int(min(wire.MaxReceiptResults, p.MaxBatchItems))
}

// split cuts what was gathered into chunks within the bounds of a receipt.
func (p *Provider) split(o *open) []*open {
	var out []*open
	cur := &open{as: o.as}
	for _, r := range o.ran {
		if len(cur.ran) >= p.chunkItems(o.as.job) || cur.bytes+r.bytes > maxReceiptBytes && len(cur.ran) > 0 {
			out = append(out, cur)
			cur = &open{as: o.as}
		}
		cur.ran = append(cur.ran, r)
		cur.bytes += r.bytes
	}
	for _, f := range o.failed {
		if len(cur.failed) >= wire.MaxReceiptResults {
			out = append(out, cur)
			cur = &open{as: o.as}
		}
		cur.failed = append(cur.failed, f)
	}
	return append(out, cur)
}

// seal makes the chunk and its signed receipt.
func (p *Provider) seal(o *open) (*chunk, []byte) {
	j := o.as.job
	r := &wire.Receipt{Job: j.id, Attempt: o.as.a.Attempt, Provider: p.Account, Failures: failures(o.failed)}
	r.Results = make([]work.Result, 0, len(o.ran))
	for i := range o.ran {
		r.Results = append(r.Results, o.ran[i].result)
		r.Inline = append(r.Inline, o.ran[i].inline...)
	}
	c := newChunk(p.nextID.Add(1), o.as, r.Results, time.Now())
	return c, wire.EncodeReceipt(r, p.Key)
}

func newChunk(seq uint64, as *assign, results []work.Result, since time.Time) *chunk {
	c := &chunk{seq: seq, as: as, since: since}
	idx := make([]work.Range, len(results))
	for i := range results {
		c.fuel += results[i].Leaf.Fuel
		c.maxFuel = max(c.maxFuel, results[i].Leaf.Fuel)
		for _, b := range results[i].Output.Blobs() {
			if b.Size > wire.MaxInlineBytes {
				c.away += min(b.Size, 1<<40)
			}
		}
		idx[i] = work.Range{Lo: results[i].Index, Hi: results[i].Index + 1}
	}
	c.items = slices.Clip(work.NewRangeSet(idx...))
	return c
}

// failures joins items that failed for one reason.
func failures(l []failed) []wire.Failure {
	var out []wire.Failure
	type kind struct {
		refused, taken bool
		why            string
	}
	at := map[kind]int{}
	for _, f := range l {
		k := kind{f.refused, f.taken, f.why}
		r := work.Range{Lo: f.item, Hi: f.item + 1}
		if i, ok := at[k]; ok {
			out[i].Items = append(out[i].Items, r)
			continue
		}
		at[k] = len(out)
		out = append(out, wire.Failure{Items: work.RangeSet{r}, Refused: f.refused, Unrun: f.taken, Why: f.why})
	}
	for i := range out {
		out[i].Items = work.NewRangeSet(out[i].Items...)
	}
	return out
}

// report sends durable chunks to their indexers and hands them to the batcher.
func (p *Provider) report(made []written) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range made {
		j := m.chunk.as.job
		j.chunks[m.chunk.seq] = m.chunk
		if !j.commons { // what failed here is drawn for others too
			j.failLocked(m.failed)
		}
		if len(m.chunk.items) > 0 && !j.offChain {
			j.loose = append(j.loose, m.chunk)
			if j.flush || m.chunk.n() >= p.MinBatchItems {
				nudge(p.batchSoon)
			}
		}
		if s := p.sessions[j.indexer]; s != nil {
			s.push(outgoing{job: j.id, chunk: m.chunk, frame: m.frame})
		}
	}
}

// failLocked frees failed items, so that the indexer may assign them again.
func (j *job) failLocked(fs []wire.Failure) {
	for _, f := range fs {
		j.have.remove(f.Items)
	}
}
