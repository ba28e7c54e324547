package app_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cosmos/gogoproto/proto"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/app/apptest"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	registrytypes "github.com/gotong-network/gotong/x/registry/types"
)

// governed is a chain of one validator, who is also a provider, and decides.
type governed struct {
	*testing.T
	*apptest.Chain
	account   work.Address
	proposals uint64
}

func newGoverned(t *testing.T) *governed {
	a := apptest.Address(secret(1))
	chain, err := apptest.New(apptest.Config{
		Genesis: app.GenesisConfig{Chain: "gotong-upgrade", Params: lifecycle.LocalParams(), Accounts: []app.Account{{Address: a, Balance: 1000 * gtg}},
			Governance: app.Governance{Voting: 3e9, Deposit: 10 * gtg}},
		Validators: []apptest.Validator{{Operator: a, Stake: 10 * gtg}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &governed{T: t, Chain: chain, account: chain.AddKey(secret(1))}
	g.block()
	g.send(&registrytypes.MsgRegister{Sender: string(a), Role: uint32(lifecycle.RoleProvider), Peer: []byte{31: 9}, Bond: 100 * gtg})
	return g
}

func (g *governed) block() apptest.Block {
	g.Helper()
	b, err := g.Advance()
	if err != nil {
		g.Fatal(err)
	}
	return b
}

func (g *governed) send(m proto.Message) {
	g.Helper()
	if err := g.Send(g.account, m); err != nil {
		g.Fatal(err)
	}
	if r := g.block().Results[0]; r.Code != 0 {
		g.Fatalf("%T: %s", m, r.Log)
	}
}

// enact has governance send a message, as a client proposes it.
func (g *governed) enact(m ledger.Msg) {
	g.Helper()
	for _, m := range []ledger.Msg{ledger.Propose{Title: "t", Message: m, Deposit: 10 * gtg}, ledger.VoteProposal{Proposal: g.proposals + 1, Yes: true}} {
		v, err := cosmos.Message(g.account, m)
		if err != nil {
			g.Fatal(err)
		}
		g.send(v)
	}
	g.proposals++
	for range 4 {
		g.block()
	}
}

func (g *governed) party() *lifecycle.Party {
	g.Helper()
	var res registrytypes.QueryPartyResponse
	if err := g.Query("/gotong.registry.v1.Query/Party", &registrytypes.QueryPartyRequest{Role: uint32(lifecycle.RoleProvider), Account: string(g.account)}, &res); err != nil {
		g.Fatal(err)
	}
	p := new(lifecycle.Party)
	if err := json.Unmarshal(res.Party, p); err != nil {
		g.Fatal(err)
	}
	return p
}

// TestChangeParams changes a parameter by a vote.
func TestChangeParams(t *testing.T) {
	t.Parallel()
	g := newGoverned(t)
	p := lifecycle.LocalParams()
	p.WindowBlocks += 7
	g.enact(ledger.SetParams{Params: p})
	var res prooftypes.QueryParamsResponse
	if err := g.Query("/gotong.proof.v1.Query/Params", &prooftypes.QueryParamsRequest{}, &res); err != nil {
		t.Fatal(err)
	}
	if got, err := prooftypes.DecodeParams(res.Params); err != nil || got != p {
		t.Errorf("the parameters are %s (%v)", res.Params, err)
	}
}

// TestUpgrade changes a module's state at a height: the program that cannot stops there
// with the reason and loses nothing, the one that can goes on; in each other's time
// neither starts.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	g := newGoverned(t)
	key := sign.PublicKey{1, 2, 3}
	can := app.Upgrade{Name: "keys", Migrate: func(ctx sdk.Context, k app.Keepers) error {
		parties, err := k.Registry.Parties(ctx, lifecycle.RoleProvider)
		for _, p := range parties {
			p.Peer = key
			err = errors.Join(err, k.Registry.SetParty(ctx, p))
		}
		return err
	}}
	height := g.Height() + 10
	g.enact(ledger.Upgrade{Name: "keys", Height: height, Info: "version 2"})

	stops := func(want string) {
		t.Helper()
		at := g.Height()
		if _, err := g.Advance(); !errors.Is(err, app.ErrUpgrade) || !strings.Contains(err.Error(), want) {
			t.Fatalf("height %d: %v, want %q", at+1, err, want)
		}
		if g.Height() != at {
			t.Errorf("it went on to %d", g.Height())
		}
	}
	restart := func(l ...app.Upgrade) {
		t.Helper()
		if err := g.Restart(l...); err != nil {
			t.Fatal(err)
		}
	}
	refuses := func(want string, l ...app.Upgrade) {
		t.Helper()
		if err := g.Restart(l...); !errors.Is(err, app.ErrUpgrade) || !strings.Contains(err.Error(), want) {
			t.Errorf("it starts with %v, want %q", err, want)
		}
	}
	refuses("run the version before until then", can)
	for g.Height() < height-1 {
		g.block()
	}
	stops("install the version that has it and start again: version 2")
	refuses("install the version that has it and start again: version 2")
	restart(can)
	g.block()
	if got := g.party(); got.Peer != key || got.Bond != 100*gtg {
		t.Errorf("the migrated party is %+v", got)
	}
	g.block()
	refuses("this program is older")
	restart(can)
	g.block()
}
