package fake

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// store is lifecycle.State over maps. Records are copied when they are read and
// when they are set, so that nobody shares memory with them. Every change pushes
// its undo.
type store struct {
	chain  string
	params lifecycle.Params
	height int64       // of the block being made
	beacon []work.Hash // by height, from 0
	// skipped are the heights that were decided after a skipped turn.
	skipped map[int64]bool
	steer   func(height int64, value work.Hash) (work.Hash, bool)

	validators  []lifecycle.ValidatorPower
	jobs        map[work.JobID]*lifecycle.Job
	batches     map[work.BatchID]*lifecycle.Batch
	records     map[lifecycle.PartyKey]*lifecycle.Party
	taken       map[takenKey]work.RangeSet
	court       lifecycle.Court
	queue       map[uint64]work.BatchID
	suspensions map[work.Hash]*lifecycle.Suspension
	commons     *lifecycle.Commons
	evidence    map[work.BatchID][]lifecycle.Part
	proposals   map[uint64]*proposal // from 1 on, without a gap

	due        map[int64]map[wake]bool
	jobOrder   []work.JobID
	batchOrder map[work.JobID][]work.BatchID
	parties    map[lifecycle.Role][]work.Address // sorted

	pots map[pot]work.Amount
	flow flow

	touchedJobs    map[work.JobID]bool // since the block began
	touchedParties map[lifecycle.PartyKey]bool

	events []lifecycle.Event
	undo   []func()
	final  bool // what is done now is never undone
}

// pot is one place where money lies.
type pot struct {
	kind    lifecycle.Pot
	account work.Address
	role    lifecycle.Role
	job     work.JobID
}

// Pots that the machine does not know.
const (
	potDeposit lifecycle.Pot = 200 + iota // of an account in proposals to governance
	potStaked                             // a validator's stake: 1 gtg for each 1 of power
)

// flow is the money of each kind of pot, and what ever entered and left the supply.
type flow struct {
	in                    [256]work.Amount // by lifecycle.Pot
	genesis               work.Amount
	feeBurn, slashBurn    work.Amount
	minted, mintedCommons work.Amount
}

type takenKey struct {
	job      work.JobID
	provider work.Address
}

// wake is one id that wakes at a height.
type wake struct {
	kind  byte // j, b or p
	id    work.Hash
	party lifecycle.PartyKey
}

var _ lifecycle.State = (*store)(nil)

func newStore(c Config) *store {
	var e work.Encoder
	e.String(c.Chain)
	e.U64(c.Seed)
	s := &store{
		chain: c.Chain, params: c.Params, steer: c.Steer, skipped: map[int64]bool{}, beacon: []work.Hash{work.Sum("gotong/fakebeacon/1", e.Bytes())},
		jobs: map[work.JobID]*lifecycle.Job{}, batches: map[work.BatchID]*lifecycle.Batch{}, records: map[lifecycle.PartyKey]*lifecycle.Party{},
		taken: map[takenKey]work.RangeSet{}, queue: map[uint64]work.BatchID{}, suspensions: map[work.Hash]*lifecycle.Suspension{},
		commons: &lifecycle.Commons{}, evidence: map[work.BatchID][]lifecycle.Part{}, proposals: map[uint64]*proposal{},
		pots: map[pot]work.Amount{}, due: map[int64]map[wake]bool{},
		batchOrder: map[work.JobID][]work.BatchID{}, parties: map[lifecycle.Role][]work.Address{}, final: true,
	}
	for a, v := range c.Genesis {
		s.setPot(pot{kind: lifecycle.PotAccount, account: a}, v)
		s.flow.genesis += v
		if s.flow.genesis < v {
			panic("fake: genesis balances overflow")
		}
	}
	s.setValidators(c.Validators)
	s.nextBlock()
	return s
}

// setValidators replaces the validators: their stake comes from outside.
func (s *store) setValidators(v []lifecycle.ValidatorPower) {
	final := s.final
	s.final = true
	defer func() { s.final = final }()
	for _, old := range s.validators {
		s.flow.genesis -= s.pots[staked(old.Account)]
		s.setPot(staked(old.Account), 0)
	}
	s.validators = slices.Clone(v)
	slices.SortFunc(s.validators, func(a, b lifecycle.ValidatorPower) int { return cmp.Compare(a.Account, b.Account) })
	for _, v := range s.validators {
		stake, err := work.MulDiv(work.UgtgPerGtg, uint64(max(v.Power, 0)), 1)
		if err != nil {
			panic(fmt.Sprintf("fake: validator %s of power %d: %v", v.Account, v.Power, err))
		}
		s.setPot(staked(v.Account), stake)
		s.flow.genesis += stake
	}
}

