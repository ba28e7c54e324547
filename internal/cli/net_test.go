package cli

import (
	"context"
	"errors"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gotong-network/gotong/internal/localnet"
)

// TestNetworkScripts runs the commands that need a network, all against one local
// network of this process, whose home is $NET.
func TestNetworkScripts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startNetwork(t, dir)
	set := setup(t)
	// A subtest of its own, so that the network outlives the parallel scripts.
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/net",
			Setup: func(e *testscript.Env) error {
				e.Setenv("NET", dir)
				return set(e)
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){"module": moduleCmd, "code": codeCmd, "jobid": jobIDCmd},
		})
	})
}

// startNetwork runs a local network until the test ends.
func startNetwork(t *testing.T, dir string) {
	t.Helper()
	n, err := localnet.Open(t.Context(), localnet.Options{Dir: dir, Providers: 2, Checkers: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- n.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		stop()
		t.Fatalf("the network did not start: %v", err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the network: %v", err)
		}
	})
}
