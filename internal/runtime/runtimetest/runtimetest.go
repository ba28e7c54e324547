// Package runtimetest is the conformance suite of the runtime port: what every
// adapter that executes programs must do.
//
// Suite checks results and limits, Escape what a hostile program can do to its
// host. Program builds the WASI command that both run, Module* are small modules
// by hand. It never looks into an adapter.
package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// Blobs is a store in memory, and the fake of runtime.Blobs. Safe for concurrent
// use.
type Blobs struct {
	mu sync.Mutex
	m  map[work.BlobID][]byte // guarded by mu
}

// Put keeps b and names it.
func (s *Blobs) Put(b []byte) work.BlobID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[work.BlobID][]byte{}
	}
	id := work.BlobOf(b)
	s.m[id] = b
	return id
}

// Open implements runtime.Blobs.
func (s *Blobs) Open(b work.BlobID) (runtime.BlobReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.m[b]
	if !ok {
		return nil, runtime.ErrBlobMissing
	}
	return blobReader{bytes.NewReader(data)}, nil
}

type blobReader struct{ *bytes.Reader }

func (blobReader) Close() error { return nil }

// Factory makes the runtime under test over a source of blobs; the test closes
// it. Two runtimes of one factory share nothing but, perhaps, a cache.
type Factory func(t testing.TB, blobs runtime.Blobs) runtime.Runtime

// Limits are enough for every honest command of Program.
var Limits = work.Limits{MemoryBytes: 256 << 20, Fuel: 20e9, OutputBytes: 16 << 20}

// Program is the suite's WASI command, built once per test binary.
func Program(t testing.TB) []byte {
	t.Helper()
	b, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var buildProgram = sync.OnceValues(func() ([]byte, error) {
	_, file, _, _ := goruntime.Caller(0)
	dir, err := os.MkdirTemp("", "runtimetest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "program.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, "./testdata/program")
	cmd.Dir = filepath.Dir(file)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the suite's program: %w: %s", err, msg)
	}
	return os.ReadFile(out)
})

// bench is a runtime with blobs and the program in them.
type bench struct {
	*testing.T
	Blobs   *Blobs
	Runtime runtime.Runtime
	program work.BlobID
}

