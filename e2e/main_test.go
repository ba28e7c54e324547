package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/cli"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// asGotong is the variable that makes a copy of the test binary the program.
const asGotong = "GOTONG_E2E_RUN"

// memberBond is what each member of a local network bonds.
const memberBond = 1000 * work.UgtgPerGtg

// patience bounds a wait for something that takes seconds, a minute at most.
const patience = 10 * time.Minute

func TestMain(m *testing.M) {
	wasm.MaybeWorker()
	if os.Getenv(asGotong) != "" {
		os.Exit(gotong())
	}
	// The tests mostly wait for blocks: two processors can take four of them. A flag
	// that the caller gives wins, for it is parsed later.
	if err := flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err) // the testing package has no such flag
	}
	code := m.Run()
	if shared.n != nil {
		shared.n.up.kill()
		_ = os.RemoveAll(filepath.Dir(shared.n.dir)) // of no use to anybody
	}
	os.Exit(code)
}

// shared is one network for all tests that leave it as it is.
var shared struct {
	once sync.Once
	n    *network
	err  error
}

func sharedNetwork(t testing.TB) *network {
	t.Helper()
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "gotong-e2e-")
		if err != nil {
			shared.err = err
			return
		}
		n := &network{dir: filepath.Join(dir, "home"), providers: 2}
		n.args = []string{"up", "--home", n.dir, "--providers", "2"}
		if n.up, shared.err = launch(dir, n.args...); shared.err == nil {
			shared.n = n
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	shared.n.ready(t.Context(), t)
	return shared.n
}

// gotong is cmd/gotong's main; it ends with its parent, so that no test leaves a
// network behind, however it ends.
func gotong() int {
	parent := os.Getppid()
	go func() {
		for range time.Tick(time.Second) {
			if os.Getppid() != parent {
				os.Exit(1)
			}
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// process is one process of gotong.
type process struct {
	cmd         *exec.Cmd
	out, errw   lockedBuffer
	done        chan struct{} // closed when it has ended
	code        int           // then: its exit code, -1 if a signal ended it
	commandLine string
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts gotong in a folder; it is killed when the test ends.
func start(t testing.TB, dir string, args ...string) *process {
	t.Helper()
	p, err := launch(dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func launch(dir string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, args...), done: make(chan struct{}), commandLine: "gotong " + strings.Join(args, " ")}
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), asGotong+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errw
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // the state says it
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	return p, nil
}

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already is as good
	<-p.done
}

// wait gives the exit code.
func (p *process) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s: still runs after %s\n%s", p.commandLine, patience, p.errw.String())
	}
	return p.code
}

// stop sends a signal and gives the exit code.
func (p *process) stop(t testing.TB, s syscall.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v: %v\n%s", p.commandLine, s, err, p.errw.String())
	}
	return p.wait(t)
}

// run runs gotong to its end, and fails the test unless it exits with code.
func run(t testing.TB, dir string, code int, args ...string) *process {
	t.Helper()
	p := start(t, dir, args...)
	if got := p.wait(t); got != code {
		t.Fatalf("%s: exit code %d, want %d\nstdout: %s\nstderr: %s", p.commandLine, got, code, p.out.String(), p.errw.String())
	}
	return p
}

// network is a home in which `gotong up` runs now and then.
type network struct {
	dir       string
	args      []string
	providers int
	up        *process
}

func newNetwork(t testing.TB, providers int, args ...string) *network {
	t.Helper()
	n := &network{dir: filepath.Join(t.TempDir(), "home"), providers: providers}
	n.args = append([]string{"up", "--home", n.dir, "--providers", strconv.Itoa(providers)}, args...)
	n.start(t)
	return n
}

// start starts the network; ready says when it can be used.
func (n *network) start(t testing.TB) {
	t.Helper()
	n.up = start(t, filepath.Dir(n.dir), n.args...)
}

// ready returns when the indexer of this very process says that jobs can be posted
// and that all providers have offered themselves.
func (n *network) ready(ctx context.Context, t testing.TB) {
	t.Helper()
	n.announced(ctx, t)
	n.client(ctx, t, func(c *client.Client, _ *cosmos.Client) {
		var last error
		n.until(ctx, t, func() string { return fmt.Sprint("the network is not ready: ", last) }, func() bool {
			st, err := c.Status(ctx)
			if err == nil && (!st.Ready || st.Providers < n.providers) {
				err = fmt.Errorf("%d of %d providers; %s", st.Providers, n.providers, st.Why)
			}
			last = err
			return err == nil
		})
	})
}

// announced returns when this very process has said where it answers.
func (n *network) announced(ctx context.Context, t testing.TB) {
	t.Helper()
	n.until(ctx, t, func() string { return "no network.json" }, func() bool {
		i, err := n.info()
		return err == nil && i.Pid == n.up.cmd.Process.Pid
	})
}

func (n *network) until(ctx context.Context, t testing.TB, what func() string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		select {
		case <-n.up.done:
			t.Fatalf("%s: ended with %d\n%s%s", n.up.commandLine, n.up.code, n.up.errw.String(), n.logTail())
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("%s\n%s", what(), n.logTail())
		}
	}
}

// logTail is the end of the network's log.
func (n *network) logTail() string {
	b, err := os.ReadFile(filepath.Join(n.dir, "up.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-20_000):])
}

func (n *network) info() (home.Network, error) {
	h, err := home.Open(n.dir)
	if err != nil {
		return home.Network{}, err
	}
	return h.ReadNetwork()
}

// client opens a client of the network as its default account, as a command does.
func (n *network) client(ctx context.Context, t testing.TB, use func(*client.Client, *cosmos.Client)) {
	t.Helper()
	h, err := home.Open(n.dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := h.ReadNetwork()
	if err != nil {
		t.Fatal(err)
	}
	k, err := h.LoadKey(h.Info().Key, func() (string, error) { return "", errors.New("the key is encrypted") })
	if err != nil {
		t.Fatal(err)
	}
	led, err := cosmos.Dial(info.RPC)
	if err != nil {
		t.Fatal(err)
	}
	defer led.Close()
	account := led.AddKey([32]byte(k.Secret()))
	pk, err := sign.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	net, err := libp2p.New(ctx, libp2p.Config{Key: pk})
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	c, err := client.New(client.Config{
		Chain: info.Chain, Account: account, Ledger: led, Net: net, IndexerOwner: info.IndexerOwner, Profile: gw1.Version, Dir: t.TempDir(),
		Indexer: func() (p2p.Peer, error) {
			i, err := h.ReadNetwork()
			return i.Indexer, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	use(c, led)
}

// draws gives the test's random numbers, from a seed that it prints.
func draws(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("GOTONG_E2E_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("GOTONG_E2E_SEED: %v", err)
		}
		seed = v
	}
	t.Logf("GOTONG_E2E_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
