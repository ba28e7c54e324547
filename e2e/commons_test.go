package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/lifecycle"
)

// TestCommons proposes examples/labs to governance, votes for it, waits until idle
// providers have done it, and wants the results that anybody can fetch to be what a
// direct run of the program gives. Its money adds up.
func TestCommons(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	dir := t.TempDir()
	labs := filepath.Join(dir, "labs.wasm")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", labs, "../examples/labs")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build examples/labs: %v\n%s", err, out)
	}
	home := commonsNetwork(ctx, t, dir)
	says := func(v any, args ...string) string {
		t.Helper()
		p := run(t, dir, 0, append([]string{"--home", home}, args...)...)
		if v != nil {
			if err := json.Unmarshal([]byte(p.out.String()), v); err != nil {
				t.Fatalf("%s: %v in %q", p.commandLine, err, p.out.String())
			}
		}
		return p.out.String()
	}

	var proposed struct {
		Proposal uint64 `json:"proposal"`
		Job      string `json:"job"`
	}
	says(&proposed, "commons", "propose", "--json", "--title", "short sequences", "--grid", "length=31,33,35,37", "--grid", "walk=1,2,3,4,5,6",
		"--", labs, "-length", "{length}", "-walk", "{walk}", "-steps", "300")
	says(nil, "commons", "vote", strconv.FormatUint(proposed.Proposal, 10))

	var results struct {
		Settled, Written, Rows, Best, Failed uint64
	}
	out := filepath.Join(dir, "results")
	until(ctx, t, "24 settled items", func() error {
		p := start(t, dir, "--home", home, "commons", "results", proposed.Job, "--out", out, "--best", "merit", "--by", "length", "--json")
		if code := p.wait(t); code == 2 { // not approved yet
			return fmt.Errorf("%s", p.errw.String())
		}
		if err := json.Unmarshal([]byte(p.out.String()), &results); err != nil {
			t.Fatalf("%v in %q\n%s", err, p.out.String(), p.errw.String())
		}
		if results.Settled < 24 {
			return fmt.Errorf("%d are settled", results.Settled)
		}
		return nil
	})
	if results.Written != 24 || results.Rows != 24 || results.Best != 4 || results.Failed != 0 {
		t.Errorf("results: %+v", results)
	}
	for i, args := range map[int][]string{0: {"31", "1"}, 9: {"33", "4"}, 23: {"37", "6"}} {
		direct := says(nil, "run", labs, "-length", args[0], "-walk", args[1], "-steps", "300")
		got, err := os.ReadFile(filepath.Join(out, "items", fmt.Sprintf("%d.txt", i)))
		if err != nil || string(got) != direct {
			t.Errorf("item %d: %q, a direct run gives %q (%v)", i, got, direct, err)
		}
	}
	if page, err := os.ReadFile(filepath.Join(out, "index.html")); err != nil || !strings.Contains(string(page), "merit over length") {
		t.Errorf("the page of results: %v", err)
	}
	checkCommonsMoney(t, proposed.Job, says)
}

// commonsNetwork runs a network with short epochs in this process and gives its home.
func commonsNetwork(ctx context.Context, t *testing.T, dir string) string {
	t.Helper()
	params := lifecycle.LocalParams()
	params.CommonsEpochBlocks, params.CommonsChunkItems = 20, 12
	home := filepath.Join(dir, "home")
	n, err := localnet.Open(ctx, localnet.Options{Dir: home, Providers: 2, Checkers: 3, Params: &params, BatchTime: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	runs, stop := context.WithCancel(ctx)
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- n.Run(runs, func() { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	return home
}

// checkCommonsMoney wants the emission to have paid exactly what was worked and
// checked, workers to be named, and the supply to be conserved.
func checkCommonsMoney(t *testing.T, job string, says func(v any, args ...string) string) {
	t.Helper()
	var list struct {
		Jobs []struct {
			Job     string
			Settled uint64
			Workers []struct{ Items uint64 }
		}
	}
	says(&list, "commons", "list", "--json")
	var done uint64
	for _, j := range list.Jobs {
		for _, w := range j.Workers {
			done += w.Items
		}
	}
	if len(list.Jobs) != 1 || list.Jobs[0].Job != job || list.Jobs[0].Settled != 24 || done != 24 {
		t.Errorf("list: %+v", list)
	}
	var cost struct {
		AddsUp  bool                   `json:"adds_up"`
		Parties []struct{ Net string } `json:"parties"`
	}
	says(&cost, "cost", job, "--json")
	var sum int64
	for _, p := range cost.Parties {
		net, err := strconv.ParseInt(p.Net, 10, 64)
		if err != nil {
			t.Error(err)
		}
		sum += net
	}
	if !cost.AddsUp || sum != 0 || len(cost.Parties) < 5 {
		t.Errorf("cost: %+v", cost)
	}
	var supply struct {
		Conserved     bool
		MintedCommons string `json:"minted_commons"`
		Energy        struct {
			Joules float64 `json:"joules_per_unit"`
		}
	}
	says(&supply, "supply", "--json")
	if !supply.Conserved || supply.MintedCommons == "0" || supply.Energy.Joules <= 0 {
		t.Errorf("supply: %+v", supply)
	}
}

// until waits until f gives nil.
func until(ctx context.Context, t *testing.T, what string, f func() error) {
	t.Helper()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited for %s: %v", what, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
