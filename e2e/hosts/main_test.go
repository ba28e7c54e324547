package hosts

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/cli"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
)

// asGotong is the variable that makes a copy of the test binary the program.
const asGotong = "GOTONG_E2E_RUN"

var (
	full = flag.Bool("full", false, "run the full form of every row, as make e2e does")
	seed = flag.Uint64("seed", 0, "seed of all draws (default: a new one, printed)")
	keep = flag.String("keep", "", "folder for homes and logs that stay (default: a temporary one)")
)

func TestMain(m *testing.M) {
	wasm.MaybeWorker()
	if os.Getenv(asGotong) != "" {
		os.Exit(gotong())
	}
	if os.Getenv(asSwarm) != "" {
		os.Exit(swarm())
	}
	if os.Getenv(asVisitor) != "" {
		os.Exit(visitor())
	}
	if os.Getenv(asPoster) != "" {
		os.Exit(poster())
	}
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	// The networks wait more than they work: they stand side by side on few processors too.
	if err := flag.Set("test.parallel", strconv.Itoa(len(tables)+1)); err != nil {
		panic(err)
	}
	code := m.Run()
	if score.rows > 0 {
		fmt.Println(score.line(code))
	}
	os.Exit(code)
}

// score counts rows.
var score scoreboard

type scoreboard struct {
	mu     sync.Mutex // guards the fields below
	rows   int
	failed []string
}

func (s *scoreboard) end(row string, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows++
	if failed {
		s.failed = append(s.failed, row)
	}
}

// line is the last line of a run.
func (s *scoreboard) line(code int) string {
	held := s.rows - len(s.failed)
	if code == 0 && len(s.failed) == 0 {
		return fmt.Sprintf("e2e ok %d/%d", held, s.rows)
	}
	return fmt.Sprintf("e2e FAILED %d/%d: %s", held, s.rows, strings.Join(s.failed, ", "))
}

// gotong is cmd/gotong's main.
func gotong() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// draws gives the random numbers of a row; the seed and the row's name decide them.
func draws(t *testing.T) *rand.Rand {
	t.Helper()
	t.Logf("-seed %d", *seed)
	sum := uint64(14695981039346656037) // FNV-1a of the name
	for _, b := range []byte(t.Name()) {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(*seed, sum))
}

// pick is a or, in the full form, b.
func pick[T any](short, whole T) T {
	if *full {
		return whole
	}
	return short
}

// until waits until something is so, and fails the test with the last reason why not.
func until(ctx context.Context, t *testing.T, what string, patience time.Duration, ok func() error) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		err := ok()
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			t.Fatalf("%s: %v: %v", what, ctx.Err(), err)
		case time.Now().After(end):
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second): // most looks start a program
		}
	}
}
