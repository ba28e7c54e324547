package sim

import (
	"fmt"
	"slices"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/work"
)

// Kind is how a provider behaves.
type Kind uint8

// The kinds of providers. All but the first cheat.
const (
	Honest     Kind = iota
	Garbage         // fakes everything
	Thrifty1        // fakes 1 % of the fuel
	Thrifty5        // fakes 5 %
	Thrifty20       // fakes 20 %
	ExitScam        // honest for scamAfter batches, then many small false ones at once
	Ring            // fakes 20 %; checkers of the ring confirm it
	Withholder      // fakes 5 %, and is silent when a fake is drawn
	Grinder         // fakes 20 %; grinderPermille of the proposers skip blocks that catch it
	SelfDealer      // pays itself for work that costs it nothing
	Keeper          // keeps the outputs of one batch in five
	Freezer         // a name of the ring's for one try to have a program suspended: see tryFreezes
	kinds
)

var kindNames = [kinds]string{"honest", "garbage", "thrifty 1 %", "thrifty 5 %", "thrifty 20 %", "exit scam", "ring 20 %", "withholder 5 %", "grinder 20 %", "self-dealer", "keeper 20 %", "freezer"}

// String gives the kind's name.
func (k Kind) String() string { return kindNames[k] }

// fakes is the share of fuel, in permille, that a kind does not execute.
var fakes = [kinds]uint64{Garbage: 1000, Thrifty1: 10, Thrifty5: 50, Thrifty20: 200, ExitScam: 1000, Ring: 200, Withholder: 50, Grinder: 200, Freezer: 1000}

// What the cheats' plans are.
const (
	scamAfter       = 200 // settled batches
	grinderPermille = 100 // of the proposers
	awayTicks       = 72  // until whoever lost its whole bond comes back under another name
)

// provider is one machine and its owner's money in ugtg.
type provider struct {
	class, region uint8
	kind          Kind
	online, out   bool // out: lost its bond, comes back at rejoin

	lo, hi, price uint32 // ugtg per work unit
	speed         uint32 // permille of the class's median
	latency       uint16 // of the last mile, milliseconds
	load          uint16 // smoothed, permille

	until       int32 // minute at which the session ends
	rejoin      int32 // tick
	convictedAt int32 // tick of the last conviction, −1 for none
	room        uint32
	granted     uint32 // grains of this tick
	given       uint32 // items a slot lately

	settled, missed uint32
	convictions     uint32 // under its present name

	wallet, bond, unvested, target work.Amount
	tranches                       [vestSteps + 2]work.Amount
	pledged                        work.Amount // of unvested, for all open batches
	pending                        pending     // not behind any dispute
	last                           key         // of its last batch

	first, newest *dispute // undecided batches, oldest first
	frozen        *dispute // batches that wait for governance
	voids         uint32   // how often all its open batches were voided

	offered, served uint64 // grains × 1000 since the start
}

// pending are batches that have passed their checks and wait: for their window's end,
// and for what is undecided before them.
type pending struct {
	batches, wrong, blocks                             uint64
	ticks                                              uint64 // sum of their commits' ticks
	pay, free, vest, bond, mint, val, feeBurn, pledged work.Amount
	largest                                            work.Amount // bond of them
}

func (d *pending) add(o *pending) {
	d.batches += o.batches
	d.wrong += o.wrong
	d.blocks += o.blocks
	d.ticks += o.ticks
	d.pay += o.pay
	d.free += o.free
	d.vest += o.vest
	d.bond += o.bond
	d.mint += o.mint
	d.val += o.val
	d.feeBurn += o.feeBurn
	d.pledged += o.pledged
	d.largest = max(d.largest, o.largest)
}

// vestSteps is into how many steps the machine cuts the vesting time.
const vestSteps = 16

// CheckerKind is how a checker behaves.
type CheckerKind uint8

// The kinds of checkers.
const (
	CheckerHonest CheckerKind = iota
	CheckerRing               // confirms what its ring's providers fake
	CheckerLazy               // executes nothing and guesses
	CheckerAbsent             // is often away
	checkerKinds
)

var checkerNames = [checkerKinds]string{"honest", "ring", "lazy", "absent"}

// String gives the kind's name.
func (k CheckerKind) String() string { return checkerNames[k] }

// absentPermille is how often an absent checker misses its deadline.
const absentPermille = 300

// checker is a bonded checker.
type checker struct {
	kind   CheckerKind
	bond   work.Amount
	earned work.Amount
	lost   work.Amount
}

