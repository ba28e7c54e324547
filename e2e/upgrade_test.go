package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// TestUpgradeOfFourValidators does what docs/upgrade.md says: validators vote for an
// upgrade, all of the old version stop at its height and say what to do, with work
// under way; the new version changes the state and goes on with that work. The old one
// and the new one say so when they are started in each other's time.
func TestUpgradeOfFourValidators(t *testing.T) {
	t.Parallel()
	const name, mark = "mark-indexers", 77
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	dir := folder(t, "before the upgrade", "after it")
	home := filepath.Join(dir, "home")
	v2 := app.Upgrade{Name: name, Migrate: func(ctx sdk.Context, k app.Keepers) error {
		all, err := k.Registry.Parties(ctx, lifecycle.RoleIndexer)
		for _, p := range all {
			p.Settled = mark
			err = errors.Join(err, k.Registry.SetParty(ctx, p))
		}
		return err
	}}
	params := lifecycle.LocalParams()
	params.WindowBlocks = 100 // the job is under way when the chain stops, however early it was posted
	open := func(version ...app.Upgrade) (*localnet.Network, error) {
		return localnet.Open(ctx, localnet.Options{Dir: home, Providers: 1, Checkers: 2, Validators: 4, Params: &params, BlockTime: 200 * time.Millisecond, BatchTime: time.Second,
			ChangeChain: func(_ string, c *chainnode.Config) { c.Upgrades = version }})
	}
	says := func(v any, args ...string) {
		t.Helper()
		p := run(t, dir, 0, append([]string{"--home", home}, args...)...)
		if err := json.Unmarshal([]byte(p.out.String()), v); err != nil {
			t.Fatalf("%s: %v in %q", p.commandLine, err, p.out.String())
		}
	}

	n, err := open()
	if err != nil {
		t.Fatal(err)
	}
	ended := runs(ctx, t, n)
	chain, err := cosmos.Dial(n.RPC()) // whether jobs can be posted is not of interest yet
	if err != nil {
		t.Fatal(err)
	}
	defer chain.Close()
	now, err := chain.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Votes are counted after 10 s, and a block takes 200 ms at least.
	at := now.Height + 100
	var proposal struct{ ID uint64 }
	says(&proposal, "governance", "propose", "upgrade", name, "--json", "--title", "Mark the indexers", "--height", strconv.FormatInt(at, 10), "--info", "take version 2")
	vote := start(t, dir, "--home", home, "governance", "vote", strconv.FormatUint(proposal.ID, 10))
	votesFor(ctx, t, n, proposal.ID, 1, 2, 3) // at once: a busy machine may take long for four commands
	if code := vote.wait(t); code != 0 {
		t.Fatalf("%s: exit code %d: %s", vote.commandLine, code, vote.errw.String())
	}
	until(ctx, t, "the height comes near", func() error {
		if now, err = chain.Status(ctx); err == nil && now.Height < at-60 {
			err = fmt.Errorf("height %d of %d", now.Height, at)
		}
		return err
	})
	var posted summary
	lastLine(t, run(t, dir, 0, "map", "--home", home, "--detach", "--json", "--each", "in/*.txt", "--out", "out/{stem}.up", "--", "work.wasm", "upper", "{in}", "{out}"), &posted)
	err = <-ended
	if want := fmt.Sprintf(`the upgrade %q is due at height %d: install the version that has it and start again: take version 2`, name, at); !errors.Is(err, app.ErrUpgrade) || !strings.Contains(err.Error(), want) {
		t.Fatalf("the network ended with %v, want %q", err, want)
	}

	if _, err := open(); !errors.Is(err, app.ErrUpgrade) {
		t.Errorf("the old version, started again: %v", err)
	}
	if n, err = open(v2); err != nil {
		t.Fatal(err)
	}
	led, err := n.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	q, err := led.Party(ctx, lifecycle.RoleIndexer, n.Members().Indexer)
	if err != nil || q.Settled != mark {
		t.Errorf("the indexer's record after the upgrade: %+v, %v", q, err)
	}
	id, err := work.ParseHash(posted.Job)
	if err != nil {
		t.Fatal(err)
	}
	if j, err := led.Job(ctx, id); err != nil || j.State != lifecycle.JobOpen {
		t.Errorf("the job was not under way: %+v, %v", j, err)
	}
	stopped, stop := context.WithCancel(ctx)
	ended = runs(stopped, t, n)
	run(t, dir, 0, "watch", posted.Job, "--home", home)
	holds(t, filepath.Join(dir, "out", "t0.up"), "BEFORE THE UPGRADE")
	holds(t, filepath.Join(dir, "out", "t1.up"), "AFTER IT")
	var supply struct{ Conserved bool }
	if says(&supply, "supply", "--json"); !supply.Conserved {
		t.Error("money was not conserved")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := open(); !errors.Is(err, app.ErrUpgrade) || !strings.Contains(err.Error(), "this program is older") {
		t.Errorf("the old version after the upgrade: %v", err)
	}
}

// votesFor has validators of a network vote for a proposal.
func votesFor(ctx context.Context, t *testing.T, n *localnet.Network, proposal uint64, validators ...int) {
	t.Helper()
	led, err := cosmos.Dial(n.RPC())
	if err != nil {
		t.Fatal(err)
	}
	defer led.Close()
	for _, i := range validators {
		k, err := n.Home().LoadKey(localnet.ValidatorName(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		led.AddKey([32]byte(k.Secret()))
		if _, err := led.Submit(ctx, k.Address, ledger.VoteProposal{Proposal: proposal, Yes: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// runs runs a network until ctx ends, and gives how it ended.
func runs(ctx context.Context, t *testing.T, n *localnet.Network) <-chan error {
	t.Helper()
	over, ready := make(chan error, 1), make(chan struct{})
	done := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer close(done)
		over <- n.Run(ctx, func() { close(ready) })
	}()
	t.Cleanup(func() { stop(); <-done })
	select {
	case <-ready:
	case <-done:
		t.Fatal(<-over)
	}
	return over
}
