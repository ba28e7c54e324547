package light_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"

	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/light"
)

// homeVariable makes the test's program a node of that home, until its stdin ends.
const homeVariable = "GOTONG_LIGHT_BENCH_HOME"

func TestMain(m *testing.M) {
	home := os.Getenv(homeVariable)
	if home == "" {
		os.Exit(m.Run())
	}
	n, err := chainnode.Open(home, chainnode.Config{RPC: "127.0.0.1:0"})
	if err == nil {
		err = n.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(n.RPC())
	_, _ = bufio.NewReader(os.Stdin).ReadString(0)
	_ = n.Stop()
}

// BenchmarkIdle is what a client costs that follows a chain of two blocks a second on
// which nothing happens: CPU of the client's process and of the node's, and memory.
func BenchmarkIdle(b *testing.B) {
	const clients = 50
	node := exec.Command(os.Args[0])
	node.Env = append(os.Environ(), homeVariable+"="+initHome(b))
	stdin, err1 := node.StdinPipe()
	stdout, err2 := node.StdoutPipe()
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	if err := node.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		stdin.Close()
		_ = node.Wait()
	}()
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	url = strings.TrimSpace(url)
	height, hash := firstHeader(b, url)
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	before := heap()
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for range clients {
		l, err := light.Dial(ctx, light.Config{Chain: chainID, RPCs: []string{url, url + "/"}, TrustHeight: height, TrustHash: hash})
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			defer l.Close()
			if err := l.Follow(ctx, 1, func(ledger.Block) error { return nil }); ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	time.Sleep(10 * time.Second) // they begin
	for b.Loop() {
		used, nodeUsed := cpu(b, os.Getpid()), cpu(b, node.Process.Pid)
		start := time.Now()
		time.Sleep(20 * time.Second)
		took := time.Since(start).Seconds()
		b.ReportMetric(100*(cpu(b, os.Getpid())-used)/took/clients, "%core/client")
		b.ReportMetric(100*(cpu(b, node.Process.Pid)-nodeUsed)/took/clients, "%core-node/client")
		b.ReportMetric((heap()-before)/clients/1024, "KiB/client")
	}
	cancel()
	wg.Wait()
}

// cpu is the seconds that a process used.
func cpu(b *testing.B, pid int) float64 {
	if pid == os.Getpid() {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system float64
	if _, err := fmt.Sscan(f[11]+" "+f[12], &user, &system); err != nil {
		b.Fatal(err)
	}
	return (user + system) / 100
}

// firstHeader asks for what an invite has.
func firstHeader(b *testing.B, url string) (int64, []byte) {
	c, err := rpchttp.New(url, "/websocket")
	if err != nil {
		b.Fatal(err)
	}
	height := int64(1)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if r, err := c.Commit(b.Context(), &height); err == nil && r.Header != nil {
			return height, r.Header.Hash()
		}
	}
	b.Fatal("no first block")
	return 0, nil
}
