package sim

import (
	"slices"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/work"
)

// Tally counts what happened in a day, or in all. Amounts are in ugtg, fuel in work
// units (1e9), grains are five minutes of the median device of their class.
type Tally struct {
	Batches       uint64 `json:"batches"`
	Settled       uint64 `json:"settled"`
	Void          uint64 `json:"void"`
	Refused       uint64 `json:"refused"` // commits that the bond did not cover
	Items         uint64 `json:"items"`
	WrongItems    uint64 `json:"wrong_items"` // in settled batches
	Units         uint64 `json:"units"`
	Draws         uint64 `json:"draws"`
	Checks        uint64 `json:"checks"`
	Looks         uint64 `json:"looks"`
	Missed        uint64 `json:"missed"` // checks that another checker had to do
	CheckUnits    uint64 `json:"check_units"`
	Disputes      uint64 `json:"disputes"`
	FalseDisputes uint64 `json:"false_disputes"` // the provider was right
	CourtBlocks   uint64 `json:"court_blocks"`   // that the disputes took the referee
	PayBlocks     uint64 `json:"pay_blocks"`     // from commit to pay, of all settled batches

	Convictions       uint64 `json:"convictions"`
	SecondConvictions uint64 `json:"second_convictions"`
	Silences          uint64 `json:"silences"`
	HonestSilences    uint64 `json:"honest_silences"` // outages in the middle of a check
	SkippedBlocks     uint64 `json:"skipped_blocks"`
	Leavers           uint64 `json:"leavers"`   // lost their whole bond
	Returners         uint64 `json:"returners"` // came back under another name

	Challenges      uint64 `json:"challenges"` // by others than checkers
	Claims          uint64 `json:"claims"`     // of outputs
	Dismissed       uint64 `json:"dismissed"`  // accusations without a stake
	Kept            uint64 `json:"kept"`       // batches whose outputs nobody can have
	Watched         uint64 `json:"watched"`    // batches of which a stranger executed an item
	WatchFound      uint64 `json:"watch_found"`
	Vultures        uint64 `json:"vultures"`     // challenges of who had just gone dark
	VultureHits     uint64 `json:"vulture_hits"` // and did not answer
	Held            uint64 `json:"held"`         // batches that waited for a verdict, their own or an older one's
	HeldTicks       uint64 `json:"held_hours"`   // by which batches were paid later for it
	FreezeTries     uint64 `json:"freeze_tries"`
	Freezes         uint64 `json:"freezes"`
	GrainsSuspended uint64 `json:"grains_suspended"` // demand refused because its program was suspended

	CourtWaits [240]uint64           `json:"court_waits"` // disputes by hours in the queue
	StakesLost [accusers]work.Amount `json:"stakes_lost"` // by accuser

	WatchCost   work.Amount `json:"watch_cost"`
	WatchEarned work.Amount `json:"watch_earned"`

	Pay           work.Amount `json:"pay"`
	Validators    work.Amount `json:"validators"`
	FeeBurn       work.Amount `json:"fee_burn"`
	SlashBurn     work.Amount `json:"slash_burn"`
	Minted        work.Amount `json:"minted"`
	CommonsMinted work.Amount `json:"commons_minted"`
	CommonsUnits  uint64      `json:"commons_units"`
	CheckFees     work.Amount `json:"check_fees"`
	Bounties      work.Amount `json:"bounties"`
	Damages       work.Amount `json:"damages"`
	Referees      work.Amount `json:"referees"`
	HonestLost    work.Amount `json:"honest_lost"`

	Messages    uint64 `json:"messages"`
	Bytes       uint64 `json:"bytes"`
	Sessions    uint64 `json:"sessions"`
	Jobs        uint64 `json:"jobs"`
	Assignments uint64 `json:"assignments"`

	GrainsOffered uint64 `json:"grains_offered"`
	GrainsWanted  uint64 `json:"grains_wanted"`
	GrainsServed  uint64 `json:"grains_served"`
	GrainsDropped uint64 `json:"grains_dropped"` // waited too long

	Waits        [patienceTicks + 1]uint64 `json:"waits"`         // grains by hours waited
	SessionHours [72]uint64                `json:"session_hours"` // sessions by length

	Kinds [kinds]KindTally `json:"kinds"`
}

