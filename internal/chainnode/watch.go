package chainnode

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/cometbft/cometbft/consensus"
	cstypes "github.com/cometbft/cometbft/consensus/types"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"
)

// Watch is how a node makes sure that no other one signs with its key, before its
// first signature and as long as it runs. If one does, the node fails with
// ErrSignsElsewhere.
//
// In a chain that moves two nodes with one key never sign two things at one height and
// round, whenever they start, if less than a third of the power lies: see signer. A
// chain that stands tells less, and may be waiting for this validator: then the node
// signs after some patience, unless it heard of a vote with its key; two nodes that
// come to a chain that stands, or that a cut keeps from hearing of each other, are
// told apart by who is heard first, which is not certain.
type Watch struct {
	// Patience is how long the chain stands, while other nodes are connected, before it
	// is taken to be waiting for this validator; up to as much is added by chance.
	Patience time.Duration
	// RPCs are servers of other nodes (http://host:port), asked for blocks with this
	// key's signature before this node signs. Only signatures are believed.
	RPCs []string
}

const (
	// foundingPatience is what a chain without blocks takes at most: all its validators
	// are starting.
	foundingPatience = 2 * time.Second
	watchPoll        = 100 * time.Millisecond
	watchAsk         = time.Second
	watchBlocks      = 16 // asked for at once
	watchCall        = 3 * time.Second
	maxWatchRPCs     = 8
	// watchRounds is of how many rounds back votes are looked through.
	watchRounds = 32
)

// RestoredFile marks a home that was made of a copy: its last vote may not be the
// last one that its key gave, so it does not sign at the height that is under way when
// it comes to the chain. The node removes it.
func RestoredFile(home string) string { return filepath.Join(home, "data", "restored") }

// newSigner is the signer of a home's key.
func (n *Node) newSigner(home string, keys secrets) *signer {
	last := keys.validator.LastSignState
	mark := RestoredFile(home)
	return &signer{key: keys.validator, chain: n.chain, mark: mark, restored: exists(mark), look: lookBlocks + rand.Int64N(lookMore+1),
		before: place{last.Height, last.Round, last.Step}, log: n.config.Log, stop: n.failWith}
}

// Looking reports whether the node signs nothing yet, because it looks whether another
// one does with its key.
func (n *Node) Looking() bool { return n.signer != nil && n.signer.looks() }

// lookOut shows the signer the votes that the node hears of, and lets it sign if the
// chain stands and may be waiting for it.
func (n *Node) lookOut(ctx context.Context, state *consensus.State) {
	w := n.config.Watch
	chance := rand.Float64()
	height, since := int64(-1), time.Now()
	for tick := time.NewTicker(watchPoll); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		if n.comet.ConsensusReactor().WaitSync() {
			continue
		}
		rs := state.GetRoundState()
		n.signer.see(rs.Height, votesOf(n.signer.key.Key.Address, rs))
		patience, heard := n.patience(w.Patience, rs)
		if rs.Height != height || !heard {
			height, since = rs.Height, time.Now()
		}
		if !n.signer.waits() || time.Since(since) < patience+time.Duration(chance*float64(patience)) || n.signedElsewhere(ctx, height) {
			continue
		}
		for _, v := range n.signer.release(height) {
			_, _ = state.AddVote(v, "") // only puts it into the queue of this node's own
		}
		since = time.Now()
	}
}

// patience is for how long the chain has to stand, and whether the node hears enough
// to say so: without others it does only if it decides alone.
func (n *Node) patience(patience time.Duration, rs *cstypes.RoundState) (time.Duration, bool) {
	peers, alone, only := n.comet.Switch().Peers().Size(), false, false
	if _, me := rs.Validators.GetByAddress(n.signer.key.Key.Address); me != nil {
		alone = me.VotingPower*3 > rs.Validators.TotalVotingPower()*2
		only = rs.Validators.Size() == 1
	}
	switch {
	case only && peers == 0 && len(n.config.Watch.RPCs) == 0:
		return 0, true // there is nobody to wait for
	case only || rs.Height == n.comet.GenesisDoc().InitialHeight:
		return min(patience, foundingPatience), peers > 0 || alone
	}
	return patience, peers > 0 || alone
}

// votesOf are a validator's votes of which the node has heard at the height under way.
func votesOf(address []byte, rs *cstypes.RoundState) (all []*cmttypes.Vote) {
	i, me := rs.Validators.GetByAddress(address)
	if me == nil || rs.Votes == nil {
		return nil
	}
	for r := max(0, rs.Round-watchRounds); r <= rs.Round; r++ {
		for _, s := range []*cmttypes.VoteSet{rs.Votes.Prevotes(r), rs.Votes.Precommits(r)} {
			if v := s.GetByIndex(i); v != nil {
				all = append(all, v)
			}
		}
	}
	return all
}

// askAround looks for the key's signature in the blocks that other nodes make while
// this one signs nothing: as long as the other node with the key is their peer, they
// refuse this one, which has the same key as a peer, and so it fetches no blocks.
func (n *Node) askAround(ctx context.Context) {
	var first, next int64
	tick := time.NewTicker(watchAsk)
	defer tick.Stop()
	for n.signer.waits() {
		for _, c := range n.others {
			newest := commit(ctx, c, nil)
			if newest == nil {
				continue
			}
			if first == 0 {
				first, next = newest.Height+1, newest.Height+1
			}
			// Those before the newest are as the next block has them. Some may be missed.
			for next = max(next, newest.Height-watchBlocks); next < newest.Height; next++ {
				if m := commit(ctx, c, &next); m != nil {
					n.signer.elsewhere(first, m)
				}
			}
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// commit is a node's commit of a height, or of its newest block; nil without one.
func commit(ctx context.Context, c *rpchttp.HTTP, height *int64) *cmttypes.Commit {
	call, cancel := context.WithTimeout(ctx, watchCall)
	defer cancel()
	r, err := c.Commit(call, height)
	if err != nil || r.Commit == nil || height != nil && r.Commit.Height != *height {
		return nil
	}
	return r.Commit
}

// signedElsewhere asks other nodes for the block of a height at which this one
// stands: with this key's signature in it, another node made it.
func (n *Node) signedElsewhere(ctx context.Context, height int64) bool {
	var wg sync.WaitGroup
	for _, c := range n.others {
		wg.Go(func() {
			if m := commit(ctx, c, &height); m != nil {
				n.signer.elsewhere(height, m)
			}
		})
	}
	wg.Wait()
	return !n.signer.waits()
}

// dial makes the clients of the servers that are asked.
func (w *Watch) dial() (all []*rpchttp.HTTP, err error) {
	for _, url := range w.RPCs[:min(len(w.RPCs), maxWatchRPCs)] {
		c, err := rpchttp.NewWithTimeout(url, "/websocket", uint(watchCall/time.Second))
		if err != nil {
			return nil, fmt.Errorf("chain at %s: %w", url, err)
		}
		all = append(all, c)
	}
	return all, nil
}
