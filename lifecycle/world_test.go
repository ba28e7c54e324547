package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const gtg = work.UgtgPerGtg

// world is a chain with the parties of a job. What an item truly gives is a
// function of its number: truth.
type world struct {
	t       testing.TB
	l       *fake.Ledger
	p       lifecycle.Params
	indexer sign.PrivateKey
	spec    work.JobSpec
	job     work.JobID
	salts   uint64
}

// setup says how a world differs from the usual one.
type setup struct {
	seed       uint64
	steer      func(height int64, value work.Hash) (work.Hash, bool) // of the beacon; see fake.Config
	params     func(*lifecycle.Params)
	spec       func(*work.JobSpec)
	providers  int
	checkers   int
	validators int
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	p := lifecycle.LocalParams()
	p.WindowBlocks, p.UnbondBlocks, p.ClosingBlocks = 5, 50, 40
	p.LookPermille = 0 // tests of the second look set it
	if s.params != nil {
		s.params(&p)
	}
	w := &world{t: t, p: p, indexer: sign.FromSeed([32]byte{1})}
	genesis := map[work.Address]work.Amount{"client": 1000 * gtg, "stranger": 100 * gtg, "indexer": 100 * gtg}
	for i := range s.providers {
		genesis[provider(i)] = 200 * gtg
	}
	for i := range s.checkers {
		genesis[checker(i)] = 200 * gtg
	}
	var vs []lifecycle.ValidatorPower
	for i := range s.validators {
		vs = append(vs, lifecycle.ValidatorPower{Account: validator(i), Power: 10})
	}
	w.l = fake.New(fake.Config{Chain: "test", Params: p, Genesis: genesis, Validators: vs, Seed: s.seed, Steer: s.steer})
	for i := range s.providers {
		w.must(provider(i), ledger.Register{Role: lifecycle.RoleProvider, Peer: sign.PublicKey{1}, Bond: 100 * gtg})
	}
	for i := range s.checkers {
		w.must(checker(i), ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 100 * gtg})
	}
	w.must("indexer", ledger.Register{Role: lifecycle.RoleIndexer, Peer: w.indexer.Public(), Bond: 50 * gtg})
	w.spec = work.JobSpec{
		Chain: "test", Client: "client", Nonce: 1, Program: work.BlobID{Root: work.Hash{1}, Size: 1}, Profile: "gw1",
		Items: work.BlobID{Root: work.Hash{2}, Size: 1}, ItemCount: 100,
		Limits: work.Limits{MemoryBytes: 1, Fuel: 1e10, OutputBytes: 1}, Tier: work.TierEconomic, MaxPrice: 1e6,
		Escrow: 500 * gtg, CheckEscrow: 100 * gtg, Indexer: w.indexer.Public(), IndexerOwner: "indexer", MaxCopies: 2,
		DeadlineHeight: 10_000,
	}
	if s.spec != nil {
		s.spec(&w.spec)
	}
	w.must("client", ledger.CreateJob{Spec: w.spec})
	w.job = w.spec.ID()
	w.l.Advance()
	return w
}

func provider(i int) work.Address  { return work.Address(fmt.Sprint("provider", i)) }
func checker(i int) work.Address   { return work.Address(fmt.Sprint("checker", i)) }
func validator(i int) work.Address { return work.Address(fmt.Sprint("validator", i)) }

func (w *world) try(from work.Address, msg ledger.Msg) error {
	_, err := w.l.Submit(context.Background(), from, msg)
	return err
}

func (w *world) must(from work.Address, msg ledger.Msg) {
	w.t.Helper()
	if err := w.try(from, msg); err != nil {
		w.t.Fatalf("%T of %s: %v", msg, from, err)
	}
}

// refuses demands that the chain says no with a cause.
func (w *world) refuses(from work.Address, msg ledger.Msg, want error) {
	w.t.Helper()
	if err := w.try(from, msg); !errors.Is(err, want) {
		w.t.Fatalf("%T of %s: got %v, want %v", msg, from, err, want)
	}
}

