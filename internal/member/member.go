package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/inventory"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// What callers branch on.
var (
	ErrLocal   = errors.New("home of a local network") // where a member's is needed
	ErrNoRoles = errors.New("home plays no role")
	ErrClock   = errors.New("the clock is wrong")
	ErrNoChain = errors.New("this program has no node of the chain inside")
)

// DefaultPrice is what a provider asks if its owner says nothing, in ugtg per work
// unit.
const DefaultPrice work.Price = 1000

// Options are how a home is run.
type Options struct {
	Home *home.Home
	Key  *home.Key // the account of all roles
	// OpenChain opens a validator's node; nil in programs without the chain.
	OpenChain OpenChain
	Log       *slog.Logger
	// Ready is called once all roles play. nil: nobody waits.
	Ready func(Status)
}

// Node is a member's home that runs.
type Node struct {
	opts     Options
	home     *home.Home
	network  home.Network
	settings home.Settings
	peerKey  sign.PrivateKey
	log      *slog.Logger
	started  time.Time

	chain   Chain  // nil without a node of its own
	ledger  Ledger // holds the account's key
	node    *node.Node
	figures *figures // nil: nobody asked for them

	mu       sync.Mutex // guards what follows
	phase    string     // what it is waiting for; empty: nothing
	machine  machine
	draining context.CancelFunc // ends the wait of a drain; nil: none runs
	drains   sync.WaitGroup
	earned   *Earnings // nil before they are counted
}

// Run runs a home until ctx ends or something fails; then everything has stopped.
func Run(ctx context.Context, o Options) (err error) {
	n, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if n.figures, err = n.openFigures(); err != nil {
		return err
	}
	control, err := n.listen()
	if err != nil {
		return err
	}
	var side sync.WaitGroup
	defer side.Wait()
	defer cancel()
	side.Go(func() { control.serve(ctx) })
	side.Go(func() { n.watchMachine(ctx) })
	side.Go(func() {
		<-ctx.Done()
		n.stopDrain()
	})
	if n.figures != nil {
		side.Go(func() { n.figures.serve(ctx, n.log) })
	}
	failed := make(chan error, 1)
	if n.chain != nil {
		side.Go(func() {
			select {
			case <-ctx.Done():
			case <-n.chain.Failed():
				failed <- n.chain.Err()
				cancel()
			}
		})
	}
	err = n.play(ctx)
	for errors.Is(err, blob.ErrFull) && n.waitForRoom(ctx, err) {
		err = n.play(ctx)
	}
	cancel()
	select {
	case cause := <-failed:
		return errors.Join(cause, err)
	default:
		return err
	}
}

// open takes the home and opens the chain.
func open(ctx context.Context, o Options) (_ *Node, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	n := &Node{opts: o, home: o.Home, log: o.Log, started: time.Now()}
	if err := n.check(); err != nil {
		return nil, err
	}
	if err := o.Home.Lock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if n.network, err = o.Home.ReadNetwork(); err != nil {
		return nil, err
	}
	if n.settings, err = o.Home.ReadSettings(); err != nil {
		return nil, err
	}
	if n.peerKey, err = o.Home.SeedKey("peer.key"); err != nil {
		return nil, err
	}
	if err := n.fitToStart(ctx); err != nil {
		return nil, err
	}
	if n.has(home.RoleValidator) {
		if n.chain, err = o.OpenChain(ctx, n.chainConfig()); err != nil {
			return nil, err
		}
		n.ledger = n.chain.Ledger()
	} else if n.ledger, err = n.dialPatiently(ctx); err != nil {
		return nil, err
	}
	if a := n.ledger.AddKey([32]byte(o.Key.Secret())); a != o.Key.Address {
		return nil, fmt.Errorf("key %s signs as %s: %w", o.Key, a, home.ErrDamaged)
	}
	return n, nil
}

// check refuses homes that cannot be run.
func (n *Node) check() error {
	i := n.home.Info()
	switch {
	case i.Kind != home.Member:
		return fmt.Errorf("%s is the %w (`gotong up` runs it): join a network with another --home", n.home.Dir(), ErrLocal)
	case len(i.Roles) == 0:
		return fmt.Errorf("%s: %w, it is a client's: nothing has to run for it. Give it one with `gotong network join INVITE --as provider`", n.home.Dir(), ErrNoRoles)
	case i.Has(home.RoleValidator) && n.opts.OpenChain == nil:
		return fmt.Errorf("%s is a validator's: %w: use gotong", n.home.Dir(), ErrNoChain)
	}
	return nil
}

func (n *Node) has(role string) bool { return n.home.Info().Has(role) }

