package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/gotong-network/gotong/work"
)

// sharedFile is a file of this machine that items see.
type sharedFile struct {
	Host  string // its path here
	Guest string // its path in the item's folder
}

// sharedFiles reads --with specs: FILE, FILE:GUEST, DIR or DIR:GUEST. A file is
// seen under its base name, a folder's files under its base name and their paths
// below it, unless GUEST says where; GUEST "." puts a folder's files at the top.
func sharedFiles(specs []string) ([]sharedFile, error) {
	var out []sharedFile
	seen := map[string]string{} // guest path → host path
	for _, spec := range specs {
		fs, err := sharedSpec(spec)
		if err != nil {
			return nil, usageError{fmt.Errorf("--with %s: %w", spec, err)}
		}
		for _, f := range fs {
			if other, ok := seen[f.Guest]; ok {
				return nil, usagef("--with: %s and %s would both be seen as %q: give one another name with FILE:NAME", other, f.Host, f.Guest)
			}
			seen[f.Guest] = f.Host
			out = append(out, f)
		}
	}
	if len(out) >= work.MaxFiles {
		return nil, usagef("--with: %d shared files: an item sees fewer than %d; put them into an archive", len(out), work.MaxFiles)
	}
	return out, nil
}

func sharedSpec(spec string) ([]sharedFile, error) {
	host, guest := spec, ""
	info, err := os.Stat(host)
	if k := strings.LastIndexByte(spec, ':'); err != nil && k > 0 {
		host, guest = spec[:k], spec[k+1:]
		info, err = os.Stat(host)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no such file or folder")
	}
	if err != nil {
		return nil, err
	}
	if guest == "" {
		guest = filepath.Base(filepath.Clean(host))
	}
	if info.IsDir() {
		return sharedFolder(host, guest)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if err := work.CheckPath(guest); err != nil {
		return nil, err
	}
	return []sharedFile{{host, guest}}, nil
}

func sharedFolder(host, guest string) ([]sharedFile, error) {
	var out []sharedFile
	err := filepath.WalkDir(host, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(p) // follows links: a program that is shared sees contents
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(host, p)
		if err != nil {
			return err
		}
		g := path.Join(guest, filepath.ToSlash(rel))
		if err := work.CheckPath(g); err != nil {
			return err
		}
		if len(out) == work.MaxFiles {
			return fmt.Errorf("more than %d files: put them into an archive", work.MaxFiles)
		}
		out = append(out, sharedFile{p, g})
		return nil
	})
	return out, err
}
