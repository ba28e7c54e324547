// Package ledgertest is the conformance suite of the adapters of the ledger port:
// the protocol from registration to payout and to a slash, as a role sees it.
//
// It speaks to a ledger through the port alone, with accounts that its caller
// funded, and plays every role itself with made-up results of work.
package ledgertest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const gtg = work.UgtgPerGtg

// Network is a fresh chain that makes blocks by itself, and accounts that the
// ledger can sign for. Each but Poor has at least Funds; Validator is the operator
// of the only validator.
type Network struct {
	Ledger    ledger.Ledger
	Chain     string
	Client    work.Address
	Honest    work.Address // providers
	Cheat     work.Address
	Checkers  []work.Address // at least two
	Validator work.Address
	Poor      work.Address // an account without any money
	Foreign   work.Address // no key of it is known
}

// Funds is what each account needs.
const Funds = 1000 * gtg

// Run checks an adapter.
func Run(t *testing.T, n Network) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	s := &suite{T: t, Network: n, ctx: ctx, indexer: sign.FromSeed([32]byte{7}), ended: map[lifecycle.Phase]int{}}
	before := s.supply()
	s.register()
	s.refusals()
	s.pipeline()
	job := s.createJob()
	s.honest(job)
	s.cheat(job)
	s.claims(job)
	s.equivocation(job)
	s.closeJob(job)
	s.handOver(job)
	s.commons()
	s.history()
	after := s.supply()
	if after.Total+after.FeeBurn+after.SlashBurn != before.Total+after.Minted+after.MintedCommons || after.FeeBurn == 0 || after.SlashBurn == 0 {
		t.Errorf("supply before %+v, after %+v: what is missing was not burned", before, after)
	}
	if after.Escrowed != 0 {
		t.Errorf("%s still in escrow after the end", after.Escrowed)
	}
}

type suite struct {
	*testing.T
	Network
	ctx     context.Context
	indexer sign.PrivateKey
	params  lifecycle.Params
	salts   uint64
	ended   map[lifecycle.Phase]int // batches
}

func (s *suite) must(from work.Address, msgs ...ledger.Msg) ledger.Included {
	s.Helper()
	in, err := s.Ledger.Submit(s.ctx, from, msgs...)
	if err != nil {
		s.Fatalf("%T of %s: %v", msgs[0], from, err)
	}
	return in
}

func (s *suite) refuses(want error, from work.Address, msgs ...ledger.Msg) {
	s.Helper()
	if _, err := s.Ledger.Submit(s.ctx, from, msgs...); !errors.Is(err, want) {
		s.Errorf("%T of %s: got error %v, want %v", msgs[0], from, err, want)
	}
}

func (s *suite) supply() ledger.Supply {
	s.Helper()
	v, err := s.Ledger.Supply(s.ctx)
	s.check(err)
	return v
}

func (s *suite) balance(a work.Address) work.Amount {
	s.Helper()
	v, err := s.Ledger.Balance(s.ctx, a)
	s.check(err)
	return v
}

func (s *suite) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) height() int64 {
	s.Helper()
	st, err := s.Ledger.Status(s.ctx)
	s.check(err)
	return st.Height
}

// nextBlock waits until the chain has one block more.
func (s *suite) nextBlock() {
	s.Helper()
	st, err := s.Ledger.Status(s.ctx)
	s.check(err)
	end := errors.New("end")
	if err := s.Ledger.Follow(s.ctx, st.Height+1, func(ledger.Block) error { return end }); err != end {
		s.Fatalf("waiting for a block: %v", err)
	}
}

