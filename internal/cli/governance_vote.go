package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/work"
)

func newVoteCommand(a *app) *cobra.Command {
	var no, asJSON bool
	c := &cobra.Command{
		Use:   "vote PROPOSAL",
		Short: "Vote for a proposal, or against it with --no",
		Long: "Votes with the stake of --key. On a local network that is its validator's, unless --key says\n" +
			"otherwise. A proposal is decided when its voting time is over.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return runVote(c.Context(), a, !no, asJSON, args[0])
		},
	}
	c.Flags().BoolVar(&no, "no", false, "vote against it")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runVote(ctx context.Context, a *app, yes, asJSON bool, arg string) error {
	id, err := a.proposalNumber(arg)
	if err != nil {
		return err
	}
	h, err := home.Open(a.homeDir)
	if err != nil {
		return err
	}
	if a.keyName == "" && h.Info().Kind == home.Local {
		a.keyName = localnet.ValidatorKey
	}
	s, err := a.reach(ctx, withKey)
	if err != nil {
		return err
	}
	defer s.Close()
	in, err := s.Ledger.Submit(ctx, s.Key.Address, ledger.VoteProposal{Proposal: id, Yes: yes})
	if errors.Is(err, ledger.ErrRefused) {
		return usageError{fmt.Errorf("vote on proposal %d: %w: see `gotong%s governance list`", id, err, homeFlag(a.homeDir))}
	}
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(struct {
			Proposal uint64       `json:"proposal"`
			Yes      bool         `json:"yes"`
			Voter    work.Address `json:"voter"`
			Height   int64        `json:"height"`
		}{id, yes, s.Key.Address, in.Height})
	}
	_, err = fmt.Fprintf(a.out, "Voted %s on proposal %d as %s.\n", map[bool]string{true: "yes", false: "no"}[yes], id, s.Key.Name)
	return err
}
