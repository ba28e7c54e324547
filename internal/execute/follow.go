package execute

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
)

// firstLookback is how many heights a role without a cursor reads back: the
// longest wait of a batch on a local network is shorter.
const firstLookback = 2000

// Follow hands f every block behind the stored cursor, in order; the height is stored
// before the next block, and after what f stored. It waits out an unreachable chain. If heights are no longer
// kept, it tells lost, once, and goes on at the newest: the role then asks the
// chain about everything it has open. Only errors of f and of the store end it.
func Follow(ctx context.Context, l ledger.Ledger, s *Store, log *slog.Logger, f func(ledger.Block) error, lost func()) error {
	for {
		own, err := follow(ctx, l, s, f)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case own != nil:
			return own
		case errors.Is(err, ledger.ErrPruned):
			if err := skip(ctx, l, s, log); err != nil && !errors.Is(err, ledger.ErrUnreachable) {
				return err
			}
			lost()
		case err != nil:
			log.Warn("cannot follow the chain: trying again", "err", err)
		}
		if err := Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// follow gives our own errors apart from the ledger's.
func follow(ctx context.Context, l ledger.Ledger, s *Store, f func(ledger.Block) error) (own, err error) {
	at, err := s.Cursor()
	if err != nil {
		return err, nil
	}
	if at == 0 {
		st, err := l.Status(ctx)
		if err != nil {
			return nil, err
		}
		at = max(0, st.Height-firstLookback)
	}
	err = l.Follow(ctx, at+1, func(b ledger.Block) error {
		own = s.handle(b, f)
		return own
	})
	return own, err
}

// handle stores the height of a block once f is done with it. That needs no disk of its
// own: what f stored is durable with it or before it, and reading the block again after a
// crash changes nothing.
func (s *Store) handle(b ledger.Block, f func(ledger.Block) error) error {
	if err := f(b); err != nil {
		return err
	}
	w := s.NewBatch()
	w.SetCursor(b.Height)
	return w.CommitLazy()
}

// skip moves the cursor to the newest height.
func skip(ctx context.Context, l ledger.Ledger, s *Store, log *slog.Logger) error {
	st, err := l.Status(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrUnreachable, err)
	}
	log.Warn("the node no longer keeps the heights since the last run: going on at the newest", "height", st.Height)
	w := s.NewBatch()
	w.SetCursor(st.Height)
	return w.Commit()
}

// Sleep waits d, or gives ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
