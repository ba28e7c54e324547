package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/math"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	govv1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
)

// The operations of the simulation. Kinds that begin with "!" are senseless on
// purpose: all of them are refused.

// simJob is a job that somebody wanted to post.
type simJob struct {
	id      work.JobID
	spec    work.JobSpec
	indexer sign.PrivateKey
	commons bool
}

// simBatch is a provider's side of a batch, and how everybody else behaves about it.
type simBatch struct {
	id       work.BatchID
	job      work.JobID
	client   work.Address
	provider work.Address
	items    work.RangeSet
	leaves   []work.Leaf
	nodes    []work.Node
	salt     work.Hash
	ring     bool // its checkers echo the provider
	idle     int  // blocks in which it had no deadline and waited for nobody
}

// prelude has everybody bonded and some jobs posted, so that short runs come to
// something.
func (s *sim) prelude() {
	for i, a := range s.accounts {
		for _, role := range []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker} {
			s.msg(a, ledger.Register{Role: role, Peer: sign.PublicKey{byte(i), 1}, Bond: 200 * gtg})
		}
	}
	for i := range 3 {
		s.msg(s.accounts[i], ledger.Register{Role: lifecycle.RoleIndexer, Peer: s.indexerKey(i).Public(), Bond: 100 * gtg})
		s.createJob()
	}
}

// operate sends one random operation.
func (s *sim) operate() {
	kinds := []struct {
		weight int
		do     func()
	}{
		{120, s.duty}, {4, s.createJob}, {8, s.commitBatch}, {3, s.commitCommons}, {1, s.cancelJob}, {4, s.register}, {1, s.unbond},
		{2, s.equivocate}, {3, s.handOver}, {2, s.accuse}, {2, s.send}, {3, s.stake}, {3, s.propose}, {3, s.vote}, {2, s.garbage},
	}
	sum := 0
	for _, k := range kinds {
		sum += k.weight
	}
	at := s.rng.IntN(sum)
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			k.do()
			return
		}
	}
}

// msg sends messages of the ledger port.
func (s *sim) msg(from work.Address, m ledger.Msg) {
	v, err := cosmos.Message(from, m)
	if err != nil {
		s.fatal("%T: %v", m, err)
	}
	s.raw(strings.TrimPrefix(fmt.Sprintf("%T", m), "ledger."), from, v)
}

func (s *sim) raw(kind string, from work.Address, m proto.Message) {
	if err := s.chain.Send(from, m); err != nil {
		s.fatal("%s: %v", kind, err)
	}
	s.sent = append(s.sent, kind)
}

func (s *sim) chance(permille int) bool { return s.rng.IntN(1000) < permille }

func pick[T any](s *sim, l []T) T { return l[s.rng.IntN(len(l))] }

func (s *sim) account() work.Address { return pick(s, s.accounts) }

// due picks one of those from whom something is awaited, most often.
func due[T any](s *sim, l []T, awaited func(T) bool) T {
	for range 6 {
		if v := pick(s, l); awaited(v) {
			return v
		}
	}
	return pick(s, l)
}

// amount is a random amount, most often small.
func (s *sim) amount(most work.Amount) work.Amount {
	return work.Amount(s.rng.Uint64N(uint64(most) >> s.rng.IntN(12)))
}

func (s *sim) indexerKey(i int) sign.PrivateKey { return sign.FromSeed([32]byte{1: byte(i), 2: 3}) }

