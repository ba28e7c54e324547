package limits

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	base, err := Parse(Flags{})
	if err != nil || base.CPU != 25 || base.CPUIdle != 80 || !base.Mains {
		t.Fatalf("default: %+v, %v", base, err)
	}
	for _, c := range []struct {
		f    Flags
		test func(Config) bool
	}{
		{Flags{Preset: "Quiet"}, func(c Config) bool { return c.CPU == 10 && c.CPUIdle == 50 && c.Yield }},
		{Flags{Preset: "maximum"}, func(c Config) bool { return c.CPU == 100 && !c.Mains && !c.Metered }},
		{Flags{CPU: "10%"}, func(c Config) bool { return c.CPU == 10 && c.CPUIdle == 10 }},
		{Flags{CPU: " 7.5% / 80 % "}, func(c Config) bool { return c.CPU == 7.5 && c.CPUIdle == 80 }},
		{Flags{Memory: "4GiB"}, func(c Config) bool { return c.Memory.Bytes == 4<<30 }},
		{Flags{Memory: "1.5g"}, func(c Config) bool { return c.Memory.Bytes == 3<<29 }},
		{Flags{Memory: "500MB"}, func(c Config) bool { return c.Memory.Bytes == 500e6 }},
		{Flags{Disk: "25%"}, func(c Config) bool { return c.Disk.Of(1000) == 250 && c.Disk.Bytes == 0 }},
		{Flags{Idle: "yes"}, func(c Config) bool { return c.IdleOnly && c.IdleAfter == 5*time.Minute }},
		{Flags{Idle: "90s"}, func(c Config) bool { return c.IdleOnly && c.IdleAfter == 90*time.Second }},
		{Flags{Power: "any"}, func(c Config) bool { return !c.Mains }},
		{Flags{Heat: "80C"}, func(c Config) bool { return c.Hottest == 80 && c.Cooled == 70 }},
		{Flags{Heat: "85°c/60"}, func(c Config) bool { return c.Hottest == 85 && c.Cooled == 60 }},
		{Flags{Heat: "off"}, func(c Config) bool { return c.Hottest == 0 }},
		{Flags{Metered: "work"}, func(c Config) bool { return c.Metered }},
		{Flags{Hours: "22:00-07:00"}, func(c Config) bool { return len(c.Hours) == 1 && c.Hours[0].From == 1320 && c.Hours[0].To == 420 }},
		{Flags{Hours: "always"}, func(c Config) bool { return len(c.Hours) == 0 }},
	} {
		got, err := Parse(c.f)
		if err != nil || !c.test(got) {
			t.Errorf("%+v: %+v, %v", c.f, got, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    Flags
		says string
	}{
		{Flags{Preset: "silent"}, "quiet, balanced, maximum"},
		{Flags{CPU: "10"}, "10%/80%"},
		{Flags{CPU: "0%"}, "10%/80%"},
		{Flags{CPU: "101%"}, "10%/80%"},
		{Flags{CPU: "NaN%"}, "10%/80%"},
		{Flags{CPU: "80%/10%"}, "10%/80%"},
		{Flags{Memory: "4"}, "4GiB"},
		{Flags{Memory: "12b"}, "1MiB"},
		{Flags{Memory: "-4GiB"}, "4GiB"},
		{Flags{Memory: "1e30gib"}, "4GiB"},
		{Flags{Disk: "lots"}, "25%"},
		{Flags{Hours: "22-07"}, "22:00-07:00"},
		{Flags{Hours: "22:00-22:00"}, "00:00-24:00"},
		{Flags{Hours: "24:00-07:00"}, "24:00"},
		{Flags{Hours: "25:00-07:00"}, "25:00"},
		{Flags{Hours: "mon-fry 10:00-12:00"}, "mon-fri"},
		{Flags{Hours: "10:00-12:00,"}, "22:00-07:00"},
		{Flags{Idle: "1s"}, "10s"},
		{Flags{Power: "solar"}, "mains or any"},
		{Flags{Heat: "400C"}, "85C"},
		{Flags{Heat: "70C/80C"}, "85C/70C"},
		{Flags{Metered: "maybe"}, "pause or work"},
	} {
		_, err := Parse(c.f)
		if !errors.Is(err, ErrFlag) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want a word about %q", c.f, err, c.says)
		}
	}
	_, err := Parse(Flags{CPU: "x", Power: "y"})
	if err == nil || !strings.Contains(err.Error(), "--cpu") || !strings.Contains(err.Error(), "--power") {
		t.Errorf("two faults: %v", err)
	}
}

