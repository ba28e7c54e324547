package indexer

import (
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// settling is a paid batch whose delivered leaves are being compared with what
// was paid.
type settling struct {
	batch   *lifecycle.Batch
	since   time.Time
	running bool
	missing bool   // results are not all here yet
	asked   uint64 // the provider's stream on which it was asked for them
	again   bool   // more came while it ran
}

// settleSoon compares a paid batch, in a goroutine of its own once this round is
// stored.
func (x *Indexer) settleSoon(j *job, id work.BatchID) {
	w := j.settling[id]
	if w.running {
		w.again = true
		return
	}
	w.running, w.missing = true, false
	no, b, job := j.state.prov(w.batch.Provider).no, w.batch, j.id
	x.after = append(x.after, func() {
		x.spawn(func() {
			n, root, err := x.rootOf(job, no, b)
			x.post(func() { x.settled(job, id, n, root, err) })
		})
	})
}

// rootOf makes the tree of what a provider delivered for a batch; n is how many
// of its items are here.
func (x *Indexer) rootOf(job work.JobID, prov uint32, b *lifecycle.Batch) (n uint64, root work.Node, err error) {
	nodes := make([]work.Node, 0, b.N)
	err = x.db.results(job, prov, b.Items, func(s stored) error {
		l := s.result.Leaf
		nodes = append(nodes, work.ItemNode(l.Fuel, l.Hash(), work.ItemSalt(b.Salt, job, uint64(len(nodes)))))
		return nil
	})
	if err != nil || uint64(len(nodes)) != b.N {
		return uint64(len(nodes)), work.Node{}, err
	}
	root, err = work.Root(nodes)
	return b.N, root, err
}

// settled acts on the comparison.
func (x *Indexer) settled(id work.JobID, batch work.BatchID, n uint64, root work.Node, err error) {
	j := x.jobs[id]
	if j == nil || j.settling[batch] == nil {
		return
	}
	w := j.settling[batch]
	w.running = false
	b := w.batch
	switch {
	case err != nil:
		x.dead = fmt.Errorf("indexer: read results of batch %s: %w", batch.Short(), err)
	case n == b.N && root == b.Root:
		delete(j.settling, batch)
		x.verified(j, &event{Kind: evSettle, Provider: b.Provider, Items: b.Items, Batch: batch})
		x.retire(j, time.Now())
	case n == b.N:
		x.undelivered(j, batch, "it was paid for other results than it delivered")
	case w.again:
		w.again = false
		x.settleSoon(j, batch)
	default:
		w.missing = true
	}
}

// verified records verified items, and stops copies that are still running.
func (x *Indexer) verified(j *job, e *event) {
	x.record(j, e)
	for _, s := range j.state.provs {
		if s.addr == e.Provider || s.out.size() == 0 {
			continue
		}
		x.drop(j, s.addr, s.out.within(e.Items))
	}
}

// undelivered treats a paid batch as not delivered.
func (x *Indexer) undelivered(j *job, batch work.BatchID, why string) {
	b := j.settling[batch].batch
	delete(j.settling, batch)
	x.log.Warn("a paid batch was not delivered: its items go to others", "job", j.id.Short(), "batch", batch.Short(), "provider", b.Provider, "why", why)
	x.record(j, &event{Kind: evUndelivered, Provider: b.Provider, Items: b.Items, Batch: batch, Why: why})
	x.bar(j, b.Provider, why)
}

// askAgain has a provider send all that it holds of a job once more.
func (x *Indexer) askAgain(j *job, p *peer) {
	id := j.id
	x.send(p, func() []byte { return wire.EncodeResume(id) })
}

// askParts is after which part of the patience for a paid batch its provider is asked
// for what is missing: it may believe to have delivered it, to a process that ended.
const askParts = 12

// chaseDeliveries asks for the receipts of paid batches that are missing, once on each
// stream, and gives up those that do not come.
func (x *Indexer) chaseDeliveries(j *job, now time.Time) {
	for id, w := range j.settling {
		patience := x.cfg.Timing.Undelivered
		if j.rec.Inherited { // its provider may be away just now
			patience = max(patience, x.cfg.Timing.Bequeath)
		}
		if !w.missing || w.running {
			continue
		}
		if p := x.peers[w.batch.Provider]; p != nil && p.up() && p.gen != w.asked && now.Sub(w.since) > patience/askParts {
			w.asked = p.gen
			x.askAgain(j, p)
		}
		if now.Sub(w.since) > patience {
			x.undelivered(j, id, "it was paid and did not deliver all its results")
		}
	}
}
