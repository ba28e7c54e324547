package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/work"
)

func newCancelCommand(a *app) *cobra.Command {
	var asJSON bool
	var wait time.Duration
	c := &cobra.Command{
		Use:   "cancel ID",
		Short: "End a job and get the rest of its escrow back",
		Long: "End a job: nothing new is handed out. The rest of the escrow is back at once if the\n" +
			"indexer signs that nothing is outstanding; else work that was handed out may still be\n" +
			"committed and paid for a while, and the rest comes back after it.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runCancel(c.Context(), a, asJSON, wait, args[0]) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	c.Flags().DurationVar(&wait, "wait", releaseWait, "how long to wait for work under way")
	return c
}

func runCancel(ctx context.Context, a *app, asJSON bool, wait time.Duration, arg string) error {
	s, c, rec, err := a.openJob(ctx, arg)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	v := struct {
		Job      string `json:"job"`
		Released bool   `json:"released"`
		Closed   bool   `json:"closed"`
		Paid     string `json:"paid"`     // ugtg
		Refunded string `json:"refunded"` // ugtg
	}{Job: rec.Job.String(), Paid: "0", Refunded: "0"}
	if rec.Spec.Tier == work.TierNone {
		if err := c.Forget(ctx, rec.Job); err != nil {
			return usageIfRemote(err)
		}
		v.Released, v.Closed = true, true
	} else {
		if v.Released, err = c.Cancel(ctx, rec.Job, wait); err != nil {
			return jobError(err)
		}
		settle := time.Duration(0)
		if v.Released {
			settle = closeWait
		}
		cost, err := c.WaitClosed(ctx, rec.Job, settle)
		if err != nil {
			return err
		}
		v.Closed, v.Paid, v.Refunded = cost.Closed, ugtg(cost.Paid()), ugtg(cost.Refunded)
	}
	if asJSON {
		return a.printJSON(v)
	}
	if v.Closed {
		fmt.Fprintf(a.errw, "job %s is closed: %sugtg were paid, %sugtg are back\n", rec.Job.Short(), v.Paid, v.Refunded)
	} else {
		fmt.Fprintf(a.errw, "job %s is closing: work that was handed out may still be paid; the rest comes back after it (see `gotong%s cost %s`)\n",
			rec.Job.Short(), homeFlag(a.homeDir), rec.Job.Short())
	}
	return nil
}
