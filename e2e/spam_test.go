package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/gotong-network/gotong/internal/adversary"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// The crowd of TestAdversaryDisputeSpam. What it does to the time of blocks is the row
// spam_block_time of the benchmarks.
const (
	crowdAccounts = 100
	crowdEach     = 3
	crowdFunds    = 50 * work.UgtgPerGtg
)

// 10: a hundred Sybils challenge everything that is in its window, all at once, again
// and again, answer and open with forged paths, and vote. Honest work is paid all the
// same, no item is judged twice, and each false challenge costs its stake.
func TestAdversaryDisputeSpam(t *testing.T) {
	t.Parallel()
	a := newArena(t, 2, 3, nil, func(p *lifecycle.Params) { p.WindowBlocks, p.MaxDisputes = 20, 2 })
	crowd := a.crowd()
	st, err := a.led.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := crowd.Run(ctx, st.Height); err != nil {
			t.Error(err)
		}
	})
	defer func() { stop(); wg.Wait() }()
	var jobs []work.JobID
	for range 3 {
		jobs = append(jobs, a.post(20, work.TierEconomic))
	}
	judged := 0
	for _, id := range jobs {
		for _, b := range a.settled(id, 20) {
			if b.Phase != lifecycle.Settled {
				t.Errorf("an honest batch is %s: %s", b.Phase, b.Why)
			}
			seen := map[uint64]bool{}
			for _, d := range b.Decided {
				if seen[d.Position] {
					t.Errorf("the referee ran position %d of batch %s twice", d.Position, b.ID.Short())
				}
				seen[d.Position] = true
			}
			judged += len(b.Decided)
		}
	}
	stop()
	wg.Wait()
	var left work.Amount
	for _, who := range crowd.Accounts {
		left += a.worth(who)
	}
	lost := crowdAccounts*crowdFunds - left
	t.Logf("%d challenges were taken and %d messages refused; %d items judged; the crowd lost %s", crowd.Taken(), crowd.Refused(), judged, lost)
	if judged == 0 || lost != work.Amount(judged)*a.params.ChallengeStake {
		t.Errorf("%d items were judged, a stake is %s, and the crowd lost %s", judged, a.params.ChallengeStake, lost)
	}
	if crowd.Taken() > int64(judged) || crowd.Refused() < crowdAccounts {
		t.Errorf("%d challenges were taken and %d messages refused", crowd.Taken(), crowd.Refused())
	}
	a.unhurt(a.provider(0), a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}

// crowd founds the spammers, with the client's money.
func (a *arena) crowd() *adversary.Crowd {
	a.t.Helper()
	led := a.led.(*cosmos.Client)
	c := &adversary.Crowd{Ledger: led, Each: crowdEach}
	var found []ledger.Msg
	for n := range crowdAccounts {
		who := led.AddKey([32]byte{1, 31: byte(n + 1)})
		c.Accounts = append(c.Accounts, who)
		found = append(found, ledger.Send{To: who, Amount: crowdFunds})
	}
	if _, err := a.led.Submit(a.t.Context(), a.m.Client, found...); err != nil {
		a.t.Fatal(err)
	}
	return c
}

// 10: a worker that answers challenges with forged paths, to stall: the chain takes no
// such answer, and to have given none costs as much as a lie.
func TestAdversaryForgedPaths(t *testing.T) {
	t.Parallel()
	a := newArena(t, 2, 3, cast(map[string]func(*node.Config){
		"provider-0": func(c *node.Config) { c.Ledger = adversary.Forge(c.Ledger) },
	}), func(p *lifecycle.Params) { p.WindowBlocks, p.OpenBlocks = 25, 20 })
	id := a.post(40, work.TierEconomic)
	b := a.inPhase(id, a.provider(0), lifecycle.Window)
	if _, err := a.led.Submit(t.Context(), a.m.Client, ledger.Challenge{Batch: b.ID, Position: 0, Leaf: falseLeaf(b)}); err != nil {
		t.Fatal(err)
	}
	for _, x := range a.settled(id, 40) {
		if x.ID == b.ID && x.Phase != lifecycle.Void || x.Provider == a.provider(1) && x.Phase != lifecycle.Settled {
			t.Errorf("a batch of %s is %s: %s", x.Provider, x.Phase, x.Why)
		}
	}
	a.loses(a.provider(0), a.provider(1))
	a.unhurt(a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}

// inPhase waits for a batch of a provider in a phase.
func (a *arena) inPhase(id work.JobID, provider work.Address, phase lifecycle.Phase) (b *lifecycle.Batch) {
	a.t.Helper()
	a.eventually(fmt.Sprintf("a batch of %s is %s", provider, phase), func() error {
		state := ""
		for _, b = range a.batches(id) {
			if b.Provider == provider && b.Phase == phase {
				return nil
			}
			state += fmt.Sprintf(" %s of %s", b.Phase, b.Provider)
		}
		return errors.New("there are" + state)
	})
	return b
}
