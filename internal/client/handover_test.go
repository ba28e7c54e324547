package client_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/indexer"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// slow is a toy whose items take a while.
type slow struct {
	toy
	took time.Duration
}

func (r *slow) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	select {
	case <-time.After(r.took):
		return r.toy.Run(ctx, t)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dam lets so many items of all providers through, slowly: what an indexer hands out
// follows what it measures. The rest goes through at once when it is open.
type dam struct {
	slow
	items atomic.Int64 // that it still lets through
	open  chan struct{}
}

func (r *dam) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	if r.items.Add(-1) < 0 {
		select {
		case <-r.open:
			return r.toy.Run(ctx, t)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return r.slow.Run(ctx, t)
}

// where is how peers of the hub are reached by key alone.
func where(k sign.PublicKey) []string { return []string{"/memory/" + k.String()[:12]} }

// heir is one more indexer of a world.
type heir struct {
	owner work.Address
	key   sign.PrivateKey
	blobs *blob.Mem
	net   p2p.Network
	stop  func()
}

// heirTo starts an indexer of its own account, which hears the offers of peers.
func (w *world) heirTo(owner work.Address, fee uint32, peers ...p2p.Peer) *heir {
	w.t.Helper()
	h := &heir{owner: owner, key: newKey(w.t), blobs: blob.NewMem()}
	h.net = w.hub.New(h.key)
	h.net.Handle(p2p.ProtocolBlob, blob.Server(h.blobs, blob.ServerOptions{AcceptPush: func(sign.PublicKey, work.BlobID) bool { return true }}))
	x, err := indexer.New(indexer.Config{Chain: chainID, Key: h.key, Owner: owner, Ledger: w.chain, Net: h.net, Blobs: h.blobs,
		Fetcher: blob.NewFetcher(h.net, h.blobs, blob.FetcherOptions{}), Dir: filepath.Join(w.t.TempDir(), string(owner)), Log: logOf(string(owner)),
		FeePermille: fee, Where: where, Timing: indexer.Timing{Lost: 300 * time.Millisecond, Uncommitted: time.Second, Patience: 300 * time.Millisecond,
			Undelivered: 500 * time.Millisecond, SlowFloor: 10 * time.Second, Tick: 10 * time.Millisecond,
			Inherit: 10 * time.Second, Gather: 50 * time.Millisecond, Answer: 2 * time.Second}})
	if err != nil {
		w.t.Fatal(err)
	}
	h.stop = w.start(func(ctx context.Context) error {
		defer h.net.Close()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for ctx.Err() == nil {
				for _, p := range peers {
					h.net.Connect(ctx, p)
				}
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
		return x.Run(ctx)
	})
	<-x.Serving()
	return h
}

// takeovers makes the chain's waits for a silent indexer short.
func takeovers(p *lifecycle.Params) {
	p.TakeoverIdleBlocks, p.TakeoverAnswerBlocks = 250, 100
}

// crew are three providers and two checkers.
func (w *world) crew(rt func() runtime.Runtime) (peers []p2p.Peer) {
	w.t.Helper()
	for _, a := range []work.Address{"a", "b", "c"} {
		peers = append(peers, w.provider(a, rt()))
	}
	w.checker("check-1")
	w.checker("check-2")
	w.more.Store(&peers)
	return peers
}

// ended waits until the chain has closed a job.
func (w *world) ended(id work.JobID) *lifecycle.Job {
	w.t.Helper()
	end := time.Now().Add(2 * time.Minute)
	for {
		j, err := w.chain.Job(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if j.State == lifecycle.JobClosed {
			return j
		}
		if time.Now().After(end) {
			w.t.Fatalf("the job is still open: %+v", j)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// paidOnce demands that every item of a job is in exactly one batch that was paid.
func (w *world) paidOnce(id work.JobID, n uint64) (batches []*lifecycle.Batch) {
	w.t.Helper()
	times := make([]int, n)
	ids, err := w.chain.Batches(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, id := range ids {
		b, err := w.chain.Batch(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if b.Phase != lifecycle.Settled {
			w.t.Errorf("a batch of %s ended %s: %s", b.Provider, b.Phase, b.Why)
			continue
		}
		batches = append(batches, b)
		for k := range b.N {
			times[b.Items.At(k)]++
		}
	}
	for i, t := range times {
		if t != 1 {
			w.t.Errorf("item %d was paid %d times", i, t)
		}
	}
	return batches
}

// someDone waits until the chain has some batches of a job.
func (w *world) someDone(id work.JobID, items uint64) {
	w.t.Helper()
	end := time.Now().Add(time.Minute)
	for {
		j, err := w.chain.Job(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(j.Copies) > 0 && j.Copies[0].Len() >= items {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("too little was committed: %+v", j.Copies)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// rightResults demands the proven, right result of each of n items.
func rightResults(t *testing.T, c *client.Client, id work.JobID, n uint64) {
	t.Helper()
	var last error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		us, err := c.Results(t.Context(), id, nil)
		if last = err; err != nil {
			continue
		}
		var results []*work.Result
		for _, u := range us {
			if u.State.String() == "verified" && u.Result != nil {
				results = append(results, u.Result)
			}
		}
		if last = fmt.Errorf("%d of %d results", len(results), n); uint64(len(results)) != n {
			continue
		}
		err = c.Deliver(t.Context(), results, func(r *work.Result, open client.Opener) error {
			got, err := readAll(open, r.Output.Stdout)
			if want := fmt.Sprint("result of ", r.Index); err == nil && got != want {
				t.Errorf("item %d says %q", r.Index, got)
			}
			return err
		})
		if last = err; err == nil {
			return
		}
	}
	t.Fatalf("the results are not there: %v", last)
}

// The job's indexer dies for good in its middle, and its client is gone: another
// indexer takes over from the chain and from what the providers hold, and every item
// is right and paid once.
func TestJobOutlivesIndexerAndClient(t *testing.T) {
	t.Parallel()
	const n = 2000
	w := newWorld(t, takeovers)
	w.indexer()
	// A part of it: or all would be handed out before the indexer dies, on a busy machine.
	held := &dam{slow: slow{took: 20 * time.Millisecond}, open: make(chan struct{})}
	held.items.Store(3 * n / 10) // the first ranges of all slots are shorter than that
	peers := w.crew(func() runtime.Runtime { return held })
	c := w.client("client", nil)
	w.ready(c, 3)
	w.submit("owner", ledger.Send{To: "heir", Amount: 1000 * gtg})
	h := w.heirTo("heir", 0, peers...)
	id, err := c.Post(t.Context(), request(n))
	if err != nil {
		t.Fatal(err)
	}
	w.someDone(id, 60)
	w.stopped()
	close(held.open)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	j := w.ended(id)
	if got := j.Indexer(); got.Owner != "heir" || got.Key != h.key.Public() {
		t.Errorf("the job ended under %s", got.Owner)
	}
	batches := w.paidOnce(id, n)
	by := map[work.Address]int{}
	for _, b := range batches {
		by[b.Indexer]++
	}
	if by["owner"] == 0 || by["heir"] == 0 {
		t.Errorf("batches by indexer: %v", by)
	}
	// It comes back, and knows of the dead indexer only.
	later := w.clientWith("client", func(cfg *client.Config) { cfg.Where = where })
	rightResults(t, later, id, n)
}

// An indexer dies after it has handed out everything: the providers finish and are
// paid, and nobody has the results. The client comes back and names another indexer,
// which collects them.
func TestResultsOutliveIndexer(t *testing.T) {
	t.Parallel()
	const n = 60
	w := newWorld(t, takeovers)
	w.indexer()
	peers := w.crew(func() runtime.Runtime { return &slow{took: 20 * time.Millisecond} })
	c := w.client("client", nil)
	w.ready(c, 3)
	w.submit("owner", ledger.Send{To: "heir", Amount: 1000 * gtg})
	w.heirTo("heir", 0, peers...)
	id, err := c.Post(t.Context(), request(n))
	if err != nil {
		t.Fatal(err)
	}
	for counts := (wire.Counts{Waiting: 1}); counts.Waiting > 0; {
		if _, counts, err = c.Explain(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	w.stopped()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	w.ended(id)
	later := w.clientWith("client", func(cfg *client.Config) { cfg.Where = where })
	rightResults(t, later, id, n)
}

// An indexer that takes the blobs of a job and refuses the job stops nobody: the same
// escrow serves with another one.
func TestRefusingIndexer(t *testing.T) {
	t.Parallel()
	const n = 50
	w := newWorld(t, takeovers)
	w.indexer()
	w.crew(func() runtime.Runtime { return &toy{} })
	w.submit("owner", ledger.Send{To: "refuser", Amount: 1000 * gtg})
	key := newKey(t)
	w.submit("refuser", ledger.Register{Role: lifecycle.RoleIndexer, Peer: key.Public(), Bond: 5 * gtg})
	net, blobs := w.hub.New(key), blob.NewMem()
	t.Cleanup(func() { net.Close() })
	net.Handle(p2p.ProtocolBlob, blob.Server(blobs, blob.ServerOptions{AcceptPush: func(sign.PublicKey, work.BlobID) bool { return true }}))
	net.Handle(p2p.ProtocolClient, func(_ context.Context, s p2p.Stream) {
		defer s.Close()
		raw, err := s.Receive()
		if err != nil {
			return
		}
		a := &wire.Answer{Done: true, Error: "no"}
		if r, err := wire.DecodeRequest(raw); err == nil && r.Op == wire.OpStatus {
			a = &wire.Answer{Done: true, Status: &wire.Status{Chain: chainID, Key: key.Public(), Owner: "refuser", Ready: true}}
		}
		if b, err := wire.EncodeJSON(a); err == nil && s.Send(b) == nil {
			_ = s.Flush()
		}
	})
	c := w.clientWith("client", func(cfg *client.Config) { cfg.Where = where })
	w.ready(c, 3)
	r := request(n)
	r.Indexer = "refuser"
	id, err := c.Post(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Watch(t.Context(), id, nil)
	if err != nil || out.Verified.Len() != n {
		t.Fatalf("%+v, %v", out, err)
	}
	if j := w.ended(id); j.Indexer().Owner != "owner" || len(j.Signers()) != 2 {
		t.Errorf("the job's indexers: %+v", j.Signers())
	}
}
