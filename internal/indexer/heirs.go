package indexer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// A bonded indexer watches the jobs of the others. One in which nothing is committed
// for as long as the chain demands, and whose indexer does not answer, it claims. The
// indexers wait for each other in an order that differs from job to job, a stand-by
// first, so that usually one alone sends a claim: the chain takes only one.

// Bounds of watching.
const (
	maxForeign  = 1 << 16 // jobs that are watched
	maxExamined = 4       // at a time
	deadPings   = 3       // unanswered in a row: it is dead
	maxRank     = 8
	// An indexer that answers and commits nothing for so many times the chain's least
	// wait is taken for one that refuses: if a claim risks nothing, and if it does.
	refusesTimes   = 4
	refusesTimesIf = 16
)

// heirs are the jobs of other indexers.
type heirs struct {
	mu      sync.Mutex // guards the fields below
	jobs    map[work.JobID]*foreign
	running int
	full    bool // said once that no more are watched
}

// foreign is what is known of another indexer's job.
type foreign struct {
	progress int64 // height since which it waits
	next     int64 // not looked at before this height
	standby  bool  // its client asked this indexer to stand by
	pings    int   // unanswered in a row
	busy     bool
}

// note says that a job of another indexer went on at a height.
func (x *Indexer) note(id work.JobID, height int64) *foreign {
	f := x.heirs.jobs[id]
	if f == nil {
		if len(x.heirs.jobs) >= maxForeign {
			if !x.heirs.full {
				x.heirs.full = true
				x.log.Warn("not all jobs of other indexers are watched", "watched", maxForeign)
			}
			return &foreign{}
		}
		f = &foreign{}
		x.heirs.jobs[id] = f
	}
	if height > f.progress {
		f.progress, f.pings = height, 0
	}
	return f
}

// hearForeign takes in what a block says about jobs of others.
func (x *Indexer) hearForeign(b *ledger.Block) {
	if x.cfg.NoTakeover || x.cfg.NoBond {
		return
	}
	key := x.cfg.Key.Public()
	x.heirs.mu.Lock()
	defer x.heirs.mu.Unlock()
	for i := range b.Events {
		e := &b.Events[i]
		over := e.Kind == lifecycle.EventJob && e.JobState != lifecycle.JobOpen
		switch {
		case e.Job.IsZero() || e.Kind != lifecycle.EventJob && e.Kind != lifecycle.EventBatch:
		case over || e.Indexer == key:
			delete(x.heirs.jobs, e.Job)
		case e.Kind == lifecycle.EventJob || e.Phase == lifecycle.Committed:
			x.note(e.Job, b.Height)
		}
	}
}

// noteAll takes the chain's jobs in after an absence.
func (x *Indexer) noteAll(jobs []*lifecycle.Job) {
	if x.cfg.NoTakeover || x.cfg.NoBond {
		return
	}
	x.heirs.mu.Lock()
	defer x.heirs.mu.Unlock()
	for _, cj := range jobs {
		if cj.State == lifecycle.JobOpen && !cj.Commons && !x.mine(cj) {
			x.note(cj.ID, cj.Progress())
		}
	}
}

// examineForeign looks at the jobs whose time has come.
func (x *Indexer) examineForeign(height int64) {
	x.heirs.mu.Lock()
	defer x.heirs.mu.Unlock()
	for id, f := range x.heirs.jobs {
		if x.heirs.running >= maxExamined {
			return
		}
		if f.busy || height < f.next || height-f.progress < x.params.TakeoverIdleBlocks {
			continue
		}
		f.busy = true
		x.heirs.running++
		standby, pings := f.standby, f.pings
		x.spawn(func() {
			ctx, cancel := x.during(time.Minute)
			defer cancel()
			v := x.examine(ctx, id, height, standby, pings)
			x.heirs.mu.Lock()
			defer x.heirs.mu.Unlock()
			f.busy = false
			x.heirs.running--
			f.next, f.pings = v.next, v.pings
			if v.progress > f.progress {
				f.progress = v.progress
			}
			if v.over {
				delete(x.heirs.jobs, id)
			}
		})
	}
}

// verdict is what came of a look at a job.
type verdict struct {
	next     int64 // when to look again
	progress int64
	pings    int
	over     bool // it need not be watched any more
}

// examine claims a job if nothing else helps it.
func (x *Indexer) examine(ctx context.Context, id work.JobID, height int64, standby bool, pings int) verdict {
	idle := x.params.TakeoverIdleBlocks
	later := verdict{next: height + max(idle/4, 1), pings: pings}
	cj, err := x.cfg.Ledger.Job(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return verdict{over: true}
	}
	if err != nil {
		return later
	}
	later.progress = cj.Progress()
	switch {
	case cj.State != lifecycle.JobOpen || cj.Commons || x.mine(cj):
		return verdict{over: true}
	case cj.Spec.IndexerPermille < x.cfg.FeePermille && !standby:
		return verdict{over: true} // not worth it
	case cj.Takeover != nil:
		return verdict{next: cj.Takeover.Deadline + 1, progress: later.progress, pings: pings}
	}
	wait, err := x.turn(ctx, cj, standby)
	if err != nil {
		return later
	}
	if due := later.progress + idle + wait; height < due {
		return verdict{next: due, progress: later.progress, pings: pings}
	}
	if x.alive(ctx, cj.Indexer().Key) {
		later.pings = 0
		if !x.refuses(ctx, cj, height-wait) {
			return later
		}
	} else if later.pings++; later.pings < deadPings {
		later.next = height + 1 + idle/20
		return later
	}
	_, err = x.cfg.Ledger.Submit(ctx, x.cfg.Owner, ledger.TakeOver{Job: id})
	if err != nil {
		x.log.Info("a job whose indexer is silent could not be claimed", "job", id.Short(), "indexer", cj.Indexer().Owner, "err", err)
		return later
	}
	x.log.Info("claimed a job whose indexer is silent", "job", id.Short(), "indexer", cj.Indexer().Owner, "idle_blocks", height-later.progress)
	later.next = height + x.params.TakeoverAnswerBlocks + 1
	return later
}

