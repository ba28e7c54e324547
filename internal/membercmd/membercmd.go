// Package membercmd is the commands of a member's home: join a network, start the
// home's roles, ask and steer what runs. It serves both programs: gotong, which has
// the chain inside, and gotong-worker, which has not.
//
// It promises that results go to its output and everything else to its error
// output, and that an error says what was wrong and what to do next. It never
// imports the chain; what needs it is lent by Env. It keeps no state.
package membercmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/member"
)

// Env is what the commands need of the program around them.
type Env struct {
	Program string // its name in messages
	Home    func() string
	In      io.Reader
	Out     io.Writer
	Errw    io.Writer
	Verbose func() bool
	// LogJSON says whether logs are JSON; nil: text.
	LogJSON func() bool
	// Passphrase reads --passphrase-file, or asks; twice if it is a new one.
	Passphrase func(ctx context.Context, prompt string, isNew bool) (string, error)
	// OpenChain opens a validator's node; nil in a program without the chain.
	OpenChain member.OpenChain
	// PrepareChain makes the keys of a validator's node and brings the chain's
	// genesis, from a file or from the network; nil in a program without the chain.
	PrepareChain func(ctx context.Context, h *home.Home, invite *home.Invite, genesis string) error
	// Roles that this program can play.
	Roles []string
}

// UsageError is a command line or an input that cannot work.
type UsageError struct{ Err error }

// Error implements error.
func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e UsageError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// log is the log of a node that runs: lines of text on the error output.
func (e *Env) log() *slog.Logger {
	level := slog.LevelInfo
	if e.Verbose() {
		level = slog.LevelDebug
	}
	if e.LogJSON != nil && e.LogJSON() {
		return slog.New(slog.NewJSONHandler(e.Errw, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(e.Errw, &slog.HandlerOptions{Level: level}))
}

// quiet is the log of a command that ends soon.
func (e *Env) quiet() *slog.Logger {
	if !e.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return e.log()
}

func (e *Env) printJSON(v any) error {
	enc := json.NewEncoder(e.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// homeFlag is how the user names the home in the next command.
func (e *Env) homeFlag() string {
	if e.Home() == home.Default() {
		return ""
	}
	return " --home " + e.Home()
}

// open opens the home, which must be a member's.
func (e *Env) open() (*home.Home, error) {
	h, err := home.Open(e.Home())
	if err != nil {
		return nil, err
	}
	if h.Info().Kind != home.Member {
		return nil, usagef("%s is the %w (`gotong up` runs it): use another --home", h.Dir(), member.ErrLocal)
	}
	return h, nil
}

// account loads the home's default key.
func (e *Env) account(ctx context.Context, h *home.Home) (*home.Key, error) {
	name := h.Info().Key
	return h.LoadKey(name, func() (string, error) { return e.Passphrase(ctx, "Passphrase of key "+name+": ", false) })
}

// noArgs is a command without arguments.
func noArgs(use, short string, run func(ctx context.Context) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return run(c.Context()) }}
}
