package indexer

import (
	"context"
	"time"
)

// Snapshot is what an indexer does now, for its operator.
type Snapshot struct {
	Offers    int // that hold
	Connected int // of these, with a stream
	Jobs      int // served, not over
	Watchers  int
	// Items of these jobs, by state.
	Waiting, Assigned, Provisional, Verified, Failed uint64
}

// Snapshot says what the indexer does now.
func (x *Indexer) Snapshot(ctx context.Context) (s Snapshot, err error) {
	err = x.ask(ctx, func() {
		now := time.Now().Unix()
		for _, p := range x.peers {
			if p.offer.ExpiresUnix >= now {
				s.Offers++
				if p.up() {
					s.Connected++
				}
			}
		}
		s.Watchers = x.watchers
		for _, j := range x.active {
			if j.rec.Over {
				continue
			}
			c := j.state.counts()
			s.Jobs++
			s.Waiting, s.Assigned, s.Provisional = s.Waiting+c.Waiting, s.Assigned+c.Assigned, s.Provisional+c.Provisional
			s.Verified, s.Failed = s.Verified+c.Verified, s.Failed+c.Failed
		}
	})
	return s, err
}
