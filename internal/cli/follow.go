package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// follow watches a job to its end: outputs are written as items are verified,
// results are kept, money is settled.
func (a *app) follow(ctx context.Context, c *client.Client, rec *client.Record, out *tally) (*client.Ended, error) {
	began := time.Now()
	keep, err := a.cache().Writer(&rec.Spec)
	if err != nil {
		return nil, err
	}
	defer keep.Close()
	out.c = c
	out.where = client.Outputs{Template: rec.Out, Stdout: rec.Stdout, List: rec.List}
	before := out.ok
	w := out.start(ctx)
	show := newJobShow(a.errw)
	outcome, err := c.Watch(ctx, rec.Job, func(p client.Progress) error {
		if err := keep.Add(p.Changed); err != nil {
			return err
		}
		show.progress(p)
		return w.add(p.Changed)
	})
	werr := w.finish()
	show.finish()
	if werr != nil && ctx.Err() == nil {
		fmt.Fprintf(a.errw, "job %s goes on; its outputs stay at the indexer.\n", rec.Job)
		return nil, werr
	}
	if ctx.Err() != nil {
		return nil, a.goesOn(rec.Job)
	}
	if err != nil {
		return nil, jobError(err)
	}
	for i, why := range outcome.Failed {
		out.fail(rec.List, i, why)
	}
	if n := outcome.Missing.Len(); n > 0 {
		out.fail(rec.List, outcome.Missing[0].Lo, fmt.Sprintf("was not computed: the job was closed before (%d items so)", n))
	}
	ended := &client.Ended{Verified: out.ok - before, Failed: rec.List.Len() - (out.ok - before), Seconds: time.Since(began).Seconds()}
	cost, err := a.settleUp(ctx, c, rec, outcome)
	if ctx.Err() != nil {
		return nil, a.goesOn(rec.Job)
	}
	ended.Paid, ended.Refunded = cost.Paid(), cost.Refunded
	return ended, err
}

// settleUp waits until the chain has returned what is left. A job with items that
// finally failed is closed first: retry makes a job of them.
func (a *app) settleUp(ctx context.Context, c *client.Client, rec *client.Record, o *client.Outcome) (client.Cost, error) {
	if rec.Spec.Tier == work.TierNone {
		return client.Cost{}, nil
	}
	if o.Verified.Len() < o.Items {
		if _, err := c.Cancel(ctx, rec.Job, releaseWait); err != nil {
			return client.Cost{}, jobError(err)
		}
	}
	cost, err := c.WaitClosed(ctx, rec.Job, closeWait)
	if err == nil && !cost.Closed {
		fmt.Fprintf(a.errw, "The chain has not closed the job yet: %s come back when it does (see `gotong%s cost %s`).\n",
			cost.Locked+cost.Free, homeFlag(a.homeDir), rec.Job.Short())
	}
	return cost, err
}

// tally counts how items ended and writes their outputs.
type tally struct {
	a     *app
	c     *client.Client
	where client.Outputs

	ok      uint64   // verified, ended well, written
	bad     uint64   // all others that were told
	reasons []string // of the first ones
}

// maxReasons is how many failed items are explained.
const maxReasons = 10

// count takes in what is known and in its place.
func (t *tally) count(known map[uint64]*work.Result, present work.RangeSet) {
	for i, r := range known {
		switch {
		case !present.Contains(i):
		case r.Leaf.Outcome.OK():
			t.ok++
		default:
			t.fail(t.where.List, i, "the program ended with "+r.Leaf.Outcome.String())
		}
	}
}

func (t *tally) fail(l *work.ItemList, i uint64, why string) {
	if t.bad++; len(t.reasons) < maxReasons {
		t.reasons = append(t.reasons, fmt.Sprintf("item %s: %s", client.Label(l, i), why))
	}
}

func (t *tally) complain(a *app) {
	for _, r := range t.reasons {
		fmt.Fprintln(a.errw, r)
	}
	if n := t.bad - uint64(len(t.reasons)); n > 0 && len(t.reasons) > 0 {
		fmt.Fprintf(a.errw, "… and %d more\n", n)
	}
}

// write puts outputs where they belong and gives the results whose output is there.
// A blob that cannot be had costs its own item only.
func (t *tally) write(ctx context.Context, results []*work.Result) (done []*work.Result, err error) {
	var want []*work.Result
	for _, r := range results {
		if !r.Leaf.Outcome.OK() {
			t.fail(t.where.List, r.Index, "the program ended with "+r.Leaf.Outcome.String())
			continue
		}
		if t.where.Template == "" {
			done = append(done, r)
			continue
		}
		b, err := t.where.Blob(r)
		if err != nil {
			t.fail(t.where.List, r.Index, err.Error())
			continue
		}
		// Of all that the item left, this blob is wanted here.
		want = append(want, &work.Result{Index: r.Index, Leaf: r.Leaf, Output: t.only(r, b)})
	}
	if len(want) == 0 {
		return done, nil
	}
	var writing error
	put := func(r *work.Result, open client.Opener) error {
		if writing = t.where.Write(r, open, false); writing == nil {
			done = append(done, r)
		}
		return writing
	}
	err = t.c.Deliver(ctx, want, put)
	if err != nil && writing == nil && ctx.Err() == nil { // something is not to be had: find out what
		for _, r := range want[len(done):] {
			if err := t.c.Deliver(ctx, []*work.Result{r}, put); err != nil && writing == nil && ctx.Err() == nil {
				t.fail(t.where.List, r.Index, "verified, but its output cannot be fetched: "+err.Error())
			}
		}
		err = nil
	}
	if writing != nil {
		path, _ := t.where.Path(want[len(done)].Index)
		return done, diskHint(writing, filepath.Dir(path))
	}
	return done, errors.Join(ctx.Err(), err)
}

