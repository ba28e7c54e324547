package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/work"
)

func newProgramCommand(a *app) *cobra.Command {
	return newGroup("program", "Keep programs under a name",
		newProgramAddCommand(a), newProgramListCommand(a), newProgramShowCommand(a), newProgramRemoveCommand(a))
}

type programAddOptions struct {
	name string
	with []string
}

func newProgramAddCommand(a *app) *cobra.Command {
	var o programAddOptions
	c := &cobra.Command{
		Use:   "add FILE.wasm",
		Short: "Keep a program, and files it always needs, under a name",
		Long: "Copy a program into the home, so that its name can stand wherever a .wasm file can.\n" +
			"Files and folders of --with are kept with it: every run of the program sees them.",
		Example: "  gotong program add python.wasm --name python\n" +
			"  gotong run --with script.py python script.py",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runProgramAdd(a, o, args[0]) },
	}
	c.Flags().StringVar(&o.name, "name", "", "name of the program (default: the file's, without .wasm)")
	c.Flags().StringArrayVar(&o.with, "with", nil, "file or folder that every run sees, as PATH or PATH:NAME (repeatable)")
	return c
}

func runProgramAdd(a *app, o programAddOptions, file string) error {
	if o.name == "" {
		o.name = strings.TrimSuffix(filepath.Base(file), ".wasm")
	}
	if !programNameForm.MatchString(o.name) || strings.HasSuffix(o.name, ".wasm") {
		return usagef("program name %q: use letters, digits, ., - and _, at most 64, not ending in .wasm; choose one with --name", o.name)
	}
	dir := a.programDir(o.name)
	if _, err := os.Lstat(dir); err == nil {
		return usagef("a program %q is kept already: remove it first with `gotong program remove %s`, or choose another --name", o.name, o.name)
	}
	if err := checkModuleFile(file); err != nil {
		return err
	}
	module, err := os.ReadFile(file)
	if err != nil {
		return usageError{err}
	}
	if _, err := gw1.Rewrite(module, gw1.Options{}); err != nil {
		var no *gw1.Refusal
		if errors.As(err, &no) {
			return usageError{fmt.Errorf("%s: %w", file, err)}
		}
		return err
	}
	shared, err := sharedFiles(o.with)
	if err != nil {
		return err
	}
	if err := a.keepProgram(o.name, module, shared); err != nil {
		return fmt.Errorf("keep program %q: %w", o.name, err)
	}
	fmt.Fprintf(a.errw, "Kept %s as %q (%s, %d file(s) with it).\n", file, o.name, formatBytes(uint64(len(module))), len(shared))
	return nil
}

// keepProgram writes the program's folder aside and gives it its name at the end,
// so that a program is there wholly or not at all.
func (a *app) keepProgram(name string, module []byte, shared []sharedFile) error {
	all := filepath.Dir(a.programDir(name))
	if err := os.MkdirAll(all, 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(all, ".adding-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // gone after the rename
	p := namedProgram{Format: programFormat, Name: name, Module: work.BlobOf(module), Files: []namedFile{}}
	if err := os.MkdirAll(filepath.Join(tmp, programFiles), 0o700); err != nil {
		return err
	}
	for i, f := range shared {
		kept := strconv.Itoa(i)
		n, err := copyFile(filepath.Join(tmp, programFiles, kept), f.Host)
		if err != nil {
			return err
		}
		p.Files = append(p.Files, namedFile{f.Guest, n, kept})
	}
	if err := home.WriteFile(filepath.Join(tmp, programModule), module, 0o600); err != nil {
		return err
	}
	meta, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := home.WriteFile(filepath.Join(tmp, programMeta), append(meta, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, a.programDir(name))
}

func copyFile(to, from string) (int64, error) {
	src, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(dst, src)
	return n, errors.Join(err, dst.Close())
}

// programs are the named programs, by name.
func (a *app) programs() ([]*namedProgram, error) {
	es, err := os.ReadDir(filepath.Join(a.homeDir, "programs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := []*namedProgram{}
	for _, e := range es {
		if !programNameForm.MatchString(e.Name()) {
			continue // being added, or not ours
		}
		p, err := a.readProgram(e.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func newProgramListCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the kept programs",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runProgramList(a, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runProgramList(a *app, asJSON bool) error {
	ps, err := a.programs()
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(ps)
	}
	if len(ps) == 0 {
		fmt.Fprintln(a.errw, "No programs are kept: add one with `gotong program add FILE.wasm --name NAME`.")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSIZE\tFILES\tDIGEST")
	for _, p := range ps {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", p.Name, formatBytes(p.Module.Size), len(p.Files), p.Module.Root.Short())
	}
	return w.Flush()
}

func newProgramShowCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a kept program and its files",
		Args:  cobra.ExactArgs(1),

		ValidArgsFunction: a.completeProgram,
		RunE:              func(_ *cobra.Command, args []string) error { return runProgramShow(a, asJSON, args[0]) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runProgramShow(a *app, asJSON bool, name string) error {
	p, err := a.knownProgram(name)
	if err != nil {
		return err
	}
	id := work.Program(p.Module, gw1.Version)
	if asJSON {
		return a.printJSON(struct {
			*namedProgram
			Program work.ProgramID `json:"program"`
			Profile string         `json:"profile"`
			Path    string         `json:"path"`
		}{p, id, gw1.Version, filepath.Join(a.programDir(name), programModule)})
	}
	fmt.Fprintf(a.out, "name     %s\nmodule   %s\nprogram  %s (profile %s)\nkept in  %s\n", p.Name, p.Module, id, gw1.Version, a.programDir(name))
	files := slices.Clone(p.Files)
	slices.SortFunc(files, func(x, y namedFile) int { return strings.Compare(x.Guest, y.Guest) })
	for _, f := range files {
		fmt.Fprintf(a.out, "file     %s (%s)\n", f.Guest, formatBytes(uint64(f.Bytes)))
	}
	return nil
}

// knownProgram is readProgram in the user's words.
func (a *app) knownProgram(name string) (*namedProgram, error) {
	if programNameForm.MatchString(name) {
		p, err := a.readProgram(name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	return nil, usagef("no program %q is kept: `gotong program list` shows what there is", clip(name, 64))
}

func newProgramRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a kept program",
		Args:  cobra.ExactArgs(1),

		ValidArgsFunction: a.completeProgram,
		RunE:              func(_ *cobra.Command, args []string) error { return runProgramRemove(a, args[0]) },
	}
}

// runProgramRemove also removes damaged programs.
func runProgramRemove(a *app, name string) error {
	dir := a.programDir(name)
	if _, err := os.Lstat(dir); !programNameForm.MatchString(name) || err != nil {
		_, err := a.knownProgram(name)
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove program %q: %w", name, err)
	}
	fmt.Fprintf(a.errw, "Removed %q.\n", name)
	return nil
}
