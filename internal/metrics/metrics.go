// Package metrics keeps the figures that operators watch, and serves them to
// Prometheus.
//
// It promises that roles know nothing of it: what they do is counted at their
// ports, by wrappers of runtime, ledger, peers and blobs (wrap.go), and what they
// are is read from their own snapshots when somebody asks. Every figure is in one
// table (Families), so that a dashboard cannot ask for one that does not exist. A
// nil Metrics counts nothing and wraps nothing.
//
// It never holds ids of jobs, accounts or peers in labels: their number has no
// bound. Logs tell about single ones.
package metrics

import (
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Prefix begins every figure's name.
const Prefix = "gotong_"

// Kind is how a figure moves.
type Kind uint8

// The kinds.
const (
	Counter   Kind = iota // only grows
	Gauge                 // read when it is asked for
	Histogram             // of seconds
)

// Family is one figure.
type Family struct {
	Name   string // without Prefix
	Help   string
	Kind   Kind
	Labels []string
}

// Families are all figures besides those of the Go runtime and the process.
var Families = []Family{
	{"info", "Version of the program; always 1.", Gauge, []string{"version", "chain"}},
	{"reach", "How others reach this peer (1 at the present way).", Gauge, []string{"kind"}},

	{"items_total", "Items that were run, by role and end (ok, failed, refused, fault).", Counter, []string{"role", "end"}},
	{"fuel_total", "Fuel of the items that were run.", Counter, []string{"role"}},
	{"item_seconds", "Time of one item in its sandbox.", Histogram, []string{"role"}},

	{"receipts_total", "Receipts of results, sent by providers and taken by indexers.", Counter, []string{"direction"}},
	{"assignments_total", "Assignments of items, sent by indexers and taken by providers.", Counter, []string{"direction"}},
	{"streams", "Open streams, by protocol.", Gauge, []string{"protocol"}},
	{"stream_bytes_total", "Bytes of frames, by protocol (blob, work, client, output).", Counter, []string{"protocol", "direction"}},
	{"gossip_total", "Gossiped messages: published, heard.", Counter, []string{"direction"}},
	{"rtt_seconds", "Round trips to providers, by pings on their streams.", Histogram, nil},

	{"blob_fetches_total", "Blobs that a role asked for: here already, fetched, failed.", Counter, []string{"result"}},
	{"blob_fetched_bytes_total", "Bytes of the blobs that were fetched.", Counter, nil},
	{"blob_store_bytes", "Bytes that the blob store keeps.", Gauge, nil},
	{"disk_free_bytes", "Free bytes on the disk of the node's folder.", Gauge, nil},

	{"ledger_height", "Newest height that the node knows.", Gauge, nil},
	{"ledger_lag_seconds", "Age of the newest block.", Gauge, nil},
	{"ledger_up", "1 if the chain answers.", Gauge, nil},
	{"ledger_transactions_total", "Transactions of this node by first message and end (included, refused, funds, error).", Counter, []string{"message", "end"}},
	{"batch_phases_total", "Batches of the whole chain that came into a phase, as this node follows it.", Counter, []string{"phase"}},

	{"provider_slots", "Slots of the provider: all, allowed by its owner, used.", Gauge, []string{"which"}},
	{"provider_paused", "1 while the provider takes no work: paused, draining, or held by its limits.", Gauge, nil},
	{"provider_items", "Items at the provider: queued, running, uncommitted.", Gauge, []string{"state"}},
	{"provider_batches_open", "Batches of the provider that are not final.", Gauge, nil},
	{"provider_receipts_undelivered", "Receipts that an indexer may not have yet.", Gauge, nil},
	{"provider_price_ugtg", "Price asked now for a work unit (1e9 fuel), in ugtg.", Gauge, nil},
	{"provider_fuel_per_second", "Measured speed of one slot.", Gauge, nil},

	{"limit_cpu_percent", "Processor time of all cores: allowed, used (mean of a minute).", Gauge, []string{"which"}},
	{"limit_memory_bytes", "Memory of the workers: allowed (0: all), used.", Gauge, []string{"which"}},

	{"indexer_offers", "Offers that the indexer knows and that hold.", Gauge, nil},
	{"indexer_providers_connected", "Providers with a stream.", Gauge, nil},
	{"indexer_jobs", "Jobs that are served.", Gauge, nil},
	{"indexer_items", "Items of the jobs that are served, by state.", Gauge, []string{"state"}},
	{"indexer_watchers", "Clients that watch a job.", Gauge, nil},
}

// secondsBuckets reach from a fifth of a millisecond to a minute and a half.
var secondsBuckets = prometheus.ExponentialBuckets(0.0002, 3, 13)

// Metrics are the figures of one node. Safe for concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	counters   map[string]*prometheus.CounterVec
	histograms map[string]*prometheus.HistogramVec
	streams    *streamGauge

	mu    sync.Mutex // guards reads
	reads []func(set Setter)
}

// Setter sets a gauge; labels are in the order of its Family.
type Setter func(name string, value float64, labels ...string)

// New makes the figures of a node, all zero.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), counters: map[string]*prometheus.CounterVec{}, histograms: map[string]*prometheus.HistogramVec{},
		streams: newStreamGauge()}
	gauges := gaugeReader{m: m, descs: map[string]*prometheus.Desc{}}
	for _, f := range Families {
		switch f.Kind {
		case Counter:
			c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: Prefix + f.Name, Help: f.Help}, f.Labels)
			m.counters[f.Name] = c
			m.registry.MustRegister(c)
		case Histogram:
			h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: Prefix + f.Name, Help: f.Help, Buckets: secondsBuckets}, f.Labels)
			m.histograms[f.Name] = h
			m.registry.MustRegister(h)
		case Gauge:
			gauges.descs[f.Name] = prometheus.NewDesc(Prefix+f.Name, f.Help, f.Labels, nil)
		}
	}
	m.registry.MustRegister(gauges, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.Read(m.streams.read)
	return m
}

// Handler serves the figures in Prometheus's text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Add counts. An unknown name, or labels that do not fit, are a fault of the
// caller's code.
func (m *Metrics) Add(name string, n float64, labels ...string) {
	if m != nil {
		m.counters[name].WithLabelValues(labels...).Add(n)
	}
}

// Observe adds a duration in seconds to a histogram.
func (m *Metrics) Observe(name string, seconds float64, labels ...string) {
	if m != nil {
		m.histograms[name].WithLabelValues(labels...).Observe(seconds)
	}
}

// Read has f set gauges each time somebody asks for the figures; it should take
// less than a second.
func (m *Metrics) Read(f func(set Setter)) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads = append(m.reads, f)
}

// gaugeReader collects the gauges.
type gaugeReader struct {
	m     *Metrics
	descs map[string]*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (g gaugeReader) Describe(out chan<- *prometheus.Desc) {
	for _, d := range g.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g gaugeReader) Collect(out chan<- prometheus.Metric) {
	g.m.mu.Lock()
	reads := slices.Clone(g.m.reads)
	g.m.mu.Unlock()
	seen := map[string]bool{} // two roles that set one gauge would fail the whole answer: the first counts
	for _, read := range reads {
		read(func(name string, value float64, labels ...string) {
			key := fmt.Sprintf("%s%q", name, labels)
			if d := g.descs[name]; !seen[key] {
				seen[key] = true
				out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
			}
		})
	}
}