// only is an output of one blob, at the place where Outputs looks for it.
func (t *tally) only(r *work.Result, b work.BlobID) work.Output {
	if t.where.Stdout {
		return work.Output{Stdout: b}
	}
	for _, f := range r.Output.Files {
		if f.Blob == b {
			v, err := t.where.List.Vars(r.Index)
			if err == nil && f.Path == "out/"+work.Expand(t.where.List.Out, v) {
				return work.Output{Files: []work.File{f}}
			}
		}
	}
	return r.Output
}

// writer writes outputs beside the watch, so that a slow disk or a large output
// never stops the news.
type writer struct {
	t    *tally
	wg   sync.WaitGroup
	wake chan struct{}

	mu    sync.Mutex // guards what follows
	queue []*work.Result
	ended bool
	err   error
}

func (t *tally) start(ctx context.Context) *writer {
	w := &writer{t: t, wake: make(chan struct{}, 1)}
	w.wg.Go(func() {
		for {
			w.mu.Lock()
			group, ended := w.queue, w.ended
			w.queue = nil
			w.mu.Unlock()
			if len(group) == 0 {
				if ended {
					return
				}
				<-w.wake
				continue
			}
			done, err := t.write(ctx, group)
			t.ok += uint64(len(done))
			if err != nil {
				w.mu.Lock()
				w.err = err
				w.mu.Unlock()
				return
			}
		}
	})
	return w
}

// add takes verified results in; an error is the writer's own.
func (w *writer) add(us []wire.Update) error {
	w.mu.Lock()
	for i := range us {
		if us[i].State == wire.ItemVerified {
			w.queue = append(w.queue, us[i].Result)
		}
	}
	err := w.err
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return err
}

// finish waits until everything is written.
func (w *writer) finish() error {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	w.wg.Wait()
	return w.err
}

// jobShow shows a job's progress: a bar on a terminal, else a line every few
// seconds.
type jobShow struct {
	w    io.Writer
	bars *mpb.Progress
	bar  *mpb.Bar

	mu   sync.Mutex // guards what follows: the bar draws from a goroutine of its own
	last client.Progress
	told time.Time
	lost bool
}

func newJobShow(w io.Writer) *jobShow {
	s := &jobShow{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
		s.bar = s.bars.AddBar(0, mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.line()
		})))
	}
	return s
}

// line is the state in one line; mu is held.
func (s *jobShow) line() string {
	p, c := s.last, s.last.Counts
	// The indexer may know more than this client has proven.
	arrived := min(max(c.Provisional+c.Verified, p.Verified), p.Items)
	if p.Lost != nil && arrived+p.Failed == 0 { // nothing is known, which is not that nothing is done
		return fmt.Sprintf("%d items · the indexer cannot be reached; trying again", p.Items)
	}
	text := fmt.Sprintf("%d of %d done, %d verified, %s spent", arrived, p.Items, p.Verified, c.Spent)
	if p.Failed > 0 {
		text += fmt.Sprintf(", %d failed", p.Failed)
	}
	if c.EtaSeconds > 0 {
		text += ", about " + time.Duration(c.EtaSeconds*float64(time.Second)).Round(time.Second).String() + " left"
	}
	if p.Lost != nil {
		text += " · the indexer cannot be reached; trying again"
	}
	return text
}

func (s *jobShow) progress(p client.Progress) {
	s.mu.Lock()
	s.last = p
	news := (p.Lost != nil) != s.lost
	s.lost = p.Lost != nil
	if s.bar == nil && (news || time.Since(s.told) > tellEvery || p.Verified == p.Items) {
		s.told = time.Now()
		fmt.Fprintln(s.w, s.line())
	}
	s.mu.Unlock()
	if s.bar != nil {
		s.bar.SetTotal(int64(p.Items), false)
		s.bar.SetCurrent(int64(p.Verified + p.Failed))
	}
}

// finish ends the bar.
func (s *jobShow) finish() {
	if s.bar == nil {
		return
	}
	s.bar.Abort(false)
	s.bars.Wait()
}

// isDiskFull tells a full disk from other faults of writing.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// stateName says a job's state for people and JSON.
func stateName(s lifecycle.JobState) string {
	switch s {
	case lifecycle.JobOpen:
		return "open"
	case lifecycle.JobClosing:
		return "closing"
	case lifecycle.JobClosed:
		return "closed"
	}
	return "unknown"
}