func newBench(t *testing.T, f Factory) *bench {
	b := &bench{T: t, Blobs: &Blobs{}}
	b.program = b.Blobs.Put(Program(t))
	b.Runtime = f(t, b.Blobs)
	t.Cleanup(func() {
		if err := b.Runtime.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// task is a run of the suite's program.
func (b *bench) task(profile string, args ...string) runtime.Task {
	return runtime.Task{Program: b.program, Profile: profile, Limits: Limits, Item: &work.Item{Args: args}}
}

// run executes a task and checks that the result fits together.
func (b *bench) run(t runtime.Task) *runtime.Run {
	b.Helper()
	r, err := b.Runtime.Run(b.Context(), t)
	if err != nil {
		b.Fatalf("%q: %v", t.Item.Args, err)
	}
	CheckRun(b.T, t, r)
	return r
}

func (b *bench) text(r *runtime.Run, id work.BlobID) string { return string(r.Bytes[id]) }

// CheckRun checks what is true of every result: the leaf names the input and the
// output, every blob of the output is there under its name, fuel is within the
// limit.
func CheckRun(t testing.TB, task runtime.Task, r *runtime.Run) {
	t.Helper()
	if want := task.Item.InputDigest(work.Program(task.Program, task.Profile), task.Limits, task.Seed); r.Leaf.Input != want {
		t.Errorf("input digest %s, want %s", r.Leaf.Input, want)
	}
	if want := r.Output.Digest(r.Leaf.Outcome); r.Leaf.Output != want {
		t.Errorf("output digest %s, want %s", r.Leaf.Output, want)
	}
	if r.Leaf.Fuel == 0 || r.Leaf.Fuel > task.Limits.Fuel {
		t.Errorf("fuel %d of %d", r.Leaf.Fuel, task.Limits.Fuel)
	}
	for _, id := range r.Output.Blobs() {
		if work.BlobOf(r.Bytes[id]) != id {
			t.Errorf("output blob %s is not with the result", id)
		}
	}
	if !slices.IsSortedFunc(r.Output.Files, func(a, b work.File) int { return strings.Compare(a.Path, b.Path) }) {
		t.Errorf("output files are not sorted: %v", r.Output.Files)
	}
	if _, err := work.ParseLeaf(r.Leaf.Bytes()); err != nil {
		t.Errorf("leaf: %v", err)
	}
}

// Suite runs the conformance tests of an adapter for a profile.
func Suite(t *testing.T, profile string, f Factory) {
	b := newBench(t, f)
	tests := []struct {
		name string
		run  func(*bench, string)
	}{
		{"exit codes", testExit}, {"arguments, environment, stdin, streams", testEcho}, {"input files", testFiles},
		{"output files", testOutput}, {"same leaf again and elsewhere", func(b *bench, p string) { testSame(b, p, f) }},
		{"traps", testTraps}, {"fuel", testFuel}, {"memory cap", testMemory}, {"output cap", testOutputCap},
		{"recursion", testRecursion}, {"refused module", testRefused}, {"missing blob", testMissing},
		{"unknown profile", testProfile}, {"cancel", testCancel}, {"many", testMany},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := *b
			c.T = t
			test.run(&c, profile)
		})
	}
}

func testExit(b *bench, profile string) {
	for _, code := range []uint32{0, 1, 7, 255} {
		r := b.run(b.task(profile, "exit", fmt.Sprint(code)))
		if want := (work.Outcome{Kind: work.Exited, Code: code}); r.Leaf.Outcome != want {
			b.Errorf("outcome %v, want %v", r.Leaf.Outcome, want)
		}
	}
	if r := b.run(b.task(profile)); !r.Leaf.Outcome.OK() {
		b.Errorf("return from main: %v", r.Leaf.Outcome)
	}
}

func testEcho(b *bench, profile string) {
	t := b.task(profile, "echo", "one", "two words", "")
	t.Item.Env = []string{"A=1", "LONG=" + strings.Repeat("x", 5000)}
	t.Item.Stdin = b.Blobs.Put([]byte("from stdin"))
	r := b.run(t)
	want := fmt.Sprintf("%q\n%q\nfrom stdin", append([]string{"program"}, t.Item.Args...), t.Item.Env)
	if got := b.text(r, r.Output.Stdout); got != want {
		b.Errorf("stdout %q, want %q", got, want)
	}
	if got := b.text(r, r.Output.Stderr); got != "to stderr" {
		b.Errorf("stderr %q", got)
	}
}

func testFiles(b *bench, profile string) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	t := b.task(profile, "cat", "a/deep/small.txt", "empty", "large.bin")
	t.Item.Files = []work.File{
		{Path: "a/deep/small.txt", Blob: b.Blobs.Put([]byte("small,"))},
		{Path: "empty", Blob: b.Blobs.Put(nil)},
		{Path: "large.bin", Blob: b.Blobs.Put(large)},
	}
	r := b.run(t)
	if got := b.text(r, r.Output.Stdout); got != "small,"+string(large) {
		b.Errorf("stdout of %d bytes, want %d", len(got), 6+len(large))
	}
	t.Item.Stdin, t.Item.Args = t.Item.Files[2].Blob, []string{"echo"}
	if r = b.run(t); !strings.HasSuffix(b.text(r, r.Output.Stdout), string(large)) {
		b.Error("large stdin did not arrive")
	}
}

func testOutput(b *bench, profile string) {
	r := b.run(b.task(profile, "write", "out/z", "last", "out/a.txt", "first", "out/none", "", "tmp/scratch", "gone"))
	got := map[string]string{}
	for _, f := range r.Output.Files {
		got[f.Path] = b.text(r, f.Blob)
	}
	if want := map[string]string{"out/z": "last", "out/a.txt": "first", "out/none": ""}; fmt.Sprint(got) != fmt.Sprint(want) {
		b.Errorf("files %q, want %q", got, want)
	}
	if r := b.run(b.task(profile, "write", "elsewhere", "x")); r.Leaf.Outcome.Code != 65 || len(r.Output.Files) != 0 {
		b.Errorf("a file outside out/: %v, %v", r.Leaf.Outcome, r.Output.Files)
	}
}

