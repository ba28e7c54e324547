package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

type proposeOptions struct {
	items   mapOptions // those flags of map that make sense here
	title   string
	deposit string
	json    bool
}

func newCommonsProposeCommand(a *app) *cobra.Command {
	o := proposeOptions{items: mapOptions{memory: defaultMemoryBytes, maxOutput: defaultOutputBytes, maxFuel: fuelSize(lifecycle.LocalParams().MaxItemFuel), chunk: "auto"}}
	c := &cobra.Command{
		Use:   "propose --title TITLE [flags] -- PROGRAM [ARGUMENT]...",
		Short: "Propose a program over many inputs as a job of the commons",
		Long: "Hands program and inputs to the network's indexer and proposes the job to governance. Items are\n" +
			"given as with `gotong map`. Once it is approved, idle providers compute it, and everybody can\n" +
			"fetch its results with `gotong commons results`. What items print is their result, unless the\n" +
			"program is given {out}, a file to write.\n\n" +
			"Who proposes pays a deposit, which comes back unless the proposal is vetoed.",
		Example: "  gotong commons propose --title 'Merit factors' --grid length=101,103 --grid walk=1,2,3 -- labs.wasm -length {length} -walk {walk}",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return runCommonsPropose(c.Context(), a, o, args) },
	}
	f, m := c.Flags(), &o.items
	f.SetInterspersed(false) // what follows the program is the program's
	f.StringVar(&o.title, "title", "", "what it computes and for whom, in a line; voters read it")
	f.StringVar(&o.deposit, "deposit", "10gtg", "what the proposal is backed with; public networks want more")
	f.StringArrayVar(&m.each, "each", nil, "one item per file that matches, ** included (repeatable)")
	f.StringVar(&m.rng, "range", "", "one item per number, as 1-240")
	f.StringVar(&m.lines, "each-line", "", "one item per line of a file that is not empty; - is stdin")
	f.StringArrayVar(&m.grid, "grid", nil, "one axis NAME=V1,V2,... of the combinations (repeatable)")
	f.StringArrayVar(&m.with, "with", nil, "file or folder that every item sees, as PATH or PATH:NAME (repeatable)")
	f.StringArrayVar(&m.env, "env", nil, "environment variable K=V (repeatable)")
	f.StringVar(&m.stdin, "stdin", "", "file that becomes every item's stdin")
	f.StringVar(&m.tier, "tier", "economic", "how much is checked: economic, assured, full")
	f.Uint32Var(&m.copies, "copies", 1, "paid copies of an item, if two providers draw it (1 to 8)")
	f.DurationVar(&m.deadline, "deadline", 0, "after this long the job takes no more work, as 720h (default: the chain's longest)")
	f.Var(&m.memory, "memory", "most linear memory of an item")
	f.Var(&m.maxFuel, "max-fuel", "most fuel of an item; 1e9 is one work unit")
	f.Var(&m.maxOutput, "max-output", "most output of an item: stdout, stderr and files together")
	f.Uint64Var(&m.seed, "seed", 0, "seed of the programs' random numbers")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// maxTitle is what governance takes.
const maxTitle = 140

func runCommonsPropose(ctx context.Context, a *app, o proposeOptions, args []string) error {
	if o.title == "" || len(o.title) > maxTitle {
		return usagef("--title: say in a line of 1 to %d bytes what the job computes and for whom", maxTitle)
	}
	deposit, err := work.ParseAmount(o.deposit)
	if err != nil {
		return usagef("--deposit: %w", err)
	}
	if slices.ContainsFunc(args, func(s string) bool { return strings.Contains(s, "{out}") }) {
		o.items.out = "{i}" // each item's file in its own folder; results says where it goes
	}
	rec, err := a.buildMap(o.items, args)
	if err != nil {
		return err
	}
	l := &launch{a: a, rec: rec, deadline: o.items.deadline, sum: mapSummary{Items: rec.List.Len()}}
	if err := l.probe(ctx); err != nil {
		return err
	}
	s, c, err := a.openClient(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	request, err := l.request(ctx, c, rec)
	if err != nil {
		return err
	}
	plan, err := c.PlanCommons(ctx, request)
	if err != nil {
		return jobError(err)
	}
	id, err := c.ProposeCommons(ctx, request, plan, o.title, deposit)
	if err != nil {
		return jobError(err)
	}
	rec.Spec, rec.Created, rec.Job = plan.Spec, time.Now(), plan.Spec.ID()
	if o.json {
		return a.printJSON(struct {
			Proposal uint64 `json:"proposal"`
			Job      string `json:"job"`
			Items    uint64 `json:"items"`
			Fuel     uint64 `json:"fuel_per_item"` // of the first; 0: unknown
			Expected string `json:"expected"`      // ugtg, of all work
		}{id, rec.Job.String(), rec.Spec.ItemCount, uint64(rec.Fuel), ugtg(plan.Expected)})
	}
	fmt.Fprintf(a.out, "Proposal %d: job %s of %d items, tier %s, is put to the vote.\n", id, rec.Job, rec.Spec.ItemCount, rec.Spec.Tier)
	if rec.Fuel > 0 {
		fmt.Fprintf(a.out, "About %s fuel an item: %s of the emission for all of them.\n", formatFuel(rec.Fuel), plan.Expected)
	}
	_, err = fmt.Fprintf(a.out, "Whoever has stake votes: gotong%s commons vote %d\n", homeFlag(a.homeDir), id)
	return err
}
