package node

import (
	"context"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// maxOffers bounds the providers whose addresses are remembered.
const maxOffers = 4096

// addresses are where providers can be reached, as their offers say.
type addresses struct {
	mu sync.Mutex // guards of
	of map[sign.PublicKey][]string
}

func (a *addresses) set(o *work.Offer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.of[o.Peer]; !ok && len(a.of) >= maxOffers {
		clear(a.of) // offers are repeated
	}
	a.of[o.Peer] = o.Addrs
}

func (a *addresses) get(k sign.PublicKey) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of[k]
}

// hearOffers learns where providers are until ctx ends: checkers and referees fetch
// from them what the indexer does not give.
func (n *Node) hearOffers(ctx context.Context) error {
	ch, err := n.peers.Subscribe(ctx, wire.OfferTopic(n.cfg.Chain, work.ClassCPU, ""), n.checkOffer)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case raw, ok := <-ch:
			if !ok {
				return ctx.Err()
			}
			if o, err := work.DecodeOffer(raw); err == nil {
				n.where.set(o)
			}
		}
	}
}

// checkOffer judges offers before they are believed or passed on.
func (n *Node) checkOffer(raw []byte) p2p.Verdict {
	o, err := work.DecodeOffer(raw)
	switch {
	case err != nil || o.Verify() != nil:
		return p2p.Reject
	case o.Chain != n.cfg.Chain || o.ExpiresUnix < time.Now().Unix():
		return p2p.Ignore
	}
	return p2p.Accept
}

// holders are the peers that may have a job's blobs and a batch's outputs: the
// job's indexer first, then the batch's provider.
func (n *Node) holders(ctx context.Context, j *lifecycle.Job, b *lifecycle.Batch) []p2p.Peer {
	var first, rest []p2p.Peer
	for _, p := range n.known() {
		if p.Key == j.Spec.Indexer {
			first = append(first, p)
		} else {
			rest = append(rest, p)
		}
	}
	if b != nil {
		if q, err := n.cfg.Ledger.Party(ctx, lifecycle.RoleProvider, b.Provider); err == nil {
			first = append(first, p2p.Peer{Key: q.Peer, Addrs: n.where.get(q.Peer)})
		}
	}
	return append(first, rest...)
}

// output asks the roles of this node for an output.
func (n *Node) output(ctx context.Context, q wire.OutputRequest) *wire.Output {
	for _, find := range n.outputs {
		if o := find(ctx, q); o != nil {
			return o
		}
	}
	return nil
}
