//go:build linux && (amd64 || arm64)

package wasm

import (
	"fmt"
	goruntime "runtime"
	"syscall"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// sandbox is what confines a worker process. It closes in two steps: while the
// program is loaded the worker reaches its own folder of the cache and nothing
// else; before the first item it loses every path. A kernel without Landlock or
// seccomp gives less, and the worker says so to its parent.
type sandbox struct {
	landlockABI int // 0: the kernel has none
	seccomp     bool
	powerless   bool   // no capabilities are left
	dataBytes   uint64 // RLIMIT_DATA
}

// String says what holds, for logs.
func (s *sandbox) String() string {
	text := "no landlock"
	if s.landlockABI > 0 {
		text = fmt.Sprintf("landlock ABI %d", s.landlockABI)
	}
	if s.seccomp {
		text += ", seccomp"
	} else {
		text += ", no seccomp"
	}
	if s.powerless {
		text += ", no capabilities"
	}
	return fmt.Sprintf("%s, RLIMIT_DATA %d MiB, RLIMIT_NOFILE %d, no core, no file writes", text, s.dataBytes>>20, loadFiles)
}

// Bounds of a worker while it loads or prepares a program; close lowers them
// before the first item.
const (
	loadFiles  = 8192 // descriptors: more than one item's inputs
	writeBytes = 4 << 30
)

// enterSandbox is the first step: dir is the only folder left. forGood says that
// the worker never comes to the second step.
func enterSandbox(dir string, dataBytes uint64, forGood bool) (*sandbox, error) {
	for _, l := range []struct {
		resource int
		max      uint64
	}{
		{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, loadFiles}, {unix.RLIMIT_FSIZE, writeBytes},
		{unix.RLIMIT_MEMLOCK, 0}, {unix.RLIMIT_MSGQUEUE, 0}, {unix.RLIMIT_NICE, 0}, {unix.RLIMIT_RTPRIO, 0},
	} {
		if err := lowerLimit(l.resource, l.max, true); err != nil {
			return nil, err
		}
	}
	s := &sandbox{dataBytes: dataBytes}
	if err := lowerLimit(unix.RLIMIT_DATA, s.dataBytes, forGood); err != nil {
		return nil, err
	}
	if abi, err := ll.LandlockGetABIVersion(); err == nil {
		s.landlockABI = abi
	}
	if err := landlock.V11.BestEffort().Restrict(landlock.RWDirs(dir)); err != nil {
		return nil, fmt.Errorf("landlock: %w", err)
	}
	var err error
	s.seccomp, err = filterSyscalls(false)
	return s, err
}

// close is the second step: no path, no file that grows, no memory beyond
// dataBytes, no executable memory, no power of root, no new limits.
func (s *sandbox) close(dataBytes uint64) error {
	if err := lowerLimit(unix.RLIMIT_DATA, dataBytes, true); err != nil {
		return err
	}
	s.dataBytes = dataBytes
	if err := lowerLimit(unix.RLIMIT_FSIZE, 0, true); err != nil {
		return err
	}
	if err := landlock.V11.BestEffort().Restrict(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if err := s.dropCapabilities(); err != nil {
		return err
	}
	_, err := filterSyscalls(true)
	return err
}

// dropCapabilities takes root's powers from every thread, if the worker is root.
// Only a static build can: there no thread escapes Go's runtime.
func (s *sandbox) dropCapabilities() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 && errno != syscall.ENOTSUP {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	s.powerless = errno == 0
	return nil
}

// lowerLimit sets a limit to max, or leaves it if it is lower already.
func lowerLimit(resource int, max uint64, hard bool) error {
	var have unix.Rlimit
	if err := unix.Getrlimit(resource, &have); err != nil {
		return fmt.Errorf("read limit %d: %w", resource, err)
	}
	want := unix.Rlimit{Cur: min(have.Max, max), Max: have.Max}
	if hard {
		want.Max = want.Cur
	}
	if err := unix.Setrlimit(resource, &want); err != nil {
		return fmt.Errorf("set limit %d: %w", resource, err)
	}
	return nil
}

// filterSyscalls installs the allow-list on all threads; a system call that is
// not on it fails with EPERM. It reports false where the kernel has no filter.
func filterSyscalls(closed bool) (bool, error) {
	program := seccompProgram(closed)
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return false, fmt.Errorf("no_new_privs: %w", err)
	}
	err := installFilter(program)
	if err == unix.ENOSYS || err == unix.EINVAL {
		return false, nil // a kernel without seccomp filters
	}
	if err != nil {
		return false, fmt.Errorf("seccomp: %w", err)
	}
	return true, nil
}