// KindTally is what providers of one kind did.
type KindTally struct {
	Batches    uint64      `json:"batches"`
	Settled    uint64      `json:"settled"`
	Faked      uint64      `json:"faked"`       // batches with fakes that came to a draw
	Caught     uint64      `json:"caught"`      // of these
	ExpectE9   uint64      `json:"expect_e9"`   // caught ones by the closed form, in 1e-9
	VarianceE9 uint64      `json:"variance_e9"` // of that
	Income     work.Amount `json:"income"`
	Lost       work.Amount `json:"lost"`    // bonds and unvested pay
	Cost       work.Amount `json:"cost"`    // of executing, and of paying oneself
	Offered    uint64      `json:"offered"` // work units that its machines could have done
}

func (t *Tally) add(o *Tally) {
	for _, f := range []struct{ to, from *uint64 }{
		{&t.Batches, &o.Batches}, {&t.Settled, &o.Settled}, {&t.Void, &o.Void}, {&t.Refused, &o.Refused}, {&t.Items, &o.Items},
		{&t.WrongItems, &o.WrongItems}, {&t.Units, &o.Units}, {&t.Draws, &o.Draws}, {&t.Checks, &o.Checks}, {&t.Looks, &o.Looks},
		{&t.Missed, &o.Missed}, {&t.CheckUnits, &o.CheckUnits}, {&t.Disputes, &o.Disputes}, {&t.FalseDisputes, &o.FalseDisputes},
		{&t.Convictions, &o.Convictions}, {&t.SecondConvictions, &o.SecondConvictions}, {&t.Silences, &o.Silences},
		{&t.HonestSilences, &o.HonestSilences}, {&t.SkippedBlocks, &o.SkippedBlocks}, {&t.Leavers, &o.Leavers}, {&t.Returners, &o.Returners},
		{&t.CommonsUnits, &o.CommonsUnits}, {&t.CourtBlocks, &o.CourtBlocks}, {&t.PayBlocks, &o.PayBlocks}, {&t.Messages, &o.Messages}, {&t.Bytes, &o.Bytes}, {&t.Sessions, &o.Sessions}, {&t.Jobs, &o.Jobs},
		{&t.Assignments, &o.Assignments}, {&t.GrainsOffered, &o.GrainsOffered}, {&t.GrainsWanted, &o.GrainsWanted},
		{&t.GrainsServed, &o.GrainsServed}, {&t.GrainsDropped, &o.GrainsDropped}, {&t.Challenges, &o.Challenges}, {&t.Claims, &o.Claims},
		{&t.Dismissed, &o.Dismissed}, {&t.Kept, &o.Kept}, {&t.Watched, &o.Watched}, {&t.WatchFound, &o.WatchFound}, {&t.Vultures, &o.Vultures},
		{&t.VultureHits, &o.VultureHits}, {&t.Held, &o.Held}, {&t.HeldTicks, &o.HeldTicks}, {&t.FreezeTries, &o.FreezeTries},
		{&t.Freezes, &o.Freezes}, {&t.GrainsSuspended, &o.GrainsSuspended},
	} {
		*f.to += *f.from
	}
	for _, f := range []struct{ to, from *work.Amount }{
		{&t.Pay, &o.Pay}, {&t.Validators, &o.Validators}, {&t.FeeBurn, &o.FeeBurn}, {&t.SlashBurn, &o.SlashBurn}, {&t.Minted, &o.Minted},
		{&t.CommonsMinted, &o.CommonsMinted}, {&t.CheckFees, &o.CheckFees}, {&t.Bounties, &o.Bounties}, {&t.Damages, &o.Damages},
		{&t.Referees, &o.Referees}, {&t.HonestLost, &o.HonestLost}, {&t.WatchCost, &o.WatchCost}, {&t.WatchEarned, &o.WatchEarned},
	} {
		*f.to += *f.from
	}
	for i := range t.Waits {
		t.Waits[i] += o.Waits[i]
	}
	for i := range t.CourtWaits {
		t.CourtWaits[i] += o.CourtWaits[i]
	}
	for i := range t.StakesLost {
		t.StakesLost[i] += o.StakesLost[i]
	}
	for i := range t.SessionHours {
		t.SessionHours[i] += o.SessionHours[i]
	}
	for i := range t.Kinds {
		t.Kinds[i].add(&o.Kinds[i])
	}
}

