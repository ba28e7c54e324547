//go:build linux && (amd64 || arm64)

package wasm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/work"
)

// spinModule never ends by itself.
var spinModule = runtimetest.Module([]byte{0x03, 0x40, 0x0c, 0, 0x0b})

func moduleTask(blobs *runtimetest.Blobs, module []byte) runtime.Task {
	return runtime.Task{Program: blobs.Put(module), Profile: gw1.Version, Limits: runtimetest.Limits, Item: &work.Item{}}
}

// spinTask runs for longer than any test waits.
func spinTask(blobs *runtimetest.Blobs) runtime.Task {
	t := moduleTask(blobs, spinModule)
	t.Limits.Fuel = 1 << 62
	return t
}

func wantFault(t *testing.T, err error) {
	t.Helper()
	var fault *runtime.HostFault
	if !errors.As(err, &fault) {
		t.Errorf("%v, want a host fault", err)
	}
}

// workers are the processes of a runtime: those that wait and all.
func workers(r *Runtime) (idle, all []*proc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.live {
		all = append(all, p)
	}
	return append(idle, r.idle...), all
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestKilledWorker(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1})
	defer rt.Close()
	short := moduleTask(blobs, spinModule)
	short.Limits.Fuel = 1e6
	before, err := rt.Run(t.Context(), short)
	if err != nil {
		t.Fatal(err)
	}
	idle, _ := workers(rt)
	done := make(chan error)
	go func() {
		_, err := rt.Run(context.Background(), spinTask(blobs))
		done <- err
	}()
	waitFor(t, "the run to begin", func() bool { idle, _ := workers(rt); return len(idle) == 0 })
	if err := unix.Kill(idle[0].cmd.Process.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err = <-done
	wantFault(t, err)
	if !strings.Contains(err.Error(), "killed") {
		t.Errorf("the fault does not say what happened: %v", err)
	}
	after, err := rt.Run(t.Context(), short)
	if err != nil || after.Leaf != before.Leaf {
		t.Errorf("after the fault: %v, %v", after, err)
	}

	// A worker that dies while it waits costs nobody anything.
	idle, _ = workers(rt)
	if err := unix.Kill(idle[0].cmd.Process.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-idle[0].done
	if _, err := rt.Run(t.Context(), short); err != nil {
		t.Errorf("after an idle worker was killed: %v", err)
	}
}

func TestSlowItem(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1, Timeout: func(l work.Limits) time.Duration {
		if l.Fuel == 1<<62 {
			return 200 * time.Millisecond
		}
		return time.Minute
	}})
	defer rt.Close()
	_, err := rt.Run(t.Context(), spinTask(blobs))
	wantFault(t, err)
	if !errors.Is(err, errTimeout) {
		t.Errorf("%v, want a time-out", err)
	}

	// The same by CPU time, in far less than the wall time that it has.
	cpu := open(t, Config{Blobs: blobs, Slots: 1, CPUTime: func(l work.Limits) time.Duration {
		if l.Fuel == 1<<62 {
			return 100 * time.Millisecond
		}
		return time.Minute
	}})
	defer cpu.Close()
	if _, err := cpu.Run(t.Context(), spinTask(blobs)); !errors.Is(err, errCPU) {
		t.Errorf("%v, want it over its CPU time", err)
	}
	if _, err := cpu.Run(t.Context(), moduleTask(blobs, runtimetest.Module(nil))); err != nil {
		t.Errorf("the next item: %v", err)
	}

	// In a batch only the slow one is at fault, and what was done before it is told
	// while it runs: well within the minute that a short one has.
	short := moduleTask(blobs, spinModule)
	short.Limits.Fuel = 1e6
	tasks := []runtime.Task{short, short, spinTask(blobs), short, short}
	for i, r := range rt.RunMany(t.Context(), tasks) {
		if i == 2 {
			wantFault(t, r.Err)
		} else if r.Err != nil || r.Run.Leaf.Outcome.Kind != work.OutOfFuel {
			t.Errorf("task %d beside a slow one: %+v", i, r)
		}
	}
}

// TestAnswersDoNotWait holds that an item's answer comes while a long item behind
// it runs.
func TestAnswersDoNotWait(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1})
	defer rt.Close()
	short := moduleTask(blobs, spinModule)
	short.Limits.Fuel = 200_000
	var frames []byte
	for _, task := range []runtime.Task{short, spinTask(blobs)} {
		j, err := newJob(&task, blobs)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, j.frame...)
	}
	j, err := newJob(&short, blobs)
	if err != nil {
		t.Fatal(err)
	}
	p, err := rt.worker(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.discard(p)
	if err := p.send(frames, nil); err != nil {
		t.Fatal(err)
	}
	if r, err := p.receive(budget{time.Minute, time.Minute}, 0); err != nil || r.outcome.Kind != work.OutOfFuel {
		t.Errorf("the first answer: %+v, %v", r, err)
	}
}

