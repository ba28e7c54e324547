package provider

import (
	"testing"
	"time"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/work"
)

func TestDue(t *testing.T) {
	t.Parallel()
	c := Config{BatchTime: 10 * time.Second, MaxUncommitted: time.Minute, MinBatchItems: 100}
	running := uncommitted{items: 50, oldest: 20 * time.Second, expires: 1000}
	with := func(f func(*uncommitted)) uncommitted { u := running; f(&u); return u }
	for name, x := range map[string]struct {
		u    uncommitted
		want bool
	}{
		"nothing":            {uncommitted{flush: true, idle: true, expires: 1}, false},
		"part of a draw":     {uncommitted{items: 50, oldest: time.Hour, flush: true, idle: true, expires: 1000, draw: true}, false},
		"a whole draw":       {uncommitted{items: 50, expires: 1000, draw: true, drawn: true}, true},
		"a draw that ends":   {uncommitted{items: 50, expires: 20, draw: true}, true},
		"few, some time":     {running, false},
		"enough, some time":  {with(func(u *uncommitted) { u.items = 100 }), true},
		"enough, too early":  {with(func(u *uncommitted) { u.items, u.oldest = 100, time.Second }), false},
		"few, too long":      {with(func(u *uncommitted) { u.oldest = time.Minute }), true},
		"tail":               {with(func(u *uncommitted) { u.items, u.oldest, u.flush, u.idle = 1, 0, true, true }), true},
		"tail still running": {with(func(u *uncommitted) { u.flush = true }), false},
		"idle, not flushed":  {with(func(u *uncommitted) { u.idle = true }), false},
		"full":               {with(func(u *uncommitted) { u.full, u.oldest = true, 0 }), true},
		"about to expire":    {with(func(u *uncommitted) { u.expires = expiryRush }), true},
	} {
		if got := c.due(x.u); got != x.want {
			t.Errorf("%s: due %v", name, got)
		}
	}
}

// chunkOf is lo up to hi at a price, of 1e9 fuel an item.
func chunkOf(as *assign, seq, lo, hi uint64) *chunk {
	n := work.Fuel(hi - lo)
	return &chunk{seq: seq, as: as, items: work.RangeSet{{Lo: lo, Hi: hi}}, fuel: n * 1_000_000_000, maxFuel: 1_000_000_000}
}

func assignOf(id uint64, price work.Price, expires int64) *assign {
	return &assign{id: id, a: work.Assignment{Price: price, ExpiresHeight: expires}}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	l := limits{items: 1000, height: 10, rules: lifecycle.LocalParams().Rules(), tier: work.TierEconomic,
		bond: 1000 * work.UgtgPerGtg, escrowFree: 1000 * work.UgtgPerGtg, checkFree: 1000 * work.UgtgPerGtg, rhoPermille: 300}
	a, b, old := assignOf(1, 100, 500), assignOf(2, 200, 500), assignOf(3, 100, 10)
	seqs := func(cs []*chunk) (out []uint64) {
		for _, c := range cs {
			out = append(out, c.seq)
		}
		return out
	}
	equal := func(what string, got []*chunk, want ...uint64) {
		t.Helper()
		s := seqs(got)
		if len(s) != len(want) {
			t.Errorf("%s: chose %v, want %v", what, s, want)
			return
		}
		for i := range s {
			if s[i] != want[i] {
				t.Errorf("%s: chose %v, want %v", what, s, want)
			}
		}
	}
	loose := []*chunk{chunkOf(old, 1, 0, 5), chunkOf(a, 2, 10, 20), chunkOf(b, 3, 20, 30), chunkOf(a, 4, 30, 40)}
	got, n := choose(loose, l)
	equal("one price, unexpired", got, 2, 4)
	if n.escrow != 20*100 || n.bond < work.UgtgPerGtg {
		t.Errorf("need %+v", n)
	}
	few := l
	few.items = 15
	got, _ = choose(loose, few)
	equal("bounded items", got, 2)
	poor := l
	poor.escrowFree = 10 * 100
	got, _ = choose(loose, poor)
	equal("bounded escrow", got, 2)
	poor.bond = 1
	got, _ = choose(loose, poor)
	equal("no bond", got)
	suspect := chunkOf(a, 5, 50, 60)
	suspect.refused = 1
	got, _ = choose([]*chunk{loose[1], suspect, loose[3]}, l)
	equal("refused before is left for later", got, 2, 4)
	got, _ = choose([]*chunk{suspect, loose[1]}, l)
	equal("refused before goes alone", got, 5)
	var many []*chunk
	for i := range uint64(2 * lifecycle.MaxParts) {
		many = append(many, chunkOf(assignOf(i, 100, 500), i, 2*i, 2*i+1))
	}
	if got, _ = choose(many, l); len(got) != lifecycle.MaxParts {
		t.Errorf("%d parts", len(got))
	}
}

// TestOpeningsLeadToTheRoot builds a batch of scattered items and opens it as the
// chain asks.
func TestOpeningsLeadToTheRoot(t *testing.T) {
	t.Parallel()
	leaves := make([]work.Leaf, 13)
	for i := range leaves {
		leaves[i] = work.Leaf{Input: work.Hash{byte(i)}, Outcome: work.Outcome{Kind: work.Exited}, Fuel: work.Fuel(1 + i)}
	}
	salt, job := work.Hash{1}, work.Hash{2}
	nodes := nodesOf(leaves, salt, job)
	root, err := work.Root(nodes)
	if err != nil {
		t.Fatal(err)
	}
	b := &lifecycle.Batch{N: 13, Root: root}
	for p := range root.Fuel {
		b.Draws = append(b.Draws, lifecycle.Draw{Point: p})
	}
	os, err := b.Openings(nodes)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range os {
		before, err := work.VerifyPath(root, 13, o.Position, o.Node, o.Path)
		if err != nil || b.Draws[i].Point < before || b.Draws[i].Point >= before+o.Node.Fuel {
			t.Fatalf("point %d: position %d from %d, %v", i, o.Position, before, err)
		}
	}
}

func TestAskingPrice(t *testing.T) {
	t.Parallel()
	for load, want := range map[uint32]work.Price{0: 10, 500: 60, 1000: 110, 5000: 110} {
		if got := match.AskingPrice(10, 110, load); got != want {
			t.Errorf("load %d: price %d, want %d", load, got, want)
		}
	}
}

func TestItemSet(t *testing.T) {
	t.Parallel()
	s := itemSet{}
	s.add(work.RangeSet{{Lo: 500, Hi: 530}, {Lo: 1 << 31, Hi: 1<<31 + 1}})
	s.remove(work.RangeSet{{Lo: 510, Hi: 520}})
	got := s.missing(work.RangeSet{{Lo: 498, Hi: 532}, {Lo: 1 << 31, Hi: 1<<31 + 1}})
	want := work.RangeSet{{Lo: 498, Hi: 500}, {Lo: 510, Hi: 520}, {Lo: 530, Hi: 532}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("missing %v, want %v", got, want)
	}
}

func TestFullItems(t *testing.T) {
	t.Parallel()
	j := &lifecycle.Job{Spec: work.JobSpec{MaxCopies: 2}, Copies: []work.RangeSet{{{Lo: 0, Hi: 10}}, {{Lo: 5, Hi: 7}}}}
	if f := fullItems(j); f.Len() != 2 || !f.Contains(5) {
		t.Errorf("full: %v", f)
	}
}
