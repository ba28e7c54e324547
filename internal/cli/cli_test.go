package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
)

func TestMain(m *testing.M) {
	wasm.MaybeWorker()
	testscript.Main(m, map[string]func(){"gotong": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		code := Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}})
}

// TestScripts runs the commands that need no network.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setup(t),
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"module": moduleCmd, "code": codeCmd},
	})
}

// setup gives each script a home of its own, and all of them one cache of compiled
// programs.
func setup(t *testing.T) func(*testscript.Env) error {
	module, err := os.ReadFile("../../gw1/testdata/cprog.wasm")
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	return func(e *testscript.Env) error {
		e.Setenv("HOME", filepath.Join(e.WorkDir, "user"))
		e.Setenv("XDG_CACHE_HOME", cache)
		return os.WriteFile(filepath.Join(e.WorkDir, "cprog.wasm"), module, 0o644)
	}
}

// moduleCmd writes a small module: module KIND FILE.
func moduleCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: module KIND FILE")
	}
	modules := map[string][]byte{
		"ok":        runtimetest.Module(nil),
		"trap":      runtimetest.Module([]byte{0}),
		"loop":      runtimetest.Module([]byte{0x03, 0x40, 0x0c, 0, 0x0b}),
		"recursion": runtimetest.ModuleRecursion(),
		"component": []byte("\x00asm\x0d\x00\x01\x00\x00\x00"),
		"import":    importing("env", "fork"),
		"elf":       []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00"),
		"empty":     nil,
	}
	b, ok := modules[args[0]]
	if !ok {
		ts.Fatalf("no module %q", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o644))
}

// importing is a module that imports a function without parameters.
func importing(from, name string) []byte {
	b := []byte{0, 'a', 's', 'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 2, byte(5 + len(from) + len(name)), 1, byte(len(from))}
	b = append(append(b, from...), byte(len(name)))
	return append(append(b, name...), 0, 0)
}

// codeCmd runs gotong and demands its exit code: code N ARGUMENT...
func codeCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N ARGUMENT...")
	}
	got := 0
	if err := ts.Exec("gotong", args[1:]...); err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("gotong: %v", err)
		}
		got = exit.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}
