package node_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/gotong-network/gotong/internal/ledger/fake"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
)

// TestSilentPeerKeepsNobodyWaiting holds that a node plays its roles while a peer that
// it knows takes its connection and says nothing.
func TestSilentPeerKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gaveUp := make(chan struct{})
	go func() {
		defer close(gaveUp)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c) // until the node closes it
		_ = c.Close()
	}()
	key, err := sign.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	silent := p2p.Peer{Key: sign.FromSeed([32]byte{1}).Public(), Addrs: []string{"/ip4/127.0.0.1/tcp/" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)}}
	n, err := node.New(t.Context(), node.Config{
		Dir: filepath.Join(t.TempDir(), "node"), Chain: "test-1", Account: "owner", Key: key,
		Ledger: fake.New(fake.Config{Chain: "test-1", Params: lifecycle.LocalParams(), Seed: 1}), Log: slog.New(slog.DiscardHandler),
		Known: func() []p2p.Peer { return []p2p.Peer{silent} }, Indexer: &node.Indexer{},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	select {
	case <-n.Serving():
	case <-gaveUp:
		t.Error("the indexer serves nobody before its node has given a peer up")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
