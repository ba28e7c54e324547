package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func newCostCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "cost ID",
		Short: "Show each transfer of a job, and what every party got and gave",
		Long: "Shows a job's money: what went into its escrows, each transfer of each batch (work, validators, the indexer's fee, fee\n" +
			"burn, checks, rewards, slashes and their shares, stakes), what came back, and what every party got and\n" +
			"gave. Each transfer has two sides, so the nets add up to zero, the client's included; what is left in\n" +
			"the escrows is compared with the chain's record.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runCost(c.Context(), a, asJSON, args[0]) },
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

// accountView is `cost --json`: the sums, and everything behind them.
type accountView struct {
	*costView
	Job       string         `json:"job"`
	Client    work.Address   `json:"client"`
	Transfers []transferView `json:"transfers"`
	Parties   []partyView    `json:"parties"`
	// InEscrow is what the transfers leave in the job's escrows; AddsUp says that it
	// is what the chain has there. The nets of all parties add up to zero.
	InEscrow string `json:"in_escrow"`
	AddsUp   bool   `json:"adds_up"`
}

// transferView is one transfer.
type transferView struct {
	Batch  string           `json:"batch,omitempty"` // empty: of the job itself
	Phase  string           `json:"phase,omitempty"` // of the batch
	From   string           `json:"from"`
	To     string           `json:"to"`
	Reason lifecycle.Reason `json:"reason"`
	Amount string           `json:"amount"`
}

// partyView is what one side got and gave.
type partyView struct {
	Party   string       `json:"party"`
	Account work.Address `json:"account,omitempty"`
	In      string       `json:"in"`
	Out     string       `json:"out"`
	Net     string       `json:"net"` // in − out
}

func viewAccount(x *client.Account) *accountView {
	v := &accountView{costView: viewCost(client.CostOf(x.Job)), Job: x.Job.ID.String(), Client: x.Job.Spec.Client,
		Transfers: []transferView{}, Parties: []partyView{}, InEscrow: fmt.Sprint(x.InEscrow), AddsUp: x.AddsUp}
	for _, e := range x.Entries {
		from, to := x.Side(e)
		t := transferView{From: from, To: to, Reason: e.Transfer.Reason, Amount: ugtg(e.Transfer.Amount)}
		if !e.Batch.IsZero() {
			t.Batch, t.Phase = e.Batch.String(), e.Phase.String()
		}
		v.Transfers = append(v.Transfers, t)
	}
	for i := range x.Parties {
		p := &x.Parties[i]
		v.Parties = append(v.Parties, partyView{p.Name, p.Account, fmt.Sprint(p.In), fmt.Sprint(p.Out), fmt.Sprintf("%+d", p.Net())})
	}
	return v
}

func runCost(ctx context.Context, a *app, asJSON bool, arg string) error {
	s, id, tier, err := a.findJob(ctx, arg)
	if err != nil {
		return err
	}
	defer s.Close()
	if tier == work.TierNone { // off the chain nothing is paid
		if asJSON {
			return a.printJSON(viewCost(client.Cost{Closed: true}))
		}
		_, err := fmt.Fprintln(a.out, "own providers worked off the chain: nothing was paid")
		return err
	}
	j, err := s.Ledger.Job(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return a.unknownJob(arg, err)
	}
	if err != nil {
		return err
	}
	batches, err := client.BatchesOf(ctx, s.Ledger, id)
	if err != nil {
		return err
	}
	v := viewAccount(client.AccountOf(j, batches))
	if asJSON {
		return a.printJSON(v)
	}
	return a.printAccount(v, client.CostOf(j))
}

// findJob finds a job by its id or by the first digits of one that was posted here,
// and connects to the chain.
func (a *app) findJob(ctx context.Context, arg string) (*session, work.JobID, work.Tier, error) {
	tier := work.TierEconomic
	id, err := a.records().Find(arg)
	if err != nil {
		return nil, id, tier, a.unknownJob(arg, err)
	}
	if rec, err := a.records().Load(id); err == nil {
		tier = rec.Spec.Tier
	} else if !errors.Is(err, client.ErrNoRecord) {
		return nil, id, tier, jobError(err)
	}
	s, err := a.reach(ctx, 0)
	return s, id, tier, err
}

func (a *app) printAccount(v *accountView, cost client.Cost) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "put into escrow\t%s\n", cost.Escrowed)
	fmt.Fprintf(w, "paid for work\t%s\n", cost.PaidWork)
	fmt.Fprintf(w, "paid for checks\t%s\n", cost.PaidChecks)
	fmt.Fprintf(w, "locked for batches\t%s\n", cost.Locked)
	fmt.Fprintf(w, "free\t%s\n", cost.Free)
	fmt.Fprintf(w, "returned\t%s\n", cost.Refunded)
	fmt.Fprintln(w, "\nBATCH\tENDED\tREASON\tUGTG\tFROM\tTO")
	for _, t := range v.Transfers {
		batch, phase := "job", "-"
		if t.Batch != "" {
			batch, phase = t.Batch[:12], t.Phase
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", batch, phase, t.Reason, t.Amount, t.From, t.To)
	}
	fmt.Fprintln(w, "\nPARTY\tIN\tOUT\tNET")
	for _, p := range v.Parties {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Party, p.In, p.Out, p.Net)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !v.AddsUp {
		return fmt.Errorf("the transfers leave %sugtg in the job's escrows and the chain has %s there: ask again, the job moved meanwhile", v.InEscrow, cost.Locked+cost.Free)
	}
	_, err := fmt.Fprintf(a.out, "\nAll nets add up to zero; %sugtg are in the job's escrows, as the chain says.\n", v.InEscrow)
	return err
}