func (s *sim) spec(client work.Address) simJob {
	s.nonce++
	i := s.rng.IntN(3)
	k := s.indexerKey(i)
	v := work.JobSpec{
		Chain: simChain, Client: client, Nonce: s.nonce, Program: work.BlobID{Root: work.Hash{byte(s.rng.IntN(6))}, Size: 1}, Profile: "gw1",
		Items: work.BlobID{Root: work.Hash{2}, Size: 1}, ItemCount: 1 + s.rng.Uint64N(60),
		Limits: work.Limits{MemoryBytes: 1, Fuel: 1e10, OutputBytes: 1}, Tier: work.Tier(1 + s.rng.IntN(3)), MaxPrice: work.Price(1 + s.rng.Uint64N(2e6)),
		Escrow: 1 + s.amount(200*gtg), CheckEscrow: s.amount(50 * gtg), Indexer: k.Public(), IndexerOwner: client, MaxCopies: 1 + uint32(s.rng.IntN(2)),
		DeadlineHeight: s.chain.Height() + 5 + s.rng.Int64N(120),
	}
	if s.chance(300) {
		v.IndexerOwner, v.IndexerPermille = s.accounts[i], s.rng.Uint32N(1001) // which may be bonded with this key
	}
	return simJob{id: v.ID(), spec: v, indexer: k}
}

func (s *sim) createJob() {
	j := s.spec(s.account())
	if s.chance(700) {
		j.spec.MaxPrice, j.spec.Escrow = 1e6, 50*gtg
		j.id = j.spec.ID()
	}
	s.addJob(&j)
	s.msg(j.spec.Client, ledger.CreateJob{Spec: j.spec})
}

// addJob keeps the latest jobs.
func (s *sim) addJob(j *simJob) {
	s.jobs = append(s.jobs, j)
	s.jobs = s.jobs[max(0, len(s.jobs)-12):]
}

func (s *sim) cancelJob() {
	if len(s.jobs) == 0 {
		return
	}
	j := pick(s, s.jobs)
	m := ledger.CancelJob{Job: j.id}
	if s.chance(300) {
		sig := j.indexer.Sign(lifecycle.ReleaseTag, lifecycle.ReleaseMessage(simChain, j.id))
		m.Release = &sig
	}
	s.msg(j.spec.Client, m)
}

// truth is what an item gives.
func truth(job work.JobID, i uint64) work.Leaf {
	var e work.Encoder
	e.Hash(job)
	e.U64(i)
	h := work.Sum("sim", e.Bytes())
	return work.Leaf{Input: h, Output: work.Sum("out", h[:]), Outcome: work.Outcome{Kind: work.Exited}, Fuel: 1e8 + work.Fuel(h[0])*1e7, Memory: h}
}

// maxLive is how many batches may be under way: more than that nobody serves.
const maxLive = 60

func (s *sim) commitBatch() {
	if len(s.jobs) == 0 || len(s.batches) > maxLive {
		return
	}
	j := pick(s, s.jobs)
	if j.commons {
		return
	}
	lo := s.rng.Uint64N(j.spec.ItemCount)
	items := work.NewRangeSet(work.Range{Lo: lo, Hi: min(lo+1+s.rng.Uint64N(12), j.spec.ItemCount)})
	provider := s.account()
	a := work.Assignment{Chain: simChain, Job: j.id, Provider: provider, Attempt: 1, Ranges: items, Price: min(j.spec.MaxPrice, 1e6), ExpiresHeight: s.chain.Height() + 10}
	a.Sign(j.indexer)
	if s.chance(30) {
		a.Price++ // not what was signed
	}
	s.commit(j, provider, lifecycle.Part{Assignment: a, Items: items})
}

// commitCommons commits what the beacon drew for somebody.
func (s *sim) commitCommons() {
	if len(s.commons.Epochs) == 0 || len(s.commons.Epochs[0].Jobs) == 0 {
		return
	}
	e := &s.commons.Epochs[0]
	provider, id := s.account(), pick(s, e.Jobs)
	slot := e.Slot(id, provider, uint32(s.rng.IntN(lifecycle.CommonsDraws)), s.params.CommonsChunkItems)
	if len(slot) == 0 {
		return
	}
	at := s.rng.Uint64N(slot.Len())
	items := work.NewRangeSet(work.Range{Lo: slot.At(at), Hi: slot.At(at) + 1}, work.Range{Lo: slot.At(0), Hi: slot.At(0) + 1})
	for _, j := range s.jobs {
		if j.id == id {
			s.commit(j, provider, lifecycle.Part{Items: items})
			return
		}
	}
}

