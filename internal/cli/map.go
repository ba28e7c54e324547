package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// maxLinesBytes bounds the file of --each-line.
const maxLinesBytes = 1 << 30

// mapOptions are the flags of map.
type mapOptions struct {
	each  []string
	rng   string
	lines string
	grid  []string

	out   string
	with  []string
	env   []string
	stdin string

	maxPrice  string
	budget    string
	tier      string
	chunk     string
	copies    uint32
	deadline  time.Duration
	indexer   string
	maxFee    uint32
	memory    byteSize
	maxFuel   fuelSize
	maxOutput byteSize
	seed      uint64
	place     placeOptions

	dryRun, detach, fresh, json bool
}

func newMapCommand(a *app) *cobra.Command {
	o := mapOptions{memory: defaultMemoryBytes, maxOutput: defaultOutputBytes, maxFuel: fuelSize(lifecycle.LocalParams().MaxItemFuel)}
	c := &cobra.Command{
		Use:   "map [flags] -- PROGRAM [ARGUMENT]...",
		Short: "Run a program over many inputs on the network, checked and paid",
		Long: "Run a program once per item on the network's providers, and write each item's output\n" +
			"here once it is verified. Items are files (--each), numbers (--range), lines\n" +
			"(--each-line) or combinations (--grid).\n\n" +
			"Placeholders in arguments, variables and --out: {i} number, {name} and {stem} of the\n" +
			"file, {line}, and the names of --grid. In arguments and variables only: {in}, the\n" +
			"item's file in its own folder, and {out}, the file to write. Without {out} the\n" +
			"program's stdout becomes the output.\n\n" +
			"The same command again computes only what is missing. Ctrl-C leaves the job running.\n" +
			"Who can read a job's data is said before it is sent: see also --dry-run.",
		Example: "  gotong map --each 'in/*.txt' --out 'out/{stem}.json' -- prog.wasm {in} {out}\n" +
			"  gotong map --range 1-240 --out 'frames/{i}.png' --with scene.bin -- render.wasm scene.bin {i} {out}\n" +
			"  gotong map --grid lr=1e-4,3e-4 --grid bs=16,32 --out 'runs/{lr}-{bs}.json' -- train.wasm {lr} {bs}",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runMap(c.Context(), a, o, args) },
	}
	f := c.Flags()
	f.SetInterspersed(false) // what follows the program is the program's
	f.StringArrayVar(&o.each, "each", nil, "one item per file that matches, ** included (repeatable)")
	f.StringVar(&o.rng, "range", "", "one item per number, as 1-240")
	f.StringVar(&o.lines, "each-line", "", "one item per line of a file that is not empty; - is stdin")
	f.StringArrayVar(&o.grid, "grid", nil, "one axis NAME=V1,V2,... of the combinations (repeatable)")
	f.StringVar(&o.out, "out", "", "where each item's output is written, with placeholders (default: kept for `gotong get`)")
	f.StringArrayVar(&o.with, "with", nil, "file or folder that every item sees, as PATH or PATH:NAME (repeatable)")
	f.StringArrayVar(&o.env, "env", nil, "environment variable K=V (repeatable)")
	f.StringVar(&o.stdin, "stdin", "", "file that becomes every item's stdin")
	f.StringVar(&o.maxPrice, "max-price", "", "most that a work unit (1e9 fuel) may cost, as 1000ugtg (default: twice the median offer)")
	f.StringVar(&o.budget, "budget", "", "most that the job may lock, work and checks together, as 5gtg")
	f.StringVar(&o.tier, "tier", "economic", "how much is checked: none (own providers only), economic, assured, full")
	f.StringVar(&o.chunk, "chunk", "auto", "items handed out together: auto, auto:60s, or a number")
	f.Uint32Var(&o.copies, "copies", 2, "paid copies of an item, for stragglers (1 to 8)")
	f.DurationVar(&o.deadline, "deadline", 0, "after this long the job takes no more work, as 2h (default: a day)")
	f.StringVar(&o.indexer, "indexer", "", "account of the indexer that gets the job, or any: the cheapest that answers (default: the home's)")
	f.Uint32Var(&o.maxFee, "max-indexer-fee", client.DefaultIndexerPermille, "most that the indexer may ask, in thousandths of the pay and on top of it (0 to 1000)")
	f.Var(&o.memory, "memory", "most linear memory of an item")
	f.Var(&o.maxFuel, "max-fuel", "most fuel of an item; 1e9 is one work unit")
	f.Var(&o.maxOutput, "max-output", "most output of an item: stdout, stderr and files together")
	f.Uint64Var(&o.seed, "seed", 0, "seed of the programs' random numbers")
	o.place.addFlags(f)
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would happen and what it would cost; nothing is posted")
	f.BoolVar(&o.detach, "detach", false, "return once the job is posted")
	f.BoolVar(&o.fresh, "fresh", false, "compute every item, also those whose verified results are known")
	f.BoolVar(&o.json, "json", false, "end with one JSON object on stdout")
	return c
}

