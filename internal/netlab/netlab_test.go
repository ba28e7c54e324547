//go:build linux

package netlab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds waits for what takes milliseconds.
const patience = 30 * time.Second

// TestMain lets the test binary be a program that makes a lab and waits to be killed.
func TestMain(m *testing.M) {
	if os.Getenv("NETLAB_TEST_VICTIM") != "" {
		victim()
	}
	os.Exit(m.Run())
}

func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := New(Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func (l *Lab) must(t *testing.T, name string, o HostOptions) *Host {
	t.Helper()
	h, err := l.Host(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (l *Lab) mustRoute(t *testing.T, name string, n NAT) *Router {
	t.Helper()
	r, err := l.Router(name, RouterOptions{NAT: n})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// seen serves UDP on a host: it answers every datagram with its sender's address.
func seen(t *testing.T, h *Host, port int) string {
	t.Helper()
	var c net.PacketConn
	err := h.Visit(func() (err error) {
		c, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = c.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 64)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(from.String()), from)
		}
	}()
	return netip.AddrPortFrom(h.Addr(), uint16(port)).String()
}

// socket opens a UDP socket on a host.
func socket(t *testing.T, h *Host) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	err := h.Visit(func() (err error) {
		c, err = net.ListenPacket("udp4", ":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask sends until an answer comes, or until the time is over.
func ask(t *testing.T, c net.PacketConn, server string, within time.Duration) (netip.AddrPort, bool) {
	t.Helper()
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(server))
	buf := make([]byte, 64)
	for end := time.Now().Add(within); time.Now().Before(end); {
		if _, err := c.WriteTo([]byte("?"), to); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, from, err := c.ReadFrom(buf)
		if err == nil && from.String() == server {
			return netip.MustParseAddrPort(string(buf[:n])), true
		}
	}
	return netip.AddrPort{}, false
}

// echo serves TCP on a host: it sends back what it gets.
func echo(t *testing.T, h *Host) string {
	t.Helper()
	in, err := h.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	go func() {
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return netip.AddrPortFrom(h.Addr(), uint16(in.Addr().(*net.TCPAddr).Port)).String()
}

func dial(t *testing.T, h *Host, address string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := h.Dial(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// trip sends n random bytes and wants them back; it gives how long that took.
func trip(t *testing.T, c net.Conn, n int, within time.Duration) (time.Duration, error) {
	t.Helper()
	out, in := make([]byte, n), make([]byte, n)
	for i := range out {
		out[i] = byte(rand.Uint32())
	}
	start := time.Now()
	if err := c.SetDeadline(start.Add(within)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { _, err := c.Write(out); sent <- err }()
	_, err := io.ReadFull(c, in)
	if err := errors.Join(err, <-sent); err != nil {
		return 0, err
	}
	if string(in) != string(out) {
		t.Fatal("other bytes came back")
	}
	return time.Since(start), nil
}

func TestHostsReachEachOther(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	a, b := l.must(t, "a", HostOptions{}), l.must(t, "b", HostOptions{Link: &Link{}})
	if a.Addr() == b.Addr() || a.Addr().IsPrivate() || b.Addr().IsPrivate() {
		t.Errorf("the addresses are %s and %s", a.Addr(), b.Addr())
	}
	for from, to := range map[*Host]*Host{a: b, b: a} {
		if _, err := trip(t, dial(t, from, echo(t, to)), 4<<20, patience); err != nil {
			t.Errorf("%s to %s: %v", from.Name(), to.Name(), err)
		}
	}
	// The machine itself is not on this network.
	if c, err := (&net.Dialer{Timeout: 300 * time.Millisecond}).Dial("tcp4", echo(t, a)); err == nil {
		_ = c.Close()
		t.Error("the machine reaches a host of the lab")
	}
}

func TestCommandsRunOnTheirHost(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	a := l.must(t, "a", HostOptions{Addr: netip.MustParseAddr("91.4.0.7")})
	out, err := a.Command(t.Context(), "ip", "-4", "-br", "addr", "show", "eth0").Output()
	if err != nil || !strings.Contains(string(out), "91.4.0.7/32") {
		t.Errorf("%q (%v)", out, err)
	}
	if err := a.Command(t.Context(), "false").Run(); err == nil {
		t.Error("a program's failure was not told")
	}
}

func TestForwardLeadsIntoAHost(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	a := l.must(t, "a", HostOptions{})
	_, port, _ := net.SplitHostPort(echo(t, a))
	door, err := a.Forward("127.0.0.1:" + port)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", door)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := trip(t, c, 1<<20, patience); err != nil {
		t.Error(err)
	}
}

// TestTranslation proves what makes the two kinds of router different: whether two
// destinations see one sender at one port.
func TestTranslation(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	one, two := seen(t, l.must(t, "one", HostOptions{}), 7), seen(t, l.must(t, "two", HostOptions{}), 7)
	for nat, same := range map[NAT]bool{Masquerade: true, Symmetric: false} {
		r := l.mustRoute(t, fmt.Sprint("router", nat), nat)
		h := l.must(t, fmt.Sprint("hidden", nat), HostOptions{Behind: r})
		if !h.Addr().IsPrivate() {
			t.Errorf("a host behind a router has the address %s", h.Addr())
		}
		equal := 0
		const sockets = 4 // by chance a random port may be the same: not four times
		for range sockets {
			c := socket(t, h)
			at1, ok1 := ask(t, c, one, patience)
			at2, ok2 := ask(t, c, two, patience)
			if !ok1 || !ok2 {
				t.Fatal("no answer came through the router")
			}
			if at1.Addr() != r.Addr() || at2.Addr() != r.Addr() {
				t.Errorf("the senders were seen at %s and %s, the router is %s", at1, at2, r.Addr())
			}
			if at1 == at2 {
				equal++
			}
		}
		if same && equal != sockets || !same && equal == sockets {
			t.Errorf("NAT %d: %d of %d sockets were seen at one port by two destinations", nat, equal, sockets)
		}
		// Nobody comes in uninvited.
		server := seen(t, h, 9)
		outside := l.must(t, fmt.Sprint("outside", nat), HostOptions{})
		if _, ok := ask(t, socket(t, outside), netip.AddrPortFrom(r.Addr(), 9).String(), time.Second); ok {
			t.Errorf("a stranger reached %s through the router", server)
		}
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	far, near := l.must(t, "far", HostOptions{Link: &Link{Delay: 75 * time.Millisecond}}), l.must(t, "near", HostOptions{})
	c := dial(t, near, echo(t, far))
	least := time.Hour
	for range 3 { // a loaded machine adds to some of them
		d, err := trip(t, c, 1, patience)
		if err != nil {
			t.Fatal(err)
		}
		least = min(least, d)
	}
	if least < 150*time.Millisecond || least > 450*time.Millisecond {
		t.Errorf("a round trip of 150 ms took %s", least)
	}
	if err := far.SetLink(Link{}); err != nil {
		t.Fatal(err)
	}
	least = time.Hour
	for range 5 {
		if d, err := trip(t, c, 1, patience); err == nil {
			least = min(least, d)
		}
	}
	if least > 100*time.Millisecond {
		t.Errorf("a round trip takes %s after the delay was taken away", least)
	}
	if near.SetLink(Link{}) == nil || far.SetLink(Link{Loss: 2}) == nil {
		t.Error("an impossible link was taken")
	}
}

func TestLoss(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	lossy, b := l.must(t, "lossy", HostOptions{Link: &Link{Loss: 0.25}}), l.must(t, "b", HostOptions{})
	server := netip.MustParseAddrPort(seen(t, b, 7))
	c := socket(t, lossy)
	if _, ok := ask(t, c, server.String(), patience); !ok { // addresses are known from here on
		t.Fatal("nothing comes through")
	}
	const sent = 2000
	got := make(chan int)
	go func() {
		buf, n := make([]byte, 64), 0
		for {
			_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
			if _, _, err := c.ReadFrom(buf); err != nil {
				got <- n
				return
			}
			n++
		}
	}()
	for range sent {
		if _, err := c.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(server)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond) // no queue but the link's is tested
	}
	// Both ways: 0.75 of 0.75 come back, 1125 with a deviation of 22.
	if n := <-got; n < 900 || n > 1350 {
		t.Errorf("%d of %d datagrams came back over a link that loses a quarter each way", n, sent)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	slow, b := l.must(t, "slow", HostOptions{Link: &Link{Rate: 8_000_000}}), l.must(t, "b", HostOptions{})
	took, err := trip(t, dial(t, slow, echo(t, b)), 1<<20, patience)
	if err != nil {
		t.Fatal(err)
	}
	if took < 900*time.Millisecond {
		t.Errorf("a MiB took %s over a link of a megabyte a second", took)
	}
}

func TestCutAndHeal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := l.mustRoute(t, "router", Masquerade)
	a, b := l.must(t, "a", HostOptions{}), l.must(t, "b", HostOptions{Link: &Link{}})
	c, hidden := l.must(t, "c", HostOptions{}), l.must(t, "hidden", HostOptions{Behind: r})
	at := map[*Host]string{a: seen(t, a, 7), b: seen(t, b, 7), c: seen(t, c, 7)}
	reach := func(from, to *Host, want bool) {
		t.Helper()
		within := patience
		if !want {
			within = time.Second
		}
		if _, ok := ask(t, socket(t, from), at[to], within); ok != want {
			t.Errorf("%s reaches %s: %v", from.Name(), to.Name(), ok)
		}
	}
	conn := dial(t, a, echo(t, c))
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(l.Cut(a, b, hidden))
	reach(a, b, true)
	reach(hidden, a, true) // its router came along
	reach(a, c, false)
	reach(c, b, false)
	reach(hidden, c, false)
	if _, err := trip(t, conn, 1, time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an open connection over the cut: %v", err)
	}
	do(l.Cut(b)) // from its island, too
	reach(a, b, false)
	do(l.Heal(b))
	reach(b, c, true)
	reach(a, b, false)
	do(l.Heal())
	reach(a, c, true)
	reach(hidden, c, true)
	// What was sent into the cut arrives after all.
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Errorf("the connection did not outlive the cut: %v", err)
	}
	if _, err := trip(t, dial(t, a, echo(t, c)), 1, patience); err != nil {
		t.Error(err)
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	a := l.must(t, "a", HostOptions{})
	dir := t.TempDir()
	if err := a.Limit(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	err := a.Visit(func() error { return os.WriteFile(file, make([]byte, 2<<20), 0o600) })
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("two MiB on a file system of one: %v", err)
	}
	out, err := a.Command(t.Context(), "stat", "-c", "%s", file).Output()
	if n, _ := strconv.Atoi(strings.TrimSpace(string(out))); err != nil || n < 1 || n > 1<<20 {
		t.Errorf("a program on the host sees a file of %q bytes (%v)", out, err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file shows outside: %v", err)
	}
}

// TestCloseLeavesNothing looks for the namespaces of a lab among all threads.
func TestCloseLeavesNothing(t *testing.T) {
	l, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := l.mustRoute(t, "r", Symmetric)
	h := l.must(t, "h", HostOptions{Behind: r, Link: &Link{Delay: time.Millisecond}})
	sleep := h.Command(t.Context(), "sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	spaces := []string{inode(t, l.core.path("net")), inode(t, r.space.path("net")), inode(t, h.space.path("net"))}
	l.Close()
	_ = sleep.Wait() // returns since it was killed
	gone(t, spaces)
	if _, err := h.Dial(t.Context(), "tcp", "127.0.0.1:1"); !errors.Is(err, errGone) {
		t.Errorf("dial on a closed lab: %v", err)
	}
	if err := h.Command(t.Context(), "true").Run(); !errors.Is(err, errGone) {
		t.Errorf("a program on a closed lab: %v", err)
	}
}

// TestKillLeavesNothing kills a process that has a lab.
func TestKillLeavesNothing(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "NETLAB_TEST_VICTIM=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, _ = cmd.Process.Kill(), cmd.Wait()
	gone(t, strings.Fields(line))
}

func victim() {
	l, err := New(Options{})
	if err != nil {
		panic(err)
	}
	h, err := l.Host("h", HostOptions{Link: &Link{}})
	if err != nil {
		panic(err)
	}
	if err := h.Command(context.Background(), "sleep", "1000").Start(); err != nil {
		panic(err)
	}
	a, _ := os.Readlink(h.space.path("net"))
	b, _ := os.Readlink(l.core.path("net"))
	fmt.Println(a, b)
	select {}
}

func inode(t *testing.T, path string) string {
	t.Helper()
	s, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// gone waits until no thread of the machine is in any of the namespaces.
func gone(t *testing.T, spaces []string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left := ""
		threads, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net")
		for _, path := range threads {
			if at, err := os.Readlink(path); err == nil {
				for _, s := range spaces {
					if s == at {
						left = path
					}
				}
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is still in a namespace of the lab", left)
		}
	}
}