func (s *sim) commit(j *simJob, provider work.Address, part lifecycle.Part) {
	s.nonce++
	var e work.Encoder
	e.U64(s.nonce)
	r := &simBatch{job: j.id, client: j.spec.Client, provider: provider, items: part.Items, salt: work.Sum("salt", e.Bytes()), ring: s.chance(80)}
	lies := 0
	if s.chance(120) || r.ring {
		lies = 100 << s.rng.IntN(4)
	}
	var most work.Fuel
	for k := range part.Items.Len() {
		l := truth(j.id, part.Items.At(k))
		if s.chance(lies) {
			l.Output = work.Sum("lie", e.Bytes())
		}
		r.leaves = append(r.leaves, l)
		r.nodes = append(r.nodes, work.ItemNode(l.Fuel, l.Hash(), work.ItemSalt(r.salt, j.id, k)))
		most = max(most, l.Fuel)
	}
	root, err := work.Root(r.nodes)
	if err != nil {
		s.fatal("%v", err)
	}
	r.id = work.BatchIDOf(simChain, j.id, provider, part.Items, root)
	s.batches = append(s.batches, r)
	s.msg(provider, ledger.CommitBatch{Job: j.id, Parts: []lifecycle.Part{part}, Root: root, MaxItemFuel: most})
}

// duty does something that a random batch waits for; now and then it is wrong.
func (s *sim) duty() {
	if len(s.batches) == 0 {
		return
	}
	r := pick(s, s.batches)
	b := s.record(r.id)
	for try := 0; try < 8 && (b == nil || b.Phase.Final() || b.Phase == lifecycle.Committed || b.Phase == lifecycle.Queued || b.Phase == lifecycle.Window && b.Deadline == 0); try++ {
		r = pick(s, s.batches)
		b = s.record(r.id)
	}
	if b == nil {
		return
	}
	switch b.Phase {
	case lifecycle.Opening:
		s.open(r, b)
	case lifecycle.Checking:
		s.check(r, b)
	case lifecycle.Revealing:
		s.reveal(r, b)
	case lifecycle.Window:
		if r.ring || s.chance(200) {
			s.challenge(r, b)
		}
	case lifecycle.Answering:
		at := b.Dispute.Items[0].Position
		path, err := work.Path(r.nodes, at)
		if err != nil {
			s.fatal("%v", err)
		}
		if s.chance(950) {
			s.msg(r.provider, ledger.AnswerChallenge{Batch: r.id, Opening: lifecycle.ItemOpening{Position: at, Node: r.nodes[at], Path: path}, Leaf: r.leaves[at]})
		}
	case lifecycle.Voting:
		v := due(s, b.Dispute.Votes, func(v lifecycle.Vote) bool { return !v.Committed })
		s.msg(v.Validator, ledger.CommitVote{Batch: r.id, Commitment: lifecycle.VoteCommitment(simChain, r.id, v.Validator, s.votes(r, b, v.Validator), r.salt)})
	case lifecycle.Tallying:
		v := due(s, b.Dispute.Votes, func(v lifecycle.Vote) bool { return v.Committed && !v.Revealed })
		s.msg(v.Validator, ledger.RevealVote{Batch: r.id, Salt: r.salt, Leaves: s.votes(r, b, v.Validator)})
	}
}

func (s *sim) open(r *simBatch, b *lifecycle.Batch) {
	l, err := b.Openings(r.nodes)
	if err != nil {
		s.fatal("%v", err)
	}
	if s.chance(30) {
		l = slices.Clone(l[:len(l)-1])
	}
	if s.chance(980) {
		s.msg(r.provider, ledger.OpenBatch{Batch: r.id, Openings: l})
	}
}

// mood is how an account behaves about a batch: the same number whenever it is asked.
func mood(a work.Address, id work.BatchID) int {
	h := work.Sum("mood", []byte(a), id[:])
	return (int(h[0])<<8 | int(h[1])) % 1000
}

