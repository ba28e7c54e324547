package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// postAtOnce bounds the jobs of one transaction.
const postAtOnce = 100

// firstResult posts jobs of one item, and then has them served one after another,
// each watched until the client has its receipt. Between two of them the batch of
// the one before settles, which is no part of a first result and would fill the
// machine otherwise.
func firstResult(ctx context.Context, b *bench) error {
	r, err := openRig(ctx, localnet.Options{Providers: 2, Checkers: 3}, b.log)
	if err != nil {
		return err
	}
	defer r.Close()
	jobs, err := r.postMany(ctx, b.size(1000, 200)+warmJobs)
	if err != nil {
		return err
	}
	took := make([]time.Duration, 0, len(jobs))
	m, err := startMeter()
	if err != nil {
		return err
	}
	for i, s := range jobs {
		d, err := r.first(ctx, s)
		if err != nil {
			return fmt.Errorf("job %d: %w", i, err)
		}
		if i >= warmJobs {
			took = append(took, d)
		}
		time.Sleep(firstPause)
	}
	wall, cpu, err := m.stop()
	if err != nil {
		return err
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.values["first_result_p50"] = ms(quantile(took, 0.5))
	b.say("%d sequential first results: p10 %.2f ms, p50 %.2f ms, p90 %.2f ms, p99 %.2f ms", len(took),
		ms(quantile(took, 0.1)), ms(quantile(took, 0.5)), ms(quantile(took, 0.9)), ms(quantile(took, 0.99)))
	b.say("%.1f ms CPU per job with its chain, check and settlement, %.0f %% of a core", ms(cpu)/float64(len(jobs)), 100*cpu.Seconds()/wall.Seconds())
	return nil
}

const (
	warmJobs   = 20                     // not counted: workers start and load the program
	firstPause = 100 * time.Millisecond // about what settling a batch of one item costs
)

// postMany posts jobs of one item each.
func (r *rig) postMany(ctx context.Context, n int) ([]*work.JobSpec, error) {
	q := rangeJob(noopModule, 1, work.TierEconomic, wasmFuel)
	p, err := r.client.Plan(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := r.push(ctx, q); err != nil {
		return nil, err
	}
	var all []*work.JobSpec
	for len(all) < n {
		var msgs []ledger.Msg
		for range min(postAtOnce, n-len(all)) {
			s := p.Spec
			s.Nonce += uint64(len(all))
			all = append(all, &s)
			msgs = append(msgs, ledger.CreateJob{Spec: s})
		}
		if _, err := r.led.Submit(ctx, r.account, msgs...); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// first is the time from handing a posted job over to its first receipt here.
func (r *rig) first(ctx context.Context, s *work.JobSpec) (time.Duration, error) {
	began := time.Now()
	if err := r.accept(ctx, s, wire.Chunk{}); err != nil {
		return 0, err
	}
	err := r.ask(ctx, &wire.Request{Op: wire.OpWatch, Job: s.ID()}, func(a *wire.Answer) (bool, error) {
		for _, u := range a.Updates {
			switch {
			case u.State == wire.ItemFailed:
				return false, fmt.Errorf("the item failed: %s", u.Why)
			case u.Result != nil:
				return true, nil
			}
		}
		return false, nil
	})
	return time.Since(began), err
}
