package cli

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// resultsPage is what the page of a job's results shows.
type resultsPage struct {
	Job     *commonsJob
	Spec    *work.JobSpec
	List    *work.ItemList
	Items   []pageItem
	Rows    []row
	Columns []string
	Best    []row

	by         map[uint64]wire.Update // proven results
	where      client.Outputs
	best1, by1 string
}

// pageItem is one item.
type pageItem struct {
	Label, Vars, Outcome, Provider, File string
	Fuel                                 uint64
}

// row is one JSON object that an item printed: its names in their order.
type row struct {
	names  []string
	values map[string]any
}

// text gives a cell for people and CSV.
func (r row) text(column string) string {
	switch v := r.values[column].(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(b)
	}
}

// number gives a cell that is a finite number.
func (r row) number(column string) (float64, bool) {
	n, ok := r.values[column].(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil && !math.IsInf(f, 0)
}

// maxColumns bounds a table.
const maxColumns = 64

// parseRows takes the JSON objects out of an output, line by line. Output whose first
// line is none has no rows.
func parseRows(b []byte) (out []row) {
	for _, line := range bytes.Split(b, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		r, err := parseRow(line)
		if err != nil {
			break
		}
		out = append(out, r)
	}
	return out
}

var errNoRow = errors.New("not a JSON object on a line")

func parseRow(line []byte) (row, error) {
	r := row{values: map[string]any{}}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return r, errNoRow
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return r, errNoRow
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return r, errNoRow
		}
		if _, had := r.values[name]; !had && len(r.names) < maxColumns {
			r.names = append(r.names, name)
			r.values[name] = v
		}
	}
	if _, err := d.Token(); err != nil {
		return r, errNoRow
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return r, errNoRow
	}
	return r, nil
}

