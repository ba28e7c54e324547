package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/sim"
)

type simOptions struct {
	providers, days int
	seed            uint64
	cheats, ring    uint32
	spam, freeze    uint32
	disputes        uint32
	out             string
	json            bool
}

func newSimCommand(a *app) *cobra.Command {
	d := sim.Defaults()
	var o simOptions
	c := &cobra.Command{
		Use:   "sim --out DIR",
		Short: "Simulate a network of up to a million providers: who earns, who cheats, what it costs",
		Long: "Plays a network in virtual time with the rules of the chain: providers of five classes in eight regions that\n" +
			"come and go, demand that swings by the hour, prices that follow it, and cheats of ten kinds; some are accused by\n" +
			"strangers, rightly or not, and the referee hears one after the other. Writes a page with\n" +
			"tables and plots to DIR/index.html, and all numbers to DIR/result.json. The same flags give the same files, on\n" +
			"every machine. 10,000 providers take a few seconds for a month; 100,000 some minutes; each day prints a line.",
		Example: "  gotong sim --providers 10000 --days 30 --out report\n" +
			"  gotong sim --providers 1000 --days 7 --cheats 200 --seed 7 --out many-cheats --json",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runSim(c.Context(), a, o) },
	}
	f := c.Flags()
	f.IntVar(&o.providers, "providers", d.Providers, fmt.Sprintf("how many providers (%d to %d)", sim.MinProviders, sim.MaxProviders))
	f.IntVar(&o.days, "days", d.Days, fmt.Sprintf("how many days (1 to %d)", sim.MaxDays))
	f.Uint64Var(&o.seed, "seed", d.Seed, "seed of everything random")
	f.Uint32Var(&o.cheats, "cheats", d.CheatPermille, "how many of 1,000 providers cheat (0 to 500)")
	f.Uint32Var(&o.ring, "ring", d.RingPermille, "how much of 1,000 parts of the checkers' bonds the ring holds that shields its providers (0 to 900)")
	f.Uint32Var(&o.spam, "spam", d.Spam, "false challenges a day for each 1,000 providers")
	f.Uint32Var(&o.freeze, "freeze", d.Freeze, "tries a day of the ring to have a program suspended by contradicting the referee")
	f.Uint32Var(&o.disputes, "disputes", d.Params.MaxDisputes, "how many disputes the referee hears at a time (1 to 1024)")
	f.StringVar(&o.out, "out", "", "folder for index.html and result.json; it is made if need be")
	f.BoolVar(&o.json, "json", false, "print the figures as one JSON object")
	return c
}

// simReport is what `gotong sim --json` prints; amounts are in ugtg.
type simReport struct {
	Page             string  `json:"page"`
	Providers        int     `json:"providers"`
	Days             int     `json:"days"`
	Seed             uint64  `json:"seed"`
	Events           uint64  `json:"events"`
	Batches          uint64  `json:"batches"`
	Seconds          float64 `json:"seconds"`
	BatchesPerSecond float64 `json:"batches_per_second"`
	Items            uint64  `json:"items"`
	WrongItems       uint64  `json:"wrong_items"`
	Convictions      uint64  `json:"convictions"`
	Paid             string  `json:"paid"`
	CheckFees        string  `json:"check_fees"`
	FeeBurn          string  `json:"fee_burn"`
	SlashBurn        string  `json:"slash_burn"`
	Minted           string  `json:"minted"`
	Jain             float64 `json:"jain"`
	Messages         uint64  `json:"messages"`
	Bytes            uint64  `json:"bytes"`
}

func runSim(ctx context.Context, a *app, o simOptions) error {
	if o.out == "" {
		return usagef("--out is missing: name the folder for the report")
	}
	cfg := sim.Defaults()
	cfg.Providers, cfg.Days, cfg.Seed, cfg.CheatPermille, cfg.RingPermille = o.providers, o.days, o.seed, o.cheats, o.ring
	cfg.Spam, cfg.Freeze, cfg.Params.MaxDisputes = o.spam, o.freeze, o.disputes
	if err := cfg.Check(); err != nil {
		return usageError{err}
	}
	// What cannot be written should not be found out after minutes.
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return usagef("--out: %w", err)
	}
	began := time.Now()
	cfg.Progress = func(day, days int, batches uint64) {
		s := time.Since(began).Seconds()
		fmt.Fprintf(a.errw, "day %d of %d: %d batches, %.0f/s\n", day, days, batches, float64(batches)/s)
	}
	r, err := sim.Run(ctx, cfg)
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	if err := r.Write(o.out); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	t := &r.Total
	v := simReport{
		Page: filepath.Join(o.out, "index.html"), Providers: o.providers, Days: o.days, Seed: o.seed, Events: t.Events(), Batches: t.Batches,
		Seconds: seconds, BatchesPerSecond: float64(t.Batches) / seconds, Items: t.Items, WrongItems: t.WrongItems, Convictions: t.Convictions,
		Paid: ugtg(t.Pay), CheckFees: ugtg(t.CheckFees), FeeBurn: ugtg(t.FeeBurn), SlashBurn: ugtg(t.SlashBurn),
		Minted: ugtg(t.Minted + t.CommonsMinted), Jain: r.Jain, Messages: t.Messages, Bytes: t.Bytes,
	}
	if o.json {
		return a.printJSON(v)
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "events\t%d\n", v.Events)
	fmt.Fprintf(w, "batches\t%d\n", v.Batches)
	fmt.Fprintf(w, "batches/s\t%.0f\n", v.BatchesPerSecond)
	fmt.Fprintf(w, "wrong results accepted\t%d of %d items\n", v.WrongItems, v.Items)
	fmt.Fprintf(w, "paid for work\t%s\n", t.Pay)
	fmt.Fprintf(w, "paid for checks\t%s\n", t.CheckFees)
	fmt.Fprintf(w, "burned\t%s\n", t.FeeBurn+t.SlashBurn)
	fmt.Fprintf(w, "minted\t%s\n", t.Minted+t.CommonsMinted)
	fmt.Fprintf(w, "report\t%s\n", v.Page)
	return w.Flush()
}
