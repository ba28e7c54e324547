package client_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/adversary"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// eventually waits until f gives nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited for %s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestCommonsFromProposalToResults proposes a job and votes for it; idle providers
// compute it, and a stranger who knows only its id gets every result, proven, and can
// do nothing else to it. An indexer that was started anew gives the same.
func TestCommonsFromProposalToResults(t *testing.T) {
	t.Parallel()
	w, c := honest(t, nil)
	const n = 150
	r := request(n)
	plan, err := c.PlanCommons(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := w.chain.Balance(t.Context(), "client")
	proposal, err := c.ProposeCommons(t.Context(), r, plan, "numbers for everybody", 10*gtg)
	if err != nil || proposal == 0 {
		t.Fatalf("proposal %d: %v", proposal, err)
	}
	w.submit("val-1", ledger.VoteProposal{Proposal: proposal, Yes: true})
	id := plan.Spec.ID()
	stranger := w.client("poor", nil)
	verified := func() error {
		us, err := stranger.Results(t.Context(), id, nil)
		if err != nil {
			return err
		}
		got := 0
		for _, u := range us {
			if u.State == wire.ItemVerified {
				got++
			}
		}
		if got < n {
			return fmt.Errorf("%d of %d items are proven", got, n)
		}
		return nil
	}
	eventually(t, "all results", verified)
	for what, err := range map[string]error{"forget": stranger.Forget(t.Context(), id), "retry": c.Retry(t.Context(), id, nil)} {
		if !errors.Is(err, client.ErrRemote) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.stopped()
	w.indexer()
	eventually(t, "the results of an indexer that was started anew", verified)
	eventually(t, "the end of the job", func() error {
		if j, err := w.chain.Job(t.Context(), id); err != nil || j.State != lifecycle.JobClosed {
			return fmt.Errorf("%+v, %v", j, err)
		}
		return nil
	})
	if after, _ := w.chain.Balance(t.Context(), "client"); after != before {
		t.Errorf("the curator's balance moved from %s to %s", before, after)
	}
	a := account(t, w, id)
	if p := party(a, "emission and pool of the commons"); p.Net() != -int64(a.Job.PaidWork+a.Job.PaidChecks) {
		t.Errorf("the emission gave %d net for %d of work and %d of checks", p.Net(), a.Job.PaidWork, a.Job.PaidChecks)
	}
}

// account puts a job's money together, and holds it to adding up.
func account(t *testing.T, w *world, id work.JobID) *client.Account {
	t.Helper()
	j, err := w.chain.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	batches, err := client.BatchesOf(t.Context(), w.chain, id)
	if err != nil || len(batches) == 0 {
		t.Fatalf("%d batches: %v", len(batches), err)
	}
	a := client.AccountOf(j, batches)
	var sum int64
	for i := range a.Parties {
		sum += a.Parties[i].Net()
	}
	if sum != 0 || !a.AddsUp {
		t.Errorf("nets add up to %d, %d in escrow, job %+v", sum, a.InEscrow, j)
	}
	return a
}

func party(a *client.Account, name string) client.Party {
	for _, p := range a.Parties {
		if p.Name == name {
			return p
		}
	}
	return client.Party{Name: name}
}

// TestEveryTransferIsTold compares what a job's transfers add up to with the
// balances of those concerned: of a client whose first provider cheated.
func TestEveryTransferIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.indexer()
	w.referee()
	w.provider("c", adversary.CorruptRuntime(&toy{}))
	w.checker("check-1")
	w.checker("check-2")
	c := w.client("client", nil)
	w.ready(c, 1)
	before, _ := w.chain.Balance(t.Context(), "client")
	id, err := c.Post(t.Context(), request(150))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a conviction", func() error {
		q, err := w.chain.Party(t.Context(), lifecycle.RoleProvider, "c")
		if err != nil || q.Convictions == 0 {
			return fmt.Errorf("%+v, %v", q, err)
		}
		return nil
	})
	w.provider("a", &toy{})
	proven, _ := follow(t, c, id)
	if len(proven) != 150 {
		t.Errorf("%d items proven", len(proven))
	}
	if cost, err := c.WaitClosed(t.Context(), id, 30*time.Second); err != nil || !cost.Closed {
		t.Fatalf("%+v, %v", cost, err)
	}
	a := account(t, w, id)
	if a.Parties[0].Account != "client" {
		t.Errorf("the first party is %s", a.Parties[0].Name)
	}
	after, _ := w.chain.Balance(t.Context(), "client")
	if net := a.Parties[0].Net(); net != int64(after)-int64(before) {
		t.Errorf("the transfers give the client %d, its balance moved by %d", net, int64(after)-int64(before))
	}
	q, err := w.chain.Party(t.Context(), lifecycle.RoleProvider, "c")
	if err != nil {
		t.Fatal(err)
	}
	if net := party(a, "c's bond as provider").Net(); net != int64(q.Bond)-int64(200*gtg) || net >= 0 {
		t.Errorf("the transfers cost the cheat %d of its bond, it has %s left of 200gtg", net, q.Bond)
	}
	reasons := map[lifecycle.Reason]bool{}
	for _, e := range a.Entries {
		reasons[e.Transfer.Reason] = true
	}
	for _, r := range []lifecycle.Reason{lifecycle.ReasonEscrow, lifecycle.ReasonWork, lifecycle.ReasonValidators, lifecycle.ReasonFeeBurn,
		lifecycle.ReasonCheck, lifecycle.ReasonMint, lifecycle.ReasonSlash, lifecycle.ReasonBounty, lifecycle.ReasonDamages, lifecycle.ReasonReferee, lifecycle.ReasonRefund} {
		if !reasons[r] {
			t.Errorf("no transfer is a %s", r)
		}
	}
}
