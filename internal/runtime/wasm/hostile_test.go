//go:build linux && (amd64 || arm64)

package wasm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/work"
)

// hostileName is the file name of a test binary whose workers turn on their host.
const hostileName = "hostile-worker"

// hostileFromEnv gives the hostile worker's deeds if this process is one.
func hostileFromEnv() func(*workerConn) {
	if exe, err := os.Readlink("/proc/self/exe"); err != nil || filepath.Base(exe) != hostileName {
		return nil
	}
	return func(c *workerConn) {
		if _, err := c.frame(); err != nil {
			return
		}
		report := &response{fault: "reached: " + strings.Join(attempts(), ", ")}
		if c.send(report) == nil {
			_ = c.flush()
		}
	}
}

// attempts tries what code that took over a worker would, and names what worked.
func attempts() (reached []string) {
	try := func(name string, err error) {
		if err == nil {
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
	try("read /etc/passwd", open("/etc/passwd", unix.O_RDONLY))
	try("open the root", open("/", unix.O_RDONLY|unix.O_DIRECTORY))
	try("read /proc/self/maps", open("/proc/self/maps", unix.O_RDONLY))
	try("write a temporary file", open(filepath.Join(os.TempDir(), "hostile"), unix.O_WRONLY|unix.O_CREAT))
	try("make a folder", unix.Mkdir("/tmp/hostile", 0o700))
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_UNIX, unix.AF_NETLINK, unix.AF_PACKET} {
		_, err := unix.Socket(family, unix.SOCK_STREAM, 0)
		try(fmt.Sprintf("socket of family %d", family), err)
	}
	_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	try("socketpair", err)
	_, err = os.StartProcess("/proc/self/exe", []string{"x"}, &os.ProcAttr{})
	try("start a process", err)
	try("execute", unix.Exec("/bin/true", []string{"true"}, nil))
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	if errno == 0 {
		reached = append(reached, "fork")
	}
	try("signal the parent", unix.Kill(os.Getppid(), 0))
	try("signal everyone", unix.Kill(-1, 0))
	try("signal a thread of the parent", unix.Tgkill(os.Getppid(), os.Getppid(), 0))
	try("trace the parent", unix.PtraceAttach(os.Getppid()))
	_, err = unix.ProcessVMReadv(os.Getppid(), []unix.Iovec{{}}, []unix.RemoteIovec{{}}, 0)
	try("read the parent's memory", err)
	try("raise a limit", unix.Prlimit(0, unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 40, Max: 1 << 40}, nil))
	try("mount", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	try("unshare", unix.Unshare(unix.CLONE_NEWUSER))
	_, err = unix.MemfdCreate("x", 0)
	try("memory file", err)
	_, err = unix.KeyctlInt(0, 0, 0, 0, 0)
	try("keyctl", err)
	if m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		reached = append(reached, "not even memory: "+err.Error())
	} else {
		try("executable memory", unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC))
	}
	_, err = unix.Mmap(-1, 0, 4096, unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	try("map executable memory", err)
	for fd := workerFD + 1; fd < 64; fd++ {
		if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil {
			reached = append(reached, link)
		}
	}
	return reached
}

func TestWorkerThatWasTakenOver(t *testing.T) {
	t.Parallel()
	exe := filepath.Join(t.TempDir(), hostileName)
	copyFile(t, "/proc/self/exe", exe)
	blobs := &runtimetest.Blobs{}
	rt := open(t, Config{Blobs: blobs, SelfExe: exe})
	defer rt.Close()
	_, err := rt.Run(t.Context(), runtime.Task{Program: blobs.Put(runtimetest.Module(nil)), Profile: gw1.Version,
		Limits: runtimetest.Limits, Item: &work.Item{}})
	if err == nil || !strings.Contains(err.Error(), "reached:") {
		t.Fatalf("the hostile worker did not report: %v", err)
	}
	t.Logf("sandbox: %s", rt.Sandbox())
	if !strings.HasSuffix(err.Error(), "reached: ") {
		t.Errorf("inside the sandbox the worker %v", err)
	}
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
