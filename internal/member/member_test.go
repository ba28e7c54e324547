package member

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func TestEarnings(t *testing.T) {
	t.Parallel()
	h := newHome(t, t.TempDir())
	e, err := ReadEarnings(h)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	transfer := func(from lifecycle.Pot, who string, to lifecycle.Pot, whom string, amount uint64, why lifecycle.Reason) lifecycle.Event {
		return lifecycle.Event{Transfer: &lifecycle.Transfer{FromPot: from, From: addr(who), ToPot: to, To: addr(whom), Amount: amountOf(amount), Reason: why}}
	}
	e.add("me", ledger.Block{Height: 7, Time: at, Events: []lifecycle.Event{
		transfer(lifecycle.PotEscrow, "client", lifecycle.PotAccount, "me", 50, lifecycle.ReasonWork),
		transfer(lifecycle.PotEscrow, "client", lifecycle.PotVesting, "me", 50, lifecycle.ReasonWork),
		transfer(lifecycle.PotVesting, "me", lifecycle.PotAccount, "me", 50, lifecycle.ReasonVested), // was counted when it was earned
		transfer(lifecycle.PotBond, "cheat", lifecycle.PotAccount, "me", 9, lifecycle.ReasonBounty),
		transfer(lifecycle.PotBond, "me", lifecycle.PotAccount, "me", 1000, lifecycle.ReasonUnbond),
		transfer(lifecycle.PotEscrow, "me", lifecycle.PotAccount, "me", 700, lifecycle.ReasonRefund),
		transfer(lifecycle.PotAccount, "friend", lifecycle.PotAccount, "me", 5, "send"),
		transfer(lifecycle.PotBond, "me", lifecycle.PotBurn, "", 3, lifecycle.ReasonSlash),
		transfer(lifecycle.PotEscrow, "client", lifecycle.PotAccount, "other", 77, lifecycle.ReasonWork),
	}})
	if e.Sum() != 109 || e.Earned["work"] != 100 || e.Earned["bounty"] != 9 || e.Lost["slash burn"] != 3 || e.Days["2026-01-02"] != 109 || e.Height != 7 {
		t.Errorf("counted %+v", e)
	}
	for i := range 2 * maxDays {
		e.add("me", ledger.Block{Height: int64(8 + i), Time: at.AddDate(0, 0, i+1), Events: []lifecycle.Event{
			transfer(lifecycle.PotEscrow, "client", lifecycle.PotAccount, "me", 1, lifecycle.ReasonWork)}})
	}
	if len(e.Days) != maxDays || e.Days["2026-01-02"] != 0 || e.Sum() != 109+2*maxDays {
		t.Errorf("%d days are kept and the sum is %d", len(e.Days), e.Sum())
	}
}

func newHome(t *testing.T, dir string) *home.Home {
	t.Helper()
	h, err := home.Create(filepath.Join(dir, "h"), home.Info{Kind: home.Member, Chain: "c", Key: "default", Roles: []string{home.RoleProvider}, Private: true})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestControl speaks to a socket whose path is too long for an address, too.
func TestControl(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("long/", 30))} {
		h := newHome(t, dir)
		if err := Call(t.Context(), h, http.MethodGet, "/v1/status", nil); err == nil || !strings.Contains(err.Error(), "gotong start") {
			t.Errorf("a home that does not run: %v", err)
		}
		if err := h.Lock(); err != nil {
			t.Fatal(err)
		}
		k, err := home.NewKey("default")
		if err != nil {
			t.Fatal(err)
		}
		n := &Node{opts: Options{Key: k}, home: h, ledger: nowhere{}}
		c, err := n.listen()
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.serve(ctx); close(done) }()
		var s Status
		if err := Call(t.Context(), h, http.MethodGet, "/v1/status", &s); err != nil || s.Account != k.Address || s.Chain != "c" {
			t.Errorf("status %+v, %v", s, err)
		}
		if err := Call(t.Context(), h, http.MethodPost, "/v1/provider/pause", &s); err != nil || !s.PausedByUser {
			t.Errorf("pause: %+v, %v", s, err)
		}
		if set, err := h.ReadSettings(); err != nil || !set.Paused {
			t.Errorf("the pause was not kept: %+v, %v", set, err)
		}
		if err := Call(t.Context(), h, http.MethodPost, "/v1/provider/drain", nil); err == nil {
			t.Error("a provider that does not run drains")
		}
		if err := os.WriteFile(h.Path("control.token"), []byte("guess\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Call(t.Context(), h, http.MethodGet, "/v1/status", nil); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("a guessed token: %v", err)
		}
		if st, err := os.Stat(h.Path("control.sock")); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("the socket's mode: %v, %v", st, err)
		}
		stop()
		<-done
		if err := h.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJoinMerges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	invite := &home.Invite{Format: 1, Chain: "c", Private: true, RPCs: []string{"http://10.0.0.1:26657"}}
	j := Join{Dir: dir, Invite: invite, KeyName: "default", Settings: home.Settings{Price: "5ugtg"}}
	_, first, err := j.Make()
	if err != nil {
		t.Fatal(err)
	}
	j.Roles, j.Settings = []string{home.RoleValidator, home.RoleProvider}, home.Settings{RPC: "0.0.0.0:7000", Slots: 2}
	h, again, err := j.Make()
	if err != nil || again != first {
		t.Fatalf("joined again as %v, first as %v: %v", again, first, err)
	}
	s, err := h.ReadSettings()
	if err != nil || s.Price != "5ugtg" || s.Slots != 2 {
		t.Errorf("settings %+v, %v", s, err)
	}
	n, err := h.ReadNetwork()
	if err != nil || n.RPC != "http://127.0.0.1:7000" || len(n.RPCs) != 1 {
		t.Errorf("network %+v, %v", n, err)
	}
	invite.Chain = "d"
	if _, _, err := j.Make(); err == nil {
		t.Error("a home joined a second network")
	}
}

func TestLimitsOfSettings(t *testing.T) {
	t.Parallel()
	if c, err := Limits(home.Settings{}); c != nil || err != nil {
		t.Errorf("no limits: %v, %v", c, err)
	}
	c, err := Limits(home.Settings{Limits: map[string]string{"cpu": "10%"}})
	if err != nil || c.CPU != 10 {
		t.Errorf("10%%: %+v, %v", c, err)
	}
	for _, bad := range []map[string]string{{"cpu": "200%"}, {"colour": "red"}} {
		if _, err := Limits(home.Settings{Limits: bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func addr(s string) work.Address { return work.Address(s) }

func amountOf(n uint64) work.Amount { return work.Amount(n) }

// nowhere is a chain that does not answer.
type nowhere struct{ Ledger }

func (nowhere) Status(context.Context) (ledger.Status, error) {
	return ledger.Status{}, ledger.ErrUnreachable
}
