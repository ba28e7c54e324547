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
	"github.com/gotong-network/gotong/internal/p2p"
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
	row("account", "%s with %s", s.Account, s.Balance)
	row("roles", "%s", strings.Join(s.Roles, ", "))
	state := "starting"
	if s.Running {
		state = "running for " + (time.Duration(s.Uptime) * time.Second).String()
	}
	if s.Waiting != "" {
		state += ", waiting for " + s.Waiting
	}
	row("state", "%s", state)
	if s.ChainErr != "" {
		row("height", "unknown: %s", s.ChainErr)
	} else {
		row("height", "%d (%s ago)", s.Height, time.Since(s.Time).Round(time.Second/10))
	}
	for _, p := range s.Parties {
		row(p.Role.String(), "bond %s, %s locked, %s on its way back; %d settled, %d convictions", p.Bond, p.Locked, p.Unbonding, p.Settled, p.Convictions)
	}
	if v := s.Validator; v != nil {
		row("validator", "%s", validatorText(v))
	}
	if p := s.Provider; p != nil {
		row("provider", "%s", providerText(p))
		row("in hand", "%d jobs: %d items queued, %d running, %d not committed; %d batches open", p.Jobs, p.ItemsQueued, p.ItemsRunning, p.ItemsUncommitted, p.BatchesOpen)
		row("slots", "%d of %d allowed, %d used, at %dugtg a work unit", p.SlotsAllowed, p.Slots, p.SlotsUsed, p.Price)
	}
	if x := s.Indexer; x != nil {
		hears := "providers everywhere"
		if len(x.Hear) > 0 {
			hears = "providers in " + strings.Join(x.Hear, ", ")
		}
		row("indexer", "asks %d thousandths of a job's pay, on top of it; hears %s", x.FeePermille, hears)
		row("", "knows %d provider(s), %d of them connected; serves %d job(s)", x.Providers, x.Connected, x.Jobs)
	}
	if l := s.Limits; l != nil {
		row("limits", "CPU %.0f %% of all cores, used %.1f %% in the last minute; memory %s; disk %s, used %s", l.CPULimitPercent, l.CPUUsedPercent,
			bound(l.MemoryLimit, "unlimited"), bound(l.DiskLimit, "limit not known"), mib(l.DiskUsed))
		if l.Paused || l.Why != "" {
			row("", "%s", l.Why)
		}
		row("", "kept by %s", l.Bound)
		if l.Fault != "" {
			row("", "NOT KEPT: %s", l.Fault)
		}
	}
	for i, c := range s.Nodes {
		row(map[bool]string{true: "chain nodes"}[i == 0], "%s %s at height %d%s", c.URL, c.State, c.Height, because(c.Why))
	}
	e.showMachine(row, s)
	row("version", "%s, process %d", s.Version, s.Pid)
	return w.Flush()
}

// showMachine tells how the machine and its network are.
func (e *Env) showMachine(row func(name, format string, args ...any), s member.Status) {
	if s.Running {
		row("peers", "%d connected; this one is %s", s.Peers, reachText(s.Reach.Kind))
		row("peer key", "%s", s.Peer.Key)
		for _, a := range s.Peer.Addrs {
			row("", "%s", a)
		}
	}
	if s.RPC != "" {
		row("rpc", "%s", s.RPC)
	}
	switch {
	case !s.ClockKnown:
		row("clock", "not compared: no other node told its time")
	case s.ClockWrong:
		row("clock", "WRONG by %+.0f s: set it, or what this node says is refused as expired", s.ClockSkew)
	default:
		row("clock", "right (%+.1f s)", s.ClockSkew)
	}
	low := ""
	if s.DiskLow {
		low = ": TOO LITTLE, no new work is taken"
	}
	row("disk", "%d MiB free%s", s.DiskFree>>20, low)
}

// bound shows a limit in bytes, or what it means that there is none.
func bound(n uint64, none string) string {
	if n == 0 {
		return none
	}
	return mib(n)
}

func mib(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func reachText(k p2p.ReachKind) string {
	switch k {
	case p2p.ReachPublic:
		return "public: anybody may dial it"
	case p2p.ReachDirect:
		return "reached directly"
	case p2p.ReachRelayed:
		return "reached through a relay"
	}
	return "not known to be reachable yet"
}

func validatorText(v *member.Validator) string {
	text := fmt.Sprintf("stake %s, power %d, rewards %s", v.Stake, v.Power, v.Rewards)
	if v.Jailed {
		text += ", JAILED: `gotong validator unjail`"
	}
	if v.BeaconHeight > 0 {
		text += fmt.Sprintf(", beacon key from height %d", v.BeaconHeight)
	}
	return text
}
