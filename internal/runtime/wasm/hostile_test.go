//go:build linux && (amd64 || arm64)

package wasm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/work"
)

// A test makes a worker misbehave by the file name of its executable, DEED@STAGE:
// nothing else reaches into its sandbox.

// deedFromName gives what this process does at which stage, if it is such a
// worker.
func deedFromName() func(string, *workerConn) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	name, at, ok := strings.Cut(filepath.Base(exe), "@")
	deed := deeds[name]
	if !ok || deed == nil {
		return nil
	}
	return func(stage string, c *workerConn) {
		if stage == at {
			deed(stage, c)
		}
	}
}

var deeds = map[string]func(stage string, c *workerConn){
	"die":     func(string, *workerConn) { killSelf() },
	"dielate": func(string, *workerConn) { go func() { time.Sleep(30 * time.Millisecond); killSelf() }() },
	"hang":    func(string, *workerConn) { _ = unix.Nanosleep(&unix.Timespec{Sec: 1 << 30}, nil) },
	"spin": func(string, *workerConn) {
		for n := 0; ; n++ { // a core for nothing
			spun = n
		}
	},
	"babble":  func(_ string, c *workerConn) { _ = c.write([]byte("\x00\x00\x00\x03abcdefgh")) },
	"report":  func(stage string, c *workerConn) { report(c, stage, attempts(stage == stageServing)) },
	"gorge":   func(stage string, c *workerConn) { report(c, stage, gorge()) },
	"threads": func(stage string, c *workerConn) { report(c, stage, []string{threads()}) },
}

var spun int

func killSelf() {
	for { // until the kernel has done it
		_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGKILL)
	}
}

// report tells the parent what was reached, as an answer to whatever it waits for.
func report(c *workerConn, stage string, reached []string) {
	text := "reached: " + strings.Join(reached, ", ")
	if stage != stageServing {
		_ = c.ready(&ready{kind: readyFailed, text: text})
		return
	}
	if _, err := c.frame(); err == nil && c.send(&response{fault: text}) == nil {
		_ = c.flush()
	}
}

