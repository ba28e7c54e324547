package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func newCommonsCommand(a *app) *cobra.Command {
	c := newGroup("commons", "Work for everybody, done by idle providers and paid by the emission",
		newCommonsListCommand(a), newCommonsProposeCommand(a), newVoteCommand(a), newCommonsResultsCommand(a))
	c.Long = "Providers with nothing paid to do work on jobs that governance approved. Each epoch the chain's\n" +
		"beacon draws items for every provider; they are checked like paid work, paid from the emission,\n" +
		"and their results are everybody's."
	return c
}

func newCommonsListCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "Show jobs of the commons, how far they are, who works on them, and proposals",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runCommonsList(c.Context(), a, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// commonsView is `commons list --json`; amounts are in ugtg.
type commonsView struct {
	Height     int64             `json:"height"`
	Epoch      int64             `json:"epoch"` // 0 before the first
	NextEpoch  int64             `json:"next_epoch_height"`
	EpochBlock int64             `json:"epoch_blocks"`
	Emission   string            `json:"emission"` // of the present epoch, for all jobs
	Emitted    string            `json:"emitted"`  // since genesis
	Pool       string            `json:"pool"`     // of ended jobs, for the next ones
	Price      uint64            `json:"price"`    // of a work unit
	Jobs       []*commonsJob     `json:"jobs"`
	Proposals  []commonsProposal `json:"proposals"` // not decided yet, and the latest others
}

// commonsJob is one job of the commons.
type commonsJob struct {
	Job       string          `json:"job"`
	Title     string          `json:"title,omitempty"`
	State     string          `json:"state"`
	Curator   work.Address    `json:"curator"`
	Tier      work.Tier       `json:"tier"`
	Items     uint64          `json:"items"`
	Committed uint64          `json:"committed"` // settled ones included
	Settled   uint64          `json:"settled"`
	Fuel      uint64          `json:"fuel"`     // of settled items
	Emission  string          `json:"emission"` // it got so far
	Paid      string          `json:"paid"`     // work and checks
	Free      string          `json:"free"`     // in its escrow
	Workers   []commonsWorker `json:"workers"`  // by settled items
}

// commonsWorker is a provider's part of a job.
type commonsWorker struct {
	Provider work.Address `json:"provider"`
	Batches  uint64       `json:"batches"` // settled
	Items    uint64       `json:"items"`   // settled
	Pay      string       `json:"pay"`     // its share of it: half is bonded, half vests
	Void     uint64       `json:"void"`    // batches
}

// commonsProposal is a job that is or was proposed.
type commonsProposal struct {
	ID        uint64    `json:"id"`
	Title     string    `json:"title"`
	Status    string    `json:"status"`
	Job       string    `json:"job"`
	Items     uint64    `json:"items"`
	Yes       uint64    `json:"yes"` // power
	No        uint64    `json:"no"`
	VotingEnd time.Time `json:"voting_end"`
}

func runCommonsList(ctx context.Context, a *app, asJSON bool) error {
	s, err := a.reach(ctx, 0)
	if err != nil {
		return err
	}
	defer s.Close()
	v, err := viewCommons(ctx, s.Ledger)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(v)
	}
	return a.printCommons(v)
}

// viewCommons asks the chain about everything that list shows.
func viewCommons(ctx context.Context, chain ledger.Reader) (*commonsView, error) {
	c, err := chain.Commons(ctx)
	if err != nil {
		return nil, err
	}
	p, err1 := chain.Params(ctx)
	st, err2 := chain.Status(ctx)
	all, err3 := chain.Jobs(ctx, "")
	proposals, err4 := chain.Proposals(ctx)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	v := &commonsView{
		Height: st.Height, EpochBlock: p.CommonsEpochBlocks, NextEpoch: (st.Height/p.CommonsEpochBlocks + 1) * p.CommonsEpochBlocks,
		Emitted: ugtg(c.Emitted), Pool: ugtg(c.Pool), Price: uint64(p.CommonsPrice), Jobs: []*commonsJob{}, Proposals: []commonsProposal{},
	}
	if len(c.Epochs) > 0 {
		v.Epoch = c.Epochs[0].Number
	}
	v.Emission = ugtg(incentive.Emission(p.CommonsEmission, st.Height/p.CommonsEpochBlocks, p.CommonsHalvingEpochs))
	titles := map[work.JobID]string{}
	for _, x := range proposals {
		spec := x.Commons()
		if spec == nil {
			continue
		}
		titles[spec.ID()] = x.Title
		v.Proposals = append(v.Proposals, commonsProposal{x.ID, x.Title, x.Status, spec.ID().String(), spec.ItemCount, x.Yes, x.No, x.VotingEnd})
	}
	for _, j := range all {
		if !j.Commons {
			continue
		}
		batches, err := client.BatchesOf(ctx, chain, j.ID)
		if err != nil {
			return nil, err
		}
		l := viewCommonsJob(j, batches)
		l.Title = titles[j.ID]
		v.Jobs = append(v.Jobs, l)
	}
	return v, nil
}

