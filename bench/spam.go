package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/adversary"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/noop"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// The spammers of disputes, and the honest work beside them.
const (
	spamAccounts   = 100
	spamEach       = 16 // transactions of an account that wait for a block, or for room to wait
	spamFunds      = 1000 * work.UgtgPerGtg
	spamValidators = 4
	spamItems      = 1000                  // of a job; the next one is posted when all are computed
	spamItemTime   = 10 * time.Millisecond // of an item: sleep, so that the chain has the processors
)

// paced is the runtime that executes nothing, at the pace of one that does.
type paced struct{ *noop.Runtime }

// Run implements runtime.Runtime.
func (p paced) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(spamItemTime):
	}
	return p.Runtime.Run(ctx, t)
}

// RunMany implements runtime.Batcher.
func (p paced) RunMany(ctx context.Context, tasks []runtime.Task) []runtime.Result {
	results := make([]runtime.Result, len(tasks))
	for i, t := range tasks {
		results[i].Run, results[i].Err = p.Run(ctx, t)
	}
	return results
}

// spamBlockTime measures how long blocks take while honest jobs run one after the
// other, with and without a crowd that challenges all of it, in turns.
func spamBlockTime(ctx context.Context, b *bench) (err error) {
	o := localnet.Options{Providers: 2, Checkers: 3, Validators: spamValidators, BatchTime: time.Second,
		Runtime: func() runtime.Runtime { return paced{noop.New(1)} }}
	r, err := openRig(ctx, o, b.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	crowd, err := r.crowd(ctx)
	if err != nil {
		return err
	}
	jobs := r.keepWorking(ctx)
	defer jobs.stop()
	turns, each := b.size(3, 1), time.Duration(b.size(20, 8))*time.Second
	var quiet, spam intervals
	for range turns {
		if err := quiet.measure(ctx, r.led, each, nil); err != nil {
			return err
		}
		if err := spam.measure(ctx, r.led, each, crowd); err != nil {
			return err
		}
	}
	if err := jobs.stop(); err != nil {
		return err
	}
	if len(quiet.all) == 0 || len(spam.all) == 0 {
		return fmt.Errorf("%d quiet blocks and %d under spam: too few to say anything", len(quiet.all), len(spam.all))
	}
	b.say("%d jobs of %d items, all verified; %d challenges taken and %d messages refused, of %d accounts with %d transactions each at a time", len(jobs.ids), spamItems, crowd.Taken(), crowd.Refused(), spamAccounts, spamEach)
	for name, v := range map[string]*intervals{"quiet": &quiet, "spam": &spam} {
		b.say("%s: %d blocks, mean %.3f s, p99 %.3f s, longest %.3f s; %.3f s of CPU a block, of all validators, roles and senders", name, len(v.all),
			v.mean().Seconds(), quantile(v.all, 0.99).Seconds(), quantile(v.all, 1).Seconds(), v.cpu.Seconds()/float64(max(len(v.all), 1)))
	}
	b.values["spam_block_time"] = (spam.mean() - quiet.mean()).Seconds()
	b.values["spam_block_time_p99"] = (quantile(spam.all, 0.99) - quantile(quiet.all, 0.99)).Seconds()
	return r.unhurt(ctx, jobs.ids)
}

// crowd founds the accounts of the spammers.
func (r *rig) crowd(ctx context.Context) (*adversary.Crowd, error) {
	led := r.led.(*cosmos.Client)
	c := &adversary.Crowd{Ledger: led, Each: spamEach}
	var found []ledger.Msg
	for n := range spamAccounts {
		a := led.AddKey(settleSecret(1000 + n))
		c.Accounts = append(c.Accounts, a)
		found = append(found, ledger.Send{To: a, Amount: spamFunds})
	}
	_, err := r.led.Submit(ctx, r.account, found...)
	return c, err
}

// working posts honest jobs, one after the other.
type working struct {
	ids  []work.JobID
	stop func() error // returns when the last one is verified
}

func (r *rig) keepWorking(ctx context.Context) *working {
	w := &working{}
	over, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-over:
				ended <- w.verified(ctx, r)
				return
			default:
			}
			if err := w.post(ctx, r); err != nil {
				ended <- err
				return
			}
		}
	}()
	w.stop = sync.OnceValue(func() error { close(over); return <-ended })
	return w
}

