//go:build linux && (amd64 || arm64)

package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
)

// TestLimitsUnified holds what is written where in version 2, and that a worker's own
// group lies within the one around all.
func TestLimitsUnified(t *testing.T) {
	t.Parallel()
	const service = "sys/fs/cgroup/gotong.service/"
	root := groupTree(t, map[string]string{
		"proc/self/cgroup":                  "0::/gotong.service/main\n",
		"proc/self/mountinfo":               unifiedMount,
		service + "main/cgroup.controllers": "cpu memory\n",
		service + "main/cgroup.procs":       "1\n",
		service + "cgroup.subtree_control":  "cpu memory\n",
	})
	dead := filepath.Join(root, service, limitsPrefix+"999999999-1")
	if err := os.MkdirAll(filepath.Join(dead, groupPrefix+"999999999-2"), 0o755); err != nil {
		t.Fatal(err)
	}
	g := findGroups(root, CgroupOwn)
	if _, err := os.Stat(dead); err == nil {
		t.Error("the groups of a dead owner are still there")
	}
	all, err := g.nest()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(all.limitCPU(0.25, true), all.limitMemory(3<<30)); err != nil {
		t.Fatal(err)
	}
	outer := all.dirs["cpu"]
	wantControls(t, map[string]string{outer + "/cpu.max": "25000 100000", outer + "/cpu.weight": "1", outer + "/memory.max": fmt.Sprint(3 << 30)})
	if err := errors.Join(all.limitCPU(1e-9, false), all.limitMemory(0)); err != nil {
		t.Fatal(err)
	}
	wantControls(t, map[string]string{outer + "/cpu.max": "1000 100000", outer + "/cpu.weight": "100", outer + "/memory.max": "max"})
	one, err := g.create(groupLimits{memory: someLimits, cores: 2})
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(one.dirs["cpu"]) != outer {
		t.Errorf("a worker's group is %s, outside %s", one.dirs["cpu"], outer)
	}
	wantControls(t, map[string]string{one.dirs["cpu"] + "/cpu.max": "200000 100000"})
}

func TestLimitsV1(t *testing.T) {
	t.Parallel()
	root := groupTree(t, map[string]string{
		"proc/self/cgroup":    "4:memory:/\n1:cpu:/\n",
		"proc/self/mountinfo": "31 30 0:27 / /cpu rw - cgroup cgroup rw,cpu\n32 30 0:28 / /memory rw - cgroup cgroup rw,memory\n",
		"cpu/tasks":           "",
		"memory/tasks":        "",
	})
	g := findGroups(root, CgroupOwn)
	all, err := g.nest()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(all.limitCPU(1.5, false), all.limitMemory(3<<30)); err != nil {
		t.Fatal(err)
	}
	cpu, memory := all.dirs["cpu"], all.dirs["memory"]
	wantControls(t, map[string]string{cpu + "/cpu.cfs_quota_us": "150000", cpu + "/cpu.cfs_period_us": "100000", cpu + "/cpu.shares": "1024",
		memory + "/memory.limit_in_bytes": fmt.Sprint(3 << 30)})
	// A group may not have more than the one around it, which moves: it has no bound.
	one, err := g.create(groupLimits{memory: someLimits})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(one.dirs["cpu"] + "/cpu.cfs_quota_us"); err == nil {
		t.Error("a worker's own group bounds its CPU time")
	}
}

