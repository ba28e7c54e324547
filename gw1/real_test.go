package gw1_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/gw1"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// dependency reads a program that make deps fetches.
func dependency(t testing.TB, name, digest string) []byte {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("..", ".deps", name))
	if err != nil {
		t.Fatalf("a program that this test runs is missing: run make deps (%v)", err)
	}
	if sum := sha256.Sum256(wasm); hex.EncodeToString(sum[:]) != digest {
		t.Fatalf(".deps/%s is not what this test was made for: remove it and run make deps", name)
	}
	return wasm
}

func pythonProgram(t testing.TB) []byte {
	return dependency(t, "python-3.12.0.wasm", "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763")
}

// quickjsProgram makes a command of the QuickJS library: the functions that it imports from a JavaScript host
// are replaced by those of testdata/quickjs.wat, in the module's text form. QuickJS itself is as it came.
func quickjsProgram(t testing.TB) []byte {
	t.Helper()
	library := dependency(t, "quickjs-3.6.2.wasm", "d4c9375f2b1ca4dc95f72c8aa2982a7a9951ac8011490d79c6582df732b4bbd9")
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	tool := func(name string, args ...string) {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s (of Debian's binaryen, which make deps installs): %v\n%.1000s", name, err, out)
		}
	}
	if err := os.WriteFile(path("library.wasm"), library, 0o600); err != nil {
		t.Fatal(err)
	}
	tool("wasm-dis", "--all-features", path("library.wasm"), "-o", path("library.wat"))
	text, err := os.ReadFile(path("library.wat"))
	if err != nil {
		t.Fatal(err)
	}
	glue, err := os.ReadFile("testdata/quickjs.wat")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("command.wat"), linkQuickjs(t, string(text), string(glue)), 0o600); err != nil {
		t.Fatal(err)
	}
	tool("wasm-as", "--enable-bulk-memory", "--enable-nontrapping-float-to-int", "--enable-sign-ext", "--enable-mutable-globals",
		path("command.wat"), "-o", path("command.wasm"))
	wasm, err := os.ReadFile(path("command.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func linkQuickjs(t testing.TB, library, glue string) []byte {
	t.Helper()
	exports := map[string]string{}
	for _, m := range regexp.MustCompile(`\(export "(\w+)" \(func (\$\w+)\)\)`).FindAllStringSubmatch(library, -1) {
		exports["@"+m[1]] = m[2]
	}
	glue = regexp.MustCompile(`@\w+`).ReplaceAllStringFunc(glue, func(name string) string {
		if exports[name] == "" && name != "@name" {
			t.Fatalf("the QuickJS library exports no function %s", name)
		}
		return exports[name]
	})
	// Calls of the imports become calls of the glue.
	host := regexp.MustCompile(`(?m)^ \(import "env" "(\w+)" \(func (\$fimport\$\d+) .*\n`)
	var rename []string
	for _, m := range host.FindAllStringSubmatch(library, -1) {
		rename = append(rename, "call "+m[2]+"\n", "call $"+m[1]+"\n", "call "+m[2]+" ", "call $"+m[1]+" ", "call "+m[2]+")", "call $"+m[1]+")")
	}
	library = strings.NewReplacer(rename...).Replace(host.ReplaceAllString(library, ""))
	imports := ""
	for name, signature := range map[string]string{
		"args_get": "(param i32 i32)", "args_sizes_get": "(param i32 i32)", "environ_get": "(param i32 i32)", "environ_sizes_get": "(param i32 i32)",
		"fd_read": "(param i32 i32 i32 i32)", "path_open": "(param i32 i32 i32 i32 i32 i64 i64 i32 i32)",
	} {
		imports += fmt.Sprintf(" (import \"wasi_snapshot_preview1\" %q (func $%s %s (result i32)))\n", name, name, signature)
	}
	imports += " (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $proc_exit (param i32)))\n"
	at := strings.Index(library, " (import ")
	end := strings.LastIndex(library, ")")
	return []byte(library[:at] + imports + library[at:end] + glue + ")\n")
}

const pythonScript = `
import sys, os, json, math, re, hashlib, struct, zlib, collections, random, decimal, time
print(sys.argv[1:], os.environ["K"], sys.stdin.read())
print(open("in/a.txt").read(), sorted(os.listdir("/in")), os.path.exists("../etc/passwd"))
print(json.dumps({"a": [1, 2.5, math.sin(1)], "b": None}, sort_keys=True), hashlib.sha256(b"x").hexdigest())
print(re.findall(r"\w+", "the quick fox"), collections.Counter("banana").most_common(2), zlib.crc32(b"abc"))
nan = float("inf") - float("inf")
print(math.isnan(nan), decimal.Decimal(2).sqrt(), 2**200 % 97)
random.seed(5)
print(random.random(), sum(math.sqrt(i) for i in range(20000)))
def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
print(depth(100))
os.mkdir("out/d")
with open("out/d/x.json", "w") as f: json.dump(list(range(5)), f)
open("tmp/t", "w").write("gone"); os.remove("tmp/t")
try:
    open("in/a.txt", "w")
except OSError as e:
    print("read-only", file=sys.stderr)
time.time()
sys.exit(4)
`

const pythonOutput = `['x y'] v hello
A ['a.txt', 'b.txt'] False
{"a": [1, 2.5, 0.8414709848078965], "b": null} 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881
['the', 'quick', 'fox'] [('a', 3), ('n', 2)] 891568578
True 1.414213562373095048801688724 62
0.6229016948897019 1885547.1648944109
100
`

const quickjsScript = `
print("args " + JSON.stringify(args().split("\0").slice(2, -1)) + " env " + JSON.stringify(env().split("\0").slice(0, -1)) + "\n");
print("stdin " + read("") + " file " + read("in/a.txt") + "\n");
const fib = n => n < 2 ? n : fib(n - 1) + fib(n - 2);
const bits = x => new BigUint64Array(new Float64Array([x]).buffer)[0].toString(16);
let sum = 0;
for (let i = 0; i < 20000; i++) sum += Math.sin(i) * Math.sqrt(i);
print([fib(15), sum, 2n ** 100n, 0.1 + 0.2, bits(0 / 0), bits(Math.sqrt(-1)), [3, 1, 2].sort(), "x".padStart(3, "é")].join(" ") + "\n");
print(JSON.stringify({ m: [..."banana"].reduce((m, c) => (m[c] = (m[c] || 0) + 1, m), {}), r: "a1b22".match(/\d+/g), d: new Date(0).toISOString() }) + "\n");
let s = 0;
(function down(n) { if (n) { s++; down(n - 1); } })(100);
Promise.resolve(s).then(v => { print("later " + v + "\n"); write("out/r.txt", "result " + v); });
try { null.x } catch (e) { print(e.name + "\n"); }
`

const quickjsOutput = `args ["x y"] env ["K=v"]
stdin hello file A
610 -145.80641525350927 1267650600228229401496703205376 0.30000000000000004 7ff8000000000000 7ff8000000000000 1,2,3 ééx
{"m":{"b":1,"a":3,"n":2},"r":["1","22"],"d":"1970-01-01T00:00:00.000Z"}
TypeError
later 100
`

// realProgram is a program as it comes from its compiler, and what it does.
type realProgram struct {
	wasm  func(t testing.TB) []byte
	world gw1.HostConfig

	outcome, stdout, stderr string
	files                   []gw1.OutFile
	fuel                    int64 // 0: not fixed, as the module depends on tools
}

// realWorld gives a program arguments, a variable, stdin and files.
func realWorld(args ...string) gw1.HostConfig {
	c := world()
	c.Args, c.Env, c.Stdin = args, []string{"K=v"}, text("hello")
	c.Files = []gw1.HostFile{{Path: "in/a.txt", File: text("A")}, {Path: "in/b.txt", File: text("B")}}
	return c
}

// CPython and QuickJS give what they are expected to, on the compiler with lazy NaNs, on the interpreter with
// plain ones, with the same fuel and memory, and what the unmodified module gives on the engine's own WASI.
func TestRealPrograms(t *testing.T) {
	t.Parallel()
	python := realWorld("python", "-c", pythonScript, "x y")
	python.Env = append(python.Env, "PYTHONHASHSEED=0")
	for name, p := range map[string]realProgram{
		"CPython": {pythonProgram, python, "exit 4", pythonOutput, "read-only\n", []gw1.OutFile{{Path: "out/d/x.json", Bytes: []byte("[0, 1, 2, 3, 4]")}}, 712_641_390},
		"QuickJS": {quickjsProgram, realWorld("qjs", quickjsScript, "x y"), "exit 3", quickjsOutput, "", []gw1.OutFile{{Path: "out/r.txt", Bytes: []byte("result 100")}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.test(t)
		})
	}
}

func (p realProgram) test(t *testing.T) {
	wasm := p.wasm(t)
	a := compiler(t).load(t, wasm, gw1.Options{}).run(t, plenty, p.world)
	if a.outcome != p.outcome || a.stdout != p.stdout || a.stderr != p.stderr {
		t.Errorf("%s\nstdout:\n%s\nstderr:\n%s", a.outcome, a.stdout, a.stderr)
	}
	if !reflect.DeepEqual(a.files, p.files) {
		t.Errorf("output files %q, want %q", a.files, p.files)
	}
	if used := plenty - a.fuel; p.fuel != 0 && used != p.fuel {
		t.Errorf("fuel %d, want %d", used, p.fuel)
	}
	b := interpreter(t).load(t, wasm, gw1.Options{NaN: gw1.NaNPlain}).run(t, plenty, p.world)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("the interpreter with plain NaNs (%s, %d fuel left) differs from the compiler with lazy ones (%s, %d)", b.outcome, b.fuel, a.outcome, a.fuel)
	}
	runUnmodified(t, wasm, p.world, a)
}

