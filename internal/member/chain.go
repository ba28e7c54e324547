package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/work"
)

// Ledger is a ledger that a member uses: it is given the account's key, and closed.
type Ledger interface {
	ledger.Ledger
	AddKey(secret [32]byte) work.Address
	Close() error
}

// Chain is a node of the chain inside this process.
type Chain interface {
	Ledger() Ledger // a new one each time; its user closes it before Stop
	RPC() string    // URL of its RPC server
	// Validator asks the chain about an operator's validator; ledger.ErrNotFound
	// without one.
	Validator(ctx context.Context, operator work.Address) (*cosmos.Validator, error)
	// Keys are the public keys of the node: for blocks, and for the beacon.
	Keys() (consensus, beacon [32]byte)
	// Failed is closed when the node cannot go on; Err then says why.
	Failed() <-chan struct{}
	Err() error
	Stop() error
}

// ChainConfig is how a validator's node runs.
type ChainConfig struct {
	Dir      string // its folder below the home
	RPC, P2P string // host:port
	Peers    []string
	// Others are the RPC servers of other nodes: they are asked whether another
	// node signs with this one's key.
	Others    []string
	BlockTime time.Duration
	Log       *slog.Logger
}

// OpenChain opens and starts a node of the chain; ctx bounds the start only.
type OpenChain func(context.Context, ChainConfig) (Chain, error)

// ChainDir is where a home keeps its node of the chain.
func ChainDir(h *home.Home) string { return h.Path("chain") }

func (n *Node) chainConfig() ChainConfig {
	return ChainConfig{Dir: ChainDir(n.home), RPC: n.settings.RPC, P2P: n.settings.ChainP2P, Peers: n.network.ChainPeers, Others: n.others(),
		BlockTime: time.Duration(n.network.BlockMillis) * time.Millisecond, Log: n.log.With("part", "chain")}
}

// others are the RPC servers of the network without this home's own.
func (n *Node) others() []string {
	var out []string
	for _, u := range n.network.RPCs {
		if !n.has(home.RoleValidator) || u != n.network.RPC {
			out = append(out, u)
		}
	}
	return out
}

// dialTimeout bounds the wait for a node's first answer.
const dialTimeout = 10 * time.Second

// Dial speaks to the chain of a member's home through the nodes that it knows.
func Dial(ctx context.Context, h *home.Home, log *slog.Logger) (Ledger, error) {
	n, err := h.ReadNetwork()
	if err != nil {
		return nil, err
	}
	urls := n.RPCs
	if len(urls) == 0 {
		urls = []string{n.RPC}
	}
	var errs []error
	for _, u := range urls {
		c, err := cosmos.Dial(u)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		call, cancel := context.WithTimeout(ctx, dialTimeout)
		st, err := c.Status(call)
		cancel()
		if err == nil && st.Chain != h.Info().Chain {
			err = fmt.Errorf("%s answers for the chain %q and this home belongs to %q: %w", u, st.Chain, h.Info().Chain, ledger.ErrUnreachable)
		}
		if err == nil {
			return c, nil
		}
		log.Warn("node of the chain does not answer", "rpc", u, "err", err)
		errs = append(errs, fmt.Errorf("%s: %w", u, err), c.Close())
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("none of the %d nodes of the chain %q answers: %w", len(urls), h.Info().Chain, errors.Join(errs...))
}

// waitForChain returns once the chain has a block and the node knows it.
func (n *Node) waitForChain(ctx context.Context) error {
	for {
		st, err := n.ledger.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			n.waiting(fmt.Sprintf("the chain: %v", err))
		case st.Height == 0:
			n.waiting("the first block: more than two thirds of the validators must run")
		case st.CatchingUp:
			n.waiting("the chain node to catch up")
		default:
			n.waiting("")
			return nil
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// pollEvery is how often the chain is asked for what is waited for.
const pollEvery = time.Second

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
