package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// When another indexer takes a job over, what is queued, running or done here goes
// on under the assignments that the earlier one signed: the chain takes them for a
// while. The new one is told of them, and gets all receipts anew.

// indexedBy reports whether the chain names another indexer for a job than the one
// that introduced it.
func (p *Provider) indexedBy(j *job, on *lifecycle.Job) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := on.Indexer().Key; j.indexer != now && !j.commons {
		return fmt.Errorf("the chain says that indexer %s has the job, not %s", now, j.indexer)
	}
	return nil
}

// Bounds of peers that say that they have taken a job over.
const (
	maxClaims = 1024             // looked up at a time
	claimFor  = 20 * time.Second // the chain here may be behind theirs
	claimPoll = 200 * time.Millisecond

	maxHeldRanges = 1 << 16 // of one assignment: what is behind them may be run twice
)

// claimLocked looks whether the chain gave a job to the peer that says so, and calls
// then if it did; false if too many claims are being looked up.
func (p *Provider) claimLocked(ctx context.Context, j *job, from sign.PublicKey, holders []p2p.Peer, then func()) bool {
	if p.claims >= maxClaims || j.offChain {
		return false
	}
	p.claims++
	p.spawnLocked(func() {
		ok := p.checkIndexer(ctx, j, from)
		p.mu.Lock()
		p.claims--
		if ok {
			p.movedLocked(j, from)
			p.takenOverLocked(ctx, j, holders)
		}
		p.mu.Unlock()
		if ok {
			then()
		} else {
			p.log.Warn("a peer claims a job that the chain gave to another indexer", "job", j.id.Short(), "peer", from)
		}
	})
	return true
}

// checkIndexer waits until the chain names from as the job's indexer, for a while.
func (p *Provider) checkIndexer(ctx context.Context, j *job, from sign.PublicKey) bool {
	for end := time.Now().Add(claimFor); time.Now().Before(end); {
		on, err := p.Ledger.Job(ctx, j.id)
		if err == nil && on.Indexer().Key == from {
			return true
		}
		if execute.Sleep(ctx, claimPoll) != nil {
			return false
		}
	}
	return false
}

// takenOverLocked gives a job a new try under its new indexer.
func (p *Provider) takenOverLocked(ctx context.Context, j *job, holders []p2p.Peer) {
	if len(holders) > 0 {
		j.holders = holders
	}
	if j.state == jobRefused && !j.refused {
		j.state = jobNew
		p.spawnLocked(func() { p.prepare(ctx, j) })
	}
}

// movedLocked notes a job's indexer as the chain names it.
func (p *Provider) movedLocked(j *job, to sign.PublicKey) {
	if j.offChain || j.commons || to.IsZero() || j.indexer == to {
		return
	}
	p.log.Info("another indexer has taken a job over", "job", j.id.Short(), "indexer", to)
	j.indexer = to
	j.flush = false // it says when there is no more
	p.logIf(p.saveJob(j))
	if s := p.sessions[to]; s != nil {
		p.replayLocked(j, s, time.Now())
	}
}

// resumed answers an indexer that asks what is held of a job that it took over, or
// that misses results of a paid batch.
func (p *Provider) resumed(ctx context.Context, s *session, id work.JobID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.jobs[id]
	all := func() { s.push(outgoing{frame: wire.EncodeResume(id)}) }
	switch {
	case j == nil || j.offChain:
		all()
	case j.indexer == s.peer:
		p.forgetSentLocked(j)
		p.replayLocked(j, s, time.Now())
		all()
	default:
		p.claimLocked(ctx, j, s.peer, nil, all)
	}
}

// forgetSentLocked lets all chunks be sent to an indexer once more: it says that it
// could not use them when they came, or lost them with its process.
func (p *Provider) forgetSentLocked(j *job) {
	for _, c := range j.chunks {
		c.sent = nil
	}
}

// replayLocked queues what the job's indexer may not have: the assignments of
// earlier indexers, and finished chunks.
func (p *Provider) replayLocked(j *job, s *session, now time.Time) {
	for _, as := range j.assigns {
		if as.by == s.peer || j.commons {
			continue
		}
		held := as.a.Ranges.Minus(j.have.missing(as.a.Ranges))
		held = held[:min(len(held), maxHeldRanges)]
		if len(held) > 0 {
			s.push(outgoing{frame: wire.EncodeHeld(wire.Held{Assignment: as.a, Items: held})})
		}
	}
	for _, c := range j.chunks {
		if !c.lost && !c.delivered(now) {
			s.push(outgoing{job: j.id, chunk: c})
		}
	}
}
