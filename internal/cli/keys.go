package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/membercmd"
)

// maxKeyFileBytes bounds an imported key: an exported one has a few hundred.
const maxKeyFileBytes = 64 << 10

func newKeysCommand(a *app) *cobra.Command {
	return newGroup("keys", "Keep account keys",
		newKeysAddCommand(a), newKeysListCommand(a), newKeysShowCommand(a), newKeysExportCommand(a), newKeysImportCommand(a))
}

type keysAddOptions struct {
	plain bool
	json  bool
}

func newKeysAddCommand(a *app) *cobra.Command {
	var o keysAddOptions
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a new account key",
		Long: "Make a new account key and keep it encrypted with a passphrase, which is asked for or\n" +
			"read from --passphrase-file. There is no way to recover a lost key or passphrase:\n" +
			"make a copy with `gotong keys export`.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runKeysAdd(c.Context(), a, o, args[0]) },
	}
	c.Flags().BoolVar(&o.plain, "plain", false, "keep it unencrypted; only in the home of a local or private network")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func runKeysAdd(ctx context.Context, a *app, o keysAddOptions, name string) error {
	h, err := home.Open(a.homeDir)
	if err != nil {
		return err
	}
	k, err := home.NewKey(name)
	if err != nil {
		return usageError{err}
	}
	return a.keepKey(ctx, h, k, o.plain, o.json)
}

// keepKey asks for the passphrase, keeps a key that the home does not have, and
// shows it.
func (a *app) keepKey(ctx context.Context, h *home.Home, k *home.Key, plain, asJSON bool) error {
	if _, err := os.Lstat(h.Path("keys", k.Name+".json")); err == nil {
		return fmt.Errorf("key %q: %w: choose another name", k.Name, home.ErrExists)
	}
	local := h.PlainKeys()
	switch {
	case plain && !local:
		return usagef("--plain: keys are kept unencrypted only in homes of local and private networks")
	case plain && a.passphraseFile != "":
		return usagef("--plain and --passphrase-file contradict each other: give one of them")
	case local && a.passphraseFile == "" && a.terminal() == nil:
		plain = true // scripts on a local network, whose other keys are plain too
	}
	passphrase := ""
	if plain {
		fmt.Fprintln(a.errw, "The key is kept unencrypted: use it in this network of play money only. --passphrase-file encrypts it.")
	} else {
		var err error
		if passphrase, err = a.passphrase(ctx, "New passphrase for key "+k.Name+": ", true); err != nil {
			return err
		}
	}
	if err := h.SaveKey(k, passphrase); err != nil {
		return err
	}
	return a.showKey(home.KeyInfo{Name: k.Name, Address: k.Address, Encrypted: !plain}, asJSON)
}

func (a *app) showKey(k home.KeyInfo, asJSON bool) error {
	if asJSON {
		return a.printJSON(k)
	}
	_, err := fmt.Fprintf(a.out, "%s  %s\n", k.Name, k.Address)
	return err
}

func newKeysListCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the keys of the home",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runKeysList(a, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runKeysList(a *app, asJSON bool) error {
	h, err := home.Open(a.homeDir)
	if err != nil {
		return err
	}
	keys, err := h.Keys()
	if err != nil {
		return err
	}
	if asJSON {
		if keys == nil {
			keys = []home.KeyInfo{}
		}
		return a.printJSON(keys)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tADDRESS\tKEPT")
	for _, k := range keys {
		kept := "encrypted"
		if !k.Encrypted {
			kept = "plain"
		}
		if k.Name == h.Info().Key {
			kept += ", default"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", k.Name, k.Address, kept)
	}
	return w.Flush()
}

func newKeysShowCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show a key's address (default: the key in use)",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := a.keyName
			if len(args) == 1 {
				name = args[0]
			}
			return runKeysShow(a, asJSON, name)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runKeysShow(a *app, asJSON bool, name string) error {
	h, err := home.Open(a.homeDir)
	if err != nil {
		return err
	}
	k, err := keyInfo(h, name)
	if err != nil {
		return err
	}
	return a.showKey(k, asJSON)
}

// keyInfo finds a key without opening it; an empty name is the default key.
func keyInfo(h *home.Home, name string) (home.KeyInfo, error) {
	if name == "" {
		name = h.Info().Key
	}
	keys, err := h.Keys()
	if err != nil {
		return home.KeyInfo{}, err
	}
	for _, k := range keys {
		if k.Name == name {
			return k, nil
		}
	}
	return home.KeyInfo{}, fmt.Errorf("key %q: %w: `gotong keys list` shows what there is", clip(name, 64), home.ErrNoKey)
}

type keysExportOptions struct {
	exportFile string
	outFile    string
	all        bool
}

func newKeysExportCommand(a *app) *cobra.Command {
	var o keysExportOptions
	c := &cobra.Command{
		Use:   "export NAME | --all",
		Short: "Print a key, encrypted with a passphrase, for another machine or as a copy",
		Long: "Print a key as text that is encrypted (age, scrypt) with a passphrase of its own. Give\n" +
			"it to `gotong keys import` elsewhere. An encrypted key is opened with its own\n" +
			"passphrase first, which --passphrase-file may give.\n" +
			"--all takes all that a member is: accounts, the peer's key, a validator's keys with its\n" +
			"last vote, and where the network is. `gotong keys import --all` makes it a home again.",
		Args: func(c *cobra.Command, args []string) error { return oneOrAll(o.all, args, 1) },
		RunE: func(c *cobra.Command, args []string) error {
			if o.all {
				return membercmd.ExportAll(c.Context(), a.memberEnv(), o.outFile, o.exportFile)
			}
			return runKeysExport(c.Context(), a, o, args[0])
		},
	}
	c.Flags().BoolVar(&o.all, "all", false, "all keys of a member's home, in one file")
	c.Flags().StringVar(&o.exportFile, "export-passphrase-file", "", "file whose first line encrypts the export (default: --passphrase-file, or ask)")
	c.Flags().StringVar(&o.outFile, "out", "", "new file to write to (default: stdout)")
	return c
}

func runKeysExport(ctx context.Context, a *app, o keysExportOptions, name string) error {
	h, err := home.Open(a.homeDir)
	if err != nil {
		return err
	}
	if o.outFile != "" { // said before passphrases are asked for; O_EXCL below decides
		if _, err := os.Lstat(o.outFile); err == nil {
			return usagef("--out %s exists: nothing is overwritten, choose another name", o.outFile)
		}
	}
	a.keyName = name
	k, err := a.loadKey(ctx, h)
	if err != nil {
		return err
	}
	if o.exportFile != "" {
		a.passphraseFile = o.exportFile
	}
	p, err := a.passphrase(ctx, "Passphrase of the export: ", true)
	if err != nil {
		return err
	}
	text, err := home.ExportKey(k, p)
	if err != nil {
		return err
	}
	if o.outFile == "" {
		_, err := io.WriteString(a.out, text)
		return err
	}
	f, err := os.OpenFile(o.outFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return usageError{fmt.Errorf("--out: %w", err)}
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

// oneOrAll demands a command's arguments, one less with --all.
func oneOrAll(all bool, args []string, n int) error {
	if all {
		n--
	}
	if len(args) != n {
		return fmt.Errorf("accepts %d arg(s), received %d", n, len(args))
	}
	return nil
}

type keysImportOptions struct {
	all        bool
	exportFile string
	plain      bool
	json       bool
}

func newKeysImportCommand(a *app) *cobra.Command {
	var o keysImportOptions
	c := &cobra.Command{
		Use:   "import NAME FILE | --all FILE",
		Short: "Take in an exported key, or a whole member's home; FILE - is stdin",
		Args:  func(c *cobra.Command, args []string) error { return oneOrAll(o.all, args, 2) },
		RunE: func(c *cobra.Command, args []string) error {
			if o.all {
				return membercmd.ImportAll(c.Context(), a.memberEnv(), args[0], o.exportFile)
			}
			return runKeysImport(c.Context(), a, o, args[0], args[1])
		},
	}
	c.Flags().BoolVar(&o.all, "all", false, "make a home of what `keys export --all` wrote")
	c.Flags().StringVar(&o.exportFile, "export-passphrase-file", "", "file whose first line opens the export (default: --passphrase-file, or ask)")
	c.Flags().BoolVar(&o.plain, "plain", false, "keep it unencrypted; only in the home of a local or private network")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func runKeysImport(ctx context.Context, a *app, o keysImportOptions, name, file string) error {
	h, err := home.Open(a.homeDir)
	if err != nil {
		return err
	}
	text, err := a.readInput(file, maxKeyFileBytes)
	if err != nil {
		return err
	}
	own := a.passphraseFile
	if o.exportFile != "" {
		a.passphraseFile = o.exportFile
	}
	p, err := a.passphrase(ctx, "Passphrase of the export: ", false)
	if err != nil {
		return err
	}
	a.passphraseFile = own
	k, err := home.ImportKey(name, string(text), p)
	if err != nil {
		return usageError{fmt.Errorf("import %s: %w", file, err)}
	}
	return a.keepKey(ctx, h, k, o.plain, o.json)
}

// readInput reads a small file; - is stdin.
func (a *app) readInput(file string, max int64) ([]byte, error) {
	r := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usageError{err}
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if int64(len(b)) > max {
		return nil, usagef("%s is over %s", file, formatBytes(uint64(max)))
	}
	return b, nil
}
