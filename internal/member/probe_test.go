package member

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
)

// rpc is an RPC server that tells a height, a header's hash, and a time.
func rpc(t *testing.T, chain string, tip int64, hash string, ahead time.Duration) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		switch r.URL.Path {
		case "/status":
			fmt.Fprintf(w, `{"result":{"node_info":{"network":%q},"sync_info":{"latest_block_height":"%d"}}}`, chain, tip)
		case "/commit":
			fmt.Fprintf(w, `{"result":{"signed_header":{"commit":{"height":%q,"block_id":{"hash":%q}}}}}`, r.URL.Query().Get("height"), hash)
		default:
			fmt.Fprint(w, `{"error":{"message":"no such thing"}}`)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestTrust(t *testing.T) {
	t.Parallel()
	good, bad := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	a, b := rpc(t, "c", 100, good, 0), rpc(t, "c", 99, good, 0)
	liar, stranger := rpc(t, "c", 1_000_000, bad, 0), rpc(t, "d", 7, bad, 0)
	n := home.Network{Chain: "c", RPCs: []string{liar, a, stranger, b, "http://127.0.0.1:1"}}
	height, hash, others, err := Trust(t.Context(), n)
	if err != nil || height != 99 || hash != good || len(others) != 1 || others[0] != liar {
		t.Errorf("trusts %d %s, others %v: %v", height, hash, others, err)
	}
	n.RPCs = []string{liar, a}
	if _, _, _, err := Trust(t.Context(), n); !errors.Is(err, ErrDisagree) {
		t.Errorf("one word against another: %v", err)
	}
	n.RPCs = []string{stranger, "http://127.0.0.1:1"}
	if _, _, _, err := Trust(t.Context(), n); !errors.Is(err, ledger.ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestClock sets the clock of the network, since that of the machine is everybody's.
func TestClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		network []time.Duration // the servers' clocks, ahead of this one
		wrong   bool
	}{
		{[]time.Duration{0, time.Second, -time.Second}, false},
		{[]time.Duration{0, 0, 10 * time.Minute}, false}, // one liar
		{[]time.Duration{10 * time.Minute, 10 * time.Minute, 0}, true},
		{[]time.Duration{-10 * time.Minute}, true},
		{nil, false}, // nobody to compare with
	} {
		var urls []string
		for _, d := range c.network {
			urls = append(urls, rpc(t, "c", 1, "", d))
		}
		for _, role := range []string{home.RoleProvider, home.RoleValidator} {
			h, err := home.Create(t.TempDir()+"/h", home.Info{Kind: home.Member, Chain: "c", Roles: []string{role}})
			if err != nil {
				t.Fatal(err)
			}
			n := &Node{home: h, log: slog.New(slog.DiscardHandler), network: home.Network{Chain: "c", RPC: "http://127.0.0.1:1", RPCs: urls}}
			err = n.fitToStart(t.Context())
			if refused := errors.Is(err, ErrClock); refused != (c.wrong && role == home.RoleValidator) {
				t.Errorf("clocks %v: a %s starts: %v", c.network, role, err)
			}
			if off(n.machine.Skew) != c.wrong {
				t.Errorf("clocks %v: this one counts as off by %s", c.network, n.machine.Skew)
			}
		}
	}
}
