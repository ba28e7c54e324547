//go:build linux && (amd64 || arm64)

package wasm

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alwaysAllowed is what Go's runtime and the worker's loop need: memory, threads
// of this process, signals to itself, its open descriptors, the time.
var alwaysAllowed = append([]uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_RECVMSG,
	unix.SYS_CLOSE, unix.SYS_FSTAT, unix.SYS_LSEEK, unix.SYS_FCNTL,
	unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MADVISE, unix.SYS_BRK, unix.SYS_MINCORE,
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_GETPPID,
	unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_MEMBARRIER, unix.SYS_GETRANDOM,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}, archAllowed...)

// loadingAllowed is what loading a program needs on top: files (Landlock says
// which), and the calls that close the sandbox further.
var loadingAllowed = append([]uint32{
	unix.SYS_OPENAT, unix.SYS_READLINKAT, unix.SYS_MKDIRAT, unix.SYS_RENAMEAT, unix.SYS_UNLINKAT, unix.SYS_GETDENTS64,
	unix.SYS_STATX, unix.SYS_FACCESSAT, unix.SYS_FSYNC, unix.SYS_FTRUNCATE, unix.SYS_GETCWD, unix.SYS_UNAME,
	unix.SYS_MEMFD_CREATE, unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_PWRITE64, unix.SYS_FSTATFS,
	unix.SYS_GETRLIMIT, unix.SYS_PRCTL, unix.SYS_SECCOMP, unix.SYS_MPROTECT,
	unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_RESTRICT_SELF,
	unix.SYS_CAPSET, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
}, archLoadingAllowed...)

// Offsets in struct seccomp_data (linux/seccomp.h); arguments are 8 bytes each,
// low half first on the architectures that we know.
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

// newNamespace are the flags of clone that leave a namespace.
const newNamespace = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// uncounted are the flags of memory that RLIMIT_DATA does not count: shared memory
// and stacks.
const uncounted = unix.MAP_SHARED | unix.MAP_GROWSDOWN

// prSetVMA is the prctl by which Go names its memory.
const prSetVMA = 0x53564d41

// seccompProgram is the filter: the wrong architecture is killed, a call on the
// list allowed, anything else EPERM. With closed the calls that load a program
// are gone, and memory cannot become executable.
func seccompProgram(closed bool) []unix.SockFilter {
	deny := stmt(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM))
	allow := stmt(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ALLOW)
	load := func(offset uint32) unix.SockFilter { return stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset) }
	p := []unix.SockFilter{
		load(dataArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0),
		stmt(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_KILL_PROCESS),
		load(dataNumber),
	}
	always := func(number uint32) { p = append(p, jump(unix.BPF_JEQ, number, 0, 1), allow) }
	// onlyIf allows a call whose argument passes one test, else denies it.
	onlyIf := func(number uint32, arg uint32, test uint16, value uint32, pass bool) {
		t := jump(test, value, 0, 1) // true: fall to the first answer
		first, second := allow, deny
		if !pass {
			first, second = deny, allow
		}
		p = append(p, jump(unix.BPF_JEQ, number, 0, 4), load(dataArgs+8*arg), t, first, second)
	}
	for _, number := range alwaysAllowed {
		always(number)
	}
	// A thread, and in no new namespace.
	p = append(p, jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 5), load(dataArgs),
		jump(unix.BPF_JSET, newNamespace, 2, 0), jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1), allow, deny)
	onlyIf(unix.SYS_RT_SIGACTION, 0, unix.BPF_JEQ, uint32(unix.SIGXCPU), false) // dieOfCPU
	onlyIf(unix.SYS_TGKILL, 0, unix.BPF_JEQ, uint32(os.Getpid()), true)
	if closed {
		p = append(p, jump(unix.BPF_JEQ, unix.SYS_MMAP, 0, 6),
			load(dataArgs+8*3), jump(unix.BPF_JSET, uncounted, 3, 0),
			load(dataArgs+8*2), jump(unix.BPF_JSET, unix.PROT_EXEC, 1, 0), allow, deny)
		onlyIf(unix.SYS_MPROTECT, 2, unix.BPF_JSET, unix.PROT_EXEC, false)
		onlyIf(unix.SYS_PRCTL, 0, unix.BPF_JEQ, prSetVMA, true)
	} else {
		onlyIf(unix.SYS_MMAP, 3, unix.BPF_JSET, uncounted, false)
		onlyIf(unix.SYS_PRLIMIT64, 0, unix.BPF_JEQ, 0, true) // its own limits, not its parent's
		for _, number := range loadingAllowed {
			always(number)
		}
	}
	return append(p, deny)
}

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

// installFilter puts the filter on every thread of the process at once.
func installFilter(p []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d could not be confined", thread)
	}
	return nil
}
