package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
)

func newCostCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "cost ID",
		Short: "Show where a job's money is",
		Args:  cobra.ExactArgs(1),
		RunE:  func(c *cobra.Command, args []string) error { return runCost(c.Context(), a, asJSON, args[0]) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// costView is a job's money; amounts are in ugtg.
type costView struct {
	Escrowed   string `json:"escrowed"`
	Paid       string `json:"paid"`
	PaidWork   string `json:"paid_work"`
	PaidChecks string `json:"paid_checks"`
	Locked     string `json:"locked"`
	Free       string `json:"free"`
	Refunded   string `json:"refunded"`
	Closed     bool   `json:"closed"`
}

func viewCost(c client.Cost) *costView {
	return &costView{ugtg(c.Escrowed), ugtg(c.Paid()), ugtg(c.PaidWork), ugtg(c.PaidChecks), ugtg(c.Locked), ugtg(c.Free), ugtg(c.Refunded), c.Closed}
}

func runCost(ctx context.Context, a *app, asJSON bool, arg string) error {
	s, c, rec, err := a.openJob(ctx, arg)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	j, err := onChain(ctx, s, rec)
	if err != nil {
		return err
	}
	var cost client.Cost
	if j != nil {
		cost = client.CostOf(j)
	} else {
		cost.Closed = true // off the chain nothing is paid
	}
	if asJSON {
		return a.printJSON(viewCost(cost))
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "put into escrow\t%s\n", cost.Escrowed)
	fmt.Fprintf(w, "paid for work\t%s\n", cost.PaidWork)
	fmt.Fprintf(w, "paid for checks\t%s\n", cost.PaidChecks)
	fmt.Fprintf(w, "locked for batches\t%s\n", cost.Locked)
	fmt.Fprintf(w, "free\t%s\n", cost.Free)
	fmt.Fprintf(w, "returned\t%s\n", cost.Refunded)
	return w.Flush()
}
