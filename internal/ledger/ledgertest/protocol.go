package ledgertest

import (
	"cmp"
	"errors"
	"reflect"
	"slices"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// claims has the client say twice that an output cannot be had: once it lies, once
// the validators cannot get it either.
func (s *suite) claims(job work.JobID) {
	part := func(lo, hi uint64) lifecycle.Part {
		items := work.NewRangeSet(work.Range{Lo: lo, Hi: hi})
		a := work.Assignment{Chain: s.Chain, Job: job, Provider: s.Honest, Attempt: 2, Ranges: items, Price: 1e6, ExpiresHeight: s.height() + 500}
		a.Sign(s.indexer)
		return lifecycle.Part{Assignment: a, Items: items}
	}
	claim := func(id work.BatchID) {
		s.refuses(ledger.ErrRefused, s.Cheat, ledger.ClaimDelivery{Batch: id})
		s.must(s.Client, ledger.ClaimDelivery{Batch: id, Position: 1})
	}

	r := s.commit(job, s.Honest, part(20, 24), truth)
	r.inWindow = claim
	if b := r.play(); b.Phase != lifecycle.Settled || len(b.Decided) != 1 || !b.Decided[0].Delivery {
		s.Errorf("a batch whose output is there ended %s: %s, decided %+v", b.Phase, b.Why, b.Decided)
	}
	got, err := s.Ledger.Evidence(s.ctx, r.id)
	s.check(err)
	if !reflect.DeepEqual(got, []ledger.BatchPart{r.part}) {
		s.Errorf("evidence is %+v, want %+v", got, r.part)
	}

	r = s.commit(job, s.Honest, part(24, 28), truth)
	r.inWindow = claim
	r.verdict = func(b *lifecycle.Batch) []work.Leaf { return make([]work.Leaf, len(b.Dispute.Items)) }
	before := s.balance(s.Client)
	if b := r.play(); b.Phase != lifecycle.Void {
		s.Errorf("a batch whose output nobody can get ended %s", b.Phase)
	}
	if after := s.balance(s.Client); after < before {
		s.Errorf("a claim that was right cost the client %d", before-after)
	}
	if _, err := s.Ledger.Evidence(s.ctx, work.Hash{1}); !errors.Is(err, ledger.ErrNotFound) {
		s.Errorf("evidence of a batch that is none: %v", err)
	}
}

// equivocation reports the job's indexer, which is the client's own.
func (s *suite) equivocation(job work.JobID) {
	items := work.NewRangeSet(work.Range{Lo: 50, Hi: 60})
	a := work.Assignment{Chain: s.Chain, Job: job, Provider: s.Honest, Attempt: 3, Ranges: items, Price: 1e6, ExpiresHeight: s.height() + 500}
	b := a
	b.Provider = s.Cheat
	a.Sign(s.indexer)
	reporter := s.Checkers[0]
	s.refuses(ledger.ErrRefused, reporter, ledger.ReportEquivocation{Job: job, A: a, B: b}) // not signed
	b.Sign(s.indexer)
	before := s.balance(reporter)
	s.must(reporter, ledger.ReportEquivocation{Job: job, A: a, B: b})
	j, err := s.Ledger.Job(s.ctx, job)
	s.check(err)
	if !j.Convicted() || j.Fined != s.params.IndexerBond || s.balance(reporter)-before != j.Fined/2 {
		s.Errorf("the reporter got %d, the job is %+v", s.balance(reporter)-before, j)
	}
	s.refuses(ledger.ErrRefused, reporter, ledger.ReportEquivocation{Job: job, A: a, B: b})
}

// handOver names another indexer for a job that has ended, which gets its results.
func (s *suite) handOver(job work.JobID) {
	next := sign.FromSeed([32]byte{3: 7}).Public()
	s.refuses(ledger.ErrRefused, s.Cheat, ledger.Reassign{Job: job, Indexer: next, Owner: s.Cheat})
	s.refuses(ledger.ErrRefused, s.Cheat, ledger.TakeOver{Job: job})
	s.refuses(ledger.ErrRefused, s.Client, ledger.KeepJob{Job: job})
	s.must(s.Client, ledger.Reassign{Job: job, Indexer: next, Owner: s.Client})
	j, err := s.Ledger.Job(s.ctx, job)
	s.check(err)
	if l := j.Signers(); j.Indexer().Key != next || len(l) != 2 || l[0].Key != s.indexer.Public() || l[0].Until == 0 {
		s.Errorf("indexers of the job are %+v, want %s as the last of two", l, next)
	}
}

// commons has governance approve a job, works on it, and ends it.
func (s *suite) commons() {
	spec := s.spec(2)
	spec.Escrow, spec.CheckEscrow = 0, 0
	s.refuses(ledger.ErrRefused, s.Client, ledger.ApproveCommons{Spec: spec})
	s.refuses(ledger.ErrRefused, s.Client, ledger.Decide{Batch: work.Hash{1}})
	s.refuses(ledger.ErrRefused, s.Client, ledger.SetParams{Params: s.params})
	s.refuses(ledger.ErrRefused, s.Client, ledger.Upgrade{Name: "next", Height: 1 << 40})
	s.refuses(ledger.ErrRefused, s.Client, ledger.Propose{Title: "money", Message: ledger.Send{To: s.Client, Amount: 1}, Deposit: 10 * gtg})
	s.refuses(ledger.ErrRefused, s.Validator, ledger.VoteProposal{Proposal: 77, Yes: true})

	before := s.balance(s.Client)
	s.propose("an open job", ledger.ApproveCommons{Spec: spec}, true)
	s.propose("nothing is frozen", ledger.Decide{Batch: work.Hash{1}, Uphold: true}, true)
	upgrade := ledger.Upgrade{Name: "next", Height: 1 << 40, Info: "version 2"}
	s.propose("no", upgrade, false)
	s.params.GovernanceBlocks++
	s.propose("slower courts", ledger.SetParams{Params: s.params}, true)
	approved := s.decision("an open job")
	if approved.Status != "passed" || !reflect.DeepEqual(approved.Messages, []ledger.Msg{ledger.ApproveCommons{Spec: spec}}) || approved.Yes == 0 || approved.No != 0 {
		s.Fatalf("proposal is %+v", approved)
	}
	if p := s.decision("nothing is frozen"); p.Status != "failed" || !reflect.DeepEqual(p.Messages, []ledger.Msg{ledger.Decide{Batch: work.Hash{1}, Uphold: true}}) {
		s.Errorf("proposal to decide about nothing is %+v", p)
	}
	if p := s.decision("no"); p.Status != "rejected" || p.No == 0 || !reflect.DeepEqual(p.Messages, []ledger.Msg{upgrade}) {
		s.Errorf("proposal that nobody wants is %+v", p)
	}
	if p := s.decision("slower courts"); p.Status != "passed" || !reflect.DeepEqual(p.Messages, []ledger.Msg{ledger.SetParams{Params: s.params}}) {
		s.Errorf("proposal to change a parameter is %+v", p)
	}
	if p, err := s.Ledger.Params(s.ctx); err != nil || p != s.params {
		s.Errorf("the parameters are %+v, %v; want %+v", p, err, s.params)
	}
	if got := s.balance(s.Client); got != before {
		s.Errorf("the deposits of proposals that ended cost %d", before-got)
	}

	id := spec.ID()
	j, err := s.Ledger.Job(s.ctx, id)
	s.check(err)
	if !j.Commons {
		s.Errorf("an approved job is %+v", j)
	}
	items := s.drawn(id)
	b := s.commit(id, s.Honest, lifecycle.Part{Items: items}, truth).play()
	if b.Phase != lifecycle.Settled || b.Price != s.params.CommonsPrice {
		s.Fatalf("a batch of the commons at price %d ended %s: %s", b.Price, b.Phase, b.Why)
	}
	v, c := s.supplyAndCommons()
	if v.MintedCommons == 0 || v.MintedCommons != c.Emitted {
		s.Errorf("the supply has %s minted for the commons, the record %s", v.MintedCommons, c.Emitted)
	}
	release := s.indexer.Sign(lifecycle.ReleaseTag, lifecycle.ReleaseMessage(s.Chain, id))
	s.must(s.Client, ledger.CancelJob{Job: id, Release: &release})
	j, err = s.Ledger.Job(s.ctx, id)
	s.check(err)
	if v := s.supply(); j.State != lifecycle.JobClosed || j.Refunded == 0 || v.CommonsPool != j.Refunded || j.ToppedUp != j.PaidWork+j.PaidChecks+j.Refunded {
		s.Errorf("the pool of the commons has %s after job %+v", v.CommonsPool, j)
	}
}

// supplyAndCommons reads both as they were at one time: an epoch's end between the two
// would change what was minted.
func (s *suite) supplyAndCommons() (ledger.Supply, *lifecycle.Commons) {
	for {
		before, err := s.Ledger.Commons(s.ctx)
		s.check(err)
		v := s.supply()
		c, err := s.Ledger.Commons(s.ctx)
		s.check(err)
		if c.Emitted == before.Emitted {
			return v, c
		}
	}
}

// drawn waits for an epoch that has the job, and gives some of the items that it
// drew for the honest provider.
func (s *suite) drawn(job work.JobID) work.RangeSet {
	for {
		c, err := s.Ledger.Commons(s.ctx)
		s.check(err)
		if len(c.Epochs) > 0 && slices.Contains(c.Epochs[0].Jobs, job) {
			slot := c.Epochs[0].Slot(job, s.Honest, 0, s.params.CommonsChunkItems)
			return work.NewRangeSet(work.Range{Lo: slot[0].Lo, Hi: slot[0].Lo + min(slot[0].Hi-slot[0].Lo, 8)})
		}
		s.nextBlock()
	}
}

// propose puts a message before governance and votes.
func (s *suite) propose(title string, m ledger.Msg, yes bool) {
	s.Helper()
	s.must(s.Client, ledger.Propose{Title: title, Message: m, Deposit: 10 * gtg})
	p := s.proposal(title)
	if p.Status != "voting" || p.VotingEnd.IsZero() {
		s.Errorf("a new proposal is %+v", p)
	}
	s.must(s.Validator, ledger.VoteProposal{Proposal: p.ID, Yes: yes})
}

func (s *suite) proposal(title string) ledger.Proposal {
	s.Helper()
	l, err := s.Ledger.Proposals(s.ctx)
	s.check(err)
	at := slices.IndexFunc(l, func(p ledger.Proposal) bool { return p.Title == title })
	if at < 0 {
		s.Fatalf("proposals are %+v, want %q among them", l, title)
	}
	if !slices.IsSortedFunc(l, func(a, b ledger.Proposal) int { return cmp.Compare(b.ID, a.ID) }) {
		s.Errorf("proposals %+v are not newest first", l)
	}
	return l[at]
}

// decision waits for the end of a proposal.
func (s *suite) decision(title string) ledger.Proposal {
	s.Helper()
	p := s.proposal(title)
	for p.Status == "voting" {
		s.nextBlock()
		p = s.proposal(title)
	}
	return p
}
