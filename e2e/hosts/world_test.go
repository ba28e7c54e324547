package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/netlab"
	"github.com/gotong-network/gotong/work"
)

// How many there are of whom.
const (
	validators = 4
	indexers   = 2
	checkers   = 3
	providers  = 8
	clients    = 2
)

const (
	chainID = "hosts"
	// peerPort, rpcPort: where validators listen, as `network create` says.
	peerPort = 26650
	rpcPort  = 26657
	// bond is what each member bonds.
	bond = 100 * work.UgtgPerGtg
	// patience bounds waits for what takes seconds on two idle processors.
	patience = 3 * time.Minute
)

// params lay over those of a local network: two processors carry everybody, and who is
// killed must have time to come back before its duties are missed. All but the window
// end early when everybody is quick; a window must outlast the restart of an indexer, or
// clients claim outputs that were only late.
const params = `{"open_blocks": 240, "check_blocks": 180, "reveal_blocks": 180, "vote_blocks": 180, "window_blocks": 48, "takeover_idle_blocks": 40, "takeover_answer_blocks": 20}`

// world is the network that the rows share.
type world struct {
	lab     *netlab.Lab
	dir     string
	program string // file of the program that jobs run
	invite  string
	all     []*machine
	by      map[string]*machine

	masquerade, symmetric *netlab.Router

	mu      sync.Mutex // guards the fields below
	ledgers map[string]*cosmos.Client
	rpcs    map[string]*rpchttp.HTTP
}

