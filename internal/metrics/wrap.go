package metrics

import (
	"context"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Runtime counts what a role runs.
func (m *Metrics) Runtime(rt runtime.Runtime, role string) runtime.Runtime {
	if m == nil || rt == nil {
		return rt
	}
	return &countedRuntime{rt, m, role}
}

type countedRuntime struct {
	runtime.Runtime
	m    *Metrics
	role string
}

// Run implements runtime.Runtime.
func (r *countedRuntime) Run(ctx context.Context, t runtime.Task) (*runtime.Run, error) {
	began := time.Now()
	run, err := r.Runtime.Run(ctx, t)
	var refused *runtime.Refused
	end := "fault"
	switch {
	case err == nil && run.Leaf.Outcome.OK():
		end = "ok"
	case err == nil:
		end = "failed"
	case errors.As(err, &refused):
		end = "refused"
	case ctx.Err() != nil:
		return run, err // stopped: it did not end
	}
	r.m.Add("items_total", 1, r.role, end)
	if err == nil {
		r.m.Add("fuel_total", float64(run.Leaf.Fuel), r.role)
		r.m.Observe("item_seconds", time.Since(began).Seconds(), r.role)
	}
	return run, err
}

// Shed implements runtime.Shedder.
func (r *countedRuntime) Shed() {
	if s, ok := r.Runtime.(runtime.Shedder); ok {
		s.Shed()
	}
}

// Ledger counts what a node sends to the chain and what it hears from it.
func (m *Metrics) Ledger(l ledger.Ledger) ledger.Ledger {
	if m == nil {
		return l
	}
	return &countedLedger{Ledger: l, m: m}
}

type countedLedger struct {
	ledger.Ledger
	m *Metrics

	heard atomic.Int64 // newest height whose events were counted: several roles follow
}

// Submit implements ledger.Submitter.
func (l *countedLedger) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	in, err := l.Ledger.Submit(ctx, from, msgs...)
	end := "error"
	switch {
	case err == nil:
		end = "included"
	case errors.Is(err, ledger.ErrFunds):
		end = "funds"
	case errors.Is(err, ledger.ErrRefused):
		end = "refused"
	case ctx.Err() != nil:
		return in, err
	}
	l.m.Add("ledger_transactions_total", 1, messageName(msgs), end)
	return in, err
}

// messageName is the first message's type; their number is bounded.
func messageName(msgs []ledger.Msg) string {
	if len(msgs) == 0 {
		return "none"
	}
	return strings.TrimPrefix(reflect.TypeOf(msgs[0]).String(), "ledger.")
}

// Follow implements ledger.Follower.
func (l *countedLedger) Follow(ctx context.Context, from int64, f func(ledger.Block) error) error {
	return l.Ledger.Follow(ctx, from, func(b ledger.Block) error {
		for h := l.heard.Load(); b.Height > h; h = l.heard.Load() {
			if l.heard.CompareAndSwap(h, b.Height) {
				for _, e := range b.Events {
					if e.Phase > 0 && e.Phase <= lifecycle.Unpaid {
						l.m.Add("batch_phases_total", 1, e.Phase.String())
					}
				}
				break
			}
		}
		return f(b)
	})
}

// ReadLedger sets the gauges of the chain at each asking.
func (m *Metrics) ReadLedger(l ledger.Reader) {
	m.Read(func(set Setter) {
		ctx, cancel := context.WithTimeout(context.Background(), ledgerTimeout)
		defer cancel()
		st, err := l.Status(ctx)
		if err != nil {
			set("ledger_up", 0)
			return
		}
		set("ledger_up", 1)
		set("ledger_height", float64(st.Height))
		if !st.Time.IsZero() {
			set("ledger_lag_seconds", max(time.Since(st.Time).Seconds(), 0))
		}
	})
}

// ledgerTimeout bounds what a scrape waits for the chain.
const ledgerTimeout = 2 * time.Second

// Fetcher counts what is fetched; store is where it ends up.
func (m *Metrics) Fetcher(f blob.SharedFetcher, store blob.Store) blob.Fetcher {
	if m == nil {
		return f
	}
	return &countedFetcher{f, m, store}
}

type countedFetcher struct {
	blob.SharedFetcher
	m     *Metrics
	store blob.Store
}

// Fetch implements blob.Fetcher.
func (f *countedFetcher) Fetch(ctx context.Context, b work.BlobID, holders []p2p.Peer) error {
	return f.count(b, func() error { return f.SharedFetcher.Fetch(ctx, b, holders) })
}

// FetchShared implements blob.SharedFetcher.
func (f *countedFetcher) FetchShared(ctx context.Context, b work.BlobID, holders blob.Holders) error {
	return f.count(b, func() error { return f.SharedFetcher.FetchShared(ctx, b, holders) })
}

