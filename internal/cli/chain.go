package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/membercmd"
	"github.com/gotong-network/gotong/work"
)

// chain lends a node of the chain to a member.
type chain struct {
	*chainnode.Node
	keys  chainnode.Keys
	asked *cosmos.Client
}

// Ledger implements member.Chain.
func (c *chain) Ledger() member.Ledger { return cosmos.New(c.Client()) }

// Validator implements member.Chain.
func (c *chain) Validator(ctx context.Context, operator work.Address) (*cosmos.Validator, error) {
	return c.asked.Validator(ctx, operator)
}

// Keys implements member.Chain.
func (c *chain) Keys() (consensus, beacon [32]byte) {
	return [32]byte(c.keys.Consensus), [32]byte(c.keys.VRF)
}

// Stop implements member.Chain.
func (c *chain) Stop() error { return errors.Join(c.asked.Close(), c.Node.Stop()) }

// snapshotEvery is how many blocks lie between two snapshots of a validator's state,
// from which new nodes can begin.
const snapshotEvery = 1000

// openChain is member.OpenChain.
func openChain(_ context.Context, c member.ChainConfig) (member.Chain, error) {
	if c.RPC == "" {
		c.RPC = member.DefaultRPC
	}
	if c.P2P == "" {
		c.P2P = member.DefaultChainP2P
	}
	keys, err := chainnode.ReadKeys(c.Dir)
	if err != nil {
		return nil, err
	}
	config := chainnode.Config{RPC: c.RPC, P2P: c.P2P, Peers: c.Peers, BlockTime: c.BlockTime, Log: c.Log, SnapshotEvery: snapshotEvery,
		Watch: &chainnode.Watch{Patience: 3*c.BlockTime + watchPatience, RPCs: c.Others}}
	if c.SyncHeight > 0 && len(c.Others) > 0 {
		config.Sync = &chainnode.StateSync{RPCs: c.Others, TrustHeight: c.SyncHeight, TrustHash: c.SyncHash}
	}
	n, err := chainnode.Open(c.Dir, config)
	if err != nil {
		return nil, err
	}
	if err := n.Start(); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return &chain{n, keys, cosmos.New(n.Client())}, nil
}

// watchPatience is how long a chain may take for three blocks before it is taken
// for halted.
const watchPatience = 5 * time.Second

// memberEnv lends this program to the commands of members' homes.
func (a *app) memberEnv() *membercmd.Env {
	return &membercmd.Env{
		Program: "gotong", Home: func() string { return a.homeDir }, In: a.in, Out: a.out, Errw: a.errw,
		Verbose: func() bool { return a.verbose }, LogJSON: func() bool { return a.logFormat == "json" },
		Passphrase: func(ctx context.Context, prompt string, isNew bool) (string, error) {
			return a.passphrase(ctx, prompt, isNew)
		},
		OpenChain: openChain, PrepareChain: prepareChain, Roles: home.Roles,
	}
}

// prepareChain makes the keys of a validator's node, if it has none, and brings the
// chain's genesis: from a file, or from the network's nodes.
func prepareChain(ctx context.Context, h *home.Home, invite *home.Invite, file string) error {
	if _, err := chainnode.MakeKeys(member.ChainDir(h)); err != nil {
		return err
	}
	if e := ownEntry(h); e != nil { // a founding validator: its own server is in the invite
		n, err := h.ReadNetwork()
		if err != nil {
			return err
		}
		n.RPC = e.RPC
		if err := h.WriteNetwork(n); err != nil {
			return err
		}
	}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return usagef("--genesis: %w", err)
		}
		if err := chainnode.CheckGenesis(b, invite.Chain, invite.Genesis); err != nil {
			return usagef("--genesis %s: %w", file, err)
		}
		return chainnode.PutGenesis(member.ChainDir(h), b)
	}
	var errs []error
	for _, u := range invite.RPCs {
		b, err := chainnode.FetchGenesis(ctx, u)
		if err == nil {
			err = chainnode.CheckGenesis(b, invite.Chain, invite.Genesis)
		}
		if err == nil {
			return chainnode.PutGenesis(member.ChainDir(h), b)
		}
		errs = append(errs, fmt.Errorf("%s: %w", u, err))
	}
	return fmt.Errorf("no node gave the genesis: %w: %w; --genesis takes it from a file", ledger.ErrUnreachable, errors.Join(errs...))
}