func testSame(b *bench, profile string, f Factory) {
	tasks := []runtime.Task{b.task(profile, "chance"), b.task(profile, "work", "100000"), b.task(profile, "panic"), b.task(profile, "take", "20")}
	var first []work.Leaf
	for _, t := range tasks {
		first = append(first, b.run(t).Leaf)
	}
	other := f(b.T, b.Blobs)
	defer other.Close()
	for round := range 3 {
		for i, t := range tasks {
			if got := b.run(t).Leaf; got != first[i] {
				b.Errorf("round %d: %q gave %+v, before %+v", round, t.Item.Args, got, first[i])
			}
		}
	}
	for i, t := range tasks {
		r, err := other.Run(b.Context(), t)
		if err != nil || r.Leaf != first[i] {
			b.Errorf("another runtime: %q gave %+v (%v), the first %+v", t.Item.Args, r, err, first[i])
		}
	}
	seeded := tasks[0]
	seeded.Seed = 1
	if b.run(seeded).Leaf.Output == first[0].Output {
		b.Error("the job's seed does not change what is random")
	}
}

func testTraps(b *bench, profile string) {
	for name, body := range map[string][]byte{
		"unreachable":      {0x00},
		"division by zero": {0x41, 1, 0x41, 0, 0x6d, 0x1a},
		"memory bounds":    {0x41, 0x7f, 0x28, 2, 0, 0x1a},
	} {
		r := b.run(b.module(profile, Module(body)))
		if want := (work.Outcome{Kind: work.Trapped}); r.Leaf.Outcome != want {
			b.Errorf("%s: %v", name, r.Leaf.Outcome)
		}
	}
}

// module is a run of a module by hand.
func (b *bench) module(profile string, module []byte) runtime.Task {
	return runtime.Task{Program: b.Blobs.Put(module), Profile: profile, Limits: Limits, Item: &work.Item{}}
}

func testFuel(b *bench, profile string) {
	spin := b.task(profile, "spin")
	spin.Limits.Fuel = 300e6
	for range 2 {
		r := b.run(spin)
		if want := (work.Outcome{Kind: work.OutOfFuel}); r.Leaf.Outcome != want || r.Leaf.Fuel != spin.Limits.Fuel {
			b.Errorf("endless loop: %v after %d fuel, want out of fuel after %d", r.Leaf.Outcome, r.Leaf.Fuel, spin.Limits.Fuel)
		}
	}
	// By hand, because a limit is part of the input: another one gives a Go program
	// other random numbers, and so another path.
	t := b.module(profile, ModuleCount(1000))
	need := b.run(t).Leaf
	t.Limits.Fuel = need.Fuel
	if got := b.run(t).Leaf; got.Outcome != need.Outcome || got.Fuel != need.Fuel {
		b.Errorf("with exactly its fuel: %v after %d, want %v after %d", got.Outcome, got.Fuel, need.Outcome, need.Fuel)
	}
	for _, less := range []work.Fuel{need.Fuel - 1, need.Fuel / 2, 1} {
		t.Limits.Fuel = less
		if got := b.run(t).Leaf; got.Outcome.Kind != work.OutOfFuel || got.Fuel != less {
			b.Errorf("with %d of %d fuel: %v after %d", less, need.Fuel, got.Outcome, got.Fuel)
		}
	}
}

func testMemory(b *bench, profile string) {
	if r := b.run(b.task(profile, "take", "100")); !r.Leaf.Outcome.OK() {
		b.Errorf("100 MiB within 256: %v", r.Leaf.Outcome)
	}
	t := b.task(profile, "take", "100")
	t.Limits.MemoryBytes = 64 << 20
	first := b.run(t).Leaf
	if first.Outcome.OK() || first.Outcome.Kind == work.OutOfFuel {
		b.Errorf("100 MiB within 64: %v", first.Outcome)
	}
	if got := b.run(t).Leaf; got != first {
		b.Errorf("over the memory cap: %+v, then %+v", first, got)
	}
	// A module that needs more than its limit to start.
	big := b.module(profile, ModuleWithMemory(100, nil))
	big.Limits.MemoryBytes = 1 << 20
	var refused *runtime.Refused
	if _, err := b.Runtime.Run(b.Context(), big); !errors.As(err, &refused) {
		b.Errorf("a module over the memory limit: %v, want it refused", err)
	} else if !strings.Contains(refused.Reason, "6553600") || !strings.Contains(refused.Reason, "1048576") {
		b.Errorf("the reason names not both sizes: %s", refused.Reason)
	}
}