// world is everything that a run moves.
type world struct {
	cfg       Config
	rules     incentive.Rules
	tick      int
	step      int64 // of vesting
	providers []provider
	names     string // seven digits each: accounts that sort as they are numbered
	cells     []cell
	checkers  []checker
	draw      alias  // of checkers by bond
	usable    []bool // checkers with a stake left
	rho       uint64 // largest checker's share, permille
	ringShare uint64 // of the drawable bond, in parts of 1e9
	stakes    []work.Amount
	stake     work.Amount // of all validators

	clients, pool work.Amount // clients' money; validators' fees of the day
	court         court
	genesis       work.Amount
	workers       []*worker
	sizes         sizes
	bondShare     uint64 // see measureBond
}

// cell is the market of one class in one region.
type cell struct {
	class, region int
	lo, hi        int // its providers
	online        []uint32
	queue         []job
	arrivals      uint64 // grains, of this tick
	price         uint32 // mean price of the last tick with work
	free          uint64 // grains that stayed free in the last tick
	room, queued  uint64
	hours         []Hour
}

// job is a part of the demand that is dealt out together.
type job struct {
	left    uint64 // grains
	program uint8
	limit   uint32 // ugtg per work unit that its client pays at most
	kind    uint8  // by itemsPerGrain
	tier    uint8  // by tiers
	born    int32
}

func (c *cell) grain() work.Fuel { return classes[c.class].fuel * grainSeconds }

func newWorld(cfg Config) (*world, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	w := &world{cfg: cfg, rules: cfg.Params.Rules(), sizes: newSizes()}
	w.bondShare = w.measureBond()
	w.placeProviders()
	w.bondCheckers()
	w.stakeValidators()
	w.clients = work.Amount(cfg.Providers) * work.Amount(cfg.Days) * 1000 * work.UgtgPerGtg
	w.court.endow(&w.cfg)
	w.genesis = w.money()
	return w, w.drawTable()
}

// placeProviders makes the cells and their providers, in the order of the cells.
func (w *world) placeProviders() {
	n := w.cfg.Providers
	w.providers = make([]provider, 0, n)
	var names []byte
	shares := uint64(0)
	for c := range classes {
		for r := range regions {
			lo := len(w.providers)
			shares += classes[c].share * regions[r].supply
			for len(w.providers) < int(uint64(n)*shares/1_000_000) {
				names = fmt.Appendf(names, "%07d", len(w.providers))
				w.providers = append(w.providers, w.newProvider(c, r, len(w.providers)))
			}
			w.cells = append(w.cells, cell{class: c, region: r, lo: lo, hi: len(w.providers), price: uint32(2 * classes[c].lo)})
		}
	}
	w.names = string(names)
}

// measureBond is the bond of a large batch of tier economic, in millionths of its
// pay: what a provider has in mind when it bonds.
func (w *world) measureBond() uint64 {
	k := key{class: 2, kind: 1, grains: grainsPerBatch, price: 1 << 10}
	q := w.newQuote(k)
	return uint64(must(work.MulDiv(q.bond, 1_000_000, uint64(q.pay)))) + 1
}

// name is a provider's account.
func (w *world) name(i int) work.Address { return work.Address(w.names[7*i : 7*i+7]) }

func (w *world) newProvider(c, r, i int) provider {
	rnd := stream(w.cfg.Seed, forSetup, uint64(i), 0)
	k := &classes[c]
	p := provider{class: uint8(c), region: uint8(r), convictedAt: -1}
	p.speed = uint32(rnd.spread())
	p.latency = uint16(min(k.lastMs*rnd.spread()/1000, 1000))
	p.lo = uint32(max(k.lo*(700+rnd.below(600))/1000, uint64(w.cfg.Params.MinPrice)))
	p.hi = p.lo * uint32(3000+rnd.below(3000)) / 1000
	p.price, p.load = (p.lo+p.hi)/2, 500
	if rnd.hit(uint64(w.cfg.CheatPermille)) {
		p.kind = 1 + Kind(rnd.below(uint64(Freezer)-1))
	}
	if rnd.hit(k.online) {
		p.online = true
		p.until = int32(rnd.below(k.session * rnd.spread() / 1000))
	}
	most := mustCost(k.fuel*grainSeconds*grainsPerBatch, p.hi)
	one := max(w.cfg.Params.MinBond, must(work.MulDiv(most, w.bondShare, 1_000_000)))
	p.target = one * work.Amount(max(rnd.wide(), 1100)) / 1000
	p.bond, p.wallet = p.target, 12*p.target
	return p
}

