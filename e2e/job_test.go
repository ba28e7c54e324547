package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// program is testdata/work as a WASI command, built once per run.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "gotong-e2e-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "work.wasm")
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./testdata/work")
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testdata/work: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

func mustProgram(t testing.TB) []byte {
	t.Helper()
	b, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sum is what testdata/work computes.
func sum(b []byte, i, n uint64) uint64 {
	x := i + 0x9e3779b97f4a7c15
	for _, c := range b {
		x = (x ^ uint64(c)) * 0x100000001b3
	}
	x |= 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

// sums is a job of numbered items that read one shared file.
type sums struct {
	items, rounds uint64
	shared        []byte
	tier          work.Tier
}

func (s sums) request(t testing.TB) client.Request {
	t.Helper()
	sources := client.Sources{}
	id, err := sources.Add(client.BytesSource(s.shared))
	if err != nil {
		t.Fatal(err)
	}
	return client.Request{
		Program: client.BytesSource(mustProgram(t)), Sources: sources, Seed: 1, Tier: s.tier,
		List: &work.ItemList{
			Args:   []string{"sum", "{i}", strconv.FormatUint(s.rounds, 10), "shared.txt"},
			Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: s.items},
			Shared: []work.File{{Path: "shared.txt", Blob: id}},
		},
		Limits:      work.Limits{MemoryBytes: 256 << 20, Fuel: 100_000_000_000, OutputBytes: 1 << 20},
		FuelPerItem: 2_000_000_000,
	}
}

// want is what item i prints.
func (s sums) want(i uint64) string { return fmt.Sprintf("%d %016x\n", i, sum(s.shared, i, s.rounds)) }

// follow watches the job to its end, compares every output, and gives how it ended.
func (s sums) follow(ctx context.Context, t testing.TB, c *client.Client, id work.JobID, on func(client.Progress)) *client.Outcome {
	t.Helper()
	results := make([]*work.Result, s.items)
	out, err := c.Watch(ctx, id, func(p client.Progress) error {
		for _, u := range p.Changed {
			if u.State == wire.ItemVerified {
				results[u.Index] = u.Result
			}
		}
		if on != nil {
			on(p)
		}
		return nil
	})
	if err != nil {
		t.Errorf("watch: %v", err)
		return nil
	}
	if n := out.Verified.Len(); n != s.items {
		t.Errorf("%d of %d items verified; failed: %v, missing: %v", n, s.items, out.Failed, out.Missing)
		return out
	}
	err = c.Deliver(ctx, results, func(r *work.Result, open client.Opener) error {
		o, err := open(r.Output.Stdout)
		if err != nil {
			return err
		}
		defer o.Close()
		b, err := io.ReadAll(o)
		if err != nil {
			return err
		}
		if want := s.want(r.Index); string(b) != want {
			t.Errorf("item %d printed %q, want %q", r.Index, b, want)
		}
		return nil
	})
	if err != nil {
		t.Errorf("outputs: %v", err)
	}
	return out
}

// books are the chain's records of one job.
type books struct {
	job     *lifecycle.Job
	batches []*lifecycle.Batch
}

func readBooks(ctx context.Context, t testing.TB, l ledger.Ledger, id work.JobID) books {
	t.Helper()
	var b books
	var err error
	if b.job, err = l.Job(ctx, id); err != nil {
		t.Fatal(err)
	}
	ids, err := l.Batches(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		batch, err := l.Batch(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		b.batches = append(b.batches, batch)
	}
	return b
}

// check holds what must be true of a job that is over, whatever happened to it: each
// item was paid at most MaxCopies times and to a provider at most once, each payment
// is what the batch locked, and the client's money is accounted for.
func (b books) check(t testing.TB) {
	t.Helper()
	spec := b.job.Spec
	all := work.RangeSet{{Lo: 0, Hi: spec.ItemCount}}
	var done work.RangeSet
	copies := make([]uint32, spec.ItemCount)
	paidTo := map[work.Address]work.RangeSet{}
	var paidWork, paidChecks work.Amount
	for _, batch := range b.batches {
		if !batch.Phase.Final() {
			t.Errorf("batch %s of %s is still %s", batch.ID.Short(), batch.Provider, batch.Phase)
		}
		out := work.Amount(0)
		for _, tr := range batch.Transfers {
			if tr.FromPot == lifecycle.PotEscrow && tr.Reason != lifecycle.ReasonCheck && tr.ToPot != lifecycle.PotCheckEscrow {
				out += tr.Amount
			}
			if tr.Reason == lifecycle.ReasonCheck {
				paidChecks += tr.Amount
			}
		}
		if batch.Phase != lifecycle.Settled {
			if out != 0 {
				t.Errorf("batch %s is %s and %s left the escrow for it", batch.ID.Short(), batch.Phase, out)
			}
			continue
		}
		if out != batch.Pay {
			t.Errorf("batch %s paid %s, its pay is %s", batch.ID.Short(), out, batch.Pay)
		}
		paidWork += out
		if twice := paidTo[batch.Provider].Intersect(batch.Items); len(twice) > 0 {
			t.Errorf("%s was paid twice for items %v", batch.Provider, twice)
		}
		paidTo[batch.Provider] = paidTo[batch.Provider].Union(batch.Items)
		done = done.Union(batch.Items)
		for _, r := range batch.Items {
			for i := r.Lo; i < r.Hi; i++ {
				copies[i]++
			}
		}
	}
	for i, n := range copies {
		if n > spec.MaxCopies {
			t.Errorf("item %d was paid %d times, at most %d copies are", i, n, spec.MaxCopies)
		}
	}
	if missing := all.Minus(done); len(missing) > 0 {
		t.Errorf("nobody was paid for items %v", missing)
	}
	if paidWork != b.job.PaidWork || paidChecks != b.job.PaidChecks {
		t.Errorf("the batches paid %s for work and %s for checks, the job says %s and %s", paidWork, paidChecks, b.job.PaidWork, b.job.PaidChecks)
	}
	cost := client.CostOf(b.job)
	if !cost.Closed || cost.Locked != 0 || cost.Free != 0 {
		t.Errorf("the job is not closed and empty: %+v", cost)
	}
	if cost.Escrowed != cost.Paid()+cost.Refunded {
		t.Errorf("escrowed %s, paid %s, refunded %s", cost.Escrowed, cost.Paid(), cost.Refunded)
	}
}

// slashed is what each account lost of its bond.
func (b books) slashed() map[work.Address]work.Amount {
	m := map[work.Address]work.Amount{}
	for _, batch := range b.batches {
		for _, tr := range batch.Transfers {
			switch tr.Reason {
			case lifecycle.ReasonSlash, lifecycle.ReasonBounty, lifecycle.ReasonDamages, lifecycle.ReasonReferee:
				m[tr.From] += tr.Amount
			}
		}
	}
	return m
}

// honest holds that nobody lost anything: no batch void, unpaid or disputed, no
// conviction, no bond under what was bonded.
func (b books) honest(ctx context.Context, t testing.TB, l ledger.Ledger) {
	t.Helper()
	for _, batch := range b.batches {
		if batch.Phase != lifecycle.Settled || batch.Dispute != nil {
			t.Errorf("batch %s of honest %s: %s: %s (dispute: %+v)", batch.ID.Short(), batch.Provider, batch.Phase, batch.Why, batch.Dispute)
		}
		for _, c := range batch.Checks {
			if c.Lost {
				t.Errorf("batch %s: honest checker %s was judged wrong", batch.ID.Short(), c.Checker)
			}
			if c.Missed {
				t.Logf("batch %s: checker %s came too late and was replaced", batch.ID.Short(), c.Checker)
			}
		}
	}
	for who, amount := range b.slashed() {
		t.Errorf("honest %s was slashed by %s", who, amount)
	}
	for _, role := range []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker} {
		parties, err := l.Parties(ctx, role)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parties {
			if p.Convictions != 0 || p.Bond < 1000*work.UgtgPerGtg || p.Locked != 0 { // rewards bond themselves
				t.Errorf("%s %s: %d convictions, bond %s of which %s is locked", role, p.Account, p.Convictions, p.Bond, p.Locked)
			}
		}
	}
}

// conserved holds that the supply is what it was but for what was burned, and minted
// within its bound, and that the chain's own count of all its money agrees.
func conserved(ctx context.Context, t testing.TB, l *cosmos.Client, before ledger.Supply) {
	t.Helper()
	after, err := l.Supply(ctx)
	if err != nil {
		t.Fatal(err)
	}
	fees := after.FeeBurn - before.FeeBurn
	burned, minted := fees+after.SlashBurn-before.SlashBurn, after.Minted-before.Minted
	if minted > fees/2 || after.MintedCommons != before.MintedCommons || before.Total-burned+minted != after.Total {
		t.Errorf("supply: %s before, %s burned, %s of it fees, %s minted, %s after", before.Total, burned, fees, minted, after.Total)
	}
	if ok, difference, err := l.Conserved(ctx); err != nil || !ok {
		t.Errorf("the chain's money does not add up: %s (%v)", difference, err)
	}
}
