//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// errGone means that the host's lab was closed.
var errGone = errors.New("netlab: the lab is closed")

// space is a network and a mount namespace. A thread that lives in them keeps them: when
// it ends, by close or with the process, they vanish, and the kernel kills the programs
// that it started.
type space struct {
	tid  int
	jobs chan func() // run on the thread, one after the other

	once sync.Once
	quit chan struct{} // closed to end the thread
	gone chan struct{} // closed when it takes no more jobs
}

func newSpace() (*space, error) {
	s := &space{jobs: make(chan func()), quit: make(chan struct{}), gone: make(chan struct{})}
	made := make(chan error)
	onThread(func() {
		defer close(s.gone)
		s.tid = unix.Gettid()
		err := settle()
		made <- err
		if err != nil {
			return
		}
		for {
			select {
			case job := <-s.jobs:
				job()
			case <-s.quit:
				return
			}
		}
	})
	if err := <-made; err != nil {
		return nil, err
	}
	if err := s.ip("link set lo up"); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// settle moves the calling thread into new namespaces.
func settle() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("%w: %w: root alone is not enough in some containers: they need CAP_SYS_ADMIN and CAP_NET_ADMIN", ErrPrivileges, err)
	}
	// Nothing that is mounted here must show outside.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("netlab: make mounts private: %w", err)
	}
	// Addresses that the kernel gives itself would only confuse who looks at them.
	err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6 is fine
		return fmt.Errorf("netlab: %w", err)
	}
	return nil
}

// path names a namespace of the space ("net", "mnt") while it lives.
func (s *space) path(kind string) string {
	return fmt.Sprintf("/proc/%d/task/%d/ns/%s", os.Getpid(), s.tid, kind)
}

// do runs fn on the space's own thread, for what must live as long as the space:
// starting programs. It must be short.
func (s *space) do(fn func() error) error {
	done := make(chan error, 1)
	select {
	case s.jobs <- func() { done <- fn() }:
		return <-done
	case <-s.gone:
		return errGone
	}
}

// visit runs fn on a thread of its own inside the space: it may block. What fn starts on
// other goroutines is outside.
func (s *space) visit(fn func() error) error {
	done := make(chan error, 1)
	onThread(func() { done <- s.enter(fn) })
	return <-done
}

func (s *space) enter(fn func() error) error {
	// A thread that shares its working directory with others cannot change mounts.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("netlab: %w", err)
	}
	for kind, flag := range map[string]int{"net": unix.CLONE_NEWNET, "mnt": unix.CLONE_NEWNS} {
		f, err := os.Open(s.path(kind))
		if errors.Is(err, os.ErrNotExist) {
			return errGone
		}
		if err != nil {
			return fmt.Errorf("netlab: %w", err)
		}
		err = unix.Setns(int(f.Fd()), flag)
		_ = f.Close() // only read
		if err != nil {
			return fmt.Errorf("netlab: enter the host's namespace: %w", err)
		}
	}
	return fn()
}

func (s *space) close() {
	s.once.Do(func() { close(s.quit) })
	<-s.gone
}

// onThread runs fn on a thread that ends with it, so that nothing of what fn does to the
// thread is seen by anybody else.
func onThread(fn func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			fn()
			return // still locked: the thread ends
		}
		// The process's first thread never ends, and stands for the process in /proc.
		// While it is held here, the next goroutine gets another.
		other := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(other)
			fn()
		}()
		<-other
		runtime.UnlockOSThread()
	}()
}
