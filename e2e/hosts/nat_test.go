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
	// Somebody in another home comes to each: through the relay at first.
	router, err := w.lab.Router("stranger's router", netlab.RouterOptions{NAT: netlab.Masquerade})
	if err != nil {
		t.Fatal(err)
	}
	stranger := w.add(t, "client", "stranger", netlab.HostOptions{Behind: router})
	defer w.remove(stranger)
	stranger.run(t, 0, "network", "join", w.invite)
	for name, want := range hidden {
		st := w.by[name].status(ctx, t)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := stranger.Command(ctx, self)
		cmd.Env = append(os.Environ(), asVisitor+"="+st.Peer.Key.String(), "GOTONG_E2E_HOME="+stranger.home)
		visit, stop := context.WithCancel(ctx)
		left := make(chan string, 1)
		go func() {
			out, err := cmd.CombinedOutput()
			left <- fmt.Sprintf("%s (%v)", out, err)
		}()
		go func() { <-visit.Done(); _ = cmd.Process.Kill() }()
		until(ctx, t, name+" is reached as it can be", patience, func() error {
			st = w.by[name].status(ctx, t)
			if st.Reach.Kind != want {
				return errors.New("it says " + st.Reach.Kind)
			}
			return nil
		})
		if want == "relayed" { // and stays so, whoever comes
			select {
			case said := <-left:
				left <- said
			case <-time.After(20 * time.Second):
			}
			if st = w.by[name].status(ctx, t); st.Reach.Kind != want {
				t.Errorf("%s says it is reached %s", name, st.Reach.Kind)
			}
		}
		stop()
		t.Logf("%s: %s; paid for %d items; its visitor: %s", name, st.Reach.Kind, paid[name], <-left)
		if paid[name] == 0 {
			t.Errorf("%s was not paid for anything", name)
		}
	}
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
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
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
