package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

const (
	batchTick = 200 * time.Millisecond
	// A chunk that the chain refused this often, the last time alone, is given up.
	maxRefusals = 2
)

// batcher commits what is due until ctx ends; it stops the provider if the
// records fail.
func (p *Provider) batcher(ctx context.Context, stop context.CancelCauseFunc) {
	t := time.NewTicker(min(batchTick, p.BatchTime))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-p.batchSoon:
		}
		for _, j := range p.dueJobs(time.Now()) {
			switch err := p.commitJob(ctx, j); {
			case err == nil || ctx.Err() != nil:
			case errors.Is(err, errRecords):
				stop(err)
				return
			default:
				p.log.Warn("cannot commit now: trying again", "job", j.id.Short(), "err", err)
				p.pause(j, time.Second)
			}
		}
		if err := p.clean(time.Now()); err != nil {
			stop(err)
			return
		}
	}
}

// errRecords marks errors of the provider's own records: nothing can go on.
var errRecords = errors.New("provider's records")

// dueJobs are the jobs whose loose work is to be committed now.
func (p *Provider) dueJobs(now time.Time) []*job {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*job
	for _, j := range p.jobs {
		due := j.unpaid > 0 || len(j.loose) > 0 && p.due(p.uncommittedLocked(j, now)) || slices.ContainsFunc(j.loose, func(c *chunk) bool { return c.giveUp != "" })
		if due && now.After(j.notBefore) && j.state != jobNew {
			out = append(out, j)
		}
	}
	oldest := func(j *job) uint64 {
		if len(j.loose) == 0 {
			return 0
		}
		return j.loose[0].seq
	}
	slices.SortFunc(out, func(a, b *job) int { return cmp.Compare(oldest(a), oldest(b)) })
	return out
}

func (p *Provider) uncommittedLocked(j *job, now time.Time) uncommitted {
	u := uncommitted{idle: j.queued == 0 && j.running == 0 && j.unwritten == 0, flush: j.flush || p.offeredLocked() == 0, expires: 1 << 62}
	if u.draw = j.commons; u.draw && len(j.loose) > 0 {
		oldest := j.loose[0].as
		u.drawn = len(oldest.todo) == 0 && oldest.running == 0
	}
	ranges := 0
	for _, c := range j.loose {
		u.items += c.n()
		ranges += len(c.items)
		u.oldest = max(u.oldest, now.Sub(c.since))
		u.expires = min(u.expires, c.as.a.ExpiresHeight-p.height.Load())
	}
	u.full = u.items >= p.batchItems(j) || ranges >= lifecycle.MaxBatchRanges || len(j.loose) >= lifecycle.MaxParts && manyParts(j.loose)
	return u
}

func manyParts(l []*chunk) bool {
	parts := map[*assign]bool{}
	for _, c := range l {
		parts[c.as] = true
	}
	return len(parts) >= lifecycle.MaxParts
}

// batchItems bounds a batch; tier full takes small ones only.
func (p *Provider) batchItems(j *job) uint64 {
	if n := p.maxFull.Load(); j.spec.Tier == work.TierFull && n > 0 {
		return min(p.MaxBatchItems, uint64(n))
	}
	return p.MaxBatchItems
}

func (p *Provider) pause(j *job, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j.notBefore = time.Now().Add(d)
}

// commitJob makes batches of a job's loose work, as many as the bond and the
// escrow allow, and sends each on its way.
func (p *Provider) commitJob(ctx context.Context, j *job) error {
	for {
		l, on, err := p.limits(ctx, j)
		if err != nil {
			return err
		}
		p.suspect(ctx, j, on)
		if err := p.renewLoose(j); err != nil {
			return err
		}
		if err := p.weed(j, l, fullItems(on)); err != nil {
			return err
		}
		p.mu.Lock()
		p.payableLocked(j, l)
		chunks, n := choose(j.loose, l)
		p.mu.Unlock()
		if len(chunks) == 0 {
			return p.stuck(ctx, j, l)
		}
		b, err := p.prepareBatch(j, chunks, n)
		if err != nil {
			return err
		}
		p.spawn(func() { p.tend(ctx, b) })
		p.mu.Lock()
		more := p.due(p.uncommittedLocked(j, time.Now()))
		p.mu.Unlock()
		if !more {
			return nil
		}
	}
}

