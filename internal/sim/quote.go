package sim

import (
	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/work"
)

// quote is all money of one kind of batch: a pure function of its key, so that all
// batches alike share it.
type quote struct {
	items    uint64
	fuel     work.Fuel
	itemFuel work.Fuel
	sample   uint32 // the tier's own m
	checkers uint64 // k

	pay, val, feeBurn work.Amount // of a settled batch
	free, vest        work.Amount // the provider's, reward included
	mint, mintBond    work.Amount // minted; the part of it that bonds itself
	bond              work.Amount
	fee               work.Amount // of checking one item
	stake             work.Amount // of who challenges it or claims an output
	checkBlocks       uint64      // to execute one item
	payBlocks         uint64      // from commit to pay
	load              incentive.Batch
	burned            work.Amount   // of its bond, if it is slashed
	pledges           []work.Amount // by m−1: the pledge with which m draws are enough
}

// key names a kind of batch.
type key struct {
	class, kind, tier uint8
	grains            uint8
	price             uint32
}

// newQuote asks incentive for a batch of grains at a price.
func (w *world) newQuote(k key) *quote {
	grain := classes[k.class].fuel * grainSeconds
	return w.price(&quote{items: itemsPerGrain[k.kind] * uint64(k.grains), fuel: grain * work.Fuel(k.grains), itemFuel: grain / work.Fuel(itemsPerGrain[k.kind])}, tiers[k.tier], k.price)
}

// price fills in what items and fuel of a batch lead to.
func (w *world) price(q *quote, tier work.Tier, price uint32) *quote {
	p := &w.cfg.Params
	b := incentive.Batch{Tier: tier, Items: q.items, Fuel: q.fuel, MaxItemFuel: q.itemFuel, Price: work.Price(price), LargestPermille: w.rho}
	q.sample, q.checkers = w.rules.SampleSize(b.Tier, b.Items), uint64(w.rules.Checkers(b.Tier))
	q.pay = mustCost(q.fuel, price)
	q.val = permille(q.pay, p.ValidatorPermille)
	q.feeBurn = permille(q.pay, 1000-p.ProviderPermille-p.ValidatorPermille)
	share := q.pay - q.val - q.feeBurn
	q.vest = permille(share, p.VestPermille)
	q.free = share - q.vest
	reward := must(incentive.Reward(q.feeBurn, p.MintPermille))
	q.mint, q.mintBond = reward, reward/2
	q.vest += reward - q.mintBond
	q.bond = must(w.rules.RequiredBond(b))
	q.fee = must(w.rules.CheckFee(q.itemFuel, b.Price))
	q.stake = must(p.AccusationStake(q.itemFuel, b.Price))
	q.burned = must(work.MulDiv(q.bond, 1000-w.rules.FinderPermille-w.rules.ClientPermille-w.rules.RefereePermille, 1000))
	q.load = b
	if p.VestBlocks == 0 { // nothing vests: all is free at once
		q.free, q.vest = q.free+q.vest, 0
	}
	q.checkBlocks = uint64(q.itemFuel)/checkerFuelPerBlock + 1
	// Each message of a party takes two blocks; the checkers work side by side. The
	// draw is made a block after the one whose beacon it uses.
	q.payBlocks = uint64(p.DrawDelayBlocks) + p.DrawSpreadBlocks/2 + 1 + 2 + q.checkBlocks + 2 + uint64(p.LookDelayBlocks) + 2 + uint64(p.WindowBlocks)
	return q
}

// checkerFuelPerBlock is what one slot of a checker or validator executes in a block
// of five seconds.
const checkerFuelPerBlock = 5 * 1_200_000_000

// draws is incentive's ReducedSample for this quote: the fewest draws whose pledge
// the provider can give. What it has worked out it keeps.
func (q *quote) draws(r incentive.Rules, slashable work.Amount) (m uint32, pledge work.Amount) {
	if slashable == 0 {
		return q.sample, 0
	}
	for m = 1; m < q.sample; m++ {
		if int(m) > len(q.pledges) {
			q.load.Sample = m
			need := must(r.Deterrent(q.load))
			q.pledges = append(q.pledges, max(need-min(need, q.burned), 1))
		}
		if pledge = q.pledges[m-1]; pledge <= slashable {
			return m, pledge
		}
	}
	return q.sample, 0
}

// quoteBook keeps quotes by key.
type quoteBook struct {
	byKey [len5][3][2][grainsPerBatch + 1][]*quote // by class, kind, tier, grains, price
}

const len5 = 5 // classes

// maxPrice bounds the prices that are kept.
const maxPrice = 1 << 14

func (b *quoteBook) clear() { *b = quoteBook{} }

func (b *quoteBook) get(w *world, k key) *quote {
	if w.cfg.each || k.price >= maxPrice {
		return w.newQuote(k)
	}
	row := &b.byKey[k.class][k.kind][k.tier][k.grains]
	for len(*row) <= int(k.price) {
		*row = append(*row, make([]*quote, int(k.price)+1-len(*row))...)
	}
	q := (*row)[k.price]
	if q == nil {
		q = w.newQuote(k)
		(*row)[k.price] = q
	}
	return q
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("sim: a batch of this world has no quote: " + err.Error())
	}
	return v
}