// checked is what a checker finds, or says that it found.
func (s *sim) checked(r *simBatch, b *lifecycle.Batch, c *lifecycle.Check) (l []work.Leaf) {
	for _, d := range c.Draws {
		at := b.Draws[d].Position
		leaf := truth(r.job, r.items.At(at))
		switch m := mood(c.Checker, r.id); {
		case r.ring:
			leaf = r.leaves[at]
		case m < 30:
			leaf.Memory = work.Hash{1}
		case m < 80:
			leaf = lifecycle.Unavailable
		}
		l = append(l, leaf)
	}
	return l
}

// votes is what a validator finds: of a claim of non-delivery, whether it got what
// the provider says.
func (s *sim) votes(r *simBatch, b *lifecycle.Batch, validator work.Address) (l []work.Leaf) {
	for _, i := range b.Dispute.Items {
		leaf := truth(r.job, r.items.At(i.Position))
		if b.Dispute.Delivery {
			leaf = i.Claims[0].Leaf
			if mood("", r.id) < 300 {
				leaf = lifecycle.Unavailable
			}
		}
		switch m := mood(validator, r.id); {
		case m < 60:
			leaf.Memory = work.Hash{2}
		case m < 100:
			leaf = lifecycle.Unavailable
		}
		l = append(l, leaf)
	}
	return l
}

func (s *sim) check(r *simBatch, b *lifecycle.Batch) {
	c := due(s, b.Checks, func(c lifecycle.Check) bool { return c.CommitHeight == 0 && !c.Missed })
	if s.chance(970) {
		s.msg(c.Checker, ledger.CommitCheck{Batch: r.id, Commitment: lifecycle.CheckCommitment(simChain, r.id, c.Checker, s.checked(r, b, &c), r.salt)})
	}
}

func (s *sim) reveal(r *simBatch, b *lifecycle.Batch) {
	if b.Salt.IsZero() && s.chance(500) {
		var l []work.Leaf
		for _, d := range b.Draws {
			l = append(l, r.leaves[d.Position])
		}
		s.msg(r.provider, ledger.RevealBatch{Batch: r.id, Salt: r.salt, Leaves: l})
		return
	}
	if len(b.Checks) == 0 {
		return
	}
	c := due(s, b.Checks, func(c lifecycle.Check) bool { return c.CommitHeight > 0 && !c.Revealed })
	s.msg(c.Checker, ledger.RevealCheck{Batch: r.id, Salt: r.salt, Leaves: s.checked(r, b, &c)})
}

// challenge accuses a batch in its window: rightly, wrongly, or of not delivering.
func (s *sim) challenge(r *simBatch, b *lifecycle.Batch) {
	at := s.rng.Uint64N(b.N)
	if !r.ring && s.chance(300) {
		s.msg(r.client, ledger.ClaimDelivery{Batch: r.id, Position: at})
		return
	}
	for k := range b.N { // a wrong item, if there is one
		if r.leaves[k] != truth(r.job, r.items.At(k)) && s.chance(800) {
			at = k
		}
	}
	for _, d := range b.Draws { // best one that the ring said is right
		if r.ring && d.Opened && r.leaves[d.Position] != truth(r.job, r.items.At(d.Position)) {
			at = d.Position
		}
	}
	leaf := truth(r.job, r.items.At(at))
	if leaf == r.leaves[at] || s.chance(100) {
		if s.chance(700) {
			return
		}
		leaf.Output = work.Hash{9}
	}
	s.msg(s.account(), ledger.Challenge{Batch: r.id, Position: at, Leaf: leaf})
}

// accuse does the same whatever phase the batch is in.
func (s *sim) accuse() {
	if len(s.batches) == 0 {
		return
	}
	r := pick(s, s.batches)
	if b := s.record(r.id); b != nil {
		s.challenge(r, b)
	}
}

