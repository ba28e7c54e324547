package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

type resultsOptions struct {
	out, best, by string
	json          bool
}

func newCommonsResultsCommand(a *app) *cobra.Command {
	var o resultsOptions
	c := &cobra.Command{
		Use:   "results JOB --out DIR",
		Short: "Fetch the results of a job of the commons, with a page to browse them",
		Long: "Writes what is settled so far into a folder: items/ holds what each item printed, or the file\n" +
			"that it left; index.html lists and plots them. Where items print lines of JSON objects, these are\n" +
			"rows of one table: results.jsonl and results.csv. With --best COLUMN --by COLUMN, best.csv keeps,\n" +
			"for each value of the one, the row with the largest of the other (-COLUMN: the smallest).\n\n" +
			"Every result is compared with the root that the chain paid for. Jobs and their ids:\n" +
			"`gotong commons list`.",
		Example: "  gotong commons results 3f2a91 --out merit --best merit --by length",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return runCommonsResults(c.Context(), a, o, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.out, "out", "", "folder to write to")
	f.StringVar(&o.best, "best", "", "column to maximise; -COLUMN minimises")
	f.StringVar(&o.by, "by", "", "column whose values each keep one row")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

// resultsSummary is `commons results --json`.
type resultsSummary struct {
	Job     string `json:"job"`
	Items   uint64 `json:"items"`
	Settled uint64 `json:"settled"` // and proven here
	Written uint64 `json:"written"`
	Failed  uint64 `json:"failed"` // ended badly, or no output
	Rows    int    `json:"rows"`
	Best    int    `json:"best"` // rows kept
	Page    string `json:"page"`
}

func runCommonsResults(ctx context.Context, a *app, o resultsOptions, arg string) error {
	if o.out == "" {
		return usagef("say where results go with --out DIR")
	}
	if (o.best == "") != (o.by == "") {
		return usagef("--best and --by belong together: as --best merit --by length")
	}
	s, c, err := a.openClient(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	v, err := viewCommons(ctx, s.Ledger)
	if err != nil {
		return err
	}
	job, err := a.findCommons(v, arg)
	if err != nil {
		return err
	}
	id, err := work.ParseHash(job.Job)
	if err != nil {
		return err
	}
	spec, list, err := c.Describe(ctx, id)
	if err != nil {
		return jobError(err)
	}
	p := &resultsPage{Job: job, Spec: spec, List: list, by: map[uint64]wire.Update{}}
	sum := resultsSummary{Job: job.Job, Items: spec.ItemCount}
	if err := a.fetchResults(ctx, c, o, p, &sum); err != nil {
		return err
	}
	if err := p.read(o); err != nil {
		return err
	}
	sum.Rows, sum.Best, sum.Page = len(p.Rows), len(p.Best), filepath.Join(o.out, "index.html")
	if err := p.write(o.out); err != nil {
		return diskHint(err, o.out)
	}
	if o.json {
		return a.printJSON(sum)
	}
	fmt.Fprintf(a.errw, "%d of %d items are settled; %d outputs written, %d without one; %d rows\n", sum.Settled, sum.Items, sum.Written, sum.Failed, sum.Rows)
	_, err = fmt.Fprintln(a.out, sum.Page)
	return err
}

// findCommons finds a job of the commons by the first digits of its id.
func (a *app) findCommons(v *commonsView, arg string) (*commonsJob, error) {
	var found []*commonsJob
	for _, j := range v.Jobs {
		if len(arg) >= 4 && strings.HasPrefix(j.Job, strings.ToLower(arg)) {
			found = append(found, j)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return nil, usagef("%d jobs of the commons begin with %q (at least 4 digits): see `gotong%s commons list`", len(found), clip(arg, 70), homeFlag(a.homeDir))
}

// fetchResults writes the outputs of proven items below out/items.
func (a *app) fetchResults(ctx context.Context, c *client.Client, o resultsOptions, p *resultsPage, sum *resultsSummary) error {
	dir, err := filepath.Abs(filepath.Join(o.out, "items"))
	if err != nil {
		return err
	}
	if strings.ContainsRune(dir, '{') {
		return usagef("--out %q: a folder without braces", o.out)
	}
	p.where = client.Outputs{Template: filepath.Join(dir, "{i}"), Stdout: p.List.Out == "", List: p.List}
	if p.where.Stdout {
		p.where.Template += ".txt"
	}
	updates, err := c.Results(ctx, p.Spec.ID(), nil)
	if err != nil {
		return jobError(err)
	}
	t := &tally{a: a, c: c, where: p.where}
	var proven []*work.Result
	for _, u := range updates {
		if u.State == wire.ItemVerified {
			p.by[u.Index] = u
			proven = append(proven, u.Result)
		}
	}
	g := getSummary{}
	if err := (&getOptions{}).outputs(ctx, t, &g, proven, nil); err != nil {
		return err
	}
	t.complain(a)
	sum.Settled, sum.Written, sum.Failed = uint64(len(proven)), g.Written, t.bad
	return nil
}

// maxRowBytes bounds what of an item's output is looked at for rows.
const maxRowBytes = 1 << 20

// read takes the rows out of the outputs that were written.
func (p *resultsPage) read(o resultsOptions) error {
	for i := range p.Spec.ItemCount {
		u, ok := p.by[i]
		if !ok {
			continue
		}
		item := pageItem{Label: client.Label(p.List, i), Outcome: u.Result.Leaf.Outcome.String(), Fuel: uint64(u.Result.Leaf.Fuel), Provider: string(u.Provider)}
		if vars, err := p.List.Vars(i); err == nil {
			item.Vars = showVars(vars)
		}
		path, err := p.where.Path(i)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		switch {
		case errors.Is(err, os.ErrNotExist): // it ended badly, or left nothing
		case err != nil:
			return err
		default:
			b, err := io.ReadAll(io.LimitReader(f, maxRowBytes))
			f.Close()
			if err != nil {
				return err
			}
			item.File = "items/" + filepath.Base(path)
			p.Rows = append(p.Rows, parseRows(b)...)
		}
		p.Items = append(p.Items, item)
	}
	p.Columns = columnsOf(p.Rows)
	if o.best == "" {
		return nil
	}
	column, least := strings.CutPrefix(o.best, "-")
	for _, want := range []string{column, o.by} {
		if len(p.Rows) > 0 && !slices.Contains(p.Columns, want) {
			return usagef("the results have no column %q: they have %s", want, strings.Join(p.Columns, ", "))
		}
	}
	p.by1, p.best1 = o.by, column
	p.Best = bestRows(p.Rows, column, o.by, least)
	return nil
}

// showVars writes an item's placeholders for people.
func showVars(vars map[string]string) string {
	var l []string
	for k, v := range vars {
		if k != "i" && k != "in" {
			l = append(l, k+"="+clip(v, 40))
		}
	}
	slices.Sort(l)
	return strings.Join(l, " ")
}
