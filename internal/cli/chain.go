package cli

import (
	"context"
	"errors"

	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/membercmd"
)

// Where a validator listens if nobody says otherwise.
const (
	defaultRPC      = "127.0.0.1:26657"
	defaultChainP2P = "0.0.0.0:26656"
)

// chain lends a node of the chain to a member.
type chain struct{ *chainnode.Node }

// Ledger implements member.Chain.
func (c chain) Ledger() member.Ledger { return cosmos.New(c.Client()) }

// openChain is member.OpenChain.
func openChain(c member.ChainConfig) (member.Chain, error) {
	if c.RPC == "" {
		c.RPC = defaultRPC
	}
	if c.P2P == "" {
		c.P2P = defaultChainP2P
	}
	n, err := chainnode.Open(c.Dir, chainnode.Config{RPC: c.RPC, P2P: c.P2P, Peers: c.Peers, BlockTime: c.BlockTime, Log: c.Log})
	if err != nil {
		return nil, err
	}
	if err := n.Start(); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return chain{n}, nil
}

// memberEnv lends this program to the commands of members' homes.
func (a *app) memberEnv() *membercmd.Env {
	return &membercmd.Env{
		Program: "gotong", Home: func() string { return a.homeDir }, In: a.in, Out: a.out, Errw: a.errw,
		Verbose: func() bool { return a.verbose },
		Passphrase: func(ctx context.Context, prompt string, isNew bool) (string, error) {
			return a.passphrase(ctx, prompt, isNew)
		},
		OpenChain: openChain, PrepareChain: prepareChain, Roles: home.Roles,
	}
}
