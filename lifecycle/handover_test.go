package lifecycle_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// other is the i-th indexer besides the job's own.
func other(i int) work.Address           { return work.Address(fmt.Sprint("other", i)) }
func otherKey(i int) sign.PrivateKey     { return sign.FromSeed([32]byte{9, byte(i)}) }
func span(lo, hi uint64) work.RangeSet   { return work.NewRangeSet(work.Range{Lo: lo, Hi: hi}) }
func (w *world) idle()                   { w.l.AdvanceTo(w.jobNow().Progress() + w.p.TakeoverIdleBlocks) }
func (w *world) indexedBy() work.Address { return w.jobNow().Indexer().Owner }

// indexed is a world with n more indexers. Every commit is signed by whoever is the
// job's indexer.
func indexed(t *testing.T, n int, s setup) *world {
	t.Helper()
	params := s.params
	s.providers, s.checkers, s.validators = 3, 3, 3
	s.params = func(p *lifecycle.Params) {
		p.TakeoverIdleBlocks, p.TakeoverAnswerBlocks = 6, 4
		if params != nil {
			params(p)
		}
	}
	w := newWorld(t, s)
	for i := range n {
		w.must("stranger", ledger.Send{To: other(i), Amount: 20 * gtg})
		w.must(other(i), ledger.Register{Role: lifecycle.RoleIndexer, Peer: otherKey(i).Public(), Bond: 10 * gtg})
	}
	return w
}

func (w *world) bond(a work.Address) work.Amount { return w.party(lifecycle.RoleIndexer, a).Bond }

// A silent indexer loses the job to who claims it; what it signed before still
// commits, each of both is paid for its own, and the job ends.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	w := indexed(t, 2, setup{params: func(p *lifecycle.Params) { p.ClosingBlocks = 60 },
		spec: func(s *work.JobSpec) { s.ItemCount, s.IndexerPermille = 30, 20 }})
	signed := w.assign(provider(1), span(10, 20), func(a *work.Assignment) { a.ExpiresHeight += 40 })
	a := w.commit(provider(0), 0, 10, nil)
	w.refuses(other(0), ledger.TakeOver{Job: w.job}, ledger.ErrRefused) // it goes on
	w.idle()
	w.refuses("stranger", ledger.TakeOver{Job: w.job}, ledger.ErrRefused) // no indexer
	w.refuses("indexer", ledger.TakeOver{Job: w.job}, ledger.ErrRefused)  // has it
	w.must(other(0), ledger.TakeOver{Job: w.job})
	w.refuses(other(1), ledger.TakeOver{Job: w.job}, ledger.ErrRefused) // one claim at a time, and nobody pays twice
	if q := w.party(lifecycle.RoleIndexer, other(0)); q.Locked != w.p.TakeoverStake {
		t.Errorf("staked %s", q.Locked)
	}
	w.l.AdvanceTo(w.jobNow().Takeover.Deadline)
	j := w.jobNow()
	if j.Indexer().Owner != other(0) || j.Indexer().Key != otherKey(0).Public() || j.Takeover != nil || w.party(lifecycle.RoleIndexer, other(0)).Locked != 0 {
		t.Fatalf("after the deadline: %+v", j)
	}
	w.refuses("indexer", ledger.KeepJob{Job: w.job}, ledger.ErrRefused)

	// Signed before, committed after: paid to who signed.
	b, root, most := w.compute(provider(1), span(10, 20), nil)
	w.must(provider(1), ledger.CommitBatch{Job: w.job, Parts: []lifecycle.Part{signed}, Root: root, MaxItemFuel: most})
	// The old indexer's signature is worth nothing beyond the grace.
	late := w.assign(provider(2), span(20, 30), func(a *work.Assignment) { a.ExpiresHeight = j.Signers()[0].Until + 1 })
	c, root, most := w.compute(provider(2), span(20, 30), nil)
	w.refuses(provider(2), ledger.CommitBatch{Job: w.job, Parts: []lifecycle.Part{late}, Root: root, MaxItemFuel: most}, ledger.ErrRefused)
	// One batch has one signer.
	mixed := w.assign(provider(2), span(20, 25), nil)
	w.indexer = otherKey(0)
	fresh := w.assign(provider(2), span(25, 30), nil)
	w.refuses(provider(2), ledger.CommitBatch{Job: w.job, Parts: []lifecycle.Part{mixed, fresh}, Root: root, MaxItemFuel: most}, ledger.ErrRefused)
	w.must(provider(2), ledger.CommitBatch{Job: w.job, Parts: []lifecycle.Part{w.assign(provider(2), span(20, 30), nil)}, Root: root, MaxItemFuel: most})

	before := map[work.Address]work.Amount{"indexer": w.balance("indexer"), other(0): w.balance(other(0))}
	for _, r := range []*results{a, b, c} {
		if got := r.check(honest); got.Phase != lifecycle.Window {
			t.Fatalf("batch is %s: %s", got.Phase, got.Why)
		}
	}
	a.until(lifecycle.Settled)
	b.until(lifecycle.Settled)
	last := c.until(lifecycle.Settled)
	if last.Indexer != other(0) || sum(last, lifecycle.ReasonIndexer) != last.Pay*20/1000 {
		t.Errorf("indexer's fee of the last batch: %s of %s to %s", sum(last, lifecycle.ReasonIndexer), last.Pay, last.Indexer)
	}
	if got, want := w.balance("indexer")-before["indexer"], a.batch().Pay*20/1000+b.batch().Pay*20/1000; got != want {
		t.Errorf("the first indexer got %s, want %s", got, want)
	}
	if got, want := w.balance(other(0))-before[other(0)], last.Pay*20/1000; got != want {
		t.Errorf("the second indexer got %s, want %s", got, want)
	}
	if j := w.jobNow(); j.State != lifecycle.JobClosed {
		t.Errorf("the job is in state %d", j.State)
	}
}