// itemsOf is how many settled items of the commons a provider did.
func (v *commonsView) itemsOf(provider work.Address) (n uint64) {
	for _, j := range v.Jobs {
		for _, w := range j.Workers {
			if w.Provider == provider {
				n += w.Items
			}
		}
	}
	return n
}

func viewCommonsJob(j *lifecycle.Job, batches []*lifecycle.Batch) *commonsJob {
	l := &commonsJob{Job: j.ID.String(), State: stateName(j.State), Curator: j.Spec.Client, Tier: j.Spec.Tier, Items: j.Spec.ItemCount,
		Emission: ugtg(j.ToppedUp), Paid: ugtg(j.PaidWork + j.PaidChecks), Free: ugtg(j.EscrowFree)}
	var committed, settled work.RangeSet
	for _, c := range j.Copies {
		committed = committed.Union(c)
	}
	pay := map[work.Address]work.Amount{}
	by := map[work.Address]*commonsWorker{}
	for _, b := range batches {
		w := by[b.Provider]
		if w == nil {
			w = &commonsWorker{Provider: b.Provider}
			by[b.Provider] = w
		}
		switch b.Phase {
		case lifecycle.Settled:
			settled = settled.Union(b.Items)
			l.Fuel += uint64(b.Root.Fuel)
			w.Batches++
			w.Items += b.N
		case lifecycle.Void:
			w.Void++
		}
		for _, t := range b.Transfers {
			if t.Reason == lifecycle.ReasonWork && t.To == b.Provider {
				pay[b.Provider] += t.Amount
			}
		}
	}
	l.Committed, l.Settled = committed.Len(), settled.Len()
	for a, w := range by {
		w.Pay = ugtg(pay[a])
	}
	l.Workers = []commonsWorker{}
	for _, w := range slices.SortedFunc(maps.Values(by), func(x, y *commonsWorker) int {
		return cmp.Or(-cmp.Compare(x.Items, y.Items), strings.Compare(string(x.Provider), string(y.Provider)))
	}) {
		l.Workers = append(l.Workers, *w)
	}
	return l
}

func (a *app) printCommons(v *commonsView) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "epoch\t%d; the next one begins at height %d (now %d), and one lasts %d blocks\n", v.Epoch, v.NextEpoch, v.Height, v.EpochBlock)
	fmt.Fprintf(w, "emission\t%sugtg an epoch at %dugtg a work unit; %sugtg were emitted, %sugtg wait in the pool\n", v.Emission, v.Price, v.Emitted, v.Pool)
	if err := w.Flush(); err != nil {
		return err
	}
	if len(v.Jobs) == 0 {
		fmt.Fprintln(a.out, "no jobs yet: propose one with `gotong commons propose`")
	}
	for _, j := range v.Jobs {
		fmt.Fprintf(a.out, "\njob %s  %s, tier %s\n", j.Job[:12], j.State, j.Tier)
		if j.Title != "" {
			fmt.Fprintf(a.out, "  %s\n", j.Title)
		}
		fmt.Fprintf(a.out, "  %d of %d items settled (%.1f%%), %d committed; %s fuel; %sugtg paid of %sugtg\n",
			j.Settled, j.Items, percent(j.Settled, j.Items), j.Committed, formatFuel(work.Fuel(j.Fuel)), j.Paid, j.Emission)
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		for _, x := range j.Workers {
			fmt.Fprintf(w, "  %s\t%d items\t%d batches\t%sugtg\t%d void\n", x.Provider, x.Items, x.Batches, x.Pay, x.Void)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(v.Proposals) > 0 {
		fmt.Fprintln(a.out)
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "PROPOSAL\tSTATUS\tJOB\tITEMS\tYES\tNO\tVOTING ENDS\tTITLE")
		for _, p := range v.Proposals {
			ends := "-"
			if !p.VotingEnd.IsZero() {
				ends = p.VotingEnd.Local().Format("2006-01-02 15:04:05")
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", p.ID, p.Status, p.Job[:12], p.Items, p.Yes, p.No, ends, clip(p.Title, 60))
		}
		return w.Flush()
	}
	return nil
}

func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
