package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func newJobsCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "jobs",
		Short: "List the jobs of this account, newest last",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runJobs(c.Context(), a, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// jobLine is one job of `jobs --json`.
type jobLine struct {
	Job      string     `json:"job"`
	State    string     `json:"state"` // open, closing, closed, off-chain, unknown
	Items    uint64     `json:"items"`
	Tier     work.Tier  `json:"tier"`
	Created  *time.Time `json:"created,omitempty"` // if posted from this home
	Command  string     `json:"command,omitempty"`
	Verified *uint64    `json:"verified,omitempty"` // once it ended here
	Failed   *uint64    `json:"failed,omitempty"`
	Escrowed string     `json:"escrowed"` // ugtg
	Paid     string     `json:"paid"`
	Refunded string     `json:"refunded"`
}

func runJobs(ctx context.Context, a *app, asJSON bool) error {
	s, err := a.reach(ctx, withKey)
	if err != nil {
		return err
	}
	defer s.Close()
	onChain, err := s.Ledger.Jobs(ctx, s.Key.Address)
	if err != nil {
		return err
	}
	records, err := a.records().All()
	if err != nil {
		return err
	}
	lines := []*jobLine{}
	byID := map[work.JobID]*jobLine{}
	for _, j := range onChain {
		cost := client.CostOf(j)
		l := &jobLine{Job: j.ID.String(), State: stateName(j.State), Items: j.Spec.ItemCount, Tier: j.Spec.Tier,
			Escrowed: ugtg(cost.Escrowed), Paid: ugtg(cost.Paid()), Refunded: ugtg(cost.Refunded)}
		lines, byID[j.ID] = append(lines, l), l
	}
	for _, r := range records {
		l := byID[r.Job]
		if l == nil {
			if r.Spec.Tier != work.TierNone {
				continue // another account's, or another chain's
			}
			l = &jobLine{Job: r.Job.String(), State: "off-chain", Items: r.Spec.ItemCount, Tier: r.Spec.Tier, Escrowed: "0", Paid: "0", Refunded: "0"}
			lines = append(lines, l)
		}
		l.Created, l.Command = &r.Created, strings.Join(r.Command, " ")
		if r.Ended != nil {
			l.Verified, l.Failed = &r.Ended.Verified, &r.Ended.Failed
		}
	}
	slices.SortStableFunc(lines, func(x, y *jobLine) int { // by when they were posted, those of other homes first
		if x.Created == nil || y.Created == nil {
			return cmp.Compare(b2i(x.Created != nil), b2i(y.Created != nil))
		}
		return x.Created.Compare(*y.Created)
	})
	if asJSON {
		return a.printJSON(lines)
	}
	if len(lines) == 0 {
		fmt.Fprintln(a.errw, "No jobs yet: see `gotong map --help`.")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "JOB\tSTATE\tITEMS\tVERIFIED\tTIER\tPAID\tPOSTED\tCOMMAND")
	for _, l := range lines {
		verified, posted := "-", "-"
		if l.Verified != nil {
			verified = fmt.Sprint(*l.Verified)
		}
		if l.Created != nil {
			posted = l.Created.Local().Format("2006-01-02 15:04")
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%sugtg\t%s\t%s\n", l.Job[:12], l.State, l.Items, verified, l.Tier, l.Paid, posted, clip(l.Command, 50))
	}
	return w.Flush()
}

// openJob finds a job by its id, or by the first digits of one that was posted
// here, and connects. A job without a record has one made of what the network
// knows.
func (a *app) openJob(ctx context.Context, arg string) (*session, *client.Client, *client.Record, error) {
	id, err := a.records().Find(arg)
	if err != nil {
		return nil, nil, nil, a.unknownJob(arg, err)
	}
	rec, err := a.records().Load(id)
	if err != nil && !errors.Is(err, client.ErrNoRecord) {
		return nil, nil, nil, jobError(err)
	}
	s, c, err := a.openClient(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if rec != nil {
		c.Remember(rec.Spec, rec.List)
		return s, c, rec, nil
	}
	spec, list, err := c.Describe(ctx, id)
	if err != nil {
		c.Close()
		s.Close()
		if errors.Is(err, ledger.ErrNotFound) {
			err = a.unknownJob(arg, err)
		}
		return nil, nil, nil, err
	}
	return s, c, &client.Record{Job: id, Spec: *spec, List: list}, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (a *app) unknownJob(arg string, err error) error {
	return usagef("unknown job %q: see `gotong%s jobs` for the ids (%w)", clip(arg, 70), homeFlag(a.homeDir), err)
}

// onChain is the chain's record, nil for a job of tier none.
func onChain(ctx context.Context, s *session, rec *client.Record) (*lifecycle.Job, error) {
	if rec.Spec.Tier == work.TierNone {
		return nil, nil
	}
	return s.Ledger.Job(ctx, rec.Job)
}
