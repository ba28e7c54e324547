package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// Local is one item run on this machine, without a network.
type Local struct {
	*runtime.Run
	Seconds    float64   // wall time, with loading the program if it was not warm
	FuelPerSec work.Fuel // of those seconds
}

// RunLocal runs one task and measures it. `gotong run` uses it: the same code
// path as a provider's.
func RunLocal(ctx context.Context, rt runtime.Runtime, t runtime.Task) (*Local, error) {
	start := time.Now()
	run, err := rt.Run(ctx, t)
	if err != nil {
		return nil, err
	}
	seconds := max(time.Since(start).Seconds(), 1e-9)
	return &Local{run, seconds, work.Fuel(float64(run.Leaf.Fuel) / seconds)}, nil
}

// calibrationRounds takes about 0.1 s on a slow core.
const calibrationRounds = 8_000_000

// Calibration is the module that Benchmark runs: a loop of integer arithmetic
// and memory access. It is public so that it can be put into the Blobs of the
// runtime.
func Calibration() []byte {
	body := []byte{
		0x01, 0x01, 0x7f, // a local i32, the counter
		0x03, 0x40, // loop
		0x20, 0, 0x41, 0x05, 0x6c, 0x41, 0xfc, 0xff, 0x03, 0x71, // (5·i) and 0xfffc
		0x20, 0, 0x41, 0xfc, 0xff, 0x03, 0x71, 0x28, 2, 0, // load at i and 0xfffc
		0x20, 0, 0x6a, 0x41, 7, 0x77, 0x20, 0, 0x73, // (+ i) rotl 7, xor i
		0x36, 2, 0, // store
		0x20, 0, 0x41, 1, 0x6a, 0x22, 0, // i+1
		0x41, // rounds, below
	}
	body = append(body, leb(calibrationRounds)...)
	body = append(body, 0x49, 0x0d, 0, 0x0b, 0x0b)
	m := []byte{0, 'a', 's', 'm', 1, 0, 0, 0,
		1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 19, 2, 6, '_', 's', 't', 'a', 'r', 't', 0, 0, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0}
	code := append([]byte{1, byte(len(body))}, body...)
	return append(append(m, 10, byte(len(code))), code...)
}

// leb writes a small positive number as signed LEB128.
func leb(v int) []byte {
	var b []byte
	for ; v >= 0x40; v >>= 7 {
		b = append(b, byte(v&0x7f)|0x80)
	}
	return append(b, byte(v))
}

// Benchmark measures how much fuel one slot burns in a second, for a provider's
// offer: the best of three short runs, the first of which also loads the program.
// It needs no blobs of the caller. ctx bounds it.
func Benchmark(ctx context.Context, cfg Config) (work.Fuel, error) {
	module := Calibration()
	id := work.BlobOf(module)
	cfg.Blobs, cfg.Slots = oneBlob{id, module}, 1
	rt, err := New(cfg)
	if err != nil {
		return 0, err
	}
	defer rt.Close()
	task := runtime.Task{Program: id, Profile: gw1.Version, Item: &work.Item{},
		Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 1e12, OutputBytes: 1}}
	var best work.Fuel
	for range 3 {
		run, err := RunLocal(ctx, rt, task)
		if err != nil {
			return 0, fmt.Errorf("measure this host's speed: %w", err)
		}
		if !run.Leaf.Outcome.OK() {
			return 0, errors.New("measure this host's speed: " + run.Leaf.Outcome.String())
		}
		best = max(best, run.FuelPerSec)
	}
	return best, nil
}

// oneBlob is a source of one blob.
type oneBlob struct {
	id    work.BlobID
	bytes []byte
}

// Open implements runtime.Blobs.
func (o oneBlob) Open(b work.BlobID) (runtime.BlobReader, error) {
	if b != o.id {
		return nil, runtime.ErrBlobMissing
	}
	return memoryBlob{bytes.NewReader(o.bytes)}, nil
}

type memoryBlob struct{ *bytes.Reader }

// Close implements io.Closer.
func (memoryBlob) Close() error { return nil }