func staked(a work.Address) pot { return pot{kind: potStaked, account: a} }

// nextBlock begins a block: a height, its beacon, no events.
func (s *store) nextBlock() {
	s.height++
	var e work.Encoder
	e.U64(uint64(s.height))
	last := s.beacon[len(s.beacon)-1]
	value := work.Sum("gotong/fakebeacon/1", last[:], e.Bytes())
	if s.steer != nil {
		var skips bool
		if value, skips = s.steer(s.height, value); skips {
			s.skipped[s.height] = true
		}
	}
	s.beacon = append(s.beacon, value)
	s.events = nil
	s.touchedJobs, s.touchedParties = map[work.JobID]bool{}, map[lifecycle.PartyKey]bool{}
}

// begin starts a transaction; what was done before can no longer be undone.
func (s *store) begin() { s.undo, s.final = s.undo[:0], false }

// beginFinal starts changes that nobody will undo.
func (s *store) beginFinal() { s.undo, s.final = s.undo[:0], true }

// rollback undoes the transaction.
func (s *store) rollback() {
	for _, u := range slices.Backward(s.undo) {
		u()
	}
	s.undo = s.undo[:0]
}

// later remembers how to undo what follows.
func (s *store) later(undo func()) {
	if !s.final {
		s.undo = append(s.undo, undo)
	}
}

// put sets m[k] with its undo.
func put[K comparable, V any](s *store, m map[K]V, k K, v V) {
	if !s.final {
		old, had := m[k]
		s.undo = append(s.undo, func() {
			if had {
				m[k] = old
			} else {
				delete(m, k)
			}
		})
	}
	m[k] = v
}

// drop takes k out of m with its undo.
func drop[K comparable, V any](s *store, m map[K]V, k K) {
	if old, had := m[k]; had {
		s.later(func() { m[k] = old })
		delete(m, k)
	}
}

// put1 sets a variable with its undo.
func put1[V any](s *store, at *V, v V) {
	if !s.final {
		old := *at
		s.undo = append(s.undo, func() { *at = old })
	}
	*at = v
}

// Chain implements lifecycle.State, as do the methods that follow.
func (s *store) Chain() string                     { return s.chain }
func (s *store) Height() int64                     { return s.height }
func (s *store) Params() (lifecycle.Params, error) { return s.params, nil }
func (s *store) Validators() ([]lifecycle.ValidatorPower, error) {
	return slices.Clone(s.validators), nil
}

func (s *store) WakeJob(height int64, id work.JobID) error {
	return s.wake(height, wake{kind: 'j', id: id})
}

func (s *store) WakeBatch(height int64, id work.BatchID) error {
	return s.wake(height, wake{kind: 'b', id: id})
}

func (s *store) WakeParty(height int64, r lifecycle.Role, a work.Address) error {
	return s.wake(height, wake{kind: 'p', party: lifecycle.PartyKey{Role: r, Account: a}})
}

func (s *store) Beacon(height int64) (work.Hash, error) {
	if height < 0 || height > s.height {
		return work.Hash{}, fmt.Errorf("beacon of height %d: %w", height, lifecycle.ErrNotFound)
	}
	return s.beacon[height], nil
}

func (s *store) Skipped(height int64) (bool, error) { return s.skipped[height], nil }

// read copies a record out.
func read[K comparable, V any](m map[K]*V, k K, clone func(*V) *V) (*V, error) {
	v, ok := m[k]
	if !ok {
		return nil, lifecycle.ErrNotFound
	}
	return clone(v), nil
}

func (s *store) Job(id work.JobID) (*lifecycle.Job, error) { return read(s.jobs, id, cloneJob) }

func (s *store) Batch(id work.BatchID) (*lifecycle.Batch, error) {
	return read(s.batches, id, cloneBatch)
}

func (s *store) Party(r lifecycle.Role, a work.Address) (*lifecycle.Party, error) {
	return read(s.records, lifecycle.PartyKey{Role: r, Account: a}, cloneParty)
}

func (s *store) SetJob(j *lifecycle.Job) error {
	s.touchedJobs[j.ID] = true
	if _, had := s.jobs[j.ID]; !had {
		n := len(s.jobOrder)
		s.later(func() { s.jobOrder = s.jobOrder[:n] })
		s.jobOrder = append(s.jobOrder, j.ID)
	}
	put(s, s.jobs, j.ID, cloneJob(j))
	return nil
}

