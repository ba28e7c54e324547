package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// demoShow shows how the demo goes on: a bar on a terminal, else a line every few
// seconds and one for each conviction.
type demoShow struct {
	w     io.Writer
	job   work.JobID
	names map[work.Address]string
	bars  *mpb.Progress
	bar   *mpb.Bar

	mu     sync.Mutex // guards what is below: blocks and progress come from two goroutines
	last   client.Progress
	told   time.Time
	caught int
}

// tellEvery is how often a line is written where there is no terminal.
const tellEvery = 3 * time.Second

func newDemoShow(w io.Writer, job work.JobID, m localnet.Members) *demoShow {
	s := &demoShow{w: w, job: job, names: map[work.Address]string{}}
	for _, p := range m.Providers {
		s.names[p.Address] = p.Name
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
		s.bar = s.bars.AddBar(0, mpb.PrependDecorators(decor.Name("rendering ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return s.line() })))
	}
	return s
}

func (s *demoShow) line() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text()
}

// text is the state in one line; mu is held.
func (s *demoShow) text() string {
	c := s.last.Counts
	return fmt.Sprintf("%d of %d done, %d verified, %s paid, %d cheat(s) caught", c.Provisional+c.Verified, s.last.Items, s.last.Verified, c.Spent, s.caught)
}

// progress takes the client's progress.
func (s *demoShow) progress(p client.Progress) {
	s.mu.Lock()
	s.last = p
	speak := s.bar == nil && (time.Since(s.told) > tellEvery || p.Verified == p.Items)
	if speak {
		s.told = time.Now()
		fmt.Fprintln(s.w, s.text())
	}
	s.mu.Unlock()
	if s.bar != nil {
		s.bar.SetTotal(int64(p.Items), false)
		s.bar.SetCurrent(int64(p.Counts.Provisional + p.Verified))
	}
}

// block tells convictions.
func (s *demoShow) block(b ledger.Block) {
	for _, e := range b.Events {
		if e.Kind != lifecycle.EventBatch || e.Job != s.job || e.Phase != lifecycle.Void {
			continue
		}
		s.mu.Lock()
		s.caught++
		s.mu.Unlock()
		text := fmt.Sprintf("height %d: %s was caught lying; its batch is void and its bond is slashed", b.Height, s.names[e.Account])
		if s.bars != nil {
			fmt.Fprintln(s.bars, text)
		} else {
			fmt.Fprintln(s.w, text)
		}
	}
}

// done ends the bar.
func (s *demoShow) done() {
	if s.bar != nil {
		s.bar.SetTotal(-1, true)
		s.bars.Wait()
	}
}