func runMap(ctx context.Context, a *app, o mapOptions, args []string) error {
	r, err := a.buildMap(o, args)
	if err != nil {
		return err
	}
	l := &launch{a: a, rec: r, json: o.json, detach: o.detach, dryRun: o.dryRun, fresh: o.fresh, deadline: o.deadline, indexer: work.Address(o.indexer), maxFee: &o.maxFee}
	return l.run(ctx)
}

// buildMap turns a command line into a job: everything but what the network says.
func (a *app) buildMap(o mapOptions, args []string) (*client.Record, error) {
	r := &client.Record{Created: time.Now(), Command: args}
	var shared []sharedFile
	var err error
	if r.Program, shared, err = a.resolveProgram(args[0]); err != nil {
		if len(o.each) > 0 && !slices.ContainsFunc(o.each, func(g string) bool { return strings.ContainsAny(g, "*?[{") }) {
			err = usageError{fmt.Errorf("%w (if the shell expanded the pattern of --each, quote it)", err)}
		}
		return nil, err
	}
	if r.Program, err = filepath.Abs(r.Program); err != nil {
		return nil, err
	}
	if err := o.terms(r); err != nil {
		return nil, err
	}
	r.List = &work.ItemList{Args: args[1:], Env: slices.Sorted(slices.Values(o.env))}
	if err := checkEnv(o.env); err != nil {
		return nil, err
	}
	if err := a.source(o, r); err != nil {
		return nil, err
	}
	if err := o.share(r, shared); err != nil {
		return nil, err
	}
	if err := o.outputs(r); err != nil {
		return nil, err
	}
	if err := r.List.Validate(); err != nil {
		return nil, usageError{err}
	}
	if _, err := r.List.Item(0); err != nil { // a file that is in the way of others
		return nil, usageError{err}
	}
	return r, o.name(r)
}

// terms reads the flags of price, limits and checks.
func (o *mapOptions) terms(r *client.Record) (err error) {
	s := &r.Spec
	if s.Tier, err = work.ParseTier(o.tier); err != nil {
		return usagef("--%w", err)
	}
	if o.maxPrice != "" {
		p, err := work.ParseAmount(o.maxPrice)
		if err != nil {
			return usagef("--max-price %w", err)
		}
		if r.MaxPrice = work.Price(p); p == 0 {
			return &exitError{exitFunds, errors.New("--max-price 0: nobody works for nothing; own providers take --tier none")}
		}
	}
	if o.budget != "" {
		if r.Budget, err = work.ParseAmount(o.budget); err != nil {
			return usagef("--budget %w", err)
		}
		if r.Budget == 0 {
			return &exitError{exitFunds, errors.New("--budget 0: nothing can be paid with it; own providers take --tier none")}
		}
	}
	if s.Place, err = o.place.placement(); err != nil {
		return err
	}
	if r.Chunk, err = parseChunk(o.chunk); err != nil {
		return err
	}
	if o.copies < 1 || o.copies > 8 {
		return usagef("--copies %d: want 1 to 8", o.copies)
	}
	if o.deadline < 0 {
		return usagef("--deadline %s has passed: give a time from now, as 2h", o.deadline)
	}
	if o.memory == 0 || o.memory > gw1.MaxMemoryBytes {
		return usagef("--memory %s: want 64KiB to %s", &o.memory, formatBytes(gw1.MaxMemoryBytes))
	}
	if o.maxFuel == 0 || o.maxOutput == 0 {
		return usagef("--max-fuel and --max-output must not be 0")
	}
	s.Seed, s.MaxCopies, s.Profile = o.seed, o.copies, gw1.Version
	s.Limits = work.Limits{MemoryBytes: uint64(o.memory), Fuel: work.Fuel(o.maxFuel), OutputBytes: uint64(o.maxOutput)}
	return nil
}

func parseChunk(s string) (wire.Chunk, error) {
	if s == "auto" {
		return wire.Chunk{}, nil
	}
	if d, ok := strings.CutPrefix(s, "auto:"); ok {
		if v, err := time.ParseDuration(d); err == nil && v >= time.Second && v <= 24*time.Hour {
			return wire.Chunk{Seconds: uint32(v / time.Second)}, nil
		}
	} else if n, err := strconv.ParseUint(s, 10, 32); err == nil && n > 0 {
		return wire.Chunk{Items: n}, nil
	}
	return wire.Chunk{}, usagef("--chunk %q: write auto, auto:60s (1s to 24h) or a number of items", s)
}

