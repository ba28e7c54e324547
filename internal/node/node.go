// Package node puts one participant together: a peer with an account that plays
// some of the roles, over the real adapters. It is a value: New opens what is
// durable, Run plays the roles until its context ends, and everything that was
// started has stopped when Run returns.
//
// It promises plain wiring, one constructor per part, top to bottom. It decides
// nothing that a role decides, and keeps no state of its own: each role has its
// folder below the node's.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/checker"
	"github.com/gotong-network/gotong/internal/indexer"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/limits"
	"github.com/gotong-network/gotong/internal/metrics"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/referee"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Config is one participant.
type Config struct {
	Dir     string // everything durable
	Cache   string // compiled programs, shared by the nodes of a machine
	Chain   string
	Account work.Address
	Key     sign.PrivateKey // peer key
	Ledger  ledger.Ledger   // holds Account's key
	Listen  []string        // multiaddrs; empty: loopback, any port
	// Bootstrap makes the node part of a network of strangers, found from these peers:
	// see libp2p.Config. nil: a network of known addresses.
	Bootstrap func() []p2p.Peer
	Reach     p2p.ReachKind // what the owner knows of it; empty: find out
	Relay     bool          // carry the connections of bonded parties that cannot be dialled
	Light     bool          // one of many on a machine
	// Known finds peers that are asked for blobs or gossip: bootstrap of a network
	// without discovery. Called whenever it is needed.
	Known func() []p2p.Peer
	Log   *slog.Logger
	// Metrics counts what the node does; nil: nobody does.
	Metrics *metrics.Metrics
	// Runtime executes in place of the sandbox, for measuring what is around
	// execution; the node closes it. nil: the sandbox.
	Runtime runtime.Runtime

	// WrapNet and Wrap change the network and the runtime of all roles; for
	// adversaries of tests and the demo. nil: as they are.
	WrapNet func(p2p.Network) p2p.Network
	Wrap    func(runtime.Runtime) runtime.Runtime

	Provider *Provider
	Indexer  *Indexer
	Checker  *Checker
	Referee  bool
}

// Provider is how the provider's role is played.
type Provider struct {
	Slots       int // items at once; 0: one, or with limits as many as cores
	Price       work.Price
	FuelPerSec  work.Fuel // of a slot, until work has measured it
	MemoryBytes uint64    // for items, all slots together
	BatchTime   time.Duration
	// Wrap changes the runtime; for adversaries of tests and the demo. nil: as it is.
	Wrap func(runtime.Runtime) runtime.Runtime
	// Own reports clients that are served off the chain, unpaid (tier none).
	Own func(work.Address) bool
	// NoCommons leaves idle slots idle instead of working on the commons.
	NoCommons bool
	Region    string // ISO 3166 code, its owner's word; empty: unstated
	Hardware  work.Hardware
	// Attestations gives what attesters say about the peer key; nil: nothing.
	Attestations func() []work.Attestation
	// Paused begins paused, as its owner left it.
	Paused bool
	// Limits are what of the machine is given; nil: all.
	Limits *limits.Config
}

// Checker is how the checker's role is played.
type Checker struct{ Slots int }

// Indexer is how the indexer's role is played.
type Indexer struct {
	Own []work.Address // providers that serve tier none
	// AllOwn lets every provider serve tier none: in a private network all are the
	// owner's.
	AllOwn bool
	// Regions are the countries whose offers are heard; empty: all.
	Regions []string
	// FeePermille is what it asks for a job, in thousandths of the pay, on top of it.
	FeePermille uint32
}

// Node is one participant.
type Node struct {
	cfg   Config
	net   *libp2p.Network
	peers p2p.Network // net as the roles see it
	blobs *blob.FileStore
	fetch *blob.NetFetcher
	// fetcher is fetch as the roles see it.
	fetcher blob.Fetcher
	rt      runtime.Runtime  // nil if no role executes
	index   *indexer.Indexer // nil without the role
	prov    *provider.Provider
	roles   []role

	governor *limits.Governor // nil without limits

	where   addresses
	outputs []func(context.Context, sign.PublicKey, wire.OutputRequest) *wire.Output
}

type role struct {
	name string
	run  func(context.Context) error
}

