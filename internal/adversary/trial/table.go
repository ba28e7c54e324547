package trial

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// Options say how much is tried.
type Options struct {
	Seeds   int    // of each attack, on the machines of lifecycle
	Keepers int    // of them also on the keepers, a quarter of it for slow attacks
	First   uint64 // first seed
	Workers int    // runs at once
	Only    []string
}

// Report is what all attacks showed.
type Report struct {
	Options Options
	Rows    []*Row
	Open    []*Row // of the attacks that remain
	Runs    int    // worlds that were run
}

// task is one seed of an attack on one kind of chain.
type task struct {
	mk   Maker
	seed uint64
}

// RunAll runs all attacks and tells each row as it is done.
func RunAll(o Options, done func(*Row)) (*Report, error) {
	r := &Report{Options: o}
	l := Attacks()
	z := Bound(2 * len(l)) // a mean and a rate each
	for i, a := range append(l, Remaining()...) {
		if len(o.Only) > 0 && !slices.ContainsFunc(o.Only, func(p string) bool { return strings.HasPrefix(a.ID, p) }) {
			continue
		}
		pairs, err := o.run(a)
		if err != nil {
			return nil, err
		}
		row := Sum(a, pairs, z)
		row.OnKeepers = len(pairs) - o.Seeds
		if r.Runs += 2 * len(pairs); i < len(l) {
			r.Rows = append(r.Rows, row)
		} else {
			r.Open = append(r.Open, row)
		}
		done(row)
	}
	return r, nil
}

// run runs the seeds of an attack, some at once. The order of the pairs is that of
// the seeds.
func (o Options) run(a Attack) ([]Pair, error) {
	onKeepers := o.Keepers
	if a.Slow {
		onKeepers = (onKeepers + 3) / 4
	}
	tasks := make([]task, 0, o.Seeds+onKeepers)
	for i := range o.Seeds {
		tasks = append(tasks, task{Lifecycle, o.First + uint64(i)})
	}
	for i := range onKeepers {
		tasks = append(tasks, task{Keepers, o.First + uint64(i)})
	}
	pairs, errs := make([]Pair, len(tasks)), make([]error, len(tasks))
	next := make(chan int)
	var wg sync.WaitGroup
	for range max(o.Workers, 1) {
		wg.Go(func() {
			for i := range next {
				pairs[i], errs[i] = Run(a, tasks[i].mk, tasks[i].seed)
			}
		})
	}
	for i := range tasks {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return pairs, nil
}

// Passed counts the rows that were as expected.
func (r *Report) Passed() (n int) {
	for _, row := range r.Rows {
		if row.OK() {
			n++
		}
	}
	return n
}

// Failures are what was not as expected, with how to run it again.
func (r *Report) Failures() (l []string) {
	for _, row := range r.Rows {
		for i, err := range row.Why {
			if i == 5 {
				l = append(l, fmt.Sprintf("%s: and %d more", row.Attack.ID, len(row.Why)-i))
				break
			}
			again := ""
			if i < len(row.Failed) {
				again = fmt.Sprintf(" (again: go run ./internal/adversary/trial/adversaries -attack %s -first %d -seeds 1 -keepers 0)", row.Attack.ID, row.Failed[i].Seed)
			}
			l = append(l, fmt.Sprintf("%s: %v%s", row.Attack.ID, err, again))
		}
	}
	return l
}

// OK reports whether everything was as expected.
func (r *Row) OK() bool { return len(r.Why) == 0 }

// expected says what the attack is expected to show.
func (r *Row) expected() string {
	s := "loses in every run"
	switch {
	case r.Attack.Open:
		s = "may pay"
	case r.Attack.Harmless:
		s = "gains nothing"
	case r.Attack.Mean:
		s = "loses on average"
	}
	if r.Attack.Detects {
		s += fmt.Sprintf("; caught %.1f %%", 100*r.P/float64(max(r.False, 1)))
	}
	return s
}

// seen says what was seen.
func (r *Row) seen() string {
	s := fmt.Sprintf("%+.2f ± %.2f gtg a run", r.Mean, r.Error)
	if r.Above > 0 {
		s += fmt.Sprintf(", above its twin in %d", r.Above)
	}
	if r.ChiSquare > 0 {
		s += fmt.Sprintf("; χ² %.1f of at most %.1f", r.ChiSquare, chiSquare99_9)
	}
	if r.Attack.Detects {
		s += fmt.Sprintf("; caught %.1f %% of %d false batches", 100*float64(r.Caught)/float64(max(r.False, 1)), r.False)
	}
	if !r.OK() {
		s += "; NOT AS EXPECTED"
	}
	return s
}

// Line is the row for people.
func (r *Row) Line() string {
	return fmt.Sprintf("%-4s %-72s | %-42s | %-70s | %d + %d", r.Attack.ID, r.Attack.Name, r.expected(), r.seen(), r.Seeds-r.OnKeepers, r.OnKeepers)
}

// Markers of the generated part of docs/adversaries.md.
const (
	tableBegin = "<!-- begin: written by make adversaries -->\n"
	tableEnd   = "<!-- end: written by make adversaries -->\n"
)

// Keep writes the table into a file between its markers.
func (r *Report) Keep(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok1 := bytes.Cut(old, []byte(tableBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(tableEnd))
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no markers for the table", path)
	}
	return os.WriteFile(path, slices.Concat(before, []byte(tableBegin), []byte(r.table()), []byte(tableEnd), after), 0o644)
}

func (r *Report) table() string {
	var s strings.Builder
	s.WriteString("| | attack | expected | seen | seeds: lifecycle + keepers |\n|---|---|---|---|---|\n")
	rows := func(l []*Row) {
		for _, row := range l {
			fmt.Fprintf(&s, "| %s | %s | %s | %s | %d + %d |\n", row.Attack.ID, row.Attack.Name, row.expected(), row.seen(), row.Seeds-row.OnKeepers, row.OnKeepers)
		}
	}
	rows(r.Rows)
	fmt.Fprintf(&s, "\nadversaries ok %d/%d\n", r.Passed(), len(r.Rows))
	if len(r.Open) > 0 {
		s.WriteString("\nAttacks that remain (measured, not counted above):\n\n| | attack | expected | seen | seeds: lifecycle + keepers |\n|---|---|---|---|---|\n")
		rows(r.Open)
	}
	return s.String()
}