// turn is how many blocks this indexer lets others go first.
func (x *Indexer) turn(ctx context.Context, cj *lifecycle.Job, standby bool) (int64, error) {
	all, err := x.cfg.Ledger.Parties(ctx, lifecycle.RoleIndexer)
	if err != nil {
		return 0, err
	}
	place := func(a work.Address) []byte {
		h := work.Sum("gotong/heir/1", cj.ID[:], []byte(a))
		return h[:]
	}
	mine, rank, bonded := place(x.cfg.Owner), int64(0), false
	for _, q := range all {
		switch {
		case q.Bond-min(q.Bond, q.Unbonding) < x.params.IndexerBond || q.Account == cj.Indexer().Owner:
		case q.Account == x.cfg.Owner:
			bonded = q.Peer == x.cfg.Key.Public()
		case bytes.Compare(place(q.Account), mine) < 0:
			rank++
		}
	}
	if !bonded {
		return 0, errors.New("this indexer has no bond")
	}
	if standby {
		return 0, nil
	}
	return (1 + min(rank, maxRank)) * max(2, x.params.TakeoverIdleBlocks/8), nil
}

// alive asks another indexer whether it is there.
func (x *Indexer) alive(ctx context.Context, key sign.PublicKey) bool {
	ctx, cancel := context.WithTimeout(ctx, x.cfg.Timing.Answer)
	defer cancel()
	s, err := x.cfg.Net.Dial(ctx, x.at(key), p2p.ProtocolClient)
	if err != nil {
		return false
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	b, err := wire.EncodeJSON(&wire.Request{Op: wire.OpStatus})
	if err == nil {
		err = errors.Join(s.Send(b), s.Flush())
	}
	if err == nil {
		_, err = s.Receive()
	}
	return err == nil
}

// refuses reports whether an indexer that answers lets a job lie that this one could
// serve.
func (x *Indexer) refuses(ctx context.Context, cj *lifecycle.Job, height int64) bool {
	times := int64(refusesTimes)
	if cj.CommitHeight > cj.AnswerHeight { // the claim's stake may be lost
		times = refusesTimesIf
	}
	if height-cj.Progress() < times*x.params.TakeoverIdleBlocks {
		return false
	}
	var committed work.RangeSet
	for _, c := range cj.Copies {
		committed = committed.Union(c)
	}
	fits := false
	err := x.ask(ctx, func() {
		j := newJob(&jobRecord{Spec: cj.Spec})
		fits = slices.ContainsFunc(x.rank(j, time.Now()), func(r match.Ranked) bool { return x.peers[r.Offer.Provider].up() })
	})
	return err == nil && fits && committed.Len() < cj.Spec.ItemCount
}

// at is where a peer can be reached.
func (x *Indexer) at(key sign.PublicKey) p2p.Peer {
	p := p2p.Peer{Key: key}
	if x.cfg.Where != nil {
		p.Addrs = x.cfg.Where(key)
	}
	return p
}

// standby copies what a job needs from its indexer, to take it over if that one dies.
func (x *Indexer) standby(ctx context.Context, r *wire.Request) error {
	spec, err := work.DecodeJobSpec(r.Spec)
	if err != nil {
		return err
	}
	cj, err := x.cfg.Ledger.Job(ctx, r.Job)
	switch {
	case err != nil:
		return err
	case spec.ID() != r.Job || spec.Chain != x.cfg.Chain:
		return fmt.Errorf("the spec is that of job %s, not %s", spec.ID().Short(), r.Job.Short())
	case cj.State != lifecycle.JobOpen || cj.Commons:
		return errors.New("the job is not open")
	case x.cfg.NoTakeover || x.cfg.NoBond:
		return errors.New("this indexer takes no jobs over")
	case len(r.Holders) == 0 || len(r.Holders) > maxHolders:
		return fmt.Errorf("%d holders of inputs: want 1 to %d", len(r.Holders), maxHolders)
	case spec.IndexerPermille < x.cfg.FeePermille:
		return fmt.Errorf("the job pays its indexer %d thousandths: this one asks %d", spec.IndexerPermille, x.cfg.FeePermille)
	}
	x.heirs.mu.Lock()
	x.note(r.Job, cj.Progress()).standby = true
	x.heirs.mu.Unlock()
	select {
	case x.fetch <- struct{}{}:
	default:
		return errors.New("this indexer copies enough jobs just now: ask later")
	}
	x.spawn(func() {
		defer func() { <-x.fetch }()
		if _, err := x.gather(spec, r.Holders); err != nil {
			x.log.Info("not all of a job could be copied to stand by", "job", r.Job.Short(), "err", err)
		}
	})
	return nil
}