// source makes the items.
func (a *app) source(o mapOptions, r *client.Record) error {
	n := 0
	for _, given := range []bool{len(o.each) > 0, o.rng != "", o.lines != "", len(o.grid) > 0} {
		if given {
			n++
		}
	}
	if n != 1 {
		return usagef("say what the items are with exactly one of --each, --range, --each-line and --grid (see `gotong map --help`)")
	}
	switch {
	case len(o.each) > 0:
		return eachFile(o.each, r)
	case o.rng != "":
		return parseRange(o.rng, r.List)
	case o.lines != "":
		return a.eachLine(o.lines, r.List)
	}
	return parseGrid(o.grid, r.List)
}

// eachFile makes an item of every file that a glob matches.
func eachFile(globs []string, r *client.Record) error {
	seen := map[string]bool{}
	var paths []string
	for _, g := range globs {
		found, err := doublestar.FilepathGlob(g, doublestar.WithFilesOnly(), doublestar.WithFailOnIOErrors())
		if errors.Is(err, doublestar.ErrBadPattern) {
			return usagef("--each %q: not a pattern: write *, **, ?, [a-z] or {a,b}", g)
		}
		if err != nil {
			return usageError{fmt.Errorf("--each %q: %w", g, err)}
		}
		if len(found) == 0 {
			return usagef("--each %q matches no file%s", g, globHint(g))
		}
		for _, p := range found {
			abs, err := filepath.Abs(p)
			if err != nil {
				return err
			}
			if !seen[abs] {
				seen[abs] = true
				paths = append(paths, abs)
			}
		}
	}
	slices.Sort(paths)
	if len(paths) > work.MaxListEntries {
		return usagef("--each matches %d files: at most %d are items of one job", len(paths), work.MaxListEntries)
	}
	r.List.Source = work.SourceEach
	r.List.Each = make([]work.File, len(paths))
	for i, p := range paths {
		r.List.Each[i].Path = "in/" + filepath.Base(p)
		r.Files = append(r.Files, client.HostFile{Path: p}) // named later, in this order
	}
	return nil
}

// globHint helps with the commonest slip: a folder that is not there.
func globHint(g string) string {
	base, _ := doublestar.SplitPattern(filepath.ToSlash(g))
	if _, err := os.Stat(base); errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf(": there is no folder %s", base)
	}
	if !strings.ContainsAny(g, "*?[{") {
		return ": there is no such file"
	}
	return fmt.Sprintf(": look into %s, and quote the pattern", base)
}

var rangeForm = regexp.MustCompile(`^([0-9]+)(?:-([0-9]+))?$`)

func parseRange(s string, l *work.ItemList) error {
	m := rangeForm.FindStringSubmatch(s)
	if m == nil {
		return usagef("--range %q: write 1-240, both included", s)
	}
	lo, err1 := strconv.ParseUint(m[1], 10, 63)
	hi, err2 := lo, error(nil)
	if m[2] != "" {
		hi, err2 = strconv.ParseUint(m[2], 10, 63)
	}
	switch {
	case err1 != nil || err2 != nil:
		return usagef("--range %q: a number is too large", s)
	case hi < lo:
		return usagef("--range %q: it ends before it begins", s)
	case hi-lo >= work.MaxItems:
		return usagef("--range %q: a job has at most %d items", s, uint64(work.MaxItems))
	}
	l.Source, l.Range = work.SourceRange, work.Range{Lo: lo, Hi: hi + 1}
	return nil
}

func (a *app) eachLine(from string, l *work.ItemList) error {
	in := a.in
	if from != "-" {
		f, err := os.Open(from)
		if err != nil {
			return usageError{fmt.Errorf("--each-line: %w", err)}
		}
		defer f.Close()
		in = f
	}
	sc := bufio.NewScanner(io.LimitReader(in, maxLinesBytes+1))
	sc.Buffer(make([]byte, 64<<10), work.MaxArgBytes)
	size := 0
	for sc.Scan() {
		line := strings.TrimSuffix(sc.Text(), "\r")
		size += len(line) + 1
		switch {
		case line == "":
			continue
		case strings.ContainsRune(line, 0):
			return usagef("--each-line %s: line %d has a zero byte: it is no text file", from, len(l.Lines)+1)
		case len(l.Lines) == work.MaxListEntries || size > maxLinesBytes:
			return usagef("--each-line %s: more than %d lines or %s", from, work.MaxListEntries, formatBytes(maxLinesBytes))
		}
		l.Lines = append(l.Lines, line)
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return usagef("--each-line %s: line %d is longer than %s", from, len(l.Lines)+1, formatBytes(work.MaxArgBytes))
	}
	if sc.Err() != nil {
		return usageError{fmt.Errorf("--each-line %s: %w", from, sc.Err())}
	}
	if len(l.Lines) == 0 {
		return usagef("--each-line %s: it has no lines", from)
	}
	l.Source = work.SourceLines
	return nil
}

