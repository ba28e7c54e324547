package wire_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/mem"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

func output() (*wire.Output, work.Leaf) {
	out := work.Output{Stdout: work.BlobOf([]byte("hello")), Files: []work.File{{Path: "out/a", Blob: work.BlobOf([]byte("a"))}}}
	o := work.Outcome{Kind: work.Exited, Code: 3}
	return &wire.Output{Output: out, Inline: [][]byte{[]byte("hello"), []byte("a")}}, work.Leaf{Output: out.Digest(o), Outcome: o, Fuel: 1}
}

// shelf is a store that nothing is fetched into.
type shelf map[work.BlobID]bool

func (s shelf) Has(b work.BlobID) bool { return s[b] }
func (s shelf) Put(b []byte) (work.BlobID, error) {
	s[work.BlobOf(b)] = true
	return work.BlobOf(b), nil
}
func (s shelf) Fetch(_ context.Context, b work.BlobID, _ []p2p.Peer) error { return wire.ErrNoOutput }

// TestFetchOutput asks holders that lie, have nothing, or give too much, before the
// one that has it.
func TestFetchOutput(t *testing.T) {
	t.Parallel()
	hub := mem.NewHub()
	o, leaf := output()
	serve := func(seed byte, give *wire.Output) p2p.Peer {
		n := hub.New(key(seed))
		t.Cleanup(func() { n.Close() })
		n.Handle(p2p.ProtocolOutput, wire.ServeOutputs(func(_ context.Context, _ sign.PublicKey, r wire.OutputRequest) *wire.Output {
			if r.Item != 7 || r.Digest != leaf.Output {
				return nil
			}
			return give
		}))
		return n.Self()
	}
	other := *o
	other.Output.Stdout = work.BlobOf([]byte("other"))
	short := &wire.Output{Output: o.Output, Inline: [][]byte{[]byte("junk")}}
	lie, none, part, good := serve(2, &other), serve(3, nil), serve(4, short), serve(5, o)
	self := hub.New(key(1))
	defer self.Close()
	ask := func(item uint64, maxBytes uint64, hs ...p2p.Peer) (*work.Output, shelf, error) {
		s := shelf{}
		got, err := wire.FetchOutput(t.Context(), self, s, s, wire.OutputRequest{Item: item, Digest: leaf.Output}, &leaf, maxBytes, hs, nil)
		return got, s, err
	}
	for name, hs := range map[string][]p2p.Peer{"lie": {lie}, "none": {none}, "not all bytes": {part}, "itself": {self.Self()}, "nobody": nil} {
		if _, _, err := ask(7, 100, hs...); !errors.Is(err, wire.ErrNoOutput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := ask(8, 100, good); !errors.Is(err, wire.ErrNoOutput) {
		t.Errorf("another item: %v", err)
	}
	if _, s, err := ask(7, 5, good); !errors.Is(err, wire.ErrNoOutput) || len(s) > 0 {
		t.Errorf("over the job's limit: %v", err)
	}
	got, s, err := ask(7, 6, lie, none, part, good)
	if err != nil || !reflect.DeepEqual(*got, o.Output) || len(s) != 2 {
		t.Errorf("got %+v with %d blobs, %v", got, len(s), err)
	}
}

func FuzzOutput(f *testing.F) {
	o, leaf := output()
	f.Add(wire.EncodeOutput(o))
	f.Add(wire.EncodeOutput(nil))
	o.Proof = &wire.Proof{Leaf: leaf, Path: []work.Node{{Fuel: 3, Hash: work.Hash{4}}}}
	f.Add(wire.EncodeOutput(o))
	f.Add(wire.OutputRequest{Item: 2, Batch: work.Hash{3}, Grant: wire.NewGrant(key(1), "c", key(2).Public())}.Encode())
	f.Add(wire.OutputRequest{Job: work.Hash{1}, Item: 2, Digest: work.Hash{3}}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := wire.DecodeOutput(b); err == nil && !bytes.Equal(wire.EncodeOutput(o), b) {
			t.Errorf("%x is not canonical", b)
		}
		if r, err := wire.DecodeOutputRequest(b); err == nil && !bytes.Equal(r.Encode(), b) {
			t.Errorf("%x is not canonical", b)
		}
	})
}
