package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"
	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/netlab"
)

// exitHome is gotong's exit code for a home that is locked, damaged or not to be run.
const exitHome = 6

// faults are what goes wrong on single machines: each says clearly what is wrong, and
// nothing is lost. A disk fills up and is emptied beside the others: most of that is
// waiting for jobs.
func faults(w *world, t *testing.T) {
	small, twin := w.add(t, "provider", "small", netlab.HostOptions{}), w.add(t, "twin", "twin", netlab.HostOptions{})
	for _, m := range []*machine{small, twin} {
		t.Cleanup(func() { m.kill(); w.remove(m) })
	}
	type fault struct {
		name string
		run  func(*world, context.Context, *testing.T)
	}
	one := func(t *testing.T, f fault) {
		t.Run(f.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			f.run(w, ctx, t)
		})
	}
	t.Run("at once", func(t *testing.T) { // ends when both have ended
		t.Run("of a disk", func(t *testing.T) {
			t.Parallel()
			one(t, fault{"disk full", func(w *world, ctx context.Context, t *testing.T) { diskFull(w, ctx, t, small) }})
		})
		t.Run("of processes", func(t *testing.T) {
			t.Parallel()
			one(t, fault{"two processes on one home", twoProcesses})
			one(t, fault{"key unreadable", keyUnreadable})
			one(t, fault{"clock ten minutes off", clockOff})
			one(t, fault{"two nodes with one key", func(w *world, ctx context.Context, t *testing.T) { twoNodes(w, ctx, t, twin) }})
		})
	})
}

// refused runs a start that must fail with a clear message.
func (m *machine) refused(t *testing.T, wrap []string, code int, words ...string) {
	t.Helper()
	p, err := m.launch(t.Context(), wrap, "start")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if got := p.ended(t, patience); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	message := "" // the last of its own: another process may write into the same log
	for line := range strings.Lines(p.said()) {
		if strings.HasPrefix(line, "gotong: ") {
			message = strings.TrimSpace(line)
		}
	}
	t.Logf("it says: %s", message)
	for _, word := range words {
		if !strings.Contains(message, word) {
			t.Errorf("the message does not name %q", word)
		}
	}
}

func twoProcesses(w *world, ctx context.Context, t *testing.T) {
	m := w.by["provider0"]
	until(ctx, t, "start", patience, func() error { return m.supervise(t) })
	m.refused(t, nil, exitHome, m.home, "in use")
	if err := m.ready(); err != nil {
		t.Errorf("the first process: %v", err)
	}
}

func keyUnreadable(w *world, ctx context.Context, t *testing.T) {
	m := w.by["provider1"]
	m.kill()
	keys, err := filepath.Glob(filepath.Join(m.home, "keys", "default*"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("no key file in %s (%v)", m.home, err)
	}
	key := keys[0]
	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0); err != nil {
		t.Fatal(err)
	}
	// Root reads everything, unless it gave that up.
	humble := []string{"setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"}
	m.refused(t, humble, exitHome, key, "cannot be read by this user")
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.refused(t, nil, exitHome, "default")
	if err := os.WriteFile(key, good, 0o600); err != nil {
		t.Fatal(err)
	}
	m.start(t)
	until(ctx, t, "start with the key back", patience, func() error { return m.supervise(t) })
}

