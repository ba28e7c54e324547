package lifecycle_test

import (
	"context"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

func all(uint64) bool { return true }

func twoChecked(t *testing.T) *world {
	return newWorld(t, setup{providers: 2, checkers: 3, validators: 4})
}

func TestHonestBatchIsPaid(t *testing.T) {
	t.Parallel()
	w := twoChecked(t)
	r := w.commit(provider(0), 0, 100, nil)
	start := w.l.Height()
	if j := w.jobNow(); j.EscrowLocked == 0 || j.OpenBatches != 1 {
		t.Fatalf("commit locked nothing: %+v", j)
	}
	b := r.check(honest)
	if b.Phase != lifecycle.Window {
		t.Fatalf("matched batch is %s", b.Phase)
	}
	if h := b.DrawHeight - b.CommitHeight; h < 3 || h > 10 {
		t.Errorf("drawn %d blocks after the commit, want 3 to 10", h)
	}
	b = r.until(lifecycle.Settled)
	if waited := w.l.Height() - start; waited > 10+w.p.WindowBlocks+1 {
		t.Errorf("settled after %d blocks", waited)
	}
	pay, _ := work.Cost(b.Root.Fuel, b.Price)
	earned, fees, burned := sum(b, lifecycle.ReasonWork), sum(b, lifecycle.ReasonValidators), sum(b, lifecycle.ReasonFeeBurn)
	if earned+fees+burned != pay || fees != pay/50 || burned != pay*6/100 {
		t.Errorf("pay %d was split %d + %d + %d", pay, earned, fees, burned)
	}
	reward := sum(b, lifecycle.ReasonMint)
	if reward != burned/2 {
		t.Errorf("%d was minted for a fee burn of %d", reward, burned)
	}
	if got := w.balance(provider(0)) - 100*gtg; got != earned+reward-reward/2 {
		t.Errorf("provider got %d of %d and %d", got, earned, reward)
	}
	if q := w.party(lifecycle.RoleProvider, provider(0)); q.Bond != 100*gtg+reward/2 {
		t.Errorf("half of the reward of %d did not bond itself: %+v", reward, q)
	}
	if sum(b, lifecycle.ReasonCheck) == 0 {
		t.Error("checks were not paid")
	}
	for i := range 3 {
		if q := w.party(lifecycle.RoleChecker, checker(i)); q.Locked != 0 || q.Bond != 100*gtg {
			t.Errorf("%s: %+v", q.Account, q)
		}
	}
	if q := w.party(lifecycle.RoleProvider, provider(0)); q.Locked != 0 || q.Settled != 1 || q.Convictions != 0 {
		t.Errorf("provider: %+v", q)
	}
	j := w.jobNow()
	if j.State != lifecycle.JobClosed || j.Refunded != 600*gtg-j.PaidWork-j.PaidChecks {
		t.Errorf("job whose every item is settled: %+v", j)
	}
	if w.balance("client") != 400*gtg+j.Refunded {
		t.Errorf("client has %d", w.balance("client"))
	}
}

func TestCheatIsFoundJudgedAndSlashed(t *testing.T) {
	t.Parallel()
	w := twoChecked(t)
	r := w.commit(provider(0), 0, 100, all)
	bond := w.party(lifecycle.RoleProvider, provider(0)).Locked
	if b := r.check(honest); b.Phase != lifecycle.Voting {
		t.Fatalf("mismatched batch is %s", b.Phase)
	}
	before := w.balance("client")
	b := r.judge(4, func(int) found { return truth })
	if b.Phase != lifecycle.Void {
		t.Fatalf("batch of a cheat is %s", b.Phase)
	}
	bounty, damages, burn := sum(b, lifecycle.ReasonBounty), sum(b, lifecycle.ReasonDamages), sum(b, lifecycle.ReasonSlash)
	referees := sum(b, lifecycle.ReasonReferee)
	if bounty+damages+referees+burn != bond || referees != bond/10/4*4 || bounty != bond*3/10 || damages != bond/5 {
		t.Errorf("bond %d was split %d + %d + %d + %d", bond, bounty, damages, referees, burn)
	}
	if w.balance("client") != before+damages {
		t.Error("the client got no damages")
	}
	if q := w.party(lifecycle.RoleProvider, provider(0)); q.Bond != 100*gtg-bond || q.Locked != 0 || q.Convictions != 1 {
		t.Errorf("cheat: %+v", q)
	}
	if j := w.jobNow(); j.EscrowLocked != 0 || j.PaidWork != 0 || len(j.Copies[0]) != 0 {
		t.Errorf("items did not return: %+v", j)
	}
	// The cheat never gets these items again; another provider does.
	_, again := w.commitMsg(provider(0), work.NewRangeSet(work.Range{Lo: 5, Hi: 6}), nil)
	w.refuses(provider(0), again, ledger.ErrRefused)
	other := w.commit(provider(1), 0, 100, nil)
	other.check(honest)
	other.until(lifecycle.Settled)
	for i := range 3 {
		if q := w.party(lifecycle.RoleChecker, checker(i)); q.Convictions != 0 || q.Bond != 100*gtg {
			t.Errorf("honest checker lost: %+v", q)
		}
	}
}

// The finder is who committed the right leaf first, not who is listed first.
func TestFinderIsTheEarliest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 4, validators: 1, spec: func(s *work.JobSpec) { s.Tier = work.TierAssured }})
	r := w.commit(provider(0), 0, 100, all)
	b := r.open()
	for i := range b.Checks { // the last comes first, each in a block of its own
		if err := r.commitCheck(b, &b.Checks[len(b.Checks)-1-i], truth); err != nil {
			t.Fatal(err)
		}
		w.l.Advance()
	}
	for i := range b.Checks {
		_ = r.revealCheck(b, &b.Checks[i], truth)
	}
	_ = r.reveal(b)
	disputed := r.until(lifecycle.Voting)
	first := disputed.Dispute.Items[0].Claims[1]
	for _, it := range disputed.Dispute.Items {
		for _, c := range it.Claims[1:] {
			if c.Height < first.Height {
				first = c
			}
		}
	}
	b = r.judge(1, func(int) found { return truth })
	if first.Account == disputed.Dispute.Items[0].Claims[1].Account {
		t.Fatal("the earliest claim is also the first: the test shows nothing")
	}
	for _, tr := range b.Transfers {
		if tr.Reason == lifecycle.ReasonBounty && tr.To != first.Account {
			t.Errorf("the bounty went to %s, the earliest was %s", tr.To, first.Account)
		}
	}
	if sum(b, lifecycle.ReasonBounty) == 0 {
		t.Error("nobody got the bounty")
	}
}

