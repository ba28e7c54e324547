package sim

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/work"
)

// Run plays a network and gives what came of it. It ends early only with ctx's
// error.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	w, err := newWorld(cfg)
	if err != nil {
		return nil, err
	}
	n := w.cfg.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for range min(n, maxWorkers, len(w.cells)) {
		w.workers = append(w.workers, &worker{w: w, fees: make([]work.Amount, len(w.checkers)), losses: make([]work.Amount, len(w.checkers))})
	}
	res := newResult(w)
	for d := range w.cfg.Days {
		for range ticksPerDay {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			w.play()
		}
		if err := w.endDay(res); err != nil {
			return nil, err
		}
		if w.cfg.Progress != nil {
			w.cfg.Progress(d+1, w.cfg.Days, res.Total.Batches)
		}
	}
	res.finish(w)
	return res, nil
}

// play is one tick: demand, then every cell by itself, then what they share.
func (w *world) play() {
	w.demand()
	var next atomic.Int64
	var wait sync.WaitGroup
	for _, k := range w.workers {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(w.cells)); i = next.Add(1) - 1 {
				k.play(&w.cells[i])
			}
		})
	}
	wait.Wait()
	w.sit()
	w.gather()
	w.commons()
	w.tick++
	if step := w.stepAt(w.tick); step != w.step {
		w.step = step
		for i := range w.providers {
			w.providers[i].release(step)
		}
	}
}

// stepAt is the number of the vesting step that a tick lies in.
func (w *world) stepAt(tick int) int64 {
	return int64(tick) * blocksPerTick / max(w.cfg.Params.VestBlocks/vestSteps, 1)
}

// gather moves what the workers' cells, and the court, owe each other: it is all sums.
func (w *world) gather() {
	p := &w.cfg.Params
	for _, k := range w.workers {
		w.clients = w.clients + k.toClients - k.fromClients
		w.pool += k.toPool
		w.court.purses[byWatcher] += k.toWatchers
		w.court.purses[bySaboteur] += k.toSaboteurs
		k.toClients, k.fromClients, k.toPool, k.toWatchers, k.toSaboteurs = 0, 0, 0, 0, 0
		for i := range k.fees {
			w.checkers[i].earned += k.fees[i]
			k.fees[i] = 0
		}
	}
	first := w.workers[0]
	for i := range w.checkers {
		var due work.Amount
		for _, k := range w.workers {
			due += k.losses[i]
			k.losses[i] = 0
		}
		if due == 0 {
			continue
		}
		c := &w.checkers[i]
		lost := min(due, c.bond)
		ref := permille(lost, p.RefereePermille)
		c.bond -= lost
		c.lost += lost
		w.pool += ref
		first.day.Referees += ref
		first.day.SlashBurn += lost - ref
		w.usable[i] = c.bond >= p.CheckerBond
	}
}

// commons pays an hour's emission for what idle providers did: drawn at random, as
// the beacon draws, one after the other until the emission is spent.
func (w *world) commons() {
	p := &w.cfg.Params
	epochs := max(blocksPerTick/p.CommonsEpochBlocks, 1)
	left := incentive.Emission(p.CommonsEmission, int64(w.tick)*blocksPerTick/p.CommonsEpochBlocks, p.CommonsHalvingEpochs) * work.Amount(epochs)
	rnd := stream(w.cfg.Seed, forCommons, uint64(w.tick), 0)
	t := &w.workers[0].day
	for try := 0; left > 0 && try < 256; try++ {
		q := &w.providers[rnd.below(uint64(len(w.providers)))]
		idle := q.room - min(q.room, q.granted)
		if idle == 0 || q.out || q.kind == SelfDealer {
			continue
		}
		pay := min(left, mustCost(classes[q.class].fuel*grainSeconds, uint32(p.CommonsPrice)))
		left -= pay
		val := permille(pay, p.ValidatorPermille)
		burn := permille(pay, 1000-p.ProviderPermille-p.ValidatorPermille)
		share := pay - val - burn
		t.CommonsMinted += pay
		t.CommonsUnits += uint64(classes[q.class].fuel*grainSeconds) / work.FuelPerUnit * uint64(pay) / uint64(mustCost(classes[q.class].fuel*grainSeconds, uint32(p.CommonsPrice)))
		t.FeeBurn += burn
		t.Validators += val
		w.pool += val
		q.bond += share / 2
		q.vest(share-share/2, w.step)
		t.Kinds[q.kind].Income += share
	}
}

// endDay closes a day: validators get their pool, the draw follows the bonds, and
// all money is counted.
func (w *world) endDay(res *Result) error {
	var day Tally
	for _, k := range w.workers {
		day.add(&k.day)
		k.day = Tally{}
		k.odds = oddsBook{}
	}
	paid := work.Amount(0)
	for i := range w.stakes { // who validates stakes what it earns
		share, err := work.MulDiv(w.pool, uint64(w.stakes[i]), uint64(w.stake))
		if err != nil {
			return err
		}
		w.stakes[i] += share
		paid += share
	}
	w.stake += paid
	w.pool -= paid
	res.closeDay(w, day)
	have := w.money() + res.Total.FeeBurn + res.Total.SlashBurn
	if want := w.genesis + res.Total.Minted + res.Total.CommonsMinted; have != want {
		return fmt.Errorf("day %d: money is not conserved: %d ugtg are there or burned, %d should be", len(res.Days), have, want)
	}
	return w.drawTable()
}
