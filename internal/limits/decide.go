package limits

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Readings are what sensors say at one moment. The zero value of each part says
// that it cannot be read here.
type Readings struct {
	Cores  int    // of the machine
	Memory uint64 // bytes, of the machine

	Input Input // keyboards, mice, terminals
	Load  Load  // other programs' CPU time
	Power Power
	Heat  Heat
	Net   Net
	Disk  Disk
}

// Input says how long nobody has used the machine by hand.
type Input struct {
	Known bool
	Idle  time.Duration
	What  string // used last, such as pts/3
}

// Load says how many cores other programs keep busy.
type Load struct {
	Known bool
	Cores float64
}

// Power says where power comes from.
type Power struct {
	Known   bool
	Battery bool // it comes from a battery
	Percent int  // charge; 0: not said
}

// Heat is the hottest part that counts.
type Heat struct {
	Known   bool
	Celsius float64
	What    string // the sensor
}

// Net says whether the network in use is paid by volume.
type Net struct {
	Known   bool
	Metered bool
	What    string // the interface
}

// Disk is the file system of the blobs.
type Disk struct {
	Known bool
	Total uint64 // bytes
	Free  uint64 // bytes that this user may still write
	Used  uint64 // bytes of our blobs
}

// Decision is what is given now.
type Decision struct {
	CPU    float64 // of all cores together, 0 to 1
	Memory uint64  // bytes of all workers together; 0: unknown, not bounded
	Disk   uint64  // bytes of blobs; 0: unknown
	Slots  int     // items at once
	Paused bool
	Idle   bool   // the machine counts as idle
	Why    string // it is paused or given less than while idle; empty: neither
}

// State is what one decision leaves for the next. The zero value is the start.
type State struct {
	Last  Decision
	begun bool
	since time.Time // more than Last was found right ever since; zero: it is not
	used  time.Time // other programs last kept the machine busy
	hot   bool
	full  bool // the disk
}

const (
	// upAfter is how long more must be right before it is given.
	upAfter = 15 * time.Second
	// busyShare of the cores, and busyCores at least, are kept busy by others in a
	// machine that is used without hands.
	busyShare = 0.25
	busyCores = 0.5
	// slotMemory is the least memory that a slot is worth opening for.
	slotMemory = 256 << 20
	// The disk is full under keepFree, or keepShare of it where that is less; it has
	// room again at half as much more.
	keepFree  = 1 << 30
	keepShare = 0.05
	// Our blobs may fill so much of their space before nothing new is begun.
	fullShare, roomShare = 0.95, 0.90
)

// Decide says what is given at now: at once if it is less than before, and after
// upAfter if it is more. slots bounds the items at once; 0: as many as cores.
func Decide(c Config, r Readings, slots int, now time.Time, s State) (Decision, State) {
	if now.Before(s.since) || now.Before(s.used) { // the clock was set back
		s.since, s.used = time.Time{}, now
	}
	want, s := right(c, r, slots, now, s)
	last := s.Last
	switch {
	case !s.begun || !exceeds(want, last):
		s.begun, s.since = true, time.Time{}
	case s.since.IsZero():
		s.since = now
		fallthrough
	case now.Sub(s.since) < upAfter:
		want = hold(want, last)
	default:
		s.since = time.Time{}
	}
	s.Last = want
	return want, s
}

// exceeds reports whether a gives more than b in any way.
func exceeds(a, b Decision) bool {
	return b.Paused && !a.Paused || a.CPU > b.CPU || a.Memory > b.Memory || a.Slots > b.Slots
}

// hold gives no more than last did.
func hold(want, last Decision) Decision {
	if last.Paused && !want.Paused {
		want.Paused = true
		want.Why = strings.TrimSuffix(last.Why, wasSo) + wasSo
	}
	want.CPU, want.Slots = min(want.CPU, last.CPU), min(want.Slots, last.Slots)
	if last.Memory > 0 {
		want.Memory = min(want.Memory, last.Memory)
	}
	return want
}

const wasSo = " (until a moment ago)"