func TestLyingCheckerLosesItsStake(t *testing.T) {
	t.Parallel()
	w := twoChecked(t)
	r := w.commit(provider(0), 0, 100, nil)
	b := r.open()
	liar := b.Checks[0].Checker
	who := func(a work.Address) found {
		if a == liar {
			return func(i uint64) work.Leaf { return lie(i, a) }
		}
		return truth
	}
	for i := range b.Checks {
		_ = r.commitCheck(b, &b.Checks[i], who(b.Checks[i].Checker))
	}
	for i := range b.Checks {
		_ = r.revealCheck(b, &b.Checks[i], who(b.Checks[i].Checker))
	}
	if err := r.reveal(b); err != nil {
		t.Fatal(err)
	}
	if b = r.judge(3, func(int) found { return truth }); b.Phase != lifecycle.Window {
		t.Fatalf("batch of an honest provider is %s", b.Phase)
	}
	r.until(lifecycle.Settled)
	q := w.party(lifecycle.RoleChecker, liar)
	if stake := min(b.CheckOf(liar).Stake, 100*gtg); stake < w.p.CheckerBond || q.Bond != 100*gtg-stake || q.Locked != 0 || q.Convictions != 1 {
		t.Errorf("liar: %+v", q)
	}
	if w.balance(liar) != 100*gtg {
		t.Errorf("liar earned a fee: %d", w.balance(liar))
	}
}

func TestSilentProvider(t *testing.T) {
	t.Parallel()
	for _, phase := range []lifecycle.Phase{lifecycle.Opening, lifecycle.Revealing, lifecycle.Answering} {
		t.Run(phase.String(), func(t *testing.T) {
			t.Parallel()
			w := twoChecked(t)
			r := w.commit(provider(0), 0, 100, nil)
			bond := w.party(lifecycle.RoleProvider, provider(0)).Locked
			switch phase {
			case lifecycle.Revealing:
				b := r.open()
				for i := range b.Checks {
					_ = r.commitCheck(b, &b.Checks[i], truth)
				}
				for i := range b.Checks {
					_ = r.revealCheck(b, &b.Checks[i], truth)
				}
			case lifecycle.Answering:
				r.check(honest)
				w.must("stranger", ledger.Challenge{Batch: r.id, Position: 3, Leaf: lie(3, "stranger")})
			}
			r.until(phase)
			r.until(lifecycle.Void)
			b := r.batch()
			if sum(b, lifecycle.ReasonSlash)+sum(b, lifecycle.ReasonDamages) != bond || sum(b, lifecycle.ReasonBounty) != 0 {
				t.Errorf("bond %d: %+v", bond, b.Transfers)
			}
			if w.balance("stranger") != 100*gtg {
				t.Error("the challenger did not get its stake back")
			}
			if phase != lifecycle.Opening && sum(b, lifecycle.ReasonCheck) == 0 {
				t.Error("checks that were done were not paid")
			}
		})
	}
}

