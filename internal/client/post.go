package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Request is a job to be.
type Request struct {
	Program Source // the module as its author made it
	List    *work.ItemList
	// Sources hold the bytes of every blob that List names.
	Sources Sources
	Limits  work.Limits
	Seed    uint64
	Tier    work.Tier
	Place   work.Placement // where items may run

	// MaxPrice is the most that a work unit may cost; 0: twice the median of the
	// offers that fit, and at least the highest of the cheaper half.
	MaxPrice work.Price
	// Budget is the most that both escrows together may hold; 0: no bound but the
	// balance.
	Budget work.Amount
	// FuelPerItem is what an item is expected to use; 0: Limits.Fuel.
	FuelPerItem work.Fuel

	// Indexer is the account behind the indexer that gets the job: AnyIndexer lets the
	// client choose, and has another one stand by; empty: the client's usual one.
	Indexer work.Address
	// MaxIndexerPermille is the most that the indexer may ask, in thousandths of the
	// pay and on top of it; nil: DefaultIndexerPermille.
	MaxIndexerPermille *uint32

	Chunk          wire.Chunk
	MaxCopies      uint32 // paid copies of an item; 0: 2
	DeadlineBlocks int64  // from now; 0: the chain's longest, at most a day of half seconds
	// Holders serve program and inputs besides the indexer.
	Holders []p2p.Peer
}

// Defaults and margins of a job.
const (
	defaultCopies   = 2
	defaultDeadline = 2 * 60 * 60 * 24 // blocks
	// escrowMargin is how many times the expected work the escrow holds: items
	// differ, stragglers are paid twice, and pay is locked until it is settled.
	// What is not used comes back when the job ends.
	escrowMargin = 4
	// leastMargin, in percent, is what a balance or a budget must allow at least.
	leastMargin = 110
	// leastEscrow lets tiny jobs lock whole batches whatever rounding does.
	leastEscrow = work.UgtgPerGtg / 10
)

// Plan is what a job would be, before anything is spent.
type Plan struct {
	Spec     work.JobSpec     `json:"spec"`
	Params   lifecycle.Params `json:"params"`
	Height   int64            `json:"height"`
	Balance  work.Amount      `json:"balance"`
	Fits     []*work.Offer    `json:"fits"` // offers that the job could use, cheapest first
	Excluded map[string]int   `json:"excluded"`
	Expected work.Amount      `json:"expected"` // of the work, at the median price
	Checks   work.Amount      `json:"checks"`   // expected cost of its checks
	Indexer  Indexer          `json:"-"`
	Others   []Indexer        `json:"-"` // that would serve it too
	Ready    *wire.Status     `json:"indexer"`
	Readers  Readers          `json:"readers"`
	// Why says in one line which offers fit and why the others do not.
	Why string `json:"why"`
	// RTT is the round trip between this client and its indexer; the one between
	// indexer and providers is in Seen, of each of Fits.
	RTT  time.Duration `json:"rtt_nanos"`
	Seen []wire.Seen   `json:"seen"`

	attested [][]work.Attestation // of each of Fits
}

// Plan works out a job: price, place, escrows, deadline, and who can read it.
// ErrPrice, ErrPlace, ledger.ErrFunds and ErrNotReady say what stands in its way.
func (c *Client) Plan(ctx context.Context, r Request) (*Plan, error) {
	if err := r.List.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	program, err := r.Program.Name()
	if err != nil {
		return nil, err
	}
	p := &Plan{}
	if p.Indexer, p.Others, err = c.choose(ctx, &r); err != nil {
		return nil, err
	}
	p.Ready = p.Indexer.Status
	if p.Params, err = c.cfg.Ledger.Params(ctx); err != nil {
		return nil, err
	}
	st, err := c.cfg.Ledger.Status(ctx)
	if err != nil {
		return nil, err
	}
	p.Height = st.Height
	if p.Balance, err = c.cfg.Ledger.Balance(ctx, c.cfg.Account); err != nil {
		return nil, err
	}
	offers, err := c.Standings(ctx)
	if err != nil {
		return nil, err
	}
	if p.RTT, err = c.RTT(ctx); err != nil {
		return nil, err
	}
	p.Spec = work.JobSpec{
		Chain: c.cfg.Chain, Client: c.cfg.Account, Nonce: nonce(), ClientKey: c.publicKey(),
		Program: program, Profile: c.cfg.Profile, Items: work.BlobOf(r.List.Encode()), ItemCount: r.List.Len(), Limits: r.Limits, Seed: r.Seed,
		Tier: r.Tier, MaxPrice: r.MaxPrice, Indexer: p.Indexer.Key, IndexerOwner: p.Indexer.Owner, IndexerPermille: p.Indexer.FeePermille,
		MaxCopies: r.MaxCopies,
		Place:     r.Place,
	}
	if p.Spec.MaxCopies == 0 {
		p.Spec.MaxCopies = defaultCopies
	}
	if err := p.Spec.Place.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := p.setPrice(r, offers); err != nil {
		return p, err
	}
	if p.Readers, err = c.readers(ctx, p); err != nil {
		return nil, err
	}
	if err := p.checkPlace(); err != nil {
		return p, err
	}
	if r.Tier == work.TierNone {
		p.Spec.MaxPrice = 0
		return p, nil
	}
	if r.Limits.Fuel > p.Params.MaxItemFuel {
		return p, fmt.Errorf("%w: the fuel limit %d of an item is over this chain's %d: give a smaller --max-fuel", ErrRequest, r.Limits.Fuel, p.Params.MaxItemFuel)
	}
	p.Spec.DeadlineHeight = st.Height + min(defaultDeadline, p.Params.MaxJobBlocks)
	if r.DeadlineBlocks != 0 {
		p.Spec.DeadlineHeight = st.Height + r.DeadlineBlocks
	}
	if p.Spec.DeadlineHeight <= st.Height {
		return p, fmt.Errorf("%w: its deadline at height %d has passed, the chain is at %d", ErrRequest, p.Spec.DeadlineHeight, st.Height)
	}
	return p, p.setEscrow(r)
}

