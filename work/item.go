package work

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Bounds of an item and of an item list; a list over them is malformed.
const (
	MaxItems       = 1 << 32 // items of one job
	MaxArgs        = 4096    // arguments, or variables, of one item
	MaxArgBytes    = 64 << 10
	MaxFiles       = 4096 // files that one item sees
	MaxPathBytes   = 1024
	MaxAxes        = 16
	MaxListEntries = 1 << 24 // explicit entries (files, lines, values) of one list
)

// Limits bound one item of a job. Fuel and bytes are exact and deterministic.
type Limits struct {
	MemoryBytes uint64 `json:"memory_bytes"` // linear memory
	Fuel        Fuel   `json:"fuel"`
	OutputBytes uint64 `json:"output_bytes"` // stdout + stderr + output files
}

func (l Limits) encode(e *Encoder) {
	e.U64(l.MemoryBytes)
	e.U64(uint64(l.Fuel))
	e.U64(l.OutputBytes)
}

func decodeLimits(d *Decoder) Limits { return Limits{d.U64(), Fuel(d.U64()), d.U64()} }

// File is a blob at a path of the item's own folder: slash-separated, relative,
// clean.
type File struct {
	Path string `json:"path"`
	Blob BlobID `json:"blob"`
}

// ErrPath reports a guest path that is empty, absolute, unclean or leaves the
// item's folder.
var ErrPath = errors.New("path must be relative, clean and inside the item's folder")

// CheckPath reports ErrPath for a path that is not a guest path.
func CheckPath(p string) error {
	if p == "" || len(p) > MaxPathBytes || p[0] == '/' || path.Clean(p) != p || p == "." || p == ".." ||
		strings.HasPrefix(p, "../") || strings.ContainsAny(p, "\\\x00") {
		return fmt.Errorf("%q: %w", clip(p), ErrPath)
	}
	return nil
}

// Item is one run of the program: what it is given. The program, the limits and
// the seed are the job's.
type Item struct {
	Args  []string `json:"args"`  // without the program's own name
	Env   []string `json:"env"`   // K=V, sorted
	Stdin BlobID   `json:"stdin"` // zero: empty
	Files []File   `json:"files"` // sorted by path
}

// InputDigest is what an item *is*: two items with one digest give one leaf, on
// any machine, so a result may be used again under it.
func (it *Item) InputDigest(p ProgramID, l Limits, seed uint64) Hash {
	e := Encoder{make([]byte, 0, 256)} // most items fit: no allocation
	e.Hash(p)
	l.encode(&e)
	e.U64(seed)
	e.Strings(it.Args)
	e.Strings(it.Env)
	e.Blob(it.Stdin)
	encodeFiles(&e, it.Files)
	return Sum("gotong/input/1", e.Bytes())
}

func encodeFiles(e *Encoder, fs []File) {
	e.U32(uint32(len(fs)))
	for _, f := range fs {
		e.String(f.Path)
		e.Blob(f.Blob)
	}
}

func decodeFiles(d *Decoder, max int) []File {
	n := d.Count(max, 4+40)
	if n == 0 {
		return nil
	}
	fs := make([]File, 0, n)
	for range n {
		f := File{d.String(MaxPathBytes), d.Blob()}
		if d.Err() == nil && CheckPath(f.Path) != nil {
			d.fail("a file's path leaves its folder")
		}
		fs = append(fs, f)
	}
	return fs
}

// Source says how an ItemList makes its items.
type Source uint8

// The sources.
const (
	SourceRange Source = iota + 1 // {i} counts from Range.Lo
	SourceEach                    // one item per file: {in} {name} {stem}
	SourceLines                   // one item per line: {line}
	SourceGrid                    // every combination of the axes' values, last axis fastest
)

// Axis is one named parameter of a grid.
type Axis struct {
	Name   string
	Values []string
}

// ItemList is the whole input of a job in a form that is small for regular jobs
// (a million numbered items take a hundred bytes) and expands to the same items
// everywhere. Known placeholders in Args and Env are replaced ({i}, {in},
// {name}, {stem}, {line}, {out} and the axes' names); other braces stay as they
// are, so that JSON can be passed.
type ItemList struct {
	Args   []string
	Env    []string
	Stdin  BlobID // every item's stdin; zero: empty
	Shared []File // files that every item sees
	Out    string // template of the output file's name below out/; empty: none

	Source Source
	Range  Range    // SourceRange
	Each   []File   // SourceEach: guest paths, each seen by its own item only
	Lines  []string // SourceLines
	Grid   []Axis   // SourceGrid

	// Pick, if not empty, keeps only these of the source's items: item k of the
	// list is the source's item Pick.At(k). So a job can ask for what is missing.
	Pick RangeSet
}

