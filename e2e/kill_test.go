package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gotong-network/gotong/e2e/books"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// TestKill9 kills a network again and again while a job runs, each time with its
// validator, indexer, providers and checkers at once, and holds that after the last
// start the job ends as if nothing had happened: every item verified with the right
// output, nobody paid twice, nobody slashed, no money lost. One client waits through
// all of it.
func TestKill9(t *testing.T) {
	t.Parallel()
	r := draws(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	n := newNetwork(t, 3)
	n.ready(ctx, t)
	s := sums{items: 60, rounds: 40_000_000, shared: []byte("what every item reads"), tier: work.TierEconomic}
	n.client(ctx, t, func(c *client.Client, l *cosmos.Client) {
		before, err := l.Supply(ctx)
		if err != nil {
			t.Fatal(err)
		}
		id, err := c.Post(ctx, s.request(t))
		if err != nil {
			t.Fatalf("post: %v\n%s", err, n.logTail())
		}
		seen, followed := make(chan client.Progress, 1024), make(chan struct{})
		go func() {
			defer close(followed)
			s.follow(ctx, t, c, id, func(p client.Progress) {
				select {
				case seen <- p:
				default: // it is for timing only
				}
			})
		}()
		killer{n: n, l: l, job: id, r: r, seen: seen, followed: followed}.run(ctx, t)
		select {
		case <-followed:
		case <-n.up.done:
			t.Fatalf("the network ended with %d\n%s", n.up.code, n.logTail())
		}
		if t.Failed() {
			t.Log(n.logTail())
			return
		}
		if _, err := c.WaitClosed(ctx, id, patience); err != nil {
			t.Fatal(err)
		}
		b := books.Read(ctx, t, l, id)
		b.Check(t)
		b.Honest(ctx, t, l, memberBond)
		books.Conserved(ctx, t, l, before)
	})
	if code := n.up.stop(t, sigterm); code != 0 {
		t.Errorf("after all of this, SIGTERM gave exit code %d\n%s", code, n.up.errw.String())
	}
}

// killer kills a network at moments of a job.
type killer struct {
	n        *network
	l        ledger.Ledger
	job      work.JobID
	r        *rand.Rand
	seen     <-chan client.Progress
	followed <-chan struct{}
}

// run kills once at each kind of moment, and starts the network again.
func (k killer) run(ctx context.Context, t testing.TB) {
	t.Helper()
	phases := []lifecycle.Phase{lifecycle.Opening, lifecycle.Checking, lifecycle.Revealing}
	some := uint64(1 + k.r.IntN(15))
	during := phases[k.r.IntN(len(phases))]
	for _, m := range []struct {
		name string
		come func(context.Context) bool
		late time.Duration // at most so long after the moment
	}{
		{"before the first receipt", func(context.Context) bool { return true }, 1500 * time.Millisecond},
		{fmt.Sprintf("after %d receipts", some), k.receipts(some), 500 * time.Millisecond},
		{"at the first commit", k.phase(0), 200 * time.Millisecond},
		{"while a batch is " + during.String(), k.phase(during), 300 * time.Millisecond},
		{"in a batch's window", k.phase(lifecycle.Window), time.Second},
		{"after the first payment", k.phase(lifecycle.Settled), 3 * time.Second},
	} {
		if !m.come(ctx) {
			t.Logf("%s: the job was over", m.name)
			return
		}
		late := time.Duration(k.r.Int64N(int64(m.late)))
		time.Sleep(late) // the draw: a kill must come at any moment
		k.n.up.kill()
		t.Logf("killed %s and %s", m.name, late)
		k.n.start(t)
		if k.r.IntN(3) == 0 { // and once more while it starts
			late := time.Duration(k.r.Int64N(int64(1500 * time.Millisecond)))
			time.Sleep(late)
			k.n.up.kill()
			t.Logf("killed %s after its start", late)
			k.n.start(t)
		}
		k.n.announced(ctx, t)
	}
}

// receipts waits until at least so many items have results.
func (k killer) receipts(n uint64) func(context.Context) bool {
	return func(ctx context.Context) bool {
		have := map[uint64]bool{}
		for uint64(len(have)) < n {
			select {
			case p := <-k.seen:
				for _, u := range p.Changed {
					have[u.Index] = u.State == wire.ItemProvisional || u.State == wire.ItemVerified
				}
			case <-k.followed:
				return false
			case <-ctx.Done():
				return false
			}
		}
		return true
	}
}

// phase waits until some batch of the job is in a phase, or has passed it; 0: until
// there is a batch. A batch that the last kill saw in that phase counts as well: the
// draw of the delay tells the kills apart.
func (k killer) phase(want lifecycle.Phase) func(context.Context) bool {
	return func(ctx context.Context) bool {
		for ; ; time.Sleep(50 * time.Millisecond) {
			select {
			case <-k.followed:
				return false
			case <-ctx.Done():
				return false
			default:
			}
			ids, err := k.l.Batches(ctx, k.job)
			if err != nil {
				continue // it is starting
			}
			for _, id := range ids {
				if b, err := k.l.Batch(ctx, id); err == nil && b.Phase >= want {
					return true
				}
			}
		}
	}
}

// TestKill9AtFirstStart kills a network again and again while it sets itself up, and
// holds that the last start finishes what the others began.
func TestKill9AtFirstStart(t *testing.T) {
	t.Parallel()
	r := draws(t)
	n := newNetwork(t, 2)
	for range 6 {
		late := time.Duration(r.Int64N(int64(700 * time.Millisecond)))
		time.Sleep(late) // the draw
		n.up.kill()
		t.Logf("killed %s after its start", late)
		n.start(t)
	}
	n.ready(t.Context(), t)
	if code := n.up.stop(t, sigterm); code != 0 {
		t.Errorf("SIGTERM: exit code %d\n%s", code, n.up.errw.String())
	}
}

// TestKill9WhilePosting kills a network while a client posts, and holds that the job
// either runs to its end after the restart, or was not posted at all.
func TestKill9WhilePosting(t *testing.T) {
	t.Parallel()
	r := draws(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	n := newNetwork(t, 2)
	n.ready(ctx, t)
	n.client(ctx, t, func(c *client.Client, l *cosmos.Client) {
		before, err := l.Supply(ctx)
		if err != nil {
			t.Fatal(err)
		}
		posted := map[work.JobID]sums{}
		for k := range 3 {
			s := sums{items: 4, rounds: 1_000_000, shared: []byte{byte(k)}, tier: work.TierEconomic}
			type answer struct {
				id  work.JobID
				err error
			}
			answered := make(chan answer, 1)
			go func() {
				id, err := c.Post(ctx, s.request(t))
				answered <- answer{id, err}
			}()
			late := time.Duration(r.Int64N(int64(1500 * time.Millisecond)))
			time.Sleep(late) // the draw
			n.up.kill()
			n.start(t)
			n.announced(ctx, t)
			a := <-answered
			t.Logf("killed %s after the call: %v", late, a.err)
			var p *client.Posted // its indexer was away for too long: the job is on the chain
			if a.err == nil || errors.As(a.err, &p) {
				posted[a.id] = s
			}
			n.ready(ctx, t)
		}
		for id, s := range posted {
			s.follow(ctx, t, c, id, nil)
			if _, err := c.WaitClosed(ctx, id, patience); err != nil {
				t.Fatal(err)
			}
		}
		for id := range posted { // once all have ended: a bond serves them all
			b := books.Read(ctx, t, l, id)
			b.Check(t)
			b.Honest(ctx, t, l, memberBond)
		}
		jobs, err := l.Jobs(ctx, c.Account())
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			if _, ok := posted[j.ID]; !ok {
				t.Errorf("the client was told that job %s failed, and the chain has it", j.ID.Short())
			}
		}
		books.Conserved(ctx, t, l, before)
	})
}
