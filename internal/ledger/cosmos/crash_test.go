package cosmos_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// The test binary runs as a node of its own when it is asked to, so that it can be
// killed.
const (
	homeVariable = "GOTONG_TEST_NODE_HOME"
	rpcVariable  = "GOTONG_TEST_NODE_RPC"
)

func TestMain(m *testing.M) {
	if home := os.Getenv(homeVariable); home != "" {
		if err := runNode(home, os.Getenv(rpcVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runNode(home, rpc string) error {
	n, err := chainnode.Open(home, chainnode.Config{RPC: rpc, BlockTime: 30 * time.Millisecond, Conserve: true})
	if err != nil {
		return err
	}
	defer n.Stop()
	if err := n.Start(); err != nil {
		return err
	}
	fmt.Println(n.RPC())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the test, however that ends
		stop()
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-n.Failed():
		return n.Err()
	}
}

// nodeProcess runs a node in a process of its own and gives its URL.
func nodeProcess(t *testing.T, home, rpc string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), homeVariable+"="+home, rpcVariable+"="+rpc)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the node did not start: %v", err)
	}
	return cmd, strings.TrimSpace(line)
}

// TestKill kills the node twice while transactions are on their way. Each is
// executed exactly once, and followers miss no height.
func TestKill(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	home := initHome(t)
	node, url := nodeProcess(t, home, "127.0.0.1:0")
	c, err := cosmos.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	addKeys(c)
	if _, err := c.Submit(ctx, address(checker0), ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 100 * work.UgtgPerGtg}); err != nil {
		t.Fatal(err)
	}

	const sends = 60
	var heights []int64
	followed, end := make(chan error, 1), errors.New("end")
	go func() {
		followed <- c.Follow(ctx, 1, func(b ledger.Block) error {
			heights = append(heights, b.Height)
			for _, e := range b.Events {
				if e.Kind == lifecycle.EventParty && e.Account == address(checker1) {
					return end
				}
			}
			return nil
		})
	}()
	var all sync.WaitGroup
	for i := range sends {
		all.Go(func() {
			// Some before, some in between, some while no node is there.
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(i) * 30 * time.Millisecond):
			}
			for {
				_, err := c.Submit(ctx, address(client), ledger.Send{To: address(poor), Amount: 1})
				if !errors.Is(err, ledger.ErrUnreachable) { // before it was sent, a caller may hear that
					if err != nil {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	for range 2 {
		before, err := c.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		waitHeight(t, ctx, c, before.Height+10)
		if err := node.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		node.Wait()
		node, _ = nodeProcess(t, home, strings.TrimPrefix(url, "http://"))
	}
	all.Wait()
	if got, err := c.Balance(ctx, address(poor)); err != nil || got != sends {
		t.Errorf("%d sends of 1 gave %d (%v)", sends, got, err)
	}
	if p, err := c.Party(ctx, lifecycle.RoleChecker, address(checker0)); err != nil || p.Bond != 100*work.UgtgPerGtg {
		t.Errorf("after the kills the party is %+v, %v", p, err)
	}
	if _, err := c.Submit(ctx, address(checker1), ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 100 * work.UgtgPerGtg}); err != nil {
		t.Fatal(err)
	}
	if err := <-followed; err != end {
		t.Fatal(err)
	}
	if !slices.IsSorted(heights) || heights[0] != 1 || heights[len(heights)-1] != int64(len(heights)) {
		t.Errorf("followed heights %v", heights)
	}
	conserved(t, c)
}

func waitHeight(t *testing.T, ctx context.Context, c *cosmos.Client, height int64) {
	t.Helper()
	end := errors.New("end")
	if err := c.Follow(ctx, height, func(ledger.Block) error { return end }); err != end {
		t.Fatal(err)
	}
}

// TestTwoClients lets two programs sign as one account: each finds its sequence
// number again.
func TestTwoClients(t *testing.T) {
	t.Parallel()
	n := startNode(t, initHome(t))
	var all sync.WaitGroup
	for range 2 {
		c := cosmos.New(n.Client())
		defer c.Close()
		addKeys(c)
		for range 20 {
			all.Go(func() {
				if _, err := c.Submit(t.Context(), address(client), ledger.Send{To: address(poor), Amount: 1}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	c := cosmos.New(n.Client())
	defer c.Close()
	if got, err := c.Balance(t.Context(), address(poor)); err != nil || got != 40 {
		t.Errorf("40 sends of 1 gave %d (%v)", got, err)
	}
}

// TestUnreachable tells a node that is not there from one that says no.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	c, err := cosmos.Dial("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	addKeys(c)
	if _, err := c.Status(t.Context()); !errors.Is(err, ledger.ErrUnreachable) {
		t.Errorf("status: %v", err)
	}
	if _, err := c.Submit(t.Context(), address(client), ledger.Send{To: address(poor), Amount: 1}); !errors.Is(err, ledger.ErrUnreachable) {
		t.Errorf("submit: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Follow(ctx, 1, func(ledger.Block) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("follow: %v", err)
	}
}

// TestStoppedNode stops the node under a client that is still at work.
func TestStoppedNode(t *testing.T) {
	t.Parallel()
	n := startNode(t, initHome(t))
	c := cosmos.New(n.Client())
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := c.Follow(ctx, 1, func(ledger.Block) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("follow: %v", err)
		}
	})
	waitHeight(t, ctx, c, 3)
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Supply(ctx); !errors.Is(err, ledger.ErrUnreachable) {
		t.Errorf("a query after the stop: %v", err)
	}
	cancel()
	all.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
