package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/membercmd"
)

// blockTimeout is how long a chain that makes blocks may take for the next one.
const blockTimeout = 15 * time.Second

func newNetworkCommand(a *app) *cobra.Command {
	return newGroup("network", "Found, join or ask about a network", newNetworkCreateCommand(a), membercmd.NewJoin(a.memberEnv()), membercmd.NewInvite(a.memberEnv()), newNetworkStatusCommand(a))
}

func newNetworkStatusCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say whether jobs can be posted; exit code 0 only then",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runNetworkStatus(c.Context(), a, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// networkStatus is what `network status --json` prints.
type networkStatus struct {
	Ready     bool   `json:"ready"`
	Why       string `json:"why,omitempty"` // why not
	Chain     string `json:"chain"`
	Height    int64  `json:"height"`
	RPC       string `json:"rpc"`
	Providers int    `json:"providers"` // with a valid offer
	Jobs      int    `json:"jobs"`      // being served
}

func runNetworkStatus(ctx context.Context, a *app, asJSON bool) error {
	st, err := a.networkStatus(ctx)
	if err != nil && (ctx.Err() != nil || exitCode(err) != exitUnreachable) {
		return err
	}
	if err != nil {
		st.Ready, st.Why = false, err.Error()
	}
	if asJSON {
		if err := a.printJSON(st); err != nil {
			return err
		}
	} else if st.Ready {
		fmt.Fprintf(a.out, "ready: chain %s at height %d, %d provider(s), %d job(s)\n", st.Chain, st.Height, st.Providers, st.Jobs)
	}
	switch {
	case st.Ready:
		return nil
	case asJSON:
		return &exitError{code: exitUnreachable}
	}
	return &exitError{exitUnreachable, fmt.Errorf("jobs cannot be posted: %s", st.Why)}
}

// networkStatus asks the chain and the indexer.
func (a *app) networkStatus(ctx context.Context) (networkStatus, error) {
	var n networkStatus
	s, err := a.reach(ctx, withPeers)
	if err != nil {
		return n, err
	}
	defer s.Close()
	n.RPC = s.Network.RPC
	if err := n.seeBlock(ctx, s.Ledger); err != nil {
		return n, err
	}
	call, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	st, err := s.indexerStatus(call)
	if err != nil {
		return n, unanswered("the indexer", err)
	}
	n.Providers, n.Jobs, n.Ready, n.Why = st.Providers, st.Jobs, st.Ready, st.Why
	return n, nil
}

// seeBlock waits for the next block.
func (n *networkStatus) seeBlock(ctx context.Context, l ledger.Ledger) error {
	call, cancel := context.WithTimeout(ctx, blockTimeout)
	defer cancel()
	st, err := l.Status(call)
	if err != nil {
		return unanswered("the chain", err)
	}
	n.Chain, n.Height = st.Chain, st.Height
	seen := errors.New("a block")
	err = l.Follow(call, st.Height+1, func(b ledger.Block) error {
		n.Height = b.Height
		return seen
	})
	switch {
	case errors.Is(err, seen):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("no block in %s: %w", blockTimeout, unanswered("the chain", err))
}