// ErrItem reports an item number that the list does not have.
var ErrItem = errors.New("no such item")

// Len is the number of items.
func (l *ItemList) Len() uint64 {
	if len(l.Pick) > 0 {
		return l.Pick.Len()
	}
	return l.sourceLen()
}

// Base is the number of item i in the source; i must be below Len.
func (l *ItemList) Base(i uint64) uint64 {
	if len(l.Pick) > 0 {
		return l.Pick.At(i)
	}
	return i
}

func (l *ItemList) sourceLen() uint64 {
	switch l.Source {
	case SourceRange:
		return l.Range.Len()
	case SourceEach:
		return uint64(len(l.Each))
	case SourceLines:
		return uint64(len(l.Lines))
	case SourceGrid:
		n := uint64(1)
		for _, a := range l.Grid {
			n *= uint64(len(a.Values)) // Validate bounds the product
		}
		return n
	}
	return 0
}

// Validate reports what is wrong with the list, in the user's words.
func (l *ItemList) Validate() error {
	switch l.Source {
	case SourceRange:
		if l.Range.Lo >= l.Range.Hi {
			return fmt.Errorf("range %d-%d has no items", l.Range.Lo, l.Range.Hi)
		}
	case SourceEach, SourceLines:
	case SourceGrid:
		if len(l.Grid) == 0 || len(l.Grid) > MaxAxes {
			return fmt.Errorf("a grid of %d axes: want 1 to %d", len(l.Grid), MaxAxes)
		}
		n := uint64(1)
		for _, a := range l.Grid {
			if a.Name == "" || len(a.Values) == 0 {
				return fmt.Errorf("grid axis %q has no values", a.Name)
			}
			if n *= uint64(len(a.Values)); n > MaxItems {
				return fmt.Errorf("the grid has more than %d items", uint64(MaxItems))
			}
		}
	default:
		return fmt.Errorf("%w: unknown source of items %d", ErrMalformed, l.Source)
	}
	n := l.sourceLen()
	if n == 0 || n > MaxItems {
		return fmt.Errorf("%d items: want 1 to %d", n, uint64(MaxItems))
	}
	if err := l.Pick.Validate(); err != nil {
		return err
	}
	if k := len(l.Pick); k > 0 && l.Pick[k-1].Hi > n {
		return fmt.Errorf("picked item %d of %d: %w", l.Pick[k-1].Hi-1, n, ErrItem)
	}
	if len(l.Args) > MaxArgs || len(l.Env) > MaxArgs || len(l.Shared) >= MaxFiles {
		return errors.New("too many arguments, variables or shared files")
	}
	for _, fs := range [][]File{l.Shared, l.Each} {
		for _, f := range fs {
			if err := CheckPath(f.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// Vars are the placeholders of item i, without {out}.
func (l *ItemList) Vars(i uint64) (map[string]string, error) {
	if i >= l.Len() {
		return nil, fmt.Errorf("item %d of %d: %w", i, l.Len(), ErrItem)
	}
	i = l.Base(i)
	n := i
	if l.Source == SourceRange {
		n += l.Range.Lo
	}
	v := map[string]string{"i": strconv.FormatUint(n, 10)}
	switch l.Source {
	case SourceEach:
		p := l.Each[i].Path
		v["in"], v["name"] = p, path.Base(p)
		v["stem"] = strings.TrimSuffix(v["name"], path.Ext(v["name"]))
	case SourceLines:
		v["line"] = l.Lines[i]
	case SourceGrid:
		for k := len(l.Grid) - 1; k >= 0; k-- {
			a := l.Grid[k]
			v[a.Name] = a.Values[i%uint64(len(a.Values))]
			i /= uint64(len(a.Values))
		}
	}
	return v, nil
}

// Item expands item i. A template that leaves the item's folder is an error.
func (l *ItemList) Item(i uint64) (*Item, error) {
	v, err := l.Vars(i)
	if err != nil {
		return nil, err
	}
	if l.Out != "" {
		out := "out/" + Expand(l.Out, v)
		if err := CheckPath(out); err != nil {
			return nil, fmt.Errorf("item %d: output name: %w", i, err)
		}
		v["out"] = out
	}
	it := &Item{Stdin: l.Stdin, Files: append([]File(nil), l.Shared...)}
	it.Args, it.Env = slices.Grow(it.Args, len(l.Args)), slices.Grow(it.Env, len(l.Env))
	for _, a := range l.Args {
		it.Args = append(it.Args, Expand(a, v))
	}
	for _, e := range l.Env {
		it.Env = append(it.Env, Expand(e, v))
	}
	slices.Sort(it.Env)
	if l.Source == SourceEach {
		it.Files = append(it.Files, l.Each[l.Base(i)])
	}
	slices.SortFunc(it.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for k := 1; k < len(it.Files); k++ {
		if it.Files[k].Path == it.Files[k-1].Path {
			return nil, fmt.Errorf("item %d: two files at %q", i, it.Files[k].Path)
		}
	}
	return it, nil
}

// Blobs are the blobs that items in r need, each once, in no order.
func (l *ItemList) Blobs(r Range) []BlobID {
	seen := map[BlobID]bool{}
	add := func(b BlobID) {
		if !b.IsZero() {
			seen[b] = true
		}
	}
	add(l.Stdin)
	for _, f := range l.Shared {
		add(f.Blob)
	}
	if l.Source == SourceEach {
		for i := r.Lo; i < min(r.Hi, l.Len()); i++ {
			add(l.Each[l.Base(i)].Blob)
		}
	}
	out := make([]BlobID, 0, len(seen))
	for b := range seen {
		out = append(out, b)
	}
	return out
}

// Expand replaces {name} for the names in v and leaves everything else alone.
func Expand(t string, v map[string]string) string {
	if !strings.Contains(t, "{") {
		return t
	}
	var b strings.Builder
	for {
		k := strings.IndexByte(t, '{')
		if k < 0 {
			return b.String() + t
		}
		b.WriteString(t[:k])
		t = t[k:]
		if e := strings.IndexByte(t, '}'); e > 0 {
			if s, ok := v[t[1:e]]; ok {
				if b.Len() == 0 && e == len(t)-1 {
					return s // nothing but this name: the most usual template
				}
				b.WriteString(s)
				t = t[e+1:]
				continue
			}
		}
		b.WriteByte('{')
		t = t[1:]
	}
}

const itemListTag = "gotong/items/1"

// Encode gives the canonical bytes, which the job names as a blob.
func (l *ItemList) Encode() []byte {
	var e Encoder
	e.String(itemListTag)
	e.Strings(l.Args)
	e.Strings(l.Env)
	e.Blob(l.Stdin)
	encodeFiles(&e, l.Shared)
	e.String(l.Out)
	e.U8(uint8(l.Source))
	switch l.Source {
	case SourceRange:
		e.U64(l.Range.Lo)
		e.U64(l.Range.Hi)
	case SourceEach:
		encodeFiles(&e, l.Each)
	case SourceLines:
		e.Strings(l.Lines)
	case SourceGrid:
		e.U32(uint32(len(l.Grid)))
		for _, a := range l.Grid {
			e.String(a.Name)
			e.Strings(a.Values)
		}
	}
	l.Pick.Encode(&e)
	return e.Bytes()
}

// DecodeItemList reads and validates canonical bytes.
func DecodeItemList(b []byte) (*ItemList, error) {
	d := NewDecoder(b)
	if d.String(64) != itemListTag {
		return nil, fmt.Errorf("%w: not an item list", ErrMalformed)
	}
	l := &ItemList{Args: d.Strings(MaxArgs, MaxArgBytes), Env: d.Strings(MaxArgs, MaxArgBytes), Stdin: d.Blob(),
		Shared: decodeFiles(d, MaxFiles), Out: d.String(MaxPathBytes), Source: Source(d.U8())}
	switch l.Source {
	case SourceRange:
		l.Range = Range{d.U64(), d.U64()}
	case SourceEach:
		l.Each = decodeFiles(d, MaxListEntries)
	case SourceLines:
		l.Lines = d.Strings(MaxListEntries, math.MaxInt32)
	case SourceGrid:
		for range d.Count(MaxAxes, 8) {
			l.Grid = append(l.Grid, Axis{d.String(256), d.Strings(MaxListEntries, MaxArgBytes)})
		}
	}
	l.Pick = DecodeRangeSet(d, MaxListEntries)
	if err := d.Done(); err != nil {
		return nil, fmt.Errorf("item list: %w", err)
	}
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("item list: %w", err)
	}
	return l, nil
}
