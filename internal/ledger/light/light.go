// Package light is the ledger for those who run no node of their own: it speaks to
// the RPC of several nodes of strangers and believes none of them.
//
// From one header that the invite names, CometBFT's rules of the light client lead to
// the newest one: two thirds of the validators signed it, and a third of those that
// were known before. Every record is read by its key with a proof against that
// header, every event is held against the digest that the state keeps of all events
// (docs/adr/0016-event-digest.md), every included transaction against its block and
// its result. What is not proved: that a list is complete (a second node is asked),
// the text of a refusal, the tally of a vote under way, and that a transaction
// reached the mempool (it goes to more nodes if it is not included soon).
//
// It promises what the port promises. A node whose answer was proved wrong is left
// for hours, one that lags or is silent for seconds; each time the log has its name
// and the reason. If no node is left, calls fail with ledger.ErrUnreachable and all
// reasons. It never imports the application and keeps a few megabytes.
package light

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
)

// Config is what a client begins with.
type Config struct {
	Chain string
	// RPCs are the nodes' addresses, http://host:port; the first one that is good
	// answers, the others are compared with it. At most 32.
	RPCs []string
	// A header that is trusted: of the invite. A newer one in Dir comes before it.
	TrustHeight int64
	TrustHash   []byte
	// Dir keeps the newest trusted header; empty: nothing is kept.
	Dir string
	// Period is how old a header may be that vouches for a newer one; it must be
	// shorter than stake stays bonded (21 days). Default: 14 days.
	Period time.Duration
	// Poll is how often an idle client asks for a new header; default 2 s. While
	// something happens it asks four times a second.
	Poll time.Duration
	Log  *slog.Logger
}

const (
	maxRPCs       = 32
	defaultPeriod = 14 * 24 * time.Hour
	defaultPoll   = 2 * time.Second
	busyPoll      = 250 * time.Millisecond
	busyFor       = 5 * time.Second  // after something happened
	compareEvery  = 10 * time.Second // with another node
	stalled       = 5 * time.Second  // without a new header: it may be the node
	keepEvery     = time.Minute      // the newest header is written
	maxLag        = 10               // blocks that a node may be behind
)

// Client is the ledger. It is safe for concurrent use.
type Client struct {
	*cosmos.Client
	source *source
}

var _ ledger.Ledger = (*Client)(nil)

// Dial makes a client of nodes that need not be up yet. Close ends it; ctx bounds the
// dialling only.
func Dial(ctx context.Context, c Config) (*Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := newSource(c)
	if err != nil {
		return nil, fmt.Errorf("light client: %w", err)
	}
	return &Client{cosmos.Over(s), s}, nil
}

// Close ends the client and writes the newest trusted header.
func (c *Client) Close() error {
	err := c.Client.Close()
	c.source.close()
	return errors.Join(err, c.source.store.save(c.source.chain))
}

// Nodes tells what is thought of each node, the one that is asked first.
func (c *Client) Nodes() []NodeStatus {
	newest := int64(0)
	if b := c.source.chain.newest(); b != nil {
		newest = b.Height
	}
	return c.source.pool.status(newest)
}

// Trusted is the newest header that is believed, for an invite: its height and hash,
// 0 before the first.
func (c *Client) Trusted() (height int64, hash []byte) {
	if b := c.source.chain.newest(); b != nil {
		return b.Height, b.Hash()
	}
	return 0, nil
}

// source is the cosmos.Node that verifies.
type source struct {
	chain   *chain
	pool    *pool
	state   *state
	events  *events
	results *results
	store   store
	poll    time.Duration
	log     *slog.Logger

	busy atomic.Int64 // unix nanoseconds until which it polls fast

	mu   sync.Mutex       // guards sent
	sent map[[32]byte]int // how often a transaction was handed over
}

var _ cosmos.Node = (*source)(nil)

func newSource(c Config) (*source, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Period == 0 {
		c.Period = defaultPeriod
	}
	if c.Poll == 0 {
		c.Poll = defaultPoll
	}
	switch {
	case c.Chain == "":
		return nil, errors.New("no chain is named")
	case len(c.RPCs) == 0 || len(c.RPCs) > maxRPCs:
		return nil, fmt.Errorf("%d RPC nodes: want 1 to %d", len(c.RPCs), maxRPCs)
	case c.TrustHeight < 1 || len(c.TrustHash) != 32:
		return nil, fmt.Errorf("no trusted header: want a height and a hash of 32 bytes, as an invite has them, not %d and %d bytes", c.TrustHeight, len(c.TrustHash))
	}
	p := &pool{log: c.Log, now: time.Now}
	for _, url := range c.RPCs {
		n, err := newNode(strings.TrimSuffix(url, "/"))
		if err != nil {
			return nil, err
		}
		p.nodes = append(p.nodes, n)
	}
	s := &source{pool: p, poll: c.Poll, log: c.Log, store: store{dir: c.Dir}, sent: make(map[[32]byte]int)}
	s.chain = newChain(c.Chain, root{c.TrustHeight, hex.EncodeToString(c.TrustHash)}, c.Period, p)
	if err := s.store.load(s.chain); err != nil {
		return nil, err
	}
	s.state = &state{s.chain}
	s.events = newEvents(s.chain, s.state)
	s.results = newResults(s.chain)
	return s, nil
}

