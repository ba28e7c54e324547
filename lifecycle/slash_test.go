package lifecycle_test

import (
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// convicts runs a false batch to its verdict.
func (r *results) convicted() *lifecycle.Batch {
	r.w.t.Helper()
	if b := r.check(honest); b.Phase != lifecycle.Voting {
		r.w.t.Fatalf("a batch of lies is %s", b.Phase)
	}
	b := r.judge(4, func(int) found { return truth })
	if b.Phase != lifecycle.Void {
		r.w.t.Fatalf("a batch of lies ended %s", b.Phase)
	}
	return b
}

// One bond answers for all unsettled batches: the largest of what they need.
func TestOneBondForAllBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 5, validators: 4})
	var most work.Amount
	for i := range uint64(5) {
		b := w.commit(provider(0), i*20, i*20+4*(i+1), nil).batch()
		most = max(most, b.Bond)
		if q := w.party(lifecycle.RoleProvider, provider(0)); q.Locked != most || len(q.Open) != int(i)+1 {
			t.Fatalf("after %d commits: %+v, the largest needs %s", i+1, q, most)
		}
	}
}

// The second conviction takes the whole bond, what is unbonding too, and all unvested
// pay, and what was committed before is never paid.
func TestSecondConviction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 2, checkers: 5, validators: 4, params: func(p *lifecycle.Params) { p.VestBlocks = 1000 }})
	honestOne := w.commit(provider(0), 0, 10, nil)
	honestOne.check(honest)
	honestOne.until(lifecycle.Settled)
	q := w.party(lifecycle.RoleProvider, provider(0))
	if q.Unvested == 0 || len(q.Vesting) == 0 || q.Unvested != sumVesting(q) {
		t.Fatalf("half of the pay does not vest: %+v", q)
	}
	w.must(provider(0), ledger.Unbond{Role: lifecycle.RoleProvider, Amount: 50 * gtg})

	first := w.commit(provider(0), 10, 20, all)
	b := first.convicted()
	q = w.party(lifecycle.RoleProvider, provider(0))
	if lost := b.Bond; q.Convictions != 1 || q.Bond+lost < 100*gtg || q.Unvested == 0 || q.VoidBefore != 0 {
		t.Fatalf("the first conviction took %+v", q)
	}

	second := w.commit(provider(0), 20, 30, all)
	open := w.commit(provider(0), 30, 40, nil) // honest, but unsettled at the second conviction
	unvested := q.Unvested
	before := w.party(lifecycle.RoleProvider, provider(0)).Bond
	b = second.convicted()
	q = w.party(lifecycle.RoleProvider, provider(0))
	if q.Bond != 0 || q.Unvested != 0 || q.Unbonding != 0 || q.Locked != 0 || len(q.Vesting) != 0 {
		t.Errorf("the second conviction left %+v", q)
	}
	if took := sum(b, lifecycle.ReasonBounty) + sum(b, lifecycle.ReasonDamages) + sum(b, lifecycle.ReasonReferee) + sum(b, lifecycle.ReasonSlash); took != before+unvested {
		t.Errorf("it took %s of %s and %s", took, before, unvested)
	}
	open.check(honest)
	if b := open.until(lifecycle.Void); sum(b, lifecycle.ReasonWork) != 0 || sum(b, lifecycle.ReasonCheck) == 0 {
		t.Errorf("the batch beside it: %+v", b.Transfers)
	}
	if taken := w.jobNow().Copies[0].Intersect(work.NewRangeSet(work.Range{Lo: 10, Hi: 40})); len(taken) != 0 {
		t.Errorf("items %v did not return to the queue", taken)
	}
}

func sumVesting(q *lifecycle.Party) (v work.Amount) {
	for _, t := range q.Vesting {
		v += t.Amount
	}
	return v
}

// Silence is slashed as a first conviction, and when the bond no longer covers the
// other batches they are void: to be silent exactly where one would be caught does
// not stretch a bond over many batches.
func TestSilenceDoesNotStretchABond(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 5, validators: 4})
	w.must(provider(0), ledger.Unbond{Role: lifecycle.RoleProvider, Amount: 94 * gtg}) // 6 gtg stay
	var l []*results
	for i := range uint64(4) {
		l = append(l, w.commit(provider(0), i*10, i*10+8, nil))
	}
	if need := l[0].batch().Bond; need < 2*gtg || need > 6*gtg {
		t.Fatalf("a batch needs %s: the test wants two to be too many for what stays", need)
	}
	w.l.AdvanceTo(w.l.Height() + 60) // drawn, never opened: all are silent
	w.l.AdvanceTo(w.l.Height() + w.p.OpenBlocks)
	for _, r := range l {
		if b := r.batch(); b.Phase != lifecycle.Void {
			t.Errorf("a silent batch is %s", b.Phase)
		}
	}
	q := w.party(lifecycle.RoleProvider, provider(0))
	if q.VoidBefore == 0 && q.Bond > 6*gtg {
		t.Errorf("four silences left %+v", q)
	}
}

