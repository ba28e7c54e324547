package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/metrics"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/mem"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// page is what Prometheus would read.
func page(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func wants(t *testing.T, m *metrics.Metrics, lines ...string) {
	t.Helper()
	p := page(t, m)
	for _, l := range lines {
		if !strings.Contains(p, "\n"+l+"\n") {
			t.Errorf("no line %q in\n%s", l, grep(p, l[:strings.IndexAny(l, "{ ")]))
		}
	}
}

func grep(page, s string) string {
	var out []string
	for l := range strings.Lines(page) {
		if strings.Contains(l, s) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "")
}

type fakeRuntime struct{ runtime.Runtime }

func (fakeRuntime) Run(_ context.Context, t runtime.Task) (*runtime.Run, error) {
	switch t.Seed {
	case 1:
		return nil, &runtime.Refused{Reason: "threads"}
	case 2:
		return nil, &runtime.HostFault{Err: io.ErrUnexpectedEOF}
	}
	return &runtime.Run{Leaf: work.Leaf{Fuel: 500, Outcome: work.Outcome{Kind: work.Exited, Code: uint32(t.Seed)}}}, nil
}

func TestRuntime(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	rt := m.Runtime(fakeRuntime{}, "provider")
	for seed := range uint64(4) {
		rt.Run(t.Context(), runtime.Task{Seed: seed})
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	rt.Run(stopped, runtime.Task{Seed: 2})
	wants(t, m, `gotong_items_total{end="ok",role="provider"} 1`, `gotong_items_total{end="failed",role="provider"} 1`,
		`gotong_items_total{end="refused",role="provider"} 1`, `gotong_items_total{end="fault",role="provider"} 1`,
		`gotong_fuel_total{role="provider"} 1000`, `gotong_item_seconds_count{role="provider"} 2`)
}

type fakeLedger struct{ ledger.Ledger }

func (fakeLedger) Submit(_ context.Context, _ work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	if _, ok := msgs[0].(ledger.Send); ok {
		return ledger.Included{}, fmt.Errorf("balance: %w", ledger.ErrFunds)
	}
	return ledger.Included{Height: 1}, nil
}

func (fakeLedger) Status(context.Context) (ledger.Status, error) {
	return ledger.Status{Height: 42}, nil
}

func (fakeLedger) Follow(_ context.Context, from int64, f func(ledger.Block) error) error {
	for h := from; h <= 3; h++ {
		if err := f(ledger.Block{Height: h, Events: []ledger.Event{{Phase: lifecycle.Settled}, {}}}); err != nil {
			return err
		}
	}
	return nil
}

func TestLedger(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	l := m.Ledger(fakeLedger{})
	m.ReadLedger(l)
	l.Submit(t.Context(), "a", ledger.CommitBatch{})
	l.Submit(t.Context(), "a", ledger.Send{})
	heard := 0
	for range 2 { // two roles follow: each block counts once
		l.Follow(t.Context(), 1, func(ledger.Block) error { heard++; return nil })
	}
	if heard != 6 {
		t.Errorf("the roles heard %d blocks", heard)
	}
	wants(t, m, `gotong_ledger_transactions_total{end="included",message="CommitBatch"} 1`, `gotong_ledger_transactions_total{end="funds",message="Send"} 1`,
		`gotong_batch_phases_total{phase="settled"} 3`, `gotong_ledger_height 42`, `gotong_ledger_up 1`)
}

type fakeFetcher struct{ blob.SharedFetcher }

func (fakeFetcher) Fetch(_ context.Context, b work.BlobID, _ []p2p.Peer) error {
	if b.Size == 3 {
		return errors.New("gone")
	}
	return nil
}

func TestFetcher(t *testing.T) {
	t.Parallel()
	m, store := metrics.New(), blob.NewMem()
	here, err := store.Put([]byte("here"))
	if err != nil {
		t.Fatal(err)
	}
	f := m.Fetcher(fakeFetcher{}, store)
	for _, b := range []work.BlobID{here, {Size: 100}, {Size: 3}} {
		f.Fetch(t.Context(), b, nil)
	}
	wants(t, m, `gotong_blob_fetches_total{result="here"} 1`, `gotong_blob_fetches_total{result="fetched"} 1`,
		`gotong_blob_fetches_total{result="failed"} 1`, `gotong_blob_fetched_bytes_total 100`)
}

// Both ends of a stream count it, its bytes, and what it carries.
func TestNetwork(t *testing.T) {
	t.Parallel()
	hub := mem.NewHub()
	ma, mb := metrics.New(), metrics.New()
	a, b := ma.Network(hub.New(sign.FromSeed([32]byte{1}))), mb.Network(hub.New(sign.FromSeed([32]byte{2})))
	defer a.Close()
	defer b.Close()
	served := make(chan struct{})
	b.Handle(p2p.ProtocolWork, func(_ context.Context, s p2p.Stream) {
		defer close(served)
		defer s.Close()
		for {
			f, err := s.Receive()
			if err != nil {
				return
			}
			d, err := wire.Decode(f, s.Peer())
			if err != nil || errors.Join(s.Send(wire.EncodePing(wire.KindPong, *d.Ping)), s.Flush()) != nil {
				t.Error("the ping was not answered", err)
			}
		}
	})
	s, err := a.Dial(t.Context(), b.Self(), p2p.ProtocolWork)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Send(wire.EncodePing(wire.KindPing, 7)), s.Flush()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(); err != nil {
		t.Fatal(err)
	}
	wants(t, ma, `gotong_streams{protocol="work"} 1`, `gotong_stream_bytes_total{direction="out",protocol="work"} 9`,
		`gotong_stream_bytes_total{direction="in",protocol="work"} 9`, `gotong_rtt_seconds_count 1`)
	s.Close()
	s.Close()
	<-served
	wants(t, ma, `gotong_streams{protocol="work"} 0`)
	wants(t, mb, `gotong_streams{protocol="work"} 0`)
}

// Two roles that set one gauge do not break the page.
func TestGauges(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	for i := range 2 {
		m.Read(func(set metrics.Setter) { set("indexer_jobs", float64(i+1)) })
	}
	wants(t, m, `gotong_indexer_jobs 1`)
	if !strings.Contains(page(t, m), "go_goroutines ") {
		t.Error("the Go runtime's figures are missing")
	}
}

func TestNilCountsNothing(t *testing.T) {
	t.Parallel()
	var m *metrics.Metrics
	rt, l := fakeRuntime{}, fakeLedger{}
	if m.Runtime(rt, "x") != runtime.Runtime(rt) || m.Ledger(l) != ledger.Ledger(l) {
		t.Error("a nil Metrics wraps")
	}
	m.Add("items_total", 1, "a", "b")
	m.Observe("rtt_seconds", 1)
	m.Read(nil)
}

// Every figure that the dashboard asks for exists, with the labels it uses; and
// every figure is told in the operators' guide.
func TestDashboard(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../deploy/grafana/gotong.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{}
	for _, f := range metrics.Families {
		known[metrics.Prefix+f.Name] = f.Labels
		if f.Kind == metrics.Histogram {
			known[metrics.Prefix+f.Name+"_bucket"] = append([]string{"le"}, f.Labels...)
		}
	}
	others := page(t, metrics.New())
	name := regexp.MustCompile(`\b(gotong|go|process)_[a-z0-9_]+`)
	label := regexp.MustCompile(`(?:by \(([a-z_, ]+)\)|\{\{([a-z_]+)\}\})`)
	asked := 0
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			for _, n := range name.FindAllString(q.Expr, -1) {
				asked++
				labels, ok := known[n]
				if !ok && !strings.HasPrefix(n, metrics.Prefix) {
					ok = strings.Contains(others, "\n"+n+" ")
				}
				if !ok {
					t.Errorf("panel %q asks for %s, which does not exist", p.Title, n)
				}
				for _, l := range label.FindAllStringSubmatch(q.Expr+q.LegendFormat, -1) {
					for _, one := range strings.Split(l[1]+l[2], ",") {
						if one = strings.TrimSpace(one); one != "instance" && !slices.Contains(labels, one) {
							t.Errorf("panel %q asks for the label %q of %s, which has %v", p.Title, one, n, labels)
						}
					}
				}
			}
		}
	}
	if asked < 30 {
		t.Errorf("the dashboard asks for %d figures: it is not whole", asked)
	}
	guide, err := os.ReadFile("../../docs/guide/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range metrics.Families {
		if n := metrics.Prefix + f.Name; !strings.Contains(string(guide), "`"+n) {
			t.Errorf("docs/guide/operate.md does not tell of %s", n)
		}
	}
}
