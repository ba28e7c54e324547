package lifecycle_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

var walks = flag.Int("walks", 4, "how many seeds the adversarial walk runs")

// TestAdversarialWalk lets honest and dishonest parties of every role act in every
// order: the honest do their duty within each block, the others do it late, never,
// wrongly, or send something else. Whatever happens:
//
//   - money is conserved and escrows and bonds add up (the fake ledger checks each block),
//   - no honest party is convicted, loses bond or misses,
//   - every batch is final within the sum of its deadlines,
//   - no item is paid more than MaxCopies times, and no provider twice for one,
//   - a wrong item that an honest checker had drawn is never paid,
//   - in the end every job is closed and nothing is locked.
func TestAdversarialWalk(t *testing.T) {
	t.Parallel()
	for seed := range *walks {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			newWalk(t, uint64(seed)).run()
		})
	}
}

type walk struct {
	*world
	rng     *rand.Rand
	results map[work.BatchID]*results
	order   []work.BatchID // of results
	ended   map[work.BatchID]bool
	phases  map[lifecycle.Phase]int
}

const walkSteps = 450

func newWalk(t *testing.T, seed uint64) *walk {
	rng := rand.New(rand.NewPCG(seed, 7))
	tiers := []work.Tier{work.TierEconomic, work.TierAssured, work.TierFull}
	w := newWorld(t, setup{
		seed: seed, providers: 5, checkers: 6 + int(seed%4), validators: 7,
		params: func(p *lifecycle.Params) {
			p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks, p.WindowBlocks = 4, 4, 4, 4, 4
			p.FuelPerBlock, p.MinBond, p.SampleAssured = 1e10, gtg/10, 6
			p.DrawDelayBlocks = 1 + int64(seed%3)
			p.LookPermille, p.LookDelayBlocks, p.MaxDisputes = 500*(seed%2), 1+int64(seed%2), 1+uint32(seed%3)
			p.VestBlocks, p.GovernanceBlocks = 40*int64(seed%2), 6
			p.TakeoverIdleBlocks, p.TakeoverAnswerBlocks = 1, 2
		},
		spec: func(s *work.JobSpec) {
			s.Tier, s.ItemCount, s.MaxPrice = tiers[seed%3], 4000, 1e6
			s.DeadlineHeight, s.CheckEscrow, s.IndexerPermille = walkSteps-100, work.Amount(seed%2)*50*gtg, uint32(seed%3)*500
		},
	})
	w.must("stranger", ledger.Register{Role: lifecycle.RoleIndexer, Peer: otherKey(0).Public(), Bond: 20 * gtg})
	return &walk{world: w, rng: rng, results: map[work.BatchID]*results{}, ended: map[work.BatchID]bool{}, phases: map[lifecycle.Phase]int{}}
}

// The first providers and checkers, and all validators but two of seven, are honest.
func (w *walk) honest(a work.Address) bool {
	return slices.Contains([]work.Address{
		"client", provider(0), provider(1), provider(2), checker(0), checker(1), checker(2), checker(3),
		validator(0), validator(1), validator(2), validator(3), validator(4),
	}, a)
}

// acts reports whether an account does its duty now, and whether it lies.
func (w *walk) acts(a work.Address) (now, lies bool) {
	if w.honest(a) {
		return true, false
	}
	return w.rng.IntN(4) == 0, w.rng.IntN(2) == 0
}

func (w *walk) run() {
	for step := range walkSteps {
		if step < walkSteps-150 {
			for range w.rng.IntN(3) {
				w.commitSome()
			}
			w.noise()
			w.handOver()
		}
		for _, id := range slices.Clone(w.order) {
			w.duties(w.results[id])
		}
		w.l.Advance()
	}
	for range 250 { // nobody dishonest acts any more
		for _, id := range w.order {
			w.duties(w.results[id])
		}
		w.l.Advance()
	}
	w.audit()
}

// commitSome commits random free items of a random provider.
func (w *walk) commitSome() {
	p := provider(w.rng.IntN(5))
	lo := uint64(w.rng.IntN(4000))
	items := work.NewRangeSet(work.Range{Lo: lo, Hi: min(lo+1+uint64(w.rng.IntN(20)), 4000)}, work.Range{Lo: 3900, Hi: 3900 + uint64(w.rng.IntN(3))})
	var wrong func(uint64) bool
	if !w.honest(p) {
		share := w.rng.IntN(100)
		wrong = func(i uint64) bool { return int(i*31%100) < share }
	}
	r, msg := w.commitMsg(p, items, wrong)
	if w.try(p, msg) != nil {
		return // no copies, bond or escrow left, or committed before
	}
	w.results[r.id] = r
	w.order = append(w.order, r.id)
}

