package limits

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Flags are the limits as an owner writes them, on a command line or in a home;
// what is empty is as the preset says.
type Flags struct {
	Preset  string `json:"preset,omitempty"`
	CPU     string `json:"cpu,omitempty"`
	Memory  string `json:"memory,omitempty"`
	Disk    string `json:"disk,omitempty"`
	Hours   string `json:"hours,omitempty"`
	Idle    string `json:"idle,omitempty"`
	Power   string `json:"power,omitempty"`
	Heat    string `json:"heat,omitempty"`
	Metered string `json:"metered,omitempty"`
}

// Flag is one of Flags, for those who offer them by name.
type Flag struct {
	Name  string
	Usage string // `quoted` is the value's placeholder
	Value *string
}

// List gives all of f by name, in the order of the guide.
func (f *Flags) List() []Flag {
	return []Flag{
		{"limits", "start from a `PRESET`: " + strings.Join(PresetNames(), ", "), &f.Preset},
		{"cpu", "`PERCENT` of all cores together: 10%, or 10%/80% while the machine is in use and while it is idle", &f.CPU},
		{"memory", "memory of all workers together: a `SIZE` such as 4GiB, or a share such as 25%", &f.Memory},
		{"disk", "space for blobs: a `SIZE` such as 50GiB, or a share of the disk such as 20%", &f.Disk},
		{"hours", "`TIMES` of the local time zone: 22:00-07:00, mon-fri 18:00-08:00,sat-sun 00:00-24:00, or always", &f.Hours},
		{"idle-only", "work only when nobody has used the machine for `TIME` (yes is 5m), or no", &f.Idle},
		{"power", "work on `mains` power only, or on any", &f.Power},
		{"max-temp", "pause above `CELSIUS` until it is 10 degrees cooler: 85C, 85C/70C to name both, or off", &f.Heat},
		{"metered", "what to do on a metered network: `pause` or work", &f.Metered},
	}
}

// IsZero reports that nothing is said: no limits are kept at all.
func (f *Flags) IsZero() bool { return f == nil || *f == Flags{} }

// Config is what an owner gives.
type Config struct {
	CPU     Percent // of all cores together, while the machine is in use
	CPUIdle Percent // … while it is idle; at least CPU
	Yield   bool    // everything else on the machine goes before the workers

	Memory Size // of all workers together
	Disk   Size // for blobs

	Hours     []Hours       // when to work; none: always
	IdleOnly  bool          // not while the machine is in use
	IdleAfter time.Duration // without a sign of use it counts as idle
	Mains     bool          // not on battery
	Hottest   float64       // °C above which to pause; 0: any
	Cooled    float64       // °C below which to go on again
	Metered   bool          // work on a metered network too
}

// Percent is a share in percent, over 0 and at most 100.
type Percent float64

// String gives it as an owner writes it.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// Size is a number of bytes, or a share of what there is.
type Size struct {
	Bytes uint64 // 0: Share counts
	Share Percent
}

// Of gives bytes: at most total, of which a share is taken. A total of 0 is
// unknown: then a share gives 0.
func (s Size) Of(total uint64) uint64 {
	if s.Bytes > 0 && (total == 0 || s.Bytes < total) {
		return s.Bytes
	}
	if s.Bytes > 0 {
		return total
	}
	return uint64(float64(total) * float64(s.Share) / 100)
}

// String gives it as an owner writes it.
func (s Size) String() string {
	if s.Bytes == 0 {
		return s.Share.String()
	}
	return bytesText(s.Bytes)
}

// Presets. Each is what its name says on a machine of any size.
var presets = []struct {
	name   string
	config Config
}{
	{"quiet", Config{CPU: 10, CPUIdle: 50, Yield: true, Memory: Size{Share: 20}, Disk: Size{Share: 10},
		IdleAfter: 5 * time.Minute, Mains: true, Hottest: 75, Cooled: 65}},
	{"balanced", Config{CPU: 25, CPUIdle: 80, Memory: Size{Share: 40}, Disk: Size{Share: 20},
		IdleAfter: 5 * time.Minute, Mains: true, Hottest: 85, Cooled: 75}},
	{"maximum", Config{CPU: 100, CPUIdle: 100, Memory: Size{Share: 75}, Disk: Size{Share: 80},
		IdleAfter: 5 * time.Minute, Hottest: 95, Cooled: 85}},
}

// DefaultPreset is taken where flags name none.
const DefaultPreset = "balanced"

// PresetNames lists the presets, most careful first.
func PresetNames() (names []string) {
	for _, p := range presets {
		names = append(names, p.name)
	}
	return names
}

// ErrFlag reports a limit that cannot be understood; the error names it and says
// what would be.
var ErrFlag = errors.New("limit not understood")