// Vesting pay becomes free in steps, whole at the end.
func TestVesting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 3, validators: 1, params: func(p *lifecycle.Params) { p.VestBlocks = 64 }})
	r := w.commit(provider(0), 0, 50, nil)
	r.check(honest)
	b := r.until(lifecycle.Settled)
	share := sum(b, lifecycle.ReasonWork)
	reward := sum(b, lifecycle.ReasonMint)
	if free := w.balance(provider(0)) - 100*gtg; free != share-share/2 {
		t.Errorf("%s of %s are free at once", free, share)
	}
	q := w.party(lifecycle.RoleProvider, provider(0))
	if q.Unvested != share/2+reward-reward/2 || q.Bond != 100*gtg+reward/2 {
		t.Errorf("pay %s and reward %s: %+v", share, reward, q)
	}
	w.l.AdvanceTo(w.l.Height() + 64 + 5)
	if q := w.party(lifecycle.RoleProvider, provider(0)); q.Unvested != 0 || len(q.Vesting) != 0 || w.balance(provider(0)) != 100*gtg+share+reward-reward/2 {
		t.Errorf("after the vesting time: %+v, balance %s", q, w.balance(provider(0)))
	}
}

// Unvested pay may stand for draws. A conviction takes what was pledged.
func TestReputationLowersTheSampleAgainstUnvestedPayOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 2, checkers: 6, validators: 4, params: func(p *lifecycle.Params) { p.VestBlocks, p.UnbondBlocks = 5000, 50 }})
	big := w.commit(provider(0), 0, 60, nil)
	big.check(honest)
	big.until(lifecycle.Settled)
	known := w.commit(provider(0), 60, 70, all).batch()
	stranger := w.commit(provider(1), 70, 80, nil).batch()
	if known.Sample >= w.p.SampleEconomic || known.Pledge == 0 {
		t.Fatalf("with unvested pay: sample %d, pledge %s", known.Sample, known.Pledge)
	}
	if stranger.Sample != w.p.SampleEconomic || stranger.Pledge != 0 {
		t.Errorf("without: sample %d, pledge %s", stranger.Sample, stranger.Pledge)
	}
	q := w.party(lifecycle.RoleProvider, provider(0))
	if q.Pledged != known.Pledge || q.Pledged > q.Unvested {
		t.Errorf("pledged: %+v", q)
	}
	unvested := q.Unvested
	r := &results{w: w, id: known.ID, provider: provider(0)}
	r.until(lifecycle.Void) // it is silent
	if q := w.party(lifecycle.RoleProvider, provider(0)); q.Unvested != unvested-known.Pledge || q.Pledged != 0 {
		t.Errorf("the pledge of %s was not lost: %+v", known.Pledge, q)
	}
}

// A validator that reveals another leaf than the decided one is slashed; those that
// voted it share a part of what the loser lost; who could fetch nothing is not
// slashed.
func TestVotesAreJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 3, validators: 7})
	r := w.commit(provider(0), 0, 100, all)
	r.check(honest)
	b := r.judge(7, func(i int) found {
		switch i {
		case 0:
			return func(i uint64) work.Leaf { return lie(i, "validator0") }
		case 1:
			return func(uint64) work.Leaf { return lifecycle.Unavailable }
		}
		return truth
	})
	if b.Phase != lifecycle.Void {
		t.Fatalf("batch is %s", b.Phase)
	}
	paid := map[work.Address]work.Amount{}
	for _, tr := range b.Transfers {
		if tr.Reason == lifecycle.ReasonReferee {
			paid[tr.To] += tr.Amount
		}
	}
	for i := range 7 {
		if (paid[validator(i)] > 0) != (i >= 2) {
			t.Errorf("%s got %s", validator(i), paid[validator(i)])
		}
	}
	if faults := w.faults(); len(faults) != 1 || !faults[validator(0)] {
		t.Errorf("slashed: %v", faults)
	}
}
