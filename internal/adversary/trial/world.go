package trial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const (
	chainName = "trial"
	gtg       = work.UgtgPerGtg
	// costPermille is what executing costs, as a share of the price it is sold at.
	costPermille = 700
	// valuePermille is what a right result is worth to its client.
	valuePermille = 2500
	// evil owns all that an attacker controls. Owners that are neither behave badly
	// too, but their books are no matter.
	evil, honest = "attacker", "honest"
)

// World is a chain with its actors. The zero policies are the honest ones.
type World struct {
	Seed  uint64
	make  Maker
	P     lifecycle.Params
	chain Chain
	ctx   context.Context
	rng   *rand.Rand
	steer func(height int64, value work.Hash) (work.Hash, bool)

	height     int64 // of the block being made
	order      []*actor
	Providers  []*Provider
	Checkers   map[work.Address]*Checker
	Validators []*Validator
	Jobs       []*Job

	open    []*Batch // not final
	Batches []*Batch
	byID    map[work.BatchID]*Batch

	// EachBlock, if set, acts before the honest do.
	EachBlock func(w *World)
	// Ended, if set, is told of each batch that became final.
	Ended   func(b *Batch)
	drawn   Drawn   // by the commons
	settled int     // batches
	alpha   float64 // share of the proposers that skip for the attacker
	free    bool    // executing costs nothing
	pool    bool    // the validators' pool is the attacker's
	faults  []error
}

// actor is an account with its owner's books.
type actor struct {
	w       *World
	Name    string
	Owner   string
	Account work.Address
	funds   work.Amount
	spent   work.Amount // on executing
	gained  work.Amount // worth of results
	indexes work.Amount // its bond as an indexer
}

// Job is a posted job with its client, who is its own indexer unless Indexer says
// otherwise.
type Job struct {
	*actor
	Spec work.JobSpec
	ID   work.JobID
	key  sign.PrivateKey
	next uint64 // first item that was never handed out
	// Weigh, if set, gives the true fuel of an item.
	Weigh func(item uint64) work.Fuel
	// Hides: the client does not serve the program and the inputs.
	Hides bool
	// Claims: the client claims this item of each batch, delivered or not.
	Claims  bool
	hired   *actor // its indexer, if that is not the client
	commons bool
	// Closed: the client has released it.
	Closed bool
}

// Provider commits its share of a job, batch by batch.
type Provider struct {
	*actor
	Bond  work.Amount
	Job   *Job
	Size  uint64 // items of a batch
	Every int64  // blocks between two commits
	Left  int    // batches to commit
	Burst int    // batches committed at once, 0: one
	Start int64  // first height of a commit
	// Inflates is by how much its items may claim too much fuel, each.
	Inflates work.Fuel

	// Compute gives the result of the k-th of n items of a batch, and the fuel that
	// getting it took.
	Compute func(p *Provider, item, k, n uint64) (work.Leaf, work.Fuel)
	// Opens, Reveals, Answers: whether it does so now.
	Opens, Reveals, Answers func(b *Batch) bool
	// Serves reports whether it serves the inputs that it was given.
	Serves func(b *Batch) bool
	// Keeps: it does not give its outputs to anybody.
	Keeps bool
	// When, if set, says at which heights it may commit.
	When    func(height int64) bool
	nextAt  int64
	refused int
}

// Checker re-executes what it is drawn for.
type Checker struct {
	*actor
	Bond work.Amount
	// Later: it registers by itself, not at the start.
	Later bool
	// Finds gives a leaf and the fuel that finding it took.
	Finds func(c *Checker, b *Batch, position uint64) (work.Leaf, work.Fuel)
	// Commitment, if set, replaces the commitment that it sends.
	Commitment       func(c *Checker, b *Batch, own work.Hash) work.Hash
	Commits, Reveals func(b *Batch) bool
}

// Validator judges disputes.
type Validator struct {
	*actor
	Power            int64
	Judges           func(v *Validator, b *Batch, position uint64) (work.Leaf, work.Fuel)
	Commits, Reveals func(b *Batch) bool
}

// Batch is a batch with its provider's side.
type Batch struct {
	w        *World
	ID       work.BatchID
	Provider *Provider
	Job      *Job
	Items    work.RangeSet
	Leaves   []work.Leaf
	Nodes    []work.Node
	tree     *tree
	Salt     work.Hash
	False    []uint64 // positions whose leaf is a lie

	now       *lifecycle.Batch // as last read
	dirty     bool
	Committed int64
	Ended     int64
	voted     map[uint64]int // position to referee runs
	votedAt   map[int64]bool // heights of openings seen
	found     map[source][]work.Leaf
	drawn     bool
	claimed   bool
	frozen    bool    // two checkers contradicted the referee
	P, Closed float64 // chance that its draw catches it: exact, and as incentive says at least
	Caught    bool    // an honest checker was drawn for a lie
}

