package node_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/internal/limits"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
)

func TestMain(m *testing.M) {
	wasm.MaybeWorker()
	os.Exit(m.Run())
}

// TestLimitsReachTheProvider holds that what an owner gives bounds a node's slots,
// blobs and workers, and that a change counts while it runs.
func TestLimitsReachTheProvider(t *testing.T) {
	t.Parallel()
	key, err := sign.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := limits.Parse(limits.Flags{CPU: "50%", Disk: "1GiB", Power: "any", Heat: "off", Metered: "work"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n, err := node.New(t.Context(), node.Config{
		Dir: filepath.Join(dir, "node"), Cache: filepath.Join(dir, "cache"), Chain: "test-1", Account: "prov", Key: key,
		Ledger: fake.New(fake.Config{Chain: "test-1", Params: lifecycle.LocalParams(), Seed: 1}), Log: slog.New(slog.DiscardHandler),
		Provider: &node.Provider{Slots: 8, Price: 1, Limits: &c},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := n.Limits().Status()
	if l.CPULimitPercent != 50 || l.DiskLimit != 1<<30 || l.Bound == "" || l.Fault != "" {
		t.Errorf("limits: %+v", l)
	}
	if s := n.Provider().Status(); s.Slots != 8 || !l.Paused && (s.SlotsAllowed != l.Slots || s.SlotsAllowed > 8) {
		t.Errorf("provider: %+v, limits: %+v", s, l)
	}
	// Hours that are over, or not begun: at the next reading it pauses.
	h := time.Now().Add(12 * time.Hour).Format("15:04")
	closed, err := limits.Parse(limits.Flags{Hours: h + "-" + time.Now().Add(13*time.Hour).Format("15:04")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Errorf("the node ended: %v", err)
		}
	})
	n.Limits().Change(closed)
	for end := time.Now().Add(time.Minute); n.Provider().Status().State != provider.Paused; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("provider: %+v, limits: %+v", n.Provider().Status(), n.Limits().Status())
		}
	}
}
