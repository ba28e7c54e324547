package libp2p

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
)

const offers = "gotong/offers/test-1/cpu/any"

// crowd is two indexers and light providers, all on this machine, that join at once.
type crowd struct {
	indexers  []*Network
	providers []*Network
	heard     []chan []byte
}

func gather(tb testing.TB, providers int) *crowd {
	tb.Helper()
	c := &crowd{}
	var boot []p2p.Peer
	enter := func(cfg Config, boot []p2p.Peer) *Network {
		key, err := sign.NewKey()
		if err != nil {
			tb.Fatal(err)
		}
		cfg.Key, cfg.Chain, cfg.Listen = key, "test-1", []string{"/ip4/127.0.0.1/tcp/0"}
		cfg.Bootstrap = func() []p2p.Peer { return boot }
		n, err := New(context.Background(), cfg)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { n.Close() })
		return n
	}
	for range 2 {
		n := enter(Config{Relay: true, Reach: p2p.ReachPublic}, boot)
		ch, err := n.Subscribe(context.Background(), offers, func([]byte) p2p.Verdict { return p2p.Accept })
		if err != nil {
			tb.Fatal(err)
		}
		heard := make(chan []byte, 1024)
		go func() {
			for b := range ch {
				heard <- b
			}
		}()
		c.indexers, c.heard = append(c.indexers, n), append(c.heard, heard)
		boot = append(boot, n.Self())
	}
	for range providers {
		c.providers = append(c.providers, enter(Config{Light: true}, boot))
	}
	return c
}

// announce lets all providers say their number as a provider does, until ctx ends.
func (c *crowd) announce(ctx context.Context, tb testing.TB, sent *atomic.Int64) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i, p := range c.providers {
		wg.Go(func() {
			for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
				if err := p.Publish(ctx, offers, append(make([]byte, 400), fmt.Sprint(i)...)); err != nil && ctx.Err() == nil {
					tb.Error(err)
					return
				}
				sent.Add(1)
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
			}
		})
	}
	return &wg
}

// complete waits until every indexer has heard of every provider.
func (c *crowd) complete(tb testing.TB) (messages int64) {
	var all sync.WaitGroup
	var total atomic.Int64
	for _, heard := range c.heard {
		all.Go(func() {
			seen, end := map[string]bool{}, time.After(waiting)
			for len(seen) < len(c.providers) {
				select {
				case b := <-heard:
					total.Add(1)
					seen[string(b[400:])] = true
				case <-end:
					tb.Errorf("%d of %d providers were heard", len(seen), len(c.providers))
					return
				}
			}
		})
	}
	all.Wait()
	return total.Load()
}

// reaches says how long it takes until all indexers have heard a new offer.
func (c *crowd) reaches(tb testing.TB) time.Duration {
	start := time.Now()
	if err := c.providers[0].Publish(context.Background(), offers, append(make([]byte, 400), "new"...)); err != nil {
		tb.Fatal(err)
	}
	end := time.After(waiting)
	for _, heard := range c.heard {
		for found := false; !found; {
			select {
			case b := <-heard:
				found = string(b[400:]) == "new"
			case <-end:
				tb.Fatal("a new offer was not heard")
			}
		}
	}
	return time.Since(start)
}

func TestLightProvidersAreHeard(t *testing.T) {
	t.Parallel()
	c := gather(t, 30)
	ctx, cancel := context.WithCancel(t.Context())
	var sent atomic.Int64
	wg := c.announce(ctx, t, &sent)
	c.complete(t)
	c.reaches(t)
	cancel()
	wg.Wait()
}

// BenchmarkCrowd is the cold start of 300 light providers: how long until both
// indexers know all, and what a provider costs.
func BenchmarkCrowd(b *testing.B) {
	const providers = 300
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := time.Now()
		c := gather(b, providers)
		ctx, cancel := context.WithCancel(context.Background())
		var sent atomic.Int64
		wg := c.announce(ctx, b, &sent)
		heard := c.complete(b)
		took := time.Since(start)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(took.Seconds(), "s/complete")
		b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/providers/1024, "KiB/provider")
		b.ReportMetric(float64(runtime.NumGoroutine())/providers, "goroutines/provider")
		b.ReportMetric(float64(heard)/took.Seconds(), "messages/s")
		b.ReportMetric(float64(c.reaches(b).Milliseconds()), "ms/new-offer")
		cancel()
		wg.Wait()
	}
}
