package work

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/sign"
)

func TestAmounts(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Amount{
		"1.5gtg": 1_500_000, "1500000ugtg": 1_500_000, "0gtg": 0, "0.000001gtg": 1, "18446744073709.551615gtg": 1<<64 - 1,
	} {
		if got, err := ParseAmount(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "1", "gtg", "1.gtg", ".5gtg", "1.1234567gtg", "-1gtg", "+1ugtg", "1e3gtg", "1 gtg", "1eur", "99999999999999gtg", "18446744073709551616ugtg"} {
		if v, err := ParseAmount(s); err == nil {
			t.Errorf("%q was read as %d", s, v)
		}
	}
	for a, want := range map[Amount]string{0: "0ugtg", 999: "999ugtg", 1000: "0.001gtg", 1_500_000: "1.5gtg", 1_000_000: "1gtg"} {
		if a.String() != want {
			t.Errorf("%d prints as %s, want %s", uint64(a), a, want)
		}
	}
	if v, err := Cost(3e9+1, 10); err != nil || v != 30 {
		t.Errorf("cost %d, %v", v, err)
	}
	if _, err := Cost(1<<63, 1<<40); !errors.Is(err, ErrOverflow) {
		t.Errorf("overflow: %v", err)
	}
	if _, err := Amount(1<<64 - 1).Add(1); !errors.Is(err, ErrOverflow) {
		t.Error("sum wrapped")
	}
	if _, err := Amount(1).Sub(2); !errors.Is(err, ErrOverflow) {
		t.Error("difference wrapped")
	}
}

// TestRangeSets holds the set operations against plain sets of numbers.
func TestRangeSets(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	random := func() (RangeSet, map[uint64]bool) {
		var rs []Range
		m := map[uint64]bool{}
		for range rng.IntN(6) {
			r := Range{uint64(rng.IntN(40)), uint64(rng.IntN(40))}
			rs = append(rs, r)
			for i := r.Lo; i < r.Hi; i++ {
				m[i] = true
			}
		}
		return NewRangeSet(rs...), m
	}
	for range 5000 {
		a, ma := random()
		b, mb := random()
		was := slices.Clone(a)
		for name, c := range map[string]struct {
			got  RangeSet
			want func(i uint64) bool
		}{
			"itself":    {a, func(i uint64) bool { return ma[i] }},
			"union":     {a.Union(b), func(i uint64) bool { return ma[i] || mb[i] }},
			"minus":     {a.Minus(b), func(i uint64) bool { return ma[i] && !mb[i] }},
			"intersect": {a.Intersect(b), func(i uint64) bool { return ma[i] && mb[i] }},
		} {
			if err := c.got.Validate(); err != nil {
				t.Fatalf("%s of %v and %v is %v: %v", name, a, b, c.got, err)
			}
			n := uint64(0)
			for i := range uint64(41) {
				if c.got.Contains(i) != c.want(i) {
					t.Fatalf("%s of %v and %v is %v: wrong at %d", name, a, b, c.got, i)
				}
				if k, ok := c.got.Position(i); ok != c.want(i) || ok && (k != n || c.got.At(k) != i) {
					t.Fatalf("%v: item %d at position %d", c.got, i, k)
				}
				if c.want(i) {
					n++
				}
			}
			if c.got.Len() != n {
				t.Fatalf("%v has length %d, want %d", c.got, c.got.Len(), n)
			}
		}
		k := uint64(rng.IntN(50))
		taken, rest := a.Take(k)
		if taken.Len() != min(k, a.Len()) || !slices.Equal(taken.Union(rest), a) || len(taken.Intersect(rest)) > 0 {
			t.Fatalf("take %d of %v: %v and %v", k, a, taken, rest)
		}
		if !slices.Equal(a, was) {
			t.Fatalf("an operation changed its argument %v to %v", was, a)
		}
	}
	for _, bad := range []RangeSet{{{1, 1}}, {{2, 1}}, {{1, 2}, {2, 3}}, {{5, 6}, {1, 2}}} {
		if !errors.Is(bad.Validate(), ErrRanges) {
			t.Errorf("%v is taken for canonical", bad)
		}
	}
}

// TestSumTree opens every item of trees of many sizes, and no other way.
func TestSumTree(t *testing.T) {
	t.Parallel()
	for n := uint64(1); n <= 40; n++ {
		nodes := make([]Node, n)
		for i := range nodes {
			nodes[i] = ItemNode(Fuel(i*i+1), Hash{byte(i)}, ItemSalt(Hash{1}, Hash{2}, uint64(i)))
		}
		root, err := Root(nodes)
		if err != nil {
			t.Fatal(err)
		}
		var before Fuel
		for i := range n {
			path, err := Path(nodes, i)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := VerifyPath(root, n, i, nodes[i], path); err != nil || got != before {
				t.Fatalf("item %d of %d: %d fuel before, want %d: %v", i, n, got, before, err)
			}
			before += nodes[i].Fuel
			other := nodes[i]
			other.Fuel++
			if _, err := VerifyPath(root, n, i, other, path); err == nil {
				t.Fatalf("item %d of %d opened with more fuel", i, n)
			}
			if n > 1 {
				if _, err := VerifyPath(root, n, (i+1)%n, nodes[i], path); err == nil {
					t.Fatalf("item %d of %d opened as another", i, n)
				}
				moved := slices.Clone(path) // fuel moved between two nodes keeps the sum, not the hash
				moved[0].Fuel++
				if _, err := VerifyPath(root, n, i, nodes[i], moved); err == nil {
					t.Fatalf("item %d of %d opened with moved fuel", i, n)
				}
			}
		}
		if before != root.Fuel {
			t.Fatalf("root of %d has %d fuel, want %d", n, root.Fuel, before)
		}
	}
	if _, err := Root([]Node{{Fuel: 1 << 63}, {Fuel: 1 << 63}}); !errors.Is(err, ErrOverflow) {
		t.Errorf("sum that overflows: %v", err)
	}
	if _, err := Root(nil); err == nil {
		t.Error("an empty batch has a root")
	}
}

func TestItems(t *testing.T) {
	t.Parallel()
	l := sampleList(SourceGrid)
	l.Args = []string{"{lr}", "{bs}", "{unknown}", `{"json":1}`, "{out}"}
	l.Out = "{lr}/{bs}.json"
	it, err := l.Item(2)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"3e-4", "16", "{unknown}", `{"json":1}`, "out/3e-4/16.json"}; !slices.Equal(it.Args, want) {
		t.Errorf("args %q, want %q", it.Args, want)
	}
	if _, err := l.Item(4); !errors.Is(err, ErrItem) {
		t.Errorf("item beyond the grid: %v", err)
	}
	each := sampleList(SourceEach)
	each.Out = "../{stem}"
	if _, err := each.Item(0); !errors.Is(err, ErrPath) {
		t.Errorf("output outside the folder: %v", err)
	}
	each.Out = "{stem}.json"
	a, _ := each.Item(0)
	if a.Files[0].Path != "in/a.txt" || a.Files[1].Path != "model.bin" || len(a.Files) != 2 {
		t.Errorf("files of an item: %v", a.Files)
	}
	p, lim := Program(BlobOf(nil), "gw1"), Limits{Fuel: 1}
	b, _ := each.Item(1)
	if a.InputDigest(p, lim, 0) == b.InputDigest(p, lim, 0) || a.InputDigest(p, lim, 0) == a.InputDigest(p, lim, 1) {
		t.Error("different items have one input digest")
	}
	for _, bad := range []*ItemList{
		{Source: SourceRange, Range: Range{5, 5}}, {Source: SourceEach}, {Source: SourceGrid}, {Source: 9},
		{Source: SourceRange, Range: Range{0, 1<<32 + 1}}, {Source: SourceEach, Each: []File{{Path: "/etc/passwd"}}},
		{Source: SourceGrid, Grid: []Axis{{"a", make([]string, 1<<17)}, {"b", make([]string, 1<<17)}}},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken for valid", bad.Source)
		}
	}
	for _, p := range []string{"", "/a", "../a", "a/../b", "a//b", ".", "a\\b", "a\x00", strings.Repeat("a", 2000)} {
		if !errors.Is(CheckPath(p), ErrPath) {
			t.Errorf("path %q is taken", p)
		}
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	a := sampleAssignment()
	if err := a.Verify(sampleKey().Public()); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Assignment){
		func(a *Assignment) { a.Chain = "other" }, func(a *Assignment) { a.Provider += "x" }, func(a *Assignment) { a.Attempt++ },
		func(a *Assignment) { a.Ranges = RangeSet{{0, 11}} }, func(a *Assignment) { a.Price++ }, func(a *Assignment) { a.ExpiresHeight++ },
	} {
		b := *a
		change(&b)
		if !errors.Is(b.Verify(sampleKey().Public()), sign.ErrSignature) {
			t.Errorf("change %d kept the signature", i)
		}
	}
	a.Ranges = nil
	a.Sign(sampleKey())
	if !errors.Is(a.Verify(sampleKey().Public()), ErrRanges) {
		t.Error("an assignment of nothing is valid")
	}
	o := sampleOffer()
	if err := o.Verify(); err != nil {
		t.Fatal(err)
	}
	o.Price--
	if o.Verify() == nil {
		t.Error("an offer's price can be changed")
	}
}

