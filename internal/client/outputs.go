package client

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gotong-network/gotong/work"
)

// ErrTemplate reports a template of output paths that cannot work.
var ErrTemplate = errors.New("output template")

// Provisional is added to the names of outputs that are not verified yet.
const Provisional = ".provisional"

var placeholder = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\}`)

// Outputs says where on this machine the outputs of a list's items belong.
type Outputs struct {
	Template string // host path with placeholders; absolute
	Stdout   bool   // an item's output is its stdout
	List     *work.ItemList
}

// Names are the placeholders that a list's items have, sorted.
func Names(l *work.ItemList) []string {
	v, err := l.Vars(0)
	if err != nil {
		return nil
	}
	var names []string
	for n := range v {
		if n != "in" { // a path inside the item's folder
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// Check reports a template with unknown placeholders, one that leaves its folder
// for some item, or that gives two items one path.
func (o Outputs) Check() error {
	names := Names(o.List)
	used := placeholder.FindAllString(o.Template, -1)
	for _, p := range used {
		if !slices.Contains(names, p[1:len(p)-1]) {
			return fmt.Errorf("%w %s: unknown placeholder %s; these items have {%s}", ErrTemplate, o.Template, p, strings.Join(names, "} {"))
		}
	}
	if strings.HasSuffix(o.Template, "/") || strings.HasSuffix(o.Template, Provisional) {
		return fmt.Errorf("%w %s: it must name a file, which does not end in %s", ErrTemplate, o.Template, Provisional)
	}
	n := o.List.Len()
	if len(used) == 0 && n > 1 {
		return fmt.Errorf("%w %s: items 0 and 1 would write the same file: use a placeholder, one of {%s}", ErrTemplate, o.Template, strings.Join(names, "} {"))
	}
	if len(used) == 1 && used[0] == "{i}" {
		return nil // numbers differ, and are no paths
	}
	seen := make(map[string]uint64, min(n, 1<<20))
	for i := range n {
		p, err := o.Path(i)
		if err != nil {
			return err
		}
		if k, ok := seen[p]; ok {
			return fmt.Errorf("%w %s: items %s and %s would both write %s: add {i} or another placeholder that tells them apart",
				ErrTemplate, o.Template, Label(o.List, k), Label(o.List, i), p)
		}
		seen[p] = i
	}
	return nil
}

// Path is where item i's output belongs.
func (o Outputs) Path(i uint64) (string, error) {
	v, err := o.List.Vars(i)
	if err != nil {
		return "", err
	}
	delete(v, "in")
	p := filepath.Clean(work.Expand(o.Template, v))
	if strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("%w %s: item %s: its value has a zero byte", ErrTemplate, o.Template, Label(o.List, i))
	}
	folder := o.Folder()
	if rel, err := filepath.Rel(folder, p); err != nil || rel == "." || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%w %s: item %s would write %s, which is outside of %s", ErrTemplate, o.Template, Label(o.List, i), p, folder)
	}
	return p, nil
}

// Folder is the template's part before its first placeholder, as a folder.
func (o Outputs) Folder() string {
	fixed := o.Template
	if at := placeholder.FindStringIndex(fixed); at != nil {
		fixed = fixed[:at[0]]
	}
	return filepath.Clean(fixed[:strings.LastIndexByte(fixed, '/')+1] + ".")
}

// Guest is the template's last part: what the output file is called in an item's
// own folder, below out/.
func (o Outputs) Guest() string { return o.Template[strings.LastIndexByte(o.Template, '/')+1:] }

// ErrNoOutput reports an item that ended well and left no output file.
var ErrNoOutput = errors.New("the program wrote no output file")

// Blob is the blob that belongs at Path(r.Index).
func (o Outputs) Blob(r *work.Result) (work.BlobID, error) {
	if o.Stdout {
		return r.Output.Stdout, nil
	}
	v, err := o.List.Vars(r.Index)
	if err != nil {
		return work.BlobID{}, err
	}
	want := "out/" + work.Expand(o.List.Out, v)
	for _, f := range r.Output.Files {
		if f.Path == want {
			return f.Blob, nil
		}
	}
	return work.BlobID{}, fmt.Errorf("%w %s ({out}): it has %d others; `gotong get --all` fetches them", ErrNoOutput, want, len(r.Output.Files))
}

// Write puts a result's output where it belongs, as a whole or not at all. The
// names of provisional ones say so; a verified one replaces it.
func (o Outputs) Write(r *work.Result, open Opener, provisional bool) error {
	b, err := o.Blob(r)
	if err != nil {
		return err
	}
	path, err := o.Path(r.Index)
	if err != nil {
		return err
	}
	if provisional {
		return WriteBlob(path+Provisional, b, open)
	}
	if err := WriteBlob(path, b, open); err != nil {
		return err
	}
	if err := os.Remove(path + Provisional); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Present reports whether a result's output is where it belongs already.
func (o Outputs) Present(r *work.Result) bool {
	b, err := o.Blob(r)
	if err != nil {
		return false
	}
	path, err := o.Path(r.Index)
	if err != nil {
		return false
	}
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || uint64(info.Size()) != b.Size {
		return false
	}
	got, err := FileSource(path).Name()
	return err == nil && got == b
}

// WriteBlob writes one blob to a file, as a whole or not at all.
func WriteBlob(path string, b work.BlobID, open Opener) error {
	r, err := open(b)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return replaceFile(path, r, 0o644)
}

// Label is the number that users know item i by: its {i}.
func Label(l *work.ItemList, i uint64) string {
	if l.Source == work.SourceRange {
		return fmt.Sprint(l.Range.Lo + l.Base(i))
	}
	return fmt.Sprint(l.Base(i))
}

// ItemOf finds the item of a list that users know as label; work.ErrItem if the
// list has none.
func ItemOf(l *work.ItemList, label uint64) (uint64, error) {
	base := label
	if l.Source == work.SourceRange {
		if label < l.Range.Lo {
			base = math.MaxUint64
		} else {
			base -= l.Range.Lo
		}
	}
	i, ok := base, base < l.Len()
	if len(l.Pick) > 0 {
		i, ok = l.Pick.Position(base)
	}
	if !ok {
		return 0, fmt.Errorf("item %d: %w in this job: its %d items are %s to %s", label, work.ErrItem, l.Len(), Label(l, 0), Label(l, l.Len()-1))
	}
	return i, nil
}
