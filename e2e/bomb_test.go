package e2e

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gotong-network/gotong/e2e/books"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/work"
)

// Modules by hand, beside the test vectors of gw1: what follows is a table of an entry
// without bound, a memory, and a command that loops.
var (
	// growTouch grows the memory page by page, as far as it gets, and touches each.
	growTouch = []byte{0x03, 0x40, 0x41, 1, 0x40, 0, 0x1a, 0x3f, 0, 0x41, 16, 0x74, 0x41, 1, 0x6b, 0x41, 1, 0x3a, 0, 0, 0x0c, 0, 0x0b}
	// growTable grows the table by a thousand entries at a time.
	growTable = []byte{0x03, 0x40, 0xd0, 0x70, 0x41, 0xe8, 0x07, 0xfc, 0x0f, 0, 0x1a, 0x0c, 0, 0x0b}
)

// bombModule is a WASI command of a body of less than 100 bytes.
func bombModule(body []byte) []byte {
	m := []byte{0, 'a', 's', 'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 4, 4, 1, 0x70, 0, 1, 5, 3, 1, 0, 1,
		7, 19, 2, 6, '_', 's', 't', 'a', 'r', 't', 0, 0, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0}
	m = append(m, 10, byte(len(body)+4), 1, byte(len(body)+2), 0)
	return append(append(m, body...), 0x0b)
}

// bomb is a job that wants to do harm, and how each of its items must end.
type bomb struct {
	name   string
	module []byte
	args   []string
	ends   work.OutcomeKind
}

func bombs(t testing.TB) (l []bomb) {
	t.Helper()
	for name, ends := range map[string]work.OutcomeKind{
		"endless": work.OutOfFuel, "endless-print": work.OutputCapped, "too-deep": work.OutOfDepth, "memory-bulk": work.Trapped, "outside-memory": work.Trapped,
		"tables": work.Trapped, "unreachable": work.Trapped, "memory-grow": work.Exited, "nan-random-0": work.Exited, "nan-random-3": work.Exited,
		"operations-f64": work.Exited, "operations-v128": work.Exited,
	} {
		b, err := os.ReadFile(filepath.Join("..", "gw1", "testdata", "vectors", name+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		l = append(l, bomb{name, b, nil, ends})
	}
	return append(l,
		bomb{"pages", bombModule(growTouch), nil, work.OutOfFuel},
		bomb{"table", bombModule(growTable), nil, work.OutOfFuel},
		bomb{"entropy", mustProgram(t), []string{"entropy", "{i}"}, work.Exited},
	)
}

func (b bomb) request() client.Request {
	return client.Request{
		Program: client.BytesSource(b.module), Tier: work.TierFull, FuelPerItem: 500_000_000,
		List:   &work.ItemList{Args: b.args, Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: bombItems}},
		Limits: work.Limits{MemoryBytes: 64 << 20, Fuel: 500_000_000, OutputBytes: 1 << 20},
	}
}

const bombItems = 2

// 7: a client that posts bombs as jobs, to real workers of a real process: fuel without
// end, recursion, growth of memory and table, pages, output, NaNs and whatever looks
// nondeterministic. Every item ends as it must, the same for worker and checkers, all
// of them are paid, and others' work goes on.
func TestAdversaryBombs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	n := newNetwork(t, 2)
	n.ready(ctx, t)
	n.client(ctx, t, func(c *client.Client, led *cosmos.Client) {
		honest := sums{items: 60, rounds: 1_000_000, shared: []byte("goes on"), tier: work.TierEconomic}
		id, err := c.Post(ctx, honest.request(t))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { honest.follow(ctx, t, c, id, nil) })
		all := bombs(t)
		posted := make([]work.JobID, len(all))
		slots := make(chan struct{}, 3) // checkers have deadlines, and two processors
		for i, b := range all {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				posted[i] = b.explode(t, c)
			})
		}
		wg.Wait()
		if _, err := c.WaitClosed(ctx, id, patience); err != nil {
			t.Error(err)
		}
		for _, id := range append(posted, id) {
			b := books.Read(ctx, t, led, id)
			b.Check(t)
			b.Honest(ctx, t, led, memberBond)
		}
		select {
		case <-n.up.done:
			t.Errorf("the network ended with %d\n%s", n.up.code, n.logTail())
		default:
		}
		after := sums{items: 8, rounds: 1000, shared: []byte("goes on"), tier: work.TierEconomic}
		if id, err = c.Post(ctx, after.request(t)); err != nil {
			t.Fatal(err)
		}
		after.follow(ctx, t, c, id, nil)
	})
}

// explode posts the bomb and holds that each item ends as it must.
func (b bomb) explode(t *testing.T, c *client.Client) (id work.JobID) {
	ctx := t.Context()
	id, err := c.Post(ctx, b.request())
	if err != nil {
		t.Errorf("%s: %v", b.name, err)
		return id
	}
	results := map[uint64]*work.Result{}
	_, err = c.Watch(ctx, id, func(p client.Progress) error {
		for _, u := range p.Changed {
			if u.Result != nil {
				results[u.Index] = u.Result
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", b.name, err)
		return id
	}
	for i := range uint64(bombItems) {
		if r := results[i]; r == nil || r.Leaf.Outcome.Kind != b.ends {
			t.Errorf("%s: item %d ended as %+v, want %v", b.name, i, r, b.ends)
		}
	}
	if _, err := c.WaitClosed(ctx, id, patience); err != nil {
		t.Errorf("%s: %v", b.name, err)
	}
	return id
}
