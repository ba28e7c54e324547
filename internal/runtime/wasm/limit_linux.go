//go:build linux && (amd64 || arm64)

package wasm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The owner's limits bound all workers of a runtime together. Where control groups
// can be had, the workers' own groups lie in one more, and the kernel keeps the
// limits. Elsewhere workers run with the lowest priority, and are stopped and
// continued by signals so that their CPU time keeps to the limit over each tenth
// of a second.

// limiter holds what Limit was told.
type limiter struct {
	group *group // around all workers' groups; nil: none

	mu     sync.Mutex // guards the fields below
	cores  float64    // CPU time per time; 0: no limit yet
	memory uint64     // bytes; 0: no limit
	yield  bool
	end    context.CancelFunc // of the throttle; nil: none runs
	wait   sync.WaitGroup
}

// errUnlimited reports a runtime that was not made for limits.
var errUnlimited = errors.New("wasm runtime: Limit needs Config.Limited")

// Limit bounds all workers together from now on: to so many cores of CPU time per
// time, and to so many bytes of memory, 0 for no bound. With yield other programs
// go first. It may be called at any time; Config.Limited must be set. After an
// error some of it may not hold.
func (r *Runtime) Limit(cores float64, memory uint64, yield bool) error {
	l := r.limits
	if l == nil {
		return errUnlimited
	}
	if !(cores > 0) {
		return fmt.Errorf("wasm runtime: a limit of %v cores: pause the work instead", cores)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	same := l.cores == cores && l.memory == memory && l.yield == yield
	l.cores, l.memory, l.yield = cores, memory, yield
	r.setPace(cores)
	if same {
		return nil
	}
	if err := l.group.limitCPU(cores, yield); err != nil {
		if l.end == nil && !errors.Is(err, errNoGroup) {
			r.cfg.Log.Warn("the control group does not bound the workers' CPU time: they are stopped and continued", "err", err)
		}
		r.startThrottleLocked()
	}
	err := l.group.limitMemory(memory)
	if err != nil && !errors.Is(err, errNoGroup) {
		r.Shed() // what idles may be what is too much
		if err = l.group.limitMemory(memory); err != nil {
			l.memory = 0 // tried again at the next call
			return fmt.Errorf("limit the workers' control group: %w", err)
		}
	}
	return nil
}

// setPace notes how much slower than on free cores a worker may be: its wall time
// is bounded by so much more.
func (r *Runtime) setPace(cores float64) {
	busy := float64(min(r.cfg.Slots, goruntime.NumCPU()))
	r.pace.Store(math.Float64bits(max(1, busy/cores)))
}

// slowness is how many times longer than on free cores an item may take now.
func (r *Runtime) slowness() float64 {
	if r.limits == nil {
		return 1
	}
	return math.Float64frombits(r.pace.Load())
}

// memoryLimit is what all workers may have together; 0: no bound.
func (r *Runtime) memoryLimit() uint64 {
	if r.limits == nil {
		return 0
	}
	r.limits.mu.Lock()
	defer r.limits.mu.Unlock()
	return r.limits.memory
}

// Bound says how the limits are kept, for people.
func (r *Runtime) Bound() string {
	if r.limits == nil {
		return "not at all"
	}
	g := r.limits.group
	cpu, memory := "CPU by stopping and continuing the workers", "memory by the number of slots"
	r.limits.mu.Lock()
	signals := r.limits.end != nil
	r.limits.mu.Unlock()
	if g.has("cpu") && !signals {
		cpu = fmt.Sprintf("CPU by control group v%d", g.version)
	} else if !g.has("cpu") {
		cpu += ", which run with the lowest priority"
	}
	if g.has("memory") {
		memory = fmt.Sprintf("memory by control group v%d", g.version)
	}
	if g == nil {
		memory += "; " + r.groups.String()
	}
	return cpu + "; " + memory
}

// CPUTime is what all workers have used so far, the ended ones too.
func (r *Runtime) CPUTime() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := r.ended
	for p := range r.live {
		sum += p.usedLocked()
	}
	return sum
}

