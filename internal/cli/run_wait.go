package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/gotong-network/gotong/work"
)

// A program that loops forever ends when its fuel does, and at --max-fuel as it
// is by default, a job's own bound, that is minutes away. So a run that takes long
// says so: after firstWord, and then each time twice as long has gone, at most
// every lastPause, so that a log stays short.
const (
	firstWord = 2 * time.Second
	lastPause = time.Minute
)

// sayWaiting tells w that program takes long until the returned function is
// called; then nothing more is written. compiling says what the time goes into.
func sayWaiting(w io.Writer, program string, fuel work.Fuel, compiling func() bool) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		start := time.Now()
		for pause := firstWord; ; pause = min(time.Since(start), lastPause) {
			select {
			case <-quit:
				return
			case <-time.After(pause):
			}
			took := time.Since(start).Round(time.Second)
			if compiling() {
				fmt.Fprintf(w, "%s is being compiled, %s so far: only the first run takes this time\n", program, took)
			} else {
				fmt.Fprintf(w, "%s still runs after %s: Ctrl-C ends it; by itself it ends at %s fuel (--max-fuel)\n", program, took, formatFuel(fuel))
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// runInterrupted is the error of a run that a person ended.
func runInterrupted(program string, took time.Duration) error {
	return &exitError{exitInterrupted, fmt.Errorf("interrupted: %s had not ended after %.1f s, so there is no result; --max-fuel bounds a run", program, took.Seconds())}
}
