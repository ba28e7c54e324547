package adversary

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Crowd is many accounts of one owner that spam disputes: all of them at once
// challenge whatever is in its window, most of them the same item, and again as soon
// as it is in its window again, so that nothing gets paid while they can help it. In
// between they send what is not theirs to send: answers and openings with forged
// paths, votes, claims of non-delivery, challenges of what is already decided.
type Crowd struct {
	Ledger   ledger.Ledger // holds the accounts' keys
	Accounts []work.Address
	Each     int // transactions of an account that are under way at a time

	taken, refused atomic.Int64

	mu    sync.Mutex // guards scene and turn
	scene []sight    // the newest batches, at most maxScene
	turn  int
}

// sight is a batch that a crowd has seen.
type sight struct {
	id    work.BatchID
	phase lifecycle.Phase
}

// maxScene bounds the batches that a crowd looks at: the oldest is forgotten.
const maxScene = 256

// Taken is how many challenges the chain has taken, each for a stake; Refused how
// many messages it has not.
func (c *Crowd) Taken() int64   { return c.taken.Load() }
func (c *Crowd) Refused() int64 { return c.refused.Load() }

// Run spams from a height on until ctx ends. It returns when nothing is under way any
// more, and fails only if the chain cannot be followed.
func (c *Crowd) Run(ctx context.Context, from int64) error {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer cancel()
	for i := range c.Accounts {
		for k := range max(c.Each, 1) {
			wg.Go(func() { c.spam(ctx, i, k) })
		}
	}
	err := c.Ledger.Follow(ctx, from, func(b ledger.Block) error { c.look(b); return nil })
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// look learns what is where.
func (c *Crowd) look(b ledger.Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range b.Events {
		if e.Kind != lifecycle.EventBatch {
			continue
		}
		i := slices.IndexFunc(c.scene, func(s sight) bool { return s.id == e.Batch })
		if i < 0 {
			if len(c.scene) == maxScene {
				c.scene = slices.Delete(c.scene, 0, 1)
			}
			c.scene = append(c.scene, sight{id: e.Batch})
			i = len(c.scene) - 1
		}
		c.scene[i].phase = e.Phase
	}
}

// target is a batch in its window, in turns, or else the newest one.
func (c *Crowd) target() (s sight, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.scene) == 0 {
		return s, false
	}
	c.turn++
	for i := range c.scene {
		if s = c.scene[(c.turn+i)%len(c.scene)]; s.phase == lifecycle.Window {
			return s, true
		}
	}
	return c.scene[len(c.scene)-1], true
}

// spam sends one message after the other as the i-th account.
func (c *Crowd) spam(ctx context.Context, i, k int) {
	for n := uint64(k); ctx.Err() == nil; n++ {
		t, ok := c.target()
		if !ok {
			if st, err := c.Ledger.Status(ctx); err != nil || c.nextBlock(ctx, st.Height) != nil {
				return
			}
			continue
		}
		m := c.message(t, uint64(i), n)
		_, err := c.Ledger.Submit(ctx, c.Accounts[i], m)
		switch _, challenge := m.(ledger.Challenge); {
		case err == nil && challenge:
			c.taken.Add(1)
		case errors.Is(err, ledger.ErrRefused) || errors.Is(err, ledger.ErrFunds):
			c.refused.Add(1)
		}
	}
}

// nextBlock waits for the block after a height.
func (c *Crowd) nextBlock(ctx context.Context, height int64) error {
	seen := errors.New("seen")
	if err := c.Ledger.Follow(ctx, height+1, func(ledger.Block) error { return seen }); !errors.Is(err, seen) {
		return err
	}
	return nil
}

// message is the n-th message of an account, of the kind that the batch's phase asks
// for.
func (c *Crowd) message(t sight, account, n uint64) ledger.Msg {
	lie := work.Leaf{Outcome: work.Outcome{Kind: work.Exited}, Fuel: 1 + work.Fuel(account), Memory: work.Sum("gotong/spam", t.id[:])}
	forged := lifecycle.ItemOpening{Position: n % 2, Node: work.Node{Fuel: 1, Hash: lie.Hash()}}
	for range forgedPath {
		forged.Path = append(forged.Path, forged.Node)
	}
	switch t.phase {
	case lifecycle.Window:
		if account%10 == 9 {
			return ledger.ClaimDelivery{Batch: t.id, Position: n % 2}
		}
		return ledger.Challenge{Batch: t.id, Position: n % 4, Leaf: lie}
	case lifecycle.Opening:
		return ledger.OpenBatch{Batch: t.id, Openings: []lifecycle.ItemOpening{forged, forged, forged}}
	case lifecycle.Answering:
		return ledger.AnswerChallenge{Batch: t.id, Opening: forged, Leaf: lie}
	case lifecycle.Voting:
		return ledger.CommitVote{Batch: t.id, Commitment: lie.Hash()}
	default:
		return ledger.Challenge{Batch: t.id, Position: n, Leaf: lie}
	}
}

// forgedPath is how long the forged paths are: as those of a batch of 2^16 items.
const forgedPath = 16

// Forge is the chain of a provider that answers challenges with forged paths.
func Forge(l ledger.Ledger) ledger.Ledger { return forge{l} }

type forge struct{ ledger.Ledger }

// Submit implements ledger.Submitter.
func (f forge) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	msgs = slices.Clone(msgs)
	for i, m := range msgs {
		if a, ok := m.(ledger.AnswerChallenge); ok && len(a.Opening.Path) > 0 {
			a.Opening.Path = slices.Clone(a.Opening.Path)
			a.Opening.Path[0].Hash[0] ^= 1
			msgs[i] = a
		}
	}
	return f.Ledger.Submit(ctx, from, msgs...)
}
