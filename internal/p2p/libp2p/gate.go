package libp2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// What a peer's faults weigh, and what becomes of it.
const (
	faultFrame   = 20  // broke the framing of a stream
	faultGossip  = 10  // passed on what no honest peer does
	faultSpam    = 0.1 // one message more than its share
	banAt        = 100
	banTime      = 10 * time.Minute
	faultHalving = time.Minute // faults are forgiven by half in this time
	maxScored    = 4096
)

// scores remembers who misbehaved. It is a bounded map: when it is full, the least
// guilty is forgotten.
type scores struct {
	now  func() time.Time
	most int

	mu sync.Mutex // guards of
	of map[peer.ID]score
}

type score struct {
	faults float64 // as of at
	at     time.Time
	until  time.Time // banned until then
}

func newScores() *scores {
	return &scores{now: time.Now, most: maxScored, of: map[peer.ID]score{}}
}

// blame adds to a peer's faults; true when it is banned from now on.
func (s *scores) blame(p peer.ID, weight float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	sc, ok := s.of[p]
	if !ok && len(s.of) >= s.most {
		s.forget(now)
	}
	sc.faults, sc.at = sc.left(now)+weight, now
	banned := sc.faults >= banAt && !now.Before(sc.until)
	if banned {
		sc.until = now.Add(banTime)
	}
	s.of[p] = sc
	return banned
}

// left is what is not yet forgiven.
func (sc score) left(now time.Time) float64 {
	if sc.at.IsZero() {
		return 0
	}
	f := sc.faults
	since := now.Sub(sc.at)
	for ; since >= faultHalving && f >= faultSpam; since -= faultHalving {
		f /= 2
	}
	if f < faultSpam {
		return 0
	}
	return f
}

// forget makes room: all that is forgiven, else the least guilty.
func (s *scores) forget(now time.Time) {
	var least peer.ID
	lowest := -1.0
	for p, sc := range s.of {
		if now.Before(sc.until) {
			continue
		}
		f := sc.left(now)
		if f == 0 {
			delete(s.of, p)
		} else if lowest < 0 || f < lowest {
			least, lowest = p, f
		}
	}
	if len(s.of) < s.most {
		return
	}
	if lowest < 0 { // all are banned: any of them
		for least = range s.of {
			break
		}
	}
	delete(s.of, least)
}

// banned reports whether a peer is shut out now.
func (s *scores) banned(p peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, ok := s.of[p]
	return ok && s.now().Before(sc.until)
}

// rating is a peer's standing for gossip: 0 is good, −1 each fault.
func (s *scores) rating(p peer.ID) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, ok := s.of[p]
	if !ok {
		return 0
	}
	return -sc.left(s.now())
}

// gate refuses connections with banned peers, and dials into private networks that
// this machine has no part in: addresses are strangers' bytes.
type gate struct {
	scores *scores
	near   *neighbours
	// private allows private addresses everywhere: the network is private itself.
	private func() bool
}

// InterceptPeerDial implements connmgr.ConnectionGater.
func (g *gate) InterceptPeerDial(p peer.ID) bool { return !g.scores.banned(p) }

// InterceptAddrDial implements connmgr.ConnectionGater.
func (g *gate) InterceptAddrDial(_ peer.ID, a multiaddr.Multiaddr) bool {
	if isRelayed(a) {
		return true // the relay's own address was judged when it was dialled
	}
	switch scopeOf(a) {
	case scopePublic:
		return true
	case scopeLAN:
		return g.private() || g.near.has(a)
	default:
		return g.private()
	}
}

// InterceptAccept implements connmgr.ConnectionGater.
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured implements connmgr.ConnectionGater.
func (g *gate) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return !g.scores.banned(p)
}

// InterceptUpgraded implements connmgr.ConnectionGater.
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
