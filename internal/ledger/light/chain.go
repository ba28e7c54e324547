package light

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cometbft/cometbft/light"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/gotong-network/gotong/internal/ledger"
)

const (
	// clockDrift is how far a block's time may be ahead of this machine's.
	clockDrift = 10 * time.Second
	// bisections bounds the headers between two of which one vouches for the other.
	bisections = 64
	// keepTrusted is how many verified headers stay, to judge a second one of a height.
	keepTrusted = 8
	// keepHeaders is how many heights behind the newest are known by their hashes.
	keepHeaders = 512
	// firstProved is the first height whose state the application proves.
	firstProved = 2
	// keepSets bounds the validator sets in memory.
	keepSets = 4
)

// What makes trust impossible. All are ledger.ErrUnreachable: nothing is acted upon.
var (
	ErrClock   = errors.New("this machine's clock is behind the chain's time: set it")
	ErrExpired = errors.New("the newest header that this home trusts is too old to trust others by it: take a new invite")
	ErrForked  = errors.New("two valid headers of one height: a third of the validators signed both, and nothing can be believed")
)

// chain is the headers that are believed: a root from the invite, and what CometBFT's
// rules of the light client derive from it.
type chain struct {
	id     string
	root   root
	period time.Duration // how old a header may be that vouches for another
	now    func() time.Time
	pool   *pool

	ready chan struct{} // closed when the state can be read

	mu      sync.Mutex                // guards the variables below
	trusted []*cmttypes.LightBlock    // oldest first, the newest is the last
	headers map[int64]cmttypes.Header // verified, keepHeaders behind the newest
	sets    []*cmttypes.ValidatorSet
	forked  error
	begun   bool // ready is closed
}

// root is a header that is trusted because somebody said so.
type root struct {
	Height int64
	Hash   string // hex
}

func newChain(id string, r root, period time.Duration, p *pool) *chain {
	return &chain{id: id, root: r, period: period, now: time.Now, pool: p, ready: make(chan struct{}), headers: make(map[int64]cmttypes.Header)}
}

// newest is the newest trusted header, nil before the first.
func (c *chain) newest() *cmttypes.LightBlock {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.trusted) == 0 {
		return nil
	}
	return c.trusted[len(c.trusted)-1]
}

// tip is the newest height whose state can be proved: a header proves the state
// before its own block.
func (c *chain) tip() int64 {
	if t := c.newest(); t != nil && t.Height > firstProved {
		return t.Height - 1
	}
	return 0
}

// update asks a node for its newest header and believes it if it can be believed.
func (c *chain) update(ctx context.Context, n *node) error {
	if err := c.fork(); err != nil {
		return &finalError{err}
	}
	if c.newest() == nil {
		if err := c.begin(ctx, n); err != nil {
			return err
		}
	}
	sh, err := n.header(ctx, 0)
	if err != nil {
		return err
	}
	if err := sh.ValidateBasic(c.id); err != nil {
		return lied("its newest header: %w", err)
	}
	trusted := c.newest()
	switch {
	case sh.Height > trusted.Height:
		b, err := c.verify(ctx, n, trusted, sh)
		if err != nil {
			return err
		}
		c.trust(b)
	default:
		if err := c.compare(ctx, n, sh); err != nil {
			return err
		}
		if lag := trusted.Height - sh.Height; lag > maxLag {
			return fmt.Errorf("%w: %d blocks", errLag, lag)
		}
	}
	c.pool.saw(n, sh.Height)
	c.upToDate()
	return nil
}

// upToDate lets the state be read, once a node's newest header was believed: the header
// of the invite or of the last run may be old, and its state of before all that matters.
func (c *chain) upToDate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begun && c.trusted[len(c.trusted)-1].Height > firstProved {
		c.begun = true
		close(c.ready)
	}
}

