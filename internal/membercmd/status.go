package membercmd

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/member"
)

// callTimeout bounds a question to the running process.
const callTimeout = 30 * time.Second

// NewStatus is the command that asks the running home.
func NewStatus(e *Env) *cobra.Command {
	var asJSON bool
	c := noArgs("status", "Say how the node of this home is", func(ctx context.Context) error { return runStatus(ctx, e, asJSON) })
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runStatus(ctx context.Context, e *Env, asJSON bool) error {
	h, err := e.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var s member.Status
	if err := member.Call(ctx, h, http.MethodGet, "/v1/status", &s); err != nil {
		return err
	}
	if asJSON {
		return e.printJSON(s)
	}
	return e.showStatus(s)
}

func (e *Env) showStatus(s member.Status) error {
	w := tabwriter.NewWriter(e.Out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("chain", "%s", s.Chain)
	row("account", "%s", s.Account)
	row("roles", "%s", strings.Join(s.Roles, ", "))
	if s.Running {
		row("state", "running for %s", (time.Duration(s.Uptime) * time.Second).String())
	} else {
		row("state", "waiting for %s", s.Waiting)
	}
	if s.ChainErr != "" {
		row("height", "unknown: %s", s.ChainErr)
	} else {
		row("height", "%d (%s)", s.Height, s.Time.UTC().Format(time.RFC3339))
	}
	if s.RPC != "" {
		row("rpc", "%s", s.RPC)
	}
	for _, a := range s.Peer.Addrs {
		row("peer", "%s at %s", s.Peer.Key, a)
	}
	row("version", "%s", s.Version)
	return w.Flush()
}