// New opens the node's folder and its parts; nothing is said to anybody before
// Run.
func New(ctx context.Context, cfg Config) (_ *Node, err error) {
	if cfg.Provider != nil {
		cfg.Provider = cfg.Provider.withDefaults()
	}
	cfg.Ledger = cfg.Metrics.Ledger(cfg.Ledger)
	n := &Node{cfg: cfg, where: addresses{of: map[sign.PublicKey][]string{}}}
	defer func() {
		if err != nil {
			err = fmt.Errorf("node %s: %w", filepath.Base(cfg.Dir), errors.Join(err, n.close()))
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	var may func(sign.PublicKey) bool
	if cfg.Relay {
		stakes := newBonded(cfg.Ledger)
		may = stakes.has
		n.roles = append(n.roles, role{"relay", stakes.run})
	}
	if n.net, err = libp2p.New(ctx, libp2p.Config{
		Key: cfg.Key, Listen: cfg.Listen, Chain: cfg.Chain, Bootstrap: cfg.Bootstrap, Reach: cfg.Reach,
		Relay: cfg.Relay, AllowReservation: may, Light: cfg.Light, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	n.peers = n.net
	if cfg.WrapNet != nil {
		n.peers = cfg.WrapNet(n.net)
	}
	n.peers = cfg.Metrics.Network(n.peers)
	if n.blobs, err = blob.OpenStore(filepath.Join(cfg.Dir, "blobs"), blob.Options{MaxBytes: cfg.diskLimit(), Log: cfg.Log}); err != nil {
		return nil, err
	}
	// Clients hand an indexer what their jobs need; nobody pushes to the others.
	accept := func(sign.PublicKey, work.BlobID) bool { return cfg.Indexer != nil }
	n.peers.Handle(p2p.ProtocolOutput, wire.ServeOutputs(n.output))
	n.peers.Handle(p2p.ProtocolBlob, blob.Server(n.blobs, blob.ServerOptions{AcceptPush: accept, Log: cfg.Log}))
	n.fetch = blob.NewFetcher(n.peers, n.blobs, blob.FetcherOptions{Log: cfg.Log})
	n.fetcher = cfg.Metrics.Fetcher(n.fetch, n.blobs)

	n.rt = cfg.Runtime
	if slots := cfg.slots(); slots > 0 && n.rt == nil {
		if n.rt, err = wasm.New(wasm.Config{Dir: cfg.Cache, Blobs: n.blobs, Slots: slots, Limited: cfg.owned() != nil, Log: cfg.Log}); err != nil {
			return nil, err
		}
	}
	if err := n.addLimits(); err != nil {
		return nil, err
	}
	if n.rt != nil && cfg.Wrap != nil {
		n.rt = cfg.Wrap(n.rt)
	}
	for _, add := range []func() error{n.addIndexer, n.addProvider, n.addChecker, n.addReferee} {
		if err := add(); err != nil {
			return nil, err
		}
	}
	// A relay passes offers on: providers behind it know no indexer's address.
	if cfg.Checker != nil || cfg.Referee || cfg.Relay && cfg.Indexer == nil {
		n.roles = append(n.roles, role{"listener", n.hearOffers})
	}
	n.figures()
	return n, nil
}

func (c *Config) slots() (n int) {
	if c.Provider != nil {
		n += max(c.Provider.Slots, 1)
	}
	if c.Checker != nil {
		n += max(c.Checker.Slots, 1)
	}
	if c.Referee {
		n++
	}
	return n
}

// Self is how others reach the node.
func (n *Node) Self() p2p.Peer { return n.net.Self() }

// Reach is how strangers come to the node.
func (n *Node) Reach() p2p.Reach { return n.net.Reach() }

// Serving is closed once the node's indexer answers clients; nil without one.
func (n *Node) Serving() <-chan struct{} {
	if n.index == nil {
		return nil
	}
	return n.index.Serving()
}

// Provider is the node's provider, for its owner's commands; nil without the role.
func (n *Node) Provider() *provider.Provider { return n.prov }

// Indexer is the node's indexer, for its owner's commands; nil without the role.
func (n *Node) Indexer() *indexer.Indexer { return n.index }

// Peers is how many peers the node is connected to.
func (n *Node) Peers() int { return n.net.Peers() }

// Network is the node's port to peers, for clients in the same process.
func (n *Node) Network() p2p.Network { return n.net }

// Run plays the roles until ctx ends or one of them fails, then stops all.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
	)
	connected := make(chan struct{})
	wg.Go(func() {
		n.connect(ctx)
		close(connected)
		t := time.NewTicker(reconnectEvery)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				n.connect(ctx)
			}
		}
	})
	select {
	case <-connected:
	case <-time.After(connectFirst):
	case <-ctx.Done():
	}
	for _, r := range n.roles {
		wg.Go(func() {
			err := r.run(ctx)
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				mu.Lock()
				errs = append(errs, fmt.Errorf("%s of %s: %w", r.name, n.cfg.Account, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, n.close())...)
}

const (
	// reconnectEvery is how often a node looks whether it still has its known peers.
	reconnectEvery = 5 * time.Second
	// connectFirst is how long the roles wait for the known peers: what they say first
	// reaches somebody then. Peers that are off must not keep a node from its work.
	connectFirst = time.Second
)

// connect connects to the known peers, all at once; those it has cost nothing. Bootstrap
// peers are the network's own care.
func (n *Node) connect(ctx context.Context) {
	if n.cfg.Known == nil {
		return
	}
	var wg sync.WaitGroup
	for _, p := range n.cfg.Known() {
		if p.Key == n.cfg.Key.Public() {
			continue
		}
		wg.Go(func() {
			if err := n.net.Connect(ctx, p); err != nil && ctx.Err() == nil {
				n.cfg.Log.Warn("peer is not there", "peer", p.Key, "err", err)
			}
		})
	}
	wg.Wait()
}

func (n *Node) known() []p2p.Peer {
	self := n.cfg.Key.Public()
	var out []p2p.Peer
	for _, give := range []func() []p2p.Peer{n.cfg.Known, n.cfg.Bootstrap} {
		if give == nil {
			continue
		}
		for _, p := range give() {
			if p.Key != self && !slices.ContainsFunc(out, func(q p2p.Peer) bool { return q.Key == p.Key }) {
				out = append(out, p)
			}
		}
	}
	return out
}

func (n *Node) addIndexer() error {
	if n.cfg.Indexer == nil {
		return nil
	}
	var topics []string
	for _, r := range n.cfg.Indexer.Regions {
		topics = append(topics, wire.OfferTopic(n.cfg.Chain, work.ClassCPU, r))
	}
	x, err := indexer.New(indexer.Config{
		OfferTopics: topics,
		Chain:       n.cfg.Chain, Key: n.cfg.Key, Owner: n.cfg.Account, Ledger: n.cfg.Ledger, Net: n.peers, Blobs: n.blobs, Fetcher: n.fetcher,
		Dir: filepath.Join(n.cfg.Dir, "indexer"), Where: n.whereIs, FeePermille: n.cfg.Indexer.FeePermille, Own: n.cfg.Indexer.Own, AllOwn: n.cfg.Indexer.AllOwn, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.index = x
	n.outputs = append(n.outputs, x.Output)
	n.roles = append(n.roles, role{"indexer", x.Run})
	return nil
}

func (n *Node) addProvider() error {
	c := n.cfg.Provider
	if c == nil {
		return nil
	}
	rt := n.cfg.Metrics.Runtime(n.rt, "provider")
	if c.Wrap != nil {
		rt = c.Wrap(rt)
	}
	slots := 0 // a runtime that was given has its own
	if n.cfg.Runtime == nil {
		slots = max(c.Slots, 1)
	}
	var governor provider.Governor
	if n.governor != nil {
		governor = governed{n.governor}
	}
	p, err := provider.New(provider.Config{
		Chain: n.cfg.Chain, Account: n.cfg.Account, Owner: n.cfg.Account, Key: n.cfg.Key, Ledger: n.cfg.Ledger, Net: n.peers,
		Blobs: n.blobs, Fetcher: n.fetcher, Runtime: rt, Dir: filepath.Join(n.cfg.Dir, "provider"),
		MinPrice: c.Price, FuelPerSec: c.FuelPerSec, MemoryBytes: c.MemoryBytes, BatchTime: c.BatchTime, Own: c.Own,
		Region: c.Region, Hardware: c.Hardware, Attestations: c.Attestations,
		Slots: slots, Governor: governor, Paused: c.Paused, NoCommons: c.NoCommons, Holders: func(ctx context.Context, j *lifecycle.Job) []p2p.Peer { return n.holders(ctx, j, nil) }, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.prov = p
	n.outputs = append(n.outputs, p.Output)
	n.roles = append(n.roles, role{"provider", p.Run})
	return nil
}

func (n *Node) addChecker() error {
	if n.cfg.Checker == nil {
		return nil
	}
	c, err := checker.New(checker.Config{
		Chain: n.cfg.Chain, Account: n.cfg.Account, Ledger: n.cfg.Ledger, Blobs: n.blobs, Fetcher: n.fetcher, Runtime: n.cfg.Metrics.Runtime(n.rt, "checker"),
		Dir: filepath.Join(n.cfg.Dir, "checker"), Holders: n.holders, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.roles = append(n.roles, role{"checker", c.Run})
	return nil
}

func (n *Node) addReferee() error {
	if !n.cfg.Referee {
		return nil
	}
	r, err := referee.New(referee.Config{
		Chain: n.cfg.Chain, Account: n.cfg.Account, Ledger: n.cfg.Ledger, Net: n.peers, Blobs: n.blobs, Fetcher: n.fetcher, Runtime: n.cfg.Metrics.Runtime(n.rt, "referee"),
		Dir: filepath.Join(n.cfg.Dir, "referee"), Holders: n.holders, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.outputs = append(n.outputs, r.Output)
	n.roles = append(n.roles, role{"referee", r.Run}, role{"events", n.tellEvents})
	return nil
}

// Close ends the parts of a node that did not run; Run closes by itself.
func (n *Node) Close() error { return n.close() }

// close ends the parts, last opened first.
func (n *Node) close() error {
	var errs []error
	if n.fetch != nil {
		errs = append(errs, n.fetch.Close())
	}
	if n.net != nil {
		errs = append(errs, n.net.Close())
	}
	if n.rt != nil {
		errs = append(errs, n.rt.Close())
	}
	if n.blobs != nil {
		errs = append(errs, n.blobs.Close())
	}
	return errors.Join(errs...)
}
