package gw1_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/gotong-network/gotong/gw1"
)

// buildGo compiles testdata/goprog once for all tests.
var buildGo = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "gw1")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "goprog.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, ".")
	cmd.Dir = "testdata/goprog"
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return text, err
	}
	return os.ReadFile(out)
})

func goProgram(t testing.TB) []byte {
	wasm, err := buildGo()
	if err != nil {
		t.Fatalf("building the Go program: %v\n%s", err, wasm)
	}
	return wasm
}

func text(s string) gw1.File { return gw1.File{ReaderAt: strings.NewReader(s), Size: int64(len(s))} }

func goWorld() gw1.HostConfig {
	c := world()
	c.Args = []string{"goprog", "-x", "two words"}
	c.Env = []string{"WHO=me", "PWD=/"}
	c.Stdin = text("from stdin")
	c.Files = []gw1.HostFile{{Path: "in/b/c.bin", File: text("\x00\x01")}, {Path: "in/a.txt", File: text("A")}, {Path: "shared.dat", File: text("S")}}
	return c
}

const goOutput = `args [-x two words] env me
stdin from stdin
walk / true <nil>
walk /in true <nil>
walk /in/a.txt false <nil>
walk /in/b true <nil>
walk /in/b/c.bin false <nil>
walk /out true <nil>
walk /shared.dat false <nil>
walk /tmp true <nil>
relative A absolute A
missing true
read-only true true true
seek "ello" size 11
entries 20 true
escape ../etc/passwd true
escape /../../etc/passwd true
escape in/../../x true
escape /etc/passwd true
escape /proc/self/maps true
inside A link true
slept 3s year 2023
{"brown":1,"dog":1,"end":1,"fox":1,"jumps":1,"lazy":1,"over":1,"quick":1,"the":3} [0 1.8855`

func TestGoProgramRunsUnchanged(t *testing.T) {
	t.Parallel()
	e := compiler(t)
	p := e.load(t, goProgram(t), gw1.Options{})
	a := p.run(t, plenty, goWorld())
	if a.outcome != "exit 7" || a.stderr != "" || !strings.HasPrefix(a.stdout, goOutput) {
		t.Fatalf("outcome %s\nstdout:\n%s\nstderr:\n%s", a.outcome, a.stdout, a.stderr)
	}
	want := []gw1.OutFile{{Path: "out/from-tmp", Bytes: []byte("gone")}, {Path: "out/y.txt", Bytes: []byte("hel")}}
	if !reflect.DeepEqual(a.files, want) {
		t.Errorf("output files %q, want %q", a.files, want)
	}
	if b := p.run(t, plenty, goWorld()); !reflect.DeepEqual(a, b) {
		t.Error("a second run differs from the first")
	}
	used := plenty - a.fuel
	if c := p.run(t, used, goWorld()); c.outcome != "exit 7" || c.fuel != 0 {
		t.Errorf("with exactly the fuel needed: %s, %d left", c.outcome, c.fuel)
	}
	if c := p.run(t, used-1, goWorld()); c.outcome != "fuel" {
		t.Errorf("with one fuel less: %s", c.outcome)
	}
	if plain := interpreter(t).load(t, goProgram(t), gw1.Options{NaN: gw1.NaNPlain}).run(t, plenty, goWorld()); !reflect.DeepEqual(a, plain) {
		t.Error("the interpreter with plain NaNs differs from the compiler with lazy ones")
	}
	runUnmodified(t, goProgram(t), goWorld(), a, "read-only", "inside", "nan")
}

// cFuel is what cprog.wasm costs: it changes only together with Version.
const cFuel = 21_323_320

const cOutput = `argc 3, last y, K=v
stdin hello
file A
write to input: 0 Read-only file system
escape: 0
size 2
. .. in out tmp 
terminal 0 0, time 1700000000
sum 0.90601415282916875, nan nan
heap 1
`

func TestCProgramRunsUnchanged(t *testing.T) {
	t.Parallel()
	wasm, err := os.ReadFile("testdata/cprog.wasm")
	if err != nil {
		t.Fatal(err)
	}
	c := world()
	c.Args, c.Env, c.Stdin = []string{"cprog", "x", "y"}, []string{"K=v"}, text("hello")
	c.Files = []gw1.HostFile{{Path: "in/a.txt", File: text("A")}}
	run := func(e *engine, o gw1.Options) result { return e.load(t, wasm, o).run(t, plenty, c) }
	a := run(compiler(t), gw1.Options{})
	if a.outcome != "exit 5" || a.stdout != cOutput || a.stderr != "" {
		t.Errorf("outcome %s\nstdout:\n%s\nstderr:\n%s", a.outcome, a.stdout, a.stderr)
	}
	want := []gw1.OutFile{{Path: "out/result.txt", Bytes: []byte("sqrt 1.4142135623730951\n")}, {Path: "out/sub/z", Bytes: []byte("zz")}}
	if !reflect.DeepEqual(a.files, want) {
		t.Errorf("output files %q, want %q", a.files, want)
	}
	if b := run(interpreter(t), gw1.Options{NaN: gw1.NaNPlain}); !reflect.DeepEqual(a, b) {
		t.Error("the interpreter with plain NaNs differs from the compiler with lazy ones")
	}
	runUnmodified(t, wasm, c, a, "write to input", ". ..", "sum")
	if a.fuel != plenty-cFuel {
		t.Errorf("fuel %d, want %d", plenty-a.fuel, cFuel)
	}
}

// BenchmarkRewrite measures bytes of module per second.
func BenchmarkRewrite(b *testing.B) {
	wasm := goProgram(b)
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		if _, err := gw1.Rewrite(wasm, gw1.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
