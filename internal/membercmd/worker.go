package membercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/version"
)

// The exit codes of the worker; they are gotong's.
const (
	exitInternal    = 1
	exitUsage       = 2
	exitFunds       = 4
	exitUnreachable = 5
	exitHome        = 6
	exitInterrupted = 130
)

// WorkerMain runs one command line of the provider's own program, which has no
// chain inside, and gives the process's exit code.
func WorkerMain(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	var (
		homeDir, passphraseFile string
		verbose, running, json  bool
	)
	e := &Env{Program: "gotong-worker", Home: func() string { return homeDir }, In: in, Out: out, Errw: errw,
		Verbose: func() bool { return verbose }, LogJSON: func() bool { return json }, Roles: []string{home.RoleProvider}}
	e.Passphrase = func(ctx context.Context, prompt string, isNew bool) (string, error) {
		file := passphraseFile
		if file == "" && Terminal(in) == nil {
			file = Credential()
		}
		return Ask(ctx, in, errw, file, prompt, isNew)
	}
	root := &cobra.Command{
		Use: "gotong-worker", Short: "Rent out this machine: a provider of a Gotong network",
		Long: "A provider and nothing else: it joins a network, runs other people's items in a sandbox within\n" +
			"this machine's limits, and is paid. It opens no port, keeps no chain, and needs no domain.",
		SilenceUsage: true, SilenceErrors: true, Version: version.String(),
	}
	f := root.PersistentFlags()
	f.StringVar(&homeDir, "home", home.Default(), "folder of keys, settings and work in hand")
	f.StringVar(&passphraseFile, "passphrase-file", "", "file whose first line opens the account's key (default: ask)")
	f.BoolVar(&verbose, "verbose", false, "log more of what happens inside")
	f.BoolVar(&json, "log-json", false, "log JSON, an object a line")
	root.AddCommand(NewJoin(e), NewStatus(e))
	root.AddCommand(RoleCommands(e, home.RoleProvider)...)
	keys := &cobra.Command{Use: "keys", Short: "Keep this provider's identity and money over the loss of the machine"}
	keys.AddCommand(NewKeys(e)...)
	root.AddCommand(keys)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	root.PersistentPreRun = func(*cobra.Command, []string) { running = true }
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !running {
		err = UsageError{fmt.Errorf("%w: see `%s --help`", err, cmd.CommandPath())}
	}
	if err != nil {
		fmt.Fprintln(errw, "gotong-worker: "+strings.TrimSpace(err.Error()))
	}
	return workerCode(ctx, err)
}

func workerCode(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	for _, k := range []struct {
		code int
		errs []error
	}{
		{exitHome, []error{home.ErrInUse, home.ErrDamaged, home.ErrVersion, home.ErrUnreadable}},
		{exitInterrupted, []error{context.Canceled}},
		{exitUnreachable, []error{member.ErrNotRunning, ledger.ErrUnreachable, p2p.ErrUnreachable, home.ErrAbsent}},
		{exitFunds, []error{ledger.ErrFunds}},
		{exitUsage, []error{home.ErrNoKey, home.ErrExists, home.ErrPassphrase, member.ErrNoRoles, member.ErrNoChain, member.ErrNotProvider}},
	} {
		for _, is := range k.errs {
			if errors.Is(err, is) {
				return k.code
			}
		}
	}
	var usage UsageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	}
	return exitInternal
}
