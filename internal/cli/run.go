package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Defaults of an item's limits.
const (
	defaultMemoryBytes = 512 << 20
	defaultOutputBytes = 64 << 20
)

// maxStdinBytes bounds what `--stdin -` keeps in memory; a file has no bound.
const maxStdinBytes = 1 << 30

// defaultPrice is what local providers ask, in ugtg per work unit: the estimate
// where no network answers.
const defaultPrice work.Price = 1000

// askPriceTimeout bounds the wait for real offers, while the program runs.
const askPriceTimeout = 2 * time.Second

type runOptions struct {
	with      []string
	env       []string
	stdin     string
	memory    byteSize
	maxFuel   fuelSize
	maxOutput byteSize
	seed      uint64
	outDir    string
	json      bool
}

func newRunCommand(a *app) *cobra.Command {
	o := runOptions{memory: defaultMemoryBytes, maxOutput: defaultOutputBytes, maxFuel: fuelSize(lifecycle.LocalParams().MaxItemFuel)}
	c := &cobra.Command{
		Use:   "run [flags] PROGRAM [ARGUMENT]...",
		Short: "Run one item here: same sandbox and profile, no network, no money",
		Long: "Run one item on this machine exactly as a provider would, and say how it ended, what\n" +
			"it cost in fuel and what that is worth. The program's stdout and stderr are printed;\n" +
			"the summary goes to stderr, and a line now and then while a run takes long; Ctrl-C\n" +
			"ends it. The exit code is 0 if the program exited with 0, 3 if it ended otherwise, 2 if\n" +
			"it would be refused.\n\n" +
			"The program sees the files of --with in its current folder, read-only, and may write\n" +
			"to out/ (kept with --out) and tmp/ (scratch).",
		Example: "  gotong run hello.wasm world\n" +
			"  gotong run --with photo.png:in/photo.png --out results resize.wasm in/photo.png out/small.png\n" +
			"  gotong run --with script.py python script.py",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeProgram,
		RunE:              func(c *cobra.Command, args []string) error { return runRun(c.Context(), a, o, args[0], args[1:]) },
	}
	f := c.Flags()
	f.SetInterspersed(false) // what follows the program is the program's
	f.StringArrayVar(&o.with, "with", nil, "file or folder that the program sees, as PATH or PATH:NAME (repeatable)")
	f.StringArrayVar(&o.env, "env", nil, "environment variable K=V (repeatable)")
	f.StringVar(&o.stdin, "stdin", "", "file that becomes stdin; - is this command's own (default: empty)")
	f.Var(&o.memory, "memory", "most linear memory")
	f.Var(&o.maxFuel, "max-fuel", "most fuel; 1e9 is one work unit")
	f.Var(&o.maxOutput, "max-output", "most output: stdout, stderr and files together")
	f.Uint64Var(&o.seed, "seed", 0, "seed of the program's random numbers")
	f.StringVar(&o.outDir, "out", "", "folder to write the output files to (default: they are only listed)")
	f.BoolVar(&o.json, "json", false, "print one JSON object, with the program's output in it, instead of the output")
	return c
}

