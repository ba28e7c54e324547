package sim

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const gtgs = work.UgtgPerGtg

// small is a small network: 5 providers, 3 checkers and 4 validators on the machine
// that the chain runs, beside the simulator's own records of the same providers.
type small struct {
	t       *testing.T
	l       *fake.Ledger
	w       *world
	k       *worker
	indexer sign.PrivateKey
	job     work.JobID
	next    uint64 // first item that was not handed out
	msgs    uint64
	parts   []*twin
}

// twin is one provider on the machine and in the simulator.
type twin struct {
	account work.Address
	names   int
	start   work.Amount // balance before its first batch
	p       *provider
	b       *played
}

// played is a batch of the machine under way.
type played struct {
	id     work.BatchID
	q      *quote
	m      uint32
	pledge work.Amount
	salt   work.Hash
	first  uint64
	leaves []work.Leaf
	nodes  []work.Node
	fakes  []bool
	silent bool
}

const (
	smallBatches = 120 // of each provider
	smallPrice   = 500
)

var smallKey = key{class: 0, kind: 0, tier: 0, grains: grainsPerBatch, price: smallPrice}

// TestSmallNetworkMatchesTheMachine plays the same batches on lifecycle.Machine and
// in the simulator. For the same verdicts every amount is the same: pay, fees, mint,
// vesting, bonds, pledges and draws exactly, and what burns in a slash up to the
// rounding of the validators' shares, 3 ugtg a conviction. The number of convictions
// is within 99.9 % of the closed form, and messages a batch within 2 %.
func TestSmallNetworkMatchesTheMachine(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	q := s.w.newQuote(smallKey)
	var faked, caught, expect, variance uint64
	for range smallBatches {
		for _, x := range s.parts {
			s.commit(x, q)
		}
		for range 400 {
			if s.step() {
				break
			}
		}
		for _, x := range s.parts {
			if phi := fakes[x.p.kind]; phi > 0 {
				odds := s.w.odds(x.p.kind, phi, uint64(x.b.m), q.checkers)
				faked, expect, variance = faked+1, expect+odds, variance+odds*(1e9-odds)/1e9
			}
			if s.mirror(x) {
				caught++
			}
		}
	}
	if off := math.Abs(float64(caught) - float64(expect)/1e9); off > 3.29*math.Sqrt(float64(variance)/1e9) {
		t.Errorf("%d of %d false batches were caught, the closed form says %.1f ± %.1f", caught, faked, float64(expect)/1e9, math.Sqrt(float64(variance)/1e9))
	}
	t.Logf("%d of %d false batches were caught, the closed form says %.1f", caught, faked, float64(expect)/1e9)
	s.compareSupply()
	s.compareMessages(q)
}

