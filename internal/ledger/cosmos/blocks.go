package cosmos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
)

// retryPause is the wait before another try at a node that cannot be reached.
const retryPause = 200 * time.Millisecond

// Follow implements ledger.Follower. What f gets is shared with other followers:
// it must not change it.
func (c *Client) Follow(ctx context.Context, from int64, f func(ledger.Block) error) error {
	if from < 1 {
		return fmt.Errorf("heights begin at 1, not %d", from)
	}
	for height := from; ; height++ {
		if err := c.await(ctx, height, 0); err != nil {
			return err
		}
		b, err := retried(ctx, height, c.node.Block)
		if err != nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
}

// retried gives a part of a committed height, trying until the node answers.
func retried[T any](ctx context.Context, height int64, get func(context.Context, int64) (T, error)) (T, error) {
	for {
		v, err := get(ctx, height)
		if !errors.Is(err, ledger.ErrUnreachable) {
			return v, err
		}
		if err := pause(ctx, retryPause); err != nil {
			return v, err
		}
	}
}

// pause waits; its error is the context's.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
