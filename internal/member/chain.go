package member

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/ledger/light"
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
	// Looking reports whether the node signs no blocks yet, because it looks whether
	// another one does with its key.
	Looking() bool
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
	Others []string
	// Sync, if its height is not 0, lets a node without blocks begin from a snapshot
	// of others, verified from this header.
	SyncHeight int64
	SyncHash   []byte
	BlockTime  time.Duration
	Log        *slog.Logger
}

// OpenChain opens and starts a node of the chain; ctx bounds the start only.
type OpenChain func(context.Context, ChainConfig) (Chain, error)

// ChainDir is where a home keeps its node of the chain.
func ChainDir(h *home.Home) string { return h.Path("chain") }

func (n *Node) chainConfig() ChainConfig {
	c := ChainConfig{Dir: ChainDir(n.home), RPC: n.settings.RPC, P2P: n.settings.ChainP2P, Peers: n.network.ChainPeers, Others: n.others(),
		BlockTime: time.Duration(n.network.BlockMillis) * time.Millisecond, Log: n.log.With("part", "chain")}
	if hash, err := hex.DecodeString(n.network.TrustHash); err == nil && n.settings.StateSync {
		c.SyncHeight, c.SyncHash = n.network.TrustHeight, hash
	}
	return c
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

// Dial speaks to the chain of a member's home: through its own node if that runs,
// else through the network's nodes, of which it believes none. The first contact
// of a home without a trusted header takes the one that most nodes tell.
func Dial(ctx context.Context, h *home.Home, log *slog.Logger) (Ledger, error) {
	n, err := h.ReadNetwork()
	if err != nil {
		return nil, err
	}
	if h.Info().Has(home.RoleValidator) {
		if l := dialOwn(ctx, n, log); l != nil {
			return l, nil
		}
	}
	if n.TrustHeight == 0 {
		if n, err = firstContact(ctx, h, n, log); err != nil {
			return nil, err
		}
	}
	hash, err := hex.DecodeString(n.TrustHash)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: network.json: trust_hash: %v", h.Dir(), home.ErrDamaged, err)
	}
	c, err := light.Dial(ctx, light.Config{Chain: n.Chain, RPCs: n.RPCs, TrustHeight: n.TrustHeight, TrustHash: hash, Dir: h.Path("light"), Log: log})
	if err != nil {
		return nil, err
	}
	if err := catchUp(ctx, c, n); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// catchUp returns once a light client's header is as new as what the middle one of
// the nodes tells: one that begins with the header of an invite would answer from
// the past.
func catchUp(ctx context.Context, c *light.Client, n home.Network) error {
	call, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	up := slices.DeleteFunc(probe(call, n.Chain, n.RPCs), func(p probed) bool { return p.err != nil })
	slices.SortFunc(up, func(a, b probed) int { return cmp.Compare(a.tip, b.tip) })
	for {
		st, err := c.Status(call)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case len(up) == 0 || err != nil && call.Err() != nil:
			return fmt.Errorf("none of the %d nodes of the chain %q answers: %w: %v", len(n.RPCs), n.Chain, ledger.ErrUnreachable, err)
		case err == nil && st.Height >= up[(len(up)-1)/2].tip-2:
			return nil
		case call.Err() != nil:
			return fmt.Errorf("the nodes of %q tell of height %d and prove only %d: %w", n.Chain, up[(len(up)-1)/2].tip, st.Height, ledger.ErrUnreachable)
		}
		if err := sleep(ctx, catchUpPoll); err != nil {
			return err
		}
	}
}

// catchUpPoll is how often a light client is asked how far it is.
const catchUpPoll = 50 * time.Millisecond

// dialOwn speaks to the home's own node; nil if it does not answer.
func dialOwn(ctx context.Context, n home.Network, log *slog.Logger) Ledger {
	c, err := cosmos.Dial(n.RPC)
	if err != nil {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if st, err := c.Status(call); err == nil && st.Chain == n.Chain {
		return c
	}
	log.Info("this home's own node does not answer: others are asked", "rpc", n.RPC)
	_ = c.Close() // nothing was begun with it
	return nil
}

// TrustNow keeps a header of today that most nodes tell, unless the home has one to
// trust.
func TrustNow(ctx context.Context, h *home.Home, log *slog.Logger) error {
	n, err := h.ReadNetwork()
	if err != nil || n.TrustHeight > 0 {
		return err
	}
	_, err = firstContact(ctx, h, n, log)
	return err
}

// firstContact finds a header to trust and keeps it.
func firstContact(ctx context.Context, h *home.Home, n home.Network, log *slog.Logger) (home.Network, error) {
	height, hash, others, err := Trust(ctx, n)
	if err != nil {
		return n, err
	}
	for _, u := range others {
		log.Error("this node tells another block than most", "rpc", u, "height", height)
	}
	n.TrustHeight, n.TrustHash = height, hash
	return n, h.WriteNetwork(n)
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
		case n.chain != nil && n.chain.Looking():
			n.waiting("the look-out for another node with this validator's key")
		default:
			n.waiting("")
			return nil
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// dialPatiently is Dial for a node, which waits for a network that does not answer.
func (n *Node) dialPatiently(ctx context.Context) (Ledger, error) {
	for {
		l, err := Dial(ctx, n.home, n.log)
		if err == nil || ctx.Err() != nil || !errors.Is(err, ledger.ErrUnreachable) {
			return l, err
		}
		n.waiting(fmt.Sprintf("the network: %v", err))
		if err := sleep(ctx, pollEvery); err != nil {
			return nil, err
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
