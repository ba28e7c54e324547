package wasm

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/work"
)

// The cache keeps one folder per program, named by its id, below a folder named
// by what compiled code depends on: the profile, the engine's version, the
// architecture and the CPU's features. In a program's folder are the rewritten
// module, the engine's own cache, and a seal with the hash of every file: what
// does not fit its seal is removed and made again.

const (
	rewrittenFile = "rewritten"
	sealFile      = "seal"
)

// errCorrupt reports a folder that does not fit its seal.
var errCorrupt = errors.New("cached program is damaged")

// cacheTag names the folder above the programs.
func cacheTag() string {
	features := work.Sum("gotong/cpu/1", fmt.Appendf(nil, "%+v %+v", cpu.X86, cpu.ARM64))
	name := fmt.Sprintf("%s-wazero-%s-%s-%s", gw1.Version, engineVersion(), goruntime.GOARCH, hex.EncodeToString(features[:4]))
	return strings.NewReplacer("/", "-", "\\", "-").Replace(name)
}

// engineVersion is the version of wazero that this binary was built with.
func engineVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, d := range info.Deps {
		if d.Path == "github.com/tetratelabs/wazero" {
			return d.Version
		}
	}
	return "unknown"
}

func writeRewritten(dir string, m *gw1.Module) error {
	if err := os.WriteFile(filepath.Join(dir, rewrittenFile), encodeModule(m), 0o600); err != nil {
		return fmt.Errorf("cache of rewritten modules: %w", err)
	}
	return nil
}

// seal writes the hashes of the folder's files, last and at once.
func seal(dir string) error {
	sum, err := hashFolder(dir)
	if err != nil {
		return fmt.Errorf("seal a cached program: %w", err)
	}
	tmp := filepath.Join(dir, sealFile+".tmp")
	if err := os.WriteFile(tmp, sum, 0o600); err != nil {
		return fmt.Errorf("seal a cached program: %w", err)
	}
	return os.Rename(tmp, filepath.Join(dir, sealFile))
}

// readSealed checks the folder and reads the rewritten module. Every error means
// that the folder is of no use.
func readSealed(dir string) (*gw1.Module, error) {
	info, err := os.Lstat(filepath.Join(dir, sealFile))
	if err == nil {
		err = checkCached(fs.FileInfoToDirEntry(info))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: seal: %w", errCorrupt, err)
	}
	want, err := os.ReadFile(filepath.Join(dir, sealFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	have, err := hashFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if !bytes.Equal(want, have) {
		return nil, fmt.Errorf("%w: a file does not fit its seal", errCorrupt)
	}
	b, err := os.ReadFile(filepath.Join(dir, rewrittenFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	m, err := decodeModule(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return m, nil
}

// maxCachedBytes bounds a file of the cache: machine code of the largest module is
// a fraction of it.
const maxCachedBytes = 2 << 30

// checkCached refuses what we never made, before anybody waits for a pipe, follows
// a link or reads a file without end.
func checkCached(d fs.DirEntry) error {
	if !d.Type().IsRegular() {
		return fmt.Errorf("no regular file (%v)", d.Type())
	}
	info, err := d.Info()
	if err == nil && info.Size() > maxCachedBytes {
		err = fmt.Errorf("%d bytes, at most %d are ours", info.Size(), maxCachedBytes)
	}
	return err
}

// hashFolder lists path, size and hash of every file but the seal.
func hashFolder(dir string) ([]byte, error) {
	var e work.Encoder
	e.String("gotong/cached/1")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == sealFile || rel == sealFile+".tmp" {
			return err
		}
		if err := checkCached(d); err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		e.String(filepath.ToSlash(rel))
		e.Blob(work.BlobOf(b))
		return nil
	})
	return e.Bytes(), err
}

// trimCache removes the programs that were used longest ago until the rest is
// within max bytes. keep is never removed.
func trimCache(dir, keep string, max int64) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	type program struct {
		path  string
		bytes int64
		used  int64
	}
	var all []program
	total := int64(0)
	for _, d := range list {
		p := program{path: filepath.Join(dir, d.Name())}
		if !d.IsDir() {
			continue
		}
		_ = filepath.WalkDir(p.path, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // it vanished: another process trims too
			}
			if info, err := d.Info(); err == nil {
				p.bytes += info.Size()
				if d.Name() == sealFile {
					p.used = info.ModTime().UnixNano()
				}
			}
			return nil
		})
		total += p.bytes
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b program) int { return cmp.Compare(a.used, b.used) })
	for _, p := range all {
		if total <= max {
			break
		}
		if p.path == keep {
			continue
		}
		if err := os.RemoveAll(p.path); err != nil {
			return err
		}
		total -= p.bytes
	}
	return nil
}
