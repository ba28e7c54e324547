package adversary

import (
	"context"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
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
