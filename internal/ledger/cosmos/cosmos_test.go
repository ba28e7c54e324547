package cosmos_test

import (
	"testing"
	"time"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/ledger/ledgertest"
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

func secret(n byte) [32]byte { return [32]byte{31: n} }

func address(n byte) work.Address { return cosmos.Address(secret(n)) }

// initHome makes the home of a network of one validator.
func initHome(t testing.TB) string {
	home := t.TempDir()
	p := lifecycle.LocalParams()
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks, p.WindowBlocks = 200, 200, 200, 200, 20
	var accounts []app.Account
	for n := byte(client); n <= validator; n++ {
		accounts = append(accounts, app.Account{Address: address(n), Balance: ledgertest.Funds})
	}
	if err := chainnode.Init(home, chainnode.InitConfig{
		Genesis: app.GenesisConfig{Chain: "gotong-test", Time: time.Now(), Params: p, Accounts: accounts,
			Governance: app.Governance{Voting: 6 * time.Second, Deposit: 10 * work.UgtgPerGtg}},
		Operator: address(validator), SelfBond: 100 * work.UgtgPerGtg,
	}); err != nil {
		t.Fatal(err)
	}
	return home
}

func startNode(t testing.TB, home string) *chainnode.Node {
	n, err := chainnode.Open(home, chainnode.Config{RPC: "127.0.0.1:0", BlockTime: 30 * time.Millisecond, Conserve: true})
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

func addKeys(c *cosmos.Client) {
	for n := byte(client); n <= poor; n++ {
		c.AddKey(secret(n))
	}
}

func network(c *cosmos.Client) ledgertest.Network {
	addKeys(c)
	return ledgertest.Network{
		Ledger: c, Chain: "gotong-test", Client: address(client), Honest: address(honest), Cheat: address(cheat),
		Checkers: []work.Address{address(checker0), address(checker1), address(checker2)}, Validator: address(validator),
		Poor: address(poor), Foreign: address(foreign),
	}
}

// conserved asks the chain itself to walk over all records.
func conserved(t *testing.T, c *cosmos.Client) {
	if ok, difference, err := c.Conserved(t.Context()); err != nil || !ok {
		t.Errorf("money is not conserved: %s, %v", difference, err)
	}
}

func TestOverHTTP(t *testing.T) {
	t.Parallel()
	n := startNode(t, initHome(t))
	c, err := cosmos.Dial(n.RPC())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ledgertest.Run(t, network(c))
	conserved(t, c)
	if err := n.Err(); err != nil {
		t.Error(err)
	}
}

func TestInProcess(t *testing.T) {
	t.Parallel()
	n := startNode(t, initHome(t))
	c := cosmos.New(n.Client())
	defer c.Close()
	ledgertest.Run(t, network(c))
	conserved(t, c)
	if err := n.Err(); err != nil {
		t.Error(err)
	}
}
