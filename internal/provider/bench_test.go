package provider_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// BenchmarkReceipts measures items per second from signed assignments of one-item
// ranges to durable, signed receipts on the same stream.
func BenchmarkReceipts(b *testing.B) {
	for _, size := range []uint64{1, 100} {
		b.Run(fmt.Sprintf("range %d", size), func(b *testing.B) { receipts(b, size) })
	}
}

func receipts(b *testing.B, size uint64) {
	w := newWorld(b)
	w.tick()
	a := w.provider("prov-a", &quick{})
	a.edit = func(c *Config) { c.Own = func(work.Address) bool { return true }; c.Log = nil }
	a.start()
	const items = 400_000
	s := w.job(items, work.TierNone)
	x := w.dial(a)
	x.introduce(s)
	next := uint64(0)
	b.ResetTimer()
	for range b.N {
		start, from := time.Now(), next
		for time.Since(start) < time.Second && next < items {
			// 64 ranges under a signature, apart so that they do not merge into one.
			var rs []work.Range
			for k := uint64(0); k < 64 && next < items; k++ {
				rs = append(rs, work.Range{Lo: next, Hi: min(next+size, items)})
				next += size + 1
			}
			next = min(next, items)
			x.assign(s, "prov-a", 0, 0, rs...)
			for x.w.t.Context().Err() == nil && (next-from)*size/(size+1) > x.have(s.ID())+20_000 {
				time.Sleep(time.Millisecond)
			}
		}
		b.ReportMetric(float64(x.have(s.ID()))/time.Since(start).Seconds(), "items/s")
	}
}

// BenchmarkFirstReceipt measures the way of one item alone: assignment, run, disk,
// receipt.
func BenchmarkFirstReceipt(b *testing.B) {
	w := newWorld(b)
	w.tick()
	a := w.provider("prov-a", &quick{})
	a.edit = func(c *Config) { c.Own = func(work.Address) bool { return true }; c.Log = nil }
	a.start()
	s := w.job(1<<30, work.TierNone)
	x := w.dial(a)
	x.introduce(s)
	for i := range uint64(b.N) {
		x.assign(s, "prov-a", 0, 0, work.Range{Lo: i, Hi: i + 1})
		for x.have(s.ID()) <= i {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// quick gives a result without output at once.
type quick struct{ toy }

func (*quick) Slots() int { return 2 }

func (*quick) Run(_ context.Context, t runtime.Task) (*runtime.Run, error) {
	in := t.Item.InputDigest(work.Program(t.Program, t.Profile), t.Limits, t.Seed)
	var out work.Output
	o := work.Outcome{Kind: work.Exited}
	return &runtime.Run{Leaf: work.Leaf{Input: in, Output: out.Digest(o), Outcome: o, Fuel: 1000, Memory: in}}, nil
}