// Who answers keeps the job, and gets the stake if something was committed since;
// who answers without ever committing anything loses the job nonetheless.
func TestKeepJob(t *testing.T) {
	t.Parallel()
	w := indexed(t, 2, setup{})
	w.commit(provider(0), 0, 10, nil)
	w.idle()
	w.must(other(0), ledger.TakeOver{Job: w.job})
	w.refuses(other(1), ledger.KeepJob{Job: w.job}, ledger.ErrRefused)
	before := w.balance("indexer")
	w.must("indexer", ledger.KeepJob{Job: w.job})
	if got := w.balance("indexer") - before; got != w.p.TakeoverStake || w.bond(other(0)) != 10*gtg-w.p.TakeoverStake {
		t.Errorf("the indexer got %s, the claimant has %s", got, w.bond(other(0)))
	}
	w.refuses("indexer", ledger.KeepJob{Job: w.job}, ledger.ErrRefused) // nothing to answer
	w.refuses(other(1), ledger.TakeOver{Job: w.job}, ledger.ErrRefused) // it answered just now
	for range lifecycle.MaxKeeps - 1 {
		w.idle()
		w.must(other(1), ledger.TakeOver{Job: w.job})
		w.must("indexer", ledger.KeepJob{Job: w.job})
	}
	w.idle()
	w.must(other(1), ledger.TakeOver{Job: w.job})
	w.refuses("indexer", ledger.KeepJob{Job: w.job}, ledger.ErrRefused) // it only talks
	w.l.AdvanceTo(w.jobNow().Takeover.Deadline)
	if w.indexedBy() != other(1) || w.bond(other(1)) != 10*gtg || w.party(lifecycle.RoleIndexer, other(1)).Locked != 0 {
		t.Errorf("job of %s; the claimant has %s", w.indexedBy(), w.bond(other(1)))
	}
}

// The client moves its job at once, to a bonded indexer or to itself; a claim that is
// open then ends without loss. Nobody closes the job over what the old indexer signed.
func TestReassign(t *testing.T) {
	t.Parallel()
	w := indexed(t, 2, setup{})
	to := func(i int) ledger.Reassign {
		return ledger.Reassign{Job: w.job, Indexer: otherKey(i).Public(), Owner: other(i)}
	}
	w.refuses("stranger", to(0), ledger.ErrRefused)
	w.refuses("client", ledger.Reassign{Job: w.job, Indexer: otherKey(7).Public(), Owner: other(0)}, ledger.ErrRefused)
	w.refuses("client", ledger.Reassign{Job: w.job, Indexer: w.indexer.Public(), Owner: "indexer"}, ledger.ErrRefused)
	w.idle()
	w.must(other(1), ledger.TakeOver{Job: w.job})
	w.must("client", to(0))
	if w.indexedBy() != other(0) || w.jobNow().Takeover != nil || w.party(lifecycle.RoleIndexer, other(1)).Locked != 0 || w.bond(other(1)) != 10*gtg {
		t.Errorf("after the change: %+v", w.jobNow())
	}
	release := otherKey(0).Sign(lifecycle.ReleaseTag, lifecycle.ReleaseMessage("test", w.job))
	w.refuses("client", ledger.CancelJob{Job: w.job, Release: &release}, ledger.ErrRefused)
	w.l.AdvanceTo(w.jobNow().Signers()[0].Until)
	own := sign.FromSeed([32]byte{77})
	w.must("client", ledger.Reassign{Job: w.job, Indexer: own.Public(), Owner: "client"})
	if w.indexedBy() != "client" {
		t.Errorf("job of %s", w.indexedBy())
	}
}

