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
		{"1 GB of output files", testFloodFiles}, {"sparse files", testSparse}, {"open files", testHold}, {"nested folders", testNest},
		{"memory bomb", testMemoryBomb}, {"table bomb", testTableBomb}, {"recursion bomb", testRecursion}, {"endless loop", testFuel},
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

// testFloodFiles fills a file that is kept, which ends the run at the job's cap, and
// one that is scratch, where writing fails.
func testFloodFiles(b *bench, profile string) {
	for name, want := range map[string]work.Outcome{
		"out/big": {Kind: work.OutputCapped}, "tmp/big": {Kind: work.Exited, Code: 3},
	} {
		r := b.run(b.task(profile, "floodfile", name, "1024"))
		if r.Leaf.Outcome != want {
			b.Errorf("%s: %v, want %v", name, r.Leaf.Outcome, want)
		}
		size := uint64(0)
		for _, f := range r.Output.Files {
			size += f.Blob.Size
		}
		if size > Limits.OutputBytes {
			b.Errorf("%s: %d bytes came out, the cap is %d", name, size, Limits.OutputBytes)
		}
	}
}

// testSparse writes a terabyte behind the end of a file, which costs a real file
// system nothing.
func testSparse(b *bench, profile string) {
	for _, name := range []string{"out/far", "tmp/far"} {
		r := b.run(b.task(profile, "sparse", name))
		if got := b.text(r, r.Output.Stdout); got != "" {
			b.Errorf("%s: it %s", name, got)
		}
		size := r.Output.Stdout.Size
		for _, f := range r.Output.Files {
			size += f.Blob.Size
		}
		if size > Limits.OutputBytes {
			b.Errorf("%s: %d bytes came out, the cap is %d", name, size, Limits.OutputBytes)
		}
	}
}

func testHold(b *bench, profile string) {
	r := b.run(b.task(profile, "hold", "100000"))
	if got := b.text(r, r.Output.Stdout); !r.Leaf.Outcome.OK() || got != "true\n" {
		b.Errorf("opening files without end: %v, %q", r.Leaf.Outcome, got)
	}
}

func testNest(b *bench, profile string) {
	r := b.run(b.task(profile, "nest", "10000"))
	if k := r.Leaf.Outcome.Kind; k != work.Exited && k != work.OutputCapped {
		b.Errorf("folders in folders: %v", r.Leaf.Outcome)
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