// runUnmodified runs a module as it is, on the engine's own WASI with a directory, and compares what it shows.
// Lines of stdout that begin with one of the words of policy may differ: gw1 forbids more, sorts directories and
// has one NaN.
func runUnmodified(t *testing.T, wasm []byte, c gw1.HostConfig, want result, policy ...string) {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	for _, d := range []string{"out", "tmp", "in"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range c.Files {
		content := make([]byte, f.File.Size)
		f.File.ReaderAt.ReadAt(content, 0)
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	stdin := make([]byte, c.Stdin.Size)
	c.Stdin.ReaderAt.ReadAt(stdin, 0)
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	var stdout, stderr bytes.Buffer
	// The program's own folders, the inputs read-only.
	fs := wazero.NewFSConfig().WithDirMount(dir, "/").WithReadOnlyDirMount(filepath.Join(dir, "in"), "/in")
	clock := int64(1_700_000_000_000_000_000)
	now := func() int64 { clock += 1000; return clock }
	config := wazero.NewModuleConfig().WithRandSource(rand.NewChaCha8(c.Seed)).
		WithWalltime(func() (int64, int32) { n := now(); return n / 1e9, int32(n % 1e9) }, 1000).
		WithNanotime(func() int64 { return now() - 1_700_000_000_000_000_000 }, 1000).
		WithNanosleep(func(ns int64) { clock += ns }).
		WithFSConfig(fs).WithArgs(c.Args...).WithStdin(bytes.NewReader(stdin)).WithStdout(&stdout).WithStderr(&stderr)
	for _, kv := range c.Env {
		k, v, _ := strings.Cut(kv, "=")
		config = config.WithEnv(k, v)
	}
	_, err := r.InstantiateWithConfig(ctx, wasm, config)
	outcome := "exit 0"
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		outcome = fmt.Sprintf("exit %d", exit.ExitCode())
	} else if err != nil {
		outcome = err.Error()
	}
	if outcome != want.outcome || without(stdout.String(), policy) != without(want.stdout, policy) || stderr.String() != want.stderr {
		t.Errorf("the unmodified module: %s\nstdout:\n%s\nstderr:\n%s\nrewritten:\n%s", outcome, stdout.String(), stderr.String(), want.stdout)
	}
	for _, f := range want.files {
		if got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path))); err != nil || !bytes.Equal(got, f.Bytes) {
			t.Errorf("the unmodified module leaves %q in %s (%v), rewritten %q", got, f.Path, err, f.Bytes)
		}
	}
}

// without leaves out the lines that begin with one of the words.
func without(text string, words []string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(line, w) }) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