func TestMissingCheckersAreReplacedThenTheRefereeRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 8, validators: 4})
	r := w.commit(provider(0), 0, 100, nil)
	b := r.open()
	first := len(b.Checks)
	for range 4 * (w.p.CheckBlocks + 40) {
		w.l.Advance()
		if b = r.batch(); b.Phase != lifecycle.Checking {
			break
		}
	}
	if b.Phase != lifecycle.Revealing || b.Round == 0 || len(b.Checks) <= first {
		t.Fatalf("silent checkers: %s, round %d, %d checks", b.Phase, b.Round, len(b.Checks))
	}
	seen := map[work.Address]bool{}
	for _, c := range b.Checks {
		if seen[c.Checker] || !c.Missed {
			t.Errorf("check %+v", c)
		}
		seen[c.Checker] = true
	}
	if err := r.reveal(b); err != nil {
		t.Fatal(err)
	}
	b = r.admitted()
	if b.Phase != lifecycle.Voting || len(b.Dispute.Items) == 0 || len(b.Dispute.Items[0].Claims) != 1 {
		t.Fatalf("unchecked draws: %s, %+v", b.Phase, b.Dispute)
	}
	r.judge(4, func(int) found { return truth })
	b = r.until(lifecycle.Settled)
	if sum(b, lifecycle.ReasonCheck) != 0 {
		t.Error("silent checkers were paid")
	}
	for a := range seen {
		if q := w.party(lifecycle.RoleChecker, a); q.Missed != 1 || q.Locked != 0 || q.Bond != 100*gtg {
			t.Errorf("silent checker: %+v", q)
		}
	}
}

func TestReplacementChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 8, validators: 4})
	r := w.commit(provider(0), 0, 100, nil)
	b := r.open()
	lazy := b.Checks[0].Checker
	for {
		b = r.batch()
		if b.Phase != lifecycle.Checking {
			break
		}
		for i := range b.Checks {
			if c := &b.Checks[i]; c.Checker != lazy && c.CommitHeight == 0 {
				if err := r.commitCheck(b, c, truth); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.l.Advance()
	}
	for i := range b.Checks {
		if c := &b.Checks[i]; c.Checker != lazy {
			if err := r.revealCheck(b, c, truth); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = r.reveal(b)
	if got := r.batch().Phase; got != lifecycle.Window {
		t.Fatalf("every draw was checked, yet the batch is %s", got)
	}
}

func TestNoCheckersMeansTheReferee(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, validators: 1})
	r := w.commit(provider(0), 0, 10, all)
	b := r.open()
	if b.Phase != lifecycle.Revealing {
		t.Fatalf("without checkers: %s", b.Phase)
	}
	_ = r.reveal(b)
	if b = r.judge(1, func(int) found { return truth }); b.Phase != lifecycle.Void || sum(b, lifecycle.ReasonBounty) != 0 {
		t.Fatalf("%s: %+v", b.Phase, b.Transfers)
	}
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	const at = 42
	lies := func(i uint64) bool { return i == at }
	cases := []struct {
		name   string
		wrong  func(uint64) bool // of the provider
		claim  work.Leaf
		phase  lifecycle.Phase
		stake  int // change of the challenger's stake
		bounty bool
	}{
		{"of what the provider also says", nil, truth(at), lifecycle.Settled, -1, false},
		{"wrong", nil, lie(at, "stranger"), lifecycle.Settled, -1, false},
		{"right", lies, truth(at), lifecycle.Void, 0, true},
		{"both wrong", lies, lie(at, "stranger"), lifecycle.Void, -1, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{seed: 3, providers: 1, checkers: 3, validators: 4})
			r := w.commit(provider(0), 0, 100, c.wrong)
			b := r.check(honest)
			if b.Phase != lifecycle.Window {
				t.Fatalf("the lie was drawn under this seed: batch is %s", b.Phase)
			}
			w.refuses("stranger", ledger.Challenge{Batch: r.id, Position: 100, Leaf: c.claim}, ledger.ErrRefused)
			w.refuses("nobody", ledger.Challenge{Batch: r.id, Position: at, Leaf: c.claim}, ledger.ErrFunds)
			w.must("stranger", ledger.Challenge{Batch: r.id, Position: at, Leaf: c.claim})
			w.refuses("client", ledger.Challenge{Batch: r.id, Position: at, Leaf: c.claim}, ledger.ErrRefused)
			path, _ := work.Path(r.nodes, at)
			o := lifecycle.ItemOpening{Position: at, Node: r.nodes[at], Path: path}
			w.refuses(provider(0), ledger.AnswerChallenge{Batch: r.id, Opening: o, Leaf: lie(at, "other")}, ledger.ErrRefused)
			w.must(provider(0), ledger.AnswerChallenge{Batch: r.id, Opening: o, Leaf: r.leaves[at]})
			if r.admitted().Phase == lifecycle.Voting {
				r.judge(4, func(int) found { return truth })
			}
			b = r.until(c.phase)
			cost, _ := work.Cost(b.MaxItemFuel, b.Price)
			if got, want := w.balance("stranger"), 100*gtg+work.Amount(c.stake)*10*cost+sum(b, lifecycle.ReasonBounty); got != want {
				t.Errorf("challenger has %d, want %d", got, want)
			}
			if (sum(b, lifecycle.ReasonBounty) > 0) != c.bounty {
				t.Errorf("bounty: %+v", b.Transfers)
			}
		})
	}
}

