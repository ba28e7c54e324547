package libp2p

import (
	"net/netip"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

func TestSeenAt(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"/ip4/45.77.0.3/tcp/4001":         "45.77.0.3",
		"/ip4/45.77.0.3/udp/4001/quic-v1": "45.77.0.3",
		"/ip6/2001:db8::1/tcp/4001":       "2001:db8::1",
		"/ip6/::ffff:45.77.0.3/tcp/4001":  "45.77.0.3",
		"/dns4/example.org/tcp/1":         "invalid IP",
		"/ip4/45.77.0.3/tcp/4001/p2p/12D3KooWGRYZDHBembyGJQqQ6WgLqJWYNjnECJwGBnCg8vbCeo8F/p2p-circuit": "invalid IP",
	} {
		m, err := ma.NewMultiaddr(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := seenAt(m); got.String() != want {
			t.Errorf("%s is seen at %s, want %s", s, got, want)
		}
	}
	if got := seenAt(nil); got != (netip.Addr{}) {
		t.Errorf("no address is seen at %s", got)
	}
}