// handOver lets a stranger claim the job and the client take it back; the honest
// indexer answers now and then.
func (w *walk) handOver() {
	if w.rng.IntN(3) == 0 {
		_ = w.try("stranger", ledger.TakeOver{Job: w.job})
	}
	if j := w.jobNow(); j.Takeover != nil && w.rng.IntN(4) > 0 && j.Indexer().Owner == "indexer" {
		if err := w.try("indexer", ledger.KeepJob{Job: w.job}); err != nil && j.Kept < lifecycle.MaxKeeps {
			w.t.Errorf("an answer to a claim was refused: %v", err)
		}
	}
	if w.indexedBy() != "indexer" && w.rng.IntN(3) == 0 {
		w.must("client", ledger.Reassign{Job: w.job, Indexer: w.indexer.Public(), Owner: "indexer"})
	}
}

// noise sends something that makes no sense from someone dishonest.
func (w *walk) noise() {
	from := []work.Address{"stranger", provider(3), provider(4), checker(4), checker(5), validator(5), validator(6)}[w.rng.IntN(7)]
	var id work.BatchID
	if len(w.order) > 0 {
		id = w.order[w.rng.IntN(len(w.order))]
	}
	var leaves []work.Leaf
	for range w.rng.IntN(4) {
		leaves = append(leaves, lie(uint64(w.rng.IntN(100)), from))
	}
	pos := uint64(w.rng.IntN(25))
	msgs := []ledger.Msg{
		ledger.OpenBatch{Batch: id, Openings: make([]lifecycle.ItemOpening, w.rng.IntN(4))},
		ledger.CommitCheck{Batch: id, Commitment: work.Hash{1}},
		ledger.RevealBatch{Batch: id, Salt: work.Hash{1}, Leaves: leaves},
		ledger.RevealCheck{Batch: id, Leaves: leaves},
		ledger.Challenge{Batch: id, Position: pos, Leaf: lie(pos, from)},
		ledger.AnswerChallenge{Batch: id, Leaf: lie(pos, from)},
		ledger.CommitVote{Batch: id, Commitment: work.Hash{2}},
		ledger.RevealVote{Batch: id, Leaves: leaves},
		ledger.CancelJob{Job: w.job},
		ledger.Unbond{Role: lifecycle.RoleChecker, Amount: work.Amount(w.rng.IntN(5)) * gtg},
		ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: work.Amount(w.rng.IntN(5)) * gtg},
		ledger.Send{To: "nobody", Amount: work.Amount(w.rng.IntN(100))},
	}
	_ = w.try(from, msgs[w.rng.IntN(len(msgs))])
}

// duties lets everybody whom a batch awaits act, or not.
func (w *walk) duties(r *results) {
	if w.ended[r.id] {
		return
	}
	b := r.batch()
	if b.Phase.Final() {
		w.ended[r.id] = true
		w.phases[b.Phase]++
		w.inspect(r, b)
		return
	}
	if w.l.Height()-b.CommitHeight > longest(w.p)*int64(1+4/w.p.MaxDisputes) { // others may be before it in the queue
		w.t.Fatalf("batch of height %d is still %s at %d", b.CommitHeight, b.Phase, w.l.Height())
	}
	switch b.Phase {
	case lifecycle.Opening:
		if now, _ := w.acts(r.provider); now {
			w.duty(r.provider, w.try(r.provider, ledger.OpenBatch{Batch: r.id, Openings: r.openings(b)}))
		}
	case lifecycle.Checking:
		w.eachCheck(r, b, r.commitCheck)
	case lifecycle.Revealing:
		if now, _ := w.acts(r.provider); now && b.Salt.IsZero() {
			w.duty(r.provider, r.reveal(b))
		}
		if r.batch().Phase == lifecycle.Revealing {
			w.eachCheck(r, r.batch(), r.revealCheck)
		}
	case lifecycle.Window:
		w.maybeChallenge(r, b)
	case lifecycle.Answering:
		if now, _ := w.acts(r.provider); now {
			at := b.Dispute.Items[0].Position
			path, _ := work.Path(r.nodes, at)
			w.duty(r.provider, w.try(r.provider, ledger.AnswerChallenge{Batch: r.id,
				Opening: lifecycle.ItemOpening{Position: at, Node: r.nodes[at], Path: path}, Leaf: r.leaves[at]}))
		}
	case lifecycle.Voting, lifecycle.Tallying:
		w.votes(r)
	}
}

// duty demands that the chain takes what an honest party does.
func (w *walk) duty(a work.Address, err error) {
	w.t.Helper()
	if err != nil && w.honest(a) {
		w.t.Fatalf("%s was refused its duty: %v", a, err)
	}
}

func (w *walk) eachCheck(r *results, b *lifecycle.Batch, do func(*lifecycle.Batch, *lifecycle.Check, found) error) {
	for i := range b.Checks {
		c := &b.Checks[i]
		if c.Missed || b.Phase == lifecycle.Checking && c.CommitHeight != 0 || c.Revealed || r.batch().Phase != b.Phase {
			continue
		}
		now, _ := w.acts(c.Checker)
		if !now {
			continue
		}
		says := truth
		if !w.honest(c.Checker) && len(c.Checker)%2 == int(r.id[0])%2 { // the same in commit and reveal
			says = func(i uint64) work.Leaf { return lie(i, c.Checker) }
			if r.id[1]%2 == 0 { // in league with the provider
				says = func(i uint64) work.Leaf { p, _ := r.items.Position(i); return r.leaves[p] }
			}
		}
		w.duty(c.Checker, do(b, c, says))
	}
}

