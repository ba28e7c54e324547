package lifecycle_test

import (
	"context"
	"errors"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

var errSeen = errors.New("seen")

// faults are the accounts that were proven at fault so far.
func (w *world) faults() map[work.Address]bool {
	w.t.Helper()
	faults := map[work.Address]bool{}
	w.l.Advance()
	now := w.l.Height()
	err := w.l.Follow(context.Background(), 1, func(b ledger.Block) error {
		for _, e := range b.Events {
			if e.Kind == lifecycle.EventFault {
				faults[e.Account] = true
			}
		}
		if b.Height >= now {
			return errSeen
		}
		return nil
	})
	if !errors.Is(err, errSeen) {
		w.t.Fatal(err)
	}
	return faults
}

// At most MaxDisputes are judged at a time; the others wait their turn with their
// windows stopped, and all end.
func TestDisputesQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 6, checkers: 4, validators: 4, params: func(p *lifecycle.Params) { p.MaxDisputes = 2 }})
	var l []*results
	for i := range 6 {
		l = append(l, w.commit(provider(i), uint64(i)*10, uint64(i)*10+10, all))
	}
	for _, r := range l {
		r.check(honest)
	}
	w.l.Advance()
	var order []int
	for len(order) < len(l) {
		open := 0
		for _, r := range l {
			if p := r.batch().Phase; p == lifecycle.Voting || p == lifecycle.Tallying {
				open++
			}
		}
		if open == 0 || open > 2 {
			t.Fatalf("%d disputes are open, %d have ended", open, len(order))
		}
		for i, r := range l {
			if r.batch().Phase == lifecycle.Voting {
				r.judge(4, func(int) found { return truth })
				order = append(order, i)
			}
		}
		w.l.Advance()
	}
	for _, r := range l {
		if b := r.batch(); b.Phase != lifecycle.Void {
			t.Errorf("a batch of lies ended %s", b.Phase)
		}
	}
}

// frozen makes a batch of lies that two checkers confirm, and lets a challenge
// bring the truth before the referee.
func frozen(t *testing.T) (*world, *results) {
	w := newWorld(t, setup{providers: 1, checkers: 3, validators: 4, spec: func(s *work.JobSpec) { s.Tier = work.TierAssured }})
	r := w.commit(provider(0), 0, 10, all)
	lies := func(work.Address) found { return func(i uint64) work.Leaf { return lie(i, provider(0)) } }
	if b := r.check(lies); b.Phase != lifecycle.Window {
		t.Fatalf("a batch that all checkers confirm is %s", b.Phase)
	}
	w.must("stranger", ledger.Challenge{Batch: r.id, Position: 3, Leaf: truth(3)})
	path, _ := work.Path(r.nodes, 3)
	w.must(provider(0), ledger.AnswerChallenge{Batch: r.id, Opening: lifecycle.ItemOpening{Position: 3, Node: r.nodes[3], Path: path}, Leaf: r.leaves[3]})
	if b := r.judge(4, func(int) found { return truth }); b.Phase != lifecycle.Frozen {
		t.Fatalf("a verdict against a provider and two checkers: %s", b.Phase)
	}
	if q := w.party(lifecycle.RoleProvider, provider(0)); q.Bond != 100*gtg || q.Locked == 0 {
		t.Errorf("while frozen: %+v", q)
	}
	next := w.spec
	next.Nonce, next.Escrow, next.CheckEscrow = 9, gtg, gtg
	w.refuses("client", ledger.CreateJob{Spec: next}, ledger.ErrRefused) // its program is suspended
	return w, r
}

// Without a decision the referee's verdict holds: the provider and the checkers that
// lied lose.
func TestBreakerDefaultsToTheVerdict(t *testing.T) {
	t.Parallel()
	w, r := frozen(t)
	b := r.until(lifecycle.Void)
	lost := 0
	for i := range b.Checks {
		if b.Checks[i].Lost {
			lost++
		}
	}
	if sum(b, lifecycle.ReasonBounty) == 0 || lost < 2 {
		t.Errorf("%d checkers lost, transfers %+v", lost, b.Transfers)
	}
	if got := w.balance("stranger"); got != 100*gtg+sum(b, lifecycle.ReasonBounty) {
		t.Errorf("the challenger has %s", got)
	}
	next := w.spec
	next.Nonce, next.Escrow, next.CheckEscrow = 9, gtg, gtg
	w.must("client", ledger.CreateJob{Spec: next})
}

// Governance may decide against the referee: nobody loses, the batch goes on.
func TestBreakerOverruled(t *testing.T) {
	t.Parallel()
	w, r := frozen(t)
	w.must("stranger", ledger.Propose{Title: "the engine is wrong", Message: ledger.Decide{Batch: r.id, Uphold: false}, Deposit: gtg})
	l, err := w.l.Proposals(context.Background())
	if err != nil || len(l) != 1 {
		t.Fatal(l, err)
	}
	for i := range 4 {
		w.must(validator(i), ledger.VoteProposal{Proposal: l[0].ID, Yes: true})
	}
	b := r.until(lifecycle.Settled)
	if sum(b, lifecycle.ReasonSlash)+sum(b, lifecycle.ReasonStake)+sum(b, lifecycle.ReasonBounty) != 0 {
		t.Errorf("somebody lost: %+v", b.Transfers)
	}
	if w.balance("stranger") != 100*gtg {
		t.Errorf("the challenger has %s", w.balance("stranger"))
	}
}