// attempts tries what native code that took over a worker would, and names what
// worked. Before the sandbox is closed the worker may make memory executable,
// change its limits downwards and write below its own folder.
func attempts(closed bool) (reached []string) {
	try := func(name string, err error) {
		if err == nil {
			reached = append(reached, name)
		}
	}
	call := func(name string, number uintptr, args ...uintptr) {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno == 0 {
			reached = append(reached, name)
		}
	}
	open := func(path string, flags int) error {
		fd, err := unix.Open(path, flags, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	parent := os.Getppid()
	null := uintptr(unsafe.Pointer(&[]byte("/bin/true\x00")[0]))

	for _, path := range []string{"/etc/passwd", "/proc/self/maps", "/proc/self/mem", "/proc/1/environ", "/proc/kmsg", "/dev/mem", "/sys/kernel/notes",
		fmt.Sprintf("/proc/%d/mem", parent), fmt.Sprintf("/proc/%d/fd/0", parent)} {
		try("read "+path, open(path, unix.O_RDONLY))
	}
	try("open the root", open("/", unix.O_RDONLY|unix.O_DIRECTORY))
	try("write a temporary file", open(filepath.Join(os.TempDir(), "hostile"), unix.O_WRONLY|unix.O_CREAT))
	try("make a folder", unix.Mkdir("/tmp/hostile", 0o700))
	try("link", unix.Link("/etc/passwd", "/tmp/hostile"))
	try("link by symbol", unix.Symlink("/etc/passwd", "/tmp/hostile"))
	try("remove", unix.Unlink("/proc/self/comm"))
	try("change a mode", unix.Chmod("/tmp", 0o777))
	try("change a root", unix.Chroot("/tmp"))

	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_UNIX, unix.AF_NETLINK, unix.AF_PACKET, unix.AF_VSOCK} {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW} {
			_, err := unix.Socket(family, kind, 0)
			try(fmt.Sprintf("socket of family %d", family), err)
		}
	}
	_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	try("socketpair", err)
	try("pass descriptors to the parent", unix.Sendmsg(workerFD, nil, unix.UnixRights(0), nil, 0))

	_, err = os.StartProcess("/proc/self/exe", []string{"x"}, &os.ProcAttr{})
	try("start a process", err)
	try("execute", unix.Exec("/bin/true", []string{"true"}, nil))
	call("execute by descriptor", unix.SYS_EXECVEAT, ^uintptr(99), null, 0, 0, 0)
	call("fork", unix.SYS_CLONE, uintptr(unix.SIGCHLD))
	call("a process in a new namespace", unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))
	call("a thread in a new namespace", unix.SYS_CLONE, unix.CLONE_THREAD|unix.CLONE_VM|unix.CLONE_SIGHAND|unix.CLONE_NEWNET)
	call("clone3", unix.SYS_CLONE3, uintptr(unsafe.Pointer(&[11]uint64{4: uint64(unix.SIGCHLD)})), 88)
	try("unshare", unix.Unshare(unix.CLONE_NEWUSER))

	for _, pid := range []int{parent, -1, 1, 0} {
		for _, s := range []unix.Signal{0, unix.SIGTERM, unix.SIGSTOP, unix.SIGKILL} {
			try(fmt.Sprintf("send signal %d to process %d", s, pid), unix.Kill(pid, s))
		}
	}
	try("signal a thread of the parent", unix.Tgkill(parent, parent, unix.SIGKILL))
	call("signal by tkill", unix.SYS_TKILL, uintptr(parent), uintptr(unix.SIGKILL))
	call("queue a signal", unix.SYS_RT_SIGQUEUEINFO, uintptr(parent), uintptr(unix.SIGKILL), null)
	_, err = unix.PidfdOpen(parent, 0)
	try("a descriptor of the parent", err)
	try("trace the parent", unix.PtraceAttach(parent))
	call("be traced", unix.SYS_PTRACE, unix.PTRACE_TRACEME)
	_, err = unix.ProcessVMReadv(parent, []unix.Iovec{{}}, []unix.RemoteIovec{{}}, 0)
	try("read the parent's memory", err)
	_, err = unix.ProcessVMWritev(parent, []unix.Iovec{{}}, []unix.RemoteIovec{{}}, 0)
	try("write the parent's memory", err)

	try("raise a limit", unix.Prlimit(0, unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 50, Max: 1 << 50}, nil))
	try("raise the limit on cores", unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}, nil))
	try("limit the parent", unix.Prlimit(parent, unix.RLIMIT_NOFILE, &unix.Rlimit{}, nil))
	try("survive the limit on CPU time", handleCPUSignal())
	try("change the priority", unix.Setpriority(unix.PRIO_PROCESS, 0, -1))
	try("change the user", unix.Setuid(1))
	try("mount", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	_, err = unix.KeyctlInt(0, 0, 0, 0, 0)
	try("keyctl", err)
	call("bpf", unix.SYS_BPF, 0, null, 8)
	call("performance counters", unix.SYS_PERF_EVENT_OPEN, null, 0, ^uintptr(0), ^uintptr(0))
	call("io_uring", unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[128]byte{})))
	call("userfaultfd", unix.SYS_USERFAULTFD, 0)
	call("open by handle", unix.SYS_OPEN_BY_HANDLE_AT, null, null, 0)
	call("control a device", unix.SYS_IOCTL, 0, unix.TIOCSTI, null)
	call("load a module", unix.SYS_FINIT_MODULE, 0, null, 0)
	call("a call of the x32 table", 1<<30|uintptr(unix.SYS_GETPID))
	call("reboot", unix.SYS_REBOOT, 1, 2, 3)

	reached = append(reached, descriptors()...)
	if !closed {
		return reached
	}
	_, err = unix.MemfdCreate("x", 0)
	try("memory file", err)
	try("change a limit", unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: 1}, nil))
	if m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		reached = append(reached, "not even memory: "+err.Error())
	} else {
		try("executable memory", unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC))
	}
	_, err = unix.Mmap(-1, 0, 4096, unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	try("map executable memory", err)
	return reached
}

// descriptors names what is open beside the standard three, the pipe, anonymous
// inodes of Go's runtime, the worker's page table, and the module that a preparing
// worker reads.
func descriptors() (open []string) {
	regular := 0
	for fd := workerFD + 1; fd < 1024; fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT == 0 {
			continue
		}
		if regular++; st.Mode&unix.S_IFMT != unix.S_IFREG || regular > 1 {
			open = append(open, fmt.Sprintf("descriptor %d of mode %o", fd, st.Mode))
		}
	}
	return open
}

// handleCPUSignal tries to outlive RLIMIT_CPU.
func handleCPUSignal() error {
	ignore := [4]uintptr{1}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGXCPU), uintptr(unsafe.Pointer(&ignore)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// gorge takes all memory that it can get, of every kind: it must be little more
// than the worker's share.
func gorge() []string {
	const piece, most = 16 << 20, 8 << 30 // uncounted memory would not end
	total := 0
	for _, kind := range []int{unix.MAP_SHARED, unix.MAP_PRIVATE | unix.MAP_GROWSDOWN, unix.MAP_PRIVATE} {
		for total < most {
			m, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, kind|unix.MAP_ANON|unix.MAP_NORESERVE)
			if err != nil {
				break
			}
			m[0] = 1
			total += piece
		}
	}
	return []string{fmt.Sprintf("%d MiB", total>>20)}
}