func TestHostWithoutMemory(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1, OutputBytes: 1 << 20, MemoryBytes: 64 << 20})
	defer rt.Close()
	task := runtime.Task{Program: blobs.Put(runtimetest.Program(t)), Profile: gw1.Version, Item: &work.Item{Args: []string{"flood", "1500"}},
		Limits: work.Limits{MemoryBytes: 64 << 20, Fuel: 1e13, OutputBytes: 4 << 30}}
	_, err := rt.Run(t.Context(), task)
	wantFault(t, err)
	task.Item = &work.Item{Args: []string{"flood", "1"}}
	if _, err := rt.Run(t.Context(), task); err != nil {
		t.Errorf("after the fault: %v", err)
	}
	task.Limits.MemoryBytes = 65 << 20
	_, err = rt.Run(t.Context(), task)
	wantFault(t, err)
}

func TestClose(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1})
	done := make(chan error)
	go func() {
		_, err := rt.Run(context.Background(), spinTask(blobs))
		done <- err
	}()
	waitFor(t, "a worker", func() bool { _, all := workers(rt); return len(all) > 0 })
	go rt.Close()
	wantFault(t, <-done)
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	if _, all := workers(rt); len(all) > 0 {
		t.Errorf("%d workers are left", len(all))
	}
	_, err := rt.Run(t.Context(), spinTask(blobs))
	wantFault(t, err)
}