// newWorld founds a table's network and starts everybody; it lasts as long as rows, and
// fails t.
func newWorld(rows, t *testing.T, table int) *world {
	t.Helper()
	t.Logf("-seed %d", *seed)
	w := &world{by: map[string]*machine{}, ledgers: map[string]*cosmos.Client{}, rpcs: map[string]*rpchttp.HTTP{}}
	if *keep == "" {
		w.dir = rows.TempDir()
	} else {
		w.dir = filepath.Join(*keep, fmt.Sprint("network", table+1))
		if err := os.MkdirAll(w.dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if w.lab, err = netlab.New(netlab.Options{Seed: *seed}); err != nil {
		t.Fatal(err)
	}
	rows.Cleanup(w.lab.Close)
	rows.Cleanup(w.closeLedgers)
	w.program = assemble(t, w.dir)
	w.build(t)
	w.found(t)
	for _, m := range w.role("validator") {
		m.start(t)
	}
	for _, m := range w.role("validator") {
		until(t.Context(), t, "start", patience, func() error { return m.supervise(t) })
	}
	for _, m := range w.role("client") {
		// It joined before there was anybody to give it money, and does so again.
		until(t.Context(), t, "the faucet gives "+m.Name()+" money", patience, func() error {
			has, err := w.ledger(t).Balance(t.Context(), work.Address(m.account(t)))
			if err == nil && has == 0 {
				m.run(t, 0, "network", "join", w.invite)
				err = errors.New("it has none")
			}
			return err
		})
	}
	w.whole(t)
	return w
}

// build makes the hosts.
func (w *world) build(t *testing.T) {
	t.Helper()
	router := func(name string, n netlab.NAT) *netlab.Router {
		r, err := w.lab.Router(name, netlab.RouterOptions{NAT: n})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	w.masquerade, w.symmetric = router("masquerade", netlab.Masquerade), router("symmetric", netlab.Symmetric)
	odd := map[string]netlab.HostOptions{
		"provider4": {Behind: w.masquerade},
		"provider5": {Behind: w.symmetric},
		"provider6": {Link: &netlab.Link{Delay: 75 * time.Millisecond}},
		"provider7": {Link: &netlab.Link{Loss: 0.02}},
	}
	for _, r := range []struct {
		role  string
		count int
	}{{"validator", validators}, {"indexer", indexers}, {"checker", checkers}, {"provider", providers}, {"client", clients}} {
		for i := range r.count {
			name := fmt.Sprint(r.role, i)
			w.add(t, r.role, name, odd[name])
		}
	}
}

// add makes a host for a member.
func (w *world) add(t *testing.T, role, name string, o netlab.HostOptions) *machine {
	t.Helper()
	h, err := w.lab.Host(name, o)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{Host: h, role: role, home: filepath.Join(w.dir, name), log: filepath.Join(w.dir, name+".log")}
	w.all, w.by[name] = append(w.all, m), m
	return m
}

// found makes the network and everybody's home.
func (w *world) found(t *testing.T) {
	t.Helper()
	file := filepath.Join(w.dir, "params.json")
	if err := os.WriteFile(file, []byte(params), 0o600); err != nil {
		t.Fatal(err)
	}
	var at []string
	for _, m := range w.role("validator") {
		at = append(at, m.Addr().String())
	}
	founder := &machine{Host: w.by["validator0"].Host, home: filepath.Join(w.dir, "net"), log: filepath.Join(w.dir, "founder.log")}
	founder.run(t, 0, "network", "create", "--chain-id", chainID, "--private", "--validators", fmt.Sprint(validators),
		"--address", strings.Join(at, ","), "--roles", "", "--params", file, "--block-time", "400ms")
	w.invite = filepath.Join(founder.home, "invite.json")
	for i, m := range w.role("validator") {
		m.home = filepath.Join(founder.home, fmt.Sprint("node", i))
	}
	for _, m := range w.all {
		switch m.role {
		case "validator":
		case "client":
			m.run(t, 0, "network", "join", w.invite)
		default:
			w.join(t, m)
		}
	}
}

// join makes a member's home.
func (w *world) join(t *testing.T, m *machine) {
	t.Helper()
	m.run(t, 0, "network", "join", w.invite, "--as", m.role, "--slots", "1")
}

// role gives the machines of a role.
func (w *world) role(role string) (out []*machine) {
	for _, m := range w.all {
		if m.role == role {
			out = append(out, m)
		}
	}
	return out
}

func hostsOf(ms []*machine) (out []*netlab.Host) {
	for _, m := range ms {
		out = append(out, m.Host)
	}
	return out
}

// whole starts who does not run, and returns once all play their roles and each indexer
// knows every provider.
func (w *world) whole(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	for _, m := range w.all {
		if m.role == "client" {
			continue
		}
		m.start(t)
	}
	for _, m := range w.all {
		if m.role != "client" {
			until(ctx, t, "start", patience, func() error { return m.supervise(t) })
		}
	}
	for _, x := range w.role("indexer") {
		w.knows(ctx, t, x, len(w.role("provider")))
	}
}

// knows waits until an indexer has offers of so many providers.
func (w *world) knows(ctx context.Context, t *testing.T, x *machine, want int) {
	t.Helper()
	until(ctx, t, x.Name()+" knows all providers", patience, func() error {
		var st struct {
			Ready bool
			Why   string
		}
		if err := w.by["client0"].ask(ctx, &st, "network", "status", "--json"); err != nil {
			return err
		}
		if !st.Ready {
			return errors.New(st.Why)
		}
		var mine struct{ Indexer struct{ Providers int } }
		if err := x.ask(ctx, &mine, "status", "--json"); err != nil {
			return err
		}
		if n := mine.Indexer.Providers; n < want {
			return fmt.Errorf("%d of %d providers", n, want)
		}
		return nil
	})
}

// ledger gives a client of the chain that asks a validator of whom it is known that it
// answers.
func (w *world) ledger(t *testing.T) *cosmos.Client {
	t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		for _, v := range w.role("validator") {
			l, err := w.ledgerOf(v)
			if err == nil {
				return l
			}
			last = err
		}
	}
	t.Fatalf("no validator answers: %v", last)
	return nil
}

// ledgerOf gives a client that asks one validator, if it answers.
func (w *world) ledgerOf(v *machine) (*cosmos.Client, error) {
	w.mu.Lock()
	l := w.ledgers[v.Name()]
	w.mu.Unlock()
	if l == nil {
		door, err := v.Forward(fmt.Sprintf("%s:%d", v.Addr(), rpcPort))
		if err != nil {
			return nil, err
		}
		if l, err = cosmos.Dial("http://" + door); err != nil {
			return nil, err
		}
		w.mu.Lock()
		w.ledgers[v.Name()] = l
		w.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st, err := l.Status(ctx)
	if err == nil && (st.CatchingUp || st.Height == 0) {
		err = fmt.Errorf("%s catches up: %w", v.Name(), ledger.ErrUnreachable)
	}
	return l, err
}

func (w *world) closeLedgers() {
	for _, l := range w.ledgers {
		_ = l.Close() // it only read
	}
}

// height is a validator's last block.
func (w *world) height(v *machine) (int64, error) {
	l, err := w.ledgerOf(v)
	if l == nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	st, serr := l.Status(ctx)
	if serr != nil {
		return 0, errors.Join(err, serr)
	}
	return st.Height, nil
}

// at is a validator's last block, once it says it.
func (w *world) at(ctx context.Context, t *testing.T, v *machine) (height int64) {
	t.Helper()
	until(ctx, t, v.Name()+" says its height", patience, func() (err error) {
		height, err = w.height(v)
		return err
	})
	return height
}

// assemble makes the program of testdata/mix.wat.
func assemble(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "mix.wasm")
	out, err := exec.CommandContext(t.Context(), "wasm-as", filepath.Join("testdata", "mix.wat"), "-o", file).CombinedOutput()
	if err != nil {
		t.Fatalf("wasm-as of Debian's binaryen, which make deps installs: %v\n%s", err, out)
	}
	return file
}
