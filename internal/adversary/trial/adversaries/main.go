// Command adversaries runs every attack of internal/adversary/trial over many
// seeds, on the machines of lifecycle and on the keepers of x/, and prints what was
// expected and what was seen. Its last line is "adversaries ok N/N"; a failing seed
// is printed with the command that runs it again. With -write it keeps the table in
// docs/adversaries.md.
//
// It never changes a chain: all of it happens in virtual time, in memory.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gotong-network/gotong/internal/adversary/trial"
)

func main() {
	var o trial.Options
	flag.IntVar(&o.Seeds, "seeds", 1000, "seeds of each attack")
	flag.IntVar(&o.Keepers, "keepers", 50, "how many of them run on the keepers of x/ too")
	flag.Uint64Var(&o.First, "first", 0, "first seed")
	flag.IntVar(&o.Workers, "workers", runtime.NumCPU(), "runs at once")
	only := flag.String("attack", "", "only attacks whose id begins so, separated by commas")
	write := flag.String("write", "", "keep the table in this file, between its markers")
	flag.Parse()
	debug.SetGCPercent(400) // many small worlds: memory is cheaper than collecting
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	if err := run(o, *write); err != nil {
		fmt.Fprintln(os.Stderr, "adversaries:", err)
		os.Exit(1)
	}
}

func run(o trial.Options, write string) error {
	begun := time.Now()
	r, err := trial.RunAll(o, func(row *trial.Row) { fmt.Println(row.Line()) })
	if err != nil {
		return err
	}
	for _, f := range r.Failures() {
		fmt.Println("FAILED", f)
	}
	if write != "" {
		if err := r.Keep(write); err != nil {
			return err
		}
	}
	fmt.Printf("%d runs in %s\n", r.Runs, time.Since(begun).Round(time.Second))
	fmt.Printf("adversaries ok %d/%d\n", r.Passed(), len(r.Rows))
	if r.Passed() < len(r.Rows) {
		return fmt.Errorf("%d attacks were not as expected", len(r.Rows)-r.Passed())
	}
	return nil
}
