package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

func newExplainCommand(a *app) *cobra.Command {
	var asJSON bool
	var item uint64
	c := &cobra.Command{
		Use:   "explain ID",
		Short: "Say why a job's items wait, where they run, or why they failed",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var only *uint64
			if c.Flags().Changed("item") {
				only = &item
			}
			return runExplain(c.Context(), a, asJSON, args[0], only)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().Uint64Var(&item, "item", 0, "only this item, by its {i}")
	return c
}

// noteView is one explanation of `explain --json`.
type noteView struct {
	Items string `json:"items"` // as {i}: 1-3,7
	Count uint64 `json:"count"`
	State string `json:"state"`
	Text  string `json:"text"`
}

func runExplain(ctx context.Context, a *app, asJSON bool, arg string, only *uint64) error {
	s, c, rec, err := a.openJob(ctx, arg)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	var pick work.RangeSet
	if only != nil {
		i, err := client.ItemOf(rec.List, *only)
		if err != nil {
			return err
		}
		pick = work.RangeSet{{Lo: i, Hi: i + 1}}
	}
	notes, counts, err := c.Explain(ctx, rec.Job)
	if err != nil {
		return usageIfRemote(err)
	}
	views := []noteView{}
	for _, n := range notes {
		items := n.Items
		if only != nil {
			items = items.Intersect(pick)
		}
		if len(items) > 0 {
			views = append(views, noteView{labels(rec.List, items), items.Len(), n.State.String(), n.Text})
		}
	}
	if asJSON {
		return a.printJSON(struct {
			Job    string      `json:"job"`
			Counts wire.Counts `json:"counts"`
			Notes  []noteView  `json:"notes"`
		}{rec.Job.String(), counts, views})
	}
	for _, v := range views {
		fmt.Fprintf(a.out, "%d %s (%s): %s\n", v.Count, v.State, clip(v.Items, 60), v.Text)
	}
	if len(views) == 0 {
		fmt.Fprintf(a.out, "Nothing waits and nothing failed: %d of %d items are verified.\n", counts.Verified, counts.Items)
	}
	return nil
}

// labels writes items as users number them.
func labels(l *work.ItemList, items work.RangeSet) string {
	var parts []string
	for _, r := range items {
		if len(parts) == 50 {
			parts = append(parts, "…")
			break
		}
		lo, hi := client.Label(l, r.Lo), client.Label(l, r.Hi-1)
		if lo == hi {
			parts = append(parts, lo)
		} else {
			parts = append(parts, lo+"-"+hi)
		}
	}
	return strings.Join(parts, ",")
}