// Parse makes limits of what an owner wrote: the preset, changed by what else is
// said. Errors: ErrFlag, one for each limit that is wrong.
func Parse(f Flags) (Config, error) {
	name := clean(f.Preset)
	if name == "" {
		name = DefaultPreset
	}
	var c Config
	found := false
	for _, p := range presets {
		if p.name == name {
			c, found = p.config, true
		}
	}
	var errs []error
	if !found {
		errs = append(errs, wrong("limits", f.Preset, "one of "+strings.Join(PresetNames(), ", ")))
	}
	for _, part := range []struct {
		name, text string
		parse      func(*Config, string) error
	}{
		{"cpu", f.CPU, parseCPU},
		{"memory", f.Memory, func(c *Config, s string) error { return parseSize(&c.Memory, s) }},
		{"disk", f.Disk, func(c *Config, s string) error { return parseSize(&c.Disk, s) }},
		{"hours", f.Hours, parseHours},
		{"idle-only", f.Idle, parseIdle},
		{"power", f.Power, parsePower},
		{"max-temp", f.Heat, parseHeat},
		{"metered", f.Metered, parseMetered},
	} {
		text := clean(part.text)
		if text == "" {
			continue
		}
		if err := part.parse(&c, text); err != nil {
			errs = append(errs, wrong(part.name, part.text, err.Error()))
		}
	}
	return c, errors.Join(errs...)
}

func wrong(name, text, want string) error {
	return fmt.Errorf("--%s %q: %w: want %s", name, text, ErrFlag, want)
}

func clean(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func parseCPU(c *Config, s string) error {
	inUse, idle, two := strings.Cut(s, "/")
	p, err := parsePercent(inUse)
	if err != nil {
		return errors.New("a share of all cores such as 10%, or two for in use and idle, such as 10%/80%")
	}
	q := p
	if two {
		if q, err = parsePercent(idle); err != nil {
			return errors.New("a share of all cores such as 10%, or two for in use and idle, such as 10%/80%")
		}
	}
	if q < p {
		return fmt.Errorf("at least as much while idle as while in use: %s/%s", q, p)
	}
	c.CPU, c.CPUIdle = p, q
	return nil
}

// parsePercent demands the sign: 10 alone could be meant as ten cores.
func parsePercent(s string) (Percent, error) {
	n, ok := strings.CutSuffix(strings.TrimSpace(s), "%")
	if !ok {
		return 0, errors.New("no %")
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
	if err != nil || !(v > 0 && v <= 100) {
		return 0, errors.New("not over 0% and at most 100%")
	}
	return Percent(v), nil
}

// units of sizes: binary and decimal, as people write them.
var units = []struct {
	name  string
	bytes uint64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40}, {"b", 1},
}

func parseSize(to *Size, s string) error {
	if p, err := parsePercent(s); err == nil {
		*to = Size{Share: p}
		return nil
	}
	for _, u := range units {
		n, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
		if err != nil || !(v > 0 && v*float64(u.bytes) < 1<<60) {
			break
		}
		if b := uint64(v * float64(u.bytes)); b >= 1<<20 {
			*to = Size{Bytes: b}
			return nil
		}
		break
	}
	return errors.New("a size of at least 1MiB such as 4GiB, or a share such as 25%")
}

func bytesText(n uint64) string {
	for i := 3; i >= 0; i-- {
		if u := uint64(1) << (10 * (i + 1)); n >= u {
			text := strconv.FormatFloat(float64(n)/float64(u), 'f', 1, 64)
			return strings.TrimSuffix(text, ".0") + []string{" KiB", " MiB", " GiB", " TiB"}[i]
		}
	}
	return strconv.FormatUint(n, 10) + " bytes"
}

func parseIdle(c *Config, s string) error {
	switch s {
	case "no", "off", "false":
		c.IdleOnly = false
	case "yes", "on", "true":
		c.IdleOnly = true
	default:
		d, err := time.ParseDuration(s)
		if err != nil || d < 10*time.Second || d > 24*time.Hour {
			return errors.New("yes, no, or how long nobody used the machine, from 10s to 24h, such as 5m")
		}
		c.IdleOnly, c.IdleAfter = true, d
	}
	return nil
}

func parsePower(c *Config, s string) error {
	switch s {
	case "mains":
		c.Mains = true
	case "any":
		c.Mains = false
	default:
		return errors.New("mains or any")
	}
	return nil
}

// coolBy is how much cooler it must get before work goes on, where that is not
// said.
const coolBy = 10

func parseHeat(c *Config, s string) error {
	if s == "off" {
		c.Hottest, c.Cooled = 0, 0
		return nil
	}
	const want = "a temperature from 30C to 120C such as 85C, two to name when to go on again too, such as 85C/70C, or off"
	stop, back, two := strings.Cut(s, "/")
	hot, err := parseCelsius(stop)
	if err != nil {
		return errors.New(want)
	}
	cool := hot - coolBy
	if two {
		if cool, err = parseCelsius(back); err != nil || cool >= hot {
			return errors.New(want)
		}
	}
	c.Hottest, c.Cooled = hot, cool
	return nil
}

func parseCelsius(s string) (float64, error) {
	s = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(s), "c"), "°")
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(v >= 20 && v <= 120) {
		return 0, errors.New("no temperature")
	}
	return v, nil
}

func parseMetered(c *Config, s string) error {
	switch s {
	case "pause":
		c.Metered = false
	case "work":
		c.Metered = true
	default:
		return errors.New("pause or work")
	}
	return nil
}
