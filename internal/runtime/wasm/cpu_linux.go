//go:build linux && (amd64 || arm64)

package wasm

import (
	"errors"
	"fmt"
	goruntime "runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A worker's CPU time is bounded twice. Its parent watches it while it waits for
// an answer, and kills it to the millisecond; RLIMIT_CPU, which the parent moves
// up before each exchange, has the kernel kill it within a second or two, also
// while nobody waits for it or the parent is stopped.

// budget is what a worker may take for one answer.
type budget struct {
	wall time.Duration
	cpu  time.Duration // of all its threads
}

func (b budget) plus(c budget) budget { return budget{b.wall + c.wall, b.cpu + c.cpu} }

// errCPU reports a worker that used more CPU time than it was given.
var errCPU = errors.New("it took more CPU time than this host allows")

// idleCPU is for a worker that nobody waits for: what the collector of an idle
// process uses in days.
const idleCPU = time.Minute

// cpuTime is what the process has used so far. It must not be reaped yet.
func cpuTime(pid int) (time.Duration, error) {
	// The clock of a process's CPU time: CPUCLOCK_SCHED, linux/posix-timers_types.h.
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// cpuUsed is cpuTime of a worker; false when it has ended.
func (p *proc) cpuUsed() (used time.Duration, alive bool) {
	p.reaping.RLock()
	defer p.reaping.RUnlock()
	if p.reaped {
		return 0, false
	}
	used, err := cpuTime(p.cmd.Process.Pid)
	return used, err == nil
}

// allowCPU lets the worker use so much from now on before the kernel kills it.
// A worker that has ended is left alone.
func (p *proc) allowCPU(more time.Duration) {
	p.reaping.RLock()
	defer p.reaping.RUnlock()
	if p.reaped {
		return
	}
	pid := p.cmd.Process.Pid
	used, err := cpuTime(pid)
	if err != nil {
		return
	}
	seconds := uint64((used+more)/time.Second) + 1
	if err := unix.Prlimit(pid, unix.RLIMIT_CPU, &unix.Rlimit{Cur: seconds, Max: unix.RLIM_INFINITY}, nil); err != nil {
		p.noCPULimit = err
	}
}

// await waits for the first byte of an answer. The worker is not read from after
// an error.
func (p *proc) await(b budget) error {
	if p.in.Buffered() > 0 {
		return nil
	}
	begun, wall := time.Now(), p.slowed(b.wall)
	before, _ := p.cpuUsed()
	for left := b.cpu; ; {
		wall = max(wall, p.slowed(b.wall)) // the limits may have become tighter
		end := begun.Add(wall)
		// No earlier than this can it have used up the rest.
		pause := min(max(left/time.Duration(goruntime.NumCPU()), 10*time.Millisecond), time.Until(end))
		_ = p.conn.SetReadDeadline(time.Now().Add(pause))
		_, err := p.in.Peek(1)
		if !isTimeout(err) {
			_ = p.conn.SetReadDeadline(end)
			return err
		}
		if !time.Now().Before(end) {
			return errTimeout
		}
		if used, alive := p.cpuUsed(); alive {
			left = b.cpu - (used - before)
		}
		if left <= 0 {
			return errCPU
		}
	}
}

// slowed is the wall time that stands for d on free cores.
func (p *proc) slowed(d time.Duration) time.Duration {
	const most = 30 * 24 * time.Hour
	return time.Duration(min(float64(d)*p.slowness(), float64(max(d, most))))
}

// dieOfCPU makes the signal of RLIMIT_CPU deadly again, which Go's runtime takes
// for a remark. The closed filter keeps it so.
func dieOfCPU() error {
	var action [4]uintptr // struct sigaction with SIG_DFL
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGXCPU), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	if errno != 0 {
		return fmt.Errorf("default action of %v: %w", unix.SIGXCPU, errno)
	}
	return nil
}
