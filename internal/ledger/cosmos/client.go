// Package cosmos is the ledger on the real chain: it signs and sends transactions,
// asks the modules' queries and reads events, over CometBFT's RPC or inside the
// node's own process.
//
// It promises what the port promises: Submit re-sends until included, also after a
// crash of the node; Follow reads the results of every height, exact and
// resumable, with the node's block events as a wake-up only; an answer of a Reader
// is never older than the last Submit that returned. It holds keys in memory,
// never in files. It never imports the application, so that a program that only
// speaks to a chain stays small, and it trusts its node: it checks no proofs.
package cosmos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	rpcclient "github.com/cometbft/cometbft/rpc/client"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	"github.com/cosmos/cosmos-sdk/types/bech32"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/work"
	registry "github.com/gotong-network/gotong/x/registry/types"
)

// How often the node is asked what height it has, if its events do not tell.
const (
	pollWithEvents    = 500 * time.Millisecond
	pollWithoutEvents = 50 * time.Millisecond
	callTimeout       = 10 * time.Second
)

// Client is the ledger of one node. It is safe for concurrent use.
type Client struct {
	rpc    rpcclient.Client
	cancel context.CancelFunc
	done   sync.WaitGroup
	blocks cache
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
	return newClient(c, func() {
		if c.IsRunning() {
			// A connection that is gone needs no goodbye.
			_ = c.Stop()
		}
	}), nil
}

// New speaks to a node in this process through its own client (chainnode.Node's
// Client).
func New(c rpcclient.Client) *Client { return newClient(c, func() {}) }

func newClient(rpc rpcclient.Client, hangup func()) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{rpc: rpc, cancel: cancel, hangup: hangup, memo: rand.Text(), accounts: make(map[work.Address]*account), newTip: make(chan struct{})}
	c.blocks.fetch = c.fetch
	c.done.Go(func() { c.watch(ctx) })
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
	s, err := c.rpc.Status(ctx)
	if err != nil {
		return "", unreachable(ctx, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chain = s.NodeInfo.Network
	return c.chain, nil
}

// watch keeps the tip until ctx ends. A block's event is told after its state was
// committed; without events the application is asked.
func (c *Client) watch(ctx context.Context) {
	events, unsubscribe := c.subscribe(ctx)
	defer func() { unsubscribe() }()
	for {
		wait := pollWithEvents
		if events == nil {
			wait = pollWithoutEvents
		}
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if h, ok := e.Data.(cmttypes.EventDataNewBlockHeader); ok {
				c.raise(h.Header.Height)
			}
		case <-time.After(wait):
			c.ask(ctx)
			if events == nil {
				unsubscribe()
				events, unsubscribe = c.subscribe(ctx)
			}
		}
	}
}

// ask raises the tip to what the application has committed.
func (c *Client) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// An unreachable node is asked again soon.
	if r, err := c.rpc.ABCIInfo(ctx); err == nil {
		c.raise(r.Response.LastBlockHeight)
	}
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

// subscribe asks for a wake-up at every block. A node that cannot be reached or
// gives none is polled instead.
func (c *Client) subscribe(ctx context.Context) (<-chan ctypes.ResultEvent, func()) {
	nothing := func() {}
	if s, ok := c.rpc.(interface {
		IsRunning() bool
		Start() error
	}); ok && !s.IsRunning() {
		if err := s.Start(); err != nil {
			return nil, nothing
		}
	}
	name, query := "ledger-"+rand.Text(), cmttypes.EventQueryNewBlockHeader.String()
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	events, err := c.rpc.Subscribe(call, name, query, 64)
	if err != nil {
		return nil, nothing
	}
	return events, func() {
		call, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		// A node that is gone has no subscription left.
		_ = c.rpc.Unsubscribe(call, name, query)
	}
}
