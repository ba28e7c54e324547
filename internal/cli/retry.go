package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

type retryOptions struct {
	failed, detach, json bool
	items                []uint
}

func newRetryCommand(a *app) *cobra.Command {
	var o retryOptions
	c := &cobra.Command{
		Use:   "retry ID --failed",
		Short: "Run items again that have no verified result",
		Long: "Run the items again that failed on hosts or were not computed. While the job is open\n" +
			"they go back into its queue; afterwards they become a job of their own. How a program\n" +
			"itself ended is final: the same input would end the same way.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runRetry(c.Context(), a, o, args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&o.failed, "failed", false, "all items that failed")
	f.UintSliceVar(&o.items, "item", nil, "only these items, by their {i}")
	f.BoolVar(&o.detach, "detach", false, "return once they are queued")
	f.BoolVar(&o.json, "json", false, "end with one JSON object on stdout")
	return c
}

func runRetry(ctx context.Context, a *app, o retryOptions, arg string) error {
	if o.failed == (len(o.items) > 0) {
		return usagef("say which items: --failed for all of them, or --item N")
	}
	s, c, rec, err := a.openJob(ctx, arg)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	items, err := o.pick(rec)
	if err != nil {
		return err
	}
	j, err := onChain(ctx, s, rec)
	if err != nil {
		return err
	}
	if j == nil || j.State == lifecycle.JobOpen {
		err := c.Retry(ctx, rec.Job, items)
		if err == nil {
			if o.detach {
				fmt.Fprintf(a.errw, "They are in the queue of job %s again.\n", rec.Job)
				return nil
			}
			return a.followJob(ctx, c, rec, o.json)
		}
		if j != nil || !errors.Is(err, client.ErrRemote) {
			return usageIfRemote(err)
		}
	}
	return o.again(ctx, a, c, rec, items)
}

func usageIfRemote(err error) error {
	if errors.Is(err, client.ErrRemote) {
		return usageError{err}
	}
	return err
}

// pick resolves --item; nil is every item.
func (o *retryOptions) pick(rec *client.Record) (work.RangeSet, error) {
	var rs []work.Range
	for _, n := range o.items {
		i, err := client.ItemOf(rec.List, uint64(n))
		if err != nil {
			return nil, err
		}
		rs = append(rs, work.Range{Lo: i, Hi: i + 1})
	}
	return work.NewRangeSet(rs...), nil
}

// again makes a job of the items that have no verified result.
func (o *retryOptions) again(ctx context.Context, a *app, c *client.Client, rec *client.Record, items work.RangeSet) error {
	if rec.Program == "" {
		return usagef("job %s is closed and was not posted from this home: its program and inputs are not here; post it again with `gotong map`", rec.Job.Short())
	}
	if len(items) == 0 {
		items = work.RangeSet{{Lo: 0, Hi: rec.List.Len()}}
	}
	known, err := c.Results(ctx, rec.Job, nil)
	if err != nil {
		a.log().Warn("the indexer does not tell what is verified: what is kept here counts", "err", err)
	}
	for _, u := range known {
		if u.State == wire.ItemVerified {
			items = items.Minus(work.RangeSet{{Lo: u.Index, Hi: u.Index + 1}})
		}
	}
	if len(items) == 0 {
		return usagef("job %s: these items are verified already, and how a program ended is final: nothing to retry", rec.Job.Short())
	}
	var base []work.Range
	for _, r := range items {
		for i := r.Lo; i < r.Hi; i++ {
			b := rec.List.Base(i)
			base = append(base, work.Range{Lo: b, Hi: b + 1})
		}
	}
	list := *rec.List
	list.Pick = work.NewRangeSet(base...)
	next := *rec
	next.List, next.Ended, next.Created = &list, nil, time.Now()
	return (&launch{a: a, rec: &next, json: o.json, detach: o.detach}).run(ctx)
}