var axisName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func parseGrid(axes []string, l *work.ItemList) error {
	taken := []string{"i", "in", "out", "name", "stem", "line"}
	for _, g := range axes {
		name, values, ok := strings.Cut(g, "=")
		switch {
		case !ok || !axisName.MatchString(name):
			return usagef("--grid %q: write NAME=V1,V2,...", g)
		case slices.Contains(taken, name):
			return usagef("--grid %q: {%s} has a meaning already: choose another name", g, name)
		}
		taken = append(taken, name)
		l.Grid = append(l.Grid, work.Axis{Name: name, Values: strings.Split(values, ",")})
	}
	l.Source = work.SourceGrid
	return nil
}

// share adds the files that every item sees.
func (o *mapOptions) share(r *client.Record, program []sharedFile) error {
	own, err := sharedFiles(o.with)
	if err != nil {
		return err
	}
	for _, f := range append(own, program...) {
		if slices.ContainsFunc(r.List.Shared, func(x work.File) bool { return x.Path == f.Guest }) {
			continue // --with replaces a named program's own file
		}
		abs, err := filepath.Abs(f.Host)
		if err != nil {
			return err
		}
		r.List.Shared = append(r.List.Shared, work.File{Path: f.Guest})
		r.Files = append(r.Files, client.HostFile{Path: abs})
	}
	if o.stdin != "" {
		abs, err := filepath.Abs(o.stdin)
		if err != nil {
			return err
		}
		r.Files = append(r.Files, client.HostFile{Path: abs})
	}
	return nil
}

// outputs checks where outputs go.
func (o *mapOptions) outputs(r *client.Record) error {
	uses := func(t string) bool { return strings.Contains(t, "{out}") }
	inGuest := slices.ContainsFunc(r.List.Args, uses) || slices.ContainsFunc(r.List.Env, uses)
	if o.out == "" {
		if inGuest {
			return usagef("{out} is used and --out does not say where the outputs belong: give --out 'out/{i}'")
		}
		return nil
	}
	if uses(o.out) || strings.Contains(o.out, "{in}") {
		return usagef("--out %q: {in} and {out} are paths in the item's own folder; use {name}, {stem} or {i}", o.out)
	}
	if strings.HasSuffix(o.out, "/") {
		return usagef("--out %q names a folder: give a file, as %s{i}", o.out, o.out)
	}
	abs, err := filepath.Abs(o.out)
	if err != nil {
		return err
	}
	// Abs cleans: a template such as x/{name}/../y must not lose a placeholder.
	if slices.Contains(strings.Split(filepath.ToSlash(o.out), "/"), "..") {
		if at := strings.IndexByte(o.out, '{'); at >= 0 && strings.Contains(o.out[at:], "..") {
			return usagef("--out %q: .. after a placeholder leaves the item's folder", o.out)
		}
	}
	r.Out, r.Stdout = abs, !inGuest
	where := client.Outputs{Template: r.Out, Stdout: r.Stdout, List: r.List}
	if inGuest {
		r.List.Out = where.Guest()
	}
	if err := where.Check(); err != nil {
		return usageError{err}
	}
	return nil
}

// name computes the names of program and inputs, which reads every file once.
func (o *mapOptions) name(r *client.Record) error {
	var err error
	if r.Spec.Program, err = client.FileSource(r.Program).Name(); err != nil {
		return usageError{err}
	}
	targets := make([]*work.BlobID, 0, len(r.Files))
	if r.List.Source == work.SourceEach {
		for i := range r.List.Each {
			targets = append(targets, &r.List.Each[i].Blob)
		}
	}
	for i := range r.List.Shared {
		targets = append(targets, &r.List.Shared[i].Blob)
	}
	if o.stdin != "" {
		targets = append(targets, &r.List.Stdin)
	}
	for i := range r.Files {
		b, err := client.FileSource(r.Files[i].Path).Name()
		if err != nil {
			return usageError{fmt.Errorf("input %w", err)}
		}
		*targets[i], r.Files[i].Blob = b, b
	}
	slices.SortFunc(r.List.Shared, func(a, b work.File) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// blocksIn is how many blocks a time takes, at the pace of the last blocks.
func blocksIn(d, perBlock time.Duration) int64 {
	return int64(min(math.Ceil(float64(d)/float64(perBlock)), math.MaxInt32))
}
