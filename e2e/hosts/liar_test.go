package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/netlab"
)

// liar is a chain node's RPC server that says something else than the node behind it.
type liar struct {
	url   string
	mode  atomic.Value // string: which lie
	told  atomic.Int64 // lies so far
	ahead atomic.Int64 // seconds that its clock is ahead
}

// The lies.
const (
	honest   = ""
	forged   = "a forged block"
	otherKey = "a true proof of another key"
	withheld = "withheld events"
)

// newLiar puts a liar on a host, in front of a validator.
func (w *world) newLiar(t *testing.T, h *netlab.Host, port int, behind *machine) *liar {
	t.Helper()
	in, err := h.Listen("tcp4", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{url: fmt.Sprintf("http://%s:%d", h.Addr(), port)}
	l.mode.Store(honest)
	target := &url.URL{Scheme: "http", Host: fmt.Sprintf("%s:%d", behind.Addr(), rpcPort)}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return h.Dial(ctx, network, address)
		}, DisableCompression: true},
		ModifyResponse: l.clock,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	s := &http.Server{Handler: l.lie(proxy), ReadHeaderTimeout: time.Minute}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(in) }) // ends with Close
	t.Cleanup(func() { _ = s.Close(); wg.Wait() })
	return l
}

// clock shifts the time that the server tells.
func (l *liar) clock(r *http.Response) error {
	if s := l.ahead.Load(); s != 0 {
		r.Header.Set("Date", time.Now().Add(time.Duration(s)*time.Second).UTC().Format(http.TimeFormat))
	}
	return nil
}

// lie changes what is asked or answered, by the mode.
func (l *liar) lie(node http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mode := l.mode.Load().(string)
		if mode == honest || r.Method != http.MethodPost {
			node.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		body = l.ask(mode, body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		answer := &recorder{head: http.Header{}}
		node.ServeHTTP(answer, r)
		out := l.answer(mode, body, answer.body.Bytes())
		answer.head.Del("Content-Length")
		for k, v := range answer.head {
			w.Header()[k] = v
		}
		_, _ = w.Write(out) // whoever asked is gone
	})
}

type recorder struct {
	head http.Header
	body bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.head }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(int)             {}

// ask changes a question: for another key than was asked for.
func (l *liar) ask(mode string, body []byte) []byte {
	var q struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  map[string]any  `json:"params"`
	}
	if mode != otherKey || json.Unmarshal(body, &q) != nil || q.Method != "abci_query" {
		return body
	}
	path, _ := q.Params["path"].(string)
	data, _ := q.Params["data"].(string)
	if !strings.HasPrefix(path, "/store/") || len(data) < 4 {
		return body
	}
	// The last byte of the key decides which record is meant.
	last := data[len(data)-1]
	swap := byte('0')
	if last == '0' {
		swap = '1'
	}
	q.Params["data"] = data[:len(data)-1] + string(swap)
	out, err := json.Marshal(q)
	if err != nil {
		return body
	}
	l.told.Add(1)
	return out
}

// answer changes an answer.
func (l *liar) answer(mode string, question, body []byte) []byte {
	var q struct{ Method string }
	var a map[string]any
	if json.Unmarshal(question, &q) != nil || json.Unmarshal(body, &a) != nil {
		return body
	}
	result, _ := a["result"].(map[string]any)
	changed := false
	switch {
	case mode == forged && q.Method == "commit":
		if signed, ok := result["signed_header"].(map[string]any); ok {
			if header, ok := signed["header"].(map[string]any); ok {
				header["app_hash"], changed = strings.Repeat("AB", 32), true
			}
		}
	case mode == withheld && q.Method == "block_results":
		if txs, ok := result["txs_results"].([]any); ok {
			for _, tx := range txs {
				if tx, ok := tx.(map[string]any); ok && tx["events"] != nil {
					tx["events"], changed = []any{}, true
				}
			}
		}
		if events, ok := result["finalize_block_events"].([]any); ok && len(events) > 0 {
			result["finalize_block_events"], changed = []any{}, true
		}
	}
	if !changed {
		return body
	}
	out, err := json.Marshal(a)
	if err != nil {
		return body
	}
	l.told.Add(1)
	return out
}

// lyingNode lets a provider ask a node that lies first, in three ways: each time it finds
// out, names the node in its log, goes to another one, and works on.
func lyingNode(w *world, t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), pick(8*time.Minute, 15*time.Minute))
	defer cancel()
	h, err := w.lab.Host("liar", netlab.HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l := w.newLiar(t, h, 80, w.by["validator0"])
	m := w.by["provider0"]
	m.kill()
	w.asks(t, m, l.url, fmt.Sprintf("http://%s:%d", w.by["validator1"].Addr(), rpcPort), fmt.Sprintf("http://%s:%d", w.by["validator2"].Addr(), rpcPort))
	var jobs []*job // together: a window of blocks each
	for i, mode := range []string{forged, otherKey, withheld} {
		l.mode.Store(honest)
		m.kill()
		m.start(t)
		until(ctx, t, "start", patience, func() error { return m.supervise(t) })
		l.told.Store(0)
		l.mode.Store(mode)
		j := w.post(t, w.by["client0"], fmt.Sprint("lies-", i), pick(100, 500), 300_000)
		since := time.Now()
		until(ctx, t, mode+" is found out", left(ctx), func() error {
			if l.told.Load() == 0 && time.Since(since) > time.Minute { // it was slow once, and is asked last
				m.kill()
				m.start(t)
				since = time.Now()
			}
			for line := range strings.Lines(m.running().said()) {
				if strings.Contains(line, "left a node") && strings.Contains(line, l.url) && strings.Contains(line, "lying") {
					t.Logf("%s: %s", mode, strings.TrimSpace(line))
					return nil
				}
			}
			return fmt.Errorf("%d lies told, none named in the log: %s", l.told.Load(), lastLine(m.running().said()))
		})
		m.followsOn(ctx, t)
		jobs = append(jobs, j)
	}
	for _, j := range jobs {
		j.follow(ctx, t, nil)
		j.right(t)
		j.closed(ctx, t)
	}
	for _, j := range jobs {
		j.settled(ctx, t)
	}
	l.mode.Store(honest)
	m.kill()
}

// followsOn holds that a machine hears of new blocks from now on.
func (m *machine) followsOn(ctx context.Context, t *testing.T) {
	t.Helper()
	from := int64(0)
	until(ctx, t, m.Name()+" follows the chain", patience, func() error {
		var st struct{ Height int64 }
		err := m.ask(ctx, &st, "status", "--json")
		if err == nil && from == 0 {
			from = st.Height
		}
		if err == nil && st.Height < from+5 {
			err = fmt.Errorf("from height %d to %d", from, st.Height)
		}
		return err
	})
}

// asks sets which nodes of the chain a home asks, until the test is over; then it runs as
// it did before.
func (w *world) asks(t *testing.T, m *machine, urls ...string) {
	t.Helper()
	h, err := home.Open(m.home)
	if err != nil {
		t.Fatal(err)
	}
	before, err := h.ReadNetwork()
	if err != nil {
		t.Fatal(err)
	}
	now := before
	now.RPCs = urls
	if err := h.WriteNetwork(now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.kill()
		if err := h.WriteNetwork(before); err != nil {
			t.Error(err)
		}
		m.start(t)
	})
}
