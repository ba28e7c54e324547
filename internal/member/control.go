package member

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gotong-network/gotong/internal/home"
)

// control is the server of HOME/control.sock: HTTP and JSON for the commands of
// this machine's owner, who proves himself by HOME/control.token.
type control struct {
	n     *Node
	token string
	l     net.Listener
	http  *http.Server
}

// maxSocketPath is what fits into a socket's address; a longer one is reached
// through its open folder.
const maxSocketPath = 100

// socketAddress gives an address for a socket in a folder, valid until done is
// called.
func socketAddress(dir string) (addr string, done func(), err error) {
	path := filepath.Join(dir, "control.sock")
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/control.sock", f.Fd()), func() { _ = f.Close() }, nil
}

// listen opens the socket and writes the token.
func (n *Node) listen() (*control, error) {
	token := rand.Text()
	if err := home.WriteFile(n.home.Path("control.token"), []byte(token+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(n.home.Path("control.sock")); err != nil { // a killed process's: the lock is ours
		return nil, fmt.Errorf("control socket: %w", err)
	}
	addr, done, err := socketAddress(n.home.Dir())
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: addr, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // the address may be another by then; close removes it
	if err := os.Chmod(n.home.Path("control.sock"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	c := &control{n: n, token: token, l: l}
	c.http = &http.Server{Handler: http.MaxBytesHandler(c.guard(c.routes()), 1<<20), ReadHeaderTimeout: 5 * time.Second}
	return c, nil
}

// serve answers until ctx ends.
func (c *control) serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = c.http.Close() })
	defer stop()
	if err := c.http.Serve(c.l); !errors.Is(err, http.ErrServerClosed) {
		c.n.log.Error("control socket ended", "err", err)
	}
}

// guard lets only bearers of the token through.
func (c *control) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if subtle.ConstantTimeCompare([]byte(got), []byte(c.token)) != 1 {
			http.Error(w, "the token of control.token is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (c *control) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { answer(w, c.n.Status(r.Context())) })
	mux.HandleFunc("GET /v1/earnings", func(w http.ResponseWriter, _ *http.Request) {
		b, err := c.n.encodeEarnings()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(b) // whoever asked is gone
	})
	for path, act := range map[string]func() error{"pause": c.n.Pause, "resume": c.n.Resume, "drain": c.n.Drain} {
		mux.HandleFunc("POST /v1/provider/"+path, func(w http.ResponseWriter, r *http.Request) {
			if err := act(); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			answer(w, c.n.Status(r.Context()))
		})
	}
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked is gone
}

// ErrNotRunning reports a home that no process runs.
var ErrNotRunning = errors.New("no process runs this home")

// Call asks the process that runs a home. in and out may be nil.
func Call(ctx context.Context, h *home.Home, method, path string, out any) error {
	if !h.Running() {
		return fmt.Errorf("%s: %w: start it with `gotong start --home %s`", h.Dir(), ErrNotRunning, h.Dir())
	}
	token, err := os.ReadFile(h.Path("control.token"))
	if err != nil {
		return fmt.Errorf("%s: %w yet: %v", h.Dir(), ErrNotRunning, err)
	}
	addr, done, err := socketAddress(h.Dir())
	if err != nil {
		return err
	}
	defer done()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", addr)
	}, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, method, "http://home"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: its process does not answer: %w", h.Dir(), err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return refusedCall(res)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// refusedCall reads the error of an answer.
func refusedCall(res *http.Response) error {
	b := make([]byte, 4096)
	n, _ := res.Body.Read(b) // what could be read is what is said
	return fmt.Errorf("the running process refused: %s (%s)", strings.TrimSpace(string(b[:n])), res.Status)
}