// play waits for what the roles need and then plays them.
func (n *Node) play(ctx context.Context) error {
	if err := n.waitForChain(ctx); err != nil {
		return stopped(ctx, err)
	}
	if err := n.register(ctx); err != nil {
		return stopped(ctx, err)
	}
	c, err := n.config(ctx)
	if err != nil {
		return stopped(ctx, err)
	}
	m, err := node.New(ctx, c)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.node, n.phase = m, ""
	n.mu.Unlock()
	n.steer()
	n.log.Info("node runs", "account", n.opts.Key.Address, "roles", n.home.Info().Roles, "peer", m.Self().Key, "addrs", m.Self().Addrs)
	if n.opts.Ready != nil {
		n.opts.Ready(n.Status(ctx))
	}
	return n.run(ctx, m)
}

// run runs the node; beside it the account becomes a validator if it shall be one,
// and what it earns is counted.
func (n *Node) run(ctx context.Context, m *node.Node) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	validator := make(chan error, 1)
	var side sync.WaitGroup
	side.Go(func() {
		var err error
		if n.chain != nil {
			err = stopped(ctx, n.becomeValidator(ctx))
		}
		if err != nil {
			cancel()
		}
		validator <- err
	})
	side.Go(func() {
		if err := n.countEarnings(ctx); err != nil { // figures for people: work goes on
			n.log.Error("earnings are not counted", "err", err)
		}
	})
	err := m.Run(ctx)
	cancel()
	side.Wait()
	return errors.Join(err, <-validator)
}

// stopped is no error if it was wanted.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// waiting says what the node waits for, in its status and once in the log.
func (n *Node) waiting(what string) {
	n.mu.Lock()
	news := n.phase != what
	n.phase = what
	n.mu.Unlock()
	if news && what != "" {
		n.log.Warn("waiting", "for", what)
	}
}

// config is the node's configuration by the home's roles and settings.
func (n *Node) config(ctx context.Context) (node.Config, error) {
	i := n.home.Info()
	c := node.Config{
		Dir: n.home.Path("node"), Cache: n.home.Path("cache"), Chain: i.Chain, Account: n.opts.Key.Address, Key: n.peerKey, Ledger: n.ledger,
		Listen: n.settings.Listen, Known: n.known, Bootstrap: n.known, Reach: p2p.ReachKind(n.settings.Reach), Relay: n.settings.Relay,
		Light: n.settings.Light, Log: n.log, Referee: n.has(home.RoleValidator),
	}
	if n.figures != nil {
		c.Metrics = n.figures.Metrics
	}
	slots := n.settings.Slots
	if slots == 0 {
		slots = runtime.GOMAXPROCS(0)
	}
	if n.has(home.RoleIndexer) {
		c.Indexer = &node.Indexer{AllOwn: i.Private, FeePermille: n.settings.FeePermille, Regions: n.settings.Hear}
	}
	if n.has(home.RoleChecker) {
		c.Checker = &node.Checker{Slots: slots}
	}
	if n.has(home.RoleProvider) {
		p, err := n.provider(ctx, slots)
		if err != nil {
			return c, err
		}
		c.Provider = p
	}
	return c, nil
}

func (n *Node) provider(ctx context.Context, slots int) (*node.Provider, error) {
	price := work.Amount(DefaultPrice)
	if n.settings.Price != "" {
		var err error
		if price, err = work.ParseAmount(n.settings.Price); err != nil {
			return nil, fmt.Errorf("%s: price: %w", n.home.Path("node.json"), err)
		}
	}
	n.waiting("the measurement of this machine's speed")
	hardware := inventory.Read("/", n.home.Dir())
	speed, err := wasm.Benchmark(ctx, wasm.Config{Dir: n.home.Path("cache"), Log: n.log})
	if err != nil {
		return nil, err
	}
	p := &node.Provider{Paused: n.held(), Slots: slots, Price: work.Price(price), FuelPerSec: speed, MemoryBytes: hardware.MemoryBytes / 2, Hardware: hardware,
		Region: n.settings.Region, Attestations: n.attestations}
	if p.Limits, err = Limits(n.settings); err != nil {
		return nil, fmt.Errorf("%s: %w", n.home.Path("node.json"), err)
	}
	if n.home.Info().Private {
		p.Own = func(work.Address) bool { return true } // a private network is one owner's
	}
	return p, nil
}

// attestations are what attesters say about this home, as it is kept now.
func (n *Node) attestations() []work.Attestation {
	all, err := n.home.Attestations()
	if err != nil {
		n.log.Warn("attestations are not offered", "err", err)
	}
	return all
}

// known are the peers that a network begins with, without this one.
func (n *Node) known() []p2p.Peer {
	return slices.DeleteFunc(slices.Clone(n.network.Bootstrap), func(p p2p.Peer) bool { return p.Key == n.peerKey.Public() })
}

// close ends what open began.
func (n *Node) close() error {
	var errs []error
	if n.ledger != nil {
		errs = append(errs, n.ledger.Close())
	}
	if n.chain != nil {
		errs = append(errs, n.chain.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(n.home.Path("control.sock")), n.home.Unlock())...)
}
