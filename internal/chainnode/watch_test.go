package chainnode

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWatch lets a copy of a running validator's home look before it signs, and a
// home that was restored of a key that nobody else uses.
func TestWatch(t *testing.T) {
	t.Parallel()
	home := initHome(t)
	n, err := Open(home, Config{RPC: "127.0.0.1:0", BlockTime: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	copied := t.TempDir()
	for _, file := range []func(string) string{validatorFile, stateFile, peerFile, vrfFile, genesisFile} {
		b, err := os.ReadFile(file(home))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(file(copied)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file(copied), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, n, 2)
	log, patience := slog.New(slog.DiscardHandler), time.Minute
	if err := Watch(t.Context(), copied, []string{n.RPC()}, patience, log); !errors.Is(err, ErrSignsElsewhere) {
		t.Fatalf("a second node with the same key: %v", err)
	}

	other := t.TempDir()
	if _, err := MakeKeys(other); err != nil {
		t.Fatal(err)
	}
	genesis, err := os.ReadFile(genesisFile(home))
	if err == nil {
		err = errors.Join(PutGenesis(other, genesis), os.WriteFile(RestoredFile(other), nil, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Watch(t.Context(), other, []string{n.RPC()}, patience, log); err != nil {
		t.Fatalf("a key that nobody else uses: %v", err)
	}
	k, err := loadKeys(other)
	if err != nil {
		t.Fatal(err)
	}
	if h := k.validator.LastSignState.Height; h < watchBlocks+3 {
		t.Errorf("a restored validator may sign above height %d: the lost one may have voted on the block after those that were watched", h)
	}
	if exists(RestoredFile(other)) {
		t.Error("the mark of the restored home stays though the chain moved")
	}
	rpc := n.RPC()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := Watch(t.Context(), copied, []string{rpc}, patience, log); err != nil {
		t.Errorf("nobody answers, so the chain may be waiting for this node: %v", err)
	}
}
