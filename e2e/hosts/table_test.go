package hosts

import (
	"sync"
	"testing"
	"time"
)

// row is one line of the table: what is taken away, and what must hold.
type row struct {
	name  string
	run   func(*world, *testing.T)
	quiet bool // comes when the other networks are done: it needs the machine
}

// tables are the rows, by the network that they share. The networks stand side by side:
// most of a row is waiting for blocks. There are as many as two processors carry: with
// three, rows took up to twice the time.
var tables = [][]row{
	{
		{name: "kills", run: kills},
		{name: "one validator cut", run: oneCut},
		{name: "two validators cut", run: twoCut},
		{name: "faults of machines", run: faults},
		{name: "the indexer dies", run: indexerDies},
		{name: "many light providers", run: lightProviders, quiet: true},
	},
	{
		{name: "a lying node", run: lyingNode},
		{name: "providers join and leave", run: joinLeave},
		{name: "NAT", run: nat},
		{name: "nodes restarted during posts", run: posts},
		{name: "client gone for a day", run: clientGone},
	},
}

func TestHosts1(t *testing.T) { run(t, 0) }
func TestHosts2(t *testing.T) { run(t, 1) }

// busy counts the networks whose rows are running. What is added before t.Parallel
// returns is added before any row begins.
var busy sync.WaitGroup

// run runs the rows of one network, which is founded for the first that is wanted.
func run(t *testing.T, table int) {
	busy.Add(1)
	done := sync.OnceFunc(busy.Done)
	defer done()
	t.Parallel()
	var w *world
	founded := false
	for _, r := range tables[table] {
		t.Run(r.name, func(rt *testing.T) {
			defer func() { score.end(r.name, rt.Failed()) }()
			if !founded {
				founded = true
				began := time.Now()
				w = newWorld(t, rt, table)
				rt.Logf("founded in %s", time.Since(began).Round(time.Second))
			}
			if w == nil {
				rt.Fatal("there is no network: see the first row")
			}
			if r.quiet {
				done()
				busy.Wait()
			}
			w.whole(rt)
			r.run(w, rt)
		})
	}
}