func (s *store) SetBatch(b *lifecycle.Batch) error {
	if _, had := s.batches[b.ID]; !had {
		l := s.batchOrder[b.Job]
		n := len(l)
		s.later(func() { s.batchOrder[b.Job] = s.batchOrder[b.Job][:n] })
		s.batchOrder[b.Job] = append(l, b.ID)
	}
	put(s, s.batches, b.ID, cloneBatch(b))
	return nil
}

func (s *store) SetParty(p *lifecycle.Party) error {
	k := lifecycle.PartyKey{Role: p.Role, Account: p.Account}
	s.touchedParties[k] = true
	if _, had := s.records[k]; !had {
		old := s.parties[p.Role]
		at, _ := slices.BinarySearch(old, p.Account)
		put(s, s.parties, p.Role, slices.Insert(slices.Clone(old), at, p.Account))
	}
	put(s, s.records, k, cloneParty(p))
	return nil
}

func (s *store) Parties(r lifecycle.Role) ([]*lifecycle.Party, error) {
	out := make([]*lifecycle.Party, 0, len(s.parties[r]))
	for _, a := range s.parties[r] {
		out = append(out, cloneParty(s.records[lifecycle.PartyKey{Role: r, Account: a}]))
	}
	return out, nil
}

func (s *store) Taken(job work.JobID, a work.Address) (work.RangeSet, error) {
	v, ok := s.taken[takenKey{job, a}]
	if !ok {
		return nil, lifecycle.ErrNotFound
	}
	return slices.Clone(v), nil
}

func (s *store) SetTaken(job work.JobID, a work.Address, items work.RangeSet) error {
	put(s, s.taken, takenKey{job, a}, slices.Clone(items))
	return nil
}

func (s *store) Court() (lifecycle.Court, error) { return s.court, nil }

func (s *store) SetCourt(c lifecycle.Court) error {
	put1(s, &s.court, c)
	return nil
}

func (s *store) Queued(number uint64) (work.BatchID, error) {
	id, ok := s.queue[number]
	if !ok {
		return id, fmt.Errorf("place %d of the queue: %w", number, lifecycle.ErrNotFound)
	}
	return id, nil
}

func (s *store) SetQueued(number uint64, id work.BatchID) error {
	if id == (work.BatchID{}) {
		drop(s, s.queue, number)
	} else {
		put(s, s.queue, number, id)
	}
	return nil
}

func (s *store) Suspension(program work.Hash) (*lifecycle.Suspension, error) {
	return read(s.suspensions, program, cloneSuspension)
}

func (s *store) SetSuspension(program work.Hash, v *lifecycle.Suspension) error {
	if v == nil || len(v.Batches) == 0 {
		drop(s, s.suspensions, program)
	} else {
		put(s, s.suspensions, program, cloneSuspension(v))
	}
	return nil
}

func (s *store) Commons() (*lifecycle.Commons, error) { return cloneCommons(s.commons), nil }

func (s *store) SetCommons(c *lifecycle.Commons) error {
	put1(s, &s.commons, cloneCommons(c))
	return nil
}

func (s *store) SetEvidence(id work.BatchID, parts []lifecycle.Part) error {
	put(s, s.evidence, id, cloneParts(parts))
	return nil
}

// SlashValidator burns a share of a validator's stake, but leaves it the least that
// has power, as the chain does.
func (s *store) SlashValidator(validator work.Address, permille uint64) error {
	at := slices.IndexFunc(s.validators, func(v lifecycle.ValidatorPower) bool { return v.Account == validator })
	if at < 0 {
		return nil // it validates no more
	}
	stake := s.pots[staked(validator)]
	lost, err := work.MulDiv(stake, min(permille, 1000), 1000)
	if err != nil {
		return err
	}
	lost = min(lost, stake-min(stake, work.UgtgPerGtg))
	s.setPot(staked(validator), stake-lost)
	put1(s, &s.flow.slashBurn, s.flow.slashBurn+lost)
	left := slices.Clone(s.validators)
	left[at].Power = int64((stake - lost) / work.UgtgPerGtg)
	put1(s, &s.validators, left)
	return nil
}

func (s *store) wake(height int64, w wake) error {
	if height < s.height {
		return fmt.Errorf("wake at height %d, which is over", height)
	}
	if s.due[height] == nil {
		put(s, s.due, height, map[wake]bool{})
	}
	put(s, s.due[height], w, true)
	return nil
}