// Challenges cannot hold a batch for ever: each shortens the window.
func TestChallengesEnd(t *testing.T) {
	t.Parallel()
	w := twoChecked(t)
	r := w.commit(provider(0), 0, 100, nil)
	r.check(honest)
	path, _ := work.Path(r.nodes, 1)
	n := 0
	for ; r.batch().Phase == lifecycle.Window; n++ {
		w.must("stranger", ledger.Challenge{Batch: r.id, Position: 1, Leaf: truth(1)})
		w.must(provider(0), ledger.AnswerChallenge{Batch: r.id, Opening: lifecycle.ItemOpening{Position: 1, Node: r.nodes[1], Path: path}, Leaf: truth(1)})
	}
	if int64(n) > w.p.WindowBlocks || r.batch().Phase != lifecycle.Settled {
		t.Errorf("%d challenges, then %s", n, r.batch().Phase)
	}
}

func TestRefereeWithoutQuorum(t *testing.T) {
	t.Parallel()
	liar := func(i uint64) work.Leaf { return lie(i, "validator") }
	cases := []struct {
		name   string
		voters int
		says   func(int) found
		phase  lifecycle.Phase
	}{
		{"two of four vote", 2, func(int) found { return truth }, lifecycle.Unpaid},
		{"three of four decide", 3, func(int) found { return truth }, lifecycle.Void},
		{"two against two", 4, func(i int) found {
			if i < 2 {
				return liar
			}
			return truth
		}, lifecycle.Unpaid},
		{"one liar of four", 4, func(i int) found {
			if i == 0 {
				return liar
			}
			return truth
		}, lifecycle.Void},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := twoChecked(t)
			r := w.commit(provider(0), 0, 100, all)
			b := r.check(honest)
			for i := range c.voters {
				_ = r.commitVote(b, validator(i), c.says(i))
			}
			for range 2000 {
				if b = r.batch(); b.Phase == lifecycle.Tallying {
					for i := range c.voters {
						_ = r.revealVote(b, validator(i), c.says(i))
					}
				} else if b.Phase.Final() {
					break
				}
				w.l.Advance()
			}
			if b.Phase != c.phase {
				t.Fatalf("batch is %s (%s), want %s", b.Phase, b.Why, c.phase)
			}
			q := w.party(lifecycle.RoleProvider, provider(0))
			if c.phase == lifecycle.Unpaid && (q.Bond != 100*gtg || q.Locked != 0 || len(w.jobNow().Copies[0]) != 0) {
				t.Errorf("without a verdict: %+v", q)
			}
		})
	}
}

func TestTiers(t *testing.T) {
	t.Parallel()
	cases := []struct {
		tier  work.Tier
		n     uint64
		draws int
		k     int
	}{
		{work.TierEconomic, 2, 2, 1}, {work.TierEconomic, 100, 3, 1}, {work.TierAssured, 100, 20, 2}, {work.TierFull, 100, 100, 1},
	}
	for _, c := range cases {
		t.Run(c.tier.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{providers: 1, checkers: 4, validators: 1, spec: func(s *work.JobSpec) { s.Tier = c.tier }})
			r := w.commit(provider(0), 0, c.n, nil)
			b := r.check(honest)
			if len(b.Draws) != c.draws || b.Phase != lifecycle.Window {
				t.Fatalf("%d draws, %s", len(b.Draws), b.Phase)
			}
			per := make([]map[work.Address]bool, c.draws)
			for _, ck := range b.Checks {
				for _, d := range ck.Draws {
					if per[d] == nil {
						per[d] = map[work.Address]bool{}
					}
					per[d][ck.Checker] = true
				}
			}
			for d, m := range per {
				if len(m) != c.k {
					t.Errorf("draw %d has checkers %v, want %d", d, m, c.k)
				}
			}
			r.until(lifecycle.Settled)
		})
	}
}

// One dispute judges every mismatching checker by at least one item.
func TestDisputeJudgesEveryMismatchingChecker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 6, validators: 1, spec: func(s *work.JobSpec) { s.Tier = work.TierAssured }})
	r := w.commit(provider(0), 0, 100, nil)
	b := r.check(func(a work.Address) found { return func(i uint64) work.Leaf { return lie(i, a) } })
	judged := map[work.Address]bool{}
	for _, it := range b.Dispute.Items {
		for _, cl := range it.Claims[1:] {
			judged[cl.Account] = true
		}
	}
	if len(judged) != len(b.Checks) || len(b.Dispute.Items) > len(b.Checks) {
		t.Fatalf("%d items judge %d of %d checkers", len(b.Dispute.Items), len(judged), len(b.Checks))
	}
	r.judge(1, func(int) found { return truth })
	r.until(lifecycle.Settled)
	for _, c := range b.Checks {
		if q := w.party(lifecycle.RoleChecker, c.Checker); q.Bond != 100*gtg-min(c.Stake, 100*gtg) || q.Locked != 0 {
			t.Errorf("%+v", q)
		}
	}
}

