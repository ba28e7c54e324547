package chainnode

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cosmos/cosmos-sdk/types/bech32"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func operator(t *testing.T) work.Address {
	a, err := bech32.ConvertAndEncode("gotong", []byte("operator operator op"))
	if err != nil {
		t.Fatal(err)
	}
	return work.Address(a)
}

func initHome(t *testing.T) string {
	home := t.TempDir()
	if err := Init(home, InitConfig{
		Genesis:  app.GenesisConfig{Chain: "gotong-test", Time: time.Now(), Params: lifecycle.LocalParams(), Accounts: []app.Account{{Address: operator(t), Balance: 5}}},
		Operator: operator(t), SelfBond: 100 * work.UgtgPerGtg,
	}); err != nil {
		t.Fatal(err)
	}
	return home
}

func start(t *testing.T, home string) *Node {
	n, err := Open(home, Config{RPC: "127.0.0.1:0", BlockTime: 20 * time.Millisecond, Conserve: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// await waits until the application has committed a height.
func await(t *testing.T, n *Node, height int64) {
	for {
		info, err := n.Client().ABCIInfo(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if info.Response.LastBlockHeight >= height {
			return
		}
		select {
		case <-n.Failed():
			t.Fatal(n.Err())
		case <-t.Context().Done():
			t.Fatal("no blocks")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestStartStopRestart(t *testing.T) {
	t.Parallel()
	home := initHome(t)
	n := start(t, home)
	await(t, n, 3)
	if _, err := Open(home, Config{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a home in use was opened: %v", err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	// Stores that nothing was ever written to must still have their roots.
	n = start(t, home)
	await(t, n, 6)
	for _, path := range []string{"/gotong.proof.v1.Query/Params", "/gotong.proof.v1.Query/Conserved", "/gotong.market.v1.Query/Jobs", "/gotong.registry.v1.Query/Parties"} {
		r, err := n.Client().ABCIQuery(t.Context(), path, nil)
		if err != nil || r.Response.Code != 0 {
			t.Errorf("%s after a restart: %v, %s", path, err, r.Response.Log)
		}
	}
}

func TestSecondInit(t *testing.T) {
	t.Parallel()
	if err := Init(initHome(t), InitConfig{}); !errors.Is(err, ErrExists) {
		t.Errorf("a home was overwritten: %v", err)
	}
}