// ErrNoGroup reports that no control group counts the workers.
var ErrNoGroup = errors.New("no control group counts the workers")

// GroupCPUTime is what all workers have used so far by the accounting of the control
// group around them. Errors: ErrNoGroup.
func (r *Runtime) GroupCPUTime() (time.Duration, error) {
	if r.limits == nil || r.limits.group == nil {
		return 0, ErrNoGroup
	}
	return r.limits.group.cpuTime()
}

// cpuTime is what the group's processes have used so far.
func (g *group) cpuTime() (time.Duration, error) {
	if g.version == 1 {
		if !g.has(accounting) {
			return 0, ErrNoGroup
		}
		f, err := words(filepath.Join(g.dirs[accounting], "cpuacct.usage"))
		if err != nil || len(f) != 1 {
			return 0, fmt.Errorf("cpuacct.usage: %q, %w", f, err)
		}
		ns, err := strconv.ParseInt(f[0], 10, 64)
		return time.Duration(ns), err
	}
	if !g.has("cpu") {
		return 0, ErrNoGroup
	}
	f, err := words(filepath.Join(g.dirs["cpu"], "cpu.stat"))
	if err != nil || len(f) < 2 || f[0] != "usage_usec" {
		return 0, fmt.Errorf("cpu.stat: %q, %w", f, err)
	}
	us, err := strconv.ParseInt(f[1], 10, 64)
	return time.Duration(us) * time.Microsecond, err
}

// Memory is what all workers hold now, in bytes.
func (r *Runtime) Memory() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var pages uint64
	for p := range r.live {
		p.reaping.RLock()
		if !p.reaped {
			if f, err := words(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid)); err == nil && len(f) > 1 {
				n, _ := strconv.ParseUint(f[1], 10, 32)
				pages += n
			}
		}
		p.reaping.RUnlock()
	}
	return pages * uint64(os.Getpagesize())
}

// usedLocked is the CPU time of a worker, of an ended one too; it never falls. The
// runtime's mu guards it.
func (p *proc) usedLocked() time.Duration {
	if used, alive := p.cpuUsed(); alive {
		p.used = max(p.used, used)
	} else if p.ended() {
		p.used = max(p.used, p.cmd.ProcessState.UserTime()+p.cmd.ProcessState.SystemTime())
	}
	return p.used
}

// Shed ends the warm workers that nobody uses, for their memory.
func (r *Runtime) Shed() {
	r.mu.Lock()
	idle := r.idle
	r.idle = nil
	r.mu.Unlock()
	for _, p := range idle {
		r.discard(p)
	}
}

// errNoGroup reports a controller that is not to be had.
var errNoGroup = errors.New("no control group")

// has reports whether the group, which may be nil, has a controller.
func (g *group) has(controller string) bool { return g != nil && g.dirs[controller] != "" }

// limitCPU bounds all workers' CPU time in their common group.
func (g *group) limitCPU(cores float64, yield bool) error {
	if !g.has("cpu") {
		return errNoGroup
	}
	const period = 100_000 // µs
	quota := max(int64(cores*period), 1000)
	weight, shares := "100", "1024" // the kernel's own
	if yield {
		weight, shares = "1", "2"
	}
	if g.version == 1 {
		return g.write("cpu", "cpu.cfs_period_us", fmt.Sprint(period), "cpu.cfs_quota_us", fmt.Sprint(quota), "cpu.shares", shares)
	}
	return g.write("cpu", "cpu.max", fmt.Sprintf("%d %d", quota, period), "cpu.weight", weight)
}

// limitMemory bounds all workers' memory in their common group; 0: no bound.
func (g *group) limitMemory(bytes uint64) error {
	if !g.has("memory") {
		return errNoGroup
	}
	name, most := "memory.max", "max"
	if g.version == 1 {
		name, most = "memory.limit_in_bytes", "-1"
	}
	if bytes > 0 {
		most = strconv.FormatUint(bytes, 10)
	}
	return g.write("memory", name, most)
}

