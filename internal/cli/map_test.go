package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/work"
)

// jobIDCmd puts the last command's stdout into a variable: jobid NAME.
func jobIDCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: jobid NAME")
	}
	id := strings.TrimSpace(ts.ReadFile("stdout"))
	if _, err := work.ParseHash(id); err != nil {
		ts.Fatalf("stdout is no job id: %v", err)
	}
	ts.Setenv(args[0], id)
}

func TestMapMakesItems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	program := put("p.wasm", string(runtimetest.Module(nil)))
	put("in/b.txt", "b")
	put("in/deep/a.txt", "a")
	model := put("model.bin", "weights")
	options := func(edit func(o *mapOptions)) mapOptions {
		o := mapOptions{tier: "assured", chunk: "auto:60s", copies: 2, memory: 1 << 20, maxFuel: 1e9, maxOutput: 1 << 20}
		edit(&o)
		return o
	}
	a := &app{homeDir: filepath.Join(dir, "home"), in: strings.NewReader("x\r\n\ny {i}\n")}

	r, err := a.buildMap(options(func(o *mapOptions) {
		o.each, o.with, o.env = []string{filepath.Join(dir, "in/**/*.txt")}, []string{model}, []string{"B={stem}", "A=1"}
		o.out = filepath.Join(dir, "out/{name}.json")
	}), []string{program, "{in}", "{out}", "{\"k\":1}"})
	if err != nil {
		t.Fatal(err)
	}
	it, err := r.List.Item(1)
	if err != nil || strings.Join(it.Args, " ") != `in/a.txt out/a.txt.json {"k":1}` || strings.Join(it.Env, " ") != "A=1 B=a" || it.Files[0].Blob != work.BlobOf([]byte("a")) ||
		it.Files[1] != (work.File{Path: "model.bin", Blob: work.BlobOf([]byte("weights"))}) {
		t.Errorf("%+v, %v", it, err)
	}
	for b, src := range r.Sources() {
		if got, err := src.Name(); err != nil || got != b {
			t.Errorf("source %+v is %s, not %s (%v)", src, got, b, err)
		}
	}
	if r.Stdout || r.Spec.Tier != work.TierAssured || r.Chunk.Seconds != 60 || len(r.Sources()) != 3 {
		t.Errorf("%+v", r)
	}

	r, err = a.buildMap(options(func(o *mapOptions) { o.lines, o.out = "-", filepath.Join(dir, "{i}") }), []string{program, "{line}"})
	if err != nil || r.List.Len() != 2 || r.List.Lines[0] != "x" || !r.Stdout || r.List.Out != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if it, err := r.List.Item(1); err != nil || it.Args[0] != "y {i}" { // values are not templates
		t.Errorf("%+v, %v", it, err)
	}

	r, err = a.buildMap(options(func(o *mapOptions) { o.grid = []string{"lr=1,2,3", "bs=8,16"} }), []string{program, "{lr}", "{bs}"})
	if err != nil || r.List.Len() != 6 || r.Out != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if it, err := r.List.Item(3); err != nil || strings.Join(it.Args, " ") != "2 16" {
		t.Errorf("%+v, %v", it, err)
	}
}

func TestJobErrorsHaveExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code int
	}{
		{client.ErrPrice, exitFunds}, {ledger.ErrFunds, exitFunds}, {client.ErrNotReady, exitUnreachable}, {client.ErrRequest, exitUsage},
		{client.ErrRecord, exitHome}, {ledger.ErrUnreachable, exitUnreachable}, {&client.Posted{Err: context.Canceled}, exitInterrupted},
		{errors.New("another"), exitInternal}, {nil, exitOK},
	} {
		if got := exitCode(jobError(c.err)); got != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.code)
		}
	}
}