func TestCommitIsRefused(t *testing.T) {
	t.Parallel()
	whole := work.NewRangeSet(work.Range{Lo: 0, Hi: 10})
	cases := []struct {
		name string
		do   func(w *world, m *ledger.CommitBatch)
		want error
	}{
		{"another's assignment", func(w *world, m *ledger.CommitBatch) { m.Parts[0] = w.assign(provider(1), whole, nil) }, ledger.ErrRefused},
		{"another key's assignment", func(w *world, m *ledger.CommitBatch) { m.Parts[0].Assignment.Sign(sign.FromSeed([32]byte{9})) }, ledger.ErrRefused},
		{"expired", func(w *world, m *ledger.CommitBatch) {
			m.Parts[0] = w.assign(provider(0), whole, func(a *work.Assignment) { a.ExpiresHeight = w.l.Height() })
		}, ledger.ErrRefused},
		{"valid for too long", func(w *world, m *ledger.CommitBatch) {
			m.Parts[0] = w.assign(provider(0), whole, func(a *work.Assignment) { a.ExpiresHeight = 1 << 40 })
		}, ledger.ErrRefused},
		{"over the price cap", func(w *world, m *ledger.CommitBatch) {
			m.Parts[0] = w.assign(provider(0), whole, func(a *work.Assignment) { a.Price = 1e6 + 1 })
		}, ledger.ErrRefused},
		{"under the floor", func(w *world, m *ledger.CommitBatch) {
			m.Parts[0] = w.assign(provider(0), whole, func(a *work.Assignment) { a.Price = 9 })
		}, ledger.ErrRefused},
		{"two prices", func(w *world, m *ledger.CommitBatch) {
			a, b := whole.Take(5)
			m.Parts = []lifecycle.Part{w.assign(provider(0), a, nil), w.assign(provider(0), b, func(a *work.Assignment) { a.Price-- })}
		}, ledger.ErrRefused},
		{"one item twice", func(w *world, m *ledger.CommitBatch) { m.Parts = append(m.Parts, m.Parts[0]) }, ledger.ErrRefused},
		{"item not assigned", func(w *world, m *ledger.CommitBatch) {
			m.Parts[0].Items = work.NewRangeSet(work.Range{Lo: 0, Hi: 11})
		}, ledger.ErrRefused},
		{"item beyond the job", func(w *world, m *ledger.CommitBatch) {
			m.Parts[0] = w.assign(provider(0), work.NewRangeSet(work.Range{Lo: 95, Hi: 101}), nil)
		}, ledger.ErrRefused},
		{"unsorted items", func(w *world, m *ledger.CommitBatch) {
			m.Parts[0].Items = work.RangeSet{{Lo: 5, Hi: 6}, {Lo: 0, Hi: 1}}
		}, ledger.ErrRefused},
		{"no parts", func(w *world, m *ledger.CommitBatch) { m.Parts = nil }, ledger.ErrRefused},
		{"items without weight", func(w *world, m *ledger.CommitBatch) { m.Root.Fuel = 9 }, ledger.ErrRefused},
		{"more fuel than the bound allows", func(w *world, m *ledger.CommitBatch) { m.MaxItemFuel = m.Root.Fuel / 11 }, ledger.ErrRefused},
		{"bound over the job's limit", func(w *world, m *ledger.CommitBatch) { m.MaxItemFuel = 1e10 + 1 }, ledger.ErrRefused},
		{"more than the free bond", func(w *world, m *ledger.CommitBatch) {
			w.must(provider(0), ledger.Unbond{Role: lifecycle.RoleProvider, Amount: 99 * gtg})
		}, ledger.ErrFunds},
		{"unknown job", func(w *world, m *ledger.CommitBatch) { m.Job = work.Hash{7} }, ledger.ErrRefused},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{providers: 2, checkers: 3, validators: 1})
			_, m := w.commitMsg(provider(0), whole, nil)
			c.do(w, &m)
			before := w.jobNow()
			w.refuses(provider(0), m, c.want)
			if after := w.jobNow(); after.OpenBatches != before.OpenBatches || after.EscrowFree != before.EscrowFree {
				t.Error("a refused commit changed the job")
			}
		})
	}
}

func TestCopies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 4, checkers: 3, validators: 1})
	w.commit(provider(0), 0, 10, nil)
	b := w.commit(provider(1), 5, 15, nil).batch()
	if b.Placed[0].Len() != 5 || b.Placed[1].Len() != 5 {
		t.Errorf("placed %v", b.Placed)
	}
	_, m := w.commitMsg(provider(2), work.NewRangeSet(work.Range{Lo: 8, Hi: 20}), nil)
	w.refuses(provider(2), m, ledger.ErrRefused) // items 8 and 9 have both copies
	w.commit(provider(2), 10, 20, nil)
	_, m = w.commitMsg(provider(0), work.NewRangeSet(work.Range{Lo: 9, Hi: 12}), nil)
	w.refuses(provider(0), m, ledger.ErrRefused) // item 9 was its own
}

func TestCheckBudgetFallsBackToTheEscrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 3, validators: 1, spec: func(s *work.JobSpec) { s.CheckEscrow = 1000 }})
	r := w.commit(provider(0), 0, 100, nil)
	if b := r.batch(); b.CheckFromEscrow != b.CheckBudget-1000 {
		t.Fatalf("budget %d, from the escrow %d", b.CheckBudget, b.CheckFromEscrow)
	}
	r.check(honest)
	b := r.until(lifecycle.Settled)
	if j := w.jobNow(); j.PaidChecks != sum(b, lifecycle.ReasonCheck) || j.PaidChecks <= 1000 {
		t.Errorf("paid %d for checks", j.PaidChecks)
	}
	poor := newWorld(t, setup{providers: 1, checkers: 3, validators: 1, spec: func(s *work.JobSpec) { s.CheckEscrow, s.Escrow = 0, 1000 }})
	_, m := poor.commitMsg(provider(0), work.NewRangeSet(work.Range{Lo: 0, Hi: 100}), nil)
	poor.refuses(provider(0), m, ledger.ErrFunds)
}