// publicKey is the client key that jobs name, zero without one.
func (c *Client) publicKey() (k sign.PublicKey) {
	if !c.cfg.Key.IsZero() {
		k = c.cfg.Key.Public()
	}
	return k
}

func nonce() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// setPrice chooses the cap if the caller does not, and finds the offers under it.
func (p *Plan) setPrice(r Request, offers []Standing) error {
	cap := r.MaxPrice
	if cap == 0 || r.Tier == work.TierNone {
		cap = math.MaxUint64
	}
	p.fit(r, offers, cap)
	if r.MaxPrice == 0 && r.Tier != work.TierNone {
		p.Spec.MaxPrice = 2 * max(p.MedianPrice(), p.Params.MinPrice)
		if len(p.Fits) > 0 { // else it is not for the price
			p.fit(r, offers, p.Spec.MaxPrice)
		}
	}
	if r.Tier == work.TierNone {
		return nil
	}
	switch {
	case p.Spec.MaxPrice < p.Params.MinPrice:
		return fmt.Errorf("%w: the price cap of %d ugtg per work unit is under this chain's floor of %d ugtg: give a higher --max-price", ErrPrice, p.Spec.MaxPrice, p.Params.MinPrice)
	case len(p.Fits) == 0 && p.Excluded[string(match.ReasonPrice)] > 0:
		least := work.Price(math.MaxUint64)
		for _, o := range offers {
			least = min(least, o.Offer.Price)
		}
		return fmt.Errorf("%w: the price cap of %d ugtg per work unit is under every offer, the lowest asks %d ugtg: give a higher --max-price", ErrPrice, p.Spec.MaxPrice, least)
	}
	return nil
}

// MedianPrice is the middle price of the offers that fit, or the floor if there is
// none.
func (p *Plan) MedianPrice() work.Price {
	if len(p.Fits) == 0 {
		return p.Params.MinPrice
	}
	return max(p.Fits[len(p.Fits)/2].Price, p.Params.MinPrice)
}

