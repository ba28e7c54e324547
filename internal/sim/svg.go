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
	unit  string // of the values, at the top of their axis
	every int64  // values are in 1/every of the unit; 0 is 1
	day   int    // values a day; 0 is 1
	zero  bool   // the axis begins at 0
	lines []line
	w, h  int64 // of the plot, in pixels
	bare  bool  // neither legend nor grid: one of many small ones
}

// colours tell lines apart, on light and dark ground.
var colours = [12]string{"#2e9e44", "#e03131", "#1c7ed6", "#f08c00", "#9c36b5", "#0c8599", "#e64980", "#74a000", "#a0714f", "#748090", "#4c5fd7", "#b08900"}

// Room around a plot, in pixels.
const (
	leftRoom   = 58
	rightRoom  = 12
	topRoom    = 26
	bottomRoom = 24
)

// svg writes the chart as an inline figure.
func (c *chart) svg() string {
	if c.bare {
		return c.spark()
	}
	if c.w == 0 {
		c.w, c.h = 450, 190
	}
	lo, hi := c.bounds()
	step := c.step(hi - lo)
	lo, hi = floor(lo, step), -floor(-hi, step)
	var b strings.Builder
	fmt.Fprintf(&b, "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", c.title, leftRoom+c.w+rightRoom, topRoom+c.h+bottomRoom, c.title)
	c.grid(&b, lo, hi, step)
	c.draw(&b, lo, hi, leftRoom, topRoom)
	b.WriteString("</svg>")
	c.legend(&b)
	b.WriteString("</figure>\n")
	return b.String()
}

// spark writes the lines alone.
func (c *chart) spark() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", c.w+4, c.h+4, c.title)
	lo, hi := c.bounds()
	c.draw(&b, lo, hi, 2, 2)
	b.WriteString("</svg>")
	return b.String()
}

func (c *chart) legend(b *strings.Builder) {
	if len(c.lines) < 2 {
		return
	}
	b.WriteString("<p class=\"legend\">")
	for i, l := range c.lines {
		fmt.Fprintf(b, "<span><i style=\"background:%s\"></i>%s</span> ", colours[i%len(colours)], l.name)
	}
	b.WriteString("</p>")
}

// draw writes the lines; one that is a single point is a dot.
func (c *chart) draw(b *strings.Builder, lo, hi, left, top int64) {
	for i, l := range c.lines {
		colour := colours[i%len(colours)]
		p := c.points(l.values, lo, hi, left, top)
		if len(l.values) == 1 {
			x, y, _ := strings.Cut(p, ",")
			fmt.Fprintf(b, "<circle cx=\"%s\" cy=\"%s\" r=\"3\" fill=\"%s\"/>", x, y, colour)
			continue
		}
		fmt.Fprintf(b, "<polyline stroke=\"%s\" points=\"%s\"><title>%s</title></polyline>", colour, p, l.name)
	}
}

// step is a round distance of lines of a grid, so that three to six cover span.
func (c *chart) step(span int64) int64 {
	unit := int64(1)
	if tens := int64(1); c.every > 1 {
		for tens < c.every {
			tens *= 10
		}
		if tens != c.every { // a round part of such a unit is no whole number
			unit = c.every
		}
	}
	for {
		for _, n := range []int64{1, 2, 5} {
			if span <= 5*n*unit {
				return n * unit
			}
		}
		unit *= 10
	}
}

// floor is the largest multiple of step that is at most v.
func floor(v, step int64) int64 {
	q := v / step
	if v < q*step {
		q--
	}
	return q * step
}

// bounds are the least and the greatest value.
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

// grid writes lines at round values, and the days.
func (c *chart) grid(b *strings.Builder, lo, hi, step int64) {
	fmt.Fprintf(b, "<text x=\"%d\" y=\"12\">%s</text>", 2, c.unit)
	for v := lo; v <= hi; v += step {
		y := topRoom + c.h - scale(v-lo, c.h, hi-lo)
		class := ""
		if v == 0 {
			class = " class=\"zero\""
		}
		fmt.Fprintf(b, "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"%s/><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>",
			leftRoom, leftRoom+c.w, y, y, class, leftRoom-6, y+4, c.value(v, step))
	}
	c.days(b)
}

// days writes some days under the plot.
func (c *chart) days(b *strings.Builder) {
	n, per := 0, max(c.day, 1)
	for _, l := range c.lines {
		n = max(n, len(l.values))
	}
	days := (n + per - 1) / per
	every := max((days+5)/6, 1)
	for d := 1; d <= days; d++ {
		if d > 1 && d%every != 0 {
			continue
		}
		x := int64(leftRoom)
		if n > 1 {
			x += c.w * int64((d-1)*per) / int64(n-1)
		}
		label := strconv.Itoa(d)
		if d == 1 {
			label = "day 1"
		}
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>", x, topRoom+c.h+17, label)
	}
}

// value writes a value of an axis whose lines are step apart.
func (c *chart) value(v, step int64) string {
	every := max(c.every, 1)
	if every == 1 {
		return short(v)
	}
	digits, tens := 0, int64(1)
	for step*tens%every != 0 && digits < 4 {
		digits, tens = digits+1, tens*10
	}
	sign := ""
	if v < 0 {
		sign, v = "−", -v
	}
	if digits == 0 {
		return sign + group(uint64(v/every))
	}
	return fmt.Sprintf("%s%s.%0*d", sign, group(uint64(v/every)), digits, v%every*tens/every)
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
