package libp2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/gotong-network/gotong/internal/p2p"
)

const (
	findTime  = 20 * time.Second // of one lookup
	findLife  = 5 * time.Second  // how long what it said is not asked again
	maxFinds  = 8                // lookups at a time
	maxFound  = 1024             // lookups remembered
	foundLife = time.Hour        // how long addresses from a lookup are kept
	// findSettle is how long a lookup goes on once addresses are known: the first that
	// answers may be wrong.
	findSettle = 200 * time.Millisecond
)

// finder bounds lookups in the DHT: one at a time for a peer, and not again at once.
type finder struct {
	running chan struct{} // one token for each lookup that may run

	mu   sync.Mutex // guards past
	past map[peer.ID]*found
}

// found is a lookup, running or over.
type found struct {
	done chan struct{} // closed at its end
	err  error         // valid then
	at   time.Time     // of its end
}

func (f *finder) init() {
	f.running, f.past = make(chan struct{}, maxFinds), map[peer.ID]*found{}
}

// find asks the DHT where a peer is; its addresses are in the peer store then.
// Callers that ask for the same peer share one lookup.
func (w *wide) find(ctx context.Context, id peer.ID) error {
	w.finder.mu.Lock()
	f := w.finder.past[id]
	mine := f == nil || f.over() && time.Since(f.at) > findLife
	if mine {
		f = &found{done: make(chan struct{})}
		if !w.finder.keep(id, f) {
			w.finder.mu.Unlock()
			return fmt.Errorf("%w: too many lookups at once: try again later", p2p.ErrUnreachable)
		}
	}
	w.finder.mu.Unlock()
	if mine && !w.spawn(func(life context.Context) { w.lookUp(life, id, f) }) {
		return errClosed
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *found) over() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// keep remembers a lookup; the lock is held. At the bound, those that are over go;
// false when there are none.
func (f *finder) keep(id peer.ID, now *found) bool {
	if len(f.past) >= maxFound {
		for p, old := range f.past {
			if old.over() {
				delete(f.past, p)
			}
		}
	}
	if len(f.past) >= maxFound {
		return false
	}
	f.past[id] = now
	return true
}

func (w *wide) lookUp(ctx context.Context, id peer.ID, f *found) {
	defer func() {
		f.at = time.Now()
		close(f.done)
	}()
	select {
	case w.finder.running <- struct{}{}:
		defer func() { <-w.finder.running }()
	case <-ctx.Done():
		f.err = ctx.Err()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	if f.err = w.met(ctx); f.err != nil {
		return
	}
	stale := w.host.Peerstore().Addrs(id)
	over := make(chan error, 1)
	go func() {
		_, err := w.dht.FindPeer(ctx, id)
		over <- err
	}()
	news, err := w.news(id, stale, over)
	cancel()
	if err == errEarly {
		<-over
	}
	if len(news) == 0 && w.host.Network().Connectedness(id) == network.NotConnected {
		f.err = fmt.Errorf("%w: nobody asked knows where it is: %v", p2p.ErrUnreachable, err)
		return
	}
	w.host.Peerstore().AddAddrs(id, news, foundLife)
	w.log.Debug("peer found", "peer", id, "addrs", news)
}

// met returns once there is anybody to ask: a node that has just started has not met
// its bootstrap peers yet. The first node of a network has none.
func (w *wide) met(ctx context.Context) error {
	if len(w.bootstrap()) == 0 {
		return nil
	}
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for w.dht.RoutingTable().Size() == 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: no peer of the network answers that could be asked", p2p.ErrUnreachable)
		case <-t.C:
		}
	}
	return nil
}

var errEarly = errors.New("found before the lookup was over")

// news are the addresses of a peer that a lookup brings. It does not wait for the
// lookup's end, which is far when the peer can be reached through a relay only: the
// lookup then tries to talk to it, and waits for a direct connection.
func (w *wide) news(id peer.ID, stale []multiaddr.Multiaddr, over <-chan error) ([]multiaddr.Multiaddr, error) {
	fresh := func() []multiaddr.Multiaddr {
		all := slices.DeleteFunc(w.host.Peerstore().Addrs(id), func(a multiaddr.Multiaddr) bool { return multiaddr.Contains(stale, a) })
		return all[:min(len(all), maxAddrs)]
	}
	t := time.NewTicker(findSettle / 10)
	defer t.Stop()
	var since time.Time // the first of them is known
	for {
		select {
		case err := <-over:
			return fresh(), err
		case now := <-t.C:
			found := fresh()
			switch {
			case len(found) == 0:
			case since.IsZero():
				since = now
			case now.Sub(since) >= findSettle:
				return found, errEarly
			}
		}
	}
}
