package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/adversary"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Each kind of adversary plays once against the real roles on a real chain. What it
// wins or loses over many seeds is the business of the adversaries that run in
// virtual time; here the parts are shown to fit. Execution itself is not what these
// are about: a runtime in memory stands for the sandbox.
//
// Most have one validator; referee_test.go has four.

// quick is a deterministic runtime: an item's result follows from its input.
type quick struct{}

func (quick) Slots() int   { return 1 }
func (quick) Close() error { return nil }

const quickFuel = 10_000_000

func (quick) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	select {
	case <-time.After(10 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	in := t.Item.InputDigest(work.Program(t.Program, t.Profile), t.Limits, t.Seed)
	data := fmt.Appendf(nil, "result %x of %v", in[:4], t.Item.Args)
	out := work.Output{Stdout: work.BlobOf(data), Stderr: work.BlobOf(nil)}
	o := work.Outcome{Kind: work.Exited}
	fuel := quickFuel + work.Fuel(binary.BigEndian.Uint16(in[:]))
	return &runtime.Run{Leaf: work.Leaf{Input: in, Output: out.Digest(o), Outcome: o, Fuel: fuel, Memory: work.Sum("memory", in[:])},
		Output: out, Bytes: map[work.BlobID][]byte{out.Stdout: data}}, nil
}

// arena is a local network with some members changed, and a client.
type arena struct {
	t       *testing.T
	net     *localnet.Network
	led     ledger.Ledger // holds the client's key
	c       *client.Client
	m       localnet.Members
	params  lifecycle.Params
	started map[work.Address]work.Amount // worth of everybody before anything happened
	seed    atomic.Uint64                // of the last job: each has other items to fake
}

// newArena starts a network whose members change is asked about.
func newArena(t *testing.T, providers, checkers int, change func(name string, c *node.Config), edit ...func(*lifecycle.Params)) *arena {
	t.Helper()
	p := lifecycle.LocalParams()
	p.MinBond = 100 * work.UgtgPerGtg
	for _, f := range edit {
		f(&p)
	}
	return openArena(t, localnet.Options{Dir: filepath.Join(t.TempDir(), "home"), Providers: providers, Checkers: checkers, Params: &p, Change: change})
}

// openArena starts a network over a runtime in memory.
func openArena(t *testing.T, o localnet.Options) *arena {
	t.Helper()
	o.Price, o.BlockTime, o.BatchTime, o.Runtime = 100_000, 300*time.Millisecond, time.Second, func() runtime.Runtime { return quick{} }
	ctx, providers, p := t.Context(), o.Providers, *o.Params
	n, err := localnet.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	a := &arena{t: t, net: n, m: n.Members(), params: p, started: map[work.Address]work.Amount{}}
	if a.led, err = n.Ledger(); err != nil {
		t.Fatal(errors.Join(err, n.Close()))
	}
	for _, who := range a.everybody() {
		a.started[who] = a.worth(who)
	}
	indexer, referees := n.Indexer(), n.Referees()
	run, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(run, nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	a.connect(indexer, referees)
	a.eventually("all providers offer themselves", func() error {
		st, err := a.c.Status(t.Context())
		if err == nil && (!st.Ready || st.Providers < providers) {
			err = fmt.Errorf("%d providers; %s", st.Providers, st.Why)
		}
		return err
	})
	return a
}

func (a *arena) connect(indexer p2p.Peer, referees []p2p.Peer) {
	key, err := sign.NewKey()
	if err != nil {
		a.t.Fatal(err)
	}
	peer, err := libp2p.New(context.Background(), libp2p.Config{Key: key})
	if err != nil {
		a.t.Fatal(err)
	}
	a.c, err = client.New(client.Config{
		Chain: a.net.Chain(), Account: a.m.Client, Ledger: a.led, Net: peer, IndexerOwner: a.m.Indexer, Profile: gw1.Version, Dir: a.t.TempDir(),
		Indexer: func() (p2p.Peer, error) { return indexer, nil }, Holders: func() []p2p.Peer { return referees },
	})
	if err != nil {
		a.t.Fatal(errors.Join(err, peer.Close()))
	}
	a.t.Cleanup(func() {
		if err := errors.Join(a.c.Close(), peer.Close()); err != nil {
			a.t.Error(err)
		}
	})
}

func (a *arena) everybody() []work.Address {
	l := []work.Address{a.m.Client, a.m.Indexer}
	for _, m := range append(a.m.Providers, a.m.Checkers...) {
		l = append(l, m.Address)
	}
	return l
}

// worth is all that an account has: balance, bonds and unvested pay.
func (a *arena) worth(who work.Address) work.Amount {
	a.t.Helper()
	sum, err := a.led.Balance(a.t.Context(), who)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, r := range []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker, lifecycle.RoleIndexer} {
		q, err := a.led.Party(a.t.Context(), r, who)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			a.t.Fatal(err)
		default:
			sum += q.Bond + q.Unvested
		}
	}
	return sum
}