// A claim ends with the job, and its stake is free again.
func TestClaimEndsWithItsJob(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*world){
		"cancelled": func(w *world) { w.must("client", ledger.CancelJob{Job: w.job}) },
		"deadline":  func(w *world) { w.l.AdvanceTo(w.spec.DeadlineHeight) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := indexed(t, 1, setup{params: func(p *lifecycle.Params) { p.TakeoverAnswerBlocks = 500 }, spec: func(s *work.JobSpec) { s.DeadlineHeight = 100 }})
			w.idle()
			w.must(other(0), ledger.TakeOver{Job: w.job})
			end(w)
			if j := w.jobNow(); j.Takeover != nil || j.State != lifecycle.JobClosing || w.party(lifecycle.RoleIndexer, other(0)).Locked != 0 {
				t.Errorf("%+v", j)
			}
			w.refuses(other(0), ledger.TakeOver{Job: w.job}, ledger.ErrRefused)
			w.l.AdvanceTo(1000)
		})
	}
}

// Equivocation is each indexer's own: two that sign one item commit no fault, and
// who was convicted never gets the job again.
func TestEquivocationOfEachIndexer(t *testing.T) {
	t.Parallel()
	w := indexed(t, 1, setup{})
	a := w.assign(provider(0), span(0, 10), nil).Assignment
	b := w.assign(provider(1), span(0, 10), nil).Assignment
	w.must("client", ledger.Reassign{Job: w.job, Indexer: otherKey(0).Public(), Owner: other(0)})
	old := w.indexer
	w.indexer = otherKey(0)
	c := w.assign(provider(2), span(0, 10), nil).Assignment
	d := w.assign(provider(0), span(5, 6), nil).Assignment
	w.refuses("stranger", ledger.ReportEquivocation{Job: w.job, A: a, B: c}, ledger.ErrRefused)
	w.must("stranger", ledger.ReportEquivocation{Job: w.job, A: a, B: b})
	w.refuses("stranger", ledger.ReportEquivocation{Job: w.job, A: a, B: b}, ledger.ErrRefused)
	w.must("stranger", ledger.ReportEquivocation{Job: w.job, A: c, B: d})
	if w.bond("indexer") != 50*gtg-w.p.IndexerBond || w.bond(other(0)) != 10*gtg-w.p.IndexerBond || !w.jobNow().Convicted() {
		t.Errorf("bonds: %s, %s", w.bond("indexer"), w.bond(other(0)))
	}
	w.refuses("client", ledger.Reassign{Job: w.job, Indexer: old.Public(), Owner: "indexer"}, ledger.ErrRefused)
}

// Whoever owns one of the job's indexers is drawn for no check of it.
func TestIndexersDoNotCheck(t *testing.T) {
	t.Parallel()
	w := indexed(t, 0, setup{})
	w.must(checker(0), ledger.Register{Role: lifecycle.RoleIndexer, Peer: otherKey(0).Public(), Bond: 10 * gtg})
	w.must("client", ledger.Reassign{Job: w.job, Indexer: otherKey(0).Public(), Owner: checker(0)})
	w.must("client", ledger.Reassign{Job: w.job, Indexer: w.indexer.Public(), Owner: "indexer"})
	r := w.commit(provider(0), 0, 100, nil)
	for _, c := range r.open().Checks {
		if c.Checker == checker(0) {
			t.Error("an earlier indexer of the job checks its batch")
		}
	}
}

// The job forgets indexers only when what they signed cannot commit any more.
func TestManyIndexers(t *testing.T) {
	t.Parallel()
	w := indexed(t, 3, setup{})
	moves := 1
	for ; ; moves++ {
		own := sign.FromSeed([32]byte{50, byte(moves)})
		if err := w.try("client", ledger.Reassign{Job: w.job, Indexer: own.Public(), Owner: "client"}); err != nil {
			break
		}
	}
	if n := len(w.jobNow().Signers()); moves != lifecycle.MaxSigners || n != lifecycle.MaxSigners {
		t.Errorf("%d moves, %d indexers", moves, n)
	}
	w.l.AdvanceTo(w.jobNow().Signers()[0].Until + 1)
	w.must("client", ledger.Reassign{Job: w.job, Indexer: otherKey(0).Public(), Owner: other(0)})
	if _, ok := w.jobNow().Signer(w.indexer.Public()); ok {
		t.Error("the first indexer is remembered although it needs no place")
	}
}

