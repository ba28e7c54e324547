package hosts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/netlab"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
)

// nat holds that providers behind routers are reached, the one behind plain masquerade
// in the end directly, the one behind symmetric NAT through a relay, and that both are
// paid for work.
func nat(w *world, t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), pick(8*time.Minute, 15*time.Minute))
	defer cancel()
	hidden := map[string]string{"provider4": "direct", "provider5": "relayed"}
	accounts := map[string]string{}
	for name := range hidden {
		accounts[w.by[name].account(t)] = name
	}
	// Somebody in another home comes to each while they work: through the relay at first.
	router, err := w.lab.Router("stranger's router", netlab.RouterOptions{NAT: netlab.Masquerade})
	if err != nil {
		t.Fatal(err)
	}
	stranger := w.add(t, "client", "stranger", netlab.HostOptions{Behind: router})
	defer w.remove(stranger)
	stranger.run(t, 0, "network", "join", w.invite)
	visit, stop := context.WithCancel(ctx)
	defer stop()
	visitors := map[string]<-chan string{}
	for name := range hidden {
		visitors[name] = w.by[name].visited(visit, t, stranger)
	}
	paid := map[string]uint64{}
	for k := 0; len(paid) < len(hidden) && k < 5; k++ { // which providers get a job's items is the market's choice
		j := w.post(t, w.by["client1"], fmt.Sprint("nat-", k), pick(400, 1000), 300_000)
		j.follow(ctx, t, nil)
		j.right(t)
		for _, b := range j.settled(ctx, t).Batches {
			if name, ok := accounts[string(b.Provider)]; ok && b.Phase == lifecycle.Settled {
				paid[name] += b.N
			}
		}
	}
	reach := map[string]string{}
	for name, want := range hidden {
		until(ctx, t, name+" is reached as it can be", patience, func() error {
			reach[name] = w.by[name].status(ctx, t).Reach.Kind
			if reach[name] != want {
				return errors.New("it says " + reach[name])
			}
			return nil
		})
	}
	stop()
	for name := range hidden {
		t.Logf("%s: %s; paid for %d items; its visitor: %s", name, reach[name], paid[name], <-visitors[name])
		if paid[name] == 0 {
			t.Errorf("%s was not paid for anything", name)
		}
	}
}

// visited lets a peer in another home come to a machine and stay until ctx is over; what
// it said comes then.
func (m *machine) visited(ctx context.Context, t *testing.T, from *machine) <-chan string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := from.Command(ctx, self) // killed when ctx is over
	cmd.Env = append(os.Environ(), asVisitor+"="+m.status(ctx, t).Peer.Key.String(), "GOTONG_E2E_HOME="+from.home)
	said := make(chan string, 1)
	go func() {
		out, err := cmd.CombinedOutput()
		said <- fmt.Sprintf("%s (%v)", out, err)
	}()
	return said
}

// status is what a home says of how it is reached.
type status struct {
	Peer  struct{ Key sign.PublicKey }
	Reach struct{ Kind string }
}

func (m *machine) status(ctx context.Context, t *testing.T) (st status) {
	t.Helper()
	until(ctx, t, "status of "+m.Name(), patience, func() error { return m.ask(ctx, &st, "status", "--json") })
	return st
}

// asVisitor makes a copy of the test binary a peer that comes to a key and stays.
const asVisitor = "GOTONG_E2E_VISIT"

func visitor() int {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if err := visit(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	<-ctx.Done()
	return 0
}

func visit(ctx context.Context) error {
	h, err := home.Open(os.Getenv("GOTONG_E2E_HOME"))
	if err != nil {
		return err
	}
	network, err := h.ReadNetwork()
	if err != nil {
		return err
	}
	var to sign.PublicKey
	if err := to.UnmarshalText([]byte(os.Getenv(asVisitor))); err != nil {
		return err
	}
	key, err := sign.NewKey()
	if err != nil {
		return err
	}
	n, err := libp2p.New(ctx, libp2p.Config{Key: key, Chain: network.Chain, Bootstrap: func() []p2p.Peer { return network.Bootstrap },
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	began := time.Now()
	for {
		s, err := n.Dial(ctx, p2p.Peer{Key: to}, p2p.ProtocolBlob)
		if err == nil {
			fmt.Printf("a stream was open after %s\n", time.Since(began).Round(time.Millisecond))
			return s.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}
