package membercmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Ask reads a passphrase: from the first line of a file if one is named, else at the
// terminal, without showing what is typed; twice if it is a new one.
func Ask(ctx context.Context, in io.Reader, errw io.Writer, file, prompt string, isNew bool) (string, error) {
	if file != "" {
		return ReadPassphrase(file)
	}
	f := Terminal(in)
	if f == nil {
		return "", usagef("a passphrase is needed and there is no terminal to ask at: give --passphrase-file FILE")
	}
	p, err := askSecret(ctx, f, errw, prompt)
	if err != nil {
		return "", err
	}
	if p == "" {
		return "", usagef("the passphrase is empty: nothing was changed")
	}
	if isNew {
		again, err := askSecret(ctx, f, errw, "Again: ")
		if err != nil {
			return "", err
		}
		if again != p {
			return "", usagef("the passphrases differ: nothing was changed")
		}
	}
	return p, nil
}

// askSecret reads a line without showing it. When ctx ends first, the terminal
// shows again what is typed; the read stays behind until the process ends, for
// nothing else can take it back from the terminal.
func askSecret(ctx context.Context, f *os.File, errw io.Writer, prompt string) (string, error) {
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", fmt.Errorf("ask for the passphrase: %w", err)
	}
	fmt.Fprint(errw, prompt)
	defer fmt.Fprintln(errw)
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() {
		b, err := term.ReadPassword(int(f.Fd()))
		typed <- line{b, err}
	}()
	select {
	case l := <-typed:
		if l.err != nil {
			return "", fmt.Errorf("read the passphrase: %w", l.err)
		}
		return string(l.text), nil
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(int(f.Fd()), before))
	}
}

// Terminal is where a person can be asked; nil if there is none.
func Terminal(in io.Reader) *os.File {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// credentialFile is the name of the credential that systemd hands a unit.
const credentialFile = "gotong-passphrase"

// Credential is the passphrase file that systemd lends this process; empty without
// one.
func Credential() string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return ""
	}
	path := dir + "/" + credentialFile
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// ReadPassphrase reads the first line of a file.
func ReadPassphrase(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", usagef("passphrase file: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Scan()
	if err := sc.Err(); err != nil {
		return "", usagef("passphrase file %s: %w", path, err)
	}
	p := strings.TrimRight(sc.Text(), "\r")
	if p == "" {
		return "", usagef("the first line of the passphrase file %s is empty", path)
	}
	return p, nil
}