func (a *arena) gain(who work.Address) int64 { return int64(a.worth(who)) - int64(a.started[who]) }

// request is a job of n items.
func (a *arena) request(n uint64, tier work.Tier) client.Request {
	return client.Request{
		Program: client.BytesSource([]byte("module")), Tier: tier, Seed: a.seed.Add(1), FuelPerItem: 2 * quickFuel,
		List:   &work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: n}},
		Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 1_000_000_000, OutputBytes: 1 << 20},
	}
}

// post posts a job of n items and follows it in the background.
func (a *arena) post(n uint64, tier work.Tier) work.JobID {
	a.t.Helper()
	return a.postAll(a.request(n, tier))[0]
}

// postAll posts jobs, all at once, and follows them in the background.
func (a *arena) postAll(jobs ...client.Request) []work.JobID {
	a.t.Helper()
	ids, errs := make([]work.JobID, len(jobs)), make([]error, len(jobs))
	var wg sync.WaitGroup
	for i := range jobs {
		wg.Go(func() { ids[i], errs[i] = a.c.Post(a.t.Context(), jobs[i]) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		a.t.Fatal(err)
	}
	for _, id := range ids {
		a.watch(id)
	}
	return ids
}

func (a *arena) watch(id work.JobID) {
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := a.c.Watch(ctx, id, nil); err != nil && ctx.Err() == nil {
			a.t.Errorf("watch: %v", err)
		}
	})
	a.t.Cleanup(func() { stop(); wg.Wait() })
}

func (a *arena) eventually(what string, f func() error) {
	a.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			a.t.Fatalf("waited for: %s: %v", what, err)
		}
	}
}