func TestOpeningMustCoverTheDraw(t *testing.T) {
	t.Parallel()
	w := twoChecked(t)
	r := w.commit(provider(0), 0, 100, nil)
	b := r.until(lifecycle.Opening)
	open := func() []lifecycle.ItemOpening { return r.openings(b) }
	other := open()
	path, _ := work.Path(r.nodes, (other[0].Position+1)%100)
	other[0] = lifecycle.ItemOpening{Position: (other[0].Position + 1) % 100, Node: r.nodes[(other[0].Position+1)%100], Path: path}
	forged := open()
	forged[0].Node.Fuel++
	for _, o := range [][]lifecycle.ItemOpening{other, forged, open()[1:], nil} {
		w.refuses(provider(0), ledger.OpenBatch{Batch: r.id, Openings: o}, ledger.ErrRefused)
	}
	w.refuses(provider(1), ledger.OpenBatch{Batch: r.id, Openings: open()}, ledger.ErrRefused)
	w.must(provider(0), ledger.OpenBatch{Batch: r.id, Openings: open()})
	for i, d := range b.Draws { // one point in each third of the fuel
		if lo := b.Root.Fuel * work.Fuel(i) / 3; d.Point < lo || d.Point >= b.Root.Fuel*work.Fuel(i+1)/3 {
			t.Errorf("draw %d at %d of %d", i, d.Point, b.Root.Fuel)
		}
	}
}

func TestRevealsAreBound(t *testing.T) {
	t.Parallel()
	w := twoChecked(t)
	r := w.commit(provider(0), 0, 100, nil)
	b := r.open()
	c := &b.Checks[0]
	w.refuses("stranger", ledger.CommitCheck{Batch: r.id}, ledger.ErrRefused)
	for i := range b.Checks {
		_ = r.commitCheck(b, &b.Checks[i], truth)
	}
	if r.commitCheck(b, c, truth) == nil {
		t.Error("a second check commit was taken")
	}
	if r.revealCheck(b, c, func(i uint64) work.Leaf { return lie(i, c.Checker) }) == nil {
		t.Error("a checker revealed other leaves than it committed to")
	}
	b.Draws[0].Position = (b.Draws[0].Position + 1) % 100
	if r.reveal(b) == nil {
		t.Error("a provider revealed another item's leaf")
	}
}

// Who knows the beacon of the draw, its proposer first and in the next block
// everybody, cannot steer it by a bond of the right size: the draw counts the bonds
// before both blocks.
func TestDrawIgnoresBondsOfItsOwnBlocks(t *testing.T) {
	t.Parallel()
	draw := func(lag int64, add work.Amount) []lifecycle.Check {
		w := newWorld(t, setup{providers: 1, checkers: 5, validators: 1})
		r := w.commit(provider(0), 0, 100, nil)
		for r.batch().DrawHeight == 0 || w.l.Height()+1 < r.batch().DrawHeight+lag {
			w.l.Advance()
		}
		if r.batch().Phase != lifecycle.Committed {
			t.Fatalf("the draw is made already: %s", r.batch().Phase)
		}
		if add > 0 {
			w.must(checker(0), ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: add})
			w.must(checker(1), ledger.Unbond{Role: lifecycle.RoleChecker, Amount: 100 * gtg})
		}
		return r.until(lifecycle.Opening).Checks
	}
	a := draw(0, 0)
	for _, lag := range []int64{0, 1} {
		b := draw(lag, 77*gtg)
		if len(a) != len(b) {
			t.Fatalf("%v and %v", a, b)
		}
		for i := range a {
			if a[i].Checker != b[i].Checker {
				t.Errorf("a change %d blocks late: check %d moved from %s to %s", lag, i, a[i].Checker, b[i].Checker)
			}
		}
	}
}

// A value that came about after a skipped turn fixes nothing and draws nothing: the
// draw begins anew, later each time, and in the end takes what comes.
func TestSkippedTurnsDrawNothing(t *testing.T) {
	t.Parallel()
	for _, skips := range []int{0, 1, 2, 5, 8, 100} {
		var r *results
		skipped, waits := map[int64]bool{}, []int64{}
		w := newWorld(t, setup{providers: 1, checkers: 3, validators: 200, steer: func(h int64, v work.Hash) (work.Hash, bool) {
			if r == nil {
				return v, false
			}
			skipped[h] = len(waits) < skips
			return v, skipped[h]
		}})
		r = w.commit(provider(0), 0, 100, nil)
		last, redraws := w.l.Height(), uint32(0)
		for r.batch().Phase == lifecycle.Committed {
			if w.l.Height() > last+400 {
				t.Fatalf("%d skips: nothing happens", skips)
			}
			if b := r.batch(); b.Redraws > redraws {
				redraws, waits, last = b.Redraws, append(waits, w.l.Height()-last), w.l.Height()
			}
			w.l.Advance()
		}
		b := r.batch()
		if want := min(skips, 8); int(b.Redraws) != want || skips < 8 && skipped[b.DrawHeight] {
			t.Errorf("%d skips: %d draws began anew, want %d; drawn by height %d, after a skip: %t", skips, b.Redraws, want, b.DrawHeight, skipped[b.DrawHeight])
		}
		for i := 1; i < len(waits)-1 && i < 3; i++ {
			if waits[i+1] <= waits[i] {
				t.Errorf("%d skips: waits of %v blocks: want each longer, up to 256", skips, waits)
			}
		}
		if len(b.Draws) == 0 || r.until(lifecycle.Void) == nil {
			t.Errorf("%d skips: nothing was drawn", skips)
		}
	}
}

