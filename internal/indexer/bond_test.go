package indexer_test

import (
	"context"
	"testing"

	"github.com/gotong-network/gotong/internal/indexer"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// TestBond wants an indexer to bond its owner before it serves, to add what is
// missing after a fine, and to leave alone what is enough.
func TestBond(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p, err := w.chain.Params(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	run := func(owner work.Address, k sign.PrivateKey) *lifecycle.Party {
		t.Helper()
		net := w.hub.New(k)
		x, err := indexer.New(indexer.Config{Chain: chainID, Key: k, Owner: owner, Ledger: w.chain, Net: net, Blobs: w.blobs, Fetcher: noFetch{},
			Dir: t.TempDir(), Log: logOf("indexer")})
		if err != nil {
			t.Fatal(err)
		}
		stop := w.start(func(ctx context.Context) error { defer net.Close(); return x.Run(ctx) })
		defer stop()
		<-x.Serving()
		q, err := w.chain.Party(t.Context(), lifecycle.RoleIndexer, owner)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	if q := run("a", key); q.Bond != p.IndexerBond || q.Peer != key.Public() {
		t.Fatalf("a new indexer: %+v", q)
	}
	if q := run("a", key); q.Bond != p.IndexerBond {
		t.Errorf("started again: %+v", q)
	}
	w.submit("a", ledger.Unbond{Role: lifecycle.RoleIndexer, Amount: p.IndexerBond / 2})
	if q := run("a", key); q.Bond-q.Unbonding < p.IndexerBond {
		t.Errorf("after half was asked back: %+v", q)
	}
	other := newKey(t)
	if q := run("a", other); q.Peer != other.Public() || q.Bond-q.Unbonding != p.IndexerBond {
		t.Errorf("with another key: %+v", q)
	}
}