// begin takes the root.
func (c *chain) begin(ctx context.Context, n *node) error {
	sh, err := n.header(ctx, c.root.Height)
	if err != nil {
		return err
	}
	if err := sh.ValidateBasic(c.id); err != nil {
		return lied("header %d: %w", c.root.Height, err)
	}
	if got := hex.EncodeToString(sh.Hash()); got != c.root.Hash {
		return lied("its header of %d is %s, that of the invite is %s: it serves another chain, or the invite is wrong", c.root.Height, got, c.root.Hash)
	}
	set, err := c.set(ctx, n, sh.Header)
	if err != nil {
		return err
	}
	b := &cmttypes.LightBlock{SignedHeader: sh, ValidatorSet: set}
	if light.HeaderExpired(sh, c.period, c.now()) {
		return &finalError{c.expired(sh.Time)}
	}
	if err := set.VerifyCommitLight(c.id, sh.Commit.BlockID, sh.Height, sh.Commit); err != nil {
		return lied("header %d: %w", sh.Height, err)
	}
	c.trust(b)
	return nil
}

func (c *chain) expired(at time.Time) error {
	return fmt.Errorf("%w: %w: it is of %s", ledger.ErrUnreachable, ErrExpired, at.UTC().Format(time.RFC3339))
}

// verify derives trust in a newer header from an older one, over headers between them
// where too many validators have changed.
func (c *chain) verify(ctx context.Context, n *node, from *cmttypes.LightBlock, sh *cmttypes.SignedHeader) (*cmttypes.LightBlock, error) {
	target, err := c.block(ctx, n, sh)
	if err != nil {
		return nil, err
	}
	waiting := []*cmttypes.LightBlock{target} // newest first
	for range bisections {
		next := waiting[len(waiting)-1]
		// The clock is compared below, so that a forged time and a wrong clock differ.
		err := light.Verify(from.SignedHeader, from.ValidatorSet, next.SignedHeader, next.ValidatorSet, c.period, c.now(), 1<<62, light.DefaultTrustLevel)
		var far light.ErrNewValSetCantBeTrusted
		var old light.ErrOldHeaderExpired
		switch {
		case err == nil && len(waiting) == 1:
			if ahead := target.Time.Sub(c.now()); ahead > clockDrift {
				return nil, &finalError{fmt.Errorf("%w: %w: by %s", ledger.ErrUnreachable, ErrClock, ahead.Round(time.Second))}
			}
			return target, nil
		case err == nil:
			from, waiting = next, waiting[:len(waiting)-1]
		case errors.As(err, &old):
			return nil, &finalError{c.expired(from.Time)}
		case errors.As(err, &far) && next.Height > from.Height+1:
			between, err := n.header(ctx, from.Height+(next.Height-from.Height)/2)
			if err != nil {
				return nil, err
			}
			b, err := c.block(ctx, n, between)
			if err != nil {
				return nil, err
			}
			waiting = append(waiting, b)
		default:
			return nil, lied("header %d does not follow from %d: %w", next.Height, from.Height, err)
		}
	}
	return nil, fmt.Errorf("header %d does not follow from %d within %d steps", sh.Height, from.Height, bisections)
}

// block puts a header and its validators together.
func (c *chain) block(ctx context.Context, n *node, sh *cmttypes.SignedHeader) (*cmttypes.LightBlock, error) {
	if err := sh.ValidateBasic(c.id); err != nil {
		return nil, lied("header %d: %w", sh.Height, err)
	}
	set, err := c.set(ctx, n, sh.Header)
	if err != nil {
		return nil, err
	}
	return &cmttypes.LightBlock{SignedHeader: sh, ValidatorSet: set}, nil
}

// set gives the validators of a header; they seldom change.
func (c *chain) set(ctx context.Context, n *node, h *cmttypes.Header) (*cmttypes.ValidatorSet, error) {
	if s := c.known(h.ValidatorsHash); s != nil {
		return s, nil
	}
	s, err := n.validators(ctx, h.Height)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(s.Hash(), h.ValidatorsHash) {
		return nil, lied("its validators of %d are not those of its header", h.Height)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sets = append(c.sets, s)
	if len(c.sets) > keepSets {
		c.sets = c.sets[1:]
	}
	return s, nil
}

func (c *chain) known(hash []byte) *cmttypes.ValidatorSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sets {
		if bytes.Equal(s.Hash(), hash) {
			return s
		}
	}
	return nil
}

