package wasm

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var (
	archAllowed        = []uint32{}
	archLoadingAllowed = []uint32{unix.SYS_FSTATAT, unix.SYS_RENAMEAT2}
)