// truth is what item i gives; its fuel varies by a factor of ten.
func truth(i uint64) work.Leaf {
	var e work.Encoder
	e.U64(i)
	return work.Leaf{Input: work.Sum("in", e.Bytes()), Output: work.Sum("out", e.Bytes()), Outcome: work.Outcome{Kind: work.Exited},
		Fuel: 1e8 + work.Fuel(i*7919%10)*1e8, Memory: work.Sum("mem", e.Bytes())}
}

// lie is a wrong leaf of the same weight.
func lie(i uint64, liar work.Address) work.Leaf {
	l := truth(i)
	l.Output = work.Sum("lie", []byte(liar))
	return l
}

// results is a provider's side of a batch.
type results struct {
	w        *world
	id       work.BatchID
	provider work.Address
	items    work.RangeSet
	leaves   []work.Leaf
	nodes    []work.Node
	salt     work.Hash
}

// compute makes the results of items, with lies for those that wrong names.
func (w *world) compute(p work.Address, items work.RangeSet, wrong func(uint64) bool) (*results, work.Node, work.Fuel) {
	w.salts++
	var e work.Encoder
	e.U64(w.salts)
	r := &results{w: w, provider: p, items: items, salt: work.Sum("salt", []byte(p), e.Bytes())}
	var most work.Fuel
	for k := range items.Len() {
		i := items.At(k)
		l := truth(i)
		if wrong != nil && wrong(i) {
			l = lie(i, p)
		}
		r.leaves = append(r.leaves, l)
		r.nodes = append(r.nodes, work.ItemNode(l.Fuel, l.Hash(), work.ItemSalt(r.salt, w.job, k)))
		most = max(most, l.Fuel)
	}
	root, err := work.Root(r.nodes)
	if err != nil {
		w.t.Fatal(err)
	}
	r.id = work.BatchIDOf("test", w.job, p, items, root)
	return r, root, most
}

// assign signs items to a provider.
func (w *world) assign(p work.Address, items work.RangeSet, change func(*work.Assignment)) lifecycle.Part {
	a := work.Assignment{Chain: "test", Job: w.job, Provider: p, Attempt: 1, Ranges: items, Price: 1e6, ExpiresHeight: w.l.Height() + 20}
	if change != nil {
		change(&a)
	}
	a.Sign(w.indexer)
	return lifecycle.Part{Assignment: a, Items: items}
}

// commitMsg is the commit of freshly computed items.
func (w *world) commitMsg(p work.Address, items work.RangeSet, wrong func(uint64) bool) (*results, ledger.CommitBatch) {
	r, root, most := w.compute(p, items, wrong)
	return r, ledger.CommitBatch{Job: w.job, Parts: []lifecycle.Part{w.assign(p, items, nil)}, Root: root, MaxItemFuel: most}
}

func (w *world) commit(p work.Address, lo, hi uint64, wrong func(uint64) bool) *results {
	w.t.Helper()
	r, msg := w.commitMsg(p, work.NewRangeSet(work.Range{Lo: lo, Hi: hi}), wrong)
	w.must(p, msg)
	return r
}

func (r *results) batch() *lifecycle.Batch {
	r.w.t.Helper()
	b, err := r.w.l.Batch(context.Background(), r.id)
	if err != nil {
		r.w.t.Fatal(err)
	}
	return b
}

// until advances to a phase.
func (r *results) until(phase lifecycle.Phase) *lifecycle.Batch {
	r.w.t.Helper()
	for range 2000 {
		if b := r.batch(); b.Phase == phase {
			return b
		} else if b.Phase.Final() {
			r.w.t.Fatalf("batch ended %s (%s), want %s", b.Phase, b.Why, phase)
		}
		r.w.l.Advance()
	}
	r.w.t.Fatalf("batch never became %s: it is %s", phase, r.batch().Phase)
	return nil
}

func (r *results) openings(b *lifecycle.Batch) []lifecycle.ItemOpening {
	l, err := b.Openings(r.nodes)
	if err != nil {
		r.w.t.Fatal(err)
	}
	return l
}

func (r *results) open() *lifecycle.Batch {
	r.w.t.Helper()
	b := r.until(lifecycle.Opening)
	r.w.must(r.provider, ledger.OpenBatch{Batch: r.id, Openings: r.openings(b)})
	return r.batch()
}

// found is what an executor says of item i.
type found func(i uint64) work.Leaf

