package client_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

func TestOutputTemplates(t *testing.T) {
	t.Parallel()
	files := func(names ...string) *work.ItemList {
		l := &work.ItemList{Source: work.SourceEach}
		for _, n := range names {
			l.Each = append(l.Each, work.File{Path: "in/" + n})
		}
		return l
	}
	lines := func(lines ...string) *work.ItemList { return &work.ItemList{Source: work.SourceLines, Lines: lines} }
	for _, c := range []struct {
		template string
		list     *work.ItemList
		want     string // path of the last item, or a part of the error
	}{
		{"/o/{stem}.json", files("a.txt", "b.txt"), "/o/b.json"},
		{"/o/{name}/r", files("a.txt", "b.txt"), "/o/b.txt/r"},
		{"/o/{i}", &work.ItemList{Source: work.SourceRange, Range: work.Range{Lo: 5, Hi: 8}}, "/o/7"},
		{"/o/{line}", lines("x", "y/z"), "/o/y/z"},
		{"/o/one", lines("x"), "/o/one"},
		{"/o/{i}-{i}", lines("x", "y"), "/o/1-1"},
		{"/o/{stem}.json", files("a.txt", "a.csv"), "items 0 and 1 would both write /o/a.json"},
		{"/o/same", lines("x", "y"), "same file"},
		{"/o/{foo}", lines("x"), "unknown placeholder {foo}"},
		{"/o/{in}", files("a"), "unknown placeholder {in}"},
		{"/o/{line}", lines("../x"), "outside of /o"},
		{"/o/{line}", lines("a/../../x"), "outside of /o"},
		{"/o/{line}", lines(".."), "outside of /o"},
		{"/o/{line}", lines("."), "outside of /o"},
		{"/o/{line}/", lines("x"), "must name a file"},
		{"/o/{i}.provisional", lines("x"), "must name a file"},
		{"/o/p-{line}", lines("/../../x"), "outside of /o"},
	} {
		o := client.Outputs{Template: c.template, List: c.list}
		err := o.Check()
		if strings.HasPrefix(c.want, "/") {
			got, perr := o.Path(c.list.Len() - 1)
			if err != nil || perr != nil || got != c.want {
				t.Errorf("%s: %q, %v, %v: want %q", c.template, got, err, perr, c.want)
			}
		} else if !errors.Is(err, client.ErrTemplate) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v: want an error with %q", c.template, err, c.want)
		}
	}
}

func TestOutputsAreWrittenWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := &work.ItemList{Source: work.SourceRange, Range: work.Range{Lo: 1, Hi: 3}, Out: "r{i}.txt"}
	o := client.Outputs{Template: filepath.Join(dir, "deep", "r{i}.txt"), List: l}
	data := []byte("result")
	b := work.BlobOf(data)
	r := &work.Result{Index: 1, Output: work.Output{Files: []work.File{{Path: "out/other", Blob: b}, {Path: "out/r2.txt", Blob: b}}}}
	open := func(work.BlobID) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	path := filepath.Join(dir, "deep", "r2.txt")
	if err := o.Write(r, open, true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil || o.Present(r) {
		t.Error("a provisional output stands where a verified one belongs")
	}
	if err := o.Write(r, open, false); err != nil || !o.Present(r) {
		t.Fatalf("present %v, %v", o.Present(r), err)
	}
	broken := func(work.BlobID) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{})), nil
	}
	if err := o.Write(r, broken, false); err == nil {
		t.Error("a read that failed halfway is no error")
	}
	es, err := os.ReadDir(filepath.Join(dir, "deep"))
	if got, _ := os.ReadFile(path); err != nil || len(es) != 1 || string(got) != "result" {
		t.Errorf("%v holds %q, %v: want the first output and nothing beside it", es, got, err)
	}
	if err := os.WriteFile(path, []byte("RESULT"), 0o600); err != nil || o.Present(r) {
		t.Error("a file of other bytes counts as the output")
	}
	r.Output.Files = r.Output.Files[:1]
	if err := o.Write(r, open, false); !errors.Is(err, client.ErrNoOutput) {
		t.Errorf("an item without its output: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestItemNumbersAreThoseOfUsers(t *testing.T) {
	t.Parallel()
	l := &work.ItemList{Source: work.SourceRange, Range: work.Range{Lo: 10, Hi: 20}, Pick: work.RangeSet{{Lo: 2, Hi: 3}, {Lo: 7, Hi: 9}}}
	for i, label := range []uint64{12, 17, 18} {
		if got, err := client.ItemOf(l, label); err != nil || got != uint64(i) {
			t.Errorf("item %d is %d, %v: want %d", label, got, err, i)
		}
	}
	for _, label := range []uint64{0, 9, 10, 13, 20, 1 << 63} {
		if got, err := client.ItemOf(l, label); !errors.Is(err, work.ErrItem) {
			t.Errorf("item %d is %d, %v: want none", label, got, err)
		}
	}
}

// verified is a result as the cache takes it.
func verified(l *work.ItemList, s *work.JobSpec, i uint64, out string) wire.Update {
	it, err := l.Item(i)
	if err != nil {
		panic(err)
	}
	o := work.Output{Stdout: work.BlobOf([]byte(out))}
	leaf := work.Leaf{Input: it.InputDigest(s.ProgramID(), s.Limits, s.Seed), Outcome: work.Outcome{Kind: work.Exited}, Fuel: 7}
	leaf.Output = o.Digest(leaf.Outcome)
	return wire.Update{Index: i, State: wire.ItemVerified, Result: &work.Result{Index: i, Leaf: leaf, Output: o}}
}

func TestCacheFindsItemsByTheirInput(t *testing.T) {
	t.Parallel()
	c := client.Cache{Dir: filepath.Join(t.TempDir(), "results")}
	spec := &work.JobSpec{Program: work.BlobOf([]byte("p")), Profile: "gw1/1", Tier: work.TierEconomic, Limits: work.Limits{Fuel: 9}}
	l := &work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: 2000}}
	if found, err := c.Lookup(spec, l); err != nil || len(found) != 0 {
		t.Fatalf("an empty cache: %v, %v", found, err)
	}
	var wg sync.WaitGroup
	for k := range uint64(4) { // as many processes would
		wg.Go(func() {
			w, err := c.Writer(spec)
			if err != nil {
				t.Error(err)
				return
			}
			for i := k; i < 1000; i += 4 {
				provisional := verified(l, spec, i+1000, "x")
				provisional.State = wire.ItemProvisional
				if err := w.Add([]wire.Update{verified(l, spec, i, "result"), provisional}); err != nil {
					t.Error(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	es, _ := filepath.Glob(filepath.Join(c.Dir, "*"))
	f, err := os.OpenFile(es[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("{\"tier\":\"econ") // a process was killed here
	f.Close()
	shifted := &work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 990, Hi: 1010}}
	found, err := c.Lookup(spec, shifted)
	if err != nil || len(found) != 10 || found[3] == nil || found[3].Index != 3 || found[3].Output.Stdout != work.BlobOf([]byte("result")) {
		t.Fatalf("%d found, %v, %v: want items 990 to 999 of another list", len(found), found[3], err)
	}
	for name, change := range map[string]func(s *work.JobSpec){
		"a higher tier":   func(s *work.JobSpec) { s.Tier = work.TierFull },
		"another seed":    func(s *work.JobSpec) { s.Seed = 1 },
		"another limit":   func(s *work.JobSpec) { s.Limits.Fuel = 10 },
		"another program": func(s *work.JobSpec) { s.Program = work.BlobOf([]byte("q")) },
	} {
		s := *spec
		change(&s)
		if found, err := c.Lookup(&s, shifted); err != nil || len(found) != 0 {
			t.Errorf("%s finds %d results, %v", name, len(found), err)
		}
	}
}

func TestRecordsComeBack(t *testing.T) {
	t.Parallel()
	rs := client.Records{Dir: filepath.Join(t.TempDir(), "jobs")}
	l := &work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 1, Hi: 4}}
	r := &client.Record{Created: time.Now(), Command: []string{"p.wasm", "{i}"}, Out: "/o/{i}", List: l,
		Spec: work.JobSpec{Chain: "c", Client: "me", Tier: work.TierFull, Items: work.BlobOf(l.Encode()), ItemCount: 3}}
	r.Job = r.Spec.ID()
	if err := rs.Save(r); err != nil {
		t.Fatal(err)
	}
	r.Ended = &client.Ended{Verified: 3, Paid: 12}
	if err := rs.Save(r); err != nil {
		t.Fatal(err)
	}
	got, err := rs.Load(r.Job)
	if err != nil || got.Out != r.Out || got.Spec.ID() != r.Spec.ID() || got.List.Len() != 3 || *got.Ended != *r.Ended {
		t.Fatalf("%+v, %v", got, err)
	}
	if id, err := rs.Find(r.Job.String()[:8]); err != nil || id != r.Job {
		t.Errorf("found %s, %v", id, err)
	}
	for _, prefix := range []string{"", r.Job.String()[:3], "zzzz"} {
		if _, err := rs.Find(prefix); !errors.Is(err, client.ErrNoRecord) {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	if all, err := rs.All(); err != nil || len(all) != 1 {
		t.Errorf("%d records, %v", len(all), err)
	}
	path := filepath.Join(rs.Dir, r.Job.String()+".json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rs.Load(r.Job); !errors.Is(err, client.ErrRecord) {
		t.Errorf("a damaged record: %v", err)
	}
	if err := errors.Join(rs.Remove(r.Job), rs.Remove(r.Job)); err != nil {
		t.Error(err)
	}
	if _, err := rs.Load(r.Job); !errors.Is(err, client.ErrNoRecord) {
		t.Errorf("a removed record: %v", err)
	}
}