// clockOff shows a provider and a validator a network whose clock is ten minutes and a
// half ahead of theirs (a measurement that is a second off says ten minutes too). Linux cannot give a process another wall clock, so it is the others' that
// differ: what their RPC servers say the time is.
func clockOff(w *world, ctx context.Context, t *testing.T) {
	h, err := w.lab.Host("clock", netlab.HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var urls []string
	for i := range 3 {
		l := w.newLiar(t, h, 80+i, w.by[fmt.Sprint("validator", i)])
		l.ahead.Store(630)
		urls = append(urls, l.url)
	}
	m := w.by["provider1"]
	m.kill()
	w.asks(t, m, urls...)
	m.start(t)
	until(ctx, t, "start", patience, func() error { return m.supervise(t) })
	var st struct {
		ClockWrong bool    `json:"clock_wrong"`
		ClockSkew  float64 `json:"clock_skew_seconds"`
	}
	until(ctx, t, "the clock is found wrong", patience, func() error {
		err := m.ask(ctx, &st, "status", "--json")
		if err == nil && !st.ClockWrong {
			err = errors.New("the clock is said to be right")
		}
		return err
	})
	if st.ClockSkew > -530 || st.ClockSkew < -730 {
		t.Errorf("the clock is said to be off by %.0f s, not by -630", st.ClockSkew)
	}
	if text := m.running().said(); !strings.Contains(text, "clock is 10m") {
		t.Errorf("the log does not say it: %s", tail(text))
	}

	v := w.by["validator3"]
	v.kill()
	w.asks(t, v, urls...)
	v.refused(t, nil, exitUnreachable, "clock", "10m")
}

// diskFull fills the disk of a provider while it works.
func diskFull(w *world, ctx context.Context, t *testing.T, m *machine) {
	if err := os.MkdirAll(m.home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := m.Limit(m.home, 800<<20); err != nil {
		t.Fatal(err)
	}
	w.join(t, m)
	m.start(t)
	until(ctx, t, "start", patience, func() error { return m.supervise(t) })
	ballast := filepath.Join(m.home, "ballast")
	err := m.Visit(func() error {
		f, err := os.Create(ballast)
		if err != nil {
			return err
		}
		defer f.Close()
		for chunk := make([]byte, 1<<20); err == nil; {
			_, err = f.Write(chunk)
		}
		return err
	})
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	low := func(want bool) {
		t.Helper()
		until(ctx, t, fmt.Sprintf("the disk is said to be low: %v", want), patience, func() error {
			var st struct {
				DiskLow bool `json:"disk_low"`
			}
			err := m.ask(ctx, &st, "status", "--json")
			if err == nil && st.DiskLow != want {
				err = fmt.Errorf("disk_low is %v", st.DiskLow)
			}
			return err
		})
	}
	if !*full { // what it has in hand comes back when its time is over, after minutes
		low(true)
	}
	j := w.post(t, w.by["client0"], "disk-full", pick(300, 2000), 300_000)
	low(true)
	if text := m.running().said(); !strings.Contains(text, "disk") || !strings.Contains(text, "full") {
		t.Errorf("the log does not say that the disk is full: %s", tail(text))
	}
	j.done(ctx, t)
	if err := m.Visit(func() error { return os.Remove(ballast) }); err != nil {
		t.Fatal(err)
	}
	low(false)
	again := w.post(t, w.by["client0"], "disk-again", 100, 300_000)
	for _, j := range []*job{j, again} {
		j.follow(ctx, t, nil)
		j.right(t)
		j.closed(ctx, t)
	}
	for _, j := range []*job{j, again} {
		j.settled(ctx, t)
	}
	m.run(t, 0, "provider", "drain")
}

// twoNodes starts a copy of a validator's home on another machine while the original,
// which was away, fetches the blocks that it missed and signs none yet: one of them
// refuses to sign, or both do, and no height is signed twice.
func twoNodes(w *world, ctx context.Context, t *testing.T, twin *machine) {
	v := w.by["validator3"]
	v.kill()
	if out, err := exec.CommandContext(ctx, "cp", "-a", v.home, twin.home).CombinedOutput(); err != nil {
		t.Fatalf("copy the home: %v: %s", err, out)
	}
	h, err := home.Open(twin.home)
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.ReadSettings()
	if err != nil {
		t.Fatal(err)
	}
	move := func(at string) string { return strings.ReplaceAll(at, v.Addr().String(), twin.Addr().String()) }
	for i := range s.Listen {
		s.Listen[i] = move(s.Listen[i])
	}
	s.RPC, s.ChainP2P = move(s.RPC), move(s.ChainP2P)
	if err := h.WriteSettings(s); err != nil {
		t.Fatal(err)
	}
	// With a peer key of its own, or the two push each other out as peers and mostly
	// neither gets as far as to sign.
	chain := member.ChainDir(h)
	if err := os.Remove(filepath.Join(chain, "config", "node_key.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := chainnode.MakeKeys(chain); err != nil {
		t.Fatal(err)
	}
	w.grows(ctx, t, w.by["validator0"], 10)
	twin.start(t)
	v.start(t)
	var loser *machine
	until(ctx, t, "one of the two refuses to sign", patience, func() error {
		for _, m := range []*machine{twin, v} {
			if err := m.ready(); errors.Is(err, errEnded) && m.running().code == exitUnreachable {
				m.start(t)
			} else if errors.Is(err, errEnded) {
				loser = m
				return nil
			}
		}
		return errors.New("both run")
	})
	message := lastLine(loser.running().said())
	t.Logf("%s says: %s", loser.Name(), message)
	if p := loser.running(); p.code != exitHome || !strings.Contains(message, "signs with this validator's key") {
		t.Errorf("%s ended with %d: %s", loser.Name(), p.code, tail(p.said()))
	}
	w.grows(ctx, t, w.by["validator0"], 5)
	twin.kill()
	w.grows(ctx, t, w.by["validator0"], 2) // its last votes are heard of as long as their block is under way
	v.start(t)
	until(ctx, t, "start", patience, func() error { return v.supervise(t) })
	w.signs(ctx, t, v)
	w.noEvidence(ctx, t)
}

// signs waits until a validator's signature is in a block: one that was started again
// first fetches what it missed.
func (w *world) signs(ctx context.Context, t *testing.T, v *machine) {
	t.Helper()
	until(ctx, t, v.Name()+" signs", patience, func() error { return w.signed(ctx, v) })
}

// signed reports why a validator's signature is not in its own newest block; nil if it is.
func (w *world) signed(ctx context.Context, v *machine) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rpc, err := w.rpc(v)
	if err != nil {
		return err
	}
	st, err := rpc.Status(ctx)
	if err != nil {
		return err
	}
	b, err := rpc.Block(ctx, nil)
	if err != nil {
		return err
	}
	for _, s := range b.Block.LastCommit.Signatures {
		if s.BlockIDFlag == cmttypes.BlockIDFlagCommit && bytes.Equal(s.ValidatorAddress, st.ValidatorInfo.Address) {
			return nil
		}
	}
	return fmt.Errorf("block %d has no signature of %s", b.Block.Height, v.Name())
}

// rpc speaks to a validator's RPC server.
func (w *world) rpc(v *machine) (*rpchttp.HTTP, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rpc := w.rpcs[v.Name()]; rpc != nil {
		return rpc, nil
	}
	door, err := v.Forward(fmt.Sprintf("%s:%d", v.Addr(), rpcPort))
	if err != nil {
		return nil, err
	}
	rpc, err := rpchttp.New("http://"+door, "/websocket")
	if err == nil {
		w.rpcs[v.Name()] = rpc
	}
	return rpc, err
}

// noEvidence holds that no block of the last hundred carries evidence of a double
// signature.
func (w *world) noEvidence(ctx context.Context, t *testing.T) {
	t.Helper()
	rpc, err := w.rpc(w.by["validator0"])
	if err != nil {
		t.Fatal(err)
	}
	newest, err := rpc.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	last := newest.SyncInfo.LatestBlockHeight
	for h := max(1, last-100); h <= last; h++ {
		b, err := rpc.Block(ctx, &h)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b.Block.Evidence.Evidence); n != 0 {
			t.Errorf("block %d carries %d pieces of evidence", h, n)
		}
	}
}