func TestJobSpec(t *testing.T) {
	t.Parallel()
	if err := sampleJob().Validate(); err != nil {
		t.Fatal(err)
	}
	ids := map[JobID]int{sampleJob().ID(): -1}
	for i, change := range []func(*JobSpec){
		func(s *JobSpec) { s.Nonce++ }, func(s *JobSpec) { s.Seed++ }, func(s *JobSpec) { s.Tier = TierFull },
		func(s *JobSpec) { s.Chain += "x" }, func(s *JobSpec) { s.Limits.Fuel++ }, func(s *JobSpec) { s.Escrow++ },
		func(s *JobSpec) { s.IndexerOwner += "x" }, func(s *JobSpec) { s.IndexerPermille++ }, func(s *JobSpec) { s.MaxCopies++ }, func(s *JobSpec) { s.Program.Size++ },
	} {
		s := sampleJob()
		change(s)
		if other, seen := ids[s.ID()]; seen {
			t.Errorf("changes %d and %d have one id", i, other)
		}
		ids[s.ID()] = i
	}
	for i, change := range []func(*JobSpec){
		func(s *JobSpec) { s.Chain = "" }, func(s *JobSpec) { s.Client = "" }, func(s *JobSpec) { s.Program.Size = 0 },
		func(s *JobSpec) { s.ItemCount = 0 }, func(s *JobSpec) { s.ItemCount = MaxItems + 1 }, func(s *JobSpec) { s.Tier = TierNone },
		func(s *JobSpec) { s.Tier = 9 }, func(s *JobSpec) { s.Limits.Fuel = 0 }, func(s *JobSpec) { s.MaxPrice = 0 },
		func(s *JobSpec) { s.MaxCopies = 0 }, func(s *JobSpec) { s.IndexerPermille = 1001 }, func(s *JobSpec) { s.DeadlineHeight = 0 }, func(s *JobSpec) { s.Indexer = sign.PublicKey{} },
	} {
		s := sampleJob()
		change(s)
		if s.Validate() == nil {
			t.Errorf("change %d is valid", i)
		}
	}
}

func TestDecoderIsBounded(t *testing.T) {
	t.Parallel()
	d := NewDecoder([]byte{0xff, 0xff, 0xff, 0xff})
	if l := d.Strings(1<<30, 1<<30); l != nil || !errors.Is(d.Err(), ErrMalformed) {
		t.Errorf("a list that is longer than its bytes: %v", d.Err())
	}
	d = NewDecoder([]byte{2})
	d.Bool()
	if !errors.Is(d.Done(), ErrMalformed) {
		t.Error("a truth value of 2")
	}
	d = NewDecoder([]byte{1, 2})
	d.U8()
	if !errors.Is(d.Done(), ErrMalformed) {
		t.Error("bytes after the end")
	}
}