// columnsOf are the rows' names, in the order of their first appearance.
func columnsOf(rows []row) (out []string) {
	seen := map[string]bool{}
	for _, r := range rows {
		for _, n := range r.names {
			if !seen[n] && len(out) < maxColumns {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	return out
}

// bestRows keeps for each value of one column the row with the largest number in
// another, or the smallest; of equals the first.
func bestRows(rows []row, column, by string, least bool) []row {
	best := map[string]row{}
	for _, r := range rows {
		v, ok := r.number(column)
		if !ok {
			continue
		}
		key := r.text(by)
		old, had := best[key]
		o, _ := old.number(column)
		if !had || least && v < o || !least && v > o {
			best[key] = r
		}
	}
	return slices.SortedFunc(maps.Values(best), func(x, y row) int {
		a, ok1 := x.number(by)
		b, ok2 := y.number(by)
		if ok1 && ok2 {
			return cmp.Compare(a, b)
		}
		return strings.Compare(x.text(by), y.text(by))
	})
}

// write puts tables and page into a folder.
func (p *resultsPage) write(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, r := range p.Rows {
		lines.WriteByte('{')
		for i, n := range r.names {
			name, _ := json.Marshal(n)
			value, err := json.Marshal(r.values[n])
			if err != nil {
				return err
			}
			if i > 0 {
				lines.WriteByte(',')
			}
			lines.Write(append(append(name, ':'), value...))
		}
		lines.WriteString("}\n")
	}
	var page bytes.Buffer
	if err := pageTemplate.Execute(&page, p); err != nil {
		return fmt.Errorf("page of results: %w", err)
	}
	files := map[string][]byte{"index.html": page.Bytes()}
	if len(p.Rows) > 0 {
		files["results.jsonl"] = lines.Bytes()
		files["results.csv"] = p.csv(p.Rows)
	}
	if len(p.Best) > 0 {
		files["best.csv"] = p.csv(p.Best)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (p *resultsPage) csv(rows []row) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(p.Columns) // a buffer takes everything
	for _, r := range rows {
		_ = w.Write(p.Cells(r))
	}
	w.Flush()
	return b.Bytes()
}

// Cells are a row's cells, by column.
func (p *resultsPage) Cells(r row) []string {
	out := make([]string, len(p.Columns))
	for i, c := range p.Columns {
		out[i] = r.text(c)
	}
	return out
}

// maxShown bounds the lines of the page's tables; the files hold all.
const maxShown = 2000

// ShownItems are the items of the page.
func (p *resultsPage) ShownItems() []pageItem { return p.Items[:min(len(p.Items), maxShown)] }

// ShownRows are the rows of the page: the best, if they were asked for.
func (p *resultsPage) ShownRows() []row {
	rows := p.Rows
	if len(p.Best) > 0 {
		rows = p.Best
	}
	return rows[:min(len(rows), maxShown)]
}

// Done is the settled share in percent.
func (p *resultsPage) Done() string { return fmt.Sprintf("%.1f", percent(p.Job.Settled, p.Job.Items)) }

// Plot is one drawing: y over x.
type Plot struct {
	X, Y                   string
	MinX, MaxX, MinY, MaxY string
	Dots, Best             []Dot
}

// Dot is a point in the drawing's own units.
type Dot struct {
	X, Y  string
	Title string
}

// Size of a drawing.
const (
	plotWidth  = 640
	plotHeight = 320
	maxPlots   = 4
	maxDots    = 20_000
)

// Plots draws the numeric columns over the first of them, or over --by.
func (p *resultsPage) Plots() (out []Plot) {
	var numeric []string
	for _, c := range p.Columns {
		if len(p.Rows) > 0 && !slices.ContainsFunc(p.Rows, func(r row) bool { _, ok := r.number(c); return !ok }) {
			numeric = append(numeric, c)
		}
	}
	front := func(c string) {
		if k := slices.Index(numeric, c); k > 0 {
			numeric = slices.Insert(slices.Delete(numeric, k, k+1), 0, c)
		}
	}
	front(p.best1)
	front(p.by1)
	if len(numeric) < 2 {
		return nil
	}
	for _, y := range numeric[1:min(len(numeric), 1+maxPlots)] {
		out = append(out, p.plot(numeric[0], y))
	}
	return out
}

func (p *resultsPage) plot(x, y string) Plot {
	at := func(r row) (float64, float64) {
		a, _ := r.number(x)
		b, _ := r.number(y)
		return a, b
	}
	lowX, lowY := math.Inf(1), math.Inf(1)
	highX, highY := math.Inf(-1), math.Inf(-1)
	for _, r := range p.Rows {
		a, b := at(r)
		lowX, highX, lowY, highY = min(lowX, a), max(highX, a), min(lowY, b), max(highY, b)
	}
	scale := func(v, low, high, size float64) float64 {
		if high == low {
			return size / 2
		}
		return (v - low) / (high - low) * size
	}
	dots := func(rows []row) (out []Dot) {
		for _, r := range rows[:min(len(rows), maxDots)] {
			a, b := at(r)
			out = append(out, Dot{fmt.Sprintf("%.1f", scale(a, lowX, highX, plotWidth)), fmt.Sprintf("%.1f", plotHeight-scale(b, lowY, highY, plotHeight)),
				fmt.Sprintf("%s %g, %s %g", x, a, y, b)})
		}
		return out
	}
	g := func(v float64) string { return fmt.Sprintf("%g", v) }
	return Plot{X: x, Y: y, MinX: g(lowX), MaxX: g(highX), MinY: g(lowY), MaxY: g(highY), Dots: dots(p.Rows), Best: dots(p.Best)}
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{or .Job.Title .Job.Job}}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-size:13px;width:100%}td,th{border-bottom:1px solid #ddd;padding:2px 8px;text-align:left;vertical-align:top;word-break:break-all}
svg{background:#fafafa;border:1px solid #ddd;overflow:visible;margin:1rem 3rem 2rem 4rem;max-width:80%}text{font-size:12px;fill:#555}
circle{fill:#7aa6d6;fill-opacity:.6}circle.best{fill:#c0392b;fill-opacity:1}
</style>
<h1>{{or .Job.Title "Results of the commons"}}</h1>
<p>Job <code>{{.Job.Job}}</code>, {{.Job.State}}: {{.Job.Settled}} of {{.Job.Items}} items are settled ({{.Done}} %). Each result here was
compared with the root that the chain checked and paid for. Program <code>{{.Spec.Program.Root}}</code>, tier {{.Spec.Tier}}.</p>
{{if .Rows}}<p>All rows: <a href="results.csv">results.csv</a>, <a href="results.jsonl">results.jsonl</a>{{if .Best}}; the best: <a href="best.csv">best.csv</a>{{end}}.</p>{{end}}
{{range .Plots}}<h2>{{.Y}} over {{.X}}</h2>
<svg viewBox="0 0 640 320" width="640" height="320"><title>{{.Y}} over {{.X}}</title>
{{range .Dots}}<circle cx="{{.X}}" cy="{{.Y}}" r="3"><title>{{.Title}}</title></circle>
{{end}}{{range .Best}}<circle class="best" cx="{{.X}}" cy="{{.Y}}" r="3"><title>{{.Title}}</title></circle>
{{end}}<text x="0" y="338">{{.MinX}}</text><text x="640" y="338" text-anchor="end">{{.MaxX}}</text><text x="320" y="338" text-anchor="middle">{{.X}}</text>
<text x="-6" y="320" text-anchor="end">{{.MinY}}</text><text x="-6" y="12" text-anchor="end">{{.MaxY}}</text></svg>
{{end}}{{if .Rows}}<h2>{{if .Best}}The best{{else}}Rows{{end}}</h2>
<table><tr>{{range .Columns}}<th>{{.}}{{end}}</tr>
{{range .ShownRows}}<tr>{{range $.Cells .}}<td>{{.}}{{end}}</tr>
{{end}}</table>{{end}}
<h2>Who worked</h2>
<table><tr><th>provider<th>items<th>batches<th>pay, ugtg</tr>
{{range .Job.Workers}}<tr><td>{{.Provider}}<td>{{.Items}}<td>{{.Batches}}<td>{{.Pay}}</tr>
{{end}}</table>
<h2>Items</h2>
<table><tr><th>item<th>input<th>outcome<th>fuel<th>provider</tr>
{{range .ShownItems}}<tr><td>{{if .File}}<a href="{{.File}}">{{.Label}}</a>{{else}}{{.Label}}{{end}}<td>{{.Vars}}<td>{{.Outcome}}<td>{{.Fuel}}<td>{{.Provider}}</tr>
{{end}}</table>
</html>
`))