func (w *walk) maybeChallenge(r *results, b *lifecycle.Batch) {
	if w.rng.IntN(6) > 0 {
		return
	}
	at := uint64(w.rng.IntN(int(b.N)))
	leaf := truth(b.Items.At(at))
	if w.rng.IntN(2) == 0 {
		leaf = lie(b.Items.At(at), "stranger")
	}
	_ = w.try("stranger", ledger.Challenge{Batch: r.id, Position: at, Leaf: leaf})
}

func (w *walk) votes(r *results) {
	for i := range 7 {
		b, v := r.batch(), validator(i)
		now, _ := w.acts(v)
		vote := (*lifecycle.Vote)(nil)
		if b.Dispute != nil {
			vote = b.Dispute.VoteOf(v)
		}
		if !now || vote == nil {
			continue
		}
		says := truth
		if !w.honest(v) && r.id[2]%2 == 0 {
			says = func(i uint64) work.Leaf { return lie(i, v) }
		}
		switch {
		case b.Phase == lifecycle.Voting && !vote.Committed:
			w.duty(v, r.commitVote(b, v, says))
		case b.Phase == lifecycle.Tallying && vote.Committed && !vote.Revealed:
			w.duty(v, r.revealVote(b, v, says))
		}
	}
}

// longest bounds the life of a batch under the walk's parameters, where executing
// always takes less than the least waits.
func longest(p lifecycle.Params) int64 {
	dispute := 2*p.VoteBlocks + 2*p.RevealBlocks
	checks := (1 + 3) * p.CheckBlocks
	return p.DrawDelayBlocks + int64(p.DrawSpreadBlocks) + p.OpenBlocks + checks + p.RevealBlocks + dispute +
		p.WindowBlocks*(1+p.OpenBlocks+dispute) + 10
}

// inspect judges how a batch ended.
func (w *walk) inspect(r *results, b *lifecycle.Batch) {
	if w.honest(r.provider) && b.Phase != lifecycle.Settled {
		w.t.Errorf("batch of an honest provider ended %s: %s", b.Phase, b.Why)
	}
	if b.Phase != lifecycle.Settled {
		return
	}
	for i := range b.Checks {
		for _, d := range b.Checks[i].Draws {
			if c := &b.Checks[i]; w.honest(c.Checker) && c.Revealed && b.Draws[d].Leaf != truth(b.Items.At(b.Draws[d].Position)) {
				w.t.Errorf("batch %s was paid though %s saw a lie", b.ID.Short(), c.Checker)
			}
		}
	}
}

// audit looks at the world when everything is over.
func (w *walk) audit() {
	t, ctx := w.t, context.Background()
	paid := make([]int, w.spec.ItemCount)
	byProvider := map[string]bool{}
	for _, id := range w.order {
		b := w.results[id].batch()
		if !b.Phase.Final() {
			t.Fatalf("batch is still %s", b.Phase)
		}
		for k := range b.N {
			i := b.Items.At(k)
			key := fmt.Sprint(b.Provider, i)
			if byProvider[key] {
				t.Errorf("item %d was committed twice by %s", i, b.Provider)
			}
			byProvider[key] = true
			if b.Phase == lifecycle.Settled {
				paid[i]++
			}
		}
	}
	if most := slices.Max(paid); most > int(w.spec.MaxCopies) {
		t.Errorf("an item was paid %d times", most)
	}
	j := w.jobNow()
	if j.State != lifecycle.JobClosed || j.EscrowFree+j.EscrowLocked+j.CheckFree+j.CheckLocked != 0 {
		t.Errorf("job at the end: state %d, %+v", j.State, j)
	}
	if q := w.party(lifecycle.RoleIndexer, "indexer"); q.Bond != 50*gtg || q.Convictions != 0 {
		t.Errorf("the honest indexer suffered: %+v", q)
	}
	for _, role := range []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker, lifecycle.RoleIndexer} {
		parties, _ := w.l.Parties(ctx, role)
		for _, q := range parties {
			if q.Locked != 0 {
				t.Errorf("%s %s has %s locked for nothing", role, q.Account, q.Locked)
			}
			if role != lifecycle.RoleIndexer && w.honest(q.Account) && (q.Convictions != 0 || q.Missed != 0 || q.Bond < 100*gtg) {
				t.Errorf("honest %s suffered: %+v", role, q)
			}
		}
	}
	t.Logf("batches ended: %v", w.phases)
	if w.phases[lifecycle.Settled] < 20 || w.phases[lifecycle.Void] < 5 {
		t.Errorf("the walk saw too little: %v", w.phases)
	}
}