func (s *suite) register() {
	var err error
	s.params, err = s.Ledger.Params(s.ctx)
	s.check(err)
	if s.params == (lifecycle.Params{}) {
		s.Fatal("the chain has no parameters")
	}
	bond := 100 * gtg
	before := s.balance(s.Honest)
	for _, a := range []work.Address{s.Honest, s.Cheat} {
		s.must(a, ledger.Register{Role: lifecycle.RoleProvider, Peer: sign.PublicKey{1}, Bond: work.Amount(bond)})
	}
	for _, a := range s.Checkers {
		s.must(a, ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{2}, Bond: work.Amount(bond)})
	}
	if got := before - s.balance(s.Honest); got != work.Amount(bond) {
		s.Errorf("a bond of %d took %d: an answer after Submit must know it", bond, got)
	}
	p, err := s.Ledger.Party(s.ctx, lifecycle.RoleProvider, s.Honest)
	s.check(err)
	if p.Bond != work.Amount(bond) || p.Peer != (sign.PublicKey{1}) {
		s.Errorf("party is %+v", p)
	}
	l, err := s.Ledger.Parties(s.ctx, lifecycle.RoleChecker)
	s.check(err)
	if len(l) != len(s.Checkers) {
		s.Errorf("%d checkers, want %d", len(l), len(s.Checkers))
	}
	if _, err := s.Ledger.Party(s.ctx, lifecycle.RoleChecker, s.Client); !errors.Is(err, ledger.ErrNotFound) {
		s.Errorf("a party that is none: %v", err)
	}
}

func (s *suite) refusals() {
	s.refuses(ledger.ErrNoKey, s.Foreign, ledger.Send{To: s.Client, Amount: 1})
	s.refuses(ledger.ErrFunds, s.Poor, ledger.Send{To: s.Client, Amount: 1})
	s.refuses(ledger.ErrFunds, s.Client, ledger.Send{To: s.Honest, Amount: s.balance(s.Client) + 1})
	spec := s.spec(99)
	spec.Escrow = s.balance(s.Client) + 1
	s.refuses(ledger.ErrFunds, s.Client, ledger.CreateJob{Spec: spec})
	s.refuses(ledger.ErrRefused, s.Honest, ledger.CreateJob{Spec: s.spec(1)})
	s.refuses(ledger.ErrRefused, s.Honest, ledger.CommitCheck{Batch: work.Hash{1}})
	// All messages of a transaction or none.
	before := s.balance(s.Client)
	s.refuses(ledger.ErrRefused, s.Client, ledger.Send{To: s.Honest, Amount: 5}, ledger.CancelJob{Job: work.Hash{1}})
	if got := s.balance(s.Client); got != before {
		s.Errorf("a refused transaction took %d", before-got)
	}
	if _, err := s.Ledger.Job(s.ctx, work.Hash{1}); !errors.Is(err, ledger.ErrNotFound) {
		s.Errorf("a job that is none: %v", err)
	}
	if _, err := s.Ledger.Batch(s.ctx, work.Hash{1}); !errors.Is(err, ledger.ErrNotFound) {
		s.Errorf("a batch that is none: %v", err)
	}
}

// pipeline sends many transactions of one account at once, one of them bad.
func (s *suite) pipeline() {
	const n = 30
	before := s.balance(s.Checkers[0])
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if i == n/2 {
				s.refuses(ledger.ErrFunds, s.Client, ledger.Send{To: s.Checkers[0], Amount: 1 << 60})
				return
			}
			if _, err := s.Ledger.Submit(s.ctx, s.Client, ledger.Send{To: s.Checkers[0], Amount: 1000}); err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	if got := s.balance(s.Checkers[0]) - before; got != (n-1)*1000 {
		s.Errorf("%d sends of 1000 gave %d", n-1, got)
	}
}

func (s *suite) spec(nonce uint64) work.JobSpec {
	st, err := s.Ledger.Status(s.ctx)
	s.check(err)
	if st.Chain != s.Chain {
		s.Errorf("status names chain %q, want %q", st.Chain, s.Chain)
	}
	return work.JobSpec{
		Chain: s.Chain, Client: s.Client, Nonce: nonce, Program: work.BlobID{Root: work.Hash{1}, Size: 1}, Profile: "gw1",
		Items: work.BlobID{Root: work.Hash{2}, Size: 1}, ItemCount: 100,
		Limits: work.Limits{MemoryBytes: 1, Fuel: 1e10, OutputBytes: 1}, Tier: work.TierEconomic, MaxPrice: 1e6,
		Escrow: 200 * gtg, CheckEscrow: 50 * gtg, Indexer: s.indexer.Public(), IndexerOwner: s.Client, MaxCopies: 2,
		DeadlineHeight: st.Height + 100_000,
	}
}

