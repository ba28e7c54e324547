package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"lukechampine.com/blake3"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// hostFiles are files and bytes of this machine as blobs, without copies: what a
// local run is given.
type hostFiles struct {
	paths map[work.BlobID]string
	bytes map[work.BlobID][]byte
}

var _ runtime.Blobs = (*hostFiles)(nil)

func newHostFiles() *hostFiles {
	return &hostFiles{map[work.BlobID]string{}, map[work.BlobID][]byte{}}
}

// addFile names a file by its content.
func (h *hostFiles) addFile(path string) (work.BlobID, error) {
	f, err := os.Open(path)
	if err != nil {
		return work.BlobID{}, err
	}
	defer f.Close()
	sum := blake3.New(32, nil)
	n, err := io.Copy(sum, f)
	if err != nil {
		return work.BlobID{}, fmt.Errorf("read %s: %w", path, err)
	}
	b := work.BlobID{Root: work.Hash(sum.Sum(nil)), Size: uint64(n)}
	h.paths[b] = path
	return b, nil
}

func (h *hostFiles) addBytes(data []byte) work.BlobID {
	b := work.BlobOf(data)
	h.bytes[b] = data
	return b
}

// Open implements runtime.Blobs.
func (h *hostFiles) Open(b work.BlobID) (runtime.BlobReader, error) {
	if data, ok := h.bytes[b]; ok {
		return bytesBlob{bytes.NewReader(data)}, nil
	}
	path, ok := h.paths[b]
	if !ok {
		return nil, fmt.Errorf("%s: %w", b, runtime.ErrBlobMissing)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return fileBlob{f}, nil
}

// fileBlob is a blob that is a whole file.
type fileBlob struct{ *os.File }

// Path implements runtime.Path.
func (f fileBlob) Path() string { return f.Name() }

type bytesBlob struct{ *bytes.Reader }

// Close implements io.Closer.
func (bytesBlob) Close() error { return nil }