// TestListCoversFlags holds that every limit can be given by name.
func TestListCoversFlags(t *testing.T) {
	t.Parallel()
	var f Flags
	for _, x := range f.List() {
		*x.Value = x.Name
	}
	want := Flags{Preset: "limits", CPU: "cpu", Memory: "memory", Disk: "disk", Hours: "hours", Idle: "idle-only", Power: "power", Heat: "max-temp", Metered: "metered"}
	if f != want || f.IsZero() || !(&Flags{}).IsZero() {
		t.Errorf("%+v", f)
	}
}

func TestHours(t *testing.T) {
	t.Parallel()
	jakarta := time.FixedZone("WIB", 7*3600)
	at := func(day int, clock string) time.Time { // 2026-06-01 is a Monday
		c, err := time.Parse("15:04", clock)
		if err != nil {
			t.Fatal(err)
		}
		return time.Date(2026, 6, day, c.Hour(), c.Minute(), 59, 0, jakarta)
	}
	for _, c := range []struct {
		hours string
		day   int
		clock string
		want  bool
	}{
		{"22:00-07:00", 1, "21:59", false},
		{"22:00-07:00", 1, "22:00", true},
		{"22:00-07:00", 2, "06:59", true},
		{"22:00-07:00", 2, "07:00", false},
		{"09:00-17:00", 3, "12:00", true},
		{"09:00-17:00", 3, "17:00", false},
		{"mon-fri 22:00-07:00", 5, "23:00", true},  // Friday
		{"mon-fri 22:00-07:00", 6, "06:00", true},  // begun on Friday
		{"mon-fri 22:00-07:00", 6, "23:00", false}, // Saturday
		{"mon-fri 22:00-07:00", 1, "06:00", false}, // would have begun on Sunday
		{"sat-sun 00:00-24:00", 7, "23:59", true},  // Sunday
		{"sat-sun 00:00-24:00", 8, "00:00", false}, // Monday
		{"fri-mon 10:00-11:00", 1, "10:30", true},  // over the week's end
		{"fri-mon 10:00-11:00", 4, "10:30", false}, // Thursday
		{"tue+thu 10:00-11:00", 4, "10:30", true},  //
		{"01:00-02:00,03:00-04:00", 1, "02:30", false},
		{"01:00-02:00, sat 03:00-04:00", 6, "03:30", true},
	} {
		conf, err := Parse(Flags{Hours: c.hours})
		if err != nil {
			t.Fatal(err)
		}
		if got := within(conf.Hours, at(c.day, c.clock)); got != c.want {
			t.Errorf("%s on day %d at %s: %v", c.hours, c.day, c.clock, got)
		}
		again, err := Parse(Flags{Hours: hoursText(conf.Hours)})
		if err != nil || hoursText(again.Hours) != hoursText(conf.Hours) {
			t.Errorf("%s is written as %s: %v", c.hours, hoursText(conf.Hours), err)
		}
	}
}

// step is one reading and what must come of it.
type step struct {
	after  time.Duration // since the step before
	read   func(*Readings)
	cpu    float64
	slots  int
	paused bool
	why    string // must be contained
}