func (r *results) checked(b *lifecycle.Batch, c *lifecycle.Check, f found) []work.Leaf {
	var l []work.Leaf
	for _, d := range c.Draws {
		l = append(l, f(b.Items.At(b.Draws[d].Position)))
	}
	return l
}

func saltOf(a work.Address) work.Hash { return work.Sum("salt", []byte(a)) }

func (r *results) commitCheck(b *lifecycle.Batch, c *lifecycle.Check, f found) error {
	return r.w.try(c.Checker, ledger.CommitCheck{Batch: r.id, Commitment: lifecycle.CheckCommitment("test", r.id, c.Checker, r.checked(b, c, f), saltOf(c.Checker))})
}

func (r *results) revealCheck(b *lifecycle.Batch, c *lifecycle.Check, f found) error {
	return r.w.try(c.Checker, ledger.RevealCheck{Batch: r.id, Salt: saltOf(c.Checker), Leaves: r.checked(b, c, f)})
}

func (r *results) reveal(b *lifecycle.Batch) error {
	var l []work.Leaf
	for _, d := range b.Draws {
		l = append(l, r.leaves[d.Position])
	}
	return r.w.try(r.provider, ledger.RevealBatch{Batch: r.id, Salt: r.salt, Leaves: l})
}

// check lets all parties commit and reveal; who says what each checker finds.
func (r *results) check(who func(work.Address) found) *lifecycle.Batch {
	r.w.t.Helper()
	b := r.open()
	for i := range b.Checks {
		if err := r.commitCheck(b, &b.Checks[i], who(b.Checks[i].Checker)); err != nil {
			r.w.t.Fatal(err)
		}
	}
	if err := r.reveal(b); err != nil {
		r.w.t.Fatal(err)
	}
	for i := range b.Checks {
		if err := r.revealCheck(b, &b.Checks[i], who(b.Checks[i].Checker)); err != nil {
			r.w.t.Fatal(err)
		}
	}
	return r.admitted()
}

// admitted lets a queued dispute into court.
func (r *results) admitted() *lifecycle.Batch {
	r.w.t.Helper()
	if r.batch().Phase == lifecycle.Queued {
		r.w.l.Advance()
	}
	return r.batch()
}

func honest(work.Address) found { return truth }

func (r *results) verdict(b *lifecycle.Batch, f found) []work.Leaf {
	var l []work.Leaf
	for _, it := range b.Dispute.Items {
		l = append(l, f(b.Items.At(it.Position)))
	}
	return l
}

func (r *results) commitVote(b *lifecycle.Batch, v work.Address, f found) error {
	return r.w.try(v, ledger.CommitVote{Batch: r.id, Commitment: lifecycle.VoteCommitment("test", r.id, v, r.verdict(b, f), saltOf(v))})
}

func (r *results) revealVote(b *lifecycle.Batch, v work.Address, f found) error {
	return r.w.try(v, ledger.RevealVote{Batch: r.id, Salt: saltOf(v), Leaves: r.verdict(b, f)})
}

// judge lets the first n validators vote.
func (r *results) judge(n int, f func(int) found) *lifecycle.Batch {
	r.w.t.Helper()
	b := r.until(lifecycle.Voting)
	for i := range n {
		if err := r.commitVote(b, validator(i), f(i)); err != nil {
			r.w.t.Fatal(err)
		}
	}
	b = r.until(lifecycle.Tallying)
	for i := range n {
		if r.batch().Phase == lifecycle.Tallying {
			if err := r.revealVote(b, validator(i), f(i)); err != nil {
				r.w.t.Fatal(err)
			}
		}
	}
	return r.batch()
}

func (w *world) party(role lifecycle.Role, a work.Address) *lifecycle.Party {
	w.t.Helper()
	p, err := w.l.Party(context.Background(), role, a)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) jobNow() *lifecycle.Job {
	w.t.Helper()
	j, err := w.l.Job(context.Background(), w.job)
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

func (w *world) balance(a work.Address) work.Amount {
	v, _ := w.l.Balance(context.Background(), a)
	return v
}

func sum(b *lifecycle.Batch, why lifecycle.Reason) (v work.Amount) {
	for _, t := range b.Transfers {
		if t.Reason == why {
			v += t.Amount
		}
	}
	return v
}
