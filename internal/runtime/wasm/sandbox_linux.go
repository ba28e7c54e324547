//go:build linux && (amd64 || arm64)

package wasm

import (
	"fmt"
	goruntime "runtime"

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
}

// String says what holds, for logs.
func (s *sandbox) String() string {
	text := "no landlock"
	if s.landlockABI > 0 {
		text = fmt.Sprintf("landlock ABI %d", s.landlockABI)
	}
	if s.seccomp {
		return text + ", seccomp"
	}
	return text + ", no seccomp"
}

// Bounds of a worker while it loads or prepares a program; confine lowers the
// memory before the first item.
const (
	loadBytes  = 6 << 30
	loadFiles  = 8192 // descriptors: more than one item's inputs
	writeBytes = 4 << 30
)

// enterSandbox is the first step: dir is the only folder left.
func enterSandbox(dir string) (*sandbox, error) {
	for _, l := range []struct {
		resource int
		max      uint64
	}{
		{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, loadFiles}, {unix.RLIMIT_FSIZE, writeBytes},
	} {
		if err := lowerLimit(l.resource, l.max, true); err != nil {
			return nil, err
		}
	}
	if err := lowerLimit(unix.RLIMIT_DATA, loadBytes, false); err != nil {
		return nil, err
	}
	s := &sandbox{}
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

// close is the second step: no path, no executable memory, no new limits.
func (s *sandbox) close() error {
	if err := landlock.V11.BestEffort().Restrict(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	_, err := filterSyscalls(true)
	return err
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
