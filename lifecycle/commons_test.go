package lifecycle_test

import (
	"context"
	"math"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// approve brings a job before governance and lets it pass.
func (w *world) approve(change func(*work.JobSpec)) work.JobID {
	w.t.Helper()
	s := w.spec
	s.Client, s.Nonce, s.Escrow, s.CheckEscrow, s.ItemCount = "stranger", 77, 0, 0, 1000
	s.IndexerOwner = "stranger"
	if change != nil {
		change(&s)
	}
	w.must("stranger", ledger.Propose{Title: "commons", Message: ledger.ApproveCommons{Spec: s}, Deposit: gtg})
	l, err := w.l.Proposals(context.Background())
	if err != nil || len(l) == 0 {
		w.t.Fatal(l, err)
	}
	for i := range 4 {
		_ = w.try(validator(i), ledger.VoteProposal{Proposal: l[0].ID, Yes: true}) // late ones find it passed
	}
	w.l.Advance()
	return s.ID()
}

// A job that governance approved is paid from the emission; its items are those
// that the beacon draws for a provider, half of the pay bonds itself, half vests,
// and what is left over goes to the pool.
func TestCommons(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 2, checkers: 3, validators: 4, params: func(p *lifecycle.Params) {
		p.CommonsEpochBlocks, p.CommonsChunkItems, p.CommonsPrice, p.VestBlocks = 10, 16, 1000, 500
	}})
	paid := w.job
	w.job = w.approve(nil)
	if w.job == paid {
		t.Fatal("no job of the commons")
	}
	w.l.AdvanceTo(w.l.Height()/10*10 + 11)
	c, err := w.l.Commons(context.Background())
	if err != nil || len(c.Epochs) == 0 || len(c.Jobs) != 1 {
		t.Fatalf("commons %+v, %v", c, err)
	}
	if j := w.jobNow(); !j.Commons || j.EscrowFree != w.p.CommonsEmission || j.ToppedUp != j.EscrowFree {
		t.Errorf("escrow of the commons: %+v", j)
	}
	slot := c.Epochs[0].Slot(w.job, provider(0), 2, w.p.CommonsChunkItems)
	if slot.Len() != 16 {
		t.Fatalf("slot %v", slot)
	}
	take := func(p work.Address, items work.RangeSet) (*results, error) {
		r, root, most := w.compute(p, items, nil)
		return r, w.try(p, ledger.CommitBatch{Job: w.job, Parts: []lifecycle.Part{{Items: items}}, Root: root, MaxItemFuel: most})
	}
	if _, err := take(provider(1), slot); err == nil {
		t.Error("a provider took what was drawn for another")
	}
	r, err := take(provider(0), slot)
	if err != nil {
		t.Fatal(err)
	}
	before := w.balance(provider(0))
	r.check(honest)
	b := r.until(lifecycle.Settled)
	share := sum(b, lifecycle.ReasonWork)
	q := w.party(lifecycle.RoleProvider, provider(0))
	if w.balance(provider(0)) != before || q.Bond != 100*gtg+share/2 || q.Unvested != share-share/2 || sum(b, lifecycle.ReasonMint) != 0 {
		t.Errorf("pay of the commons, %s: %+v", share, q)
	}
	v, err := w.l.Supply(context.Background())
	if err != nil || v.MintedCommons == 0 || v.Minted != 0 {
		t.Errorf("supply %+v, %v", v, err)
	}
}

// The draws of many providers fall on all slots alike: χ² at p > 0.001.
func TestCommonsDrawIsEven(t *testing.T) {
	t.Parallel()
	const slots, chunk, providers = 64, 16, 20_000
	e := lifecycle.CommonsEpoch{Beacon: work.Sum("beacon", []byte{1}), Jobs: []work.JobID{{1}},
		Items: []work.RangeSet{work.NewRangeSet(work.Range{Lo: 0, Hi: slots * chunk})}}
	seen := make([]float64, slots)
	for i := range providers {
		seen[e.Slot(work.JobID{1}, provider(i), uint32(i%lifecycle.CommonsDraws), chunk)[0].Lo/chunk]++
	}
	chi, mean := 0.0, float64(providers)/slots
	for _, n := range seen {
		chi += (n - mean) * (n - mean) / mean
	}
	// The 0.999 quantile of χ² with d degrees of freedom, by Wilson and Hilferty.
	d, z := float64(slots-1), 3.0902
	if limit := d * math.Pow(1-2/(9*d)+z*math.Sqrt(2/(9*d)), 3); chi > limit {
		t.Errorf("χ² = %.1f over %d slots, the limit is %.1f", chi, slots, limit)
	}
}

// An indexer that signs one item to two providers under one attempt is fined, once;
// another attempt, a renewal, or a forgery is no fault.
func TestEquivocation(t *testing.T) {
	t.Parallel()
	w := twoChecked(t)
	items := work.NewRangeSet(work.Range{Lo: 0, Hi: 10})
	a := w.assign(provider(0), items, nil).Assignment
	b := w.assign(provider(1), work.NewRangeSet(work.Range{Lo: 9, Hi: 20}), nil).Assignment
	again := w.assign(provider(1), items, func(a *work.Assignment) { a.Attempt = 2 }).Assignment
	apart := w.assign(provider(1), work.NewRangeSet(work.Range{Lo: 10, Hi: 20}), nil).Assignment
	forged := b
	forged.Price++
	for name, x := range map[string]work.Assignment{"attempt": again, "apart": apart, "renewal": a, "forged": forged} {
		if err := w.try("stranger", ledger.ReportEquivocation{Job: w.job, A: a, B: x}); err == nil {
			t.Errorf("%s was fined", name)
		}
	}
	w.must("stranger", ledger.ReportEquivocation{Job: w.job, A: a, B: b})
	q := w.party(lifecycle.RoleIndexer, "indexer")
	if q.Bond != 50*gtg-w.p.IndexerBond || w.balance("stranger") != 100*gtg+w.p.IndexerBond/2 {
		t.Errorf("fine: %+v, reporter %s", q, w.balance("stranger"))
	}
	w.refuses("stranger", ledger.ReportEquivocation{Job: w.job, A: b, B: a}, ledger.ErrRefused)
}

// A client that is its own indexer answers with its escrow.
func TestEquivocationOfAnOwnIndexer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 2, checkers: 1, validators: 1, spec: func(s *work.JobSpec) { s.IndexerOwner = s.Client }})
	a := w.assign(provider(0), work.NewRangeSet(work.Range{Lo: 0, Hi: 10}), nil).Assignment
	b := w.assign(provider(1), work.NewRangeSet(work.Range{Lo: 9, Hi: 20}), nil).Assignment
	w.must(provider(0), ledger.ReportEquivocation{Job: w.job, A: a, B: b})
	if j := w.jobNow(); j.Fined != w.p.IndexerBond || j.EscrowFree != 500*gtg-w.p.IndexerBond {
		t.Errorf("job: %+v", j)
	}
}

// Strangers' jobs need an indexer whose bond answers for it, under its own key.
func TestIndexerNeedsABond(t *testing.T) {
	t.Parallel()
	w := twoChecked(t)
	s := w.spec
	s.Nonce, s.Escrow, s.CheckEscrow = 5, gtg, gtg
	s.IndexerOwner = provider(1)
	w.refuses("client", ledger.CreateJob{Spec: s}, ledger.ErrRefused)
	s.IndexerOwner = "indexer"
	s.Indexer[0] ^= 1
	w.refuses("client", ledger.CreateJob{Spec: s}, ledger.ErrRefused)
}
