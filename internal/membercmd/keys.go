package membercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
)

// maxBackupText bounds a backup's file.
const maxBackupText = 64 << 20

// ExportAll writes all that a member is into one encrypted file. exportFile, if not
// empty, holds its passphrase.
func ExportAll(ctx context.Context, e *Env, out, exportFile string) error {
	h, err := e.open()
	if err != nil {
		return err
	}
	if out != "" {
		if _, err := os.Lstat(out); err == nil {
			return usagef("--out %s exists: nothing is overwritten, choose another name", out)
		}
	}
	p, err := e.exportPassphrase(ctx, exportFile, true)
	if err != nil {
		return err
	}
	b, err := h.Backup(time.Now())
	if err != nil {
		return UsageError{err}
	}
	text, err := b.Seal(p)
	if err != nil {
		return err
	}
	if b.IsValidator() && h.Running() {
		fmt.Fprintln(e.Errw, "This validator is running: the copy's last vote is old at once. Stop it for good before the copy is started elsewhere.")
	}
	if out == "" {
		_, err := io.WriteString(e.Out, text)
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return usagef("--out: %w", err)
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Sync(), f.Close())
}

// ImportAll makes a home of what ExportAll wrote.
func ImportAll(ctx context.Context, e *Env, file, exportFile string) error {
	text, err := readText(e.In, file)
	if err != nil {
		return err
	}
	p, err := e.exportPassphrase(ctx, exportFile, false)
	if err != nil {
		return err
	}
	b, err := home.OpenBackup(text, p)
	if errors.Is(err, home.ErrBackup) {
		return UsageError{fmt.Errorf("%s: %w", file, err)}
	}
	if err != nil {
		return err
	}
	h, err := b.Restore(e.Home())
	if err != nil {
		return err
	}
	if b.IsValidator() {
		fmt.Fprintf(e.Errw, "BEWARE: this is a validator's home, of %s. If its old machine still runs, or ever runs again, both sign with one key and the\n"+
			"stake is slashed. Make sure that it is gone for good. `start` looks for it during a few blocks before it signs.\n", b.Made.Format(time.DateTime))
	}
	keys, err := h.Keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		fmt.Fprintf(e.Out, "%s  %s\n", k.Name, k.Address)
	}
	fmt.Fprintf(e.Errw, "%s is a member of %s again. Next: %s%s start\n", h.Dir(), h.Info().Chain, e.Program, e.homeFlag())
	return nil
}

// exportPassphrase reads the passphrase of a backup.
func (e *Env) exportPassphrase(ctx context.Context, file string, isNew bool) (string, error) {
	if file != "" {
		return ReadPassphrase(file)
	}
	return e.Passphrase(ctx, "Passphrase of the export: ", isNew)
}

func readText(in io.Reader, file string) (string, error) {
	r := in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", UsageError{err}
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxBackupText+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	if len(b) > maxBackupText {
		return "", usagef("%s is over %d MiB", file, maxBackupText>>20)
	}
	return string(b), nil
}

// NewKeys are the commands of keys for a program that only runs members: list,
// export and import of the whole home.
func NewKeys(e *Env) []*cobra.Command {
	var out, exportFile string
	list := noArgs("list", "List the keys of the home", func(context.Context) error {
		h, err := e.open()
		if err != nil {
			return err
		}
		keys, err := h.Keys()
		for _, k := range keys {
			fmt.Fprintf(e.Out, "%s  %s\n", k.Name, k.Address)
		}
		return err
	})
	export := noArgs("export", "Write all that this member is into one encrypted file", func(ctx context.Context) error {
		return ExportAll(ctx, e, out, exportFile)
	})
	export.Flags().StringVar(&out, "out", "", "new file to write to (default: stdout)")
	imp := &cobra.Command{Use: "import FILE", Short: "Make a home of an exported one; FILE - is stdin", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return ImportAll(c.Context(), e, args[0], exportFile) }}
	for _, c := range []*cobra.Command{export, imp} {
		c.Flags().StringVar(&exportFile, "export-passphrase-file", "", "file whose first line encrypts the export (default: --passphrase-file, or ask)")
	}
	return []*cobra.Command{list, export, imp}
}