// What two thirds could not fetch is void at a fee, without a conviction; checkers
// that said so are right, and one that says so of what everybody can fetch gets no
// fee.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	nothing := func(uint64) work.Leaf { return lifecycle.Unavailable }
	t.Run("for two thirds", func(t *testing.T) {
		t.Parallel()
		w := twoChecked(t)
		r := w.commit(provider(0), 0, 100, nil)
		r.check(func(work.Address) found { return nothing })
		b := r.judge(4, func(i int) found { return nothing })
		q := w.party(lifecycle.RoleProvider, provider(0))
		if b.Phase != lifecycle.Void || q.Convictions != 0 || q.Bond != 100*gtg-max(w.p.UnavailableFee, b.Bond*4/10) || sum(b, lifecycle.ReasonWork) != 0 {
			t.Errorf("%s (%s), provider %+v", b.Phase, b.Why, q)
		}
	})
	t.Run("for one checker", func(t *testing.T) {
		t.Parallel()
		w := twoChecked(t)
		r := w.commit(provider(0), 0, 100, nil)
		first := work.Address("")
		r.check(func(a work.Address) found {
			if first == "" || first == a {
				first = a
				return nothing
			}
			return truth
		})
		r.judge(4, func(int) found { return truth })
		b := r.until(lifecycle.Settled)
		for _, tr := range b.Transfers {
			if tr.To == first {
				t.Errorf("%s got %s for %s", first, tr.Amount, tr.Reason)
			}
		}
		if q := w.party(lifecycle.RoleChecker, first); q.Bond != 100*gtg || q.Convictions != 0 || q.Locked != 0 {
			t.Errorf("not to fetch is no fault: %+v", q)
		}
	})
}

// The client may claim that it cannot get an output: if the validators can, it pays
// for the claim; if they cannot, the batch is not paid.
func TestClaimOfNonDelivery(t *testing.T) {
	t.Parallel()
	for _, delivered := range []bool{true, false} {
		w := twoChecked(t)
		r := w.commit(provider(0), 0, 100, nil)
		r.check(honest)
		w.refuses("stranger", ledger.ClaimDelivery{Batch: r.id, Position: 7}, ledger.ErrRefused)
		w.must("client", ledger.ClaimDelivery{Batch: r.id, Position: 7})
		stake := r.batch().Dispute.Stake
		path, _ := work.Path(r.nodes, 7)
		w.must(provider(0), ledger.AnswerChallenge{Batch: r.id, Opening: lifecycle.ItemOpening{Position: 7, Node: r.nodes[7], Path: path}, Leaf: r.leaves[7]})
		b := r.judge(4, func(int) found {
			if delivered {
				return truth
			}
			return func(uint64) work.Leaf { return lifecycle.Unavailable }
		})
		lost := sum(b, lifecycle.ReasonStake) + sum(b, lifecycle.ReasonReferee)
		if delivered {
			if r.until(lifecycle.Settled); lost != stake {
				t.Errorf("a false claim cost %s of %s", lost, stake)
			}
		} else if b.Phase != lifecycle.Void || lost != 0 || sum(b, lifecycle.ReasonFee) != max(w.p.UnavailableFee, b.Bond*4/10) {
			t.Errorf("a true claim: %s, %+v", b.Phase, b.Transfers)
		}
	}
}

// A position that the referee has decided is not judged again.
func TestNothingIsJudgedTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{seed: 3, providers: 1, checkers: 3, validators: 4})
	r := w.commit(provider(0), 0, 100, nil)
	r.check(honest)
	for i, refused := range []bool{false, true} {
		err := w.try("stranger", ledger.Challenge{Batch: r.id, Position: 5, Leaf: lie(5, "stranger")})
		if (err != nil) != refused {
			t.Fatalf("challenge %d of one position: %v", i+1, err)
		}
		if refused {
			break
		}
		path, _ := work.Path(r.nodes, 5)
		w.must(provider(0), ledger.AnswerChallenge{Batch: r.id, Opening: lifecycle.ItemOpening{Position: 5, Node: r.nodes[5], Path: path}, Leaf: r.leaves[5]})
		r.judge(4, func(int) found { return truth })
	}
	r.until(lifecycle.Settled)
}

// A second look is drawn after the checks are committed and before anything is
// revealed; it convicts a provider and the checker that covered for it.
func TestSecondLook(t *testing.T) {
	t.Parallel()
	caught := 0
	for seed := range uint64(6) {
		w := newWorld(t, setup{seed: seed, providers: 1, checkers: 5, validators: 4, params: func(p *lifecycle.Params) { p.LookPermille, p.SampleEconomic = 1000, 1 }})
		r := w.commit(provider(0), 0, 20, all)
		b := r.open()
		cover := b.Checks[0].Checker
		covers := func(i uint64) work.Leaf { return lie(i, provider(0)) }
		if err := r.commitCheck(b, &b.Checks[0], covers); err != nil {
			t.Fatal(err)
		}
		if p := r.batch().Phase; p != lifecycle.Looking {
			t.Fatalf("after the last commit the batch is %s", p)
		}
		if err := r.reveal(b); err == nil {
			t.Fatal("the provider revealed before the second look")
		}
		b = r.until(lifecycle.Checking)
		look := &b.Checks[len(b.Checks)-1]
		if !look.Look || look.Checker == cover {
			t.Fatalf("second look: %+v", look)
		}
		if err := r.commitCheck(b, look, truth); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{r.reveal(b), r.revealCheck(b, &b.Checks[0], covers), r.revealCheck(b, look, truth)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		r.admitted()
		b = r.judge(4, func(int) found { return truth })
		if b.Phase == lifecycle.Void && b.CheckOf(cover).Lost && !b.CheckOf(look.Checker).Lost {
			caught++
		}
	}
	if caught != 6 {
		t.Errorf("%d of 6 second looks caught provider and checker", caught)
	}
}
