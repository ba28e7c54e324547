package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// motion is what every proposal has.
type motion struct {
	title   string
	deposit string
	json    bool
}

func newGovernanceProposeCommand(a *app) *cobra.Command {
	o := &motion{}
	c := newGroup("propose", "Put something to the vote",
		newProposeParamsCommand(a, o), newProposeUpgradeCommand(a, o), newProposeDecideCommand(a, o))
	c.Long = "Puts something to the vote of those who have stake. Jobs of the commons have a command of their own:\n" +
		"`gotong commons propose`.\n\nWho proposes pays a deposit, which comes back unless the proposal is vetoed."
	f := c.PersistentFlags()
	f.StringVar(&o.title, "title", "", "what it is for, in a line; voters read it")
	f.StringVar(&o.deposit, "deposit", "10gtg", "what the proposal is backed with; public networks want more")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func newProposeParamsCommand(a *app, o *motion) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "params [NAME=VALUE]...",
		Short: "Propose other parameters of the chain",
		Long: "Names and values are those of `gotong governance params`. A proposal carries all parameters, those\n" +
			"that it leaves alone as they are now: of two that are voted on at once, the later one undoes the other.",
		Example: "  gotong governance propose params --title 'A longer window' window_blocks=900",
		RunE: func(c *cobra.Command, args []string) error {
			return a.propose(c.Context(), o, func(ctx context.Context, chain ledger.Reader) (ledger.Msg, error) {
				return proposeParams(ctx, chain, file, args)
			})
		},
	}
	c.Flags().StringVar(&file, "params", "", "JSON file of the parameters that change")
	return c
}

func proposeParams(ctx context.Context, chain ledger.Reader, file string, args []string) (ledger.Msg, error) {
	now, err := chain.Params(ctx)
	if err != nil {
		return nil, err
	}
	p := now
	if file != "" {
		if err := readParams(file, &p); err != nil {
			return nil, err
		}
	}
	if err := setParams(&p, args); err != nil {
		return nil, err
	}
	if p == now {
		return nil, usagef("nothing would change: give NAME=VALUE of what is to be another")
	}
	return ledger.SetParams{Params: p}, nil
}

// setParams lays NAME=VALUE over the parameters.
func setParams(p *lifecycle.Params, args []string) error {
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || !json.Valid([]byte(value)) {
			return usagef("%q: write NAME=VALUE as `gotong governance params` shows them: amounts in ugtg, waits in blocks", arg)
		}
		b, err := json.Marshal(map[string]json.RawMessage{name: json.RawMessage(value)})
		if err != nil {
			return usagef("%q: %w", arg, err)
		}
		if err := p.Set(b); err != nil {
			return usagef("%q: %w: `gotong governance params` shows names and values", arg, err)
		}
	}
	if err := p.Validate(); err != nil {
		return usagef("these parameters cannot work: %w", err)
	}
	return nil
}

func newProposeUpgradeCommand(a *app, o *motion) *cobra.Command {
	var u ledger.Upgrade
	c := &cobra.Command{
		Use:   "upgrade NAME --height N",
		Short: "Propose that a new version of the program takes over at a height",
		Long: "Every node whose program does not have the change of this name stops at the height, before it\n" +
			"changes anything, and says what --info says. Choose a height some days after the vote.",
		Example: "  gotong governance propose upgrade 2027-vesting --height 812000 --title 'Slower vesting' --info https://…",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			u.Name = args[0]
			return a.propose(c.Context(), o, func(ctx context.Context, chain ledger.Reader) (ledger.Msg, error) {
				st, err := chain.Status(ctx)
				if err == nil && u.Height <= st.Height {
					err = usagef("--height %d: the chain is at %d already: choose one that comes after the vote", u.Height, st.Height)
				}
				return u, err
			})
		},
	}
	c.Flags().Int64Var(&u.Height, "height", 0, "the first height that needs the new version")
	c.Flags().StringVar(&u.Info, "info", "", "where the new version is to be had")
	return c
}

func newProposeDecideCommand(a *app, o *motion) *cobra.Command {
	var uphold, overturn bool
	c := &cobra.Command{
		Use:   "decide BATCH --uphold|--overturn",
		Short: "Propose how a frozen batch ends",
		Long: "A batch is frozen when two checkers contradict the validators' verdict: one of them is wrong, or the\n" +
			"engine is. --uphold ends it by the verdict, --overturn by the provider's word. Without a decision the\n" +
			"verdict counts in the end.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := work.ParseHash(args[0])
			if err != nil {
				return usagef("%q is no id of a batch: write its 64 hexadecimal digits", args[0])
			}
			return a.propose(c.Context(), o, func(ctx context.Context, chain ledger.Reader) (ledger.Msg, error) {
				b, err := chain.Batch(ctx, id)
				switch {
				case errors.Is(err, ledger.ErrNotFound):
					return nil, usagef("batch %s is not on this chain", id)
				case err != nil:
					return nil, err
				case b.Phase != lifecycle.Frozen:
					return nil, usagef("batch %s is %s: governance decides about frozen ones only", id.Short(), b.Phase)
				}
				return ledger.Decide{Batch: id, Uphold: uphold}, nil
			})
		},
	}
	c.Flags().BoolVar(&uphold, "uphold", false, "by the validators' verdict")
	c.Flags().BoolVar(&overturn, "overturn", false, "by the provider's word")
	c.MarkFlagsOneRequired("uphold", "overturn")
	c.MarkFlagsMutuallyExclusive("uphold", "overturn")
	return c
}

// propose puts to the vote what subject gives.
func (a *app) propose(ctx context.Context, o *motion, subject func(context.Context, ledger.Reader) (ledger.Msg, error)) error {
	if o.title == "" || len(o.title) > maxTitle {
		return usagef("--title: say in a line of 1 to %d bytes what the proposal is for", maxTitle)
	}
	deposit, err := work.ParseAmount(o.deposit)
	if err != nil {
		return usagef("--deposit: %w", err)
	}
	s, err := a.reach(ctx, withKey)
	if err != nil {
		return err
	}
	defer s.Close()
	m, err := subject(ctx, s.Ledger)
	if err != nil {
		return err
	}
	in, err := s.Ledger.Submit(ctx, s.Key.Address, ledger.Propose{Title: o.title, Message: m, Deposit: deposit})
	if err != nil {
		return err
	}
	p, err := proposed(ctx, s.Ledger, o.title, m)
	if err != nil {
		return fmt.Errorf("it was proposed in block %d: %w", in.Height, err)
	}
	if o.json {
		return a.printJSON(p)
	}
	if err := a.printProposal(p); err != nil {
		return err
	}
	if p.Status == "deposit" {
		return fmt.Errorf("a deposit of %s is too small for a vote: propose it again with a larger --deposit; this one comes back when its time is over", deposit)
	}
	_, err = fmt.Fprintf(a.out, "Whoever has stake votes: gotong%s governance vote %d\n", homeFlag(a.homeDir), p.ID)
	return err
}

// proposed finds what was just proposed.
func proposed(ctx context.Context, chain ledger.Reader, title string, m ledger.Msg) (proposalView, error) {
	now, err := chain.Params(ctx)
	if err != nil {
		return proposalView{}, err
	}
	all, err := chain.Proposals(ctx)
	if err != nil {
		return proposalView{}, err
	}
	for _, p := range all {
		if p.Title == title && reflect.DeepEqual(p.Messages, []ledger.Msg{m}) {
			return viewProposal(p, now), nil
		}
	}
	return proposalView{}, errors.New("the chain does not show it among the latest proposals")
}
