package hosts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/netlab"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// asPoster makes a copy of the test binary a client that posts so many jobs of one item.
const asPoster = "GOTONG_E2E_POSTS"

// posts posts many small jobs while nodes of the chain are killed and started again and
// providers lose the network for moments: not one job is missed.
func posts(w *world, t *testing.T) {
	n := pick(60, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), pick(8*time.Minute, 25*time.Minute))
	defer cancel()
	r := draws(t)
	m := w.by["client1"]
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before, err := w.ledger(t).Supply(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cmd := m.Command(ctx, self)
	cmd.Env = append(os.Environ(), asPoster+"="+strconv.Itoa(n), "GOTONG_E2E_HOME="+m.home, "GOTONG_E2E_PROGRAM="+w.program)
	log, err := os.Create(m.log + ".posts")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // only added to
	cmd.Stderr = log
	began := time.Now()
	done := make(chan struct{})
	var out []byte
	go func() {
		defer close(done)
		out, err = cmd.Output()
	}()
	restarts, cuts := 0, 0
	for running := true; running; {
		pause := 5 * time.Second
		if restarts == 0 {
			pause = time.Second // few posts are over soon
		}
		select {
		case <-done:
			running = false
		case <-time.After(pause):
			v := w.role("validator")[r.IntN(validators)]
			if (killer{w: w}).spare(ctx, v) {
				v.kill()
				v.start(t)
				restarts++
			}
			p := w.role("provider")[r.IntN(providers)]
			w.breaks(t, p, 2*time.Second)
			cuts++
		}
	}
	var ids []string
	if jerr := json.Unmarshal(out, &ids); err != nil || jerr != nil {
		t.Fatalf("the poster: %v\n%s", errors.Join(err, jerr), m.log+".posts")
	}
	posted := time.Since(began)
	missed := map[string]bool{}
	for _, id := range ids {
		missed[id] = true
	}
	until(ctx, t, "every job is worked on and paid", left(ctx), func() error {
		l := w.ledger(t)
		for id := range missed {
			h, err := work.ParseHash(id)
			if err != nil {
				t.Fatal(err)
			}
			batches, err := l.Batches(ctx, h)
			if err != nil {
				return err
			}
			for _, b := range batches {
				if b, err := l.Batch(ctx, b); err == nil && b.Phase == lifecycle.Settled {
					delete(missed, id)
				}
			}
		}
		if len(missed) > 0 {
			return fmt.Errorf("%d of %d jobs are not paid yet", len(missed), len(ids))
		}
		return nil
	})
	t.Logf("%d jobs posted in %s while %d nodes were restarted and providers cut %d times; all worked on after %s",
		len(ids), posted.Round(time.Second), restarts, cuts, time.Since(began).Round(time.Second))
	if len(ids) != n || restarts == 0 || cuts == 0 {
		t.Errorf("%d of %d jobs were posted, %d restarts, %d cuts", len(ids), n, restarts, cuts)
	}
	if ok, difference, err := w.ledger(t).Conserved(ctx); err != nil || !ok {
		t.Errorf("the chain's money does not add up: %s (%v)", difference, err)
	}
	after, err := w.ledger(t).Supply(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if after.SlashBurn != before.SlashBurn {
		t.Errorf("somebody honest was slashed: %s burned", after.SlashBurn-before.SlashBurn)
	}
}

// left is what is left of a context's time.
func left(ctx context.Context) time.Duration {
	end, _ := ctx.Deadline()
	return time.Until(end)
}

// breaks cuts one machine off for a moment.
func (w *world) breaks(t *testing.T, m *machine, d time.Duration) {
	t.Helper()
	if err := w.lab.Cut([]*netlab.Host{m.Host}...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	w.heal(t)
}

// poster is the main function of a client that posts many jobs.
func poster() int {
	ids, err := postMany()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(ids); err != nil {
		return 1
	}
	return 0
}

func postMany() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	n, err := strconv.Atoi(os.Getenv(asPoster))
	if err != nil {
		return nil, err
	}
	h, err := home.Open(os.Getenv("GOTONG_E2E_HOME"))
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(os.Getenv("GOTONG_E2E_PROGRAM"))
	if err != nil {
		return nil, err
	}
	c, err := openClient(ctx, h)
	if err != nil {
		return nil, err
	}
	ids, errs := make([]string, n), make([]error, n)
	slots := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ids[i], errs[i] = postOne(ctx, c, program, i)
		})
	}
	wg.Wait()
	return ids, errors.Join(errs...)
}

func postOne(ctx context.Context, c *client.Client, program []byte, i int) (string, error) {
	r := client.Request{
		Program: client.BytesSource(program), Sources: client.Sources{}, Seed: 1, Tier: work.TierEconomic,
		List:   &work.ItemList{Args: []string{"mix", fmt.Sprintf("{i}-post-%d", i), "100000"}, Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: 1}},
		Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 1_000_000_000, OutputBytes: 1 << 20}, FuelPerItem: 5_000_000,
	}
	for {
		id, err := c.Post(ctx, r)
		var posted *client.Posted
		switch {
		case err == nil, errors.As(err, &posted): // its indexer serves it when it has seen it
			return id.String(), nil
		case ctx.Err() != nil:
			return "", errors.Join(ctx.Err(), err)
		}
		fmt.Fprintln(os.Stderr, "post", i, err)
		time.Sleep(time.Second) // the node that was asked is being started again
	}
}

// openClient opens a client as gotong does.
func openClient(ctx context.Context, h *home.Home) (*client.Client, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	network, err := h.ReadNetwork()
	if err != nil {
		return nil, err
	}
	key, err := h.LoadKey(h.Info().Key, func() (string, error) { return "", errors.New("the key is encrypted") })
	if err != nil {
		return nil, err
	}
	l, err := member.Dial(ctx, h, log)
	if err != nil {
		return nil, err
	}
	account := l.AddKey([32]byte(key.Secret()))
	peer, err := sign.NewKey()
	if err != nil {
		return nil, err
	}
	net, err := libp2p.New(ctx, libp2p.Config{Key: peer, Chain: network.Chain, Bootstrap: func() []p2p.Peer { return network.Bootstrap }, Log: log})
	if err != nil {
		return nil, err
	}
	parties, err := l.Parties(ctx, lifecycle.RoleIndexer)
	if err != nil || len(parties) == 0 {
		return nil, fmt.Errorf("%w: no indexer (%v)", ledger.ErrUnreachable, err)
	}
	x := parties[0]
	return client.New(client.Config{Chain: network.Chain, Account: account, Key: peer, Ledger: l, Net: net, IndexerOwner: x.Account, Profile: gw1.Version,
		Dir: h.Path("client"), Indexer: func() (p2p.Peer, error) { return p2p.Peer{Key: x.Peer}, nil }, Log: log})
}