func newSmall(t *testing.T) *small {
	p := lifecycle.PublicParams()
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.WindowBlocks, p.VoteBlocks = 8, 300, 300, 3, 300
	w := &world{cfg: Config{Params: p, Seed: 5}, rules: p.Rules(), sizes: newSizes(), stakes: make([]work.Amount, 4)}
	w.checkers = make([]checker, 3)
	for i := range w.checkers {
		w.checkers[i].bond = 1000 * gtgs
	}
	if err := w.drawTable(); err != nil {
		t.Fatal(err)
	}
	k := &worker{w: w, fees: make([]work.Amount, 3), losses: make([]uint32, 3)}
	s := &small{t: t, w: w, k: k, indexer: sign.FromSeed([32]byte{1})}
	genesis := map[work.Address]work.Amount{"client": 1_000_000 * gtgs}
	for i := range 3 {
		genesis[checkerName(i)] = 2000 * gtgs
	}
	kinds := []Kind{Honest, Honest, Thrifty20, Garbage, Withholder}
	for i := range kinds {
		for n := range smallBatches {
			genesis[work.Address(fmt.Sprintf("p%d-%d", i, n))] = 100 * gtgs
		}
	}
	var vs []lifecycle.ValidatorPower
	for i := range 4 {
		vs = append(vs, lifecycle.ValidatorPower{Account: work.Address(fmt.Sprint("v", i)), Power: 10})
	}
	s.l = fake.New(fake.Config{Chain: "test", Params: p, Genesis: genesis, Validators: vs, Seed: 3})
	for i := range 3 {
		s.must(checkerName(i), ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 1000 * gtgs})
	}
	spec := work.JobSpec{
		Chain: "test", Client: "client", Nonce: 1, Program: work.BlobID{Root: work.Hash{1}, Size: 1}, Profile: "gw1",
		Items: work.BlobID{Root: work.Hash{2}, Size: 1}, ItemCount: 10_000_000,
		Limits: work.Limits{MemoryBytes: 1, Fuel: p.MaxItemFuel, OutputBytes: 1}, Tier: work.TierEconomic, MaxPrice: 1e6,
		Escrow: 500_000 * gtgs, CheckEscrow: 100_000 * gtgs, Indexer: s.indexer.Public(), IndexerOwner: "client", MaxCopies: 1,
		DeadlineHeight: 500_000,
	}
	s.must("client", ledger.CreateJob{Spec: spec})
	s.job = spec.ID()
	for i, kind := range kinds {
		x := &twin{account: work.Address(fmt.Sprintf("p%d-0", i)), p: &provider{kind: kind}}
		s.join(x)
		s.parts = append(s.parts, x)
	}
	for range 2 { // until the checkers' bonds count
		s.l.Advance()
	}
	return s
}

func checkerName(i int) work.Address { return work.Address(fmt.Sprint("checker", i)) }

// join bonds a provider under a new name, on both sides.
func (s *small) join(x *twin) {
	s.must(x.account, ledger.Register{Role: lifecycle.RoleProvider, Peer: sign.PublicKey{1}, Bond: 50 * gtgs})
	x.start = s.balance(x.account)
	*x.p = provider{kind: x.p.kind, convictedAt: -1, bond: 50 * gtgs}
}

func (s *small) must(from work.Address, msgs ...ledger.Msg) {
	s.t.Helper()
	if _, err := s.l.Submit(context.Background(), from, msgs...); err != nil {
		s.t.Fatalf("%T of %s: %v", msgs[0], from, err)
	}
}

func (s *small) say(from work.Address, msg ledger.Msg) {
	s.t.Helper()
	s.must(from, msg)
	s.msgs++
}

