package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

func newLogsCommand(a *app) *cobra.Command {
	var asJSON bool
	var item uint64
	c := &cobra.Command{
		Use:   "logs ID --item N",
		Short: "Print what an item wrote to stdout and stderr, and how it ended",
		Long:  "Print what an item wrote, to the same streams. N is the item's {i}.",
		Args:  cobra.ExactArgs(1),
		RunE:  func(c *cobra.Command, args []string) error { return runLogs(c.Context(), a, asJSON, args[0], item) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().Uint64Var(&item, "item", 0, "number of the item")
	_ = c.MarkFlagRequired("item") // it was just defined
	return c
}

// itemView is `logs --json`.
type itemView struct {
	Job      string       `json:"job"`
	Item     uint64       `json:"item"`
	State    string       `json:"state"`
	Why      string       `json:"why,omitempty"`
	Provider work.Address `json:"provider,omitempty"`
	Outcome  string       `json:"outcome,omitempty"`
	ExitCode *uint32      `json:"exit_code"`
	Fuel     work.Fuel    `json:"fuel"`
	Leaf     *work.Hash   `json:"leaf,omitempty"`
	Files    []work.File  `json:"files"`
	Stdout   string       `json:"stdout"`
	Stderr   string       `json:"stderr"`
	Base64   []string     `json:"base64,omitempty"` // fields that are base64, because they are not UTF-8
}

func runLogs(ctx context.Context, a *app, asJSON bool, arg string, label uint64) error {
	s, c, rec, err := a.openJob(ctx, arg)
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	i, err := client.ItemOf(rec.List, label)
	if err != nil {
		return err
	}
	all, err := c.Results(ctx, rec.Job, work.RangeSet{{Lo: i, Hi: i + 1}})
	if err != nil {
		return jobError(err)
	}
	v := itemView{Job: rec.Job.String(), Item: label, State: wire.ItemWaiting.String(), Files: []work.File{}}
	if len(all) == 0 || all[0].Result == nil {
		if len(all) > 0 {
			v.State, v.Why = all[0].State.String(), all[0].Why
		}
		if asJSON {
			return a.printJSON(v)
		}
		fmt.Fprintf(a.errw, "item %d is %s: it has written nothing yet. %s\n", label, v.State, v.Why)
		return &exitError{code: exitItems}
	}
	u := all[0]
	o := u.Result.Leaf.Outcome
	v.State, v.Provider, v.Outcome, v.Fuel, v.Leaf = u.State.String(), u.Provider, o.String(), u.Result.Leaf.Fuel, new(u.Result.Leaf.Hash())
	if o.Kind == work.Exited {
		v.ExitCode = &o.Code
	}
	v.Files = append(v.Files, u.Result.Output.Files...)
	logs := &work.Result{Output: work.Output{Stdout: u.Result.Output.Stdout, Stderr: u.Result.Output.Stderr}}
	return c.Deliver(ctx, []*work.Result{logs}, func(r *work.Result, open client.Opener) error {
		if asJSON {
			if v.Stdout, err = v.text(open, "stdout", r.Output.Stdout); err != nil {
				return err
			}
			if v.Stderr, err = v.text(open, "stderr", r.Output.Stderr); err != nil {
				return err
			}
			return a.printJSON(v)
		}
		if err := copyBlob(a.out, open, r.Output.Stdout); err != nil {
			return err
		}
		if err := copyBlob(a.errw, open, r.Output.Stderr); err != nil {
			return err
		}
		fmt.Fprintf(a.errw, "item %d: %s · %s · fuel %d · by %s\n", label, v.State, v.Outcome, v.Fuel, v.Provider)
		return nil
	})
}

func copyBlob(w io.Writer, open client.Opener, b work.BlobID) error {
	r, err := open(b)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// text reads a blob for JSON.
func (v *itemView) text(open client.Opener, name string, b work.BlobID) (string, error) {
	r, err := open(b)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil || utf8.Valid(data) {
		return string(data), err
	}
	v.Base64 = append(v.Base64, name)
	return base64.StdEncoding.EncodeToString(data), nil
}
