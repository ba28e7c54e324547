package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// follow watches a job and gives the proven results.
func follow(t *testing.T, c *client.Client, id work.JobID) (map[uint64]*work.Result, *client.Outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	proven := map[uint64]*work.Result{}
	out, err := c.Watch(ctx, id, func(p client.Progress) error {
		for _, u := range p.Changed {
			if proven[u.Index] != nil {
				t.Errorf("item %d changed to %s after it was verified", u.Index, u.State)
			}
			if u.State == wire.ItemVerified {
				proven[u.Index] = u.Result
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return proven, out
}

func TestJobFromPostToRefund(t *testing.T) {
	t.Parallel()
	w, c := honest(t, nil)
	before, _ := w.chain.Balance(t.Context(), "client")
	id, err := c.Post(t.Context(), request(300))
	if err != nil {
		t.Fatal(err)
	}
	proven, out := follow(t, c, id)
	if out.Verified.Len() != 300 || len(proven) != 300 || len(out.Failed) != 0 || len(out.Missing) != 0 {
		t.Fatalf("%d verified, %d told, failed %v, missing %v", out.Verified.Len(), len(proven), out.Failed, out.Missing)
	}
	var results []*work.Result
	for i := range uint64(300) {
		results = append(results, proven[i])
	}
	n := 0
	err = c.Deliver(t.Context(), results, func(r *work.Result, open client.Opener) error {
		text, err := readAll(open, r.Output.Stdout)
		if want := fmt.Sprintf("result of %d", n); err == nil && (text != want || r.Index != uint64(n)) {
			err = fmt.Errorf("item %d says %q: want %q", r.Index, text, want)
		}
		n++
		return err
	})
	if err != nil || n != 300 {
		t.Fatalf("%d delivered: %v", n, err)
	}
	cost, err := c.WaitClosed(t.Context(), id, 20*time.Second)
	if err != nil || !cost.Closed || cost.Paid() == 0 || cost.Escrowed != cost.Paid()+cost.Refunded {
		t.Fatalf("%+v, %v", cost, err)
	}
	if after, _ := w.chain.Balance(t.Context(), "client"); before-after != cost.Paid() {
		t.Errorf("the balance fell by %s, the job cost %s", before-after, cost.Paid())
	}
	later := w.client("client", nil) // another process, which knows the id only
	if _, out := follow(t, later, id); out.Verified.Len() != 300 {
		t.Errorf("a later watch verified %d items", out.Verified.Len())
	}
	one, err := later.Results(t.Context(), id, work.RangeSet{{Lo: 17, Hi: 18}})
	if err != nil || len(one) != 1 || one[0].State != wire.ItemVerified || one[0].Result.Leaf != proven[17].Leaf {
		t.Errorf("results of item 17: %+v, %v", one, err)
	}
	all, err := later.Results(t.Context(), id, nil)
	if err != nil || len(all) != 300 || slices.ContainsFunc(all, func(u wire.Update) bool { return u.State != wire.ItemVerified || u.Result == nil }) {
		t.Errorf("all results: %d, %v", len(all), err)
	}
	if _, err := later.Results(t.Context(), id, work.RangeSet{{Lo: 300, Hi: 301}}); !errors.Is(err, work.ErrItem) {
		t.Errorf("results of item 300: %v", err)
	}
}

func TestLargeInputsAndOutputs(t *testing.T) {
	t.Parallel()
	_, c := honest(t, nil)
	r := request(1)
	r.Tier = work.TierNone
	r.List = &work.ItemList{Args: []string{"{line}"}, Source: work.SourceLines, Lines: []string{"big1", "big2", "small", "big1"}}
	id, err := c.Post(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	proven, _ := follow(t, c, id)
	var all []*work.Result
	for i := range uint64(4) {
		all = append(all, proven[i])
	}
	want := []string{strings.Repeat("1", 6<<20), strings.Repeat("2", 6<<20), "result of small", strings.Repeat("1", 6<<20)}
	err = c.Deliver(t.Context(), all, func(r *work.Result, open client.Opener) error {
		got, err := readAll(open, r.Output.Stdout)
		if err == nil && got != want[r.Index] {
			err = fmt.Errorf("item %d: %d other bytes", r.Index, len(got))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// liar is a network whose indexer's answers are changed on the way.
type liar struct {
	p2p.Network
	change func(a *wire.Answer)
}

func (l liar) Dial(ctx context.Context, p p2p.Peer, proto p2p.Protocol) (p2p.Stream, error) {
	s, err := l.Network.Dial(ctx, p, proto)
	if err != nil || proto != p2p.ProtocolClient {
		return s, err
	}
	return lyingStream{s, l.change}, nil
}

type lyingStream struct {
	p2p.Stream
	change func(a *wire.Answer)
}

func (s lyingStream) Receive() ([]byte, error) {
	b, err := s.Stream.Receive()
	if err != nil {
		return b, err
	}
	a, err := wire.DecodeAnswer(b)
	if err != nil {
		return nil, err
	}
	s.change(a)
	return wire.EncodeJSON(a)
}

// forge gives an item another result that is consistent in itself.
func forge(u *wire.Update) {
	r := *u.Result
	r.Output.Stdout = work.BlobOf([]byte("forged"))
	r.Leaf.Output = r.Output.Digest(r.Leaf.Outcome)
	u.Result = &r
}

func TestForgedResultIsNeverVerified(t *testing.T) {
	t.Parallel()
	_, c := honest(t, func(n p2p.Network) p2p.Network {
		return liar{n, func(a *wire.Answer) {
			for i := range a.Updates {
				if u := &a.Updates[i]; u.Index == 7 && u.Result != nil {
					forge(u)
				}
			}
		}}
	})
	id, err := c.Post(t.Context(), request(250))
	if err != nil {
		t.Fatal(err)
	}
	proven, out := follow(t, c, id)
	if proven[7] != nil || out.Failed[7] == "" || out.Verified.Contains(7) {
		t.Errorf("the forged item: proven %v, %q", proven[7], out.Failed[7])
	}
	if out.Verified.Len()+uint64(len(out.Failed)) != 250 || out.Verified.Len() == 0 {
		t.Errorf("%d verified, %d failed: want the batches without the forgery verified", out.Verified.Len(), len(out.Failed))
	}
}

func TestOtherItemsResultIsNotAccepted(t *testing.T) {
	t.Parallel()
	var other *work.Result
	_, c := honest(t, func(n p2p.Network) p2p.Network {
		return liar{n, func(a *wire.Answer) {
			for i := range a.Updates {
				u := &a.Updates[i]
				if u.Result == nil {
					continue
				}
				if u.Index == 3 {
					r := *u.Result
					other = &r
				}
				if u.Index == 4 && other != nil {
					r := *other
					r.Index = 4
					u.Result = &r
				}
			}
		}}
	})
	id, err := c.Post(t.Context(), request(8))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	_, err = c.Watch(ctx, id, func(p client.Progress) error {
		for _, u := range p.Changed {
			if u.Index == 4 && u.Result != nil && other != nil && u.Result.Leaf.Input == other.Leaf.Input {
				t.Errorf("item 4 shows the result of item 3 as %s", u.State)
			}
		}
		if p.Counts.Verified == 8 {
			cancel()
		}
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestClaimBeforeTheChainSettled(t *testing.T) {
	t.Parallel()
	w, c := honest(t, func(n p2p.Network) p2p.Network {
		return liar{n, func(a *wire.Answer) {
			for i := range a.Updates {
				if u := &a.Updates[i]; u.Result != nil {
					u.State = wire.ItemVerified
				}
			}
		}}
	})
	id, err := c.Post(t.Context(), request(40))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Watch(t.Context(), id, func(p client.Progress) error {
		if p.Verified == 0 {
			return nil
		}
		ids, err := w.chain.Batches(t.Context(), id)
		if err != nil {
			return err
		}
		var settled work.RangeSet
		for _, b := range ids {
			if x, err := w.chain.Batch(t.Context(), b); err == nil && x.Phase.Final() {
				settled = settled.Union(x.Items)
			}
		}
		if p.Verified > settled.Len() {
			t.Errorf("%d items count as verified and %d are settled", p.Verified, settled.Len())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWatchSurvivesTheIndexer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.indexer()
	gate := make(chan struct{})
	w.provider("a", &toy{gate: gate})
	w.checker("check-1")
	c := w.client("client", nil)
	w.ready(c, 1)
	id, err := c.Post(t.Context(), request(30))
	if err != nil {
		t.Fatal(err)
	}
	lost := false
	out, err := c.Watch(t.Context(), id, func(p client.Progress) error {
		switch {
		case p.Lost != nil && !lost:
			lost = true
			w.indexer()
			close(gate)
		case w.stopped != nil && !lost:
			w.stopped()
		}
		return nil
	})
	if err != nil || !lost || out.Verified.Len() != 30 {
		t.Fatalf("lost %v, %+v, %v", lost, out, err)
	}
}

func TestCancelReturnsTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.indexer()
	w.provider("a", &toy{fail: &runtime.HostFault{Err: errors.New("disk on fire")}})
	c := w.client("client", nil)
	w.ready(c, 1)
	id, err := c.Post(t.Context(), request(3))
	if err != nil {
		t.Fatal(err)
	}
	_, out := follow(t, c, id)
	if len(out.Failed) != 3 || !strings.Contains(out.Failed[0], "disk on fire") {
		t.Fatalf("%+v", out)
	}
	if notes, _, err := c.Explain(t.Context(), id); err != nil || len(notes) == 0 {
		t.Errorf("explain: %v, %v", notes, err)
	}
	released, err := c.Cancel(t.Context(), id, 20*time.Second)
	if err != nil || !released {
		t.Fatalf("released %v, %v", released, err)
	}
	cost, err := c.WaitClosed(t.Context(), id, 20*time.Second)
	if err != nil || !cost.Closed || cost.Refunded != cost.Escrowed || cost.Escrowed == 0 {
		t.Errorf("%+v, %v", cost, err)
	}
	if released, err := c.Cancel(t.Context(), id, 0); err != nil || !released {
		t.Errorf("cancelling a closed job: %v, %v", released, err)
	}
}

func TestPlanFindsPriceAndEscrow(t *testing.T) {
	t.Parallel()
	w, c := honest(t, nil)
	r := request(1000)
	p, err := c.Plan(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if p.Spec.MaxPrice != 2*price || p.Expected < 1000*price || len(p.Fits) != 2 {
		t.Errorf("price cap %d, expected %s, %d offers", p.Spec.MaxPrice, p.Expected, len(p.Fits))
	}
	if p.Spec.Escrow < 2*p.Expected || p.Spec.CheckEscrow == 0 {
		t.Errorf("escrows %s and %s for work of %s", p.Spec.Escrow, p.Spec.CheckEscrow, p.Expected)
	}
	check, err := p.CheckPlan(100, 1_000_000_000)
	if err != nil || check.Draws != 3 || check.Detection < 900 || check.Bond < p.Params.MinBond || check.Loss == 0 {
		t.Errorf("check plan %+v, %v", check, err)
	}
	for _, bad := range []struct {
		name    string
		account work.Address
		edit    func(*client.Request)
		want    error
		says    string
	}{
		{"under the floor", "client", func(r *client.Request) { r.MaxPrice = 3 }, client.ErrPrice, "floor"},
		{"under every offer", "client", func(r *client.Request) { r.MaxPrice = price - 1 }, client.ErrPrice, "lowest asks 50"},
		{"over the balance", "poor", func(*client.Request) {}, ledger.ErrFunds, "balance"},
		{"budget over the balance", "poor", func(r *client.Request) { r.Budget = gtg }, ledger.ErrFunds, "budget"},
		{"deadline in the past", "client", func(r *client.Request) { r.DeadlineBlocks = -1 }, nil, "deadline"},
		{"too much fuel", "client", func(r *client.Request) { r.Limits.Fuel = 1 << 47 }, nil, "--max-fuel"},
		{"no items", "client", func(r *client.Request) { r.List.Range.Hi = 0 }, nil, "no items"},
	} {
		r := request(1000)
		bad.edit(&r)
		_, err := w.client(bad.account, nil).Plan(t.Context(), r)
		if err == nil || bad.want != nil && !errors.Is(err, bad.want) || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v", bad.name, err)
		}
	}
	r = request(1000)
	r.Budget = 60_000
	if p, err := c.Plan(t.Context(), r); err != nil || p.Spec.Escrow+p.Spec.CheckEscrow > r.Budget || p.Spec.Escrow < p.Expected {
		t.Errorf("under a budget: %+v, %v", p.Spec, err)
	}
}

func TestBudgetThatIsJustEnough(t *testing.T) {
	t.Parallel()
	_, c := honest(t, nil)
	r := request(200)
	r.Budget = 200*price*2 + 1000
	id, err := c.Post(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, out := follow(t, c, id); out.Verified.Len() != 200 {
		t.Errorf("%+v", out)
	}
}

func TestPostWithoutInputs(t *testing.T) {
	t.Parallel()
	_, c := honest(t, nil)
	r := request(1)
	r.List.Shared = []work.File{{Path: "model.bin", Blob: work.BlobOf([]byte("weights"))}}
	if _, err := c.Post(t.Context(), r); err == nil || !strings.Contains(err.Error(), "were not given") {
		t.Errorf("a job whose input is nowhere: %v", err)
	}
}

// crowded is a network on which a stream for blobs takes its time to open; it counts how many
// are open at once.
type crowded struct {
	p2p.Network
	open, most *atomic.Int64
}

func (n crowded) Dial(ctx context.Context, p p2p.Peer, proto p2p.Protocol) (p2p.Stream, error) {
	s, err := n.Network.Dial(ctx, p, proto)
	if err != nil || proto != p2p.ProtocolBlob {
		return s, err
	}
	now := n.open.Add(1)
	for m := n.most.Load(); now > m && !n.most.CompareAndSwap(m, now); m = n.most.Load() {
	}
	time.Sleep(20 * time.Millisecond)
	return &counted{Stream: s, gone: sync.OnceFunc(func() { n.open.Add(-1) })}, nil
}

type counted struct {
	p2p.Stream
	gone func()
}

func (s *counted) Close() error { s.gone(); return s.Stream.Close() }

// A client that posts a hundred jobs at once does not open more streams than an indexer
// serves: it closes the rest, and the posts failed.
func TestManyJobsAtOnce(t *testing.T) {
	t.Parallel()
	var open, most atomic.Int64
	_, c := honest(t, func(n p2p.Network) p2p.Network { return crowded{n, &open, &most} })
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := c.Post(t.Context(), request(1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n == 0 || n > 32 {
		t.Errorf("%d streams were open at once", n)
	}
}
