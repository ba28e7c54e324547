package cli

import (
	"bytes"
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// TestRowsOfOutputs wants JSON objects on lines to be rows, and anything else none.
func TestRowsOfOutputs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		rows int
	}{
		{`{"a":1,"b":"x"}` + "\n\n" + `{"b":"y","c":[1,2]}`, 2}, {"", 0}, {"hello\n", 0}, {"{\"a\":1}\nthen text\n{\"a\":2}", 1},
		{`{"a":1} {"a":2}`, 0}, {`{"a":`, 0}, {`[1]`, 0}, {"{}\n", 1},
	} {
		if got := parseRows([]byte(c.in)); len(got) != c.rows {
			t.Errorf("%q: %d rows, want %d", c.in, len(got), c.rows)
		}
	}
	rows := parseRows([]byte(`{"b":18446744073709551615,"a":"x"}` + "\n" + `{"c":null,"a":true}`))
	if got := strings.Join(columnsOf(rows), " "); got != "b a c" {
		t.Errorf("columns %q", got)
	}
	if rows[0].text("b") != "18446744073709551615" || rows[1].text("a") != "true" || rows[1].text("b") != "" {
		t.Errorf("cells %+v", rows)
	}
}

func FuzzRows(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":[]}}` + "\n{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows := parseRows(b)
		for _, r := range rows {
			if len(r.names) != len(r.values) || len(r.names) > maxColumns {
				t.Errorf("%d names of %d values", len(r.names), len(r.values))
			}
		}
	})
}

// TestBestRows keeps the best row of each value, by number.
func TestBestRows(t *testing.T) {
	t.Parallel()
	rows := parseRows([]byte("{\"n\":10,\"v\":1}\n{\"n\":9,\"v\":5}\n{\"n\":10,\"v\":3}\n{\"n\":9,\"v\":\"none\"}\n{\"n\":10,\"v\":3,\"later\":1}\n"))
	most := bestRows(rows, "v", "n", false)
	if len(most) != 2 || most[0].text("n") != "9" || most[1].text("v") != "3" || most[1].text("later") != "" {
		t.Errorf("most: %+v", most)
	}
	if least := bestRows(rows, "v", "n", true); least[1].text("v") != "1" {
		t.Errorf("least: %+v", least)
	}
}

// TestPageIsWritten writes a page and reads its tables back. What programs print
// never becomes markup.
func TestPageIsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := &resultsPage{
		Job:  &commonsJob{Job: strings.Repeat("ab", 32), Title: "<b>title</b>", State: "open", Items: 3, Settled: 2, Workers: []commonsWorker{{Provider: "gotong1x", Items: 2}}},
		Spec: &work.JobSpec{}, Items: []pageItem{{Label: "0", File: "items/0.txt", Outcome: "exited(0)"}},
		Rows: parseRows([]byte("{\"length\":5,\"merit\":2.5,\"note\":\"<script>\"}\n{\"length\":7,\"merit\":8.5,\"note\":\"a,b\"}\n")),
	}
	p.Columns = columnsOf(p.Rows)
	p.Best, p.by1, p.best1 = bestRows(p.Rows, "merit", "length", false), "length", "merit"
	if err := p.write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"merit over length", `href="items/0.txt"`, "gotong1x", "66.7 %", `cx="0.0" cy="320.0"`, `cx="640.0" cy="0.0"`} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page has no %q", want)
		}
	}
	if bytes.Contains(page, []byte("<script>")) || bytes.Contains(page, []byte("<b>")) {
		t.Error("what a program or a proposal says became markup")
	}
	for _, name := range []string{"results.csv", "best.csv"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
		if err != nil || len(got) != 3 || got[2][2] != "a,b" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	lines, err := os.ReadFile(filepath.Join(dir, "results.jsonl"))
	if err != nil || len(parseRows(lines)) != 2 {
		t.Errorf("results.jsonl: %q, %v", lines, err)
	}
}

// TestPool adds up the newest offer of each provider; energy follows from speed.
func TestPool(t *testing.T) {
	t.Parallel()
	p, e := viewPool([]*work.Offer{
		{Provider: "a", Slots: 4, Load: 500, FuelPerSec: 1_000_000_000, Sequence: 2}, {Provider: "a", Slots: 9, Load: 0, Sequence: 1},
		{Provider: "b", Slots: 4, Load: 1000, FuelPerSec: 3_000_000_000, Sequence: 1}, {Provider: "c", Slots: 2, Sequence: 1},
	}, 10)
	if p.Providers != 3 || p.Slots != 10 || p.Busy != 6 || math.Abs(p.Utilisation-0.6) > 1e-9 || p.FuelPerSec != 16_000_000_000 {
		t.Errorf("pool %+v", p)
	}
	// 8 slots of 10 W give 16 units a second.
	if e.JoulesPerUnit != 5 || e.Most != 10 || math.Abs(e.Least-10.0/3) > 1e-9 || math.Abs(e.KWhPerMillion-5e6/3.6e6) > 1e-9 {
		t.Errorf("energy %+v", e)
	}
	if _, e := viewPool(nil, 10); e != nil {
		t.Error("an estimate of nothing")
	}
}

// TestWorkersOfTheCommons counts settled items by provider.
func TestWorkersOfTheCommons(t *testing.T) {
	t.Parallel()
	set := func(lo, hi uint64) work.RangeSet { return work.RangeSet{{Lo: lo, Hi: hi}} }
	pay := []lifecycle.Transfer{
		{To: "b", Reason: lifecycle.ReasonWork, Amount: 40}, {To: "b", Reason: lifecycle.ReasonWork, Amount: 40}, {To: "x", Reason: lifecycle.ReasonCheck, Amount: 5},
	}
	j := viewCommonsJob(&lifecycle.Job{State: lifecycle.JobOpen, Spec: work.JobSpec{ItemCount: 100}, Copies: []work.RangeSet{set(0, 50)}}, []*lifecycle.Batch{
		{Provider: "b", Phase: lifecycle.Settled, Items: set(0, 20), N: 20, Root: work.Node{Fuel: 7}, Transfers: pay},
		{Provider: "a", Phase: lifecycle.Void, Items: set(20, 30), N: 10}, {Provider: "a", Phase: lifecycle.Checking, Items: set(20, 50), N: 30},
	})
	if j.Settled != 20 || j.Committed != 50 || j.Fuel != 7 || len(j.Workers) != 2 || j.Workers[0] != (commonsWorker{"b", 1, 20, "80", 0}) || j.Workers[1].Void != 1 {
		t.Errorf("%+v", j)
	}
}