func (t *KindTally) add(o *KindTally) {
	t.Batches += o.Batches
	t.Settled += o.Settled
	t.Faked += o.Faked
	t.Caught += o.Caught
	t.ExpectE9 += o.ExpectE9
	t.VarianceE9 += o.VarianceE9
	t.Income += o.Income
	t.Lost += o.Lost
	t.Cost += o.Cost
	t.Offered += o.Offered
}

// Profit is what a kind earned, lost and spent, in ugtg per 1000 work units that its
// machines could have done.
func (t *KindTally) Profit() int64 {
	if t.Offered == 0 {
		return 0
	}
	net := int64(t.Income) - int64(t.Lost) - int64(t.Cost)
	if net < 0 {
		return -int64(must(work.MulDiv(work.Amount(-net), 1000, t.Offered)))
	}
	return int64(must(work.MulDiv(work.Amount(net), 1000, t.Offered)))
}

// Events is how many single things a tally stands for.
func (t *Tally) Events() uint64 {
	return t.Batches + t.Draws + t.Checks + t.Looks + t.Missed + t.Disputes + t.Challenges + t.Claims + t.Watched + t.Convictions + t.Silences + t.SkippedBlocks + t.Sessions + t.Jobs + t.Assignments
}

// Hour is one cell in one tick, in grains and ugtg per work unit.
type Hour struct {
	Supply, Wanted, Served, Queued uint64
	Paid                           uint64 // grains × price
	Price                          uint32
}

// Day is a day's tally and what stood at its end.
type Day struct {
	Tally
	Supply       work.Amount  `json:"supply"`        // of money
	Profits      [kinds]int64 `json:"profits"`       // of each kind since the start: see Profit
	GiniPermille uint64       `json:"gini_permille"` // of all stake: bonds, unvested pay, validators
	TopPermille  uint64       `json:"top_permille"`  // share of the hundredth with most stake
	Nakamoto     int          `json:"nakamoto"`      // fewest validators with over a third of their stake
	RhoPermille  uint64       `json:"rho_permille"`  // largest checker
	Bonded       work.Amount  `json:"bonded"`
	Unvested     work.Amount  `json:"unvested"`
	CourtWait    uint64       `json:"court_wait_blocks"` // how long a dispute that opens now waits for the referee
}

// Cell is a market of the report.
type Cell struct {
	Region string     `json:"region"`
	Class  work.Class `json:"class"`
	// Means over the run: price per work unit, grains an hour, Jain's index.
	Price  uint64  `json:"price"`
	Supply uint64  `json:"supply"`
	Wanted uint64  `json:"wanted"`
	Served uint64  `json:"served"`
	Jain   float64 `json:"jain"`
	Hours  []Hour  `json:"-"`
}

// Result is what came of a run.
type Result struct {
	Providers  int              `json:"providers"`
	Checkers   int              `json:"checkers"`
	Validators int              `json:"validators"`
	Ticks      int              `json:"ticks"`
	Seed       uint64           `json:"seed"`
	Members    [kinds]int       `json:"members"` // providers by kind
	Total      Tally            `json:"total"`
	Days       []Day            `json:"days"`
	Cells      []Cell           `json:"cells"`
	Jain       float64          `json:"jain"` // mean over cells by providers
	Genesis    work.Amount      `json:"genesis"`
	Params     lifecycle.Params `json:"params"`
	FreezeCost work.Amount      `json:"freeze_cost"` // of the tries to have a program suspended
	// CheckerLost and CheckerEarned are by CheckerKind.
	CheckerLost   [checkerKinds]work.Amount `json:"checker_lost"`
	CheckerEarned [checkerKinds]work.Amount `json:"checker_earned"`
	CheckerCount  [checkerKinds]int         `json:"checker_count"`
}