func runRun(ctx context.Context, a *app, o runOptions, program string, args []string) (err error) {
	blobs := newHostFiles()
	task, err := a.runTask(o, program, args, blobs)
	if err != nil {
		return err
	}
	dir, err := a.cacheDir()
	if err != nil {
		return err
	}
	rt, err := wasm.New(wasm.Config{Dir: dir, Blobs: blobs, OutputBytes: uint64(o.maxOutput), Log: a.log()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()

	priced := make(chan marketPrice, 1)
	go func() { priced <- a.marketPrice(ctx) }()
	start := time.Now()
	heard := sayWaiting(a.errw, program, task.Limits.Fuel, rt.Compiling)
	local, err := wasm.RunLocal(ctx, rt, *task)
	heard()
	price := <-priced // bounded by its own time-out
	if ctx.Err() != nil {
		return runInterrupted(program, time.Since(start))
	}
	if err != nil {
		return runFault(program, err)
	}
	report, err := newRunReport(local, price)
	if err != nil {
		return err
	}
	if err := a.writeRun(o, local, report); err != nil {
		return err
	}
	if !local.Leaf.Outcome.OK() {
		return &exitError{code: exitItems}
	}
	return nil
}

// runTask reads what the command line names.
func (a *app) runTask(o runOptions, program string, args []string, blobs *hostFiles) (*runtime.Task, error) {
	if o.memory == 0 || o.memory > gw1.MaxMemoryBytes {
		return nil, usagef("--memory %s: want 64KiB to %s", &o.memory, formatBytes(gw1.MaxMemoryBytes))
	}
	if o.maxFuel == 0 || o.maxOutput == 0 {
		return nil, usagef("--max-fuel and --max-output must not be 0")
	}
	path, shared, err := a.resolveProgram(program)
	if err != nil {
		return nil, err
	}
	module, err := blobs.addFile(path)
	if err != nil {
		return nil, usageError{err}
	}
	item := &work.Item{Args: args, Env: slices.Sorted(slices.Values(o.env))}
	if err := checkEnv(o.env); err != nil {
		return nil, err
	}
	own, err := sharedFiles(o.with)
	if err != nil {
		return nil, err
	}
	for _, f := range append(own, shared...) {
		if slices.ContainsFunc(item.Files, func(x work.File) bool { return x.Path == f.Guest }) {
			continue // --with replaces a named program's own file
		}
		b, err := blobs.addFile(f.Host)
		if err != nil {
			return nil, usageError{err}
		}
		item.Files = append(item.Files, work.File{Path: f.Guest, Blob: b})
	}
	slices.SortFunc(item.Files, func(x, y work.File) int { return strings.Compare(x.Path, y.Path) })
	if item.Stdin, err = a.runStdin(o.stdin, blobs); err != nil {
		return nil, err
	}
	return &runtime.Task{Program: module, Profile: gw1.Version, Seed: o.seed, Item: item,
		Limits: work.Limits{MemoryBytes: uint64(o.memory), Fuel: work.Fuel(o.maxFuel), OutputBytes: uint64(o.maxOutput)}}, nil
}

func (a *app) runStdin(from string, blobs *hostFiles) (work.BlobID, error) {
	switch from {
	case "":
		return work.BlobID{}, nil
	case "-":
		b, err := io.ReadAll(io.LimitReader(a.in, maxStdinBytes+1))
		if err != nil {
			return work.BlobID{}, fmt.Errorf("read stdin: %w", err)
		}
		if len(b) > maxStdinBytes {
			return work.BlobID{}, usagef("stdin is over %s: put it into a file and give --stdin FILE", formatBytes(maxStdinBytes))
		}
		return blobs.addBytes(b), nil
	}
	b, err := blobs.addFile(from)
	if err != nil {
		return b, usageError{fmt.Errorf("--stdin: %w", err)}
	}
	return b, nil
}

func checkEnv(env []string) error {
	seen := map[string]bool{}
	for _, e := range env {
		k, _, ok := strings.Cut(e, "=")
		switch {
		case !ok || k == "" || strings.ContainsRune(e, 0):
			return usagef("--env %q: write NAME=VALUE", clip(e, 60))
		case seen[k]:
			return usagef("--env: %s is set twice", k)
		}
		seen[k] = true
	}
	return nil
}

// cacheDir is where compiled programs are kept: in the home if there is one.
func (a *app) cacheDir() (string, error) {
	if h, err := home.Open(a.homeDir); err == nil {
		return h.Path("cache"), nil
	}
	d, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for compiled programs: %w: set XDG_CACHE_HOME", err)
	}
	return filepath.Join(d, "gotong"), nil
}

// runFault says why there is no result.
func runFault(program string, err error) error {
	var refused *runtime.Refused
	if errors.As(err, &refused) {
		return usagef("%s would be refused: %s", program, refused.Reason)
	}
	return fmt.Errorf("%s did not run: %w", program, err)
}

// runReport is what `run --json` prints.
type runReport struct {
	Outcome   string      `json:"outcome"`
	ExitCode  *uint32     `json:"exit_code"` // null unless the program exited
	Fuel      work.Fuel   `json:"fuel"`
	Seconds   float64     `json:"seconds"`
	Price     string      `json:"price"`          // estimate for this item, in ugtg
	UnitPrice work.Price  `json:"price_per_unit"` // ugtg per 1e9 fuel
	PriceFrom string      `json:"price_from"`     // "offers" or "default"
	Leaf      work.Hash   `json:"leaf"`
	Input     work.Hash   `json:"input"`
	Output    work.Hash   `json:"output"`
	Files     []work.File `json:"files"`
	Stdout    string      `json:"stdout"`
	Stderr    string      `json:"stderr"`
	// Base64 names the fields among stdout and stderr that are base64, because
	// they are not UTF-8.
	Base64 []string `json:"base64,omitempty"`

	cost work.Amount
}

func newRunReport(l *wasm.Local, p marketPrice) (*runReport, error) {
	cost, err := work.Cost(l.Leaf.Fuel, p.price)
	if err != nil {
		return nil, err
	}
	r := &runReport{Outcome: l.Leaf.Outcome.String(), Fuel: l.Leaf.Fuel, Seconds: l.Seconds, cost: cost,
		Price: fmt.Sprint(uint64(cost)), UnitPrice: p.price, PriceFrom: p.from,
		Leaf: l.Leaf.Hash(), Input: l.Leaf.Input, Output: l.Leaf.Output, Files: l.Output.Files}
	if r.Files == nil {
		r.Files = []work.File{}
	}
	if o := l.Leaf.Outcome; o.Kind == work.Exited {
		r.ExitCode = &o.Code
	}
	return r, nil
}

// writeRun writes the program's output, its files, and the summary.
func (a *app) writeRun(o runOptions, l *wasm.Local, r *runReport) error {
	if o.outDir != "" {
		for _, f := range l.Output.Files {
			if err := writeOutput(o.outDir, f.Path, l.Bytes[f.Blob]); err != nil {
				return err
			}
		}
	}
	stdout, stderr := l.Bytes[l.Output.Stdout], l.Bytes[l.Output.Stderr]
	if o.json {
		r.Stdout = r.text("stdout", stdout)
		r.Stderr = r.text("stderr", stderr)
		return a.printJSON(r)
	}
	if _, err := a.out.Write(stdout); err != nil {
		return fmt.Errorf("write the program's output: %w", err)
	}
	_, _ = a.errw.Write(stderr) // nobody is left to tell
	if n := len(stderr); n > 0 && stderr[n-1] != '\n' {
		fmt.Fprintln(a.errw)
	}
	fmt.Fprintln(a.errw, r.summary())
	if hint := outcomeHint(l.Leaf.Outcome); hint != "" {
		fmt.Fprintln(a.errw, hint)
	}
	if n := len(r.Files); n > 0 && o.outDir == "" {
		fmt.Fprintf(a.errw, "%d output file(s) not kept, the first is %s: give --out DIR to write them\n", n, r.Files[0].Path)
	}
	return nil
}

func (r *runReport) text(name string, b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	r.Base64 = append(r.Base64, name)
	return base64.StdEncoding.EncodeToString(b)
}

func (r *runReport) summary() string {
	from := "the median of the offers"
	if r.PriceFrom == priceFromDefault {
		from = "the default, no network asked"
	}
	cost := "about " + r.cost.String()
	if r.cost == 0 {
		cost = "under 1" + work.Denom
	}
	return fmt.Sprintf("%s · fuel %d · %.2f s · %s at %dugtg per 1e9 fuel (%s) · leaf %s",
		r.Outcome, r.Fuel, r.Seconds, cost, r.UnitPrice, from, r.Leaf)
}

// outcomeHint says what to do about an end that a limit brought.
func outcomeHint(o work.Outcome) string {
	switch o.Kind {
	case work.OutOfFuel:
		return "The program used up its fuel: it loops forever, or needs a higher --max-fuel."
	case work.OutputCapped:
		return "The program wrote more than --max-output or too many files: raise it, or write less."
	case work.OutOfDepth:
		return "The program's recursion is deeper than the profile allows: it recurses forever, or needs a loop."
	case work.Trapped:
		return "The program trapped: a crash, an assertion, or memory over --memory."
	}
	return ""
}

// writeOutput writes an output file below dir. Guest paths begin with out/, which
// dir stands for.
func writeOutput(dir, guest string, data []byte) error {
	rel := strings.TrimPrefix(guest, "out/")
	if err := work.CheckPath(rel); err != nil {
		return err
	}
	path := filepath.Join(dir, filepath.FromSlash(rel))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return usageError{fmt.Errorf("--out: %w", err)}
	}
	return home.WriteFile(path, data, 0o644)
}
