package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
)

func newWatchCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "watch ID",
		Short: "Follow a job to its end and write its outputs, as map does",
		Args:  cobra.ExactArgs(1),
		RunE:  func(c *cobra.Command, args []string) error { return runWatch(c.Context(), a, asJSON, args[0]) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "end with one JSON object on stdout")
	return c
}

func runWatch(ctx context.Context, a *app, asJSON bool, arg string) error {
	s, c, rec, err := a.openJob(ctx, arg)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	return a.followJob(ctx, c, rec, asJSON)
}

// followJob follows a job that was posted before, and reports like map.
func (a *app) followJob(ctx context.Context, c *client.Client, rec *client.Record, asJSON bool) error {
	l := &launch{a: a, rec: rec, json: asJSON, began: time.Now(), sum: mapSummary{Job: rec.Job.String(), Items: rec.List.Len()}}
	out := &tally{a: a}
	ended, err := a.follow(ctx, c, rec, out)
	if err != nil {
		return err
	}
	l.sum.Paid, l.sum.Refunded = ugtg(ended.Paid), ugtg(ended.Refunded)
	if len(rec.Command) > 0 { // ours
		rec.Ended = ended
		err = a.records().Save(rec)
	}
	return l.report(out, err)
}