// source is who found leaves, and for which opening of a dispute.
type source struct {
	name   string
	opened int64
}

// newWorld starts a description; start makes the chain.
func newWorld(seed uint64, mk Maker) *World {
	p := params()
	return &World{Seed: seed, make: mk, P: p, ctx: context.Background(), rng: rand.New(rand.NewPCG(seed, 1)),
		Checkers: map[work.Address]*Checker{}, byID: map[work.BatchID]*Batch{}, height: 1}
}

// params are those of a public network in the proportions of its waits, with fewer
// blocks each; no item takes longer than the least wait.
func params() lifecycle.Params {
	p := lifecycle.PublicParams()
	p.MaxJobBlocks, p.UnbondBlocks, p.ConvictionBlocks, p.VestBlocks = 2_000_000, 2000, 1_000_000, 400
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks, p.WindowBlocks = 5, 3, 3, 10, 60
	p.ClosingBlocks, p.GovernanceBlocks = 50, 200
	p.FuelPerBlock = 1000 * unit
	return p
}

func (w *World) actor(name, owner string, funds work.Amount) *actor {
	a := &actor{w: w, Name: name, Owner: owner, Account: Account(name), funds: funds}
	w.order = append(w.order, a)
	return a
}

func (w *World) job(name, owner string, tier work.Tier, items uint64, price work.Price) *Job {
	n := work.Amount(items) * work.Amount(price) * 2
	a := w.actor(name, owner, 20*n+10*gtg)
	j := &Job{actor: a, key: sign.FromSeed([32]byte(work.Sum("key", []byte(name))))}
	j.Spec = work.JobSpec{
		Chain: chainName, Client: a.Account, Nonce: 1, Program: work.BlobID{Root: work.Hash{1}, Size: 1}, Profile: "gw1",
		Items: work.BlobID{Root: work.Hash{2}, Size: 1}, ItemCount: items,
		Limits: work.Limits{MemoryBytes: 1, Fuel: w.P.MaxItemFuel, OutputBytes: 1}, Tier: tier, MaxPrice: price,
		Escrow: n, CheckEscrow: 10 * n, Indexer: j.key.Public(), IndexerOwner: a.Account, MaxCopies: 2, DeadlineHeight: 1_000_000, // the client closes it before
	}
	w.Jobs = append(w.Jobs, j)
	return j
}

// provider adds a provider. Its bond is what its largest batch needs, and not more:
// see start.
func (w *World) provider(name, owner string, j *Job, batches int, size uint64) *Provider {
	p := &Provider{actor: w.actor(name, owner, 0), Job: j, Size: size, Every: 3, Left: batches, Start: 3}
	w.Providers = append(w.Providers, p)
	return p
}

func (w *World) checker(name, owner string, bond work.Amount) *Checker {
	c := &Checker{actor: w.actor(name, owner, 2*bond), Bond: bond}
	w.Checkers[c.Account] = c
	return c
}

// indexer hires an indexer for a job.
func (w *World) indexer(name, owner string, bond work.Amount, j *Job) {
	a := w.actor(name, owner, 2*bond)
	a.indexes = bond
	j.Spec.IndexerOwner = a.Account
	j.hired = a
}

func (w *World) validator(name, owner string, power int64) *Validator {
	v := &Validator{actor: w.actor(name, owner, 0), Power: power}
	w.Validators = append(w.Validators, v)
	return v
}

// honestNetwork adds the usual honest checkers and validators.
func (w *World) honestNetwork(checkers, validators int) {
	for i := range checkers {
		w.checker(fmt.Sprint("checker", i), honest, 200*gtg)
	}
	for i := range validators {
		w.validator(fmt.Sprint("validator", i), honest, 10_000)
	}
}

// validators adds honest validators up to n: their number decides how long a draw
// waits that begins anew.
func (w *World) validators(n int) {
	for i := len(w.Validators); i < n; i++ {
		w.validator(fmt.Sprint("validator", i), honest, 10_000)
	}
}

// start makes the chain and registers everyone.
func (w *World) start() error {
	g := Genesis{Chain: chainName, Params: w.P, Balances: map[work.Address]work.Amount{}, Seed: w.Seed, Steer: w.steer, Governance: Account("governance")}
	for _, p := range w.Providers {
		if err := w.fund(p); err != nil {
			return err
		}
	}
	for _, a := range w.order {
		g.Balances[a.Account] += a.funds
	}
	for _, v := range w.Validators {
		g.Validators = append(g.Validators, lifecycle.ValidatorPower{Account: v.Account, Power: v.Power})
	}
	var err error
	if w.chain, err = w.make(g); err != nil {
		return err
	}
	for _, p := range w.Providers {
		if err := w.send(p.actor, ledger.Register{Role: lifecycle.RoleProvider, Peer: sign.PublicKey{1}, Bond: p.Bond}); err != nil {
			return err
		}
	}
	for _, a := range w.order {
		if c := w.Checkers[a.Account]; c != nil && !c.Later {
			if err := w.send(a, ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: c.Bond}); err != nil {
				return err
			}
		}
	}
	for _, j := range w.Jobs {
		if a := j.hired; a != nil {
			if err := w.send(a, ledger.Register{Role: lifecycle.RoleIndexer, Peer: j.key.Public(), Bond: a.indexes}); err != nil {
				return err
			}
		}
		if err := w.post(j); err != nil {
			return err
		}
	}
	return nil
}

