package client

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// What callers branch on.
var (
	// ErrNoRecord reports a job that was not posted from here.
	ErrNoRecord = errors.New("no record of this job")
	// ErrRecord reports a record that cannot be read.
	ErrRecord = errors.New("job record is damaged")
)

// recordFormat is the version of record files.
const recordFormat = 1

// Record is what a client keeps of a job that it posted: enough to fetch its
// outputs to where they belong, and to run what is missing again.
type Record struct {
	Format  int            `json:"format"`
	Job     work.JobID     `json:"job"`
	Created time.Time      `json:"created"`
	Spec    work.JobSpec   `json:"spec"`
	List    *work.ItemList `json:"-"` // kept beside the record, in canonical bytes

	Command []string   `json:"command"` // program and arguments as typed, for people
	Program string     `json:"program"` // host path of the module
	Files   []HostFile `json:"files"`   // inputs by blob
	Chunk   wire.Chunk `json:"chunk"`
	// Out is the template of the outputs' host paths, absolute; empty: none.
	Out string `json:"out"`
	// Stdout says that an item's stdout is its output, not its output file.
	Stdout   bool        `json:"stdout"`
	MaxPrice work.Price  `json:"max_price"` // as asked for; 0: chosen
	Budget   work.Amount `json:"budget"`
	Fuel     work.Fuel   `json:"fuel"` // expected of an item

	Ended *Ended `json:"ended,omitempty"`
}

// HostFile is an input and where its bytes are.
type HostFile struct {
	Blob work.BlobID `json:"blob"`
	Path string      `json:"path"`
}

// Ended is how a job came out, once that is known.
type Ended struct {
	Verified uint64      `json:"verified"`
	Failed   uint64      `json:"failed"`
	Reused   uint64      `json:"reused"`
	Paid     work.Amount `json:"paid"`
	Refunded work.Amount `json:"refunded"`
	Seconds  float64     `json:"seconds"`
}

// Sources are the record's inputs.
func (r *Record) Sources() Sources {
	s := Sources{}
	for _, f := range r.Files {
		s[f.Blob] = FileSource(f.Path)
	}
	return s
}

// Records are the job records of a home, one pair of files a job. Processes may
// use them at once: files are replaced as wholes.
type Records struct{ Dir string }

func (rs Records) path(id work.JobID, ext string) string {
	return filepath.Join(rs.Dir, id.String()+ext)
}

// Save writes a record. The list is written once: it is part of the job's name.
func (rs Records) Save(r *Record) error {
	if err := os.MkdirAll(rs.Dir, 0o700); err != nil {
		return fmt.Errorf("job records: %w", err)
	}
	r.Format = recordFormat
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if _, err := os.Stat(rs.path(r.Job, ".items")); errors.Is(err, fs.ErrNotExist) {
		if err := replaceFile(rs.path(r.Job, ".items"), bytes.NewReader(r.List.Encode()), 0o600); err != nil {
			return err
		}
	}
	return replaceFile(rs.path(r.Job, ".json"), bytes.NewReader(append(b, '\n')), 0o600)
}

// Load reads a record.
func (rs Records) Load(id work.JobID) (*Record, error) {
	r, err := rs.head(id)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(rs.path(id, ".items"))
	if err == nil {
		r.List, err = work.DecodeItemList(b)
	}
	if err == nil && r.List.Len() != r.Spec.ItemCount {
		err = work.ErrMalformed
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %v", rs.path(id, ".items"), ErrRecord, err)
	}
	return r, nil
}