// limits asks the chain what the next batch may be.
func (p *Provider) limits(ctx context.Context, j *job) (limits, *lifecycle.Job, error) {
	params, err := p.Ledger.Params(ctx)
	if err != nil {
		return limits{}, nil, err
	}
	p.maxFull.Store(params.MaxFullItems)
	onChain, err := p.Ledger.Job(ctx, j.id)
	if err != nil {
		return limits{}, nil, err
	}
	party, err := p.Ledger.Party(ctx, lifecycle.RoleProvider, p.Account)
	if err != nil {
		return limits{}, nil, fmt.Errorf("%s as a provider (register it with a bond first): %w", p.Account, err)
	}
	rho, err := p.largestChecker(ctx, onChain, params)
	if err != nil {
		return limits{}, nil, err
	}
	st, err := p.Ledger.Status(ctx)
	if err != nil {
		return limits{}, nil, err
	}
	l := limits{
		items: p.batchItems(j), height: st.Height, rules: params.Rules(), tier: j.spec.Tier, rhoPermille: rho, feePermille: uint64(j.spec.IndexerPermille),
		bond: party.Bond - min(party.Bond, party.Unbonding), escrowFree: onChain.EscrowFree, checkFree: onChain.CheckFree, oneDraw: j.commons,
	}
	for _, b := range party.Open {
		l.open = append(l.open, b.Bond)
	}
	// What is on its way to the chain is as good as locked.
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		if b.seen {
			continue
		}
		l.open = append(l.open, b.need.bond)
		if b.job == j {
			l.escrowFree -= min(l.escrowFree, b.need.escrow)
			l.checkFree -= min(l.checkFree, b.need.checks)
		}
	}
	return l, onChain, nil
}

// largestChecker is the largest checker's share of those that may be drawn: it
// raises the bond.
func (p *Provider) largestChecker(ctx context.Context, j *lifecycle.Job, params lifecycle.Params) (uint64, error) {
	all, err := p.Ledger.Parties(ctx, lifecycle.RoleChecker)
	if err != nil {
		return 0, err
	}
	var largest, total work.Amount
	for _, q := range all {
		w := q.Bond - q.Unbonding
		if w < params.CheckerBond || q.Account == j.Spec.Client || j.IndexedBy(q.Account) || q.Account == p.Account {
			continue
		}
		largest, total = max(largest, w), total+w
	}
	if total == 0 {
		return 0, nil
	}
	share, err := work.MulDiv(largest, 1000, uint64(total))
	return uint64(share) + 1, err
}

// weed gives up loose results that no commit can carry any more: the chain refused
// them, their assignment has ended, or all paid copies of the item are taken.
func (p *Provider) weed(j *job, l limits, full work.RangeSet) error {
	p.mu.Lock()
	loose := slices.Clone(j.loose)
	p.mu.Unlock()
	for _, c := range loose {
		gone, why, taken := c.items.Intersect(full), "all paid copies of the item are taken", true
		expired := c.as.a.ExpiresHeight <= l.height
		switch {
		case expired:
			gone, why, taken = c.items, "the assignment expired before its results were committed", false
		case c.giveUp != "":
			gone, why, taken = c.items, c.giveUp, false
		}
		if len(gone) > 0 {
			if err := p.lose(j, c, gone, why, taken); err != nil {
				return err
			}
		}
		if expired && j.commons { // the next epoch may draw them for this provider again
			p.mu.Lock()
			j.have.remove(gone)
			p.mu.Unlock()
		}
	}
	return nil
}

// stuck waits for bond or escrow, or gives up the oldest work where waiting
// cannot help.
func (p *Provider) stuck(ctx context.Context, j *job, l limits) error {
	party, err := p.Ledger.Party(ctx, lifecycle.RoleProvider, p.Account)
	if err != nil {
		return err
	}
	p.mu.Lock()
	var oldest *chunk
	if len(j.loose) > 0 {
		oldest = j.loose[0]
	}
	p.mu.Unlock()
	if oldest == nil {
		p.pause(j, 2*time.Second)
		return nil
	}
	n, ok := l.price(oldest.n(), oldest.fuel, oldest.maxFuel, oldest.as.a.Price)
	switch all := party.Bond - min(party.Bond, party.Unbonding); {
	case !ok || n.bond > all:
		why := fmt.Sprintf("the batch needs a bond of %s, this provider has %s: raise it", n.bond, all)
		return p.lose(j, oldest, oldest.items, why, false)
	case n.escrow > l.escrowFree && time.Since(oldest.since) > p.MaxUncommitted:
		why := fmt.Sprintf("the job's escrow has %s free, the batch costs %s", l.escrowFree, n.escrow)
		p.bar(j, why)
		return p.lose(j, oldest, oldest.items, why, false)
	case n.escrow > l.escrowFree:
		p.mu.Lock()
		j.unpaid = n.escrow
		p.mu.Unlock()
	}
	p.log.Warn("finished work waits for bond, escrow or a settled batch", "job", j.id.Short(), "open_batches", len(l.open), "bond", l.bond.String(), "bond_needed", n.bond.String(),
		"escrow_free", l.escrowFree.String(), "escrow_needed", n.escrow.String())
	p.pause(j, 2*time.Second)
	return nil
}

// payableLocked lets a job go on once its escrow has room for what it had none for.
func (p *Provider) payableLocked(j *job, l limits) {
	if j.unpaid > 0 && j.unpaid <= l.escrowFree {
		j.unpaid, j.barred = 0, ""
		p.ready.Broadcast()
	}
}

// bar gives a job's queue back, and takes nothing more of it until its escrow has room.
func (p *Provider) bar(j *job, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j.barred = why
	for _, as := range j.assigns {
		if todo := as.todo; len(todo) > 0 {
			p.unqueueLocked(as, todo)
			p.rejectLocked(j, &as.a, todo, why, false)
		}
	}
	nudge(p.loadMoved)
}