func (s *sim) register() {
	role := lifecycle.Role(1 + s.rng.IntN(3))
	bond := 1 + s.amount(200*gtg)
	if s.chance(600) {
		bond = 100 * gtg
	}
	i := s.rng.IntN(len(s.accounts))
	peer := sign.PublicKey{byte(i), 1}
	if role == lifecycle.RoleIndexer {
		i %= 3
		peer = s.indexerKey(i).Public()
	}
	s.msg(s.accounts[i], ledger.Register{Role: role, Peer: peer, Bond: bond})
}

func (s *sim) unbond() {
	s.msg(s.account(), ledger.Unbond{Role: lifecycle.Role(1 + s.rng.IntN(3)), Amount: 1 + s.amount(60*gtg)})
}

func (s *sim) equivocate() {
	if len(s.jobs) == 0 || s.chance(700) {
		return
	}
	j := pick(s, s.jobs)
	items := work.NewRangeSet(work.Range{Lo: 0, Hi: 1 + s.rng.Uint64N(5)})
	a := work.Assignment{Chain: simChain, Job: j.id, Provider: s.account(), Attempt: 1, Ranges: items, Price: 1, ExpiresHeight: s.chain.Height() + 10}
	b := a
	b.Provider = s.account()
	a.Sign(j.indexer)
	b.Sign(j.indexer)
	s.msg(s.account(), ledger.ReportEquivocation{Job: j.id, A: a, B: b})
}

// handOver lets indexers claim jobs and answer, and clients move them.
func (s *sim) handOver() {
	if len(s.jobs) == 0 {
		return
	}
	j, i := pick(s, s.jobs), s.rng.IntN(3)
	switch s.rng.IntN(4) {
	case 0, 1:
		s.msg(s.accounts[i], ledger.TakeOver{Job: j.id})
	case 2:
		s.msg(pick(s, []work.Address{j.spec.IndexerOwner, s.account()}), ledger.KeepJob{Job: j.id})
	case 3:
		s.msg(j.spec.Client, ledger.Reassign{Job: j.id, Indexer: s.indexerKey(i).Public(), Owner: pick(s, []work.Address{j.spec.Client, s.accounts[i]})})
	}
}

func (s *sim) send() { s.msg(s.account(), ledger.Send{To: s.account(), Amount: 1 + s.amount(100*gtg)}) }

func coin(a work.Amount) sdk.Coin { return sdk.NewCoin(work.Denom, math.NewIntFromUint64(uint64(a))) }

// operator is a random validator.
func (s *sim) operator() string {
	raw, err := sdk.AccAddressFromBech32(string(s.accounts[s.rng.IntN(simValidators)]))
	if err != nil {
		s.fatal("%v", err)
	}
	return sdk.ValAddress(raw).String()
}

// stake moves stakes; the operators keep theirs.
func (s *sim) stake() {
	from := pick(s, s.accounts[simValidators:])
	amount := coin(1 + s.amount(20*gtg))
	switch s.rng.IntN(4) {
	case 0:
		s.raw("MsgDelegate", from, &stakingtypes.MsgDelegate{DelegatorAddress: string(from), ValidatorAddress: s.operator(), Amount: amount})
	case 1:
		s.raw("MsgUndelegate", from, &stakingtypes.MsgUndelegate{DelegatorAddress: string(from), ValidatorAddress: s.operator(), Amount: amount})
	case 2:
		s.raw("MsgBeginRedelegate", from, &stakingtypes.MsgBeginRedelegate{DelegatorAddress: string(from), ValidatorSrcAddress: s.operator(),
			ValidatorDstAddress: s.operator(), Amount: amount})
	default:
		s.raw("MsgWithdrawDelegatorReward", from, &distrtypes.MsgWithdrawDelegatorReward{DelegatorAddress: string(from), ValidatorAddress: s.operator()})
	}
}

