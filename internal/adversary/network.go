package adversary

import (
	"context"
	"slices"
	"sync"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Keep is the network of a provider that delivers nothing: no receipt leaves it, and
// nobody gets an output.
func Keep(n p2p.Network) p2p.Network { return keep{n} }

type keep struct{ p2p.Network }

// Handle implements p2p.Network.
func (k keep) Handle(proto p2p.Protocol, h p2p.Handler) {
	switch proto {
	case p2p.ProtocolWork:
		k.Network.Handle(proto, func(ctx context.Context, s p2p.Stream) { h(ctx, noReceipts{s}) })
	case p2p.ProtocolOutput, p2p.ProtocolBlob:
		k.Network.Handle(proto, refuse)
	default:
		k.Network.Handle(proto, h)
	}
}

func refuse(_ context.Context, s p2p.Stream) { _ = s.Close() }

type noReceipts struct{ p2p.Stream }

// Send implements p2p.Stream.
func (s noReceipts) Send(frame []byte) error {
	if len(frame) > 0 && wire.Kind(frame[0]) == wire.KindReceipt {
		return nil
	}
	return s.Stream.Send(frame)
}

// Hide is the network of a holder that gives blobs only to the peers that may have
// them.
func Hide(n p2p.Network, may func(sign.PublicKey) bool) p2p.Network { return hide{n, may} }

type hide struct {
	p2p.Network
	may func(sign.PublicKey) bool
}

// Handle implements p2p.Network.
func (h hide) Handle(proto p2p.Protocol, f p2p.Handler) {
	if proto != p2p.ProtocolBlob {
		h.Network.Handle(proto, f)
		return
	}
	h.Network.Handle(proto, func(ctx context.Context, s p2p.Stream) {
		if !h.may(s.Peer()) {
			refuse(ctx, s)
			return
		}
		f(ctx, s)
	})
}

// SignTwice is the network of an indexer that hands the first range of each job to a
// second provider too, under the same attempt.
func SignTwice(n p2p.Network, key sign.PrivateKey) p2p.Network {
	return &signTwice{Network: n, key: key, first: map[work.JobID]work.Assignment{}}
}

type signTwice struct {
	p2p.Network
	key   sign.PrivateKey
	mu    sync.Mutex // guards first
	first map[work.JobID]work.Assignment
}

// Dial implements p2p.Network.
func (x *signTwice) Dial(ctx context.Context, p p2p.Peer, proto p2p.Protocol) (p2p.Stream, error) {
	s, err := x.Network.Dial(ctx, p, proto)
	if err != nil || proto != p2p.ProtocolWork {
		return s, err
	}
	return &forging{Stream: s, x: x}, nil
}

type forging struct {
	p2p.Stream
	x *signTwice
}

// Send implements p2p.Stream.
func (s *forging) Send(frame []byte) error {
	if len(frame) == 0 || wire.Kind(frame[0]) != wire.KindAssign {
		return s.Stream.Send(frame)
	}
	f, err := wire.Decode(frame, s.x.key.Public())
	if err != nil {
		return err
	}
	a := f.Assign.Assignment
	s.x.mu.Lock()
	first, ok := s.x.first[a.Job]
	if !ok {
		s.x.first[a.Job] = a
	}
	s.x.mu.Unlock()
	if ok && first.Provider != a.Provider {
		a.Attempt, a.Ranges = first.Attempt, slices.Clone(first.Ranges)
		a.Sign(s.x.key)
		frame = wire.EncodeAssign(wire.Assign{Assignment: a, Chunk: f.Assign.Chunk})
	}
	return s.Stream.Send(frame)
}