// write writes pairs of names and values.
func (g *group) write(controller string, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := writeControl(g.dirs[controller], pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// limitsPrefix, the owner's process number and a counter name the group around all
// workers of a runtime.
const limitsPrefix = "gotong-limits-"

// nest makes a group around all groups that are made from now on; nil if none can
// be had.
func (g *groups) nest() (*group, error) {
	if g.version == 0 {
		return nil, nil
	}
	name := fmt.Sprintf("%s%d-%d", limitsPrefix, os.Getpid(), groupCounter.Add(1))
	outer, err := g.makeNamed(name)
	if err != nil {
		return nil, err
	}
	if g.version == 2 {
		for c := range outer.dirs {
			if err := outer.write(c, "cgroup.subtree_control", "+"+c); err != nil {
				outer.remove()
				return nil, err
			}
		}
	}
	g.parents = outer.dirs
	return outer, nil
}

// Priority of workers without a control group: the lowest there is, for the CPU and
// for the disk (linux/ioprio.h).
const (
	lowestNice   = 19
	ioprioPgrp   = 2
	ioprioIdle   = 3 << 13
	throttleTick = 20 * time.Millisecond
	throttleIdle = 200 * time.Millisecond // without a worker
	// throttleSave is how much of its share, in time, a runtime that was idle may use
	// at once.
	throttleSave = 100 * time.Millisecond
)

// humble gives a worker the lowest priority. A thread that it starts later has its
// creator's.
func (p *proc) humble() error {
	p.reaping.RLock()
	defer p.reaping.RUnlock()
	if p.reaped {
		return nil
	}
	pid := p.cmd.Process.Pid
	errs := []error{unix.Setpriority(unix.PRIO_PGRP, pid, lowestNice)}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	errs = append(errs, err)
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			err := unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
			if err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, err)
			}
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioPgrp, uintptr(pid), ioprioIdle); errno != 0 && errno != unix.ENOSYS {
		errs = append(errs, errno)
	}
	return errors.Join(errs...)
}

// startThrottleLocked starts the loop that stops and continues workers.
func (r *Runtime) startThrottleLocked() {
	l := r.limits
	if l.end != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.end = cancel
	l.wait.Go(func() { r.throttle(ctx) })
}

// close ends the throttle.
func (l *limiter) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	if l.end != nil {
		l.end()
	}
	l.mu.Unlock()
	l.wait.Wait()
	l.group.remove()
}

// throttle keeps the workers' CPU time to the limit until ctx ends. Workers are
// killed then, stopped or not.
func (r *Runtime) throttle(ctx context.Context) {
	t := time.NewTicker(throttleTick)
	defer t.Stop()
	last, used := time.Now(), r.CPUTime()
	var left float64 // CPU seconds
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		r.limits.mu.Lock()
		cores := r.limits.cores
		r.limits.mu.Unlock()
		now, usedNow := time.Now(), r.CPUTime()
		left += cores*now.Sub(last).Seconds() - (usedNow - used).Seconds()
		left = min(left, cores*throttleSave.Seconds())
		last, used = now, usedNow
		sig := unix.SIGCONT
		if cores > 0 && left < 0 {
			sig = unix.SIGSTOP
		}
		next := throttleIdle
		r.mu.Lock()
		for p := range r.live {
			p.signalLocked(sig)
			next = throttleTick
		}
		r.mu.Unlock()
		t.Reset(next)
	}
}

// signalLocked stops or continues a worker if it is not so already. The runtime's
// mu guards it.
func (p *proc) signalLocked(sig unix.Signal) {
	if p.halted == (sig == unix.SIGSTOP) {
		return
	}
	p.reaping.RLock()
	defer p.reaping.RUnlock()
	if !p.reaped && unix.Kill(-p.cmd.Process.Pid, sig) == nil {
		p.halted = sig == unix.SIGSTOP
	}
}
