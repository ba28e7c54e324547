package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
)

func TestSayWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		compiling := true
		stop := sayWaiting(&out, "loop.wasm", 1e12, func() bool { return compiling })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		compiling = false
		time.Sleep(10 * time.Minute)
		stop()
		time.Sleep(time.Hour)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		want := []string{
			"loop.wasm is being compiled, 2s so far: only the first run takes this time",
			"loop.wasm still runs after 4s: Ctrl-C ends it; by itself it ends at 1e12 fuel (--max-fuel)",
			"loop.wasm still runs after 8s: Ctrl-C ends it; by itself it ends at 1e12 fuel (--max-fuel)",
		}
		if len(lines) < len(want) || strings.Join(lines[:len(want)], "\n") != strings.Join(want, "\n") {
			t.Errorf("it said\n%s", out.String())
		}
		if n := len(lines); n != 14 { // 2, 4, … 64 s, then each minute up to 603 s
			t.Errorf("%d lines in ten minutes:\n%s", n, out.String())
		}
	})
}

// TestRunOfALoopIsInterrupted runs what never ends as a user does who reads what
// it says.
func TestRunOfALoopIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	loop := filepath.Join(dir, "loop.wasm")
	if err := os.WriteFile(loop, runtimetest.Module([]byte{0x03, 0x40, 0x0c, 0, 0x0b}), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errw := &reader{seen: "Ctrl-C ends it", then: cancel}
	code := Main(ctx, []string{"--home", filepath.Join(dir, "home"), "run", loop}, strings.NewReader(""), io.Discard, errw)
	if code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	if text := errw.String(); !strings.Contains(text, "no result") || !strings.Contains(text, "--max-fuel bounds a run") {
		t.Errorf("it said %q", text)
	}
}

// reader is a user who does something once they have read some words.
type reader struct {
	seen string
	then func()

	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

// Write implements io.Writer.
func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.Write(p)
	if strings.Contains(r.text.String(), r.seen) {
		r.then()
	}
	return len(p), nil
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}
