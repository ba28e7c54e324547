// Package cli is the command line: it turns arguments into calls of the rooms that
// do the work, and what they say into text, JSON and exit codes. One command is
// one file: a constructor, its options, and a function that runs it.
//
// It promises that results go to stdout and everything else to stderr, that every
// reading command has --json, that an error says what was wrong, where, and what
// to do next, and that the exit code tells scripts which kind it was:
//
//	0 all verified          4 funds or price
//	1 internal              5 network unreachable
//	2 usage or bad input    6 home locked or damaged
//	3 some items failed     130 interrupted
//
// It holds no logic of jobs, money or sandboxes, and never prints a secret.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/membercmd"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// The exit codes.
const (
	exitOK          = 0
	exitInternal    = 1
	exitUsage       = 2
	exitItems       = 3
	exitFunds       = 4
	exitUnreachable = 5
	exitHome        = 6
	exitInterrupted = 130
)

// app is what all commands share: the global flags and the streams.
type app struct {
	homeDir        string    // --home
	keyName        string    // --key; empty: the home's default key
	passphraseFile string    // --passphrase-file; empty: asked at the terminal
	verbose        bool      // --verbose
	logFormat      logFormat // --log-format

	in        io.Reader
	out, errw io.Writer

	running bool // a command's own code has begun: what came before was usage
}

// Main runs one command line and gives the process's exit code.
func Main(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: out, errw: errw}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.running {
		err = usageError{fmt.Errorf("%w: see `%s --help`", err, cmd.CommandPath())}
	}
	code := exitCode(err)
	if code == exitInternal && ctx.Err() != nil {
		code = exitInterrupted // the interruption came back as some part's own error
	}
	if text := errorText(err); text != "" {
		fmt.Fprintln(errw, "gotong: "+text)
	}
	return code
}

func newRootCommand(a *app) *cobra.Command {
	cobra.EnableCommandSorting = false // commands come as a user needs them
	root := &cobra.Command{
		Use:   "gotong",
		Short: "Run WebAssembly programs over many inputs on a pool of machines, checked and paid",
		Long: "Gotong runs WASI programs over many inputs on other people's machines. Results are\n" +
			"checked by re-execution, honest work is paid, cheats lose their bond.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	f := root.PersistentFlags()
	f.StringVar(&a.homeDir, "home", home.Default(), "folder of keys, programs and the network's address")
	f.StringVar(&a.keyName, "key", "", "account key to use (default: the home's own)")
	f.StringVar(&a.passphraseFile, "passphrase-file", "", "file whose first line opens an encrypted key (default: ask)")
	a.logFormat = logFormats[0]
	f.Var(&a.logFormat, "log-format", "how logs are written: text, or json, an object a line")
	f.BoolVar(&a.verbose, "verbose", false, "log what happens inside to stderr")
	for _, g := range commands(a) {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	root.SetHelpCommandGroupID(root.Groups()[len(root.Groups())-1].ID)
	root.CompletionOptions.DisableDefaultCmd = true // newCompletionCommand knows unknown shells
	markRunning(a, root)
	return root
}

// markRunning notes when a command's own code begins.
func markRunning(a *app, c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.running = true
			return run(c, args)
		}
	}
	for _, sub := range c.Commands() {
		markRunning(a, sub)
	}
}

// newGroup is a command that only holds others.
func newGroup(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, RunE: func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return usageError{fmt.Errorf("unknown command %q: see `%s --help`", args[0], c.CommandPath())}
	}}
	c.AddCommand(subs...)
	return c
}

// logFormat is how logs are written: one of logFormats.
type logFormat string

var logFormats = []logFormat{"text", "json"}

// Set implements pflag.Value.
func (l *logFormat) Set(s string) error {
	if !slices.Contains(logFormats, logFormat(s)) {
		return fmt.Errorf("want one of %v", logFormats)
	}
	*l = logFormat(s)
	return nil
}

func (l *logFormat) String() string { return string(*l) }

// Type implements pflag.Value.
func (*logFormat) Type() string { return "string" }

// log is where parts log to: nowhere, unless --verbose.
func (a *app) log() *slog.Logger {
	if !a.verbose {
		return slog.New(slog.DiscardHandler)
	}
	if a.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.errw, nil))
	}
	return slog.New(slog.NewTextHandler(a.errw, nil))
}

// printJSON writes one value on one line of stdout.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// usageError is a command line or an input that cannot work: exit code 2.
type usageError struct{ error }

// Unwrap gives the cause.
func (e usageError) Unwrap() error { return e.error }

// usagef makes a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError sets the exit code. A nil err says that everything was said already.
type exitError struct {
	code int
	err  error
}

// Error implements error.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap gives the cause.
func (e *exitError) Unwrap() error { return e.err }

// exitCode maps an error to the process's exit code.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	var own *exitError
	if errors.As(err, &own) {
		return own.code
	}
	for _, k := range []struct {
		code int
		errs []error
	}{
		{exitHome, []error{home.ErrInUse, home.ErrDamaged, home.ErrVersion, home.ErrUnreadable, chainnode.ErrDamaged, chainnode.ErrInUse, chainnode.ErrSignsElsewhere}},
		{exitInterrupted, []error{context.Canceled}},
		{exitUnreachable, []error{member.ErrNotRunning, member.ErrClock, ledger.ErrUnreachable, p2p.ErrUnreachable, home.ErrAbsent}},
		{exitFunds, []error{ledger.ErrFunds}},
		{exitUsage, []error{member.ErrNotProvider, home.ErrNoKey, home.ErrExists, home.ErrPassphrase, work.ErrAmount, work.ErrPath, work.ErrItem,
			work.ErrHash, ledger.ErrNotFound}},
	} {
		for _, e := range k.errs {
			if errors.Is(err, e) {
				return k.code
			}
		}
	}
	var (
		usage   usageError
		members membercmd.UsageError
		refused *runtime.Refused
		profile *gw1.Refusal
	)
	if errors.As(err, &usage) || errors.As(err, &members) || errors.As(err, &refused) || errors.As(err, &profile) {
		return exitUsage
	}
	return exitInternal
}

// errorText is what a person reads of an error; empty if there is nothing to add.
func errorText(err error) string {
	var own *exitError
	switch {
	case err == nil, errors.As(err, &own) && own.err == nil:
		return ""
	case err.Error() == context.Canceled.Error():
		return "interrupted"
	}
	return strings.TrimSpace(err.Error())
}