func testOutputCap(b *bench, profile string) {
	t := b.task(profile, "flood", "8")
	t.Limits.OutputBytes = 3<<20 + 5
	r := b.run(t)
	if want := (work.Outcome{Kind: work.OutputCapped}); r.Leaf.Outcome != want {
		b.Errorf("outcome %v, want %v", r.Leaf.Outcome, want)
	}
	if r.Output.Stdout.Size > t.Limits.OutputBytes {
		b.Errorf("%d bytes of output over a cap of %d", r.Output.Stdout.Size, t.Limits.OutputBytes)
	}
	if got := b.run(t).Leaf; got != r.Leaf {
		b.Errorf("over the output cap: %+v, then %+v", r.Leaf, got)
	}
}

func testRecursion(b *bench, profile string) {
	t := b.module(profile, ModuleRecursion())
	first := b.run(t).Leaf
	if want := (work.Outcome{Kind: work.OutOfDepth}); first.Outcome != want {
		b.Errorf("outcome %v, want %v", first.Outcome, want)
	}
	if got := b.run(t).Leaf; got != first {
		b.Errorf("%+v, then %+v", first, got)
	}
}

func testRefused(b *bench, profile string) {
	for name, module := range map[string][]byte{
		"not a module":   []byte("this is text"),
		"cut short":      Module(nil)[:20],
		"unknown import": moduleImporting("env", "launch"),
	} {
		for range 2 {
			var refused *runtime.Refused
			if _, err := b.Runtime.Run(b.Context(), b.module(profile, module)); !errors.As(err, &refused) || refused.Reason == "" {
				b.Errorf("%s: %v, want it refused with a reason", name, err)
			}
		}
	}
}

func testMissing(b *bench, profile string) {
	absent := work.BlobOf([]byte("nobody has this"))
	program, stdin, file := b.task(profile), b.task(profile), b.task(profile)
	program.Program = absent
	stdin.Item.Stdin = absent
	file.Item.Files = []work.File{{Path: "f", Blob: absent}}
	for i, t := range []runtime.Task{program, stdin, file} {
		if _, err := b.Runtime.Run(b.Context(), t); !errors.Is(err, runtime.ErrBlobMissing) {
			b.Errorf("missing blob %d: %v", i, err)
		}
	}
	program.Program = b.program
	b.run(program)
}

func testProfile(b *bench, _ string) {
	var fault *runtime.HostFault
	if _, err := b.Runtime.Run(b.Context(), b.task("gw1/of-the-future")); !errors.As(err, &fault) {
		b.Errorf("a profile that this build does not know: %v, want a host fault", err)
	}
}

func testCancel(b *bench, profile string) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	spin := b.task(profile, "spin")
	spin.Limits.Fuel = 1 << 62
	go func() {
		_, err := b.Runtime.Run(ctx, spin)
		done <- err
	}()
	b.run(b.task(profile)) // something runs meanwhile, or before
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		b.Errorf("cancelled: %v", err)
	}
	b.run(b.task(profile))
}

func testMany(b *bench, profile string) {
	batcher, ok := b.Runtime.(runtime.Batcher)
	if !ok {
		return // an optional interface
	}
	var tasks []runtime.Task
	for i := range 400 {
		switch i % 8 {
		case 3:
			tasks = append(tasks, b.task(profile, "exit", fmt.Sprint(i%100)))
		case 5:
			tasks = append(tasks, b.module(profile, Module([]byte{0x00})))
		default:
			tasks = append(tasks, b.module(profile, Module(nil)))
		}
	}
	tasks[100].Item.Stdin = work.BlobOf([]byte("nobody has this"))
	for i, r := range batcher.RunMany(b.Context(), tasks) {
		if i == 100 {
			if !errors.Is(r.Err, runtime.ErrBlobMissing) {
				b.Errorf("task 100: %v, want a missing blob", r.Err)
			}
			continue
		}
		if r.Err != nil {
			b.Fatalf("task %d: %v", i, r.Err)
		}
		CheckRun(b.T, tasks[i], r.Run)
		want := work.Outcome{Kind: work.Exited}
		switch i % 8 {
		case 3:
			want.Code = uint32(i % 100)
		case 5:
			want.Kind = work.Trapped
		}
		if r.Run.Leaf.Outcome != want {
			b.Errorf("task %d: %v, want %v", i, r.Run.Leaf.Outcome, want)
		}
	}
}
