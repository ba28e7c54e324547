package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

type getOptions struct {
	partial, all, json bool
	out                string
}

func newGetCommand(a *app) *cobra.Command {
	var o getOptions
	c := &cobra.Command{
		Use:   "get ID",
		Short: "Fetch a job's outputs",
		Long: "Write the outputs of a job's verified items to where map would have written them, or\n" +
			"below a folder of --out. --partial also takes results that are not verified yet; the\n" +
			"names of those end in " + client.Provisional + ".\n\n" +
			"The exit code is 3 while items are missing, except with --partial.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runGet(c.Context(), a, o, args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&o.partial, "partial", false, "also take provisional results")
	f.BoolVar(&o.all, "all", false, "everything that items left: DIR/{i}/stdout, stderr and files; needs --out")
	f.StringVar(&o.out, "out", "", "folder to write to")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

// getSummary is `get --json`.
type getSummary struct {
	Job         string `json:"job"`
	Items       uint64 `json:"items"`
	Written     uint64 `json:"written"`
	Verified    uint64 `json:"verified"`    // ended well or not
	Provisional uint64 `json:"provisional"` // of those without --partial nothing is written
	Failed      uint64 `json:"failed"`      // ended badly, or no output
	Missing     uint64 `json:"missing"`     // no result yet
}

func runGet(ctx context.Context, a *app, o getOptions, arg string) error {
	if o.all && o.out == "" {
		return usagef("--all needs a folder: give --out DIR")
	}
	s, c, rec, err := a.openJob(ctx, arg)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	if rec.Out == "" && o.out == "" {
		return usagef("job %s was posted without --out: give --out DIR", rec.Job.Short())
	}
	where, err := o.where(rec)
	if err != nil {
		return err
	}
	updates, err := c.Results(ctx, rec.Job, nil)
	if err != nil {
		return jobError(err)
	}
	g := getSummary{Job: rec.Job.String(), Items: rec.List.Len()}
	t := &tally{a: a, c: c, where: where}
	var verified, provisional []*work.Result
	for _, u := range updates {
		switch {
		case u.State == wire.ItemVerified:
			verified = append(verified, u.Result)
		case u.State == wire.ItemProvisional:
			provisional = append(provisional, u.Result)
		case u.State == wire.ItemFailed:
			t.fail(rec.List, u.Index, u.Why)
		}
	}
	g.Verified, g.Provisional = uint64(len(verified)), uint64(len(provisional))
	g.Missing = g.Items - g.Verified - g.Provisional - t.bad
	if !o.partial {
		provisional = nil
	}
	if o.all {
		err = o.everything(ctx, t, &g, verified, provisional)
	} else {
		err = o.outputs(ctx, t, &g, verified, provisional)
	}
	if err != nil {
		return err
	}
	g.Failed = t.bad
	t.complain(a)
	if o.json {
		if err := a.printJSON(g); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.errw, "%d outputs written; of %d items %d are verified, %d provisional, %d failed, %d have no result yet\n",
			g.Written, g.Items, g.Verified, g.Provisional, g.Failed, g.Missing)
	}
	if g.Failed > 0 || !o.partial && g.Missing+g.Provisional > 0 {
		return &exitError{code: exitItems}
	}
	return nil
}

// where places outputs: as recorded, or the recorded names below another folder.
func (o *getOptions) where(rec *client.Record) (client.Outputs, error) {
	w := client.Outputs{Template: rec.Out, Stdout: rec.Stdout, List: rec.List}
	if o.out == "" {
		return w, nil
	}
	dir, err := filepath.Abs(o.out)
	if err != nil {
		return w, err
	}
	if strings.ContainsRune(dir, '{') {
		return w, usagef("--out %q: a folder without placeholders", o.out)
	}
	if rec.Out == "" {
		w.Template, w.Stdout = filepath.Join(dir, "{i}"), true
		return w, nil
	}
	rel, err := filepath.Rel(w.Folder(), rec.Out)
	if err != nil {
		return w, err
	}
	w.Template = filepath.Join(dir, rel)
	return w, nil
}

func (o *getOptions) outputs(ctx context.Context, t *tally, g *getSummary, verified, provisional []*work.Result) error {
	var todo []*work.Result
	for _, r := range verified {
		if r.Leaf.Outcome.OK() && t.where.Present(r) {
			g.Written++
			continue
		}
		todo = append(todo, r)
	}
	for len(todo) > 0 {
		n := min(len(todo), 256)
		done, err := t.write(ctx, todo[:n])
		g.Written += uint64(len(done))
		if err != nil {
			return err
		}
		todo = todo[n:]
	}
	var some []*work.Result
	for _, r := range provisional {
		if r.Leaf.Outcome.OK() {
			some = append(some, r)
		}
	}
	return t.c.Deliver(ctx, some, func(r *work.Result, open client.Opener) error {
		err := t.where.Write(r, open, true)
		if err == nil {
			g.Written++
		}
		return err
	})
}

// everything writes all that items left into a folder each.
func (o *getOptions) everything(ctx context.Context, t *tally, g *getSummary, verified, provisional []*work.Result) error {
	for k, group := range [][]*work.Result{verified, provisional} {
		err := t.c.Deliver(ctx, group, func(r *work.Result, open client.Opener) error {
			dir := filepath.Join(o.out, client.Label(t.where.List, r.Index))
			if k == 1 {
				dir += client.Provisional
			}
			g.Written++
			files := append([]work.File{{Path: "stdout", Blob: r.Output.Stdout}, {Path: "stderr", Blob: r.Output.Stderr}}, r.Output.Files...)
			for _, f := range files {
				if f.Blob.IsZero() {
					continue
				}
				if err := work.CheckPath(f.Path); err != nil {
					return err
				}
				if err := client.WriteBlob(filepath.Join(dir, filepath.FromSlash(f.Path)), f.Blob, open); err != nil {
					return diskHint(err, dir)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
