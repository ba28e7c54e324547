package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/gotong-network/gotong/internal/metrics"
)

// CheckMetrics reports an address at which figures must not be served: they are
// for this machine's owner, so that only loopback will do.
func CheckMetrics(addr string) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().IsLoopback() {
		return fmt.Errorf("metrics %q: want host:port of loopback, as 127.0.0.1:9464; to read them from elsewhere, put a proxy before it", addr)
	}
	return nil
}

// figures is the server of GET /metrics; nil without an address.
type figures struct {
	*metrics.Metrics
	l net.Listener
}

// openFigures takes the settings' address.
func (n *Node) openFigures() (*figures, error) {
	addr := n.settings.Metrics
	if addr == "" {
		return nil, nil
	}
	if err := CheckMetrics(addr); err != nil {
		return nil, fmt.Errorf("%s: %w", n.home.Path("node.json"), err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &figures{metrics.New(), l}, nil
}

// serve answers until ctx ends.
func (f *figures) serve(ctx context.Context, log *slog.Logger) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", f.Handler())
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	log.Info("metrics are served", "at", "http://"+f.l.Addr().String()+"/metrics")
	if err := s.Serve(f.l); !errors.Is(err, http.ErrServerClosed) {
		log.Error("metrics ended", "err", err)
	}
}