func TestDecide(t *testing.T) {
	t.Parallel()
	machine := Readings{Cores: 8, Memory: 16 << 30,
		Input: Input{Known: true, Idle: time.Hour}, Load: Load{Known: true}, Power: Power{Known: true},
		Heat: Heat{Known: true, Celsius: 50, What: "cpu"}, Net: Net{Known: true},
		Disk: Disk{Known: true, Total: 100 << 30, Free: 50 << 30}}
	with := func(f func(*Readings)) func(*Readings) { return f }
	typing := with(func(r *Readings) { r.Input.Idle, r.Input.What = 2*time.Second, "pts/3" })
	battery := with(func(r *Readings) { r.Power.Battery, r.Power.Percent = true, 61 })
	heat := func(c float64) func(*Readings) { return func(r *Readings) { r.Heat.Celsius = c } }
	free := func(n uint64) func(*Readings) { return func(r *Readings) { r.Disk.Free = n } }
	calm := with(func(*Readings) {})
	for _, c := range []struct {
		name  string
		flags Flags
		steps []step
	}{
		{"the start is in use until it was seen to be idle", Flags{CPU: "25%/75%"}, []step{
			{0, calm, 0.25, 2, false, "quiet for"},
			{4 * time.Minute, calm, 0.25, 2, false, "quiet for 4m"},
			{time.Minute, calm, 0.25, 2, false, ""},
			{14 * time.Second, calm, 0.25, 2, false, ""},
			{time.Second, calm, 0.75, 6, false, ""},
			{time.Second, typing, 0.25, 2, false, "pts/3 was used 2s ago"},
			{time.Second, calm, 0.25, 2, false, ""},
			{15 * time.Second, calm, 0.75, 6, false, ""},
		}},
		{"load of others is use", Flags{CPU: "25%/75%"}, []step{
			{0, calm, 0.25, 2, false, ""},
			{6 * time.Minute, calm, 0.25, 2, false, ""},
			{15 * time.Second, calm, 0.75, 6, false, ""},
			{time.Second, func(r *Readings) { r.Load.Cores = 2.5 }, 0.25, 2, false, "other programs keep 2.5 cores busy"},
			{time.Minute, func(r *Readings) { r.Load.Cores = 1.5 }, 0.25, 2, false, "quiet for 1m"},
		}},
		{"battery", Flags{CPU: "10%"}, []step{
			{0, calm, 0.1, 1, false, ""},
			{time.Second, battery, 0.1, 1, true, "on battery (61%)"},
			{time.Second, calm, 0.1, 1, true, "on battery (61%) (until a moment ago)"},
			{time.Second, calm, 0.1, 1, true, "on battery (61%) (until a moment ago)"},
			{10 * time.Second, battery, 0.1, 1, true, "on battery"}, // begins anew
			{10 * time.Second, calm, 0.1, 1, true, ""},
			{10 * time.Second, calm, 0.1, 1, true, ""},
			{5 * time.Second, calm, 0.1, 1, false, ""},
		}},
		{"battery is all right", Flags{Power: "any"}, []step{{0, battery, 0.25, 2, false, ""}}},
		{"heat goes on only when it is cool", Flags{CPU: "100%", Heat: "80C/70C"}, []step{
			{0, heat(80), 1, 8, false, ""},
			{time.Second, heat(80.5), 1, 8, true, "over 80 and goes on under 70"},
			{time.Minute, heat(70), 1, 8, true, "heat"},
			{time.Second, heat(69), 1, 8, true, "until a moment ago"},
			{15 * time.Second, heat(75), 1, 8, false, ""},
		}},
		{"hours", Flags{CPU: "50%", Hours: "22:00-07:00"}, []step{
			{0, calm, 0.5, 4, true, "work is allowed 22:00-07:00"}, // 12:00
			{10 * time.Hour, calm, 0.5, 4, true, ""},
			{15 * time.Second, calm, 0.5, 4, false, ""},
			{9*time.Hour - 15*time.Second, calm, 0.5, 4, true, "it is Tue 07:00"},
		}},
		{"idle only", Flags{CPU: "50%", Idle: "1m"}, []step{
			{0, calm, 0.5, 4, true, "idle only: quiet for"},
			{time.Minute, calm, 0.5, 4, true, ""},
			{15 * time.Second, calm, 0.5, 4, false, ""},
			{time.Second, typing, 0.5, 4, true, "idle only: pts/3"},
		}},
		{"idle only where that cannot be read", Flags{Idle: "1m"}, []step{
			{0, func(r *Readings) { r.Input, r.Load = Input{}, Load{} }, 0.25, 2, true, "cannot be read"},
			{time.Hour, func(r *Readings) { r.Input, r.Load = Input{}, Load{} }, 0.25, 2, true, "cannot be read"},
		}},
		{"nothing can be read", Flags{CPU: "50%/90%"}, []step{
			{0, func(r *Readings) { *r = Readings{Cores: 2} }, 0.5, 1, false, ""},
			{time.Hour, func(r *Readings) { *r = Readings{Cores: 2} }, 0.5, 1, false, "cannot be read"},
		}},
		{"metered", Flags{CPU: "10%"}, []step{
			{0, func(r *Readings) { r.Net.Metered, r.Net.What = true, "wwan0" }, 0.1, 1, true, "wwan0 is metered"},
		}},
		{"metered is all right", Flags{CPU: "10%", Metered: "work"}, []step{
			{0, func(r *Readings) { r.Net.Metered = true }, 0.1, 1, false, ""},
		}},
		{"the disk fills", Flags{CPU: "10%"}, []step{
			{0, free(2 << 30), 0.1, 1, false, ""},
			{time.Second, free(900 << 20), 0.1, 1, true, "900 MiB free, work stops under 1 GiB"},
			{time.Minute, free(1200 << 20), 0.1, 1, true, "disk"},
			{time.Second, free(1600 << 20), 0.1, 1, true, ""},
			{15 * time.Second, free(1600 << 20), 0.1, 1, false, ""},
		}},
		{"the blobs fill what is given", Flags{CPU: "10%", Disk: "10GiB"}, []step{
			{0, func(r *Readings) { r.Disk.Used = 9 << 30 }, 0.1, 1, false, ""},
			{time.Second, func(r *Readings) { r.Disk.Used = 39 << 28 }, 0.1, 1, true, "of the 10 GiB given"},
		}},
		{"several reasons", Flags{CPU: "10%", Hours: "22:00-07:00"}, []step{
			{0, battery, 0.1, 1, true, "22:00-07:00; power: on battery"},
		}},
		{"little memory gives few slots", Flags{CPU: "100%", Memory: "1GiB"}, []step{{0, calm, 1, 4, false, ""}}},
		{"a small share is one slot", Flags{CPU: "1%"}, []step{{0, calm, 0.01, 1, false, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conf, err := Parse(c.flags)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) // a Monday
			var s State
			for i, st := range c.steps {
				now = now.Add(st.after)
				r := machine
				st.read(&r)
				var d Decision
				d, s = Decide(conf, r, 0, now, s)
				if d.CPU != st.cpu || d.Slots != st.slots || d.Paused != st.paused || !strings.Contains(d.Why, st.why) || d.Paused && d.Why == "" {
					t.Errorf("step %d at %s: %+v, want %+v", i, now.Format(time.TimeOnly), d, st)
				}
			}
		})
	}
}

// TestClockSetBack holds that a clock that jumps back delays what is given by no
// more than one new wait.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	conf, err := Parse(Flags{CPU: "10%"})
	if err != nil {
		t.Fatal(err)
	}
	r := Readings{Cores: 2, Power: Power{Known: true, Battery: true}}
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	_, s := Decide(conf, r, 0, now, State{})
	r.Power.Battery = false
	_, s = Decide(conf, r, 0, now.Add(time.Second), s)
	d, s := Decide(conf, r, 0, now.Add(-time.Hour), s)
	if !d.Paused {
		t.Error("a step of the clock is no wait")
	}
	if d, _ = Decide(conf, r, 0, now.Add(-time.Hour+upAfter), s); d.Paused {
		t.Errorf("still paused: %s", d.Why)
	}
}