// post has one more job computed.
func (w *working) post(ctx context.Context, r *rig) error {
	s, err := r.post(ctx, rangeJob(noopModule, spamItems, work.TierEconomic, noop.Fuel))
	if err != nil {
		return err
	}
	w.ids = append(w.ids, s.ID())
	if err := r.accept(ctx, s, wire.Chunk{}); err != nil {
		return err
	}
	return r.until(ctx, s.ID(), stored)
}

func (w *working) verified(ctx context.Context, r *rig) error {
	for _, id := range w.ids {
		if err := r.until(ctx, id, verified); err != nil {
			return err
		}
	}
	return nil
}

// intervals are the times between blocks, and the CPU of this process meanwhile.
type intervals struct {
	all []time.Duration
	cpu time.Duration
}

func (v *intervals) mean() (d time.Duration) {
	for _, x := range v.all {
		d += x
	}
	return d / time.Duration(max(len(v.all), 1))
}

// measure takes the intervals of the next d, as the headers have them. With a crowd,
// it spams meanwhile, from the first block on; without one the first quarter is not
// counted: what a crowd left behind is done then.
func (v *intervals) measure(ctx context.Context, l ledger.Ledger, d time.Duration, crowd *adversary.Crowd) error {
	st, err := l.Status(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	spammed := make(chan error, 1)
	go func() {
		if crowd == nil {
			spammed <- nil
			return
		}
		spammed <- crowd.Run(ctx, max(1, st.Height-10))
	}()
	var m meter
	over, began, last := errors.New("over"), time.Now(), time.Time{}
	err = l.Follow(ctx, st.Height+1, func(blk ledger.Block) (err error) {
		if time.Since(began) > d {
			return over
		}
		if crowd != nil || time.Since(began) > d/4 {
			if last.IsZero() {
				m, err = startMeter()
			} else {
				v.all = append(v.all, blk.Time.Sub(last))
			}
			last = blk.Time
		}
		return err
	})
	if errors.Is(err, over) && !last.IsZero() {
		var cpu time.Duration
		_, cpu, err = m.stop()
		v.cpu += cpu
	}
	cancel()
	return errors.Join(err, <-spammed)
}

// unhurt fails unless every batch of the jobs was paid, no item of one was judged
// twice, nobody who has a bond was convicted, and all money is there.
func (r *rig) unhurt(ctx context.Context, jobs []work.JobID) error {
	for _, id := range jobs {
		batches, err := r.led.Batches(ctx, id)
		if err != nil {
			return err
		}
		for _, id := range batches {
			bt, err := r.led.Batch(ctx, id)
			if err != nil {
				return err
			}
			if bt.Phase != lifecycle.Settled {
				return fmt.Errorf("an honest batch is %s: %s", bt.Phase, bt.Why)
			}
			seen := map[uint64]bool{}
			for _, d := range bt.Decided {
				if seen[d.Position] {
					return fmt.Errorf("position %d of batch %s was judged twice", d.Position, id.Short())
				}
				seen[d.Position] = true
			}
		}
	}
	for _, role := range []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker} {
		parties, err := r.led.Parties(ctx, role)
		if err != nil {
			return err
		}
		for _, p := range parties {
			if p.Convictions > 0 {
				return fmt.Errorf("%s %s is honest and was convicted", role, p.Account)
			}
		}
	}
	if ok, diff, err := r.led.(*cosmos.Client).Conserved(ctx); err != nil || !ok {
		return fmt.Errorf("money is not conserved: %s (%w)", diff, err)
	}
	return nil
}
