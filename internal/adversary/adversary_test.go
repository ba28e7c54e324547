package adversary

import (
	"context"
	"testing"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

type fixed struct{ run runtime.Run }

func (fixed) Slots() int   { return 1 }
func (fixed) Close() error { return nil }
func (f fixed) Run(context.Context, runtime.Task) (*runtime.Run, error) {
	r := f.run
	return &r, nil
}

// TestLieIsConsistent wants a lie that only running the item again can tell: the
// digests fit the bytes, names and sizes are the honest ones.
func TestLieIsConsistent(t *testing.T) {
	t.Parallel()
	out := work.Outcome{Kind: work.Exited}
	file, text := []byte("pixels"), []byte("done\n")
	both := work.Output{Stdout: work.BlobOf(text), Files: []work.File{{Path: "out/a", Blob: work.BlobOf(file)}}}
	bytes := map[work.BlobID][]byte{work.BlobOf(file): file, work.BlobOf(text): text}
	for name, honest := range map[string]runtime.Run{
		"file":   {Output: both, Bytes: bytes},
		"stdout": {Output: work.Output{Stdout: work.BlobOf(text)}, Bytes: bytes},
		"empty":  {},
	} {
		honest.Leaf = work.Leaf{Outcome: out, Output: honest.Output.Digest(out), Fuel: 7}
		lie, err := CorruptRuntime(fixed{honest}).Run(t.Context(), runtime.Task{})
		if err != nil {
			t.Fatal(err)
		}
		if lie.Leaf == honest.Leaf {
			t.Errorf("%s: the leaf is the honest one", name)
		}
		if lie.Leaf.Output != lie.Output.Digest(out) || lie.Leaf.Fuel != honest.Leaf.Fuel {
			t.Errorf("%s: the leaf does not fit its output", name)
		}
		for _, b := range lie.Output.Blobs() {
			if work.BlobOf(lie.Bytes[b]) != b {
				t.Errorf("%s: bytes of %s do not fit their id", name, b)
			}
		}
		if len(lie.Output.Blobs()) != len(honest.Output.Blobs()) || string(file) != "pixels" {
			t.Errorf("%s: the honest output changed", name)
		}
	}
}