// batches gives a job's batches as they stand.
func (a *arena) batches(id work.JobID) (out []*lifecycle.Batch) {
	a.t.Helper()
	ids, err := a.led.Batches(a.t.Context(), id)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, id := range ids {
		b, err := a.led.Batch(a.t.Context(), id)
		if err != nil {
			a.t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// settled waits until all n items of a job are paid to somebody, and every batch of
// it has ended.
func (a *arena) settled(id work.JobID, n uint64) []*lifecycle.Batch {
	a.t.Helper()
	var bs []*lifecycle.Batch
	a.eventually(fmt.Sprintf("%d items of job %s settle", n, id.Short()), func() error {
		var paid work.RangeSet
		bs = a.batches(id)
		state := ""
		for _, b := range bs {
			state += fmt.Sprintf(" %s of %d by %s (%s)", b.Phase, b.N, b.Provider, b.Why)
			if b.Phase == lifecycle.Settled {
				paid = paid.Union(b.Items)
			} else if !b.Phase.Final() {
				return errors.New(state)
			}
		}
		if paid.Len() < n {
			return errors.New(state)
		}
		return nil
	})
	return bs
}

// maxRounds bounds the jobs that a liar is given. Each draws some of its items: who
// fakes one in five and is drawn four times a job stays lucky for all of them once in
// 10^7 runs.
const maxRounds = 20

// until posts jobs of n items, one after the other, until ok, and gives all batches.
// What a draw decides is sure only after some of them.
func (a *arena) until(what string, n uint64, tier work.Tier, ok func() bool) (all []*lifecycle.Batch) {
	a.t.Helper()
	for range maxRounds {
		all = append(all, a.settled(a.post(n, tier), n)...)
		if ok() {
			return all
		}
	}
	a.t.Fatalf("after %d jobs: not yet that %s", maxRounds, what)
	return nil
}

// convicted reports whether who was slashed in a role.
func (a *arena) convicted(role lifecycle.Role, who work.Address) bool {
	a.t.Helper()
	q, err := a.led.Party(a.t.Context(), role, who)
	if err != nil {
		a.t.Fatal(err)
	}
	return q.Convictions > 0
}

// unhurt fails the test if a member that played by the rules lost anything, and
// wants all money to be there.
func (a *arena) unhurt(who ...work.Address) {
	a.t.Helper()
	for _, w := range who {
		if g := a.gain(w); g < 0 {
			a.t.Errorf("%s is honest and lost %d ugtg", w, -g)
		}
		for _, r := range []lifecycle.Role{lifecycle.RoleProvider, lifecycle.RoleChecker} {
			if q, err := a.led.Party(a.t.Context(), r, w); err == nil && q.Convictions > 0 {
				a.t.Errorf("%s is honest and was convicted", w)
			}
		}
	}
	if ok, err := a.net.Conserved(a.t.Context()); err != nil || !ok {
		a.t.Errorf("money is not conserved: %v", err)
	}
}

// loses fails the test unless who lost money, and is worse off than its twins.
func (a *arena) loses(who work.Address, twins ...work.Address) {
	a.t.Helper()
	g := a.gain(who)
	if g >= 0 {
		a.t.Errorf("the adversary %s gained %d ugtg", who, g)
	}
	for _, w := range twins {
		if a.gain(w) <= g {
			a.t.Errorf("the adversary %s has %d ugtg more, its honest twin %s %d", who, g, w, a.gain(w))
		}
	}
}

func (a *arena) provider(i int) work.Address { return a.m.Providers[i].Address }
func (a *arena) checker(i int) work.Address  { return a.m.Checkers[i].Address }

func wrap(f func(runtime.Runtime) runtime.Runtime) func(*node.Config) {
	return func(c *node.Config) { c.Wrap = f }
}

// cast gives each named member its change.
func cast(roles map[string]func(*node.Config)) func(string, *node.Config) {
	return func(name string, c *node.Config) {
		if f := roles[name]; f != nil {
			f(c)
		}
	}
}

// 1: a worker whose results are garbage.
func TestAdversaryGarbage(t *testing.T) {
	t.Parallel()
	a := newArena(t, 2, 3, cast(map[string]func(*node.Config){"provider-0": wrap(adversary.CorruptRuntime)}))
	a.until("the garbage worker is convicted", 40, work.TierEconomic, func() bool { return a.convicted(lifecycle.RoleProvider, a.provider(0)) })
	a.loses(a.provider(0), a.provider(1))
	a.unhurt(a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}

// 2: workers that fake a fifth, and that inflate what they used. Every item is
// checked, so that one run is enough to see it.
func TestAdversaryThrifty(t *testing.T) {
	t.Parallel()
	a := newArena(t, 3, 3, cast(map[string]func(*node.Config){
		"provider-0": wrap(func(rt runtime.Runtime) runtime.Runtime { return adversary.Thrifty(rt, 200) }),
		"provider-1": wrap(func(rt runtime.Runtime) runtime.Runtime { return adversary.Inflate(rt, 1200) }),
	}))
	a.until("both are convicted", 60, work.TierFull, func() bool {
		return a.convicted(lifecycle.RoleProvider, a.provider(0)) && a.convicted(lifecycle.RoleProvider, a.provider(1))
	})
	a.loses(a.provider(0), a.provider(2))
	a.loses(a.provider(1), a.provider(2))
	a.unhurt(a.provider(2), a.checker(0), a.checker(1), a.checker(2))
}

// 4: a worker and a third of the checkers' bond lie alike.
func TestAdversaryRing(t *testing.T) {
	t.Parallel()
	lie := wrap(adversary.CorruptRuntime)
	a := newArena(t, 2, 3, cast(map[string]func(*node.Config){"provider-0": lie, "checker-0": lie}))
	a.until("the worker is convicted", 40, work.TierFull, func() bool { return a.convicted(lifecycle.RoleProvider, a.provider(0)) })
	a.loses(a.provider(0), a.provider(1))
	if g := a.gain(a.provider(0)) + a.gain(a.checker(0)); g >= 0 {
		t.Errorf("the ring gained %d ugtg", g)
	}
	a.unhurt(a.provider(1), a.checker(1), a.checker(2))
}

// 5: checkers that guess, and that replay what another has committed to.
func TestAdversaryLazyCheckers(t *testing.T) {
	t.Parallel()
	var copier ledger.Ledger
	var worked work.Amount // fees of the replaying one where nobody else checked, or before it
	a := newArena(t, 2, 4, cast(map[string]func(*node.Config){
		"checker-0": wrap(func(rt runtime.Runtime) runtime.Runtime { return adversary.Thrifty(rt, 1000) }),
		"checker-1": func(c *node.Config) { copier = adversary.Replay(c.Ledger); c.Ledger = copier },
	}))
	for _, b := range a.until("the guess is convicted and something was replayed", 60, work.TierFull, func() bool {
		return a.convicted(lifecycle.RoleChecker, a.checker(0)) && adversary.Copied(copier) > 0
	}) {
		if b.Phase != lifecycle.Settled {
			t.Errorf("an honest batch is %s: %s", b.Phase, b.Why)
		}
		replayed := false
		for _, c := range b.Checks {
			replayed = replayed || c.Checker == a.checker(1) && slices.ContainsFunc(b.Checks, func(o lifecycle.Check) bool {
				return o.Checker != c.Checker && o.Commitment == c.Commitment && !c.Commitment.IsZero()
			})
			if replayed && c.Checker == a.checker(1) && c.Revealed && !c.Missed {
				t.Errorf("a replayed commitment was revealed: %+v", c)
			}
		}
		for _, tr := range b.Transfers {
			if !replayed && tr.To == a.checker(1) && tr.Reason == lifecycle.ReasonCheck {
				worked += tr.Amount
			}
		}
	}
	a.loses(a.checker(0), a.checker(2), a.checker(3))
	if g := a.gain(a.checker(1)); g > int64(worked) {
		t.Errorf("the replaying checker gained %d ugtg, %s of it where it had nothing to replay", g, worked)
	}
	a.unhurt(a.provider(0), a.provider(1), a.checker(2), a.checker(3))
}

// 6: a worker that is silent once its items are drawn, and a checker that never
// commits.
func TestAdversarySilent(t *testing.T) {
	t.Parallel()
	a := newArena(t, 2, 3, cast(map[string]func(*node.Config){
		"provider-0": func(c *node.Config) {
			c.Ledger = adversary.Silent(c.Ledger, func(m ledger.Msg) bool { _, is := m.(ledger.OpenBatch); return is })
		},
		"checker-0": func(c *node.Config) {
			c.Ledger = adversary.Silent(c.Ledger, func(m ledger.Msg) bool { _, is := m.(ledger.CommitCheck); return is })
		},
	}), func(p *lifecycle.Params) { p.OpenBlocks = 20 })
	a.until("the silent worker was drawn", 40, work.TierFull, func() bool { return a.gain(a.provider(0)) < 0 })
	a.loses(a.provider(0), a.provider(1))
	if g := a.gain(a.checker(0)); g > 0 {
		t.Errorf("the absent checker gained %d ugtg", g)
	}
	a.unhurt(a.provider(1), a.checker(1), a.checker(2))
}

// 6: a worker that wants to be paid and keeps its outputs.
func TestAdversaryKeepsOutputs(t *testing.T) {
	t.Parallel()
	a := newArena(t, 1, 3, cast(map[string]func(*node.Config){
		"provider-0": func(c *node.Config) { c.WrapNet = adversary.Keep },
	}), func(p *lifecycle.Params) { p.WindowBlocks = 60 })
	id := a.post(1, work.TierEconomic) // no more than it gets before it has delivered any
	a.eventually("the batch ends", func() error {
		for _, b := range a.batches(id) {
			if b.Phase == lifecycle.Settled {
				t.Fatal("a batch was paid whose outputs nobody has")
			}
			if b.Phase == lifecycle.Void {
				return nil
			}
		}
		return errors.New("not yet")
	})
	a.loses(a.provider(0))
	a.unhurt(a.checker(0), a.checker(1), a.checker(2))
}

// 6: an indexer, on behalf of its client, that gives program and inputs to workers
// only. A worker that serves what it used is paid all the same; if it does not, its
// batch is void and costs it a fee, which is no conviction.
func TestAdversaryHidesInputs(t *testing.T) {
	t.Parallel()
	for _, serves := range []bool{true, false} {
		t.Run(fmt.Sprint("worker serves ", serves), func(t *testing.T) {
			t.Parallel()
			var kept sync.Map // keys that get nothing
			hide := func(n p2p.Network) p2p.Network {
				return adversary.Hide(n, func(k sign.PublicKey) bool { _, is := kept.Load(k); return !is })
			}
			a := newArena(t, 1, 3, func(name string, c *node.Config) {
				switch {
				case name == localnet.IndexerKey || name == "provider-0" && !serves:
					c.WrapNet = hide
				case c.Checker != nil || c.Referee:
					kept.Store(c.Key.Public(), true)
				}
			}, func(p *lifecycle.Params) { p.CheckBlocks, p.VoteBlocks = 20, 20 })
			id := a.post(4, work.TierEconomic)
			var first *lifecycle.Batch
			a.eventually("the batch ends", func() error {
				if bs := a.batches(id); len(bs) > 0 && bs[0].Phase.Final() {
					first = bs[0]
					return nil
				}
				return errors.New("not yet")
			})
			q, err := a.led.Party(t.Context(), lifecycle.RoleProvider, a.provider(0))
			if err != nil || q.Convictions > 0 {
				t.Errorf("nobody lied: %+v, %v", q, err)
			}
			if serves {
				if first.Phase != lifecycle.Settled {
					t.Errorf("the batch is %s: %s", first.Phase, first.Why)
				}
				a.unhurt(a.provider(0))
			} else {
				if first.Phase != lifecycle.Void {
					t.Errorf("the batch is %s: %s", first.Phase, first.Why)
				}
				a.loses(a.provider(0))
			}
			a.unhurt(a.checker(0), a.checker(1), a.checker(2))
		})
	}
}

// 7: a client that pays less than the floor, and one that cancels at every moment.
func TestAdversaryGriefingClient(t *testing.T) {
	t.Parallel()
	a := newArena(t, 2, 3, nil)
	plan := client.Request{
		Program: client.BytesSource([]byte("module")), Tier: work.TierEconomic, FuelPerItem: 1_000_000_000_000, MaxPrice: 1,
		List:   &work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: 2}},
		Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 1_000_000_000_000, OutputBytes: 1 << 20},
	}
	if _, err := a.c.Post(t.Context(), plan); !errors.Is(err, client.ErrPrice) {
		t.Errorf("a job at price 1: %v", err)
	}
	var jobs []work.JobID
	for _, wait := range []time.Duration{0, 500 * time.Millisecond, 2 * time.Second, 4 * time.Second} {
		id := a.post(200, work.TierEconomic)
		jobs = append(jobs, id)
		time.Sleep(wait) // the moment to cancel at
		if _, err := a.c.Cancel(t.Context(), id, 0); err != nil {
			t.Errorf("cancel after %s: %v", wait, err)
		}
	}
	for _, id := range jobs {
		a.eventually("what was committed ends", func() error {
			for _, b := range a.batches(id) {
				if !b.Phase.Final() {
					return errors.New(b.Phase.String())
				}
			}
			return nil
		})
		for _, b := range a.batches(id) {
			if b.Phase != lifecycle.Settled {
				t.Errorf("honest work for a cancelled job is %s: %s", b.Phase, b.Why)
			}
		}
	}
	a.unhurt(a.provider(0), a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}

// 9: a worker that sends every batch again, and again under another root.
func TestAdversaryDoubleCommits(t *testing.T) {
	t.Parallel()
	a := newArena(t, 2, 3, cast(map[string]func(*node.Config){
		"provider-0": func(c *node.Config) { c.Ledger = adversary.Twice(c.Ledger) },
	}))
	var paid work.RangeSet
	n := uint64(0)
	for _, b := range a.settled(a.post(40, work.TierEconomic), 40) {
		if b.Provider == a.provider(0) {
			n += b.N
			paid = paid.Union(b.Items)
		}
	}
	if n != paid.Len() {
		t.Errorf("%d items were committed, %d different ones", n, paid.Len())
	}
	a.unhurt(a.provider(0), a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}

func falseLeaf(b *lifecycle.Batch) work.Leaf {
	l := b.Draws[0].Leaf
	l.Memory[0] ^= 1
	return l
}

// 11: an indexer that signs a range to two providers under one attempt. The second
// one shows it, through the client, beside the assignment that the chain keeps of
// the first one's batch. (That a provider finds the other batch by itself is tested in
// internal/provider.)
func TestAdversaryEquivocation(t *testing.T) {
	t.Parallel()
	var key sign.PrivateKey
	a := newArena(t, 2, 3, func(name string, c *node.Config) {
		if name == localnet.IndexerKey {
			key = c.Key
		}
	})
	id := a.post(40, work.TierEconomic)
	var first work.Assignment
	a.eventually("a batch and its evidence", func() error {
		l := a.batches(id)
		if len(l) == 0 {
			return errors.New("none yet")
		}
		parts, err := a.led.Evidence(t.Context(), l[0].ID)
		if err == nil {
			first = parts[0].Assignment
		}
		return err
	})
	second := first
	second.Provider = a.m.Providers[0].Address
	if second.Provider == first.Provider {
		second.Provider = a.m.Providers[1].Address
	}
	second.Sign(key)
	if _, err := a.led.Submit(t.Context(), a.m.Client, ledger.ReportEquivocation{Job: id, A: first, B: second}); err != nil {
		t.Fatal(err)
	}
	a.loses(a.m.Indexer)
	if g := a.gain(a.m.Indexer); -g != int64(a.params.IndexerBond) {
		t.Errorf("the indexer lost %d ugtg, the fine is %s", -g, a.params.IndexerBond)
	}
	a.unhurt(a.provider(0), a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}

// 12: a referee that is absent: nobody is paid for what is disputed, nobody is
// slashed, and the chain goes on.
func TestAdversaryAbsentReferee(t *testing.T) {
	t.Parallel()
	a := newArena(t, 2, 3, cast(map[string]func(*node.Config){
		"provider-0": wrap(adversary.CorruptRuntime),
		localnet.ValidatorKey: func(c *node.Config) {
			c.Ledger = adversary.Silent(c.Ledger, func(m ledger.Msg) bool { _, is := m.(ledger.CommitVote); return is })
		},
	}), func(p *lifecycle.Params) { p.VoteBlocks = 15 })
	for _, b := range a.settled(a.post(40, work.TierEconomic), 40) {
		if b.Provider == a.provider(0) && b.Phase != lifecycle.Unpaid {
			t.Errorf("a false batch without a verdict is %s: %s", b.Phase, b.Why)
		}
	}
	if g := a.gain(a.provider(0)); g > 0 {
		t.Errorf("the garbage worker gained %d ugtg", g)
	}
	a.unhurt(a.provider(1), a.checker(0), a.checker(1), a.checker(2))
}
