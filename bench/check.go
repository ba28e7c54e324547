package main

import (
	"context"
	"time"

	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// checkFuel is what the measuring loop (wasm.Calibration) may use at most.
const checkFuel = 1_000_000_000

// checkCPU runs the same items in tier economic and in tier none, in turns so that
// a drift of the machine meets both, and compares the CPU of all processes from
// the indexer's accept until every item is verified.
func checkCPU(ctx context.Context, b *bench) error {
	r, err := openRig(ctx, localnet.Options{Providers: 2, Checkers: 3}, b.log)
	if err != nil {
		return err
	}
	defer r.Close()
	items := b.size(2_400, 300) // of each turn: three CPU minutes in all
	cpu, count := map[work.Tier]time.Duration{}, map[work.Tier]int{}
	turns := []work.Tier{work.TierEconomic, work.TierNone, work.TierNone, work.TierEconomic}
	for _, t := range turns[:2] { // warm: everybody has the program
		if _, _, err := r.checkTurn(ctx, t, 20); err != nil {
			return err
		}
	}
	for _, t := range turns {
		wall, c, err := r.checkTurn(ctx, t, items)
		if err != nil {
			return err
		}
		cpu[t] += c
		count[t] += items
		b.say("tier %s: %d items, %.1f s CPU, %.2f ms per item, %.1f s", t, items, c.Seconds(), c.Seconds()*1e3/float64(items), wall.Seconds())
	}
	each, none := cpu[work.TierEconomic], cpu[work.TierNone]
	b.values["check_cpu"] = each.Seconds() / none.Seconds()
	b.say("%d items of each tier: %.1f s CPU checked, %.1f s unchecked, %.1f s in total", count[work.TierNone], each.Seconds(), none.Seconds(), (each + none).Seconds())
	return nil
}

// checkTurn is one job from accept to the last verified item.
func (r *rig) checkTurn(ctx context.Context, t work.Tier, items int) (wall, cpu time.Duration, err error) {
	s, err := r.post(ctx, rangeJob(wasm.Calibration(), uint64(items), t, checkFuel))
	if err != nil {
		return 0, 0, err
	}
	m, err := startMeter()
	if err != nil {
		return 0, 0, err
	}
	if err := r.accept(ctx, s, wire.Chunk{}); err != nil {
		return 0, 0, err
	}
	if err := r.until(ctx, s.ID(), verified); err != nil {
		return 0, 0, err
	}
	return m.stop()
}
