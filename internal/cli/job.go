package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

func newJobCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "job ID",
		Short: "Show one job: what was asked, how far it is, what it cost",
		Args:  cobra.ExactArgs(1),
		RunE:  func(c *cobra.Command, args []string) error { return runJob(c.Context(), a, asJSON, args[0]) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// jobView is `job --json`.
type jobView struct {
	Job      string        `json:"job"`
	State    string        `json:"state"`
	Spec     work.JobSpec  `json:"spec"`
	Command  []string      `json:"command,omitempty"`
	Out      string        `json:"out,omitempty"`
	Counts   *wire.Counts  `json:"counts,omitempty"` // the indexer's word
	Cost     *costView     `json:"cost,omitempty"`
	Deadline int64         `json:"deadline_height"`
	Batches  int           `json:"batches"`
	Indexers []string      `json:"indexers,omitempty"` // accounts of those it had, the present one last
	Ended    *client.Ended `json:"ended,omitempty"`
	Problem  string        `json:"problem,omitempty"` // why there are no counts
}

func runJob(ctx context.Context, a *app, asJSON bool, arg string) error {
	s, c, rec, err := a.openJob(ctx, arg)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	v := jobView{Job: rec.Job.String(), State: "off-chain", Spec: rec.Spec, Command: rec.Command, Out: rec.Out, Deadline: rec.Spec.DeadlineHeight, Ended: rec.Ended}
	j, err := onChain(ctx, s, rec)
	if err != nil {
		return err
	}
	if j != nil {
		v.State = stateName(j.State)
		v.Cost = viewCost(client.CostOf(j))
		ids, err := s.Ledger.Batches(ctx, rec.Job)
		if err != nil {
			return err
		}
		v.Batches = len(ids)
		for _, x := range j.Signers() {
			v.Indexers = append(v.Indexers, string(x.Owner))
		}
	}
	if _, counts, err := c.Explain(ctx, rec.Job); err != nil {
		v.Problem = err.Error()
	} else {
		v.Counts = &counts
	}
	if asJSON {
		return a.printJSON(v)
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("job", "%s", v.Job)
	row("state", "%s", v.State)
	if len(v.Command) > 0 {
		row("command", "%s", strings.Join(v.Command, " "))
	}
	if v.Out != "" {
		row("outputs", "%s", v.Out)
	}
	row("items", "%d, tier %s", rec.Spec.ItemCount, rec.Spec.Tier)
	if n := len(v.Indexers); n > 0 {
		row("indexer", "%s", v.Indexers[n-1])
		if n > 1 {
			row("", "took it over from %s", v.Indexers[n-2])
		}
	}
	if n := v.Counts; n != nil {
		row("", "%d waiting, %d running, %d provisional, %d verified, %d failed", n.Waiting, n.Assigned, n.Provisional, n.Verified, n.Failed)
		row("batches", "%d: %d settled, %d void", v.Batches, n.Settled, n.Void)
	} else {
		row("", "the indexer does not tell: %s", v.Problem)
	}
	if v.Cost != nil {
		row("escrowed", "%sugtg, of which %sugtg are paid and %sugtg returned", v.Cost.Escrowed, v.Cost.Paid, v.Cost.Refunded)
		row("deadline", "height %d", v.Deadline)
	}
	return w.Flush()
}
