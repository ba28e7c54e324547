package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestNoChain keeps the chain out of the provider's program: it must stay small,
// and buildable for machines that never run a node.
func TestNoChain(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		switch dep = strings.TrimSpace(dep); {
		case dep == "github.com/gotong-network/gotong/app",
			strings.HasPrefix(dep, "github.com/gotong-network/gotong/x/") && strings.HasSuffix(dep, "/keeper"),
			dep == "github.com/gotong-network/gotong/internal/chainnode",
			dep == "github.com/cometbft/cometbft/node",
			dep == "github.com/cometbft/cometbft/consensus",
			dep == "github.com/cometbft/cometbft/state",
			dep == "github.com/cosmos/cosmos-sdk/baseapp",
			dep == "github.com/cosmos/cosmos-sdk/server",
			strings.HasPrefix(dep, "github.com/cosmos/cosmos-sdk/x/") && !strings.HasPrefix(dep, "github.com/cosmos/cosmos-sdk/x/tx/"): // a module brings baseapp along
			t.Errorf("the worker links %s", dep)
		}
	}
}
