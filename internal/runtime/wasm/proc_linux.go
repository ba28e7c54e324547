//go:build linux && (amd64 || arm64)

package wasm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/work"
)

// proc is the parent's end of a worker process. One goroutine uses it at a time;
// kill may be called by any.
type proc struct {
	program work.ProgramID
	ready   *ready
	cmd     *exec.Cmd
	conn    *net.UnixConn
	in      *bufio.Reader
	stderr  headBuffer
	done    chan struct{} // closed when the process has ended and was reaped
	retire  bool
	group   *group // nil: no control group

	slowness func() float64 // of a worker on this host now, beside one on free cores; at least 1

	// Runtime.mu guards these.
	used   time.Duration // CPU time, when last asked
	halted bool          // by SIGSTOP

	noCPULimit error // why the kernel does not bound the CPU time

	reaping sync.RWMutex
	reaped  bool // guarded by reaping: its number may be another process's
}

// memoryFile is an anonymous file in memory.
func memoryFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("file in memory: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// startProc starts a worker; it must run on the spawner's thread, because the kernel
// ends the worker when the thread that started it ends.
func startProc(exe string, threads int) (*proc, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("pipe to a worker: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "parent")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close() // FileConn has its own copy
	if err != nil {
		return nil, fmt.Errorf("pipe to a worker: %w", err)
	}
	p := &proc{conn: conn.(*net.UnixConn), in: bufio.NewReaderSize(conn, 32<<10), done: make(chan struct{})}
	p.cmd = &exec.Cmd{
		Path: exe, Args: []string{workerName}, Dir: "/",
		Env:         []string{fmt.Sprintf("GOMAXPROCS=%d", threads), "GOTRACEBACK=single", "GOGC=200"},
		ExtraFiles:  []*os.File{theirs},
		Stderr:      &p.stderr,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true},
		WaitDelay:   5 * time.Second,
	}
	if err := p.cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	go p.reap()
	return p, nil
}

// reap waits for the end of the process and then takes its number away from
// those who use it.
func (p *proc) reap() {
	for unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	p.reaping.Lock()
	p.reaped = true
	p.reaping.Unlock()
	_ = p.cmd.Wait() // how it ended is in ProcessState
	close(p.done)
}

// greet sends hello and waits for the answer.
func (p *proc) greet(ctx context.Context, h hello, b budget, files ...*os.File) (*ready, error) {
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	p.allowCPU(b.cpu)
	_ = p.conn.SetWriteDeadline(time.Now().Add(p.slowed(b.wall)))
	out := h.encode()
	if err := p.send(append(binary.BigEndian.AppendUint32(nil, uint32(len(out))), out...), files); err != nil {
		return nil, p.failed(err)
	}
	if err := p.await(b); err != nil {
		return nil, p.failed(err)
	}
	body, err := p.frame()
	if err != nil {
		return nil, p.failed(err)
	}
	r, err := decodeReady(body)
	if err != nil {
		return nil, p.failed(err)
	}
	p.ready = &r
	return p.ready, nil
}

// send writes frames; the files' descriptors go in front.
func (p *proc) send(b []byte, files []*os.File) error {
	for len(files) > 0 {
		n := min(len(files), maxPassed)
		fds := make([]int, n)
		for i, f := range files[:n] {
			fds[i] = int(f.Fd())
		}
		k, _, err := p.conn.WriteMsgUnix(b[:1], unix.UnixRights(fds...), nil)
		if err != nil {
			return fmt.Errorf("send descriptors: %w", err)
		}
		b, files = b[k:], files[n:]
	}
	_, err := p.conn.Write(b)
	return err
}

// receive reads the answer to a request that allowed most bytes of output.
func (p *proc) receive(b budget, most uint64) (*response, error) {
	if err := p.await(b); err != nil {
		return nil, p.failed(err)
	}
	body, err := p.frame()
	if err != nil {
		return nil, p.failed(err)
	}
	r, sizes, err := decodeResponse(body)
	if err != nil {
		return nil, p.failed(err)
	}
	total := uint64(0)
	for _, n := range sizes {
		if total = addSat(total, n); total > most {
			return nil, p.failed(fmt.Errorf("%w: output over its cap", work.ErrMalformed))
		}
	}
	if len(sizes) > 0 {
		payload := make([]byte, total)
		if _, err := io.ReadFull(p.in, payload); err != nil {
			return nil, p.failed(err)
		}
		r.place(payload, sizes)
	}
	p.retire = p.retire || r.retire
	return r, nil
}

func (p *proc) frame() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxResponseBytes {
		return nil, fmt.Errorf("%w: frame of %d bytes", work.ErrMalformed, n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(p.in, b)
	return b, err
}

// errTimeout reports a worker that took longer than the host allows.
var errTimeout = errors.New("it took longer than this host allows")

// errMemory reports a worker that ended because it got no more memory, by its own
// limit or its control group's.
var errMemory = errors.New("it took more memory than this host allows")

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// failed ends the worker and says what is known about its end.
func (p *proc) failed(err error) error {
	if isTimeout(err) {
		err = errTimeout
	}
	p.kill()
	<-p.done
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == unix.SIGXCPU {
		err = errCPU
	}
	text := strings.TrimSpace(p.stderr.String())
	if p.group.outOfMemory() {
		err = errMemory
	} else if first, _, _ := strings.Cut(text, "\n"); strings.Contains(first, "out of memory") || strings.Contains(first, "cannot allocate memory") {
		err, text = errMemory, first // the stacks behind it say nothing more
	}
	if text != "" {
		text = ": " + text
	}
	return fmt.Errorf("worker: %w (%s%s)", err, p.cmd.ProcessState, text)
}

// ended reports whether the process is gone.
func (p *proc) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *proc) kill() { _ = p.cmd.Process.Kill() }

// close ends the worker and waits for it.
func (p *proc) close() {
	p.kill()
	<-p.done
	p.conn.Close()
	p.group.remove()
}

// headBuffer keeps the first bytes written: the reason why a process died.
type headBuffer struct {
	mu sync.Mutex
	b  []byte // guarded by mu
}

// Write implements io.Writer.
func (h *headBuffer) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	const most = 2 << 10
	if room := most - len(h.b); room > 0 {
		h.b = append(h.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// String gives what was kept.
func (h *headBuffer) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.b)
}