// TestExploreHandOver runs a job through every sequence of claims, answers, commits,
// moves by its client and silence, of four steps. In every run:
//
//   - the job has one indexer, bonded or the client's own, and closes in the end,
//   - no stake stays locked, and money is conserved (the fake ledger checks it),
//   - a claimant loses a stake only to an indexer that answered and under which
//     something was committed since it got the job or last answered,
//   - and nobody holds an open job in which nothing is committed: after MaxKeeps
//     answers a claim stands.
func TestExploreHandOver(t *testing.T) {
	t.Parallel()
	c, runs := &choices{}, 0
	for more := true; more; more = c.next() {
		exploreHandOver(t, c)
		if runs++; t.Failed() {
			t.Fatalf("choices %v", c.taken[:c.at])
		}
	}
	t.Logf("%d runs", runs)
	if runs < 1000 {
		t.Errorf("only %d runs", runs)
	}
}

func exploreHandOver(t *testing.T, c *choices) {
	c.at = 0
	w := indexed(t, 2, setup{params: func(p *lifecycle.Params) { p.TakeoverIdleBlocks, p.TakeoverAnswerBlocks, p.ClosingBlocks = 2, 2, 20 }})
	keys := map[work.Address]sign.PrivateKey{"indexer": w.indexer, other(0): otherKey(0), other(1): otherKey(1)}
	bonds := map[work.Address]work.Amount{"indexer": w.bond("indexer"), other(0): w.bond(other(0)), other(1): w.bond(other(1))}
	lo, keeps := uint64(0), 0
	worked := false // something was committed since the last answer or change
	for range 4 {
		now := w.indexedBy()
		switch c.choose(5) {
		case 0: // silence
		case 1: // something is committed
			w.indexer = keys[now]
			w.commit(provider(0), lo, lo+1, nil)
			lo, worked, keeps = lo+1, true, 0
		case 2: // somebody claims it
			by := other(0)
			if now == by {
				by = other(1)
			}
			w.idle()
			if err := w.try(by, ledger.TakeOver{Job: w.job}); err != nil && w.jobNow().Takeover == nil && w.indexedBy() == now {
				t.Errorf("a claim to an idle job was refused: %v", err)
			}
		case 3: // its indexer answers
			claim := w.jobNow().Takeover
			err := w.try(now, ledger.KeepJob{Job: w.job})
			switch {
			case claim == nil:
				if err == nil {
					t.Error("an answer to nobody")
				}
				continue
			case keeps == lifecycle.MaxKeeps:
				if err == nil {
					t.Error("an indexer that only talks keeps the job")
				}
				continue
			case err != nil:
				t.Errorf("an answer was refused: %v", err)
			}
			if worked {
				bonds[claim.Owner] -= w.p.TakeoverStake
			}
			keeps, worked = keeps+1, false
		case 4: // the client moves it
			to := other(0)
			if now == to {
				to = "indexer"
			}
			w.must("client", ledger.Reassign{Job: w.job, Indexer: keys[to].Public(), Owner: to})
		}
		w.l.Advance()
		if c.choose(2) == 1 {
			w.l.AdvanceTo(w.l.Height() + 2)
		}
		if w.indexedBy() != now {
			keeps, worked = 0, false
		}
	}
	w.must("client", ledger.CancelJob{Job: w.job})
	w.l.AdvanceTo(w.l.Height() + 200)
	if j := w.jobNow(); j.State != lifecycle.JobClosed || j.Takeover != nil || len(j.Signers()) > lifecycle.MaxSigners {
		t.Errorf("in the end: %+v", j)
	}
	for a, want := range bonds {
		if q := w.party(lifecycle.RoleIndexer, a); q.Locked != 0 || q.Bond != want {
			t.Errorf("%s has %s, %s locked: want %s", a, q.Bond, q.Locked, want)
		}
	}
}

// Broken claims are refused with a cause and change nothing.
func TestClaimsOfNothing(t *testing.T) {
	t.Parallel()
	w := indexed(t, 1, setup{})
	for _, m := range []ledger.Msg{ledger.TakeOver{Job: work.JobID{1}}, ledger.KeepJob{Job: work.JobID{1}}, ledger.Reassign{Job: work.JobID{1}, Indexer: otherKey(0).Public(), Owner: other(0)},
		ledger.Reassign{Job: w.job, Owner: other(0)}, ledger.Reassign{Job: w.job, Indexer: otherKey(0).Public()}} {
		if err := w.try("client", m); !errors.Is(err, ledger.ErrRefused) {
			t.Errorf("%T: %v", m, err)
		}
	}
	w.must(other(0), ledger.Unbond{Role: lifecycle.RoleIndexer, Amount: 6 * gtg})
	w.idle()
	w.refuses(other(0), ledger.TakeOver{Job: w.job}, ledger.ErrRefused)
}
