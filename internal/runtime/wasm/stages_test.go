//go:build linux && (amd64 || arm64)

package wasm

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/work"
)

// TestWorkerEndsAtEveryStage kills a worker, or lets it hang, at every stage of
// its life: each is a fault of the host that says what it was, leaves nothing
// half made in the cache, and the next item runs and gives the right leaf.
func TestWorkerEndsAtEveryStage(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	small := moduleTask(blobs, runtimetest.ModuleCount(1000))
	large := moduleTask(blobs, runtimetest.Program(t)) // 1 MiB crosses behind the frame
	large.Item = &work.Item{Args: []string{"flood", "1"}}
	reference := open(t, Config{Blobs: blobs})
	defer reference.Close()
	leafOf := func(rt *Runtime, stage string) (work.Leaf, error) {
		task := small
		if stage == stageWriting {
			task = large
		}
		r, err := rt.Run(t.Context(), task)
		if err != nil {
			return work.Leaf{}, err
		}
		return r.Leaf, nil
	}
	want := map[string]work.Leaf{}
	stages := []string{stageStarting, stagePreparing, stageCompiling, stageSealing, stageLoading, stageServing,
		stageInstantiating, stageRunning, stageWriting}
	for _, stage := range stages {
		leaf, err := leafOf(reference, stage)
		if err != nil {
			t.Fatal(err)
		}
		want[stage] = leaf
	}
	t.Run("stages", func(t *testing.T) {
		for _, stage := range stages {
			for _, deed := range []string{"die", "hang"} {
				t.Run(deed+" "+stage, func(t *testing.T) {
					t.Parallel()
					exe, turn := deedBinary(t, deed+"@"+stage)
					var patience atomic.Int64
					patience.Store(int64(time.Minute))
					cfg := Config{Blobs: blobs, SelfExe: exe, Slots: 1, Dir: t.TempDir(),
						Timeout: func(work.Limits) time.Duration { return time.Duration(patience.Load()) }}
					if stage == stageWriting {
						cfg.Dir = cacheDir // the program is compiled there
					}
					rt := open(t, cfg)
					defer rt.Close()
					if deed == "hang" {
						const short = 500 * time.Millisecond
						rt.prepareLoad = func(n uint64) load { l := prepareLoad(n); l.wall = short; return l }
						rt.loadLoad = func() load { l := loadLoad(); l.wall = short; return l }
						patience.Store(int64(short))
					}
					_, err := leafOf(rt, stage)
					wantFault(t, err)
					switch {
					case deed == "die" && !strings.Contains(err.Error(), "signal: killed"):
						t.Errorf("%v, want it to say that the worker was killed", err)
					case deed == "hang" && !errors.Is(err, errTimeout):
						t.Errorf("%v, want a time-out", err)
					}
					turn()
					rt.prepareLoad, rt.loadLoad = prepareLoad, loadLoad
					patience.Store(int64(time.Minute))
					got, err := leafOf(rt, stage)
					if err != nil || got != want[stage] {
						t.Errorf("the next item: %+v, %v; want %+v", got, err, want[stage])
					}
					// Where the program is compiled others compile too.
					if left, _ := filepath.Glob(filepath.Join(rt.dir, freshPrefix+"*")); stage != stageWriting && len(left) > 0 {
						t.Errorf("half made: %v", left)
					}
				})
			}
		}
	})
}

// TestWorkerKilledInALoop kills a worker in the middle of a run, and another one
// between two items.
func TestWorkerKilledInALoop(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	exe, turn := deedBinary(t, "dielate@"+stageRunning)
	rt := open(t, Config{Blobs: blobs, SelfExe: exe, Slots: 1, Dir: t.TempDir()})
	defer rt.Close()
	_, err := rt.Run(t.Context(), spinTask(blobs))
	wantFault(t, err)
	turn()
	task := moduleTask(blobs, runtimetest.ModuleCount(9))
	if _, err := rt.Run(t.Context(), task); err != nil {
		t.Errorf("the next item: %v", err)
	}
	idle, _ := workers(rt)
	if len(idle) != 1 {
		t.Fatalf("%d warm workers, want 1", len(idle))
	}
	idle[0].kill()
	<-idle[0].done
	if _, err := rt.Run(t.Context(), task); err != nil {
		t.Errorf("after a warm worker was killed: %v", err)
	}
}

// TestKernelBoundsCPU holds that a worker which nobody waits for cannot burn a
// core for ever: the kernel kills it by RLIMIT_CPU.
func TestKernelBoundsCPU(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	exe, _ := deedBinary(t, "spin@"+stageServing)
	rt := open(t, Config{Blobs: blobs, SelfExe: exe, Slots: 1, Dir: t.TempDir()})
	defer rt.Close()
	j, err := newJob(ptr(moduleTask(blobs, runtimetest.Module(nil))), blobs)
	if err != nil {
		t.Fatal(err)
	}
	p, err := rt.worker(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	p.allowCPU(0)
	<-p.done
	if text := p.cmd.ProcessState.String(); !strings.Contains(text, unix.SIGXCPU.String()) {
		t.Errorf("the worker ended by %s, want %v", text, unix.SIGXCPU)
	}
	if err := p.failed(errors.New("gone")); !errors.Is(err, errCPU) {
		t.Errorf("%v, want it called a matter of CPU time", err)
	}
	rt.discard(p)
	if _, alive := p.cpuUsed(); alive {
		t.Error("a reaped worker still has a CPU time: its number may be another process's")
	}
}

func ptr[T any](v T) *T { return &v }
