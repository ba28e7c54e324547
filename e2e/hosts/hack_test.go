package hosts

import (
	"os"
	"testing"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/p2p"
)

func (w *world) hack(t *testing.T) {
	for _, m := range w.role("indexer") {
		addr := "/ip4/" + m.Addr().String() + "/tcp/4001"
		m.run(t, 0, "network", "join", w.invite, "--as", m.role, "--slots", "1", "--listen", addr)
		h, err := home.Open(m.home)
		if err != nil {
			t.Fatal(err)
		}
		k, err := h.SeedKey("peer.key")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(w.invite)
		v, err := home.DecodeInvite(b)
		if err != nil {
			t.Fatal(err)
		}
		v.Bootstrap = append(v.Bootstrap, p2p.Peer{Key: k.Public(), Addrs: []string{addr}})
		b, _ = v.Encode()
		os.WriteFile(w.invite, b, 0o600)
	}
}