// setEscrow fixes both escrows: a generous multiple of the expected work, never
// more than the work can cost, than the budget, or than the balance.
func (p *Plan) setEscrow(r Request) error {
	s := &p.Spec
	perItem := r.FuelPerItem
	if perItem == 0 || perItem > r.Limits.Fuel {
		perItem = r.Limits.Fuel
	}
	var err error
	if p.Expected, err = cost(perItem, s.ItemCount, p.MedianPrice()); err != nil {
		return fmt.Errorf("price of the job: %w", err)
	}
	expected, err := cost(perItem, s.ItemCount, s.MaxPrice)
	if err != nil {
		return fmt.Errorf("price of the job: %w", err)
	}
	most, err := cost(r.Limits.Fuel, s.ItemCount*uint64(s.MaxCopies), s.MaxPrice)
	if err != nil {
		most = math.MaxUint64
	}
	if fee, err := work.MulDiv(expected, uint64(s.IndexerPermille), 1000); err == nil && expected <= math.MaxUint64-fee {
		expected += fee
	}
	if fee, err := work.MulDiv(most, uint64(s.IndexerPermille), 1000); err == nil && most <= math.MaxUint64-fee {
		most += fee
	}
	want, err := work.MulDiv(expected, escrowMargin, 1)
	if err != nil {
		return fmt.Errorf("escrow of the job: %w", err)
	}
	want = max(min(want, most), leastEscrow)
	share := p.checkShare(s.ItemCount)
	p.Checks, _ = work.MulDiv(p.Expected, share, 1000)
	checks := func(escrow work.Amount) work.Amount {
		v, err := work.MulDiv(escrow, share, 1000)
		if err != nil {
			return 0
		}
		return v
	}
	least := max(expected/100*leastMargin, 1)
	least += checks(least)
	have := p.Balance
	if r.Budget > 0 {
		have = min(have, r.Budget)
	}
	switch {
	case p.Balance == 0:
		return fmt.Errorf("%w: %s has no money", ledger.ErrFunds, s.Client)
	case r.Budget == 0 && have < least:
		return fmt.Errorf("%w: this job is expected to need %s in escrow and the balance is %s: send money to %s, or give a smaller --max-price or --budget",
			ledger.ErrFunds, least, p.Balance, s.Client)
	case r.Budget > p.Balance:
		return fmt.Errorf("%w: the budget is %s and the balance is %s", ledger.ErrFunds, r.Budget, p.Balance)
	}
	s.Escrow, s.CheckEscrow = want, checks(want)
	if total, err := s.Escrow.Add(s.CheckEscrow); err != nil || total > have {
		// The work escrow pays for checks too: all that is not surely for checks goes there.
		s.CheckEscrow, _ = work.MulDiv(have, share, 2*(1000+share))
		s.Escrow = have - s.CheckEscrow
	}
	return nil
}

// checkShare is the share of the work's pay, in permille and rounded up, that the
// checks' budget is expected to take.
func (p *Plan) checkShare(items uint64) uint64 {
	rules := p.Params.Rules()
	m, n := uint64(rules.SampleSize(p.Spec.Tier, items)), min(items, batchItems)
	if p.Spec.Tier == work.TierFull {
		n = min(n, uint64(p.Params.MaxFullItems))
	}
	// Budgets count the largest item of a batch for every draw: take it as twice
	// the mean.
	share := min((2*m*1000+n-1)/n, 1000)
	return share * p.Params.CheckPermille * uint64(rules.Checkers(p.Spec.Tier)) / 1000
}

// batchItems is how many items a batch usually has at least.
const batchItems = 100

// cost is the price of n items of f fuel each, rounded up.
func cost(f work.Fuel, n uint64, p work.Price) (work.Amount, error) {
	one, err := work.MulDiv(work.Amount(f), uint64(p), work.FuelPerUnit)
	if err != nil {
		return 0, err
	}
	return work.MulDiv(one+1, n, 1)
}

// CheckPlan is what the plan's checks mean to a cheat in a batch of n items.
type CheckPlan struct {
	Items    uint64 `json:"items"`    // of the batch
	Draws    uint32 `json:"draws"`    // m: items drawn
	Checkers uint32 `json:"checkers"` // k: of each
	// Chances, in permille, to catch a cheat who fakes everything or half of it and
	// whose share Reroll of all proposers skips blocks whose draw would catch it.
	Detection   uint64      `json:"detection"`
	DetectHalf  uint64      `json:"detection_half"`
	Reroll      uint64      `json:"reroll"` // permille, assumed
	Bond        work.Amount `json:"bond"`   // what the batch asks of its provider's bond, and a first slash
	Loss        work.Amount `json:"loss"`   // what the cheat loses on average against honest work
	LossOfTenth work.Amount `json:"loss_tenth"`
}

// CheckPlan applies the chain's own formulas to a batch of n items of fuel each.
func (p *Plan) CheckPlan(n uint64, fuel work.Fuel) (CheckPlan, error) {
	rules := p.Params.Rules()
	b := incentive.Batch{Tier: p.Spec.Tier, Items: n, Fuel: fuel * work.Fuel(n), MaxItemFuel: fuel, Price: p.MedianPrice()}
	out := CheckPlan{Items: n, Draws: rules.SampleSize(b.Tier, n), Checkers: rules.Checkers(b.Tier)}
	m, k := rules.EffectiveDraws(b), uint64(out.Checkers)
	out.Detection = detection(rules, incentive.One, m, k, b.RhoPermille())
	out.DetectHalf = detection(rules, incentive.One/2, m, k, b.RhoPermille())
	out.Reroll = rules.RerollPermille
	var err1, err2, err3 error
	out.Bond, err1 = rules.RequiredBond(b)
	out.Loss, err2 = rules.ExpectedLoss(b, 1000)
	out.LossOfTenth, err3 = rules.ExpectedLoss(b, 100)
	return out, errors.Join(err1, err2, err3)
}