// TestDamagedCache damages each file of a cached program, or its folder, in every
// way that we thought of: the program is compiled again, gives the same leaf, and
// what a link points to stays as it was.
func TestDamagedCache(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	task := moduleTask(blobs, runtimetest.ModuleCount(1000))
	dir := t.TempDir()
	run := func() work.Leaf {
		t.Helper()
		rt := open(t, Config{Blobs: blobs, Dir: dir, Slots: 1})
		defer rt.Close()
		r, err := rt.Run(t.Context(), task)
		if err != nil {
			t.Fatal(err)
		}
		return r.Leaf
	}
	want := run()
	program := filepath.Join(dir, cacheTag(), work.Program(task.Program, task.Profile).String())
	compiled, err := filepath.Glob(filepath.Join(program, "wazero-*", "*"))
	if err != nil || len(compiled) != 1 {
		t.Fatalf("compiled files: %v, %v", compiled, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	const secret = "not the cache's"
	if err := errors.Join(os.Mkdir(elsewhere, 0o700), os.WriteFile(elsewhere+"/file", []byte(secret), 0o600)); err != nil {
		t.Fatal(err)
	}
	instead := func(make func(path string) error) func(string) error {
		return func(path string) error { return errors.Join(os.RemoveAll(path), make(path)) }
	}
	damages := map[string]func(path string) error{
		"flip a bit": func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		},
		"cut short":              func(path string) error { return os.Truncate(path, 10) },
		"empty":                  func(path string) error { return os.Truncate(path, 0) },
		"grow without end":       func(path string) error { return os.Truncate(path, 1<<40) },
		"remove":                 os.Remove,
		"forbid":                 func(path string) error { return os.Chmod(path, 0) },
		"a link elsewhere":       instead(func(path string) error { return os.Symlink(elsewhere+"/file", path) }),
		"a link to nothing":      instead(func(path string) error { return os.Symlink("nothing", path) }),
		"a link to itself":       instead(func(path string) error { return os.Symlink(path, path) }),
		"a link to endless data": instead(func(path string) error { return os.Symlink("/dev/zero", path) }),
		"a pipe":                 instead(func(path string) error { return unix.Mkfifo(path, 0o600) }),
		"a folder":               instead(func(path string) error { return os.Mkdir(path, 0o700) }),
	}
	files := []string{filepath.Join(program, rewrittenFile), compiled[0], filepath.Join(program, sealFile)}
	some := []string{"flip a bit", "cut short", "remove", "a link elsewhere", "a pipe"} // one file gets all
	for i, file := range files {
		for name, damage := range damages {
			if i > 0 && !slices.Contains(some, name) {
				continue
			}
			if err := damage(file); err != nil {
				t.Fatalf("%s: %s: %v", filepath.Base(file), name, err)
			}
			if got := run(); got != want {
				t.Errorf("%s: %s: leaf %+v, want %+v", filepath.Base(file), name, got, want)
			}
		}
	}
	for name, damage := range map[string]func(string) error{
		"a link elsewhere": damages["a link elsewhere"], "a pipe": damages["a pipe"],
		"a link to a folder": instead(func(path string) error { return os.Symlink(elsewhere, path) }),
		"a file more":        func(path string) error { return os.WriteFile(path+"/more", nil, 0o600) },
	} {
		if err := damage(program); err != nil {
			t.Fatalf("the folder: %s: %v", name, err)
		}
		if got := run(); got != want {
			t.Errorf("the folder: %s: leaf %+v, want %+v", name, got, want)
		}
	}
	if b, err := os.ReadFile(elsewhere + "/file"); err != nil || string(b) != secret {
		t.Errorf("the file that a link named: %q, %v", b, err)
	}
}

// TestCacheGoesAwayUnderALoad lets another user of the cache remove the program,
// or make it anew after a damage, just before a worker loads it: the item runs, and
// nobody removes what somebody else has made since.
func TestCacheGoesAwayUnderALoad(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	task := moduleTask(blobs, runtimetest.ModuleCount(1001))
	rt := open(t, Config{Blobs: blobs, Dir: t.TempDir(), Slots: 1})
	defer rt.Close()
	dir := rt.programDir(work.Program(task.Program, task.Profile))
	loads := 0
	rt.loadLoad = func() load {
		if loads++; loads < loadAttempts {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}
		return loadLoad()
	}
	if _, err := rt.Run(t.Context(), task); err != nil {
		t.Errorf("removed %d times before a load: %v", loads, err)
	}
	held, err := holdFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if removed, err := rt.removeDamaged(t.Context(), work.Program(task.Program, task.Profile), held); err != nil || removed {
		t.Errorf("another's folder: removed %v, %v", removed, err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("another's folder: %v", err)
	}
}

func TestSharedCache(t *testing.T) {
	t.Parallel()
	blobs, dir := &runtimetest.Blobs{}, t.TempDir()
	task := moduleTask(blobs, runtimetest.ModuleCount(5))
	var all sync.WaitGroup
	for range 4 {
		rt := open(t, Config{Blobs: blobs, Dir: dir, Slots: 2})
		defer rt.Close()
		for range 2 {
			all.Go(func() {
				if _, err := rt.Run(t.Context(), task); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
}

// sharerEnv makes the test binary a process that runs one item from the cache
// folder that it names, and prints the leaf.
const sharerEnv = "WASM_TEST_SHARER"

func sharerMain() {
	blobs := &runtimetest.Blobs{}
	rt, err := New(Config{Blobs: blobs, Dir: os.Getenv(sharerEnv), Slots: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	r, err := rt.Run(context.Background(), moduleTask(blobs, runtimetest.ModuleCount(77)))
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Leaf)
	if err := rt.Close(); err != nil {
		panic(err)
	}
}

// TestProcessesShareACache starts processes at the same empty cache at once, kills
// one of them on the way, and damages the cache meanwhile.
func TestProcessesShareACache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outs := make([]bytes.Buffer, 4)
	var cmds []*exec.Cmd
	for i := range outs {
		cmd := exec.Command("/proc/self/exe", "-test.run=^$")
		cmd.Env = append(os.Environ(), sharerEnv+"="+dir)
		cmd.Stdout, cmd.Stderr = &outs[i], &outs[i]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	waitFor(t, "a program in the cache", func() bool {
		made, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
		return len(made) > 0
	})
	_ = cmds[0].Process.Kill() // it may have ended
	_ = cmds[0].Wait()
	if made, _ := filepath.Glob(filepath.Join(dir, "*", "*", rewrittenFile)); len(made) > 0 {
		_ = os.Truncate(made[0], 5) // it may be gone again
	}
	for i, cmd := range cmds[1:] {
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i+1, err, &outs[i+1])
		} else if outs[i+1].String() != outs[1].String() {
			t.Errorf("process %d: %s, process 1: %s", i+1, &outs[i+1], &outs[1])
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	blobs, dir := &runtimetest.Blobs{}, t.TempDir()
	rt := open(t, Config{Blobs: blobs, Dir: dir, CacheBytes: 1, Slots: 1})
	defer rt.Close()
	for i := range uint32(3) {
		task := moduleTask(blobs, runtimetest.ModuleCount(i+1))
		if _, err := rt.Run(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadDir(filepath.Join(dir, cacheTag()))
		if err != nil || len(list) != 1 || list[0].Name() != work.Program(task.Program, task.Profile).String() {
			t.Errorf("after program %d the cache holds %v (%v)", i, list, err)
		}
	}
}

// orphanEnv makes the test binary a parent that a test kills.
const orphanEnv = "WASM_TEST_ORPHAN"

// orphanMain runs an endless item and prints its worker's process id.
func orphanMain() {
	blobs := &runtimetest.Blobs{}
	rt, err := New(Config{Blobs: blobs, Dir: os.Getenv(orphanEnv), Slots: 1})
	if err != nil {
		panic(err)
	}
	go rt.Run(context.Background(), spinTask(blobs))
	for ; ; time.Sleep(time.Millisecond) {
		if _, all := workers(rt); len(all) > 0 {
			fmt.Println(all[0].cmd.Process.Pid)
			select {}
		}
	}
}

func TestWorkerDiesWithItsParent(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), orphanEnv+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	waitFor(t, "the worker's end", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}
