package fake

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// store is lifecycle.State over maps. Records are kept as copies (clone.go), so that
// nobody shares memory with them. Every change pushes its undo.
type store struct {
	chain  string
	params lifecycle.Params
	height int64       // of the block being made
	beacon []work.Hash // by height, from 0
	steer  func(height int64, value work.Hash) work.Hash

	validators []lifecycle.ValidatorPower
	records    map[string]any // pointers to copies of their own
	pots       map[pot]work.Amount
	due        map[int64]map[wake]bool
	jobOrder   []work.JobID
	batchOrder map[work.JobID][]work.BatchID
	parties    map[lifecycle.Role][]work.Address // sorted

	genesis, feeBurn, slashBurn work.Amount
	touchedJobs                 map[work.JobID]bool // since the block began
	touchedParties              map[lifecycle.PartyKey]bool

	events []lifecycle.Event
	undo   []func()
}

// pot is one place where money lies.
type pot struct {
	kind    lifecycle.Pot
	account work.Address
	role    lifecycle.Role
	job     work.JobID
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
		chain: c.Chain, params: c.Params, steer: c.Steer, beacon: []work.Hash{work.Sum("gotong/fakebeacon/1", e.Bytes())},
		records: map[string]any{}, pots: map[pot]work.Amount{}, due: map[int64]map[wake]bool{},
		batchOrder: map[work.JobID][]work.BatchID{}, parties: map[lifecycle.Role][]work.Address{},
	}
	for a, v := range c.Genesis {
		sum, err := s.genesis.Add(v)
		if err != nil {
			panic("fake: genesis balances overflow")
		}
		s.genesis = sum
		s.pots[pot{kind: lifecycle.PotAccount, account: a}] = v
	}
	s.setValidators(c.Validators)
	s.nextBlock()
	return s
}

func (s *store) setValidators(v []lifecycle.ValidatorPower) {
	s.validators = slices.Clone(v)
	slices.SortFunc(s.validators, func(a, b lifecycle.ValidatorPower) int { return cmp.Compare(a.Account, b.Account) })
}

// nextBlock begins a block: a height, its beacon, no events.
func (s *store) nextBlock() {
	s.height++
	var e work.Encoder
	e.U64(uint64(s.height))
	last := s.beacon[len(s.beacon)-1]
	value := work.Sum("gotong/fakebeacon/1", last[:], e.Bytes())
	if s.steer != nil {
		value = s.steer(s.height, value)
	}
	s.beacon = append(s.beacon, value)
	s.events = nil
	s.touchedJobs, s.touchedParties = map[work.JobID]bool{}, map[lifecycle.PartyKey]bool{}
}

// begin starts a transaction; what was done before can no longer be undone.
func (s *store) begin() { s.undo = s.undo[:0] }

// rollback undoes the transaction.
func (s *store) rollback() {
	for _, u := range slices.Backward(s.undo) {
		u()
	}
	s.undo = s.undo[:0]
}

// put sets m[k] with its undo.
func put[K comparable, V any](s *store, m map[K]V, k K, v V) {
	old, had := m[k]
	s.undo = append(s.undo, func() {
		if had {
			m[k] = old
		} else {
			delete(m, k)
		}
	})
	m[k] = v
}

func (s *store) Chain() string                     { return s.chain }
func (s *store) Height() int64                     { return s.height }
func (s *store) Params() (lifecycle.Params, error) { return s.params, nil }
func (s *store) Validators() ([]lifecycle.ValidatorPower, error) {
	return slices.Clone(s.validators), nil
}
func jobKey(id work.JobID) string     { return "job/" + id.String() }
func batchKey(id work.BatchID) string { return "batch/" + id.String() }
func takenKey(job work.JobID, a work.Address) string {
	return "taken/" + job.String() + "/" + string(a)
}
func partyKey(r lifecycle.Role, a work.Address) string { return fmt.Sprintf("party/%d/%s", r, a) }
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

func get[T any](s *store, key string) (*T, error) {
	v, ok := s.records[key]
	if !ok {
		return nil, lifecycle.ErrNotFound
	}
	return clone(v.(*T)), nil
}

func set[T any](s *store, key string, v *T) (added bool, err error) {
	_, had := s.records[key]
	put(s, s.records, key, any(clone(v)))
	return !had, nil
}

func (s *store) Job(id work.JobID) (*lifecycle.Job, error) { return get[lifecycle.Job](s, jobKey(id)) }
func (s *store) Batch(id work.BatchID) (*lifecycle.Batch, error) {
	return get[lifecycle.Batch](s, batchKey(id))
}

func (s *store) Party(r lifecycle.Role, a work.Address) (*lifecycle.Party, error) {
	return get[lifecycle.Party](s, partyKey(r, a))
}

func (s *store) SetJob(j *lifecycle.Job) error {
	s.touchedJobs[j.ID] = true
	added, err := set(s, jobKey(j.ID), j)
	if added {
		old := s.jobOrder
		s.undo = append(s.undo, func() { s.jobOrder = old })
		s.jobOrder = append(old[:len(old):len(old)], j.ID)
	}
	return err
}