func (s *suite) createJob() work.JobID {
	before := s.balance(s.Client)
	spec := s.spec(1)
	s.must(s.Client, ledger.CreateJob{Spec: spec})
	s.refuses(ledger.ErrRefused, s.Client, ledger.CreateJob{Spec: spec})
	id := spec.ID()
	j, err := s.Ledger.Job(s.ctx, id)
	s.check(err)
	if j.Spec.ID() != spec.ID() || j.State != lifecycle.JobOpen || j.ID != id {
		s.Errorf("job is %+v, want spec %+v", j, spec)
	}
	if got := before - s.balance(s.Client); got != 250*gtg {
		s.Errorf("escrows of 250gtg took %d", got)
	}
	for _, client := range []work.Address{s.Client, ""} {
		if l, err := s.Ledger.Jobs(s.ctx, client); err != nil || len(l) != 1 || l[0].ID != id {
			s.Errorf("jobs of %q: %v, %v", client, l, err)
		}
	}
	if l, err := s.Ledger.Jobs(s.ctx, s.Honest); err != nil || len(l) != 0 {
		s.Errorf("jobs of one who has none: %v, %v", l, err)
	}
	return id
}

func (s *suite) honest(job work.JobID) {
	before := s.balance(s.Honest)
	b := s.batch(job, s.Honest, 0, 10, truth)
	if b.Phase != lifecycle.Settled {
		s.Fatalf("an honest batch ended %s: %s", b.Phase, b.Why)
	}
	share, err := work.MulDiv(b.Pay, s.params.ProviderPermille, 1000)
	s.check(err)
	var vests, rewarded work.Amount
	for _, t := range b.Transfers {
		switch {
		case t.ToPot == lifecycle.PotVesting:
			vests += t.Amount
		case t.Reason == lifecycle.ReasonMint:
			rewarded += t.Amount
		}
	}
	p, err := s.Ledger.Party(s.ctx, lifecycle.RoleProvider, s.Honest)
	s.check(err)
	if got := s.balance(s.Honest) + p.Bond + p.Unvested - before; got != 100*gtg+share+rewarded || p.Unvested != vests || rewarded == 0 {
		s.Errorf("a batch of %d paid %d more than the bond, want %d and a reward of %d", b.Pay, got, share, rewarded)
	}
	if v := s.supply(); v.Minted != rewarded || v.Unvested != vests {
		s.Errorf("the supply has %d minted, %d unvested; the batch moved %d and %d", v.Minted, v.Unvested, rewarded, vests)
	}
}

func (s *suite) cheat(job work.JobID) {
	var before work.Amount
	for _, c := range s.Checkers {
		before += s.balance(c)
	}
	b := s.batch(job, s.Cheat, 10, 20, func(i uint64) work.Leaf {
		l := truth(i)
		l.Output = work.Sum("lie")
		return l
	})
	if b.Phase != lifecycle.Void || b.Dispute == nil {
		s.Fatalf("a cheat's batch ended %s: %s", b.Phase, b.Why)
	}
	p, err := s.Ledger.Party(s.ctx, lifecycle.RoleProvider, s.Cheat)
	s.check(err)
	if p.Convictions != 1 || p.Bond >= 100*gtg || p.Locked != 0 {
		s.Errorf("the cheat is %+v", p)
	}
	var after work.Amount
	for _, c := range s.Checkers {
		after += s.balance(c)
	}
	if after <= before {
		s.Errorf("checkers had %d, have %d: no bounty", before, after)
	}
	// The items are free again, for others.
	if b := s.batch(job, s.Honest, 10, 20, truth); b.Phase != lifecycle.Settled {
		s.Errorf("the items of a void batch ended %s: %s", b.Phase, b.Why)
	}
	ids, err := s.Ledger.Batches(s.ctx, job)
	s.check(err)
	if len(ids) != 3 {
		s.Errorf("%d batches, want 3", len(ids))
	}
}