func (s *store) Due(height int64) (lifecycle.Due, error) {
	var d lifecycle.Due
	for w := range s.due[height] {
		switch w.kind {
		case 'j':
			d.Jobs = append(d.Jobs, w.id)
		case 'b':
			d.Batches = append(d.Batches, w.id)
		default:
			d.Parties = append(d.Parties, w.party)
		}
	}
	byID := func(a, b work.Hash) int { return bytes.Compare(a[:], b[:]) }
	slices.SortFunc(d.Jobs, byID)
	slices.SortFunc(d.Batches, byID)
	slices.SortFunc(d.Parties, func(a, b lifecycle.PartyKey) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Account, b.Account))
	})
	delete(s.due, height)
	return d, nil
}

func (s *store) Emit(e lifecycle.Event) {
	n := len(s.events)
	s.later(func() { s.events = s.events[:n] })
	s.events = append(s.events, e)
}

// potOf is the pot of one side of a transfer.
func potOf(kind lifecycle.Pot, account work.Address, t lifecycle.Transfer, job work.JobID) pot {
	switch kind {
	case lifecycle.PotAccount, lifecycle.PotVesting, potDeposit:
		return pot{kind: kind, account: account}
	case lifecycle.PotEscrow, lifecycle.PotCheckEscrow:
		return pot{kind: kind, job: job}
	case lifecycle.PotBond:
		return pot{kind: kind, account: account, role: t.Role}
	case lifecycle.PotStake:
		return pot{kind: kind, account: account, job: job}
	}
	return pot{kind: kind}
}

func (s *store) Move(job work.JobID, t lifecycle.Transfer) error {
	from, to := potOf(t.FromPot, t.From, t, job), potOf(t.ToPot, t.To, t, job)
	if t.FromPot == lifecycle.PotMint {
		if err := s.mint(t); err != nil {
			return err
		}
	} else {
		left, err := s.pots[from].Sub(t.Amount)
		if err != nil {
			return fmt.Errorf("%w: %s has %s", lifecycle.ErrFunds, t.From, s.pots[from])
		}
		s.setPot(from, left)
	}
	if t.ToPot == lifecycle.PotBurn {
		s.burn(t)
		return nil
	}
	sum, err := s.pots[to].Add(t.Amount)
	if err != nil {
		return err
	}
	s.setPot(to, sum)
	return nil
}

// setPot says what a pot holds, follows the sum of its kind, and has its record
// looked at when the block ends.
func (s *store) setPot(p pot, now work.Amount) {
	was := s.pots[p]
	put(s, s.pots, p, now)
	put1(s, &s.flow.in[p.kind], s.flow.in[p.kind]-was+now)
	switch p.kind {
	case lifecycle.PotEscrow, lifecycle.PotCheckEscrow:
		s.touchedJobs[p.job] = true
	case lifecycle.PotBond:
		s.touchedParties[lifecycle.PartyKey{Role: p.role, Account: p.account}] = true
	case lifecycle.PotVesting:
		s.touchedParties[lifecycle.PartyKey{Role: lifecycle.RoleProvider, Account: p.account}] = true
	}
}

func (s *store) mint(t lifecycle.Transfer) error {
	switch t.Reason {
	case lifecycle.ReasonMint:
		put1(s, &s.flow.minted, s.flow.minted+t.Amount)
	case lifecycle.ReasonEmission:
		put1(s, &s.flow.mintedCommons, s.flow.mintedCommons+t.Amount)
	default:
		return fmt.Errorf("nothing is minted as %q", t.Reason)
	}
	return nil
}

func (s *store) burn(t lifecycle.Transfer) {
	if t.Reason == lifecycle.ReasonFeeBurn {
		put1(s, &s.flow.feeBurn, s.flow.feeBurn+t.Amount)
	} else {
		put1(s, &s.flow.slashBurn, s.flow.slashBurn+t.Amount)
	}
}

func (s *store) supply() ledger.Supply {
	f := &s.flow
	v := ledger.Supply{FeeBurn: f.feeBurn, SlashBurn: f.slashBurn, Minted: f.minted, MintedCommons: f.mintedCommons,
		Escrowed: f.in[lifecycle.PotEscrow] + f.in[lifecycle.PotCheckEscrow] + f.in[lifecycle.PotStake],
		Bonded:   f.in[lifecycle.PotBond], Unvested: f.in[lifecycle.PotVesting], CommonsPool: f.in[lifecycle.PotCommons]}
	for _, a := range f.in {
		v.Total += a
	}
	return v
}
