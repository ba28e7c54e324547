//go:build linux && (amd64 || arm64)

package wasm

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
)

// cacheDir is shared by the tests of this package, so that the suite's program
// is compiled once.
var cacheDir string

func TestMain(m *testing.M) {
	if len(os.Args) > 0 && os.Args[0] == workerName {
		atStage = deedFromName()
	}
	MaybeWorker()
	if os.Getenv(orphanEnv) != "" {
		orphanMain()
	}
	if os.Getenv(sharerEnv) != "" {
		sharerMain()
		return
	}
	dir, err := os.MkdirTemp("", "wasm")
	if err != nil {
		panic(err)
	}
	cacheDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func open(t testing.TB, cfg Config) *Runtime {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = cacheDir
	}
	if cfg.Slots == 0 {
		cfg.Slots = 2
	}
	cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func factory(t testing.TB, blobs runtime.Blobs) runtime.Runtime { return open(t, Config{Blobs: blobs}) }

func TestConformance(t *testing.T) {
	t.Parallel()
	runtimetest.Suite(t, gw1.Version, factory)
}

func TestEscape(t *testing.T) {
	t.Parallel()
	runtimetest.Escape(t, gw1.Version, factory)
}
