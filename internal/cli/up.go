package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/work"
)

type upOptions struct {
	providers, checkers int
	price               string
	rpc                 string
	commons             bool
}

func newUpCommand(a *app) *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a local network that stays: a validator, an indexer, providers and checkers in one process",
		Long: "Runs a whole network on this machine until it is interrupted, and goes on where it was when it\n" +
			"is started again, also after a crash. Its home holds a funded client key, `default`, and the keys\n" +
			"of every member: unencrypted, because this network is yours alone and its money is play money.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runUp(c.Context(), a, o) },
	}
	f := c.Flags()
	f.IntVar(&o.providers, "providers", 0, "how many providers run (default: as many as last time, at first 2)")
	f.IntVar(&o.checkers, "checkers", 0, "how many checkers run (default: as many as last time, at first 3)")
	f.StringVar(&o.price, "price", "1000ugtg", "what providers ask per work unit (1e9 fuel)")
	f.StringVar(&o.rpc, "rpc", "127.0.0.1:0", "address of the chain's RPC server; port 0 takes a free one")
	f.BoolVar(&o.commons, "commons", true, "providers with nothing paid to do work on the commons")
	return c
}

func runUp(ctx context.Context, a *app, o upOptions) error {
	price, err := work.ParseAmount(o.price)
	if err != nil {
		return usagef("--price: %w", err)
	}
	if price == 0 {
		return usagef("--price 0ugtg: providers must ask something; the chain's floor is the least that jobs may pay")
	}
	if o.providers < 0 || o.providers > localnet.MaxMembers || o.checkers < 0 || o.checkers > localnet.MaxMembers {
		return usagef("--providers and --checkers take 1 to %d", localnet.MaxMembers)
	}
	if h, err := home.Open(a.homeDir); err == nil && h.Info().Kind != home.Local {
		return usagef("%s is the home of a member of %s, not of a local network: `gotong%s start` runs it; use another --home for a local network",
			a.homeDir, h.Info().Chain, homeFlag(a.homeDir))
	}
	log, closeLog, err := a.upLog()
	if err != nil {
		return err
	}
	defer closeLog()
	n, err := localnet.Open(ctx, localnet.Options{
		Dir: a.homeDir, Providers: o.providers, Checkers: o.checkers, Price: work.Price(price), RPC: o.rpc, NoCommons: !o.commons, Log: log,
	})
	if err != nil {
		return upError(ctx, err, o)
	}
	announced := func() {
		fmt.Fprintf(a.errw, "A local network runs in %s: chain %s at %s\n", a.homeDir, n.Home().Info().Chain, n.RPC())
		fmt.Fprintf(a.errw, "Its keys are kept unencrypted: it is this machine's own, with play money. Account `default` has funds.\n")
		fmt.Fprintf(a.errw, "Next, in another terminal: gotong%s network status\nStop with Ctrl-C; start again to go on.\n", homeFlag(a.homeDir))
	}
	err = n.Run(ctx, announced)
	if ctx.Err() != nil && err == nil {
		fmt.Fprintln(a.errw, "Stopped. Everything is kept; `gotong up` goes on.")
	}
	return err
}

// upLog is the network's log: to stderr with --verbose, else to a file of the home,
// begun anew when it has grown over 64 MiB.
func (a *app) upLog() (*slog.Logger, func(), error) {
	if a.verbose {
		return a.log(), func() {}, nil
	}
	if err := os.MkdirAll(a.homeDir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("set up home %s: %w", a.homeDir, err)
	}
	name := strings.TrimSuffix(a.homeDir, "/") + "/up.log"
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if st, err := os.Stat(name); err == nil && st.Size() > 64<<20 {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("log of the network: %w", err)
	}
	return slog.New(slog.NewTextHandler(io.Writer(f), nil)), func() { _ = f.Close() }, nil
}

// upError says what to do about a network that does not start.
func upError(ctx context.Context, err error, o upOptions) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, syscall.EADDRINUSE):
		return usagef("%s is taken by another program: choose another --rpc, or port 0 for a free one (%w)", o.rpc, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the disk is full: free some space and start again, nothing is lost: %w", err)
	}
	return err
}

// homeFlag is how the user names this home in the next command.
func homeFlag(dir string) string {
	if dir == home.Default() {
		return ""
	}
	return " --home " + dir
}
