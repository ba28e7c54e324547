package limits

import (
	"errors"
	"testing"
	"time"
)

// FuzzParse holds that whatever an owner writes is refused, or is limits that can be
// decided by.
func FuzzParse(f *testing.F) {
	f.Add("quiet", "10%/80%", "4GiB", "22:00-07:00,mon+wed-fri 00:00-24:00", "5m", "85C/70C")
	f.Add("", "1e-9%", "1e300tib", "sat-sun 23:59-00:00", "no", "off")
	f.Add("maximum", "100%", "100%", "always", "24h", "120")
	f.Fuzz(func(t *testing.T, preset, cpu, size, hours, idle, heat string) {
		c, err := Parse(Flags{Preset: preset, CPU: cpu, Memory: size, Disk: size, Hours: hours, Idle: idle, Heat: heat})
		if err != nil {
			if !errors.Is(err, ErrFlag) {
				t.Errorf("%v", err)
			}
			return
		}
		if !(c.CPU > 0 && c.CPU <= c.CPUIdle && c.CPUIdle <= 100) || c.IdleAfter < 10*time.Second || c.Hottest > 0 && c.Cooled >= c.Hottest {
			t.Errorf("%+v", c)
		}
		r := Readings{Cores: 4, Memory: 8 << 30, Heat: Heat{Known: true, Celsius: 60}}
		d, _ := Decide(c, r, 0, time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), State{})
		if d.Slots < 1 || d.Slots > 4 || !(d.CPU > 0 && d.CPU <= 1) || d.Memory > r.Memory || d.Paused && d.Why == "" {
			t.Errorf("%+v of %+v", d, c)
		}
	})
}
