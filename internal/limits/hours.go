package limits

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Hours is a span of some days of the week, in the local time zone.
type Hours struct {
	Days [7]bool // by time.Weekday, on which the span begins
	From int     // minutes after midnight
	To   int     // minutes after midnight, at most 1440; not after From: of the next day
}

// holds reports whether t lies in the span; t is in the zone that counts. Times of
// the clock are meant, also on days on which it is moved.
func (h Hours) holds(t time.Time) bool {
	m, day := t.Hour()*60+t.Minute(), t.Weekday()
	if h.From < h.To {
		return h.Days[day] && m >= h.From && m < h.To
	}
	return h.Days[day] && m >= h.From || h.Days[(day+6)%7] && m < h.To
}

// String gives it as an owner writes it.
func (h Hours) String() string {
	text := fmt.Sprintf("%02d:%02d-%02d:%02d", h.From/60, h.From%60, h.To/60, h.To%60)
	if h.Days == everyDay {
		return text
	}
	var days []string
	for i := range 7 {
		if d := (i + 1) % 7; h.Days[d] { // weeks begin on Monday here
			days = append(days, dayNames[d])
		}
	}
	return strings.Join(days, "+") + " " + text
}

var (
	dayNames = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	everyDay = [7]bool{true, true, true, true, true, true, true}
)

// maxHours bounds the spans of one owner.
const maxHours = 32

func parseHours(c *Config, s string) error {
	if s == "always" {
		c.Hours = nil
		return nil
	}
	var all []Hours
	for part := range strings.SplitSeq(s, ",") {
		h, err := parseSpan(part)
		if err != nil {
			return fmt.Errorf("times such as 22:00-07:00, with days before them if not every day: mon-fri 18:00-08:00; %w", err)
		}
		if all = append(all, h); len(all) > maxHours {
			return fmt.Errorf("at most %d spans", maxHours)
		}
	}
	c.Hours = all
	return nil
}

func parseSpan(s string) (h Hours, err error) {
	f := strings.Fields(s)
	h.Days = everyDay
	switch len(f) {
	case 1:
	case 2:
		if h.Days, err = parseDays(f[0]); err != nil {
			return h, err
		}
	default:
		return h, fmt.Errorf("%q is none", strings.TrimSpace(s))
	}
	from, to, ok := strings.Cut(f[len(f)-1], "-")
	if !ok {
		return h, fmt.Errorf("%q has no end", f[len(f)-1])
	}
	if h.From, err = parseClock(from); err != nil {
		return h, err
	}
	if h.To, err = parseClock(to); err != nil {
		return h, err
	}
	switch {
	case h.From == 24*60:
		return h, errors.New("a span begins before 24:00")
	case h.From == h.To:
		return h, fmt.Errorf("%q is empty: a whole day is 00:00-24:00", f[len(f)-1])
	}
	return h, nil
}

// parseClock gives minutes after midnight.
func parseClock(s string) (int, error) {
	hour, minute, ok := strings.Cut(s, ":")
	h, err1 := strconv.ParseUint(hour, 10, 8)
	m, err2 := strconv.ParseUint(minute, 10, 8)
	if !ok || err1 != nil || err2 != nil || len(minute) != 2 || m > 59 || h*60+m > 24*60 {
		return 0, fmt.Errorf("%q is no time of day", s)
	}
	return int(h*60 + m), nil
}

// parseDays reads mon, mon-fri or mon+wed+sat-sun.
func parseDays(s string) (days [7]bool, err error) {
	for part := range strings.SplitSeq(s, "+") {
		from, to, span := strings.Cut(part, "-")
		a := dayNumber(from)
		b := a
		if span {
			b = dayNumber(to)
		}
		if a < 0 || b < 0 {
			return days, fmt.Errorf("%q are no days: want mon, mon-fri or mon+wed", s)
		}
		for d := a; ; d = (d + 1) % 7 {
			days[d] = true
			if d == b {
				break
			}
		}
	}
	return days, nil
}

func dayNumber(s string) int {
	for i, name := range dayNames {
		if s == name {
			return i
		}
	}
	return -1
}
