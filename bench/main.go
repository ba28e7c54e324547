// Command bench measures Gotong's speed and memory beside a peer, in one run on
// one machine, and says for each row whether its bar is reached (README.md beside
// this file: what each row is and how it is measured).
//
// It promises real parts everywhere: the chain, libp2p, durable state, sandboxed
// workers; the runtime that executes nothing stands in only where a row measures
// what is around execution, and says so. It keeps nothing but
// bench/results/latest.txt, and changes no figure that is kept.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gotong-network/gotong/internal/runtime/wasm"
)

// bars are the rows' units and bars, in the order in which they are printed; a bar
// without direction is none.
var bars = []struct {
	name, unit, dir string
	bar             float64
}{
	{"dispatch_1", "items/s", ">=", 10_000},
	{"dispatch_1_vs_dask", "x", ">=", 10},
	{"dispatch_100", "items/s", ">=", 100_000},
	{"dispatch_4p_net_1", "items/s", ">=", 10_000},
	{"dispatch_4p_net_100", "items/s", ">=", 100_000},
	{"wasm_noop_path", "items/s", ">=", 5_000},
	{"first_result_p50", "ms", "<=", 5},
	{"submit_1m_s", "s", "<=", 2},
	{"submit_1m_bytes", "B/item", "<=", 64},
	{"settle", "batches/s", "-", 0},
	{"settle_4v", "batches/s", "-", 0},
	{"settle_blocks", "blocks", "-", 0},
	{"catch_up", "blocks/s", "-", 0},
	{"spam_block_time", "s", "<=", 0.3},
	{"spam_block_time_p99", "s", "<=", 0.3},
	{"overhead_coremark", "x", "<=", 1.30},
	{"overhead_go", "x", "<=", 1.30},
	{"overhead_cpython", "x", "<=", 1.30},
	{"overhead_float", "x", "<=", 1.6},
	{"overhead_simd", "x", "<=", 1.6},
	{"start_c", "ms", "<=", 0.1},
	{"start_go", "ms", "<=", 1},
	{"start_cpython", "ms", "<=", 3},
	{"wasm_noop_core", "items/s", ">=", 10_000},
	{"worker_roundtrip_p50", "ms", "<=", 0.1},
	{"cpu_share", "points off", "<=", 3},
	{"digest_rate", "GB/s", ">=", 1},
	{"rewrite_rate", "MB/s", ">=", 20},
	{"check_cpu", "x", "<=", 1.10},
	{"blob_vs_tls", "x", ">=", 0.5},
	{"blob_cpu_vs_tls", "x", "<=", 2},
	{"blob_vs_tls_memory", "x", "-", 0},
	{"blob_cpu_vs_tls_memory", "x", "-", 0},
	{"blob_rss", "MB", "<=", 100},
}

// measures run in this order; each fills in its rows. The longest is last.
var measures = []struct {
	rows []string
	run  func(context.Context, *bench) error
}{
	{[]string{"dispatch_1", "dispatch_1_vs_dask"}, dispatch1},
	{[]string{"dispatch_100"}, dispatch100},
	{[]string{"dispatch_4p_net_1"}, dispatchFour1},
	{[]string{"dispatch_4p_net_100"}, dispatchFour100},
	{[]string{"wasm_noop_path"}, wasmPath},
	{[]string{"first_result_p50"}, firstResult},
	{[]string{"submit_1m_s", "submit_1m_bytes"}, submit},
	{[]string{"settle"}, settle},
	{[]string{"settle_4v", "settle_blocks", "catch_up"}, settle4},
	{[]string{"spam_block_time", "spam_block_time_p99"}, spamBlockTime},
	{[]string{"overhead_coremark"}, overheadMark},
	{[]string{"overhead_go"}, overheadGo},
	{[]string{"overhead_cpython"}, overheadPython},
	{[]string{"overhead_float"}, overheadFloat},
	{[]string{"overhead_simd"}, overheadSIMD},
	{[]string{"start_c"}, startC},
	{[]string{"start_go"}, startGo},
	{[]string{"start_cpython"}, startPython},
	{[]string{"wasm_noop_core"}, noopCore},
	{[]string{"worker_roundtrip_p50"}, roundTrip},
	{[]string{"cpu_share"}, cpuShare},
	{[]string{"digest_rate"}, digestRate},
	{[]string{"rewrite_rate"}, rewriteRate},
	{[]string{"blob_vs_tls", "blob_cpu_vs_tls", "blob_vs_tls_memory", "blob_cpu_vs_tls_memory"}, blobVersusTLS},
	{[]string{"blob_rss"}, blobRSS},
	{[]string{"check_cpu"}, checkCPU},
}