// head reads a record without its list.
func (rs Records) head(id work.JobID) (*Record, error) {
	b, err := os.ReadFile(rs.path(id, ".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("job %s: %w", id.Short(), ErrNoRecord)
	}
	if err != nil {
		return nil, fmt.Errorf("job record: %w", err)
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w: %v", rs.path(id, ".json"), ErrRecord, err)
	}
	if r.Format != recordFormat || r.Job != id || r.Spec.ID() != id {
		return nil, fmt.Errorf("%s: %w: it is of another format or another job", rs.path(id, ".json"), ErrRecord)
	}
	return &r, nil
}

// Remove forgets a job; one that is not known is no error.
func (rs Records) Remove(id work.JobID) error {
	var errs []error
	for _, ext := range []string{".json", ".items"} {
		if err := os.Remove(rs.path(id, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// All are the records that can be read, oldest first, without their lists.
func (rs Records) All() ([]*Record, error) {
	es, err := os.ReadDir(rs.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("job records: %w", err)
	}
	var all []*Record
	for _, e := range es {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		id, err := work.ParseHash(name)
		if err != nil {
			continue
		}
		if r, err := rs.head(id); err == nil {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *Record) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// Find gives the id that begins with prefix, of at least four digits.
func (rs Records) Find(prefix string) (work.JobID, error) {
	if id, err := work.ParseHash(prefix); err == nil {
		return id, nil
	}
	es, err := os.ReadDir(rs.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return work.JobID{}, fmt.Errorf("job records: %w", err)
	}
	var found []work.JobID
	for _, e := range es {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if id, err := work.ParseHash(name); ok && err == nil && len(prefix) >= 4 && strings.HasPrefix(name, strings.ToLower(prefix)) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return work.JobID{}, fmt.Errorf("no job %q: %w", prefix, ErrNoRecord)
	case 1:
		return found[0], nil
	}
	return work.JobID{}, fmt.Errorf("%d jobs begin with %q: give more digits: %w", len(found), prefix, ErrNoRecord)
}

// Cache remembers verified results by input digest: an item is its input, so that
// the same item need never be paid twice. One file a program, of one line a
// result; processes append to it at once, each line in one write.
type Cache struct{ Dir string }

// cached is one line.
type cached struct {
	Tier   work.Tier    `json:"tier"`
	Job    work.JobID   `json:"job"`
	Leaf   work.Leaf    `json:"leaf"`
	Output work.Output  `json:"output"`
	By     work.Address `json:"by,omitempty"`
}

func (c Cache) path(p work.ProgramID) string { return filepath.Join(c.Dir, p.String()+".results") }

// maxLine bounds a line: an output of the most files that an item may have.
const maxLine = 16 << 20

// Lookup gives the results for items of a list that are known and were checked at
// least as much as tier asks for. Lines that cannot be read are passed over.
func (c Cache) Lookup(spec *work.JobSpec, list *work.ItemList) (map[uint64]*work.Result, error) {
	program := spec.ProgramID()
	f, err := os.Open(c.path(program))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("results kept: %w", err)
	}
	defer f.Close()
	byInput := map[work.Hash]*work.Result{}
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 64<<10), maxLine)
	for sc.Scan() {
		var l cached
		if json.Unmarshal(sc.Bytes(), &l) == nil && l.Tier >= spec.Tier && l.Output.Digest(l.Leaf.Outcome) == l.Leaf.Output {
			byInput[l.Leaf.Input] = &work.Result{Leaf: l.Leaf, Output: l.Output}
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("results kept: %w", err)
	}
	if len(byInput) == 0 {
		return nil, nil
	}
	found := map[uint64]*work.Result{}
	for i := range list.Len() {
		it, err := list.Item(i)
		if err != nil {
			return nil, err
		}
		if r := byInput[it.InputDigest(program, spec.Limits, spec.Seed)]; r != nil {
			found[i] = &work.Result{Index: i, Leaf: r.Leaf, Output: r.Output}
		}
	}
	return found, nil
}

// Writer appends results of one job.
func (c Cache) Writer(spec *work.JobSpec) (*CacheWriter, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("results kept: %w", err)
	}
	f, err := os.OpenFile(c.path(spec.ProgramID()), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("results kept: %w", err)
	}
	return &CacheWriter{f: f, tier: spec.Tier, job: spec.ID()}, nil
}

// CacheWriter appends to a Cache. Safe for concurrent use.
type CacheWriter struct {
	tier work.Tier
	job  work.JobID

	mu sync.Mutex // guards f
	f  *os.File
}

// Add appends verified results.
func (w *CacheWriter) Add(us []wire.Update) error {
	var b []byte
	for i := range us {
		u := &us[i]
		if u.State != wire.ItemVerified || u.Result == nil {
			continue
		}
		l, err := json.Marshal(cached{w.tier, w.job, u.Result.Leaf, u.Result.Output, u.Provider})
		if err != nil {
			return err
		}
		b = append(append(b, l...), '\n')
	}
	if len(b) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.f.Write(b); err != nil {
		return fmt.Errorf("keep results: %w", err)
	}
	return nil
}

// Close ends the writer.
func (w *CacheWriter) Close() error { return w.f.Close() }

// replaceFile writes a file as a whole or not at all.
func replaceFile(path string, from io.Reader, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err := io.Copy(f, from); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
