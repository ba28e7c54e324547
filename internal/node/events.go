package node

import (
	"context"
	"errors"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
)

// tellEvents logs what the chain does with jobs and batches until ctx ends, so that
// a validator's log tells of a job what the other roles' logs do.
func (n *Node) tellEvents(ctx context.Context) error {
	from := int64(0)
	for ctx.Err() == nil {
		if from == 0 {
			if st, err := n.cfg.Ledger.Status(ctx); err == nil {
				from = st.Height + 1
			}
		}
		if from > 0 {
			err := n.cfg.Ledger.Follow(ctx, from, func(b ledger.Block) error {
				from = b.Height + 1
				for _, e := range b.Events {
					n.tellEvent(b.Height, e)
				}
				return nil
			})
			if errors.Is(err, ledger.ErrPruned) {
				from = 0 // what is gone is not told
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (n *Node) tellEvent(height int64, e ledger.Event) {
	switch {
	case e.Job.IsZero():
	case !e.Batch.IsZero() && e.Phase > 0:
		n.cfg.Log.Info("chain: batch", "job", e.Job.Short(), "batch", e.Batch.Short(), "phase", e.Phase.String(), "height", height)
	case e.Batch.IsZero() && e.JobState > 0:
		n.cfg.Log.Info("chain: job", "job", e.Job.Short(), "state", uint8(e.JobState), "height", height)
	}
}