// trust takes a verified header.
func (c *chain) trust(b *cmttypes.LightBlock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.trusted); n > 0 && c.trusted[n-1].Height >= b.Height {
		return
	}
	c.trusted = append(c.trusted, b)
	if len(c.trusted) > keepTrusted {
		// The first stays, so that there is one below any fork for a while.
		c.trusted = append(c.trusted[:1], c.trusted[2:]...)
	}
	c.headers[b.Height] = *b.Header
	for h := range c.headers {
		if h < b.Height-keepHeaders {
			delete(c.headers, h)
		}
	}
}

// compare holds a header of a height that is known against what is known of it.
func (c *chain) compare(ctx context.Context, n *node, sh *cmttypes.SignedHeader) error {
	c.mu.Lock()
	ours, known := c.headers[sh.Height]
	from := c.trusted[0]
	for _, b := range c.trusted {
		if b.Height < sh.Height {
			from = b
		}
	}
	c.mu.Unlock()
	if !known || bytes.Equal(ours.Hash(), sh.Hash()) {
		return nil
	}
	if from.Height >= sh.Height {
		return lied("its header of %d is %X, that of the others %X", sh.Height, sh.Hash(), ours.Hash())
	}
	if _, err := c.verify(ctx, n, from, sh); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forked = fmt.Errorf("%w: %w: height %d, %X and %X", ledger.ErrUnreachable, ErrForked, sh.Height, ours.Hash(), sh.Hash())
	return &finalError{c.forked}
}

func (c *chain) fork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.forked
}

// link takes the headers of consecutive heights, oldest first, if the one after them
// is known: each header names the hash of the one before.
func (c *chain) link(l []cmttypes.Header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, ok := c.headers[l[len(l)-1].Height+1]
	if !ok {
		return nil
	}
	for i := len(l) - 1; i >= 0; i-- {
		if !bytes.Equal(l[i].Hash(), next.LastBlockID.Hash) {
			return lied("its header of %d is not the one before %d", l[i].Height, next.Height)
		}
		next = l[i]
		c.headers[next.Height] = next
	}
	return nil
}

// header gives a verified header of the latest keepHeaders heights.
func (c *chain) header(ctx context.Context, n *node, height int64) (cmttypes.Header, error) {
	for {
		c.mu.Lock()
		h, ok := c.headers[height]
		newest := c.trusted[len(c.trusted)-1].Height
		above := height + 1
		for ; above < newest; above++ {
			if _, ok := c.headers[above]; ok {
				break
			}
		}
		c.mu.Unlock()
		if ok {
			return h, nil
		}
		if height < newest-keepHeaders || height > newest {
			return h, fmt.Errorf("%w: header %d, the newest is %d", ledger.ErrPruned, height, newest)
		}
		l, err := n.metas(ctx, max(height, above-metasPage), above-1)
		if err != nil {
			return h, err
		}
		if err := c.link(l); err != nil {
			return h, err
		}
	}
}

// witness holds a node's chain against what is trusted, and gives how many blocks the
// node is ahead. One that is far ahead is believed, if its newest header can be.
func (c *chain) witness(ctx context.Context, n *node) (ahead int64, err error) {
	sh, err := n.header(ctx, 0)
	if err != nil {
		return 0, err
	}
	if err := sh.ValidateBasic(c.id); err != nil {
		return 0, lied("its newest header: %w", err)
	}
	trusted := c.newest()
	ahead = sh.Height - trusted.Height
	c.pool.saw(n, sh.Height)
	switch {
	case ahead > maxLag:
		b, err := c.verify(ctx, n, trusted, sh)
		if err != nil {
			return 0, err
		}
		c.trust(b)
		return ahead, nil
	case ahead > 0:
		if sh, err = n.header(ctx, trusted.Height); err != nil {
			return 0, err
		}
	case ahead < -maxLag:
		return 0, fmt.Errorf("%w: %d blocks", errLag, -ahead)
	}
	return 0, c.compare(ctx, n, sh)
}
