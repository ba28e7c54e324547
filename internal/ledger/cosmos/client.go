// Package cosmos is the ledger on the real chain: it signs and sends transactions,
// asks the modules' queries and reads events, over CometBFT's RPC, inside the node's
// own process, or through any other Node.
//
// It promises what the port promises: Submit re-sends until included, also after a
// crash of the node; Follow reads the results of every height, exact and
// resumable, with the node's block events as a wake-up only; an answer of a Reader
// is never older than the last Submit that returned. It holds keys in memory,
// never in files. It never imports the application, so that a program that only
// speaks to a chain stays small, and it trusts its Node: it checks no proofs. Where
// that must not be, ledger/light is a Node that does.
package cosmos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	"github.com/cosmos/cosmos-sdk/types/bech32"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/work"
	registry "github.com/gotong-network/gotong/x/registry/types"
)

const callTimeout = 10 * time.Second // the patience with one call

// Node is what a Client needs of whoever knows the chain. Its methods are called from
// any goroutine.
type Node interface {
	// Status is the chain as the node knows it.
	Status(ctx context.Context) (ledger.Status, error)
	// Query answers a gRPC query of the latest state; the answer has its height.
	Query(ctx context.Context, path string, request []byte) (*abci.ResponseQuery, error)
	// Block and Results give a height that Watch has told, ledger.ErrPruned if it is
	// no longer kept. What they return is shared: nobody changes it.
	Block(ctx context.Context, height int64) (ledger.Block, error)
	Results(ctx context.Context, height int64) (map[[32]byte]Result, error)
	// Broadcast hands a transaction over and gives the answer of the node's check. An
	// error leaves it unknown whether it was taken.
	Broadcast(ctx context.Context, tx []byte) (*ctypes.ResultBroadcastTx, error)
	// Watch tells every height whose state can be read, as they come, until ctx ends;
	// heights may be left out.
	Watch(ctx context.Context, tell func(height int64))
}

// Result is how a transaction ended.
type Result struct {
	Codespace string
	Code      uint32
	Log       string
}

// Client is the ledger of one node. It is safe for concurrent use.
type Client struct {
	node   Node
	cancel context.CancelFunc
	done   sync.WaitGroup
	hangup func() // ends the connection, if it is ours
	memo   string // of this client's transactions: another's with the same content is another transaction

	mu       sync.Mutex // guards the variables below
	chain    string     // empty until the node told it
	accounts map[work.Address]*account
	tip      int64         // newest height whose state can be read
	newTip   chan struct{} // closed and replaced when tip rises
}

var _ ledger.Ledger = (*Client)(nil)

// Dial speaks to a node at an RPC URL (http://host:port). The node need not be up
// yet.
func Dial(url string) (*Client, error) {
	c, err := rpchttp.NewWithTimeout(url, "/websocket", uint(callTimeout/time.Second))
	if err != nil {
		return nil, fmt.Errorf("chain at %s: %w", url, err)
	}
	return newClient(newRPCNode(c), func() {
		if c.IsRunning() {
			// A connection that is gone needs no goodbye.
			_ = c.Stop()
		}
	}), nil
}

// New speaks to a node in this process through its own client (chainnode.Node's
// Client).
func New(c rpcclient.Client) *Client { return Over(newRPCNode(c)) }

// Over speaks to the chain through a Node.
func Over(n Node) *Client { return newClient(n, func() {}) }

func newClient(n Node, hangup func()) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{node: n, cancel: cancel, hangup: hangup, memo: rand.Text(), accounts: make(map[work.Address]*account), newTip: make(chan struct{})}
	c.done.Go(func() { n.Watch(ctx, c.raise) })
	return c
}

// Close ends the client; calls that are under way fail.
func (c *Client) Close() error {
	c.cancel()
	c.done.Wait()
	c.hangup()
	return nil
}

// AddKey lets the client sign as the account of a secret secp256k1 key.
func (c *Client) AddKey(secret [32]byte) work.Address {
	k := &secp256k1.PrivKey{Key: append([]byte(nil), secret[:]...)}
	a := &account{client: c, key: k, address: Address(secret)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.accounts[a.address]; !ok {
		c.accounts[a.address] = a
	}
	return a.address
}

// Address is the account of a secret secp256k1 key.
func Address(secret [32]byte) work.Address {
	k := &secp256k1.PrivKey{Key: secret[:]}
	text, err := bech32.ConvertAndEncode(registry.AddressPrefix, k.PubKey().Address())
	if err != nil {
		panic(fmt.Sprintf("cosmos: an address of 20 bytes has no bech32 form: %v", err))
	}
	return work.Address(text)
}

func (c *Client) account(a work.Address) (*account, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if acc, ok := c.accounts[a]; ok {
		return acc, nil
	}
	return nil, fmt.Errorf("%s: %w", a, ledger.ErrNoKey)
}

// chainID asks the node once.
func (c *Client) chainID(ctx context.Context) (string, error) {
	c.mu.Lock()
	chain := c.chain
	c.mu.Unlock()
	if chain != "" {
		return chain, nil
	}
	s, err := c.node.Status(ctx)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chain = s.Chain
	return c.chain, nil
}

func (c *Client) raise(height int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if height > c.tip {
		c.tip = height
		close(c.newTip)
		c.newTip = make(chan struct{})
	}
}

// height is the newest height known, and a channel that closes when there is a
// newer one.
func (c *Client) height() (int64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tip, c.newTip
}

// errTimeout tells a waiter that its patience ended first.
var errTimeout = errors.New("no such height yet")

// await returns once the state of a height can be read, with errTimeout after
// patience (0: none).
func (c *Client) await(ctx context.Context, height int64, patience time.Duration) error {
	var timeout <-chan time.Time
	if patience > 0 {
		t := time.NewTimer(patience)
		defer t.Stop()
		timeout = t.C
	}
	for {
		tip, newer := c.height()
		if tip >= height {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return errTimeout
		case <-newer:
		}
	}
}