// right is what is right at now, whatever was before, but for thresholds that
// differ on the way back.
func right(c Config, r Readings, slots int, now time.Time, s State) (Decision, State) {
	cores := max(r.Cores, 1)
	var sensed string
	d := Decision{Memory: c.Memory.Of(r.Memory), Disk: c.Disk.Of(r.Disk.Total)}
	d.Idle, sensed, s.used = idle(c, r, now, s)

	share := c.CPU
	if d.Idle {
		share = c.CPUIdle
	}
	d.CPU = float64(share) / 100
	if slots <= 0 {
		slots = cores
	}
	d.Slots = max(1, min(slots, int(math.Ceil(float64(cores)*d.CPU-1e-9))))
	if d.Memory > 0 {
		d.Slots = max(1, min(d.Slots, int(d.Memory/slotMemory)))
	}

	var why []string
	if len(c.Hours) > 0 && !within(c.Hours, now) {
		why = append(why, fmt.Sprintf("hours: it is %s, work is allowed %s", now.Format("Mon 15:04"), hoursText(c.Hours)))
	}
	if c.IdleOnly && !d.Idle {
		why = append(why, "idle only: "+sensed)
	}
	if c.Mains && r.Power.Known && r.Power.Battery {
		text := "power: on battery"
		if r.Power.Percent > 0 {
			text += fmt.Sprintf(" (%d%%)", r.Power.Percent)
		}
		why = append(why, text)
	}
	if s.hot = tooHot(c, r.Heat, s.hot); s.hot {
		why = append(why, fmt.Sprintf("heat: %s is at %.0f °C, work stops over %.0f and goes on under %.0f", r.Heat.What, r.Heat.Celsius, c.Hottest, c.Cooled))
	}
	if !c.Metered && r.Net.Known && r.Net.Metered {
		why = append(why, "network: "+r.Net.What+" is metered")
	}
	var text string
	if s.full, text = diskFull(r.Disk, d.Disk, s.full); s.full {
		why = append(why, text)
	}
	if len(why) > 0 {
		d.Paused = true
	} else if d.CPU < float64(c.CPUIdle)/100 {
		why = append(why, "in use: "+sensed)
	}
	d.Why = strings.Join(why, "; ")
	return d, s
}

// idle reports whether nobody has used the machine for long enough, what tells,
// and when other programs last used it.
func idle(c Config, r Readings, now time.Time, s State) (is bool, sensed string, used time.Time) {
	used = s.used
	if used.IsZero() || r.Load.Known && r.Load.Cores > max(busyCores, busyShare*float64(max(r.Cores, 1))) {
		used = now // before the first reading it was in use, for all we know
	}
	since := now.Sub(used)
	switch {
	case !r.Input.Known && !r.Load.Known:
		return false, "whether the machine is used cannot be read here", used
	case r.Input.Known && r.Input.Idle < c.IdleAfter:
		return false, fmt.Sprintf("%s was used %s ago", r.Input.What, r.Input.Idle.Round(time.Second)), used
	case r.Load.Known && since == 0 && s.begun:
		return false, fmt.Sprintf("other programs keep %.1f cores busy", r.Load.Cores), used
	case r.Load.Known && since < c.IdleAfter:
		return false, fmt.Sprintf("quiet for %s of %s", since.Round(time.Second), c.IdleAfter), used
	}
	return true, "", used
}

func within(hs []Hours, now time.Time) bool {
	for _, h := range hs {
		if h.holds(now) {
			return true
		}
	}
	return false
}

func hoursText(hs []Hours) string {
	parts := make([]string, len(hs))
	for i, h := range hs {
		parts[i] = h.String()
	}
	return strings.Join(parts, ", ")
}

func tooHot(c Config, h Heat, was bool) bool {
	if c.Hottest == 0 || !h.Known {
		return false
	}
	return h.Celsius > c.Hottest || was && h.Celsius >= c.Cooled
}

func diskFull(d Disk, most uint64, was bool) (bool, string) {
	if !d.Known {
		return false, ""
	}
	keep := uint64(min(keepFree, keepShare*float64(d.Total)))
	if d.Free < keep || was && d.Free < keep+keep/2 {
		return true, fmt.Sprintf("disk: %s free, work stops under %s: free some, or give less with --disk", bytesText(d.Free), bytesText(keep))
	}
	share := fullShare
	if was {
		share = roomShare
	}
	if most > 0 && float64(d.Used) > share*float64(most) {
		return true, fmt.Sprintf("disk: %s of the %s given are used: raise --disk, or wait until finished jobs are cleaned up", bytesText(d.Used), bytesText(most))
	}
	return false, ""
}
