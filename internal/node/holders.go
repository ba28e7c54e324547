package node

import (
	"context"
	"slices"
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
// job's indexer first, then the batch's provider, then earlier indexers.
func (n *Node) holders(ctx context.Context, j *lifecycle.Job, b *lifecycle.Batch) []p2p.Peer {
	known := map[sign.PublicKey]p2p.Peer{}
	for _, p := range n.known() {
		known[p.Key] = p
	}
	var out []p2p.Peer
	add := func(k sign.PublicKey) {
		p, ok := known[k]
		if !ok {
			p = p2p.Peer{Key: k, Addrs: n.where.get(k)}
		}
		out = append(out, p)
		delete(known, k)
	}
	add(j.Indexer().Key)
	if b != nil {
		if q, err := n.cfg.Ledger.Party(ctx, lifecycle.RoleProvider, b.Provider); err == nil {
			add(q.Peer)
		}
	}
	for _, s := range slices.Backward(j.Signers()[:len(j.Signers())-1]) {
		add(s.Key)
	}
	for _, p := range n.known() {
		if _, left := known[p.Key]; left {
			out = append(out, p)
		}
	}
	return out
}

// whereIs gives addresses of a peer, as far as this node knows any.
func (n *Node) whereIs(k sign.PublicKey) []string {
	for _, p := range n.known() {
		if p.Key == k {
			return p.Addrs
		}
	}
	return n.where.get(k)
}

// output asks the roles of this node for an output that a peer wants.
func (n *Node) output(ctx context.Context, peer sign.PublicKey, q wire.OutputRequest) *wire.Output {
	for _, find := range n.outputs {
		if o := find(ctx, peer, q); o != nil {
			return o
		}
	}
	return nil
}
