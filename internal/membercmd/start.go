package membercmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/member"
)

// NewStart is the command that runs the home's roles.
func NewStart(e *Env) *cobra.Command {
	c := noArgs("start", "Run the roles of this home until interrupted", func(ctx context.Context) error { return runStart(ctx, e) })
	c.Long = "Runs the node of this home with the roles that `network join --as` gave it. What happens is\n" +
		"logged to stderr. It may be killed at any moment and goes on where it was when it is started again.\n" +
		"An account without money for its bond waits for it."
	return c
}

func runStart(ctx context.Context, e *Env) error {
	h, err := e.open()
	if err != nil {
		return err
	}
	key, err := e.account(ctx, h)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.Errw, "Starting %s on %s as %s.\n", strings.Join(h.Info().Roles, ", "), h.Info().Chain, key.Address)
	err = member.Run(ctx, member.Options{Home: h, Key: key, OpenChain: e.OpenChain, Log: e.log(), Ready: func(s member.Status) {
		fmt.Fprintf(e.Errw, "Running at height %d. `%s%s status` says how it is; Ctrl-C stops it.\n", s.Height, e.Program, e.homeFlag())
	}})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return usagef("an address is taken by another program: change %s (%w)", h.Path("node.json"), err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the disk is full: free some space and start again, nothing is lost: %w", err)
	case errors.Is(err, member.ErrNoRoles):
		return UsageError{err}
	case err == nil && ctx.Err() != nil:
		fmt.Fprintln(e.Errw, "Stopped. Everything is kept; start it again to go on.")
	}
	return err
}
