package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// An indexer that asks 25 thousandths gets exactly that of each batch, on top of its
// pay and out of the escrow. A client that pays less refuses it by name, and goes to a
// cheaper one if it leaves the choice open.
func TestIndexerFee(t *testing.T) {
	t.Parallel()
	const n, fee = 60, 25
	w := newWorld(t)
	w.indexer()
	peers := w.crew(func() runtime.Runtime { return &toy{} })
	w.submit("owner", ledger.Send{To: "dear", Amount: 1000 * gtg})
	w.heirTo("dear", fee, peers...)
	c := w.clientWith("client", func(cfg *client.Config) { cfg.Where = where })
	w.ready(c, 3)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) { // the dear one too
		l, err := c.Indexers(t.Context())
		if err == nil && len(l) == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d indexers are ready, %v", len(l), err)
		}
	}

	least := uint32(fee - 1)
	r := request(n)
	r.Indexer, r.MaxIndexerPermille = "dear", &least
	if _, err := c.Post(t.Context(), r); !errors.Is(err, client.ErrPrice) || !strings.Contains(err.Error(), "dear asks 25 thousandths") {
		t.Errorf("a client that pays at most %d thousandths: %v", least, err)
	}
	r.Indexer = client.AnyIndexer
	if p, err := c.Plan(t.Context(), r); err != nil || p.Spec.IndexerOwner != "owner" || p.Spec.IndexerPermille != 0 || len(p.Others) != 0 {
		t.Errorf("any: job for %s at %d thousandths, others %v, %v", p.Spec.IndexerOwner, p.Spec.IndexerPermille, p.Others, err)
	}

	before, err := w.chain.Balance(t.Context(), "dear")
	if err != nil {
		t.Fatal(err)
	}
	r.Indexer, r.MaxIndexerPermille = "dear", nil
	id, err := c.Post(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.Watch(t.Context(), id, nil); err != nil || out.Verified.Len() != n {
		t.Fatalf("%+v, %v", out, err)
	}
	j := w.ended(id)
	var asked work.Amount
	batches := w.paidOnce(id, n)
	for _, b := range batches {
		if want := b.Pay * fee / 1000; b.Indexer != "dear" || b.IndexerFee != want {
			t.Errorf("a batch that pays %s gives %s to %s, want %s", b.Pay, b.IndexerFee, b.Indexer, want)
		}
		asked += b.IndexerFee
	}
	after, err := w.chain.Balance(t.Context(), "dear")
	if err != nil || asked == 0 || after-before != asked {
		t.Errorf("the indexer got %s, want %s: %v", after-before, asked, err)
	}
	var shown work.Amount
	account := client.AccountOf(j, batches)
	for _, e := range account.Entries {
		if e.Transfer.Reason == lifecycle.ReasonIndexer {
			shown += e.Transfer.Amount
		}
	}
	if shown != asked || !account.AddsUp {
		t.Errorf("the account shows a fee of %s, want %s; it adds up: %v", shown, asked, account.AddsUp)
	}
	var pay work.Amount
	for _, b := range batches {
		pay += b.Pay
	}
	if cost := client.CostOf(j); cost.PaidWork != pay+asked {
		t.Errorf("the job paid %s for work, want %s and the fee of %s", cost.PaidWork, pay, asked)
	}

	r.Indexer, r.MaxIndexerPermille = client.AnyIndexer, &least
	w.stopped() // the cheap one
	if _, err := c.Plan(t.Context(), r); !errors.Is(err, client.ErrPrice) || !strings.Contains(err.Error(), "--max-indexer-fee") {
		t.Errorf("any, and only the dear one is left: %v", err)
	}
}
