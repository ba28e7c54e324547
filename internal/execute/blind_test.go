package execute

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// silent is a ledger that never answers.
type silent struct{ ledger.Ledger }

func (silent) Batch(ctx context.Context, _ work.BatchID) (*lifecycle.Batch, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A duty that is quick seals its leaves before the block in which it was heard of is
// stored: they must still be there after. A checker that lost them could not reveal, and
// paid for it.
func TestLeavesOutliveTheBlockOfTheirDuty(t *testing.T) {
	t.Parallel()
	s, err := OpenStore(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := &Blind{BlindConfig: BlindConfig{Ledger: silent{}, Log: slog.New(slog.DiscardHandler)}, store: s, duties: map[work.BatchID]chan struct{}{},
		game: Game{Name: "check", Concerns: func(ledger.Event) bool { return true }}}
	defer func() {
		cancel()
		b.wg.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	id, salt := work.BatchID{7}, work.Hash{8}
	leaves := []work.Leaf{{Input: work.Hash{1}, Fuel: 5, Outcome: work.Outcome{Kind: work.Exited}}, lifecycle.Unavailable}
	err = s.handle(ledger.Block{Height: 9, Events: []ledger.Event{{Kind: lifecycle.EventBatch, Batch: id}}}, func(bl ledger.Block) error {
		if err := b.block(ctx, bl); err != nil {
			return err
		}
		return b.seal(id, leaves, salt)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, of, err := b.sealed(id)
	if err != nil || of != salt || !slices.Equal(got, leaves) {
		t.Errorf("sealed %v under %s, %v", got, of, err)
	}
}
