// Package books reads what the chain recorded of a job and holds it to the rules of
// money, for tests: who was paid for what and how often, who lost a bond, and whether
// all money is accounted for.
//
// It promises to fail the test with the numbers that do not fit, and to read each record
// once. It never changes anything on the chain.
package books

import (
	"context"
	"testing"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Books are the chain's records of one job.
type Books struct {
	Job     *lifecycle.Job
	Batches []*lifecycle.Batch
}

// Read reads the records of a job.
func Read(ctx context.Context, t testing.TB, l ledger.Ledger, id work.JobID) Books {
	t.Helper()
	var b Books
	var err error
	if b.Job, err = l.Job(ctx, id); err != nil {
		t.Fatal(err)
	}
	ids, err := l.Batches(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		batch, err := l.Batch(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		b.Batches = append(b.Batches, batch)
	}
	return b
}

// Check holds what must be true of a job that is over, whatever happened to it: each
// item was paid at most MaxCopies times and to a provider at most once, each payment
// is what the batch locked, and the client's money is accounted for.
func (b Books) Check(t testing.TB) {
	t.Helper()
	spec := b.Job.Spec
	all := work.RangeSet{{Lo: 0, Hi: spec.ItemCount}}
	var done work.RangeSet
	copies := make([]uint32, spec.ItemCount)
	paidTo := map[work.Address]work.RangeSet{}
	var paidWork, paidChecks work.Amount
	for _, batch := range b.Batches {
		if !batch.Phase.Final() {
			t.Errorf("batch %s of %s is still %s", batch.ID.Short(), batch.Provider, batch.Phase)
		}
		out := work.Amount(0)
		for _, tr := range batch.Transfers {
			if tr.FromPot == lifecycle.PotEscrow && tr.Reason != lifecycle.ReasonCheck && tr.ToPot != lifecycle.PotCheckEscrow {
				out += tr.Amount
			}
			if tr.Reason == lifecycle.ReasonCheck {
				paidChecks += tr.Amount
			}
		}
		if batch.Phase != lifecycle.Settled {
			if out != 0 {
				t.Errorf("batch %s is %s and %s left the escrow for it", batch.ID.Short(), batch.Phase, out)
			}
			continue
		}
		if out != batch.Pay {
			t.Errorf("batch %s paid %s, its pay is %s", batch.ID.Short(), out, batch.Pay)
		}
		paidWork += out
		if twice := paidTo[batch.Provider].Intersect(batch.Items); len(twice) > 0 {
			t.Errorf("%s was paid twice for items %v", batch.Provider, twice)
		}
		paidTo[batch.Provider] = paidTo[batch.Provider].Union(batch.Items)
		done = done.Union(batch.Items)
		for _, r := range batch.Items {
			for i := r.Lo; i < r.Hi; i++ {
				copies[i]++
			}
		}
	}
	for i, n := range copies {
		if n > spec.MaxCopies {
			t.Errorf("item %d was paid %d times, at most %d copies are", i, n, spec.MaxCopies)
		}
	}
	if missing := all.Minus(done); len(missing) > 0 {
		t.Errorf("nobody was paid for items %v", missing)
	}
	if paidWork != b.Job.PaidWork || paidChecks != b.Job.PaidChecks {
		t.Errorf("the batches paid %s for work and %s for checks, the job says %s and %s", paidWork, paidChecks, b.Job.PaidWork, b.Job.PaidChecks)
	}
	cost := client.CostOf(b.Job)
	if !cost.Closed || cost.Locked != 0 || cost.Free != 0 {
		t.Errorf("the job is not closed and empty: %+v", cost)
	}
	if cost.Escrowed != cost.Paid()+cost.Refunded {
		t.Errorf("escrowed %s, paid %s, refunded %s", cost.Escrowed, cost.Paid(), cost.Refunded)
	}
}

// Slashed is what each account lost of its bond.
func (b Books) Slashed() map[work.Address]work.Amount {
	m := map[work.Address]work.Amount{}
	for _, batch := range b.Batches {
		for _, tr := range batch.Transfers {
			switch tr.Reason {
			case lifecycle.ReasonSlash, lifecycle.ReasonBounty, lifecycle.ReasonDamages, lifecycle.ReasonReferee:
				m[tr.From] += tr.Amount
			}
		}
	}
	return m
}

// Honest holds that nobody lost anything: no batch void, unpaid or disputed, no
// conviction, no bond under what everybody bonded at first, nothing locked any more.
func (b Books) Honest(ctx context.Context, t testing.TB, l ledger.Ledger, bond work.Amount) {
	t.Helper()
	for _, batch := range b.Batches {
		if batch.Phase != lifecycle.Settled || batch.Dispute != nil {
			t.Errorf("batch %s of honest %s: %s: %s (dispute: %+v)", batch.ID.Short(), batch.Provider, batch.Phase, batch.Why, batch.Dispute)
		}
		for _, c := range batch.Checks {
			if c.Lost {
				t.Errorf("batch %s: honest checker %s was judged wrong", batch.ID.Short(), c.Checker)
			}
			if c.Missed {
				t.Logf("batch %s: checker %s came too late and was replaced", batch.ID.Short(), c.Checker)
			}
		}
	}
	for who, amount := range b.Slashed() {
		t.Errorf("honest %s was slashed by %s", who, amount)
	}
	for _, role := range []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker} {
		parties, err := l.Parties(ctx, role)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parties {
			if p.Convictions != 0 || p.Bond < bond || p.Locked != 0 { // rewards bond themselves
				t.Errorf("%s %s: %d convictions, bond %s of which %s is locked", role, p.Account, p.Convictions, p.Bond, p.Locked)
			}
		}
	}
}

// Conserved holds that the supply is what it was but for what was burned, and minted
// within its bound, and that the chain's own count of all its money agrees.
func Conserved(ctx context.Context, t testing.TB, l *cosmos.Client, before ledger.Supply) {
	t.Helper()
	after, err := l.Supply(ctx)
	if err != nil {
		t.Fatal(err)
	}
	fees := after.FeeBurn - before.FeeBurn
	burned, minted := fees+after.SlashBurn-before.SlashBurn, after.Minted-before.Minted
	if minted > fees/2 || after.MintedCommons != before.MintedCommons || before.Total-burned+minted != after.Total {
		t.Errorf("supply: %s before, %s burned, %s of it fees, %s minted, %s after", before.Total, burned, fees, minted, after.Total)
	}
	if ok, difference, err := l.Conserved(ctx); err != nil || !ok {
		t.Errorf("the chain's money does not add up: %s (%v)", difference, err)
	}
}
