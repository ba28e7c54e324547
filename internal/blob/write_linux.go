package blob

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// writeGroups writes groups that follow each other, the first at off. One call for
// all of them costs the kernel about two thirds of one for each.
func writeGroups(to io.WriterAt, off int64, groups [][]byte) error {
	f, ok := to.(*os.File)
	if !ok || len(groups) == 1 {
		return writeEach(to, off, groups)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var failed error
	err = raw.Control(func(fd uintptr) {
		for {
			if n, failed = unix.Pwritev(int(fd), groups, off); failed != unix.EINTR {
				return
			}
		}
	})
	if err != nil || failed != nil {
		if err == nil {
			err = &os.PathError{Op: "write", Path: f.Name(), Err: failed}
		}
		return err
	}
	for len(groups) > 0 && n >= len(groups[0]) {
		n, off, groups = n-len(groups[0]), off+int64(len(groups[0])), groups[1:]
	}
	if len(groups) > 0 { // the kernel stopped short: the plain way says why
		return writeEach(to, off, groups)
	}
	return nil
}