func (s *small) balance(a work.Address) work.Amount {
	v, err := s.l.Balance(context.Background(), a)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

func (s *small) batch(id work.BatchID) *lifecycle.Batch {
	b, err := s.l.Batch(context.Background(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// leaf is what item i truly gives: every item weighs the same.
func (s *small) leaf(q *quote, i uint64) work.Leaf {
	var e work.Encoder
	e.U64(i)
	return work.Leaf{Input: work.Sum("in", e.Bytes()), Output: work.Sum("out", e.Bytes()), Outcome: work.Outcome{Kind: work.Exited}, Fuel: q.itemFuel}
}

// commit commits the next batch of a provider, with fakes as its kind has them.
func (s *small) commit(x *twin, q *quote) {
	rnd := stream(s.w.cfg.Seed, forBatches, s.next, 0)
	b := &played{q: q, first: s.next, salt: work.Sum("salt", []byte(x.account), []byte{byte(s.next), byte(s.next >> 8), byte(s.next >> 16)})}
	for k := range q.items {
		l, f := s.leaf(q, s.next+k), rnd.hit(fakes[x.p.kind])
		if f {
			l.Output = work.Sum("lie", []byte(x.account))
		}
		b.fakes, b.leaves = append(b.fakes, f), append(b.leaves, l)
		b.nodes = append(b.nodes, work.ItemNode(l.Fuel, l.Hash(), work.ItemSalt(b.salt, s.job, k)))
	}
	root, err := work.Root(b.nodes)
	if err != nil {
		s.t.Fatal(err)
	}
	items := work.NewRangeSet(work.Range{Lo: s.next, Hi: s.next + q.items})
	s.next += q.items
	a := work.Assignment{Chain: "test", Job: s.job, Provider: x.account, Attempt: 1, Ranges: items, Price: smallPrice, ExpiresHeight: s.l.Height() + 20}
	a.Sign(s.indexer)
	b.m, b.pledge = q.draws(s.w.rules, x.p.unvested)
	b.id = work.BatchIDOf("test", s.job, x.account, items, root)
	s.say(x.account, ledger.CommitBatch{Job: s.job, Parts: []lifecycle.Part{{Assignment: a, Items: items}}, Root: root, MaxItemFuel: q.itemFuel})
	x.b = b
	got := s.batch(b.id)
	if got.Pay != q.pay || got.Bond != q.bond || got.Sample != b.m || got.Pledge != b.pledge {
		s.t.Fatalf("batch of %s: pay %s, bond %s, %d draws, pledge %s; the simulator has %s, %s, %d, %s",
			x.account, got.Pay, got.Bond, got.Sample, got.Pledge, q.pay, q.bond, b.m, b.pledge)
	}
}

// step lets every party do what it owes now, makes a block, and reports whether all
// batches have ended.
func (s *small) step() bool {
	done := true
	for _, x := range s.parts {
		if b := s.batch(x.b.id); !b.Phase.Final() {
			done = false
			s.act(x, b)
		}
	}
	s.l.Advance()
	return done
}

func (s *small) act(x *twin, b *lifecycle.Batch) {
	switch b.Phase {
	case lifecycle.Opening:
		open, err := b.Openings(x.b.nodes)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, o := range open {
			x.b.silent = x.b.silent || x.p.kind == Withholder && x.b.fakes[o.Position]
		}
		if !x.b.silent {
			s.say(x.account, ledger.OpenBatch{Batch: b.ID, Openings: open})
		}
	case lifecycle.Checking:
		for i := range b.Checks {
			if c := &b.Checks[i]; c.CommitHeight == 0 && !c.Missed {
				s.say(c.Checker, ledger.CommitCheck{Batch: b.ID, Commitment: lifecycle.CheckCommitment("test", b.ID, c.Checker, s.truths(x, b, c), salt(c.Checker))})
			}
		}
	case lifecycle.Revealing:
		var l []work.Leaf
		for _, d := range b.Draws {
			l = append(l, x.b.leaves[d.Position])
		}
		s.say(x.account, ledger.RevealBatch{Batch: b.ID, Salt: x.b.salt, Leaves: l})
		for i := range b.Checks {
			s.say(b.Checks[i].Checker, ledger.RevealCheck{Batch: b.ID, Salt: salt(b.Checks[i].Checker), Leaves: s.truths(x, b, &b.Checks[i])})
		}
	case lifecycle.Voting:
		for _, v := range b.Dispute.Votes {
			s.say(v.Validator, ledger.CommitVote{Batch: b.ID, Commitment: lifecycle.VoteCommitment("test", b.ID, v.Validator, s.verdict(x, b), salt(v.Validator))})
		}
	case lifecycle.Tallying:
		for _, v := range b.Dispute.Votes {
			s.say(v.Validator, ledger.RevealVote{Batch: b.ID, Salt: salt(v.Validator), Leaves: s.verdict(x, b)})
		}
	}
}

func salt(a work.Address) work.Hash { return work.Sum("salt", []byte(a)) }

func (s *small) truths(x *twin, b *lifecycle.Batch, c *lifecycle.Check) (l []work.Leaf) {
	for _, d := range c.Draws {
		l = append(l, s.leaf(x.b.q, x.b.first+b.Draws[d].Position))
	}
	return l
}

func (s *small) verdict(x *twin, b *lifecycle.Batch) (l []work.Leaf) {
	for _, i := range b.Dispute.Items {
		l = append(l, s.leaf(x.b.q, x.b.first+i.Position))
	}
	return l
}

// mirror does in the simulator what the machine decided about a batch, compares the
// provider's money, and reports whether it was caught.
func (s *small) mirror(x *twin) (caught bool) {
	b, q := s.batch(x.b.id), x.b.q
	x.p.pledged = x.b.pledge
	switch {
	case b.Phase == lifecycle.Settled:
		s.k.pass(x.p, q, 1)
		s.k.settle(x.p)
	case x.b.silent:
		caught = true
		s.k.slash(x.p, q, x.b.pledge, nobody, false)
	default:
		caught = true
		s.k.convict(x.p, q, x.b.pledge, 0)
	}
	x.p.pledged = 0
	s.fees(b, q)
	party, err := s.l.Party(context.Background(), lifecycle.RoleProvider, x.account)
	if err != nil {
		s.t.Fatal(err)
	}
	if free := s.balance(x.account) - x.start; free != x.p.wallet || party.Bond != x.p.bond || party.Unvested != x.p.unvested {
		s.t.Fatalf("%s after a batch that ended %s (%s): %s free, %s bonded, %s unvested; the simulator has %s, %s, %s",
			x.account, b.Phase, b.Why, free, party.Bond, party.Unvested, x.p.wallet, x.p.bond, x.p.unvested)
	}
	if x.p.out {
		x.names++
		x.account = work.Address(fmt.Sprintf("%s%d", x.account[:3], x.names))
		s.join(x)
	}
	return caught
}

// fees compares what each checker of a batch got.
func (s *small) fees(b *lifecycle.Batch, q *quote) {
	for _, c := range b.Checks {
		var got work.Amount
		for _, t := range b.Transfers {
			if t.To == c.Checker && t.Reason == lifecycle.ReasonCheck {
				got += t.Amount
			}
		}
		at := map[uint64]bool{}
		for _, d := range c.Draws {
			at[b.Draws[d].Position] = true
		}
		want := q.fee * work.Amount(len(at))
		if !c.Revealed { // the provider was silent
			want = 0
		}
		if got != want {
			s.t.Errorf("%s got %s for %d items, the simulator has %s", c.Checker, got, len(at), want)
		}
	}
}

// compareSupply compares all that was burned and minted.
func (s *small) compareSupply() {
	v, err := s.l.Supply(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	d := &s.k.day
	if v.FeeBurn != d.FeeBurn || v.Minted != d.Minted {
		s.t.Errorf("fees burned %s, minted %s; the simulator has %s, %s", v.FeeBurn, v.Minted, d.FeeBurn, d.Minted)
	}
	if rounding := work.Amount(3 * d.Convictions); v.SlashBurn < d.SlashBurn || v.SlashBurn-d.SlashBurn > rounding {
		s.t.Errorf("slashed and burned %d ugtg, the simulator has %d, and up to %d more from rounding", v.SlashBurn, d.SlashBurn, rounding)
	}
}

// compareMessages lets the simulator draw and judge as many batches of each kind.
func (s *small) compareMessages(q *quote) {
	s.k.day = Tally{}
	for i, x := range s.parts {
		rnd := stream(s.w.cfg.Seed, forBatches, uint64(i), 77)
		p := &provider{kind: x.p.kind, convictedAt: -1, bond: 50 * gtgs}
		for range smallBatches {
			if s.k.batch(p, q, &rnd) {
				s.k.pass(p, q, 1)
			}
			s.k.settle(p)
			if p.out {
				*p = provider{kind: p.kind, convictedAt: -1, bond: 50 * gtgs}
			}
		}
	}
	got, want := float64(s.msgs), float64(s.k.day.Messages)
	s.t.Logf("%.0f messages on the machine, %.0f in the simulator", got, want)
	if math.Abs(got-want) > 0.02*want {
		s.t.Errorf("%.0f messages on the machine, %.0f in the simulator: more than 2 %% apart", got, want)
	}
}
