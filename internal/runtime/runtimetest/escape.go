package runtimetest

import (
	"strings"
	"testing"

	"github.com/gotong-network/gotong/work"
)

// Escape runs what a hostile program would try: each attempt ends as a result of
// the program, and the runtime goes on.
func Escape(t *testing.T, profile string, f Factory) {
	b := newBench(t, f)
	tests := []struct {
		name string
		run  func(*bench, string)
	}{
		{"reach outside", testReach}, {"10,000 files", testLitter}, {"1 GB of output", testFlood},
		{"memory bomb", testMemoryBomb}, {"table bomb", testTableBomb},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := *b
			c.T = t
			test.run(&c, profile)
			if r := c.run(c.task(profile)); !r.Leaf.Outcome.OK() {
				t.Errorf("the next item: %v", r.Leaf.Outcome)
			}
		})
	}
}

func testReach(b *bench, profile string) {
	r := b.run(b.task(profile, "escape"))
	if !r.Leaf.Outcome.OK() {
		b.Errorf("outcome %v: %s", r.Leaf.Outcome, b.text(r, r.Output.Stderr))
	}
	if got := b.text(r, r.Output.Stdout); got != "" {
		b.Errorf("the program reached:\n%s", got)
	}
}

func testLitter(b *bench, profile string) {
	r := b.run(b.task(profile, "litter", "10000"))
	if n := len(r.Output.Files); n == 0 || n > work.MaxFiles {
		b.Errorf("%d files came out (%v)", n, r.Leaf.Outcome)
	}
	if r.Leaf.Outcome.OK() && !strings.Contains(b.text(r, r.Output.Stdout), " ") {
		b.Errorf("the program was not told that there are too many files: %q", b.text(r, r.Output.Stdout))
	}
}

func testFlood(b *bench, profile string) {
	r := b.run(b.task(profile, "flood", "1024"))
	if want := (work.Outcome{Kind: work.OutputCapped}); r.Leaf.Outcome != want || r.Output.Stdout.Size > Limits.OutputBytes {
		b.Errorf("%v with %d bytes, want %v with at most %d", r.Leaf.Outcome, r.Output.Stdout.Size, want, Limits.OutputBytes)
	}
}

func testMemoryBomb(b *bench, profile string) {
	t := b.module(profile, ModuleMemoryBomb())
	t.Limits.MemoryBytes = 64 << 20
	first := b.run(t).Leaf
	if !first.Outcome.OK() {
		b.Errorf("growing to the cap: %v, want it told -1 and done", first.Outcome)
	}
	if got := b.run(t).Leaf; got != first {
		b.Errorf("%+v, then %+v", first, got)
	}
}

func testTableBomb(b *bench, profile string) {
	if r := b.run(b.module(profile, ModuleTableBomb())); !r.Leaf.Outcome.OK() {
		b.Errorf("growing a table to its cap: %v, want it told -1 and done", r.Leaf.Outcome)
	}
}
