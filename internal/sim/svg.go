package sim

import (
	"fmt"
	"strconv"
	"strings"
)

// line is one line of a chart.
type line struct {
	name   string
	values []int64
}

// chart is a line chart. All coordinates are whole tenths of a pixel, so that the
// same numbers give the same bytes everywhere.
type chart struct {
	title string
	note  string // below
	unit  string
	every int64  // values are in 1/every of the unit; 0 is 1
	xunit string // of a step
	zero  bool   // the axis begins at 0
	lines []line
	w, h  int64 // of the plot, in pixels
	bare  bool  // neither legend nor grid: one of many small ones
}

// colours tell lines apart, on light and dark ground.
var colours = [10]string{"#2e7d32", "#d32f2f", "#1976d2", "#f57c00", "#7b1fa2", "#00838f", "#c2185b", "#6d8b00", "#8d6e63", "#607d8b"}

// svg writes the chart as an inline figure.
func (c *chart) svg() string {
	if c.w == 0 {
		c.w, c.h = 640, 220
	}
	lo, hi := c.bounds()
	var b strings.Builder
	left, top := int64(70), int64(8)
	if c.bare {
		left = 4
	}
	fmt.Fprintf(&b, "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", c.title, left+c.w+8, top+c.h+22, c.title)
	if !c.bare {
		c.grid(&b, lo, hi, left, top)
	}
	for i, l := range c.lines {
		fmt.Fprintf(&b, "<polyline stroke=\"%s\" points=\"%s\"><title>%s</title></polyline>", colours[i%len(colours)], c.points(l.values, lo, hi, left, top), l.name)
	}
	b.WriteString("</svg>")
	if len(c.lines) > 1 && !c.bare {
		b.WriteString("<p class=\"legend\">")
		for i, l := range c.lines {
			fmt.Fprintf(&b, "<span><i style=\"background:%s\"></i>%s</span> ", colours[i%len(colours)], l.name)
		}
		b.WriteString("</p>")
	}
	if c.note != "" {
		fmt.Fprintf(&b, "<p class=\"note\">%s</p>", c.note)
	}
	b.WriteString("</figure>\n")
	return b.String()
}

// bounds are the least and the greatest value, with some room.
func (c *chart) bounds() (lo, hi int64) {
	first := true
	for _, l := range c.lines {
		for _, v := range l.values {
			if first {
				lo, hi, first = v, v, false
			}
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if c.zero {
		lo, hi = min(lo, 0), max(hi, 0)
	}
	if hi == lo {
		hi = lo + 1
	}
	return lo, hi
}

// points are the coordinates of a line.
func (c *chart) points(v []int64, lo, hi, left, top int64) string {
	var b strings.Builder
	for i, y := range v {
		x := 10 * left
		if len(v) > 1 {
			x += 10 * c.w * int64(i) / int64(len(v)-1)
		}
		py := 10*(top+c.h) - scale(y-lo, 10*c.h, hi-lo)
		if i > 0 {
			b.WriteByte(' ')
		}
		tenths(&b, x)
		b.WriteByte(',')
		tenths(&b, py)
	}
	return b.String()
}

// scale is ⌊v × to / of⌋ for 0 ≤ v ≤ of, without overflow.
func scale(v, to, of int64) int64 { return int64(must64(uint64(v), uint64(to), uint64(of))) }

func tenths(b *strings.Builder, v int64) {
	b.WriteString(strconv.FormatInt(v/10, 10))
	if v%10 != 0 {
		b.WriteByte('.')
		b.WriteString(strconv.FormatInt(v%10, 10))
	}
}

// grid writes five lines with their values, and the first and last step.
func (c *chart) grid(b *strings.Builder, lo, hi, left, top int64) {
	const rows = 4
	for i := range int64(rows + 1) {
		y := top + c.h - c.h*i/rows
		v := lo + scale(hi-lo, i, rows)
		fmt.Fprintf(b, "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>", left, left+c.w, y, y, left-6, y+4, c.value(v))
	}
	n := 0
	for _, l := range c.lines {
		n = max(n, len(l.values))
	}
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\">%s 1</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s %d</text><text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>",
		left, top+c.h+16, c.xunit, left+c.w, top+c.h+16, c.xunit, n, left+c.w/2, top+c.h+16, c.unit)
}

// value writes a value of an axis.
func (c *chart) value(v int64) string {
	if c.every <= 1 {
		return short(v)
	}
	return decimal(v, c.every)
}

// decimal is v/per with two digits.
func decimal(v, per int64) string {
	sign := ""
	if v < 0 {
		sign, v = "−", -v
	}
	return fmt.Sprintf("%s%s.%02d", sign, group(uint64(v/per)), v%per*100/per)
}

// short writes a large number with a letter: 1.2k, 3.4M, 5.6G.
func short(v int64) string {
	sign := ""
	if v < 0 {
		sign, v = "−", -v
	}
	for _, s := range []struct {
		per  int64
		unit string
	}{{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= 10*s.per {
			return fmt.Sprintf("%s%d%s", sign, v/s.per, s.unit)
		}
		if v >= s.per {
			return fmt.Sprintf("%s%d.%d%s", sign, v/s.per, v%s.per*10/s.per, s.unit)
		}
	}
	return sign + strconv.FormatInt(v, 10)
}

// group writes a number with spaces between thousands.
func group(v uint64) string {
	s := strconv.FormatUint(v, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}
