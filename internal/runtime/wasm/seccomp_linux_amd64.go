package wasm

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

var (
	archAllowed        = []uint32{unix.SYS_ARCH_PRCTL, unix.SYS_EPOLL_WAIT}
	archLoadingAllowed = []uint32{unix.SYS_NEWFSTATAT, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_OPEN, unix.SYS_RENAME, unix.SYS_MKDIR, unix.SYS_UNLINK, unix.SYS_RENAMEAT2, unix.SYS_RMDIR}
)
