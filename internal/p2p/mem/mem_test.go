package mem

import (
	"context"
	"errors"
	"testing"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/p2ptest"
	"github.com/gotong-network/gotong/sign"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	p2ptest.Run(t, func(t *testing.T) p2ptest.Make {
		hub := NewHub()
		return func(_ *testing.T, key sign.PrivateKey) p2p.Network { return hub.New(key) }
	})
}

func TestCut(t *testing.T) {
	t.Parallel()
	hub := NewHub()
	var nodes []p2p.Network
	for range 2 {
		key, err := sign.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, hub.New(key))
	}
	a, b := nodes[0], nodes[1]
	defer a.Close()
	defer b.Close()
	b.Handle(p2p.ProtocolWork, func(ctx context.Context, st p2p.Stream) { st.Receive() })
	st, err := a.Dial(t.Context(), b.Self(), p2p.ProtocolWork)
	if err != nil {
		t.Fatal(err)
	}
	hub.Cut(a.Self().Key, b.Self().Key)
	if _, err := st.Receive(); !errors.Is(err, errReset) {
		t.Fatalf("receive over a cut link: %v", err)
	}
	if _, err := a.Dial(t.Context(), b.Self(), p2p.ProtocolWork); !errors.Is(err, p2p.ErrUnreachable) {
		t.Fatalf("dial over a cut link: %v", err)
	}
	hub.Heal(b.Self().Key, a.Self().Key)
	if _, err := a.Dial(t.Context(), b.Self(), p2p.ProtocolWork); err != nil {
		t.Fatalf("dial over a healed link: %v", err)
	}
}
