package execute

import (
	"context"
	"errors"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// wiper lets go of the data of jobs that are over, until ctx ends. A closed job has no
// batch left that could be checked or disputed; what a referee found for a claim
// stays for Retain, so that the client can have it.
func (b *Blind) wiper(ctx context.Context) {
	t := time.NewTicker(max(b.Retain/2, 10*time.Millisecond))
	defer t.Stop()
	closed := map[work.JobID]time.Time{} // since when it was seen to be closed
	for {
		if err := b.wipeOver(ctx, closed); err != nil && ctx.Err() == nil {
			b.Log.Warn("data of jobs that are over stays for now", "duty", b.game.Name, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (b *Blind) wipeOver(ctx context.Context, closed map[work.JobID]time.Time) error {
	claimed, err := b.Execute.Claimed()
	if err != nil {
		return err
	}
	for _, id := range claimed {
		j, err := b.Ledger.Job(ctx, id)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		if err == nil && j.State != lifecycle.JobClosed {
			continue
		}
		if since, seen := closed[id]; !seen {
			closed[id] = time.Now()
			continue
		} else if time.Since(since) < b.Retain {
			continue
		}
		delete(closed, id)
		b.Log.Info("data of a job that is over is wiped", "duty", b.game.Name, "job", id.Short())
		if err := b.Execute.Wipe(id); err != nil {
			return err
		}
	}
	return nil
}