// A bond that its owner asks back in the block of the draw can still be locked; it
// returns in full, but no earlier than the batch ends.
func TestLockedBondOutlastsItsUnbonding(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 1, checkers: 1, validators: 1, params: func(p *lifecycle.Params) { p.UnbondBlocks = 2 }})
	r := w.commit(provider(0), 0, 10, nil)
	for r.batch().DrawHeight == 0 || w.l.Height()+1 < r.batch().DrawHeight {
		w.l.Advance()
	}
	w.must(checker(0), ledger.Unbond{Role: lifecycle.RoleChecker, Amount: 100 * gtg})
	if b := r.until(lifecycle.Opening); len(b.Checks) != 1 {
		t.Fatalf("checks %+v", b.Checks)
	}
	w.l.AdvanceTo(w.l.Height() + 5)
	if q := w.party(lifecycle.RoleChecker, checker(0)); q.Bond != w.p.CheckerBond || q.Locked != w.p.CheckerBond || q.Free() != 0 {
		t.Errorf("while the batch runs: %+v", q)
	}
	r.until(lifecycle.Void)
	w.l.AdvanceTo(w.l.Height() + 5)
	if q := w.party(lifecycle.RoleChecker, checker(0)); q.Bond != 0 || q.Unbonding != 0 || w.balance(checker(0)) != 200*gtg {
		t.Errorf("after the batch: %+v, balance %d", q, w.balance(checker(0)))
	}
}

func TestCheckersAreIndependent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{providers: 2, checkers: 2, validators: 1, spec: func(s *work.JobSpec) { s.Nonce, s.Escrow = 2, 100*gtg }})
	w.must(checker(0), ledger.Register{Role: lifecycle.RoleIndexer, Peer: w.indexer.Public(), Bond: 50 * gtg})
	w.spec.IndexerOwner, w.spec.Nonce = checker(0), 3
	w.must("client", ledger.CreateJob{Spec: w.spec})
	w.job = w.spec.ID()
	w.must(provider(0), ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 50 * gtg})
	w.must("client", ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 50 * gtg})
	w.l.Advance()
	r := w.commit(provider(0), 0, 10, nil)
	w.must("stranger", ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 50 * gtg}) // too late
	b := r.until(lifecycle.Opening)
	for _, c := range b.Checks {
		if c.Checker != checker(1) {
			t.Errorf("%s checks the batch", c.Checker)
		}
	}
}