// lose gives up some results of a loose chunk and tells the indexer why; the rest stays
// loose, in a chunk of its own. Only the batcher calls it: loose chunks and their
// records are its own, or another would find the record of one that is being
// committed gone.
func (p *Provider) lose(j *job, c *chunk, gone work.RangeSet, why string, taken bool) error {
	p.log.Warn("results are given up", "job", j.id.Short(), "items", gone.Len(), "why", why)
	r, err := p.receipt(j.id, c.seq)
	if err != nil {
		return fmt.Errorf("%w: %w", errRecords, err)
	}
	keep, blobs := &open{as: c.as}, inlineOf(r)
	for _, res := range r.Results {
		if !gone.Contains(res.Index) {
			keep.ran = append(keep.ran, ran{result: res, inline: blobs.of(&res)})
		}
	}
	lost := &open{as: c.as}
	for _, rg := range gone {
		for i := rg.Lo; i < rg.Hi; i++ {
			lost.failed = append(lost.failed, failed{item: i, why: why, taken: taken})
		}
	}
	w := p.store.NewBatch()
	w.Delete(chunkKey(j.id, c.seq))
	var made []written
	var rest *chunk
	for _, o := range []*open{keep, lost} {
		for _, part := range p.split(o) {
			if len(part.ran)+len(part.failed) == 0 {
				continue
			}
			nc, frame := p.seal(part)
			nc.since, nc.refused = c.since, c.refused
			w.Set(chunkKey(j.id, nc.seq), encodeChunk(nc, frame))
			if len(part.ran) > 0 {
				rest = nc
				continue // its results were reported before
			}
			made = append(made, written{nc, frame, failures(part.failed)})
		}
	}
	if err := w.Commit(); err != nil {
		return fmt.Errorf("%w: %w", errRecords, err)
	}
	p.mu.Lock()
	delete(j.chunks, c.seq)
	j.loose = slices.DeleteFunc(j.loose, func(o *chunk) bool { return o == c })
	if rest != nil {
		rest.sent, rest.sentAt = c.sent, c.sentAt
		j.chunks[rest.seq] = rest
		j.loose = append(j.loose, rest)
	}
	p.mu.Unlock()
	p.report(made)
	return nil
}

// inlines finds the bytes that travelled in a receipt.
type inlines map[work.BlobID][]byte

func inlineOf(r *wire.Receipt) inlines {
	m := inlines{}
	for _, b := range r.Inline {
		m[work.BlobOf(b)] = b
	}
	return m
}

func (m inlines) of(r *work.Result) (out [][]byte) {
	for _, id := range r.Output.Blobs() {
		if b, ok := m[id]; ok {
			out = append(out, b)
		}
	}
	return out
}

// prepareBatch fixes a batch's contents and salt on disk.
func (p *Provider) prepareBatch(j *job, chunks []*chunk, n need) (*batch, error) {
	salt, err := execute.NewSalt()
	if err != nil {
		return nil, err
	}
	b := &batch{seq: p.nextID.Add(1), job: j, state: batchOpen, salt: salt, chunks: chunks, price: chunks[0].as.a.Price, need: n,
		wake: make(chan struct{}, 1)}
	b.parts, b.items = partsOf(chunks)
	for _, c := range chunks {
		b.maxFuel = max(b.maxFuel, c.maxFuel)
	}
	leaves, err := p.leaves(b)
	if err != nil {
		return nil, err
	}
	b.nodes = nodesOf(leaves, salt, j.id)
	if b.root, err = work.Root(b.nodes); err != nil {
		return nil, fmt.Errorf("root of a batch: %w", err)
	}
	b.id = work.BatchIDOf(p.Chain, j.id, p.Account, b.items, b.root)
	if err := p.saveBatch(b); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range chunks {
		c.batch = b
	}
	j.loose = slices.DeleteFunc(j.loose, func(c *chunk) bool { return c.batch != nil })
	p.batches[b.id] = b
	return b, nil
}

// saveBatch is durable when it returns.
func (p *Provider) saveBatch(b *batch) error {
	w := p.store.NewBatch()
	w.Set(key('b', b.job.id, b.seq), b.encode())
	if err := w.Commit(); err != nil {
		return fmt.Errorf("%w: %w", errRecords, err)
	}
	return nil
}

// leaves reads a batch's leaves back, by position.
func (p *Provider) leaves(b *batch) ([]work.Leaf, error) {
	type at struct {
		index uint64
		leaf  work.Leaf
	}
	l := make([]at, 0, b.items.Len())
	for _, c := range b.chunks {
		r, err := p.receipt(b.job.id, c.seq)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errRecords, err)
		}
		for _, res := range r.Results {
			l = append(l, at{res.Index, res.Leaf})
		}
	}
	slices.SortFunc(l, func(a, b at) int { return cmp.Compare(a.index, b.index) })
	if uint64(len(l)) != b.items.Len() {
		return nil, fmt.Errorf("%w: batch %s has %d leaves for %d items: %w", errRecords, b.id.Short(), len(l), b.items.Len(), execute.ErrDamaged)
	}
	out := make([]work.Leaf, len(l))
	for i := range l {
		out[i] = l[i].leaf
	}
	return out, nil
}
