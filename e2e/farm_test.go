package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/gotong-network/gotong/internal/adversary"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Adversaries that are many: identities, or batches at once.

// 3: a worker that is honest at first, then commits false batches of a hundred and
// twenty jobs, all at once: two convictions take all that it has, and void the rest.
func TestAdversaryExitScam(t *testing.T) {
	t.Parallel()
	const honest, jobs, least = 20, 120, 20
	var turned atomic.Bool
	a := newArena(t, 2, 3, cast(map[string]func(*node.Config){
		"provider-0": wrap(func(rt runtime.Runtime) runtime.Runtime {
			return adversary.After(&turned, rt, adversary.CorruptRuntime(rt))
		}),
	}))
	wave := func(jobs int) (l []client.Request) {
		for range jobs {
			l = append(l, a.request(2, work.TierFull))
		}
		return l
	}
	for _, id := range a.postAll(wave(honest)...) {
		for _, b := range a.settled(id, 2) {
			if b.Phase != lifecycle.Settled {
				t.Fatalf("an honest batch is %s: %s", b.Phase, b.Why)
			}
		}
	}
	turned.Store(true)
	lies, height := 0, map[int64]bool{}
	for _, id := range a.postAll(wave(jobs)...) {
		for _, b := range a.settled(id, 2) {
			switch {
			case b.Provider != a.provider(0):
			case b.Phase == lifecycle.Settled:
				t.Errorf("a false batch was paid")
			default:
				lies++
				height[b.CommitHeight] = true
			}
		}
	}
	q, err := a.led.Party(t.Context(), lifecycle.RoleProvider, a.provider(0))
	if err != nil || lies < least || q.Bond != 0 || q.Unvested != 0 {
		t.Errorf("after %d false batches, want at least %d: %+v, %v", lies, least, q, err)
	}
	t.Logf("%d false batches, committed at %d heights; none was paid", lies, len(height))
	a.loses(a.provider(0), a.provider(1))
	a.unhurt(a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}

// 4: a worker that splits its bond over ten accounts, each of which lies: the ten
// together lose, each of them is convicted, and no lie is paid.
func TestAdversarySybilSplit(t *testing.T) {
	t.Parallel()
	const split = 10
	cheats := map[string]func(*node.Config){}
	for i := range split {
		cheats[fmt.Sprintf("provider-%d", i)] = wrap(adversary.CorruptRuntime)
	}
	p := lifecycle.LocalParams()
	p.MinBond = 100 * work.UgtgPerGtg
	a := openArena(t, localnet.Options{Dir: filepath.Join(t.TempDir(), "home"), Providers: split + 1, Checkers: 3, Params: &p, Change: cast(cheats),
		Bond: func(name string) work.Amount {
			if cheats[name] != nil {
				return memberBond / split
			}
			return memberBond
		}})
	for _, b := range a.until("all ten are convicted", 20*(split+1), work.TierEconomic, func() bool {
		for i := range split {
			if !a.convicted(lifecycle.RoleProvider, a.provider(i)) {
				return false
			}
		}
		return true
	}) {
		if b.Provider != a.provider(split) && b.Phase == lifecycle.Settled {
			t.Errorf("a batch of lies was paid")
		}
	}
	sum := int64(0)
	for i := range split {
		a.loses(a.provider(i), a.provider(split))
		sum += a.gain(a.provider(i))
	}
	t.Logf("the ten together lost %d ugtg, the honest worker gained %d", -sum, a.gain(a.provider(split)))
	a.unhurt(a.provider(split), a.checker(0), a.checker(1), a.checker(2))
}

// 8: a farm of fifty identities that is client, indexer, validator, all workers and
// all checkers: together it has less after each job, because less is minted than
// burned.
func TestAdversaryFarm(t *testing.T) {
	t.Parallel()
	const workers, checkers, jobs = 40, 7, 2 // with client, indexer and validator fifty
	p := lifecycle.LocalParams()
	a := openArena(t, localnet.Options{Dir: filepath.Join(t.TempDir(), "home"), Providers: workers, Checkers: checkers, Params: &p})
	earned := map[work.Address]bool{}
	for n := range jobs {
		before, err := a.led.Supply(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range a.settled(a.post(10*workers, work.TierEconomic), 10*workers) {
			earned[b.Provider] = true
		}
		now, err := a.led.Supply(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		burned, minted := now.FeeBurn-before.FeeBurn, now.Minted-before.Minted
		if burned == 0 || minted == 0 || uint64(minted)*1000 > uint64(burned)*a.params.MintPermille || now.Total != before.Total-burned+minted {
			t.Errorf("job %d: burned %s, minted %s, the farm's money went from %s to %s", n, burned, minted, before.Total, now.Total)
		}
	}
	t.Logf("%d of %d workers were paid", len(earned), workers)
	if len(earned) < workers/2 {
		t.Errorf("only %d of %d workers of the farm worked", len(earned), workers)
	}
	for i := range workers {
		if a.convicted(lifecycle.RoleProvider, a.provider(i)) {
			t.Errorf("worker %d was convicted", i)
		}
	}
	a.unhurt()
}

// counted counts the items that a runtime runs.
type counted struct {
	runtime.Runtime
	n *atomic.Int64
}

func (c counted) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	c.n.Add(1)
	return c.Runtime.Run(ctx, t)
}

// 7: a client whose own indexer signs ten times its escrow away. What the escrow holds
// is paid, the workers begin nothing more once it has no room for what they have
// done, and others' work goes on.
func TestAdversaryEscrowTenTimes(t *testing.T) {
	t.Parallel()
	const items = 3000
	var ran atomic.Int64
	count := wrap(func(rt runtime.Runtime) runtime.Runtime { return counted{rt, &ran} })
	a := newArena(t, 2, 3, cast(map[string]func(*node.Config){
		localnet.IndexerKey: func(c *node.Config) { c.Ledger = adversary.Rich(c.Ledger, 10) },
		"provider-0":        count, "provider-1": count,
	}))
	greedy := a.request(items, work.TierEconomic)
	greedy.Chunk = wire.Chunk{Items: items / 2}                 // all at once
	greedy.MaxPrice, greedy.FuelPerItem = 100_000, quickFuel/40 // a tenth, for the escrow holds four times that
	id := a.postAll(greedy)[0]
	var job *lifecycle.Job
	a.eventually("the escrow is used up", func() (err error) {
		if job, err = a.led.Job(t.Context(), id); err != nil {
			return err
		}
		if job.PaidWork < job.Spec.Escrow/2 || job.EscrowLocked > 0 {
			return fmt.Errorf("of %s, %s are paid, %s locked", job.Spec.Escrow, job.PaidWork, job.EscrowLocked)
		}
		return nil
	})
	var paid work.RangeSet
	for _, b := range a.batches(id) {
		if b.Phase != lifecycle.Settled {
			t.Errorf("honest work for a greedy client is %s: %s", b.Phase, b.Why)
		}
		paid = paid.Union(b.Items)
	}
	_, counts, err := a.c.Explain(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	signed := counts.Items - counts.Waiting
	t.Logf("%d items were signed, %d run, and %d paid by the escrow", signed, ran.Load(), paid.Len())
	if signed < 9*paid.Len() {
		t.Errorf("%d items were signed for an escrow that pays %d: the indexer is not what this is about", signed, paid.Len())
	}
	if job.PaidWork > job.Spec.Escrow {
		t.Errorf("%s were paid of an escrow of %s", job.PaidWork, job.Spec.Escrow)
	}
	if n := ran.Load(); n > items/2 {
		t.Errorf("%d of %d items were run for an escrow that pays %d", n, items, paid.Len())
	}
	for _, b := range a.settled(a.post(40, work.TierEconomic), 40) {
		if b.Phase != lifecycle.Settled {
			t.Errorf("another job's batch is %s: %s", b.Phase, b.Why)
		}
	}
	if _, err := a.c.Cancel(t.Context(), id, 0); err != nil {
		t.Error(err)
	}
	a.unhurt(a.provider(0), a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}