// fund gives a provider the bond that its largest batch may need, and money to bond
// it anew after a conviction.
func (w *World) fund(p *Provider) error {
	if p.Bond > 0 {
		return nil
	}
	var fuel, most work.Fuel
	for i := range p.Size {
		f := work.Fuel(unit + unit/2)
		if p.Job.Weigh != nil {
			f = p.Job.Weigh(i)
		}
		fuel, most = fuel+f+p.Inflates, max(most, f+p.Inflates*work.Fuel(p.Size))
	}
	var largest, total work.Amount
	for _, c := range w.Checkers {
		largest, total = max(largest, c.Bond), total+c.Bond
	}
	b := incentive.Batch{Tier: p.Job.Spec.Tier, Items: p.Size, Fuel: fuel, MaxItemFuel: most, Price: p.Job.Spec.MaxPrice, LargestPermille: uint64(1000*largest/total) + 1}
	var err error
	if p.Bond, err = w.P.Rules().RequiredBond(b); err != nil {
		return err
	}
	p.funds = p.Bond * work.Amount(p.Left+20)
	return nil
}

// post posts a job.
func (w *World) post(j *Job) error {
	j.ID = j.Spec.ID()
	return w.send(j.actor, ledger.CreateJob{Spec: j.Spec})
}

func (w *World) send(a *actor, msgs ...ledger.Msg) error {
	_, err := w.chain.Submit(w.ctx, a.Account, msgs...)
	return err
}

// fault keeps what must not have happened.
func (w *World) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Errorf(format, args...))
}

// duty is a message that an honest actor owes: the chain must take it.
func (w *World) duty(b *Batch, a *actor, msg ledger.Msg) {
	b.dirty = true
	if err := w.send(a, msg); err != nil && a.Owner == honest {
		w.fault("height %d: %T of %s was refused: %w", w.height, msg, a.Name, err)
	}
}

// step makes a block.
func (w *World) step() {
	if w.EachBlock != nil {
		w.EachBlock(w)
	}
	for _, p := range w.Providers {
		w.commits(p)
	}
	for _, b := range w.open {
		b.act()
	}
	w.open = slices.DeleteFunc(w.open, func(b *Batch) bool { return b.Ended > 0 })
	w.chain.Advance()
	w.height++
}

// run makes blocks until all is done; most bounds them.
func (w *World) run(most int64) {
	for w.height < most {
		w.step()
		if w.done() {
			break
		}
	}
	for _, j := range w.Jobs {
		w.release(j)
	}
	w.step()
}

func (w *World) done() bool {
	for _, p := range w.Providers {
		if p.Left > 0 {
			return false
		}
	}
	return len(w.open) == 0 && w.EachBlock == nil
}

// release ends a job that has nothing outstanding.
func (w *World) release(j *Job) {
	if j.Closed {
		return
	}
	j.Closed = true
	s := j.key.Sign(lifecycle.ReleaseTag, lifecycle.ReleaseMessage(chainName, j.ID))
	if r, err := w.chain.Job(w.ctx, j.ID); err == nil && r.State != lifecycle.JobClosed {
		if err := w.send(j.actor, ledger.CancelJob{Job: j.ID, Release: &s}); err != nil {
			w.fault("job of %s does not close: %w", j.Name, err)
		}
	}
}

// commits makes the batches that are due.
func (w *World) commits(p *Provider) {
	if p.Left == 0 || w.height < max(p.nextAt, p.Start) || p.When != nil && !p.When(w.height) {
		return
	}
	for range max(p.Burst, 1) {
		if p.Left == 0 {
			break
		}
		p.Left--
		items := p.Job.take(p.Size)
		if len(items) == 0 {
			p.Left = 0
			break
		}
		w.commit(p, p.Job, items)
	}
	p.nextAt = w.height + p.Every
}

// truth is what an item of the job gives, and its leaf's hash.
func (j *Job) truth(i uint64) (work.Leaf, work.Hash) {
	r := &truthTable()[i%truths]
	if j.Weigh == nil {
		return r.leaf, r.hash
	}
	l := r.leaf
	l.Fuel = j.Weigh(i)
	return l, l.Hash()
}

