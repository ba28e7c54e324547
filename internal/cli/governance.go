package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
)

func newGovernanceCommand(a *app) *cobra.Command {
	c := newGroup("governance", "What stake decides: parameters, upgrades, frozen batches, jobs of the commons",
		newGovernanceListCommand(a), newGovernanceShowCommand(a), newGovernanceParamsCommand(a), newGovernanceProposeCommand(a), newVoteCommand(a))
	c.Long = "Whoever has stake votes, with its power. A proposal passes when its voting time is over and enough\n" +
		"of the power has voted for it; what it says is then done at once, whole or not at all."
	return c
}

// proposalView is one proposal of `governance list --json`.
type proposalView struct {
	ID        uint64        `json:"id"`
	Title     string        `json:"title"`
	Status    string        `json:"status"`
	Yes       uint64        `json:"yes"` // power
	No        uint64        `json:"no"`
	VotingEnd time.Time     `json:"voting_end,omitzero"`
	Does      []messageView `json:"does"` // if it passes: all of it or nothing
}

// messageView is one thing that a proposal does.
type messageView struct {
	Kind    string        `json:"kind"`            // commons, decide, params, upgrade, unknown
	Job     string        `json:"job,omitempty"`   // of commons
	Items   uint64        `json:"items,omitempty"` // of commons
	Batch   string        `json:"batch,omitempty"` // of decide
	Uphold  *bool         `json:"uphold,omitempty"`
	Changes []paramChange `json:"changes,omitempty"` // of params, against those of now
	Upgrade string        `json:"upgrade,omitempty"` // its name
	Height  int64         `json:"height,omitempty"`
	Info    string        `json:"info,omitempty"`
	Type    string        `json:"type,omitempty"` // of unknown
}

// paramChange is a parameter that differs.
type paramChange struct {
	Name string          `json:"name"`
	From json.RawMessage `json:"from"`
	To   json.RawMessage `json:"to"`
}

// paramChanges compares two sets of parameters, by their JSON names.
func paramChanges(from, to lifecycle.Params) []paramChange {
	old, changed := paramsByName(from), paramsByName(to)
	var l []paramChange
	for name, v := range changed {
		if !bytes.Equal(old[name], v) {
			l = append(l, paramChange{name, old[name], v})
		}
	}
	slices.SortFunc(l, func(a, b paramChange) int { return cmp.Compare(a.Name, b.Name) })
	return l
}

func paramsByName(p lifecycle.Params) map[string]json.RawMessage {
	b, err := json.Marshal(p)
	m := map[string]json.RawMessage{}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		panic(fmt.Sprintf("cli: parameters as JSON: %v", err)) // numbers only
	}
	return m
}

func viewProposal(p ledger.Proposal, now lifecycle.Params) proposalView {
	v := proposalView{ID: p.ID, Title: p.Title, Status: p.Status, Yes: p.Yes, No: p.No, VotingEnd: p.VotingEnd, Does: []messageView{}}
	for _, m := range p.Messages {
		v.Does = append(v.Does, viewMessage(m, now))
	}
	return v
}

func viewMessage(m ledger.Msg, now lifecycle.Params) messageView {
	switch m := m.(type) {
	case ledger.ApproveCommons:
		return messageView{Kind: "commons", Job: m.Spec.ID().String(), Items: m.Spec.ItemCount}
	case ledger.Decide:
		return messageView{Kind: "decide", Batch: m.Batch.String(), Uphold: &m.Uphold}
	case ledger.SetParams:
		return messageView{Kind: "params", Changes: paramChanges(now, m.Params)}
	case ledger.Upgrade:
		return messageView{Kind: "upgrade", Upgrade: m.Name, Height: m.Height, Info: m.Info}
	case ledger.Foreign:
		return messageView{Kind: "unknown", Type: m.Type}
	}
	return messageView{Kind: "unknown", Type: fmt.Sprintf("%T", m)}
}

// String says it in a line.
func (m messageView) String() string {
	switch m.Kind {
	case "commons":
		return fmt.Sprintf("job %s of the commons, %d items", m.Job[:12], m.Items)
	case "decide":
		verdict := "by the provider's word"
		if *m.Uphold {
			verdict = "by the referee's verdict"
		}
		return fmt.Sprintf("ends the freeze of batch %s %s", m.Batch[:12], verdict)
	case "params":
		if len(m.Changes) == 0 {
			return "parameters as they are now"
		}
		l := make([]string, len(m.Changes))
		for i, c := range m.Changes {
			l[i] = fmt.Sprintf("%s %s → %s", c.Name, c.From, c.To)
		}
		return strings.Join(l, ", ")
	case "upgrade":
		return fmt.Sprintf("upgrade %q at height %d", m.Upgrade, m.Height)
	}
	return fmt.Sprintf("%s, which this program does not know", m.Type)
}

func newGovernanceListCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "Show the proposals, newest first, at most 100",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runGovernanceList(c.Context(), a, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// proposals asks for all of them, as they look against the parameters of now.
func proposals(ctx context.Context, chain ledger.Reader) ([]proposalView, error) {
	now, err := chain.Params(ctx)
	if err != nil {
		return nil, err
	}
	all, err := chain.Proposals(ctx)
	if err != nil {
		return nil, err
	}
	l := make([]proposalView, len(all))
	for i, p := range all {
		l[i] = viewProposal(p, now)
	}
	return l, nil
}

func runGovernanceList(ctx context.Context, a *app, asJSON bool) error {
	s, err := a.reach(ctx, 0)
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := proposals(ctx, s.Ledger)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(l)
	}
	if len(l) == 0 {
		_, err := fmt.Fprintf(a.out, "Nothing was proposed yet: see `gotong%s governance propose --help`.\n", homeFlag(a.homeDir))
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "PROPOSAL\tSTATUS\tYES\tNO\tVOTING ENDS\tTITLE\tDOES")
	for _, p := range l {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%s\t%s\t%s\n", p.ID, p.Status, p.Yes, p.No, p.ends(), clip(p.Title, 40), clip(p.does(), 80))
	}
	return w.Flush()
}

func (p proposalView) ends() string {
	if p.VotingEnd.IsZero() {
		return "-"
	}
	return p.VotingEnd.Local().Format(time.DateTime)
}

func (p proposalView) does() string {
	l := make([]string, len(p.Does))
	for i, m := range p.Does {
		l[i] = m.String()
	}
	return strings.Join(l, "; ")
}

func newGovernanceShowCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show PROPOSAL",
		Short: "Show all that a proposal would do, parameters against those of now",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return runGovernanceShow(c.Context(), a, asJSON, args[0])
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runGovernanceShow(ctx context.Context, a *app, asJSON bool, arg string) error {
	id, err := a.proposalNumber(arg)
	if err != nil {
		return err
	}
	s, err := a.reach(ctx, 0)
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := proposals(ctx, s.Ledger)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(l, func(p proposalView) bool { return p.ID == id })
	if at < 0 {
		return usagef("proposal %d is not among the latest: see `gotong%s governance list`", id, homeFlag(a.homeDir))
	}
	if asJSON {
		return a.printJSON(l[at])
	}
	return a.printProposal(l[at])
}

func (a *app) printProposal(p proposalView) error {
	fmt.Fprintf(a.out, "proposal %d  %s\n  %s; %d of power for it, %d against; voting ends %s\n", p.ID, p.Title, p.Status, p.Yes, p.No, p.ends())
	for _, m := range p.Does {
		if m.Kind != "params" || len(m.Changes) == 0 {
			fmt.Fprintf(a.out, "  %s\n", m)
			if m.Info != "" {
				fmt.Fprintf(a.out, "    %s\n", m.Info)
			}
			continue
		}
		w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "  PARAMETER\tNOW\tPROPOSED")
		for _, c := range m.Changes {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", c.Name, c.From, c.To)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// proposalNumber reads the number of a proposal.
func (a *app) proposalNumber(arg string) (uint64, error) {
	id, err := strconv.ParseUint(arg, 10, 64)
	if err != nil {
		return 0, usagef("%q is no number of a proposal: see `gotong%s governance list`", arg, homeFlag(a.homeDir))
	}
	return id, nil
}

func newGovernanceParamsCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "params",
		Short: "Print the chain's parameters of now: amounts in ugtg, waits in blocks, shares in permille",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runGovernanceParams(c.Context(), a, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runGovernanceParams(ctx context.Context, a *app, asJSON bool) error {
	s, err := a.reach(ctx, 0)
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := s.Ledger.Params(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(p)
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	byName := paramsByName(p)
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		fmt.Fprintf(w, "%s\t%s\n", name, byName[name])
	}
	return w.Flush()
}
