package e2e

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/gotong-network/gotong/e2e/books"
	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// TestCheaters holds that cheats are caught, however many they are: every one that
// worked is slashed and earns nothing, everything they corrupted is computed again
// by others, the honest ones lose nothing, and the client gets only right results.
func TestCheaters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		cheaters  int
		providers int
	}{{"three of four", 3, 4}, {"none", 0, 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testCheaters(t, c.providers, c.cheaters)
		})
	}
}

func testCheaters(t *testing.T, providers, cheaters int) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	n, err := localnet.Open(ctx, localnet.Options{
		Dir: filepath.Join(t.TempDir(), "home"), Providers: providers, Checkers: 3, Cheaters: cheaters,
		BatchTime: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	led, err := n.Ledger()
	if err != nil {
		t.Fatal(errors.Join(err, n.Close()))
	}
	members, indexer := n.Members(), n.Indexer()
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- n.Run(run, nil) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	key, err := sign.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	peer, err := libp2p.New(ctx, libp2p.Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c, err := client.New(client.Config{
		Chain: n.Chain(), Account: members.Client, Ledger: led, Net: peer, IndexerOwner: members.Indexer, Profile: gw1.Version, Dir: t.TempDir(),
		Indexer: func() (p2p.Peer, error) { return indexer, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for { // all of them, or a cheat would get no work to corrupt
		st, err := c.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Ready && st.Providers >= providers {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}

	before, err := led.Supply(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s := sums{items: 48, rounds: 3_000_000, shared: []byte("cheats read it too"), tier: work.TierEconomic}
	r := s.request(t)
	r.MaxCopies = 1 // a straggler's copy would be paid before the lie is found, and not computed again
	id, err := c.Post(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	out := s.follow(ctx, t, c, id, nil)
	if t.Failed() {
		return
	}
	if _, err := c.WaitClosed(ctx, id, patience); err != nil {
		t.Fatal(err)
	}
	b := books.Read(ctx, t, led, id)
	b.Check(t)
	books.Conserved(ctx, t, led.(*cosmos.Client), before)
	if cheaters == 0 {
		b.Honest(ctx, t, led, memberBond)
	}
	checkCheats(t, b, members, out)
}

func checkCheats(t *testing.T, b books.Books, members localnet.Members, out *client.Outcome) {
	t.Helper()
	cheat, slashed, earned := map[work.Address]bool{}, b.Slashed(), map[work.Address]work.Amount{}
	for _, p := range members.Providers {
		cheat[p.Address] = p.Cheat
	}
	var void work.RangeSet
	for _, batch := range b.Batches {
		t.Logf("batch %s of %s: %d items, committed at %d, %s, replaced %d times: %s", batch.ID.Short(), batch.Provider, batch.N, batch.CommitHeight, batch.Phase, batch.Round, batch.Why)
		if cheat[batch.Provider] != (batch.Phase == lifecycle.Void) {
			t.Errorf("batch %s of %s (cheat: %t) is %s: %s", batch.ID.Short(), batch.Provider, cheat[batch.Provider], batch.Phase, batch.Why)
		}
		if batch.Phase == lifecycle.Void {
			void = void.Union(batch.Items)
		}
		for _, tr := range batch.Transfers {
			if tr.Reason == lifecycle.ReasonWork {
				earned[tr.To] += tr.Amount
			}
		}
	}
	for _, p := range members.Providers {
		switch {
		case p.Cheat && (slashed[p.Address] == 0 || earned[p.Address] > 0):
			t.Errorf("the cheat %s lost %s and earned %s", p.Name, slashed[p.Address], earned[p.Address])
		case !p.Cheat && (slashed[p.Address] > 0 || earned[p.Address] == 0):
			t.Errorf("%s is honest, lost %s and earned %s", p.Name, slashed[p.Address], earned[p.Address])
		}
	}
	for _, p := range members.Checkers {
		if slashed[p.Address] > 0 {
			t.Errorf("%s is honest and lost %s", p.Name, slashed[p.Address])
		}
	}
	if got := uint64(out.Counts.Recomputed); got != void.Len() {
		t.Errorf("%d items were recomputed, %d were in void batches", got, void.Len())
	}
}
