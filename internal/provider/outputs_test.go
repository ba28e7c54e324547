package provider_test

import (
	"errors"
	"testing"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// TestClientGetsProvenOutputs asks a provider for outputs of a batch in its window, as
// its client does that the indexer gives nothing: the client gets them with a proof that
// holds for this item only, and nobody else gets anything.
func TestClientGetsProvenOutputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *lifecycle.Params) { p.WindowBlocks = 2000 })
	a := w.provider("prov-a", &toy{slots: 2})
	w.checker("check-1", &toy{}, w.chain)()
	w.tick()
	a.start()
	client := newKey(t)
	s := w.job(13, work.TierEconomic, func(s *work.JobSpec) { s.ClientKey = client.Public() })
	x := w.dial(a)
	x.introduce(s)
	x.assign(s, "prov-a", 0, 100, work.Range{Lo: 0, Hi: 13})
	x.flush(s)
	var b *lifecycle.Batch
	w.eventually("the window", func() error {
		bs := w.batches(s)
		if len(bs) != 1 || bs[0].Phase != lifecycle.Window {
			return errors.New("not yet")
		}
		b = bs[0]
		return nil
	})
	net := w.hub.New(newKey(t))
	defer net.Close()
	self := net.Self().Key
	mine := blob.NewMem()
	ask := func(q wire.OutputRequest, pos uint64) (*work.Result, error) {
		verify := func(p *wire.Proof) error { return p.Verify(b.Job, b.Root, b.N, pos, b.Salt) }
		return wire.FetchProven(t.Context(), net, mine, copier{w.blobs, mine}, q, s.Limits.OutputBytes, a.self, verify, func(*work.Output) error { return nil })
	}
	grant := wire.NewGrant(client, chainID, self)
	for pos := range b.N {
		r, err := ask(wire.OutputRequest{Job: b.Job, Item: b.Items.At(pos), Batch: b.ID, Grant: grant}, pos)
		if err != nil {
			t.Fatalf("item %d: %v", pos, err)
		}
		if r.Index != b.Items.At(pos) || r.Output.Digest(r.Leaf.Outcome) != r.Leaf.Output {
			t.Errorf("item %d: %+v", pos, r)
		}
	}
	stranger := newKey(t)
	for name, q := range map[string]wire.OutputRequest{
		"without a grant":              {Job: b.Job, Item: 0, Batch: b.ID},
		"by a grant of another client": {Job: b.Job, Item: 0, Batch: b.ID, Grant: wire.NewGrant(stranger, chainID, self)},
		"by a grant of another peer":   {Job: b.Job, Item: 0, Batch: b.ID, Grant: wire.NewGrant(client, chainID, stranger.Public())},
		"by a grant of another chain":  {Job: b.Job, Item: 0, Batch: b.ID, Grant: wire.NewGrant(client, "another", self)},
		"of another batch":             {Job: b.Job, Item: 0, Batch: work.Hash{1}, Grant: grant},
		"of an item that it has not":   {Job: b.Job, Item: 13, Batch: b.ID, Grant: grant},
		"of an item that is another":   {Job: b.Job, Item: 1, Batch: b.ID, Grant: grant},
	} {
		if r, err := ask(q, 0); !errors.Is(err, wire.ErrNoOutput) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}
