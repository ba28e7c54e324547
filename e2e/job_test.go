package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// program is testdata/work as a WASI command, built once per run.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "gotong-e2e-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "work.wasm")
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./testdata/work")
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testdata/work: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

func mustProgram(t testing.TB) []byte {
	t.Helper()
	b, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sum is what testdata/work computes.
func sum(b []byte, i, n uint64) uint64 {
	x := i + 0x9e3779b97f4a7c15
	for _, c := range b {
		x = (x ^ uint64(c)) * 0x100000001b3
	}
	x |= 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

// sums is a job of numbered items that read one shared file.
type sums struct {
	items, rounds uint64
	shared        []byte
	tier          work.Tier
}

func (s sums) request(t testing.TB) client.Request {
	t.Helper()
	sources := client.Sources{}
	id, err := sources.Add(client.BytesSource(s.shared))
	if err != nil {
		t.Fatal(err)
	}
	return client.Request{
		Program: client.BytesSource(mustProgram(t)), Sources: sources, Seed: 1, Tier: s.tier,
		List: &work.ItemList{
			Args:   []string{"sum", "{i}", strconv.FormatUint(s.rounds, 10), "shared.txt"},
			Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: s.items},
			Shared: []work.File{{Path: "shared.txt", Blob: id}},
		},
		Limits:      work.Limits{MemoryBytes: 256 << 20, Fuel: 100_000_000_000, OutputBytes: 1 << 20},
		FuelPerItem: 2_000_000_000,
	}
}

// want is what item i prints.
func (s sums) want(i uint64) string { return fmt.Sprintf("%d %016x\n", i, sum(s.shared, i, s.rounds)) }

// follow watches the job to its end, compares every output, and gives how it ended.
func (s sums) follow(ctx context.Context, t testing.TB, c *client.Client, id work.JobID, on func(client.Progress)) *client.Outcome {
	t.Helper()
	results := make([]*work.Result, s.items)
	out, err := c.Watch(ctx, id, func(p client.Progress) error {
		for _, u := range p.Changed {
			if u.State == wire.ItemVerified {
				results[u.Index] = u.Result
			}
		}
		if on != nil {
			on(p)
		}
		return nil
	})
	if err != nil {
		t.Errorf("watch: %v", err)
		return nil
	}
	if n := out.Verified.Len(); n != s.items {
		t.Errorf("%d of %d items verified; failed: %v, missing: %v", n, s.items, out.Failed, out.Missing)
		return out
	}
	err = c.Deliver(ctx, results, func(r *work.Result, open client.Opener) error {
		o, err := open(r.Output.Stdout)
		if err != nil {
			return err
		}
		defer o.Close()
		b, err := io.ReadAll(o)
		if err != nil {
			return err
		}
		if want := s.want(r.Index); string(b) != want {
			t.Errorf("item %d printed %q, want %q", r.Index, b, want)
		}
		return nil
	})
	if err != nil {
		t.Errorf("outputs: %v", err)
	}
	return out
}