func (s *source) close() {
	for _, n := range s.pool.nodes {
		n.close()
	}
}

// begun waits for the first trusted header.
func (s *source) begun(ctx context.Context) error {
	t := time.NewTimer(callTimeout)
	defer t.Stop()
	select {
	case <-s.chain.ready:
		return s.chain.fork()
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return fmt.Errorf("%w: no header of %s could be verified: %s", ledger.ErrUnreachable, s.chain.id, s.pool.reasons())
	}
}

// Status implements cosmos.Node.
func (s *source) Status(ctx context.Context) (ledger.Status, error) {
	if err := s.begun(ctx); err != nil {
		return ledger.Status{}, err
	}
	b := s.chain.newest()
	return ledger.Status{Chain: s.chain.id, Height: b.Height - 1, Time: b.Time}, nil
}

// Query implements cosmos.Node.
func (s *source) Query(ctx context.Context, path string, request []byte) (*abci.ResponseQuery, error) {
	if err := s.begun(ctx); err != nil {
		return nil, err
	}
	return s.state.query(ctx, path, request)
}

// Block implements cosmos.Node.
func (s *source) Block(ctx context.Context, height int64) (ledger.Block, error) {
	if err := s.chain.fork(); err != nil {
		return ledger.Block{}, err
	}
	b, err := s.events.block(ctx, height)
	if len(b.Events) > 0 {
		s.hurry()
	}
	return b, err
}

// Results implements cosmos.Node.
func (s *source) Results(ctx context.Context, height int64) (map[[32]byte]cosmos.Result, error) {
	if err := s.chain.fork(); err != nil {
		return nil, err
	}
	return s.results.get(ctx, height)
}

// hurry makes Watch look often for a while.
func (s *source) hurry() { s.busy.Store(time.Now().Add(busyFor).UnixNano()) }

// keepSent bounds the transactions of which is known how often they were sent.
const keepSent = 4096

// Broadcast implements cosmos.Node. The first time a transaction goes to one node,
// then to all good ones: one of them may censor. A refusal counts if a second node
// agrees, where there is one.
func (s *source) Broadcast(ctx context.Context, tx []byte) (*ctypes.ResultBroadcastTx, error) {
	s.hurry()
	again := s.sending(tx)
	nodes := s.pool.good()
	if len(nodes) == 0 {
		nodes = s.pool.candidates()
	}
	var last *ctypes.ResultBroadcastTx
	err := fmt.Errorf("%w: %s", ledger.ErrUnreachable, s.pool.reasons())
	refusals := 0
	for _, n := range nodes {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		r, e := n.rpc.BroadcastTxSync(call, tx)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case e != nil:
			s.pool.judge(n, e)
			if last == nil {
				err = e
			}
			continue
		case r.Code == 0:
			last, err = r, nil
			if !again {
				return r, nil
			}
		default:
			if refusals++; last == nil {
				last, err = r, nil
			}
			if refusals == 2 {
				return last, err
			}
		}
	}
	return last, err
}

// sending counts a transaction and reports whether it was sent before.
func (s *source) sending(tx []byte) bool {
	h := hashOf(tx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sent) >= keepSent {
		clear(s.sent) // then it is as if they were new
	}
	s.sent[h]++
	return s.sent[h] > 1
}

// Watch implements cosmos.Node: it keeps the newest trusted header.
func (s *source) Watch(ctx context.Context, tell func(int64)) {
	var told int64
	moved, compared, kept := time.Now(), time.Now(), time.Now()
	failing := ""
	for ctx.Err() == nil {
		err := s.pool.try(ctx, s.chain.update)
		failing = s.tell(ctx, err, failing)
		if tip := s.chain.tip(); tip > told {
			told, moved = tip, time.Now()
			tell(tip)
		}
		now := time.Now()
		if now.Sub(compared) > compareEvery || now.Sub(moved) > stalled && now.Sub(compared) > stalled {
			compared = now
			s.compare(ctx)
		}
		if now.Sub(kept) > keepEvery {
			kept = now
			if err := s.store.save(s.chain); err != nil {
				s.log.Error("cannot write the trusted header", "err", err)
			}
		}
		wait := s.poll
		if now.UnixNano() < s.busy.Load() || told == 0 {
			wait = min(busyPoll, wait)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// tell logs a failure of the chain once, and its end.
func (s *source) tell(ctx context.Context, err error, before string) string {
	switch {
	case ctx.Err() != nil || err == nil && before == "":
		return before
	case err == nil:
		s.log.Info("the chain can be verified again")
		return ""
	case err.Error() != before:
		s.log.Warn("the chain cannot be verified", "err", err)
	}
	return err.Error()
}

// compare asks one other node for its newest header: it must be the same chain, and
// may be far ahead of the one that is asked first.
func (s *source) compare(ctx context.Context) {
	good := s.pool.candidates()
	if len(good) == 0 || s.chain.newest() == nil {
		return
	}
	first := good[0]
	others := s.pool.others(first)
	if len(others) == 0 {
		return
	}
	other := others[int(time.Now().Unix()/int64(compareEvery/time.Second))%len(others)]
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	lag, err := s.chain.witness(call, other)
	if ctx.Err() != nil {
		return
	}
	s.pool.judge(other, err)
	if lag > maxLag {
		s.pool.judge(first, fmt.Errorf("%w: %d blocks behind %s", errLag, lag, other.url))
	}
}
