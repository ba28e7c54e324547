// Package adversary holds the real roles' parts with one behaviour changed, for
// tests and the demo: what a cheat would run in place of the honest part.
//
// It promises that everything around the changed behaviour is the honest code, so
// that what catches the cheat is the protocol and no special case. It is linked
// into demos and tests only, and never into a role.
package adversary

import (
	"context"
	"maps"
	"slices"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// CorruptRuntime runs every task honestly and then falsifies its result: one bit
// in the middle of each output file (or of stdout, if there are no files) is
// flipped and all digests are made to fit, so that a client sees an output of the
// right name and size. A task without output gets another memory digest. What a
// cheat would save by not running is not saved: only the lie matters here.
func CorruptRuntime(rt runtime.Runtime) runtime.Runtime { return corrupt{rt} }

type corrupt struct{ runtime.Runtime }

// Run implements runtime.Runtime.
func (c corrupt) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	r, err := c.Runtime.Run(ctx, t)
	if err != nil {
		return nil, err
	}
	return falsify(r), nil
}

func falsify(r *runtime.Run) *runtime.Run {
	f := &runtime.Run{Leaf: r.Leaf, Output: r.Output, Bytes: maps.Clone(r.Bytes)}
	f.Output.Files = slices.Clone(r.Output.Files)
	lied := false
	for i := range f.Output.Files {
		lied = flip(f, &f.Output.Files[i].Blob, r.Bytes) || lied
	}
	if !lied {
		lied = flip(f, &f.Output.Stdout, r.Bytes)
	}
	if !lied {
		f.Leaf.Memory[0] ^= 1
	}
	f.Leaf.Output = f.Output.Digest(f.Leaf.Outcome)
	return f
}

// flip replaces an output by one that differs in a bit, false if it is empty.
func flip(f *runtime.Run, id *work.BlobID, honest map[work.BlobID][]byte) bool {
	b := slices.Clone(honest[*id])
	if len(b) == 0 {
		return false
	}
	b[len(b)/2] ^= 1
	*id = work.BlobOf(b)
	f.Bytes[*id] = b
	return true
}