// lie is a wrong result of an item, of the same weight.
func (j *Job) lie(i uint64) work.Leaf {
	l, _ := j.truth(i)
	l.Output[0] ^= 1
	return l
}

// take hands out the next n items.
func (j *Job) take(n uint64) work.RangeSet {
	n = min(n, j.Spec.ItemCount-j.next)
	if n == 0 {
		return nil
	}
	j.next += n
	return work.NewRangeSet(work.Range{Lo: j.next - n, Hi: j.next})
}

// assign signs items to a provider.
func (j *Job) assign(p work.Address, items work.RangeSet, attempt uint32, height int64) work.Assignment {
	a := work.Assignment{Chain: chainName, Job: j.ID, Provider: p, Attempt: attempt, Ranges: items, Price: j.Spec.MaxPrice, ExpiresHeight: height + 20}
	a.Sign(j.key)
	return a
}

// commit computes items and commits them; nil if the chain refused.
func (w *World) commit(p *Provider, j *Job, items work.RangeSet) *Batch {
	before := p.spent
	b, msg := w.compute(p, j, items)
	err := w.send(p.actor, msg)
	if errors.Is(err, ledger.ErrFunds) && p.Owner != honest { // it bonds anew what it lost
		if w.send(p.actor, ledger.Register{Role: lifecycle.RoleProvider, Peer: sign.PublicKey{1}, Bond: p.Bond}) == nil {
			err = w.send(p.actor, msg)
		}
	}
	if err != nil {
		p.refused++
		if p.Owner == evil { // it looks at its bond and the escrow before it works
			p.spent = before
		}
		if p.Owner == honest && !errors.Is(err, ledger.ErrFunds) {
			w.fault("height %d: commit of %s was refused: %w", w.height, p.Name, err)
		}
		return nil
	}
	w.open = append(w.open, b)
	w.Batches = append(w.Batches, b)
	w.byID[b.ID] = b
	return b
}

func (w *World) compute(p *Provider, j *Job, items work.RangeSet) (*Batch, ledger.CommitBatch) {
	var e work.Encoder
	e.U64(w.Seed)
	e.U64(uint64(len(w.Batches)))
	n := items.Len()
	b := &Batch{w: w, Provider: p, Job: j, Items: items, Salt: work.Sum("salt", []byte(p.Account), e.Bytes()), dirty: true,
		Committed: w.height, voted: map[uint64]int{}, votedAt: map[int64]bool{}, found: map[source][]work.Leaf{},
		Leaves: make([]work.Leaf, 0, n), Nodes: make([]work.Node, 0, n)}
	var most work.Fuel
	for k := range n {
		i := items.At(k)
		right, hash := j.truth(i)
		leaf, ran := right, right.Fuel
		if p.Compute != nil {
			leaf, ran = p.Compute(p, i, k, n)
		}
		if leaf != right {
			b.False = append(b.False, k)
			hash = leaf.Hash()
		}
		p.execute(ran, j.Spec.MaxPrice)
		b.Leaves = append(b.Leaves, leaf)
		b.Nodes = append(b.Nodes, work.ItemNode(leaf.Fuel, hash, work.ItemSalt(b.Salt, j.ID, k)))
		most = max(most, leaf.Fuel)
	}
	var err error
	if b.tree, err = grow(b.Nodes); err != nil {
		panic(err)
	}
	root := b.tree.node
	b.ID = work.BatchIDOf(chainName, j.ID, p.Account, items, root)
	part := lifecycle.Part{Items: items}
	if !j.commons {
		part.Assignment = j.assign(p.Account, items, 1, w.height)
	}
	return b, ledger.CommitBatch{Job: j.ID, Parts: []lifecycle.Part{part}, Root: root, MaxItemFuel: most}
}

// execute books the cost of executing fuel of a job at a price.
func (a *actor) execute(f work.Fuel, price work.Price) {
	c, err := work.Cost(f, price)
	if err != nil {
		panic(err)
	}
	if !a.w.free {
		a.spent += c * costPermille / 1000
	}
}

var roles = []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker, lifecycle.RoleIndexer}

// books are what an owner has, in ugtg: balances, bonds, stakes and unvested pay,
// and what results are worth to it, less the cost of executing.
func (w *World) books(owner string) int64 {
	var sum int64
	for _, a := range w.order {
		if a.Owner != owner {
			continue
		}
		v, err := w.chain.Balance(w.ctx, a.Account)
		if err != nil {
			w.fault("balance of %s: %w", a.Name, err)
		}
		sum += int64(v) + int64(a.gained) - int64(a.spent)
		sum += int64(w.chain.Stake(a.Account))
		for _, role := range roles {
			if q, err := w.chain.Party(w.ctx, role, a.Account); err == nil {
				sum += int64(q.Bond) + int64(q.Unvested)
			}
		}
	}
	return sum
}
