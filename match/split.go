package match

import (
	"math"
	"slices"
	"time"
)

// Chunking is how many items a range holds: a fixed number, or a wanted
// duration.
type Chunking struct {
	Items   uint64  // fixed; 0: automatic
	Seconds float64 // automatic: wanted duration of a range
}

// Bounds of ranges and windows.
const (
	// MaxAutoChunk keeps the receipt of an automatic range within one frame.
	MaxAutoChunk = 1024
	// MaxWindow bounds the items that one provider holds of one job.
	MaxWindow = 1 << 16
	// defaultSeconds is the duration of automatic ranges if none is asked for.
	defaultSeconds = 10
	// windowSeconds is how long a provider's queue should last.
	windowSeconds = 1
)

// Size is the number of items of the next range for a provider: the fixed number;
// or one while the duration of an item there is unknown (itemSeconds 0), then as
// many as take the wanted time, and fewer when less than two rounds over all
// slots are waiting.
func (c Chunking) Size(itemSeconds float64, waiting, allSlots uint64) uint64 {
	if c.Items > 0 {
		return c.Items
	}
	if itemSeconds <= 0 {
		return 1
	}
	seconds := c.Seconds
	if seconds <= 0 {
		seconds = defaultSeconds
	}
	n := uint64(min(seconds/itemSeconds, MaxAutoChunk))
	rounds := 4 * max(allSlots, 1)
	tail := (waiting + rounds - 1) / rounds
	return max(min(n, tail), 1)
}

// Window is how many items of a job a provider should hold: two ranges a slot,
// or what lasts it a second.
func Window(slots uint32, chunk uint64, itemsPerSecond float64) uint64 {
	ranges := 2 * uint64(max(slots, 1)) * chunk
	lasting := uint64(min(max(itemsPerSecond, 0)*windowSeconds, MaxWindow))
	return max(ranges, lasting)
}

// Progress is how far a job is and how long its items take.
type Progress struct {
	Done, Total    uint64        // items with a result or finally failed
	P75ItemSeconds float64       // of range durations, normalised per item; 0: unknown
	Floor          time.Duration // no range is slow before this
}

// Tail reports whether three quarters of a job are done.
func (p Progress) Tail() bool { return p.Total > 0 && p.Done*4 >= p.Total*3 }

// Straggler reports whether a range of items that runs since age is to go to
// another owner too: in the tail, when it takes over twice the p75.
func (p Progress) Straggler(items uint64, age time.Duration) bool {
	if !p.Tail() || p.P75ItemSeconds <= 0 || age < p.Floor {
		return false
	}
	return age.Seconds() > 2*p.P75ItemSeconds*float64(max(items, 1))
}

// Quantile is the q-quantile (0…1) of samples, 0 if there are none.
func Quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	s := slices.Clone(samples)
	slices.Sort(s)
	k := int(math.Ceil(q*float64(len(s)))) - 1
	return s[min(max(k, 0), len(s)-1)]
}

// Verdict is what becomes of an item whose host failed.
type Verdict uint8

// The verdicts.
const (
	TryElsewhere Verdict = iota // on a provider that has not failed it
	WaitForOther                // there is none now, but one may come
	GiveUp                      // finally failed
)

// MaxHosts is on how many providers an item is tried.
const MaxHosts = 5

// Retry judges an item that failed on tried providers, with untried fitting ones
// left, waiting since waited for one: it is tried on at most MaxHosts, never
// twice on one, and given up when nobody new comes within patience.
func Retry(tried, untried int, waited, patience time.Duration) Verdict {
	switch {
	case tried >= MaxHosts:
		return GiveUp
	case untried > 0:
		return TryElsewhere
	case waited >= patience:
		return GiveUp
	}
	return WaitForOther
}
