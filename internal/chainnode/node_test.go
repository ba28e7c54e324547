package chainnode

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// patience bounds the wait for a height: one that takes that long never comes.
const patience = 5 * time.Minute

// await waits until the application has committed a height.
func await(t *testing.T, n *Node, height int64) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		info, err := n.Client().ABCIInfo(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if info.Response.LastBlockHeight >= height {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it stands at height %d, not at %d", info.Response.LastBlockHeight, height)
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

// TestValidators lets three nodes make one chain: every proposer's proof is
// checked by the others.
func TestValidators(t *testing.T) {
	t.Parallel()
	const n = 3
	g := app.GenesisConfig{Chain: "gotong-three", Time: time.Now(), Params: lifecycle.LocalParams()}
	var homes, addrs, peers []string
	for i := range n {
		home := t.TempDir()
		k, err := MakeKeys(home)
		if err != nil {
			t.Fatal(err)
		}
		account, err := bech32.ConvertAndEncode("gotong", []byte{byte(i), 19: 1})
		if err != nil {
			t.Fatal(err)
		}
		g.Validators = append(g.Validators, k.Validator(work.Address(account), 10*work.UgtgPerGtg))
		homes, addrs = append(homes, home), append(addrs, freeAddress(t))
		peers = append(peers, k.Peer+"@"+addrs[i])
	}
	var nodes []*Node
	for i, home := range homes {
		if err := WriteGenesis(home, g); err != nil {
			t.Fatal(err)
		}
		node, err := Open(home, Config{P2P: addrs[i], Peers: slices.Concat(peers[:i], peers[i+1:]), BlockTime: 20 * time.Millisecond, Conserve: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { node.Stop() })
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	// Each has its turn in three heights, unless it is slow then.
	const least, most = 2 * n, 100
	proposers := make(map[string]bool)
	for h := int64(1); h <= least || len(proposers) < n; h++ {
		if h > most {
			t.Fatalf("%d of %d validators proposed", len(proposers), n)
		}
		hash := ""
		for _, node := range nodes {
			await(t, node, h)
			b, err := node.Client().Block(t.Context(), &h)
			if err != nil {
				t.Fatal(err)
			}
			proposers[b.Block.ProposerAddress.String()] = true
			if got := b.Block.AppHash.String(); hash != "" && got != hash {
				t.Errorf("two states of height %d: %s and %s", h-1, hash, got)
			} else {
				hash = got
			}
		}
	}
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestDamaged names the file that is damaged instead of ending the process.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, file := range []func(string) string{validatorFile, stateFile, peerFile, vrfFile, genesisFile} {
		home := initHome(t)
		if err := os.WriteFile(file(home), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(home, Config{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), filepath.Base(file(home))) {
			t.Errorf("damaged %s: %v", filepath.Base(file(home)), err)
		}
	}
}
