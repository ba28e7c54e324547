package indexer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/match"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// registry remembers for a while what the ledger says about providers.
type registry struct {
	mu   sync.Mutex // guards seen
	seen map[work.Address]registered
}

type registered struct {
	peer  sign.PublicKey
	bond  work.Amount
	rep   float64
	until time.Time
}

// registryTTL bounds how long a provider's record is believed; its own events end
// it earlier.
const registryTTL = 30 * time.Second

func (r *registry) forget(a work.Address) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.seen, a)
}

// known reports whether the ledger was asked about an offer's provider, and whether
// the offer's key was its own then, and bonded.
func (r *registry) known(o *work.Offer) (known, bonded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got, ok := r.seen[o.Provider]
	return ok, ok && got.peer == o.Peer && got.bond > 0
}

func (r *registry) lookUp(ctx context.Context, l ledger.Reader, a work.Address) (registered, error) {
	now := time.Now()
	r.mu.Lock()
	got, ok := r.seen[a]
	r.mu.Unlock()
	if ok && now.Before(got.until) {
		return got, nil
	}
	p, err := l.Party(ctx, lifecycle.RoleProvider, a)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return registered{}, err
	}
	got = registered{until: now.Add(registryTTL)}
	if err == nil {
		got.peer, got.bond, got.rep = p.Peer, p.Bond-min(p.Unbonding, p.Bond), match.Reputation(p.Settled, p.Missed, p.Convictions)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil || len(r.seen) >= 4*maxProviders {
		r.seen = map[work.Address]registered{}
	}
	r.seen[a] = got
	return got, nil
}

// hearOffers takes offers from gossip until ctx ends.
func (x *Indexer) hearOffers(ctx context.Context) error {
	var g sync.WaitGroup
	defer g.Wait()
	for _, topic := range x.cfg.OfferTopics {
		ch, err := x.cfg.Net.Subscribe(ctx, topic, x.checkOffer)
		if err != nil {
			return fmt.Errorf("indexer: listen to offers on %s: %w", topic, err)
		}
		for range hearers {
			g.Go(func() {
				for b := range ch {
					if err := x.hear(ctx, b); err != nil {
						x.log.Debug("offer is not taken", "err", err)
					}
				}
			})
		}
	}
	g.Wait()
	if ctx.Err() == nil {
		return errors.New("indexer: the gossip of offers ended: restart the node")
	}
	return nil
}

// hearers is how many offers of a topic are looked into at once: each may wait for an
// answer of the chain. The newest of a provider counts, in whichever order they end.
const hearers = 16

// checkOffer judges gossip: what no honest peer passes on is held against the peer
// that did.
func (x *Indexer) checkOffer(b []byte) p2p.Verdict {
	o, err := x.readOffer(b)
	switch {
	case o == nil:
		return p2p.Reject // malformed, or a false signature
	case err != nil:
		return p2p.Ignore // expired on its way, or of another chain
	}
	now := time.Now()
	known, bonded := x.registry.known(o)
	switch {
	case known && !bonded, !x.offers.Allow(o.Peer, now), !known && !x.newcomers.Allow(struct{}{}, now):
		return p2p.Ignore // others may see it otherwise
	}
	return p2p.Accept
}

// What offers a provider may send, and what is taken of all that the registry has not
// been asked about yet: keys cost nothing, bonds do.
const (
	offersPerSecond    = 2
	offersBurst        = 32
	newcomersPerSecond = 50
	newcomersBurst     = 2048
)

// readOffer checks what an offer says by itself. With an error, the offer comes back
// if it is true but of no use here.
func (x *Indexer) readOffer(b []byte) (*work.Offer, error) {
	o, err := work.DecodeOffer(b)
	if err == nil {
		err = o.Verify()
	}
	switch {
	case err != nil:
		return nil, err
	case o.Chain != x.cfg.Chain:
		return o, fmt.Errorf("offer of %s is for chain %q", o.Provider, o.Chain)
	case o.ExpiresUnix <= time.Now().Unix():
		return o, fmt.Errorf("offer of %s has expired", o.Provider)
	}
	return o, nil
}

// hear checks an offer against the registry and makes it known.
func (x *Indexer) hear(ctx context.Context, b []byte) error {
	o, err := x.readOffer(b)
	if err != nil {
		return err
	}
	reg, err := x.registry.lookUp(ctx, x.cfg.Ledger, o.Provider)
	switch {
	case err != nil:
		return err
	case reg.peer != o.Peer:
		x.registry.forget(o.Provider) // it may have registered just now
		return fmt.Errorf("offer of %s is signed by a key that is not registered for it", o.Provider)
	case reg.bond == 0:
		x.registry.forget(o.Provider)
		return fmt.Errorf("offer of %s, which has no bond", o.Provider)
	}
	attested := o.Attested()
	x.post(func() { x.onOffer(o, attested, b, reg.rep) })
	return nil
}

func (x *Indexer) onOffer(o *work.Offer, attested []work.Attestation, raw []byte, rep float64) {
	p := x.peers[o.Provider]
	switch {
	case p == nil && len(x.peers) >= maxProviders:
		return
	case p == nil:
		p = &peer{addr: o.Provider, down: time.Now(), jobs: map[work.JobID]*dealing{}}
		x.peers[o.Provider] = p
	case o.Sequence < p.offer.Sequence && o.Peer == p.offer.Peer:
		return
	}
	fresh := p.offer == nil || p.offer.Sequence != o.Sequence
	p.offer, p.attested, p.raw, p.rep = o, attested, raw, rep
	if fresh {
		x.set(append([]byte{keyOffer}, o.Provider...), raw)
	}
	if !p.up() && !time.Now().Before(p.until) {
		x.connect(p)
	}
	x.rerank()
}

// forgetOffers lets go of providers whose offer ended long ago and who have
// nothing, and returns to those that were cut off.
func (x *Indexer) forgetOffers(now time.Time) {
	for a, p := range x.peers {
		if p.link == nil && now.After(p.until) && p.offer.ExpiresUnix >= now.Unix() {
			x.connect(p)
		}
		if p.offer.ExpiresUnix+offerGrace >= now.Unix() || x.owes(a) {
			continue
		}
		p.hangUp()
		delete(x.peers, a)
		if err := x.batch.Delete(append([]byte{keyOffer}, a...), nil); err != nil {
			x.dead = err
		}
	}
}

// offerGrace is how many seconds behind its end an offer is remembered.
const offerGrace = 120

// owes reports whether a provider still has items or uncommitted results.
func (x *Indexer) owes(a work.Address) bool {
	for _, j := range x.active {
		if s := j.state.byAddr[a]; s != nil && s.out.size()+s.have.size() > 0 {
			return true
		}
	}
	return false
}
