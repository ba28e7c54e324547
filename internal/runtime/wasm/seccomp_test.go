//go:build linux && (amd64 || arm64)

package wasm

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// judge runs a filter over a system call as the kernel does.
func judge(t *testing.T, program []unix.SockFilter, arch, number uint32, args ...uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data[dataNumber:], number)
	binary.LittleEndian.PutUint32(data[dataArch:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[dataArgs+8*i:], a)
	}
	var acc uint32
	for at := 0; at < len(program); at++ {
		i := program[at]
		yes := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[i.K:])
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = acc == i.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			yes = acc&i.K != 0
		default:
			t.Fatalf("instruction %d has code %#x", at, i.Code)
		}
		if yes {
			at += int(i.Jt)
		} else {
			at += int(i.Jf)
		}
	}
	t.Fatal("the filter has no answer")
	return 0
}

// TestFilter holds both filters, on this architecture, to what they are to let
// pass: the numbers on the lists, a few by their arguments, and nothing else.
func TestFilter(t *testing.T) {
	t.Parallel()
	const deny = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	self := uint64(os.Getpid())
	thread := uint64(unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD)
	byArgument := []struct {
		name         string
		number       uint32
		args         []uint64
		open, closed bool // let pass before and after the sandbox is closed
	}{
		{"a thread", unix.SYS_CLONE, []uint64{thread}, true, true},
		{"a process", unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, false, false},
		{"a thread in a new network", unix.SYS_CLONE, []uint64{thread | unix.CLONE_NEWNET}, false, false},
		{"a thread in a new user space", unix.SYS_CLONE, []uint64{thread | unix.CLONE_NEWUSER}, false, false},
		{"a signal to itself", unix.SYS_TGKILL, []uint64{self, 1, 9}, true, true},
		{"a signal to another", unix.SYS_TGKILL, []uint64{self + 1, 1, 9}, false, false},
		{"handle a signal", unix.SYS_RT_SIGACTION, []uint64{uint64(unix.SIGSEGV)}, true, true},
		{"handle the signal of CPU time", unix.SYS_RT_SIGACTION, []uint64{uint64(unix.SIGXCPU)}, false, false},
		{"memory", unix.SYS_MMAP, []uint64{0, 1, unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANON}, true, true},
		{"shared memory", unix.SYS_MMAP, []uint64{0, 1, unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_ANON}, false, false},
		{"shared memory, the other flag", unix.SYS_MMAP, []uint64{0, 1, unix.PROT_WRITE, unix.MAP_SHARED_VALIDATE | unix.MAP_ANON}, false, false},
		{"a stack", unix.SYS_MMAP, []uint64{0, 1, unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANON | unix.MAP_GROWSDOWN}, false, false},
		{"executable memory", unix.SYS_MMAP, []uint64{0, 1, unix.PROT_READ | unix.PROT_EXEC, unix.MAP_PRIVATE | unix.MAP_ANON}, true, false},
		{"make memory executable", unix.SYS_MPROTECT, []uint64{0, 1, unix.PROT_EXEC}, true, false},
		{"name memory", unix.SYS_PRCTL, []uint64{prSetVMA}, true, true},
		{"another prctl", unix.SYS_PRCTL, []uint64{unix.PR_SET_DUMPABLE}, true, false},
		{"its own limits", unix.SYS_PRLIMIT64, []uint64{0}, true, false},
		{"its parent's limits", unix.SYS_PRLIMIT64, []uint64{self - 1}, false, false},
	}
	for _, closed := range []bool{false, true} {
		program := seccompProgram(closed)
		if len(program) > 4096 { // BPF_MAXINSNS
			t.Fatalf("%d instructions", len(program))
		}
		special := map[uint32]bool{}
		for _, c := range byArgument {
			special[c.number] = true
			want := deny
			if !closed && c.open || closed && c.closed {
				want = unix.SECCOMP_RET_ALLOW
			}
			if got := judge(t, program, auditArch, c.number, c.args...); got != want {
				t.Errorf("closed %v: %s: %#x, want %#x", closed, c.name, got, want)
			}
		}
		listed := map[uint32]bool{}
		for _, n := range alwaysAllowed {
			listed[n] = true
		}
		for _, n := range loadingAllowed {
			listed[n] = listed[n] || !closed
		}
		for n := range uint32(1024) {
			if special[n] {
				continue
			}
			want := deny
			if listed[n] {
				want = unix.SECCOMP_RET_ALLOW
			}
			if got := judge(t, program, auditArch, n); got != want {
				t.Errorf("closed %v: system call %d: %#x, want %#x", closed, n, got, want)
			}
			if got := judge(t, program, auditArch, n|1<<30); got != deny { // the x32 table
				t.Errorf("closed %v: system call %d of the x32 table: %#x", closed, n, got)
			}
			if got := judge(t, program, unix.AUDIT_ARCH_I386, n); got != unix.SECCOMP_RET_KILL_PROCESS {
				t.Errorf("closed %v: system call %d of another architecture: %#x", closed, n, got)
			}
		}
	}
}
