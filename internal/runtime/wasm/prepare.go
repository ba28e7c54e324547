package wasm

import "time"

// A stranger's module may be made to be dear: a few kilobytes of loops keep the
// compiler busy for hours. So preparing a program is bounded by the module's size,
// generously for what compilers of real languages emit, and a program that went
// over the bounds is not tried again at once.

// load bounds the wall time, CPU time and memory of preparing a program, or of
// loading one that was prepared.
type load struct {
	wall time.Duration
	cpu  time.Duration
	data uint64 // RLIMIT_DATA
}

// prepareLoad is ten times what real programs take on a slow core, and four times
// the memory.
func prepareLoad(moduleBytes uint64) load {
	return load{
		wall: prepareTimeout,
		cpu:  30*time.Second + time.Duration(moduleBytes>>10)*5*time.Millisecond,
		data: 1<<30 + 32*moduleBytes,
	}
}

// loadLoad is for reading machine code into memory.
func loadLoad() load { return load{wall: prepareTimeout, cpu: 3 * time.Minute, data: 6 << 30} }

// Waits before a program is prepared again whose preparation failed: the first
// failure may have been the host's, from the second on it is waited for ever
// longer.
const (
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// retryAfter is the wait after so many failures in a row.
func retryAfter(failures int) time.Duration {
	wait := time.Duration(0)
	for n := 1; n < failures && wait < lastRetry; n++ {
		wait = max(firstRetry, 2*wait)
	}
	return min(wait, lastRetry)
}