func (s *store) SetBatch(b *lifecycle.Batch) error {
	added, err := set(s, batchKey(b.ID), b)
	if added {
		old := s.batchOrder[b.Job]
		put(s, s.batchOrder, b.Job, append(old[:len(old):len(old)], b.ID))
	}
	return err
}

func (s *store) SetParty(p *lifecycle.Party) error {
	s.touchedParties[lifecycle.PartyKey{Role: p.Role, Account: p.Account}] = true
	added, err := set(s, partyKey(p.Role, p.Account), p)
	if added {
		old := s.parties[p.Role]
		at, _ := slices.BinarySearch(old, p.Account)
		put(s, s.parties, p.Role, slices.Insert(slices.Clone(old), at, p.Account))
	}
	return err
}

func (s *store) Parties(r lifecycle.Role) ([]*lifecycle.Party, error) {
	var out []*lifecycle.Party
	for _, a := range s.parties[r] {
		p, err := s.Party(r, a)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *store) Taken(job work.JobID, a work.Address) (work.RangeSet, error) {
	v, err := get[work.RangeSet](s, takenKey(job, a))
	if err != nil {
		return nil, err
	}
	return *v, nil
}

func (s *store) SetTaken(job work.JobID, a work.Address, items work.RangeSet) error {
	_, err := set(s, takenKey(job, a), &items)
	return err
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
	byID := func(a, b work.Hash) int { return cmp.Compare(a.String(), b.String()) }
	slices.SortFunc(d.Jobs, byID)
	slices.SortFunc(d.Batches, byID)
	slices.SortFunc(d.Parties, func(a, b lifecycle.PartyKey) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Account, b.Account))
	})
	delete(s.due, height)
	return d, nil
}

func (s *store) Emit(e lifecycle.Event) {
	old := s.events
	s.undo = append(s.undo, func() { s.events = old })
	s.events = append(s.events, e)
}

// potOf is the pot of one side of a transfer.
func potOf(kind lifecycle.Pot, account work.Address, t lifecycle.Transfer, job work.JobID) pot {
	switch kind {
	case lifecycle.PotAccount:
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
	left, err := s.pots[from].Sub(t.Amount)
	if err != nil {
		return fmt.Errorf("%w: %s has %s", lifecycle.ErrFunds, t.From, s.pots[from])
	}
	put(s, s.pots, from, left)
	if t.ToPot == lifecycle.PotBurn {
		s.burn(t)
		return nil
	}
	sum, err := s.pots[to].Add(t.Amount)
	if err != nil {
		return err
	}
	put(s, s.pots, to, sum)
	return nil
}

func (s *store) burn(t lifecycle.Transfer) {
	fee, slash := s.feeBurn, s.slashBurn
	s.undo = append(s.undo, func() { s.feeBurn, s.slashBurn = fee, slash })
	if t.Reason == lifecycle.ReasonFeeBurn {
		s.feeBurn += t.Amount
	} else {
		s.slashBurn += t.Amount
	}
}

func (s *store) supply() ledger.Supply {
	v := ledger.Supply{FeeBurn: s.feeBurn, SlashBurn: s.slashBurn}
	for k, a := range s.pots {
		v.Total += a
		switch k.kind {
		case lifecycle.PotEscrow, lifecycle.PotCheckEscrow:
			v.Escrowed += a
		case lifecycle.PotBond:
			v.Bonded += a
		}
	}
	return v
}

// check panics unless all money is there and every record that this block touched
// says what its pots hold.
func (s *store) check() {
	if v := s.supply(); v.Total+v.FeeBurn+v.SlashBurn != s.genesis {
		panic(fmt.Sprintf("fake: height %d: money is not conserved: %+v of %d", s.height, v, s.genesis))
	}
	for id := range s.touchedJobs {
		j, err := s.Job(id)
		if err != nil {
			continue // its transaction was rolled back
		}
		in := j.Spec.Escrow + j.Spec.CheckEscrow
		if j.EscrowFree+j.EscrowLocked+j.CheckFree+j.CheckLocked+j.PaidWork+j.PaidChecks+j.Refunded != in ||
			j.EscrowFree+j.EscrowLocked != s.pots[pot{kind: lifecycle.PotEscrow, job: id}] ||
			j.CheckFree+j.CheckLocked != s.pots[pot{kind: lifecycle.PotCheckEscrow, job: id}] {
			panic(fmt.Sprintf("fake: height %d: escrows of job %s do not add up: %+v", s.height, id, j))
		}
	}
	for k := range s.touchedParties {
		p, err := s.Party(k.Role, k.Account)
		if err != nil {
			continue
		}
		if p.Bond != s.pots[pot{kind: lifecycle.PotBond, account: k.Account, role: k.Role}] || p.Locked > p.Bond {
			panic(fmt.Sprintf("fake: height %d: bond of %s %s does not add up: %+v", s.height, k.Role, k.Account, p))
		}
	}
}
