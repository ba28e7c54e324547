//go:build linux && (amd64 || arm64)

package wasm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

	// In a batch only the slow one is at fault.
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

func TestDamagedCache(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	task := moduleTask(blobs, runtimetest.ModuleCount(1000))
	dir := t.TempDir()
	var first work.Leaf
	run := func() {
		t.Helper()
		rt := open(t, Config{Blobs: blobs, Dir: dir, Slots: 1})
		defer rt.Close()
		r, err := rt.Run(t.Context(), task)
		if err != nil {
			t.Fatal(err)
		}
		if first.Fuel == 0 {
			first = r.Leaf
		}
		if r.Leaf != first {
			t.Errorf("leaf %+v, before %+v", r.Leaf, first)
		}
	}
	run()
	program := filepath.Join(dir, cacheTag(), work.Program(task.Program, task.Profile).String())
	compiled, err := filepath.Glob(filepath.Join(program, "wazero-*", "*"))
	if err != nil || len(compiled) != 1 {
		t.Fatalf("compiled files: %v, %v", compiled, err)
	}
	files := []string{filepath.Join(program, rewrittenFile), compiled[0], filepath.Join(program, sealFile)}
	for _, file := range files {
		for name, damage := range map[string]func() error{
			"a flipped bit": func() error {
				b, err := os.ReadFile(file)
				if err == nil {
					b[len(b)/2] ^= 1
					err = os.WriteFile(file, b, 0o600)
				}
				return err
			},
			"cut short": func() error { return os.Truncate(file, 10) },
			"removed":   func() error { return os.Remove(file) },
		} {
			if err := damage(); err != nil {
				t.Fatalf("%s %s: %v", file, name, err)
			}
			run()
		}
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
