//go:build !linux

package blob

import "io"

// writeGroups writes groups that follow each other, the first at off.
func writeGroups(to io.WriterAt, off int64, groups [][]byte) error { return writeEach(to, off, groups) }
