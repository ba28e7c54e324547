package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
)

// mute keeps what a node says to all to itself until it may speak.
type mute struct {
	p2p.Network
	may *atomic.Bool
}

func (m mute) Publish(ctx context.Context, topic string, b []byte) error {
	if !m.may.Load() {
		return nil
	}
	return m.Network.Publish(ctx, topic, b)
}

// TestJobWaitsForAStartingNetwork posts a job before any provider has offered itself:
// map says what it waits for, and goes on when it has come.
func TestJobWaitsForAStartingNetwork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var may atomic.Bool
	startLocal(t, localnet.Options{Dir: dir, Providers: 1, Checkers: 2, Change: func(_ string, c *node.Config) {
		c.WrapNet = func(n p2p.Network) p2p.Network { return mute{n, &may} }
	}})
	module := filepath.Join(t.TempDir(), "ok.wasm")
	if err := os.WriteFile(module, runtimetest.Module(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs lockedBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- Main(t.Context(), []string{"--home", dir, "map", "--detach", "--range", "1-2", "--", module}, strings.NewReader(""), &out, &errs)
	}()
	for !strings.Contains(errs.String(), "Waiting up to") {
		select {
		case code := <-ended:
			t.Fatalf("it did not wait: exit code %d: %s", code, errs.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	may.Store(true)
	if code := <-ended; code != exitOK || !strings.Contains(errs.String(), "no provider has a valid offer") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