func (s *suite) closeJob(job work.JobID) {
	before := s.balance(s.Client)
	release := s.indexer.Sign(lifecycle.ReleaseTag, lifecycle.ReleaseMessage(s.Chain, job))
	s.must(s.Client, ledger.CancelJob{Job: job, Release: &release})
	j, err := s.Ledger.Job(s.ctx, job)
	s.check(err)
	if j.State != lifecycle.JobClosed || j.Spec.Escrow+j.Spec.CheckEscrow != j.PaidWork+j.PaidChecks+j.Fined+j.Refunded {
		s.Errorf("a released job is %+v", j)
	}
	if got := s.balance(s.Client) - before; got != j.Refunded {
		s.Errorf("%d came back, the job says %d", got, j.Refunded)
	}
}

// history reads everything twice: it must be the same, without a gap.
func (s *suite) history() {
	s.nextBlock() // a ledger may answer from the block that it is still making
	st, err := s.Ledger.Status(s.ctx)
	s.check(err)
	read := func() (l []ledger.Block) {
		end := errors.New("end")
		err := s.Ledger.Follow(s.ctx, 1, func(b ledger.Block) error {
			if b.Height != int64(len(l)+1) {
				s.Errorf("height %d came after %d", b.Height, len(l))
			}
			l = append(l, b)
			if b.Height == st.Height {
				return end
			}
			return nil
		})
		if err != end {
			s.Fatalf("follow ended with %v, want the follower's own error", err)
		}
		return l
	}
	one, two := read(), read()
	if !reflect.DeepEqual(one, two) {
		s.Error("two readings of the same heights differ")
	}
	var settled, voided, jobs int
	sums := make(map[lifecycle.Reason]work.Amount)
	var fees, burns, minted, emitted work.Amount
	for _, b := range one {
		for _, e := range b.Events {
			switch {
			case e.Kind == lifecycle.EventBatch && e.Phase == lifecycle.Settled:
				settled++
			case e.Kind == lifecycle.EventBatch && e.Phase == lifecycle.Void:
				voided++
			case e.Kind == lifecycle.EventJob:
				jobs++
			case e.Kind == lifecycle.EventTransfer:
				sums[e.Transfer.Reason] += e.Transfer.Amount
				switch t := e.Transfer; {
				case t.ToPot == lifecycle.PotBurn && t.Reason == lifecycle.ReasonFeeBurn:
					fees += t.Amount
				case t.ToPot == lifecycle.PotBurn:
					burns += t.Amount
				case t.FromPot == lifecycle.PotMint && t.Reason == lifecycle.ReasonMint:
					minted += t.Amount
				case t.FromPot == lifecycle.PotMint:
					emitted += t.Amount
				}
			}
		}
	}
	if settled != s.ended[lifecycle.Settled] || voided != s.ended[lifecycle.Void] || jobs < 2 {
		s.Errorf("events tell of %d settled and %d void batches and %d changes of jobs, there were %v", settled, voided, jobs, s.ended)
	}
	v := s.supply()
	if fees != v.FeeBurn || burns != v.SlashBurn || minted != v.Minted || emitted != v.MintedCommons {
		s.Errorf("events tell burns of %d and %d, mints of %d and %d; the supply is %+v", fees, burns, minted, emitted, v)
	}
	if sums[lifecycle.ReasonEscrow] != 250*gtg {
		s.Errorf("events tell escrows of %d", sums[lifecycle.ReasonEscrow])
	}
}