// detection is the chance, in permille and rounded down, to catch a cheat who fakes
// the share phi, in spite of re-rolls.
func detection(r incentive.Rules, phi, m, k, rhoPermille uint64) uint64 {
	return (incentive.One - r.Evade(incentive.Miss(phi, m, k, rhoPermille))) / (incentive.One / 1000)
}

// Post plans a job, hands its blobs to the indexer, posts it, and has the indexer
// serve it. When it returns, the job runs whether this process lives or not.
func (c *Client) Post(ctx context.Context, r Request) (work.JobID, error) {
	p, err := c.Plan(ctx, r)
	if err != nil {
		return work.JobID{}, err
	}
	return c.PostPlan(ctx, r, p)
}

// PostPlan posts what Plan worked out for the same request. An error that wraps
// Posted says that the job is on the chain nonetheless.
func (c *Client) PostPlan(ctx context.Context, r Request, p *Plan) (work.JobID, error) {
	id := c.Remember(p.Spec, r.List)
	if p.Ready != nil && !p.Ready.Ready {
		return id, fmt.Errorf("%w: %s", ErrNotReady, p.Ready.Why)
	}
	if err := c.push(ctx, c.at(p.Spec.Indexer), r); err != nil {
		return id, err
	}
	if p.Spec.Tier != work.TierNone {
		if _, err := c.cfg.Ledger.Submit(ctx, c.cfg.Account, ledger.CreateJob{Spec: p.Spec}); err != nil {
			return id, fmt.Errorf("post the job: %w", err)
		}
		c.log.Info("job is posted", "job", id.Short(), "indexer", p.Spec.Indexer.String()[:12], "items", p.Spec.ItemCount)
	}
	c.mu.Lock()
	c.posted[id] = r
	c.mu.Unlock()
	err := c.handOver(ctx, acceptRequest(&p.Spec, r))
	if err != nil && ctx.Err() == nil && !c.cfg.Stay && p.Spec.Tier != work.TierNone {
		c.log.Warn("the indexer does not serve the job: looking for another", "job", id.Short(), "indexer", p.Spec.IndexerOwner, "err", err)
		if _, moved := c.Move(ctx, id); moved == nil {
			return id, nil
		}
	}
	if err != nil {
		return id, &Posted{id, err}
	}
	c.standBy(ctx, &p.Spec, p.Others)
	return id, nil
}

// acceptRequest asks an indexer to serve a job.
func acceptRequest(s *work.JobSpec, r Request) *wire.Request {
	return &wire.Request{Op: wire.OpAccept, Job: s.ID(), Spec: s.Encode(), Chunk: r.Chunk, Holders: r.Holders}
}

// Posted reports that something failed after the job was posted: the job exists.
type Posted struct {
	Job work.JobID
	Err error
}

// Error implements error.
func (p *Posted) Error() string { return fmt.Sprintf("job %s is posted, but: %v", p.Job, p.Err) }

// Unwrap gives the cause.
func (p *Posted) Unwrap() error { return p.Err }

// push sends program, list and inputs to an indexer, which asks only for what it
// has not got.
func (c *Client) push(ctx context.Context, peer p2p.Peer, r Request) error {
	all := maps.Clone(r.Sources)
	if all == nil {
		all = Sources{}
	}
	program, err := all.Add(r.Program)
	if err != nil {
		return err
	}
	list, err := all.Add(BytesSource(r.List.Encode()))
	if err != nil {
		return err
	}
	need := append([]work.BlobID{program, list}, r.List.Blobs(work.Range{Lo: 0, Hi: r.List.Len()})...)
	for _, b := range need {
		if _, ok := all[b]; !ok && b != emptyBlob {
			return fmt.Errorf("client: the bytes of input %s were not given: %w", b, blob.ErrMissing)
		}
	}
	need = slices.DeleteFunc(need, func(b work.BlobID) bool { return b == emptyBlob })
	c.store.hold(all)
	defer c.store.release(slices.Collect(maps.Keys(all)))
	select {
	case c.pushes <- struct{}{}:
		defer func() { <-c.pushes }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := blob.Push(ctx, c.cfg.Net, peer, c.store, need); err != nil {
		return fmt.Errorf("send program and inputs to the indexer: %w", err)
	}
	return nil
}

// handOver asks the indexer to serve a job that is on the chain; a lost connection
// is tried again.
func (c *Client) handOver(ctx context.Context, r *wire.Request) error {
	wait := firstWait
	for try := 0; ; try++ {
		err := c.ask(ctx, r, func(*wire.Answer) error { return nil })
		if err == nil || errors.Is(err, ErrRemote) || ctx.Err() != nil || try == 5 {
			return err
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
		wait = min(2*wait, longestWait)
	}
}