// propose puts something before governance.
func (s *sim) propose() {
	from := s.account()
	if s.chance(200) {
		s.msg(from, ledger.Propose{Title: "decide", Message: ledger.Decide{Batch: s.someBatch(), Uphold: s.chance(500)}, Deposit: 10 * gtg})
	} else if s.chance(600) {
		j := s.spec(from)
		j.commons, j.spec.Escrow, j.spec.CheckEscrow, j.spec.MaxPrice = true, 0, 0, 1e6
		j.spec.DeadlineHeight += 30
		j.id = j.spec.ID()
		s.addJob(&j)
		s.msg(from, ledger.Propose{Title: "commons", Message: ledger.ApproveCommons{Spec: j.spec}, Deposit: 10 * gtg})
	} else if s.chance(500) {
		s.proposeParams(from)
	} else {
		s.raw("MsgCancelProposal", from, &govv1.MsgCancelProposal{ProposalId: s.proposal(), Proposer: string(from)})
		return
	}
	s.proposed++
}

// someBatch prefers a frozen one.
func (s *sim) someBatch() work.BatchID {
	for _, r := range s.batches {
		if b := s.record(r.id); b != nil && b.Phase == lifecycle.Frozen {
			return r.id
		}
	}
	return work.Hash{1}
}

func (s *sim) proposeParams(from work.Address) {
	p := s.params
	p.MintPermille, p.VestBlocks, p.MaxDisputes = s.rng.Uint64N(1100), s.rng.Int64N(40), uint32(s.rng.IntN(6))
	p.LookPermille, p.VestPermille, p.CommonsEmission = s.rng.Uint64N(1001), s.rng.Uint64N(1001), s.amount(100*gtg)
	raw, err := json.Marshal(p)
	if err != nil {
		s.fatal("%v", err)
	}
	authority := authtypes.NewModuleAddress(govtypes.ModuleName).String()
	inner, err := codectypes.NewAnyWithValue(&prooftypes.MsgUpdateParams{Authority: authority, Params: raw})
	if err != nil {
		s.fatal("%v", err)
	}
	s.raw("MsgSubmitProposal", from, &govv1.MsgSubmitProposal{Messages: []*codectypes.Any{inner}, InitialDeposit: sdk.NewCoins(coin(10 * gtg)), Proposer: string(from),
		Title: "parameters", Summary: "other ones"})
}

// proposal is one of the latest.
func (s *sim) proposal() uint64 {
	return max(1, s.proposed-min(s.proposed, s.rng.Uint64N(5)))
}

func (s *sim) vote() {
	voter := s.accounts[s.rng.IntN(simValidators)]
	option := govv1.OptionYes
	if s.chance(150) {
		option = pick(s, []govv1.VoteOption{govv1.OptionNo, govv1.OptionAbstain, govv1.OptionNoWithVeto})
	}
	s.raw("MsgVote", voter, &govv1.MsgVote{ProposalId: s.proposal(), Voter: string(voter), Option: option})
}

// garbage sends what no honest program sends.
func (s *sim) garbage() {
	from := s.account()
	noise := make([]byte, s.rng.IntN(80))
	for i := range noise {
		noise[i] = byte(s.rng.Uint32())
	}
	switch s.rng.IntN(6) {
	case 0:
		s.chain.SendRaw(append([]byte{10}, noise...))
		s.sent = append(s.sent, "!bytes")
	case 1:
		s.raw("!commit", from, &prooftypes.MsgCommitBatch{Sender: string(from), Job: noise, Parts: []*prooftypes.Part{{Assignment: noise}, {}}})
	case 2:
		s.raw("!open", from, &prooftypes.MsgOpenBatch{Sender: string(from), Batch: make([]byte, 32), Openings: []*prooftypes.Opening{{}, {Node: &prooftypes.Node{}}}})
	case 3:
		s.raw("!approve", from, mustMessage(cosmos.Message(from, ledger.ApproveCommons{})))
	case 4:
		s.raw("!decide", from, mustMessage(cosmos.Message(from, ledger.Decide{Batch: s.someBatch()})))
	default:
		s.raw("!register", from, mustMessage(cosmos.Message(from, ledger.Register{Role: 77, Bond: 1})))
	}
}

func mustMessage(m proto.Message, err error) proto.Message {
	if err != nil {
		panic(err)
	}
	return m
}