// bondCheckers makes a checker for every thirty providers. The ring's few own
// their part of all bonds.
func (w *world) bondCheckers() {
	n := max(w.cfg.Providers/30, 3)
	w.checkers = make([]checker, n)
	least := w.cfg.Params.CheckerBond
	var honest work.Amount
	for i := range w.checkers {
		rnd := stream(w.cfg.Seed, forSetup, uint64(i), 1)
		c := &w.checkers[i]
		c.bond = 4*least + 16*least*work.Amount(rnd.wide())/1000
		switch x := rnd.below(1000); {
		case w.cfg.CheatPermille == 0:
		case x < 20 && n > 20:
			c.kind = CheckerLazy
		case x < 50 && n > 20:
			c.kind = CheckerAbsent
		case x < 100 && n > 20 && w.cfg.RingPermille > 0:
			c.kind = CheckerRing
		}
		if c.kind != CheckerRing {
			honest += c.bond
		}
	}
	w.armRing(honest)
}

// armRing gives the ring's checkers equal parts of its share of all bond.
func (w *world) armRing(honest work.Amount) {
	var ring []int
	for i := range w.checkers {
		if w.checkers[i].kind == CheckerRing {
			ring = append(ring, i)
		}
	}
	if len(ring) == 0 {
		return
	}
	all := honest * work.Amount(w.cfg.RingPermille) / work.Amount(1000-w.cfg.RingPermille)
	for _, i := range ring {
		w.checkers[i].bond = max(all/work.Amount(len(ring)), 4*w.cfg.Params.CheckerBond)
	}
}

// stakeValidators makes 4 to 150 validators of unequal stake.
func (w *world) stakeValidators() {
	w.stakes = make([]work.Amount, min(max(w.cfg.Providers/400, 4), 150))
	for i := range w.stakes {
		rnd := stream(w.cfg.Seed, forSetup, uint64(i), 2)
		w.stakes[i] = 10_000 * work.UgtgPerGtg * work.Amount(rnd.wide()) / 1000
		w.stake += w.stakes[i]
	}
	slices.Sort(w.stakes)
}

// drawTable makes the table of checkers anew: once a day, as bonds have changed.
func (w *world) drawTable() error {
	weights := make([]uint64, len(w.checkers))
	w.usable = make([]bool, len(w.checkers))
	var total, largest, ring uint64
	for i := range w.checkers {
		c := &w.checkers[i]
		if w.usable[i] = c.bond >= w.cfg.Params.CheckerBond; !w.usable[i] {
			continue
		}
		weights[i] = uint64(c.bond)
		total += weights[i]
		largest = max(largest, weights[i])
		if c.kind == CheckerRing {
			ring += weights[i]
		}
	}
	if total == 0 {
		return fmt.Errorf("%w: no checker has a bond left", ErrConfig)
	}
	w.draw = newAlias(weights, total)
	if rho := largest*1000/total + 1; rho != w.rho {
		w.rho = rho
		for _, k := range w.workers {
			k.quotes.clear()
		}
	}
	v, err := work.MulDiv(work.Amount(ring), 1_000_000_000, total)
	w.ringShare = uint64(v)
	return err
}

// alias draws a number by weight in constant time (Walker, Vose).
type alias struct {
	total uint64 // each column's height
	cut   []uint64
	other []uint32
}

func newAlias(weights []uint64, total uint64) alias {
	n := uint64(len(weights))
	a := alias{total: total, cut: make([]uint64, n), other: make([]uint32, n)}
	var small, large []uint32
	left := make([]uint64, n)
	for i, v := range weights {
		left[i] = v * n
		if left[i] < total {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.cut[s], a.other[s] = left[s], l
		left[l] -= total - left[s]
		if left[l] < total {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) { // exactly full columns: the sums are whole numbers
		a.cut[i], a.other[i] = total, i
	}
	return a
}

func (a *alias) pick(r *rng) uint32 {
	i := uint32(r.below(uint64(len(a.cut))))
	if r.below(a.total) < a.cut[i] {
		return i
	}
	return a.other[i]
}

// money is all there is.
func (w *world) money() work.Amount {
	sum := w.clients + w.pool + w.stake + w.court.money()
	for i := range w.providers {
		p := &w.providers[i]
		sum += p.wallet + p.bond + p.unvested + p.pending.pay
		for d := p.first; d != nil; d = d.next {
			sum += d.after.pay
		}
	}
	for i := range w.checkers {
		sum += w.checkers[i].bond + w.checkers[i].earned
	}
	return sum
}

// permille is ⌊a × share / 1000⌋ for a share of at most 1000, as the machine has it.
func permille(a work.Amount, share uint64) work.Amount {
	v, err := work.MulDiv(a, min(share, 1000), 1000)
	if err != nil {
		panic("sim: a share of an amount overflows")
	}
	return v
}

// mustCost is the price of fuel that a machine of this world can burn.
func mustCost(f work.Fuel, price uint32) work.Amount {
	v, err := work.Cost(f, work.Price(price))
	if err != nil {
		panic("sim: a batch's price overflows")
	}
	return v
}
