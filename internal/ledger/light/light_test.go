package light_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/ledger/ledgertest"
	"github.com/gotong-network/gotong/internal/ledger/light"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// The accounts of the test networks: secrets by their number.
const (
	client = iota + 1
	honest
	cheat
	checker0
	checker1
	checker2
	validator
	poor
	foreign
)

const chainID = "gotong-light"

func secret(n byte) [32]byte { return [32]byte{31: n} }

func address(n byte) work.Address { return cosmos.Address(secret(n)) }

// initHome makes the home of a network of one validator.
func initHome(t testing.TB) string {
	home := t.TempDir()
	p := lifecycle.LocalParams()
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks, p.WindowBlocks = 200, 200, 200, 200, 40
	var accounts []app.Account
	for n := byte(client); n <= validator; n++ {
		accounts = append(accounts, app.Account{Address: address(n), Balance: ledgertest.Funds})
	}
	if err := chainnode.Init(home, chainnode.InitConfig{
		Genesis: app.GenesisConfig{Chain: chainID, Time: time.Now(), Params: p, Accounts: accounts,
			Governance: app.Governance{Voting: 6 * time.Second, Deposit: 10 * work.UgtgPerGtg}},
		Operator: address(validator), SelfBond: 100 * work.UgtgPerGtg,
	}); err != nil {
		t.Fatal(err)
	}
	return home
}

func startNode(t testing.TB) *chainnode.Node {
	n, err := chainnode.Open(initHome(t), chainnode.Config{RPC: "127.0.0.1:0", BlockTime: 60 * time.Millisecond, Conserve: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// trust is a header of the node, as an invite has it.
func trust(t testing.TB, n *chainnode.Node) (int64, []byte) {
	for {
		h := int64(1)
		c, err := n.Client().Commit(t.Context(), &h)
		if err == nil && c.Header != nil {
			return 1, c.Header.Hash()
		}
		select {
		case <-t.Context().Done():
			t.Fatal("no first block")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// dial makes a client with all keys.
func dial(t testing.TB, n *chainnode.Node, c light.Config) *light.Client {
	c.Chain = chainID
	c.TrustHeight, c.TrustHash = trust(t, n)
	if c.Poll == 0 {
		c.Poll = 20 * time.Millisecond
	}
	l, err := light.Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for n := byte(client); n <= poor; n++ {
		l.AddKey(secret(n))
	}
	return l
}

func network(l *light.Client) ledgertest.Network {
	return ledgertest.Network{
		Ledger: l, Chain: chainID, Client: address(client), Honest: address(honest), Cheat: address(cheat),
		Checkers: []work.Address{address(checker0), address(checker1), address(checker2)}, Validator: address(validator),
		Poor: address(poor), Foreign: address(foreign),
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	l := dial(t, n, light.Config{RPCs: []string{n.RPC(), n.RPC() + "/"}, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ledgertest.Run(t, network(l))
	for _, s := range l.Nodes() {
		if s.State != light.Good || s.Height == 0 {
			t.Errorf("an honest node is %+v", s)
		}
	}
}
