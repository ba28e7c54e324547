package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// ticksPerSec is the unit of /proc/PID/stat, fixed at 100 for user space on Linux.
const ticksPerSec = 100

// meter measures wall time and the CPU of this process, of its children that
// ended, and of those that live (sandbox workers).
type meter struct {
	at  time.Time
	cpu time.Duration
}

func startMeter() (meter, error) {
	c, err := treeCPU()
	return meter{time.Now(), c}, err
}

// stop gives what passed since the start.
func (m meter) stop() (wall, cpu time.Duration, err error) {
	wall = time.Since(m.at)
	c, err := treeCPU()
	return wall, c - m.cpu, err
}

// treeCPU is the CPU time that this process and all that it started used so far.
func treeCPU() (time.Duration, error) {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	ticks, err := liveTicks()
	return sum + time.Duration(ticks)*time.Second/ticksPerSec, err
}

// liveTicks is the CPU time of living descendants and of the children that these
// waited for.
func liveTicks() (uint64, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	type process struct {
		parent int
		ticks  uint64
	}
	all := map[int]process{}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile, and its parent's account has it
		}
		// The command's name is in parentheses and may hold anything.
		f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(f) < 15 {
			return 0, fmt.Errorf("%s: %q is not understood", name, b)
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		parent, _ := strconv.Atoi(string(f[1]))
		var p process
		p.parent = parent
		for _, v := range f[11:15] { // utime, stime, cutime, cstime
			n, err := strconv.ParseUint(string(v), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", name, err)
			}
			p.ticks += n
		}
		all[pid] = p
	}
	var sum uint64
	for pid, p := range all {
		for up := p.parent; up > 0 && pid != os.Getpid(); up = all[up].parent {
			if up == os.Getpid() {
				sum += p.ticks
				break
			}
		}
	}
	return sum, nil
}

// liveHeap is the size of all reachable objects of this process.
func liveHeap() uint64 {
	// The second pass frees what finalizers and pools let go of in the first.
	for range 2 {
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// quantile of a sample that it sorts; q in [0, 1].
func quantile[T int | float64 | time.Duration](v []T, q float64) T {
	slices.Sort(v)
	return v[min(len(v)-1, int(float64(len(v))*q))]
}