// threads starts a thousand threads; Go's runtime ends the process when the kernel
// refuses one.
func threads() string {
	var started sync.WaitGroup
	for range 1000 {
		started.Add(1)
		go func() {
			goruntime.LockOSThread()
			started.Done()
			_ = unix.Nanosleep(&unix.Timespec{Sec: 3600}, nil)
		}()
	}
	started.Wait()
	return "1000 threads"
}

// deedBinary is this test's executable under a worker's name, and turn makes it
// behave from the next worker on.
func deedBinary(t *testing.T, deed string) (exe string, turn func()) {
	t.Helper()
	dir := t.TempDir()
	name := func(n string) string {
		path := filepath.Join(dir, n)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if os.Link(self, path) != nil {
			copyFile(t, "/proc/self/exe", path)
		}
		return path
	}
	exe = filepath.Join(dir, "worker")
	point := func(to string) {
		if err := errors.Join(os.Symlink(to, exe+".new"), os.Rename(exe+".new", exe)); err != nil {
			t.Fatal(err)
		}
	}
	point(name(deed))
	good := name("good")
	return exe, func() { point(good) }
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWorkerThatWasTakenOver holds the kernel's side of the sandbox, which must
// stand when the engine does not: native code in a worker tries to get out while
// it compiles a stranger's module, and while it runs one.
func TestWorkerThatWasTakenOver(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{stagePreparing, stageServing} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			exe, turn := deedBinary(t, "report@"+stage)
			blobs := &runtimetest.Blobs{}
			rt := open(t, Config{Blobs: blobs, SelfExe: exe, Dir: t.TempDir()})
			defer rt.Close()
			task := moduleTask(blobs, runtimetest.Module(nil))
			_, err := rt.Run(t.Context(), task)
			if err == nil || !strings.Contains(err.Error(), "reached:") {
				t.Fatalf("the hostile worker did not report: %v", err)
			}
			if !strings.HasSuffix(err.Error(), "reached: ") {
				t.Errorf("inside the sandbox the worker %v", err)
			}
			turn()
			if r, err := rt.Run(t.Context(), task); err != nil || !r.Leaf.Outcome.OK() {
				t.Errorf("the next worker: %v, %v", r, err)
			}
			t.Logf("sandbox: %s", rt.Sandbox())
		})
	}
}

// TestNativeBombs holds the limits of a worker that was taken over.
func TestNativeBombs(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, deed string, cfg Config) error {
		t.Helper()
		exe, turn := deedBinary(t, deed+"@"+stageServing)
		blobs := &runtimetest.Blobs{}
		cfg.Blobs, cfg.SelfExe, cfg.Dir, cfg.Slots = blobs, exe, t.TempDir(), 1
		rt := open(t, cfg)
		defer rt.Close()
		task := moduleTask(blobs, runtimetest.Module(nil))
		task.Limits.MemoryBytes = 1 << 20
		_, err := rt.Run(t.Context(), task)
		wantFault(t, err)
		turn()
		for range 2 { // the warm worker may be the hostile one once more
			r, again := rt.Run(t.Context(), task)
			if again == nil && r.Leaf.Outcome.OK() {
				return err
			}
		}
		t.Errorf("after %s no item runs", deed)
		return err
	}
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		err := run(t, "gorge", Config{MemoryBytes: 64 << 20, OutputBytes: 1 << 20})
		var mib int
		if _, text, _ := strings.Cut(fmt.Sprint(err), "reached: "); text == "" {
			t.Fatalf("no report: %v", err)
		} else if _, scan := fmt.Sscanf(text, "%d MiB", &mib); scan != nil || mib == 0 || mib > 512 {
			t.Errorf("memory beyond the worker's share: %v", err)
		}
	})
	t.Run("CPU time", func(t *testing.T) {
		t.Parallel()
		err := run(t, "spin", Config{CPUTime: func(work.Limits) time.Duration { return 300 * time.Millisecond }})
		if !errors.Is(err, errCPU) {
			t.Errorf("%v, want it ended for its CPU time", err)
		}
	})
	t.Run("a frame of nonsense", func(t *testing.T) {
		t.Parallel()
		if err := run(t, "babble", Config{}); !errors.Is(err, work.ErrMalformed) {
			t.Errorf("%v, want it called malformed", err)
		}
	})
}