// spin keeps n slots of rt busy until the test's end of it.
func spin(t *testing.T, rt *Runtime, blobs *runtimetest.Blobs, n int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	task := moduleTask(blobs, runtimetest.ModuleCount(2_000_000_000))
	task.Limits.Fuel = 1 << 60
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := rt.Run(ctx, task); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// TestLimitHolds bounds busy workers to a tenth of the machine, by control group
// where one is to be had and by signals, and changes it while they run.
func TestLimitHolds(t *testing.T) {
	for name, mode := range map[string]string{"own": CgroupOwn, "signals": CgroupNone} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blobs := &runtimetest.Blobs{}
			rt := open(t, Config{Blobs: blobs, Slots: 2, Cgroup: mode, Limited: true})
			defer rt.Close()
			cores := float64(goruntime.NumCPU())
			if err := rt.Limit(0.1*cores, 2<<30, false); err != nil {
				t.Fatal(err)
			}
			stop := spin(t, rt, blobs, 2)
			defer stop()
			for rt.CPUTime() < 200*time.Millisecond {
				time.Sleep(10 * time.Millisecond)
			}
			share := func(d time.Duration) float64 {
				count := func() time.Duration {
					if used, err := rt.GroupCPUTime(); err == nil {
						return used
					} else if !errors.Is(err, ErrNoGroup) {
						t.Error(err)
					}
					return rt.CPUTime()
				}
				before, at := count(), time.Now()
				time.Sleep(d)
				return (count() - before).Seconds() / time.Since(at).Seconds() / cores
			}
			// A loaded machine may give less, and its signals may come late; without a limit it
			// would be all of it. The figure itself is a row of the benchmarks.
			got := share(5 * time.Second)
			t.Logf("%.3f of the cores, %s", got, rt.Bound())
			if got > 0.25 || got <= 0 { // without a group they are the last to get any
				t.Errorf("%.3f of the cores were used, 0.1 is the limit", got)
			}
			if err := rt.Limit(0.02*cores, 2<<30, true); err != nil {
				t.Fatal(err)
			}
			if got = share(3 * time.Second); got > 0.1 {
				t.Errorf("%.3f of the cores were used, 0.02 is the limit now", got)
			}
		})
	}
}

// TestLimitMemory holds that an item over the owner's memory is a fault of the host
// that says so.
func TestLimitMemory(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1, Limited: true})
	defer rt.Close()
	task := moduleTask(blobs, runtimetest.Module(nil))
	task.Limits.MemoryBytes = 2 << 30
	if err := rt.Limit(1, 1<<30, false); err != nil {
		t.Fatal(err)
	}
	_, err := rt.Run(t.Context(), task)
	wantFault(t, err)
	if err == nil || !strings.Contains(err.Error(), "owner") {
		t.Errorf("%v", err)
	}
	if err := rt.Limit(1, 0, false); err != nil {
		t.Fatal(err)
	}
	task.Limits.MemoryBytes = 1 << 20
	if _, err := rt.Run(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	rt.Shed()
	if idle, _ := workers(rt); len(idle) != 0 {
		t.Errorf("%d workers idle after Shed", len(idle))
	}
	if used := rt.CPUTime(); used <= 0 {
		t.Errorf("workers used %s", used)
	}
}

// TestHumble holds that workers which no control group bounds go last, and that a
// stopped one ends like any other.
func TestHumble(t *testing.T) {
	t.Parallel()
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, Slots: 1, Cgroup: CgroupNone, Limited: true})
	defer rt.Close()
	if err := rt.Limit(0.01, 0, false); err != nil {
		t.Fatal(err)
	}
	stop := spin(t, rt, blobs, 1)
	halted := func() bool {
		rt.mu.Lock()
		defer rt.mu.Unlock()
		for p := range rt.live {
			if attr, err := unix.SchedGetAttr(p.cmd.Process.Pid, 0); err == nil && p.halted {
				if attr.Policy != unix.SCHED_IDLE {
					t.Errorf("scheduling policy %d", attr.Policy)
				}
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(time.Minute); !halted(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no worker is ever stopped")
		}
	}
	stop()
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if len(rt.live) != 0 {
		t.Errorf("%d workers live", len(rt.live))
	}
}

// TestLimitGroupGoes holds that nothing of the limits' group stays.
func TestLimitGroupGoes(t *testing.T) {
	t.Parallel()
	rt := open(t, Config{Blobs: &runtimetest.Blobs{}, Slots: 1, Cgroup: CgroupOwn, Limited: true})
	if err := rt.Limit(0.5, 1<<30, true); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	if g := rt.limits.group; g != nil {
		dirs = g.folders()
	}
	t.Log(rt.Bound(), dirs)
	rt.Close()
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", filepath.Base(dir))
		}
	}
	if plain := open(t, Config{Blobs: &runtimetest.Blobs{}}); plain.Limit(1, 0, false) == nil {
		t.Error("a runtime that is not limited took a limit")
	}
}