func newResult(w *world) *Result {
	r := &Result{Providers: w.cfg.Providers, Checkers: len(w.checkers), Validators: len(w.stakes), Seed: w.cfg.Seed, Genesis: w.genesis, Params: w.cfg.Params}
	for i := range w.providers {
		r.Members[w.providers[i].kind]++
	}
	return r
}

// closeDay adds a day.
func (r *Result) closeDay(w *world, t Tally) {
	r.Total.add(&t)
	d := Day{Tally: t, RhoPermille: w.rho}
	d.Supply = w.genesis + r.Total.Minted + r.Total.CommonsMinted - r.Total.FeeBurn - r.Total.SlashBurn
	d.CourtWait = (w.court.blocks + w.court.debt) / uint64(w.cfg.Params.MaxDisputes)
	for k := range d.Profits {
		d.Profits[k] = r.Total.Kinds[k].Profit()
	}
	stakes := make([]uint64, 0, len(w.providers)+len(w.checkers)+len(w.stakes))
	for i := range w.providers {
		p := &w.providers[i]
		stakes = append(stakes, uint64(p.bond+p.unvested))
		d.Bonded += p.bond
		d.Unvested += p.unvested
	}
	for i := range w.checkers {
		stakes = append(stakes, uint64(w.checkers[i].bond))
	}
	for _, s := range w.stakes {
		stakes = append(stakes, uint64(s))
	}
	d.GiniPermille, d.TopPermille = concentration(stakes)
	d.Nakamoto = nakamoto(w.stakes)
	r.Days = append(r.Days, d)
}

// concentration is Gini's coefficient and the share of the largest hundredth, in
// permille. It sorts its argument.
func concentration(v []uint64) (gini, top uint64) {
	slices.Sort(v)
	n := uint64(len(v))
	var sum, weighed, largest uint64 // in thousands of ugtg, so that the products fit
	for i, s := range v {
		s /= 1000
		sum += s
		weighed += (s*uint64(i+1) + n/2) / n
		if uint64(i) >= n-(n+99)/100 {
			largest += s
		}
	}
	if sum == 0 {
		return 0, 0
	}
	// G = 2·Σ i·x_i / (n·Σ x) − (n+1)/n
	g := 2*1000*weighed/sum - min(1000*(n+1)/n, 2*1000*weighed/sum)
	return g, largest * 1000 / sum
}

// nakamoto is how few of the largest hold over a third.
func nakamoto(stakes []work.Amount) int {
	s := slices.Clone(stakes)
	slices.Sort(s)
	var all, held work.Amount
	for _, v := range s {
		all += v
	}
	for i := len(s) - 1; i >= 0; i-- {
		if held += s[i]; 3*held > all {
			return len(s) - i
		}
	}
	return len(s)
}

// finish adds up the cells.
func (r *Result) finish(w *world) {
	r.Ticks = w.tick
	r.FreezeCost = w.court.freezeCost()
	var jain, weight float64
	for i := range w.cells {
		c := &w.cells[i]
		var paid, served, supply, wanted uint64
		for _, h := range c.hours {
			paid, served, supply, wanted = paid+h.Paid, served+h.Served, supply+h.Supply, wanted+h.Wanted
		}
		v := Cell{Region: regions[c.region].code, Class: classes[c.class].name, Price: paid / max(served, 1),
			Supply: supply / uint64(w.tick), Wanted: wanted / uint64(w.tick), Served: served / uint64(w.tick), Hours: c.hours}
		var loads []float64
		for n := c.lo; n < c.hi; n++ {
			if p := &w.providers[n]; p.kind == Honest && p.offered >= uint64(ticksPerDay) {
				loads = append(loads, float64(p.served*1000/p.offered))
			}
		}
		v.Jain = match.Jain(loads)
		jain += float64(v.Jain * float64(len(loads)))
		weight += float64(len(loads))
		r.Cells = append(r.Cells, v)
	}
	if weight > 0 {
		r.Jain = jain / weight
	}
	for i := range w.checkers {
		c := &w.checkers[i]
		r.CheckerCount[c.kind]++
		r.CheckerEarned[c.kind] += c.earned
		r.CheckerLost[c.kind] += c.lost
	}
}
