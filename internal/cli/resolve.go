package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/work"
)

// namedProgram is home/programs/NAME/meta.json. The module lies beside it as
// program.wasm, the files below files/.
type namedProgram struct {
	Format int         `json:"format"`
	Name   string      `json:"name"`
	Module work.BlobID `json:"module"`
	Files  []namedFile `json:"files"` // every run of the program sees them
}

// namedFile is one shared file of a named program.
type namedFile struct {
	Guest string `json:"guest"` // path in the item's folder
	Bytes int64  `json:"bytes"`
	Kept  string `json:"kept"` // name below files/
}

const (
	programMeta   = "meta.json"
	programModule = "program.wasm"
	programFiles  = "files"
	programFormat = 1
)

var programNameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// resolveProgram finds a program by the name it was added under, or by its path,
// and checks that it can be one. Named programs come with files that every run
// sees.
func (a *app) resolveProgram(nameOrPath string) (path string, shared []sharedFile, err error) {
	if programNameForm.MatchString(nameOrPath) {
		p, err := a.readProgram(nameOrPath)
		if err == nil {
			dir := a.programDir(nameOrPath)
			for _, f := range p.Files {
				shared = append(shared, sharedFile{filepath.Join(dir, programFiles, f.Kept), f.Guest})
			}
			return filepath.Join(dir, programModule), shared, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", nil, err
		}
	}
	if err := checkModuleFile(nameOrPath); err != nil {
		return "", nil, err
	}
	return nameOrPath, nil, nil
}

func (a *app) programDir(name string) string { return filepath.Join(a.homeDir, "programs", name) }

// readProgram reads a named program and checks that its files are whole;
// fs.ErrNotExist if there is none.
func (a *app) readProgram(name string) (*namedProgram, error) {
	dir := a.programDir(name)
	b, err := os.ReadFile(filepath.Join(dir, programMeta))
	if err != nil {
		return nil, err
	}
	damaged := func(why any) error {
		return fmt.Errorf("program %q: %w: %v: remove it with `gotong program remove %s` and add it again", name, home.ErrDamaged, why, name)
	}
	var p namedProgram
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, damaged(err)
	}
	if p.Format != programFormat {
		return nil, fmt.Errorf("program %q: %w: its record has format %d, not %d", name, home.ErrVersion, p.Format, programFormat)
	}
	module, err := os.ReadFile(filepath.Join(dir, programModule))
	if err != nil || work.BlobOf(module) != p.Module {
		return nil, damaged(programModule + " is missing or is not what was added")
	}
	for _, f := range p.Files {
		info, err := os.Stat(filepath.Join(dir, programFiles, f.Kept))
		if err != nil || info.Size() != f.Bytes || work.CheckPath(f.Guest) != nil {
			return nil, damaged(f.Guest + " is missing or is not what was added")
		}
	}
	return &p, nil
}

// checkModuleFile reports a file that surely is no program, in words that say what
// it looks like instead. Whether the profile takes a module is decided when it is
// prepared.
func checkModuleFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint := ""
		if !strings.ContainsAny(path, "/.") {
			hint = "; `gotong program list` shows the named ones"
		}
		return usagef("program %s: no such file%s", path, hint)
	case err != nil:
		return usageError{fmt.Errorf("program: %w", err)}
	case info.IsDir():
		return usagef("program %s is a folder: name the .wasm file in it", path)
	case !info.Mode().IsRegular():
		return usagef("program %s is not a regular file", path)
	case info.Size() > gw1.MaxModuleBytes:
		return usagef("program %s has %d bytes: a program has at most %d; strip it, or ship data with --with", path, info.Size(), gw1.MaxModuleBytes)
	}
	f, err := os.Open(path)
	if err != nil {
		return usageError{fmt.Errorf("program: %w", err)}
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := f.Read(head)
	if n == 0 {
		return usagef("program %s is empty: want a WebAssembly module", path)
	}
	if err != nil {
		return usageError{fmt.Errorf("program: %w", err)}
	}
	if what := notModule(head[:n]); what != "" {
		return usagef("program %s is not a WebAssembly module: %s", path, what)
	}
	return nil
}

// notModule says what a file that begins with head is, if it is no core module.
func notModule(head []byte) string {
	const build = "build it for WASI preview 1 (Go: GOOS=wasip1 GOARCH=wasm; Rust: --target wasm32-wasip1; C: clang --target=wasm32-wasi)"
	starts := func(s string) bool { return bytes.HasPrefix(head, []byte(s)) }
	switch {
	case starts("\x00asm\x01\x00\x00\x00"):
		return ""
	case starts("\x00asm\x0d\x00\x01\x00"), starts("\x00asm") && len(head) >= 8 && head[6] == 1:
		return "it is a component (WASI preview 2): build a preview 1 command module instead, for example with --target wasm32-wasip1"
	case starts("\x00asm"):
		return fmt.Sprintf("it has WebAssembly version bytes % x, and version 1 is known", head[4:min(8, len(head))])
	case starts("\x7fELF"):
		return "it is a native Linux program (ELF): " + build
	case starts("MZ"):
		return "it is a native Windows program: " + build
	case starts("\xcf\xfa\xed\xfe"), starts("\xca\xfe\xba\xbe"):
		return "it is a native macOS program or a Java class: " + build
	case starts("#!"):
		line, _, _ := bytes.Cut(head, []byte("\n"))
		return fmt.Sprintf("it is a script (%q): give its interpreter as the program and the script with --with", clip(string(line), 60))
	case starts("\x1f\x8b"), starts("\x28\xb5\x2f\xfd"), starts("PK\x03\x04"), starts("BZh"), starts("\xfd7zXZ"):
		return "it is compressed or an archive: unpack it first"
	case starts("!<arch>"), starts("BC\xc0\xde"):
		return "it is a library or an object file: link it into a command module"
	case starts("(module"), starts("(component"):
		return "it is WebAssembly text: assemble it with wat2wasm first"
	case isText(head):
		return "it is text: a program is compiled; give an interpreter as the program and the text with --with"
	}
	return fmt.Sprintf("it begins with % x: %s", head[:min(8, len(head))], build)
}

func isText(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// clip keeps other people's text in a message short.
func clip(s string, max int) string {
	if len(s) > max {
		return s[:max] + "…"
	}
	return s
}
