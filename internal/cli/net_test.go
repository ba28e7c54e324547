package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/lifecycle"
)

// TestNetworkScripts runs the commands that need a network, all against one local
// network of this process, whose home is $NET.
func TestNetworkScripts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var logs lockedBuffer
	startLocal(t, localnet.Options{Dir: dir, Providers: 2, Checkers: 2, Log: slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	set := setup(t)
	t.Run("logs", func(t *testing.T) { testLogs(t, dir, &logs) })
	t.Run("governance", func(t *testing.T) {
		t.Parallel()
		testGovernance(t, dir)
	})
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

// startLocal runs a local network until the test ends.
func startLocal(t *testing.T, o localnet.Options) {
	t.Helper()
	n, err := localnet.Open(t.Context(), o)
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

// testLogs follows one job by its id through the logs of every role, in order.
func testLogs(t *testing.T, dir string, logs *lockedBuffer) {
	module := filepath.Join(t.TempDir(), "ok.wasm")
	if err := os.WriteFile(module, runtimetest.Module(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs lockedBuffer
	if code := Main(t.Context(), []string{"--home", dir, "--verbose", "--log-format", "json", "map", "--json", "--env", "FOR=logs", "--range", "1-9", "--", module},
		strings.NewReader(""), &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var sum mapSummary
	if err := json.Unmarshal([]byte(out.String()), &sum); err != nil {
		t.Fatal(err)
	}
	job := sum.Job[:12]
	if lines := logLines(errs.String(), job); !slices.Contains(lines, "job is posted") {
		t.Errorf("the client's log does not tell of job %s: %q", job, errs.String())
	}
	said := logLines(logs.String(), job)
	for end := time.Now().Add(time.Minute); !slices.Contains(said, "batch paid") && time.Now().Before(end); said = logLines(logs.String(), job) {
		time.Sleep(20 * time.Millisecond) // the provider hears of its pay after the client may
	}
	at := -1
	for _, want := range []string{"job is served", "items handed out", "job is taken on", "batch committed", "check committed", "check revealed", "batch paid"} {
		next := slices.Index(said, want)
		if next < at {
			t.Errorf("%q comes before what leads to it, or not at all: %q", want, said)
		}
		at = next
	}
	for _, want := range []string{"chain: job", "chain: batch"} {
		if !slices.Contains(said, want) {
			t.Errorf("the validator's log has no %q: %q", want, said)
		}
	}
}

// testGovernance changes a parameter by a vote, shows another proposal whole and votes
// it down.
func testGovernance(t *testing.T, dir string) {
	t.Helper()
	says := func(v any, args ...string) string {
		t.Helper()
		var out, errs lockedBuffer
		if code := Main(t.Context(), append([]string{"--home", dir, "governance"}, args...), strings.NewReader(""), &out, &errs); code != exitOK {
			t.Fatalf("%v: exit code %d: %s", args, code, errs.String())
		}
		if v != nil {
			if err := json.Unmarshal([]byte(out.String()), v); err != nil {
				t.Fatalf("%v: %v in %q", args, err, out.String())
			}
		}
		return out.String()
	}
	var before, after lifecycle.Params
	says(&before, "params", "--json")
	want := before
	want.GovernanceBlocks += 7
	var slower, next proposalView
	says(&slower, "propose", "params", "--json", "--title", "Slower courts", fmt.Sprintf("governance_blocks=%d", want.GovernanceBlocks))
	says(&next, "propose", "upgrade", "next", "--json", "--title", "Version 2", "--height", "1000000", "--info", "see the notes")
	if got := viewMessage(ledger.SetParams{Params: want}, before); slower.Status != "voting" || !reflect.DeepEqual(slower.Does, []messageView{got}) {
		t.Errorf("proposed %+v, want %+v", slower, got)
	}
	if text := says(nil, "show", strconv.FormatUint(next.ID, 10)); !strings.Contains(text, `upgrade "next" at height 1000000`) || !strings.Contains(text, "see the notes") {
		t.Errorf("the upgrade is shown as %q", text)
	}
	says(nil, "vote", strconv.FormatUint(slower.ID, 10))
	says(nil, "vote", "--no", strconv.FormatUint(next.ID, 10))
	for end := time.Now().Add(2 * time.Minute); after != want && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		says(&after, "params", "--json")
	}
	if after != want {
		t.Fatalf("the parameters are %+v, want %+v", after, want)
	}
	status := map[uint64]string{}
	for end := time.Now().Add(2 * time.Minute); status[next.ID] != "rejected" && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var l []proposalView
		says(&l, "list", "--json")
		for _, p := range l {
			status[p.ID] = p.Status
		}
	}
	if status[slower.ID] != "passed" || status[next.ID] != "rejected" {
		t.Errorf("proposals %d and %d ended %v", slower.ID, next.ID, status)
	}
}

// logLines are the messages about a job, in order.
func logLines(log, job string) []string {
	var out []string
	for line := range strings.Lines(log) {
		var l struct{ Msg, Job string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Job == job {
			out = append(out, l.Msg)
		}
	}
	return out
}

// lockedBuffer is written by many.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