func (f *countedFetcher) count(b work.BlobID, fetch func() error) error {
	here := f.store.Has(b)
	err := fetch()
	switch {
	case err != nil:
		f.m.Add("blob_fetches_total", 1, "failed")
	case here:
		f.m.Add("blob_fetches_total", 1, "here")
	default:
		f.m.Add("blob_fetches_total", 1, "fetched")
		f.m.Add("blob_fetched_bytes_total", float64(b.Size))
	}
	return err
}

// Network counts streams, their bytes, and gossip.
func (m *Metrics) Network(n p2p.Network) p2p.Network {
	if m == nil {
		return n
	}
	return &countedNetwork{n, m}
}

type countedNetwork struct {
	p2p.Network
	m *Metrics
}

// Dial implements p2p.Network.
func (n *countedNetwork) Dial(ctx context.Context, p p2p.Peer, proto p2p.Protocol) (p2p.Stream, error) {
	s, err := n.Network.Dial(ctx, p, proto)
	if err != nil {
		return nil, err
	}
	return n.m.stream(s, proto), nil
}

// Handle implements p2p.Network.
func (n *countedNetwork) Handle(proto p2p.Protocol, h p2p.Handler) {
	n.Network.Handle(proto, func(ctx context.Context, s p2p.Stream) { h(ctx, n.m.stream(s, proto)) })
}

// Publish implements p2p.Network.
func (n *countedNetwork) Publish(ctx context.Context, topic string, data []byte) error {
	err := n.Network.Publish(ctx, topic, data)
	if err == nil {
		n.m.Add("gossip_total", 1, "published")
	}
	return err
}

// Subscribe implements p2p.Network.
func (n *countedNetwork) Subscribe(ctx context.Context, topic string, check p2p.Check) (<-chan []byte, error) {
	return n.Network.Subscribe(ctx, topic, func(b []byte) p2p.Verdict {
		n.m.Add("gossip_total", 1, "heard")
		if check == nil {
			return p2p.Accept
		}
		return check(b)
	})
}

// countedStream counts frames. Like every stream it is used by one sender and one
// receiver at a time.
type countedStream struct {
	p2p.Stream
	m       *Metrics
	proto   string
	in, out prometheus.Counter
	closed  sync.Once

	ping atomic.Uint64 // number of the newest ping that was sent
	at   atomic.Int64  // when, in nanoseconds of the clock; 0: answered
}

func (m *Metrics) stream(s p2p.Stream, proto p2p.Protocol) p2p.Stream {
	name := protocolName(proto)
	bytes := m.counters["stream_bytes_total"]
	m.streams.add(name, 1)
	return &countedStream{Stream: s, m: m, proto: name, in: bytes.WithLabelValues(name, "in"), out: bytes.WithLabelValues(name, "out")}
}

// protocolName is blob of /gotong/blob/1.
func protocolName(p p2p.Protocol) string {
	parts := strings.Split(string(p), "/")
	if len(parts) < 3 {
		return string(p)
	}
	return parts[2]
}

// Send implements p2p.Stream.
func (s *countedStream) Send(frame []byte) error {
	err := s.Stream.Send(frame)
	if err == nil {
		s.out.Add(float64(len(frame)))
		s.frame(frame, "out")
	}
	return err
}

// Receive implements p2p.Stream.
func (s *countedStream) Receive() ([]byte, error) {
	b, err := s.Stream.Receive()
	if err == nil {
		s.in.Add(float64(len(b)))
		s.frame(b, "in")
	}
	return b, err
}

// Close implements p2p.Stream.
func (s *countedStream) Close() error {
	s.closed.Do(func() { s.m.streams.add(s.proto, -1) })
	return s.Stream.Close()
}

// frame looks at what a frame of the work protocol is.
func (s *countedStream) frame(b []byte, direction string) {
	if s.proto != "work" || len(b) == 0 {
		return
	}
	switch wire.Kind(b[0]) {
	case wire.KindReceipt:
		s.m.Add("receipts_total", 1, direction)
	case wire.KindAssign:
		s.m.Add("assignments_total", 1, direction)
	case wire.KindPing:
		if direction == "out" && len(b) == 9 {
			s.ping.Store(binary.BigEndian.Uint64(b[1:]))
			s.at.Store(time.Now().UnixNano())
		}
	case wire.KindPong:
		if direction == "in" && len(b) == 9 && binary.BigEndian.Uint64(b[1:]) == s.ping.Load() {
			if at := s.at.Swap(0); at > 0 {
				s.m.Observe("rtt_seconds", float64(time.Now().UnixNano()-at)/1e9)
			}
		}
	}
}

// streamGauge counts open streams by protocol.
type streamGauge struct {
	mu   sync.Mutex // guards open
	open map[string]int
}

func newStreamGauge() *streamGauge { return &streamGauge{open: map[string]int{}} }

func (g *streamGauge) add(proto string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[proto] += n
}

func (g *streamGauge) read(set Setter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for proto, n := range g.open {
		set("streams", float64(n), proto)
	}
}
