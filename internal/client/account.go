package client

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Entry is one transfer of a job.
type Entry struct {
	Batch    work.BatchID    `json:"batch,omitzero"` // zero: of the job itself
	Phase    lifecycle.Phase `json:"-"`              // of the batch
	Transfer lifecycle.Transfer
}

// Account is all money that a job moved: each transfer once, and what each party
// got and gave. Every transfer has two sides, so the parties' nets add up to zero.
type Account struct {
	Job     *lifecycle.Job
	Entries []Entry
	Parties []Party // the client first, then those with the largest sums
	// InEscrow is what the entries leave in the job's escrows. It must be what the
	// chain's record of the job says: AddsUp.
	InEscrow int64
	AddsUp   bool
}

// Party is one side of a job's transfers, in ugtg: an account, its bond or its
// unvested pay, the job's escrows, or a place where money enters or leaves.
type Party struct {
	Name    string       `json:"name"`
	Account work.Address `json:"account,omitempty"`
	In      uint64       `json:"in"`
	Out     uint64       `json:"out"`
}

// Net is what the party won, or lost.
func (p Party) Net() int64 { return int64(p.In) - int64(p.Out) }

// Names of parties that are no accounts.
const (
	partyEscrow  = "escrow of the job"
	partyBurned  = "burned"
	partyMinted  = "minted"
	partyCommons = "emission and pool of the commons"
	partyFees    = "validators' fees"
)

// AccountOf puts a job's money together from the chain's records of the job and of
// all its batches.
func AccountOf(j *lifecycle.Job, batches []*lifecycle.Batch) *Account {
	a := &Account{Job: j, Entries: jobEntries(j)}
	for _, b := range batches {
		for _, t := range b.Transfers {
			a.Entries = append(a.Entries, Entry{b.ID, b.Phase, t})
		}
	}
	if back := refund(j); back.Amount > 0 {
		a.Entries = append(a.Entries, Entry{Transfer: back})
	}
	sums := map[string]*Party{}
	side := func(pot lifecycle.Pot, account work.Address, role lifecycle.Role) *Party {
		name, owner := partyOf(j, pot, account, role)
		p := sums[name]
		if p == nil {
			p = &Party{Name: name, Account: owner}
			sums[name] = p
		}
		return p
	}
	for _, e := range a.Entries {
		t := e.Transfer
		side(t.FromPot, t.From, t.Role).Out += uint64(t.Amount)
		side(t.ToPot, t.To, t.Role).In += uint64(t.Amount)
	}
	if p := sums[partyEscrow]; p != nil {
		a.InEscrow = p.Net()
	}
	a.AddsUp = a.InEscrow == int64(j.EscrowFree+j.EscrowLocked+j.CheckFree+j.CheckLocked)
	a.Parties = make([]Party, 0, len(sums))
	for _, p := range slices.SortedFunc(maps.Values(sums), func(x, y *Party) int {
		return cmp.Or(-cmp.Compare(isClient(j, x), isClient(j, y)), -cmp.Compare(x.In+x.Out, y.In+y.Out), cmp.Compare(x.Name, y.Name))
	}) {
		a.Parties = append(a.Parties, *p)
	}
	return a
}

func isClient(j *lifecycle.Job, p *Party) int {
	if p.Account == j.Spec.Client {
		return 1
	}
	return 0
}

// jobEntries are the transfers into a job's escrows, and out of them without a
// batch. Both escrows count as one place: what the chain keeps of a refund is its
// sum.
func jobEntries(j *lifecycle.Job) (out []Entry) {
	add := func(t lifecycle.Transfer) {
		if t.Amount > 0 {
			out = append(out, Entry{Transfer: t})
		}
	}
	client := j.Spec.Client
	if !j.Commons {
		add(lifecycle.Transfer{FromPot: lifecycle.PotAccount, From: client, ToPot: lifecycle.PotEscrow, To: client, Amount: j.Spec.Escrow, Reason: lifecycle.ReasonEscrow})
		add(lifecycle.Transfer{FromPot: lifecycle.PotAccount, From: client, ToPot: lifecycle.PotCheckEscrow, To: client, Amount: j.Spec.CheckEscrow, Reason: lifecycle.ReasonEscrow})
	}
	add(lifecycle.Transfer{FromPot: lifecycle.PotCommons, ToPot: lifecycle.PotEscrow, To: client, Amount: j.ToppedUp, Reason: lifecycle.ReasonEmission})
	add(lifecycle.Transfer{FromPot: lifecycle.PotEscrow, From: client, ToPot: lifecycle.PotAccount, Amount: j.Fined / 2, Reason: lifecycle.ReasonFine})
	add(lifecycle.Transfer{FromPot: lifecycle.PotEscrow, From: client, ToPot: lifecycle.PotBurn, Amount: j.Fined - j.Fined/2, Reason: lifecycle.ReasonFine})
	return out
}

// refund is what the chain returned when the job closed.
func refund(j *lifecycle.Job) lifecycle.Transfer {
	t := lifecycle.Transfer{FromPot: lifecycle.PotEscrow, From: j.Spec.Client, ToPot: lifecycle.PotAccount, To: j.Spec.Client, Amount: j.Refunded, Reason: lifecycle.ReasonRefund}
	if j.Commons {
		t.ToPot, t.To = lifecycle.PotCommons, ""
	}
	return t
}

// partyOf names one side of a transfer, and its account if it has one.
func partyOf(j *lifecycle.Job, pot lifecycle.Pot, account work.Address, role lifecycle.Role) (string, work.Address) {
	switch pot {
	case lifecycle.PotEscrow, lifecycle.PotCheckEscrow:
		return partyEscrow, ""
	case lifecycle.PotValidators:
		return partyFees, ""
	case lifecycle.PotBurn:
		return partyBurned, ""
	case lifecycle.PotMint:
		return partyMinted, ""
	case lifecycle.PotCommons:
		return partyCommons, ""
	case lifecycle.PotBond:
		return fmt.Sprintf("%s's bond as %s", account, role), account
	case lifecycle.PotVesting:
		return fmt.Sprintf("%s's unvested pay", account), account
	case lifecycle.PotStake:
		return fmt.Sprintf("%s's stake in a dispute", account), account
	}
	switch {
	case account == "":
		return "whoever reported the indexer", ""
	case account == j.Spec.Client:
		return fmt.Sprintf("%s (client)", account), account
	}
	return string(account), account
}

// Side names both sides of an entry for people.
func (a *Account) Side(e Entry) (from, to string) {
	from, _ = partyOf(a.Job, e.Transfer.FromPot, e.Transfer.From, e.Transfer.Role)
	to, _ = partyOf(a.Job, e.Transfer.ToPot, e.Transfer.To, e.Transfer.Role)
	return from, to
}

// askedAtOnce bounds the batches that are asked for at once.
const askedAtOnce = 16

// BatchesOf reads all batches of a job, in the order of their commits.
func BatchesOf(ctx context.Context, chain ledger.Reader, job work.JobID) ([]*lifecycle.Batch, error) {
	ids, err := chain.Batches(ctx, job)
	if err != nil {
		return nil, err
	}
	out, errs := make([]*lifecycle.Batch, len(ids)), make([]error, len(ids))
	var wg sync.WaitGroup
	gate := make(chan struct{}, askedAtOnce)
	for i, id := range ids {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			out[i], errs[i] = chain.Batch(ctx, id)
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("batch %s: %w", ids[i].Short(), err)
		}
	}
	slices.SortStableFunc(out, func(x, y *lifecycle.Batch) int { return cmp.Compare(x.CommitHeight, y.CommitHeight) })
	return out, nil
}
