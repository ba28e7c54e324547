package lifecycle

import (
	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/work"
)

// Bounds of the commons.
const (
	MaxCommonsJobs = 16
	CommonsDraws   = 8 // draws of a provider per job and epoch
)

// ApproveCommons posts a job that the emission pays and whose items the beacon
// hands out. Its caller has made sure that governance says so. Spec.Client is the
// curator: it fetches and publishes the results, and gets no money back.
func (m Machine) ApproveCommons(spec work.JobSpec) (work.JobID, error) {
	p, err := m.S.Params()
	if err != nil {
		return work.JobID{}, err
	}
	if err := checkSpec(&spec, spec.Client, m.S.Chain(), m.S.Height(), p); err != nil {
		return work.JobID{}, err
	}
	c, err := m.S.Commons()
	if err != nil {
		return work.JobID{}, err
	}
	switch {
	case spec.Escrow != 0 || spec.CheckEscrow != 0:
		return work.JobID{}, refused("a job of the commons has no escrow: the emission pays it")
	case spec.MaxPrice < p.CommonsPrice:
		return work.JobID{}, refused("price cap %d is under the price of the commons, %d", spec.MaxPrice, p.CommonsPrice)
	case len(c.Jobs) >= MaxCommonsJobs:
		return work.JobID{}, refused("the commons have %d jobs: wait until one has ended", len(c.Jobs))
	}
	j, err := m.freshJob(spec)
	if err != nil {
		return work.JobID{}, err
	}
	j.Commons = true
	c.Jobs = append(c.Jobs, j.ID)
	if err := m.S.SetCommons(c); err != nil {
		return j.ID, err
	}
	if err := m.S.WakeJob(spec.DeadlineHeight, j.ID); err != nil {
		return j.ID, err
	}
	return j.ID, m.setJob(j)
}

// commonsDue begins an epoch of the commons at its first height: jobs that ended
// leave, the others get their part of the emission, and the beacon draws from what
// is open.
func (m Machine) commonsDue() error {
	p, err := m.S.Params()
	if err != nil || m.S.Height()%p.CommonsEpochBlocks != 0 {
		return err
	}
	c, err := m.S.Commons()
	if err != nil || len(c.Jobs) == 0 {
		return err
	}
	open, jobs, err := m.openCommons(c)
	if err != nil {
		return err
	}
	value, err := m.S.Beacon(m.S.Height())
	if err != nil {
		return err
	}
	e := CommonsEpoch{Number: m.S.Height() / p.CommonsEpochBlocks, Height: m.S.Height(), Beacon: value}
	for _, j := range open {
		share := incentive.Emission(p.CommonsEmission, e.Number, p.CommonsHalvingEpochs) / work.Amount(len(open))
		if err := m.topUp(c, j, share); err != nil {
			return err
		}
		e.Jobs, e.Items = append(e.Jobs, j.ID), append(e.Items, j.uncommitted())
	}
	c.Jobs = jobs
	c.Epochs = append([]CommonsEpoch{e}, c.Epochs[:min(len(c.Epochs), 1)]...)
	m.S.Emit(Event{Kind: EventCommons})
	return m.S.SetCommons(c)
}

// openCommons are the jobs that still take work, and the ids of all that have not
// ended.
func (m Machine) openCommons(c *Commons) (open []*Job, ids []work.JobID, err error) {
	for _, id := range c.Jobs {
		j, err := m.S.Job(id)
		if err != nil {
			return nil, nil, err
		}
		if j.State == JobOpen {
			open = append(open, j)
		}
		if j.State != JobClosed {
			ids = append(ids, id)
		}
	}
	return open, ids, nil
}

// topUp fills a job's escrow up to its part of an epoch's emission: from the pool
// first, then minted. What was not spent of an earlier epoch is not added to.
func (m Machine) topUp(c *Commons, j *Job, share work.Amount) error {
	need := share - min(share, j.EscrowFree)
	if need == 0 {
		return nil
	}
	pooled := min(need, c.Pool)
	c.Pool -= pooled
	c.Emitted += need - pooled
	j.EscrowFree += need
	j.ToppedUp += need
	to := Transfer{ToPot: PotEscrow, To: j.Spec.Client, Reason: ReasonEmission}
	for _, from := range []struct {
		pot    Pot
		amount work.Amount
	}{{PotCommons, pooled}, {PotMint, need - pooled}} {
		to.FromPot, to.Amount = from.pot, from.amount
		if err := m.pay(j, nil, to); err != nil {
			return err
		}
	}
	return m.setJob(j)
}

// addToPool keeps what an ended job left over for the next one.
func (m Machine) addToPool(amount work.Amount) error {
	c, err := m.S.Commons()
	if err != nil {
		return err
	}
	c.Pool += amount
	return m.S.SetCommons(c)
}

// uncommitted are the items that no batch holds, as many ranges of them as a batch
// may have.
func (j *Job) uncommitted() work.RangeSet {
	left := work.NewRangeSet(work.Range{Lo: 0, Hi: j.Spec.ItemCount}).Minus(j.Copies[0])
	return left[:min(len(left), MaxBatchRanges)]
}

// Slot is what an epoch's draw gives to a provider of one of its jobs: a chunk of
// the items that were open when the epoch began. Nobody chooses it; two providers
// may draw the same one, and are paid up to the job's copies. It is empty if the
// epoch has nothing of the job.
func (e *CommonsEpoch) Slot(job work.JobID, provider work.Address, draw uint32, chunk uint64) work.RangeSet {
	for i, id := range e.Jobs {
		if id != job || len(e.Items[i]) == 0 {
			continue
		}
		items := e.Items[i]
		n := items.Len()
		slots := (n + chunk - 1) / chunk
		at := below(slots, work.Sum("gotong/commons/1", e.Beacon[:], job[:], []byte(provider), be32(draw))) * chunk
		var l []work.Range
		for k := at; k < min(at+chunk, n); k++ {
			l = append(l, work.Range{Lo: items.At(k), Hi: items.At(k) + 1})
		}
		return work.NewRangeSet(l...)
	}
	return nil
}

// checkDrawn reports why a provider may not commit items of the commons, or gives
// them and their price: they must lie in one of its draws of this epoch or the one
// before.
func (t *turn) checkDrawn(provider work.Address, parts []Part) (work.RangeSet, work.Price, error) {
	if len(parts) != 1 || parts[0].Assignment.Provider != "" {
		return nil, 0, refused("a batch of the commons has one part, without an assignment: the beacon draws its items")
	}
	items := parts[0].Items
	if len(items) == 0 || items.Validate() != nil || len(items) > MaxBatchRanges {
		return nil, 0, refused("items of the batch: %v", work.ErrRanges)
	}
	c, err := t.m.S.Commons()
	if err != nil {
		return nil, 0, err
	}
	q, err := t.m.S.Party(RoleProvider, provider)
	if err != nil {
		return nil, 0, refused("%s is not registered as a provider", provider)
	}
	for i := range c.Epochs {
		e := &c.Epochs[i]
		if q.RegisteredHeight >= e.Height {
			continue // it could have chosen its account by the beacon
		}
		for draw := range uint32(CommonsDraws) {
			if slot := e.Slot(t.j.ID, provider, draw, t.p.CommonsChunkItems); len(items.Minus(slot)) == 0 {
				return items, t.p.CommonsPrice, nil
			}
		}
	}
	return nil, 0, refused("items from %s on were not drawn for %s in this epoch or the one before", items[0], provider)
}