// bench is one run.
type bench struct {
	quick  bool
	log    *slog.Logger
	out    io.Writer
	values map[string]float64

	heapFile string // for a profile of the live heap; empty: none
}

// heapProfile writes what the heap is made of now.
func (b *bench) heapProfile() error {
	if b.heapFile == "" {
		return nil
	}
	f, err := os.Create(b.heapFile)
	if err != nil {
		return err
	}
	return errors.Join(pprof.WriteHeapProfile(f), f.Close())
}

// say writes a line of detail.
func (b *bench) say(format string, a ...any) { fmt.Fprintf(b.out, format+"\n", a...) }

// size is n, or the smaller one in a quick run.
func (b *bench) size(n, quick int) int {
	if b.quick {
		return quick
	}
	return n
}

func main() {
	wasm.MaybeWorker() // sandbox workers are this executable
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	rows := flag.String("row", "", "measure only these `rows`, separated by commas")
	quick := flag.Bool("quick", false, "a short form: fewer items, less exact")
	dir := flag.String("out", filepath.Join("bench", "results"), "`folder` of latest.txt")
	logFile := flag.String("log", "", "write what the roles log to this `file`")
	profile := flag.String("cpuprofile", "", "write a CPU profile of this process to this `file`")
	heap := flag.String("heapprofile", "", "write what the heap holds when submit_1m's receipts are in to this `file`")
	flag.Parse()
	want, err := chosen(*rows)
	if err != nil {
		return err
	}
	b := &bench{quick: *quick, heapFile: *heap, values: map[string]float64{}}
	if b.log, err = openLog(*logFile); err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(*dir, "latest.txt"))
	if err != nil {
		return err
	}
	b.out = io.MultiWriter(os.Stdout, f)
	return errors.Join(b.measure(ctx, want), f.Close())
}

func openLog(name string) (*slog.Logger, error) {
	if name == "" {
		return slog.New(slog.DiscardHandler), nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return slog.New(slog.NewTextHandler(f, nil)), nil
}

// chosen gives the named rows, all if none is.
func chosen(list string) (map[string]bool, error) {
	want := map[string]bool{}
	for _, r := range bars {
		want[r.name] = list == ""
	}
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if _, ok := want[name]; !ok {
			return nil, fmt.Errorf("there is no row %q", name)
		}
		want[name] = true
	}
	for _, m := range measures { // rows that are measured together are shown together
		for _, r := range m.rows {
			want[r] = slices.ContainsFunc(m.rows, func(r string) bool { return want[r] })
		}
	}
	return want, nil
}

func (b *bench) measure(ctx context.Context, want map[string]bool) error {
	b.say("%s", machine(b.quick))
	var errs []error
	for _, m := range measures {
		if !slices.ContainsFunc(m.rows, func(r string) bool { return want[r] }) || ctx.Err() != nil {
			continue
		}
		b.say("\n# %s", strings.Join(m.rows, ", "))
		began := time.Now()
		if err := m.run(ctx, b); err != nil {
			b.say("failed: %v", err)
			errs = append(errs, fmt.Errorf("%s: %w", m.rows[0], err))
		}
		b.say("(the row took %.1f s)", time.Since(began).Seconds())
	}
	b.say("")
	for _, r := range bars {
		if want[r.name] {
			b.say("%s", b.line(r.name, r.unit, r.dir, r.bar))
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// line is a row's result.
func (b *bench) line(name, unit, dir string, bar float64) string {
	v, measured := b.values[name]
	if !measured {
		v = math.NaN()
	}
	verdict, bound := "ok", "-"
	if dir != "-" {
		bound = dir + strconv.FormatFloat(bar, 'f', -1, 64)
	}
	if !measured || dir == ">=" && !(v >= bar) || dir == "<=" && !(v <= bar) {
		verdict = "short"
	}
	return fmt.Sprintf("bench %s %s %s bar %s %s", name, number(v), unit, bound, verdict)
}

// number gives four significant digits, never an exponent.
func number(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	digits := max(0, 3-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// machine says what the figures are of.
func machine(quick bool) string {
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for l := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	form := "whole run"
	if quick {
		form = "quick run"
	}
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("%s, %s, %s/%s, %d cores (%s), commit %s", form, goruntime.Version(), goruntime.GOOS, goruntime.GOARCH, goruntime.NumCPU(), model, strings.TrimSpace(string(commit)))
}