func TestJobEnds(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	release := func(w *world) *sign.Signature {
		s := w.indexer.Sign(lifecycle.ReleaseTag, lifecycle.ReleaseMessage("test", w.job))
		return &s
	}
	t.Run("cancel waits for signed assignments", func(t *testing.T) {
		t.Parallel()
		w := twoChecked(t)
		w.refuses("stranger", ledger.CancelJob{Job: w.job}, ledger.ErrRefused)
		w.must("client", ledger.CancelJob{Job: w.job})
		w.l.Advance()
		r := w.commit(provider(0), 0, 10, nil)
		r.check(honest)
		r.until(lifecycle.Settled)
		if j := w.jobNow(); j.State != lifecycle.JobClosing {
			t.Fatalf("job is in state %d", j.State)
		}
		w.l.AdvanceTo(w.jobNow().ClosesHeight - 1)
		if w.jobNow().State != lifecycle.JobClosing {
			t.Error("closed early")
		}
		w.l.Advance()
		if j := w.jobNow(); j.State != lifecycle.JobClosed || j.Refunded == 0 {
			t.Errorf("job after its last commit: %+v", j)
		}
	})
	t.Run("release closes at once", func(t *testing.T) {
		t.Parallel()
		w := twoChecked(t)
		bad := sign.Signature{}
		w.refuses("client", ledger.CancelJob{Job: w.job, Release: &bad}, ledger.ErrRefused)
		w.must("client", ledger.CancelJob{Job: w.job, Release: release(w)})
		if j := w.jobNow(); j.State != lifecycle.JobClosed || w.balance("client") != 1000*gtg {
			t.Errorf("released job: %+v", j)
		}
	})
	t.Run("release waits for open batches", func(t *testing.T) {
		t.Parallel()
		w := twoChecked(t)
		r := w.commit(provider(0), 0, 10, nil)
		w.must("client", ledger.CancelJob{Job: w.job, Release: release(w)})
		_, m := w.commitMsg(provider(1), work.NewRangeSet(work.Range{Lo: 20, Hi: 30}), nil)
		w.refuses(provider(1), m, ledger.ErrRefused)
		r.check(honest)
		r.until(lifecycle.Settled)
		if j := w.jobNow(); j.State != lifecycle.JobClosed {
			t.Errorf("state %d", j.State)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{providers: 1, checkers: 3, validators: 1, spec: func(s *work.JobSpec) { s.DeadlineHeight = 30 }})
		w.l.AdvanceTo(29)
		if w.jobNow().State != lifecycle.JobOpen {
			t.Error("closing early")
		}
		w.l.AdvanceTo(30)
		if w.jobNow().State != lifecycle.JobClosing {
			t.Error("open after its deadline")
		}
		w.l.AdvanceTo(30 + w.p.ClosingBlocks)
		if w.jobNow().State != lifecycle.JobClosed || w.balance("client") != 1000*gtg {
			t.Error("escrow did not return")
		}
	})
	t.Run("bad specs", func(t *testing.T) {
		t.Parallel()
		w := twoChecked(t)
		for _, change := range []func(*work.JobSpec){
			func(s *work.JobSpec) { s.Nonce = 1 }, // exists
			func(s *work.JobSpec) { s.Chain = "other" },
			func(s *work.JobSpec) { s.Client = "stranger" },
			func(s *work.JobSpec) { s.MaxPrice = 9 },
			func(s *work.JobSpec) { s.Limits.Fuel = 1e12 + 1 },
			func(s *work.JobSpec) { s.DeadlineHeight = w.l.Height() + 1 },
			func(s *work.JobSpec) { s.DeadlineHeight = 1 << 50 },
			func(s *work.JobSpec) { s.Tier = work.TierNone },
			func(s *work.JobSpec) { s.MaxCopies = 9 },
		} {
			s := w.spec
			s.Nonce = 2
			change(&s)
			w.refuses("client", ledger.CreateJob{Spec: s}, ledger.ErrRefused)
		}
		s := w.spec
		s.Nonce, s.Escrow = 3, 1000*gtg
		w.refuses("client", ledger.CreateJob{Spec: s}, ledger.ErrFunds)
		if b, _ := w.l.Balance(ctx, "client"); b != 400*gtg {
			t.Errorf("a refused job took money: %d", b)
		}
	})
}

func TestBonds(t *testing.T) {
	t.Parallel()
	w := twoChecked(t)
	w.refuses("stranger", ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 1}, ledger.ErrRefused)
	w.refuses("stranger", ledger.Register{Role: 9, Peer: sign.PublicKey{1}, Bond: 9 * gtg}, ledger.ErrRefused)
	w.refuses("stranger", ledger.Register{Role: lifecycle.RoleChecker, Bond: 9 * gtg}, ledger.ErrRefused)
	w.refuses("stranger", ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 900 * gtg}, ledger.ErrFunds)
	w.refuses("stranger", ledger.Unbond{Role: lifecycle.RoleChecker, Amount: 1}, ledger.ErrRefused)
	r := w.commit(provider(0), 0, 100, nil)
	locked := w.party(lifecycle.RoleProvider, provider(0)).Locked
	w.refuses(provider(0), ledger.Unbond{Role: lifecycle.RoleProvider, Amount: 100 * gtg}, ledger.ErrFunds)
	w.must(provider(0), ledger.Unbond{Role: lifecycle.RoleProvider, Amount: 100*gtg - locked})
	w.l.AdvanceTo(w.l.Height() + w.p.UnbondBlocks)
	if w.balance(provider(0)) != 100*gtg {
		t.Error("bond returned early")
	}
	w.l.Advance()
	if w.balance(provider(0)) != 200*gtg-locked {
		t.Errorf("balance %d", w.balance(provider(0)))
	}
	r.until(lifecycle.Void) // it never opened
	if q := w.party(lifecycle.RoleProvider, provider(0)); q.Bond != 0 || q.Locked != 0 {
		t.Errorf("%+v", q)
	}
}

// Where one validator of four is down, each of its turns is skipped: draws begin anew,
// and soon meet the turns of others.
func TestDrawsWithOneValidatorDown(t *testing.T) {
	t.Parallel()
	for down := range int64(4) {
		w := newWorld(t, setup{providers: 1, checkers: 3, validators: 4, steer: func(h int64, v work.Hash) (work.Hash, bool) {
			return v, h%4 == down
		}})
		for i := range 8 {
			r := w.commit(provider(0), uint64(10*i), uint64(10*i+10), nil)
			from := w.l.Height()
			for r.batch().Phase == lifecycle.Committed {
				w.l.Advance()
			}
			// Three that begin anew, of 9 blocks each, and the longest draw height.
			if took, redraws := w.l.Height()-from, r.batch().Redraws; took > 60 || redraws > 4 {
				t.Errorf("turn %d is skipped, batch %d: drawn after %d blocks, begun anew %d times", down, i, took, redraws)
			}
		}
	}
}
