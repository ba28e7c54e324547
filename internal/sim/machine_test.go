package sim

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const gtgs = work.UgtgPerGtg

// small is a small network: 6 providers, 3 checkers and 4 validators on the machine
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

// accusersOfTest are the accounts of those who accuse and have money of their own.
var accusersOfTest = map[accuser]work.Address{byWatcher: "watcher", bySpammer: "spammer", byVulture: "vulture"}

// plans are who accuses the n-th batch of the twin at a place in its window.
func plan(place int, n int) accuser {
	switch {
	case place == 0 && n%6 == 1:
		return bySpammer
	case place <= 1 && n%6 == 3, place == 5 && n%4 == 2:
		return byClient
	case place == 1 && n%12 == 5:
		return byVulture
	case place == 2 && n%5 == 2:
		return byWatcher
	}
	return byChecker
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

	plan    accuser // byChecker for nobody
	accused bool
	late    uint64 // messages about that
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
	for n := range smallBatches {
		for place, x := range s.parts {
			s.commit(x, q)
			x.b.plan = plan(place, n)
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
	s.compareAccusers()
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
	k := &worker{w: w, fees: make([]work.Amount, 3), losses: make([]work.Amount, 3)}
	w.workers = []*worker{k}
	s := &small{t: t, w: w, k: k, indexer: sign.FromSeed([32]byte{1})}
	genesis := map[work.Address]work.Amount{"client": 1_000_000 * gtgs}
	w.clients = 1_000_000 * gtgs
	for by, name := range accusersOfTest {
		genesis[name], w.court.purses[by] = 1000*gtgs, 1000*gtgs
	}
	for i := range 3 {
		genesis[checkerName(i)] = 2000 * gtgs
	}
	kinds := []Kind{Honest, Honest, Thrifty20, Garbage, Withholder, Keeper}
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

// accuse sends a message about an accusation of b.
func (s *small) accuse(b *played, from work.Address, msg ledger.Msg) {
	s.t.Helper()
	s.must(from, msg)
	b.late++
}

// sayVote sends a vote.
func (s *small) sayVote(b *played, from work.Address, msg ledger.Msg) {
	s.t.Helper()
	if b.accused {
		s.accuse(b, from, msg)
	} else {
		s.say(from, msg)
	}
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
	case lifecycle.Window:
		if !x.b.accused {
			x.b.accused = s.beginAccusation(x, b)
		}
	case lifecycle.Answering:
		if x.b.plan == byVulture {
			return
		}
		pos := b.Dispute.Items[0].Position
		path, err := work.Path(x.b.nodes, pos)
		if err != nil {
			s.t.Fatal(err)
		}
		s.accuse(x.b, x.account, ledger.AnswerChallenge{Batch: b.ID, Opening: lifecycle.ItemOpening{Position: pos, Node: x.b.nodes[pos], Path: path}, Leaf: x.b.leaves[pos]})
	case lifecycle.Voting:
		for _, v := range b.Dispute.Votes {
			s.sayVote(x.b, v.Validator, ledger.CommitVote{Batch: b.ID, Commitment: lifecycle.VoteCommitment("test", b.ID, v.Validator, s.verdict(x, b), salt(v.Validator))})
		}
	case lifecycle.Tallying:
		for _, v := range b.Dispute.Votes {
			s.sayVote(x.b, v.Validator, ledger.RevealVote{Batch: b.ID, Salt: salt(v.Validator), Leaves: s.verdict(x, b)})
		}
	}
}

// beginAccusation accuses a batch in its window, as planned, and reports whether
// somebody does.
func (s *small) beginAccusation(x *twin, b *lifecycle.Batch) bool {
	switch x.b.plan {
	case byClient:
		s.accuse(x.b, "client", ledger.ClaimDelivery{Batch: b.ID, Position: 3})
	case bySpammer, byVulture:
		lie := x.b.leaves[7]
		lie.Output = work.Sum("lie", []byte(x.b.plan.name()))
		s.accuse(x.b, accusersOfTest[x.b.plan], ledger.Challenge{Batch: b.ID, Position: 7, Leaf: lie})
	case byWatcher:
		pos := uint64(slices.Index(x.b.fakes, true))
		s.accuse(x.b, accusersOfTest[x.b.plan], ledger.Challenge{Batch: b.ID, Position: pos, Leaf: s.leaf(x.b.q, x.b.first+pos)})
	default:
		return false
	}
	return true
}

func (a accuser) name() string { return string(accusersOfTest[a]) }

func salt(a work.Address) work.Hash { return work.Sum("salt", []byte(a)) }

func (s *small) truths(x *twin, b *lifecycle.Batch, c *lifecycle.Check) (l []work.Leaf) {
	for _, d := range c.Draws {
		l = append(l, s.leaf(x.b.q, x.b.first+b.Draws[d].Position))
	}
	return l
}

func (s *small) verdict(x *twin, b *lifecycle.Batch) (l []work.Leaf) {
	for _, i := range b.Dispute.Items {
		if b.Dispute.Delivery && x.p.kind == Keeper {
			l = append(l, lifecycle.Unavailable)
			continue
		}
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
	case x.b.accused:
		s.mirrorAccusation(x)
	case b.Phase == lifecycle.Settled:
		s.k.put(&x.p.pending, x.p, q, 1, x.b.pledge, 0)
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

// mirrorAccusation lets the simulator's court end a batch that passed its checks and
// was accused then.
func (s *small) mirrorAccusation(x *twin) {
	var d *dispute
	switch by := x.b.plan; {
	case by == byVulture: // nobody answers: the stake returns
		s.k.put(&x.p.pending, x.p, x.b.q, 1, x.b.pledge, 0)
		s.k.silence(x.p, x.b.q)
		s.k.say(msgChallenge, 1, 0)
		s.lateMessages(x.b)
		return
	case by == byClient:
		d = s.k.claim(x.b.q, x.p.kind == Keeper)
	default:
		d = s.k.challenge(x.b.q, by)
	}
	if d.by == byWatcher {
		d.guilty, d.finder = true, watcher
	}
	s.lateMessages(x.b)
	d.pledge = x.b.pledge
	s.k.open(x.p, 0, d)
	s.w.sit()
	s.w.gather()
	s.k.settle(x.p)
}

// lateMessages holds the messages about an accusation against the simulator's.
func (s *small) lateMessages(b *played) {
	s.k.day.Messages -= b.late
	if s.k.day.Messages != 0 {
		s.t.Fatalf("an accusation takes %d messages more in the simulator than on the machine", int64(s.k.day.Messages))
	}
}

// compareAccusers compares what those who accuse have at the end.
func (s *small) compareAccusers() {
	for by, name := range accusersOfTest {
		got, want := s.balance(name), s.w.court.purses[by]
		if got != want || got == 1000*gtgs && by != byVulture {
			s.t.Errorf("the %s has %s, the simulator says %s", name, got, want)
		}
	}
	if s.w.court.held != 0 || len(s.w.court.queue) != 0 {
		s.t.Errorf("stakes of %s are held for %d disputes after the end", s.w.court.held, len(s.w.court.queue))
	}
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
			p.last = smallKey
			s.k.batches(p, uint32(i), smallKey, 1, &rnd)
			s.w.sit()
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
