// Package localnet runs a whole network in one process: a validator with its
// referee, an indexer, providers and checkers, each with its own keys, peer and
// folder, over the real chain, real peers on loopback and real sandboxes. It
// serves the demo, `gotong up` and tests.
//
// It promises that a home that ran before goes on where it was, also after the
// process was killed, and that Run returns only when everything has stopped. It
// decides nothing about work or money; adversaries are given to it as wrappers of
// a role's runtime, never written into a role.
package localnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/internal/adversary"
	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/inventory"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/node"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Names of the accounts of a local network; providers and checkers are numbered.
const (
	ClientKey    = "default"
	ValidatorKey = "validator"
	IndexerKey   = "indexer"
	FaucetKey    = "faucet" // founds accounts that come later
)

// What accounts begin with, and bond.
const (
	clientBalance  = 1_000_000 * work.UgtgPerGtg
	faucetBalance  = 10_000_000 * work.UgtgPerGtg
	memberBalance  = 10_000 * work.UgtgPerGtg
	validatorStake = 10_000 * work.UgtgPerGtg
	votingTime     = 10 * time.Second // of a proposal to governance
	votingDeposit  = 10 * work.UgtgPerGtg
	memberBond     = 1_000 * work.UgtgPerGtg
	indexerBond    = 1_000 * work.UgtgPerGtg
)

// MaxMembers bounds the providers and the checkers of one process.
const MaxMembers = 64

// Options are a local network.
type Options struct {
	Dir       string // its home
	Providers int    // 0: as many as it had before, or 2
	Checkers  int    // 0: as many as it had before, or 3
	// Validators of equal power, each with its referee; only a new home asks. Default 1.
	Validators int
	// Cheaters makes the first so many providers corrupt every item.
	Cheaters  int
	Price     work.Price    // what providers ask; default 1,000 ugtg per work unit
	BlockTime time.Duration // default 400 ms
	BatchTime time.Duration // default 10 s
	RPC       string        // host:port; default a free port of loopback
	Params    *lifecycle.Params
	// NoCommons keeps providers with nothing paid to do from working on the commons.
	NoCommons bool
	// Runtime gives each executing member its runtime in place of the sandbox, for
	// measuring what is around execution. nil: the sandbox.
	Runtime func() runtime.Runtime
	// Bond is what a provider or checker bonds when it comes, by its name; nil: 1,000 gtg.
	Bond func(name string) work.Amount
	// Change changes a member before it is opened; for adversaries of tests. It is
	// given the member's name. nil: nobody is changed.
	Change func(name string, c *node.Config)
	// ChangeChain changes a validator's node of the chain in the same way.
	ChangeChain func(name string, c *chainnode.Config)
	// Stake is what a validator of a new home stakes, by its name; nil: all the same.
	Stake func(name string) work.Amount
	Log   *slog.Logger
}

// state is local.json: what a restart must know.
type state struct {
	Providers  int `json:"providers"`
	Checkers   int `json:"checkers"`
	Validators int `json:"validators,omitempty"` // 0: one
}

// Network is a local network.
type Network struct {
	opts  Options
	home  *home.Home
	state state
	chain *chainnode.Node   // of the first validator: whom all roles ask
	other []*chainnode.Node // of the other validators
	nodes []*node.Node
	index *node.Node
	judge []*node.Node
	led   []*cosmos.Client
	names map[work.Address]string

	// What providers offer of this machine.
	fuelPerSec work.Fuel
	memory     uint64
	hardware   work.Hardware
}

// chainID is every local network's; homes keep them apart.
const chainID = "gotong-local"

// Open makes the home if there is none, takes its lock, starts the chain and
// opens every member. The network works once Run is called; Close must be called
// if it is not.
func Open(ctx context.Context, o Options) (_ *Network, err error) {
	o = o.withDefaults()
	if o.Providers > MaxMembers || o.Checkers > MaxMembers {
		return nil, fmt.Errorf("%d providers and %d checkers: a process holds at most %d of each", o.Providers, o.Checkers, MaxMembers)
	}
	n := &Network{opts: o, names: map[work.Address]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := n.openHome(); err != nil {
		return nil, err
	}
	measured := make(chan error, 1)
	go func() { measured <- n.measure(ctx) }() // beside the chain's first blocks
	if err := errors.Join(n.startChain(ctx), <-measured); err != nil {
		return nil, err
	}
	if err := n.openMembers(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

func (o Options) withDefaults() Options {
	if o.Price == 0 {
		o.Price = 1000
	}
	if o.BlockTime == 0 {
		o.BlockTime = 400 * time.Millisecond
	}
	if o.BatchTime == 0 {
		o.BatchTime = 10 * time.Second
	}
	if o.RPC == "" {
		o.RPC = "127.0.0.1:0"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// openHome opens or makes the home, and the keys of every member.
func (n *Network) openHome() error {
	h, err := home.Open(n.opts.Dir)
	if errors.Is(err, home.ErrAbsent) {
		h, err = home.Create(n.opts.Dir, home.Info{Kind: home.Local, Chain: chainID, Key: ClientKey})
	}
	if err != nil {
		return err
	}
	if k := h.Info().Kind; k != home.Local {
		return fmt.Errorf("%s is the home of a member of %s, not of a local network: use another --home", h.Dir(), h.Info().Chain)
	}
	if err := h.Lock(); err != nil {
		return err
	}
	n.home = h
	if err := n.loadState(); err != nil {
		return err
	}
	for _, name := range n.members() {
		k, err := n.key(name)
		if err != nil {
			return err
		}
		n.names[k.Address] = name
	}
	return nil
}

func (n *Network) loadState() error {
	b, err := os.ReadFile(n.home.Path("local.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		n.state = state{2, 3, max(n.opts.Validators, 1)}
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(b, &n.state); err != nil {
			return fmt.Errorf("%s: %w: local.json: %v", n.home.Dir(), home.ErrDamaged, err)
		}
	}
	if n.opts.Providers > 0 {
		n.state.Providers = n.opts.Providers
	}
	if n.opts.Checkers > 0 {
		n.state.Checkers = n.opts.Checkers
	}
	b, err = json.Marshal(n.state)
	if err != nil {
		return err
	}
	return home.WriteFile(n.home.Path("local.json"), append(b, '\n'), 0o600)
}

func providerName(i int) string { return fmt.Sprintf("provider-%d", i) }
func checkerName(i int) string  { return fmt.Sprintf("checker-%d", i) }

// ValidatorName is the account of a validator, from 0.
func ValidatorName(i int) string {
	if i == 0 {
		return ValidatorKey
	}
	return fmt.Sprintf("%s-%d", ValidatorKey, i)
}

// validators are the names of all validators.
func (n *Network) validators() (l []string) {
	for i := range max(n.state.Validators, 1) {
		l = append(l, ValidatorName(i))
	}
	return l
}

// members are the names of all accounts.
func (n *Network) members() []string {
	l := append([]string{ClientKey, IndexerKey, FaucetKey}, n.validators()...)
	for i := range n.state.Providers {
		l = append(l, providerName(i))
	}
	for i := range n.state.Checkers {
		l = append(l, checkerName(i))
	}
	return l
}

// key loads a member's account key, or makes it.
func (n *Network) key(name string) (*home.Key, error) {
	k, err := n.home.LoadKey(name, func() (string, error) {
		return "", errors.New("a local network's own key must not be encrypted")
	})
	if !errors.Is(err, home.ErrNoKey) {
		return k, err
	}
	if k, err = home.NewKey(name); err != nil {
		return nil, err
	}
	return k, n.home.SaveKey(k, "")
}

// chainDir is the home of a validator's chain node.
func (n *Network) chainDir(i int) string {
	if i == 0 {
		return n.home.Path("node", "chain")
	}
	return n.home.Path("node", fmt.Sprintf("chain-%d", i))
}

// startChain makes the genesis if there is none, and starts the validators.
func (n *Network) startChain(ctx context.Context) error {
	if last := len(n.validators()) - 1; !chainnode.Exists(n.chainDir(last)) {
		if err := n.initChain(); err != nil {
			return err
		}
	}
	addrs, peers, err := n.chainPeers()
	if err != nil {
		return err
	}
	for i := range addrs {
		conf := chainnode.Config{P2P: addrs[i], Peers: slices.Concat(peers[:i], peers[i+1:]), BlockTime: n.opts.BlockTime, Conserve: true, Log: n.opts.Log.With("part", "chain")}
		if i == 0 {
			conf.RPC = n.rpcAddress()
		}
		if n.opts.ChangeChain != nil {
			n.opts.ChangeChain(n.validators()[i], &conf)
		}
		c, err := chainnode.Open(n.chainDir(i), conf)
		if err != nil {
			return err
		}
		if i == 0 {
			n.chain = c
		} else {
			n.other = append(n.other, c)
		}
		if err := c.Start(); err != nil {
			return err
		}
	}
	return n.waitForBlocks(ctx)
}

// chainPeers gives each validator a free port of loopback, and the names of all.
func (n *Network) chainPeers() (addrs, peers []string, err error) {
	if len(n.validators()) == 1 {
		return []string{""}, []string{""}, nil // it has nobody to speak to
	}
	for i := range n.validators() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		defer l.Close() // all are taken until each has its own
		k, err := chainnode.MakeKeys(n.chainDir(i))
		if err != nil {
			return nil, nil, err
		}
		addrs = append(addrs, l.Addr().String())
		peers = append(peers, k.Peer+"@"+l.Addr().String())
	}
	return addrs, peers, nil
}

// rpcAddress is where the chain answers. Any port means the last one again if it is
// still free, so that whoever follows a job finds the network after a restart.
func (n *Network) rpcAddress() string {
	host, port, err := net.SplitHostPort(n.opts.RPC)
	if err != nil || port != "0" {
		return n.opts.RPC
	}
	last, err := n.home.ReadNetwork()
	if err != nil {
		return n.opts.RPC // it never ran, or nobody can have read where
	}
	address, ok := strings.CutPrefix(last.RPC, "http://"+host+":")
	if !ok {
		return n.opts.RPC
	}
	address = net.JoinHostPort(host, address)
	l, err := net.Listen("tcp", address)
	if err != nil {
		return n.opts.RPC
	}
	_ = l.Close() // it was only to see whether it is free
	return address
}

// initChain makes the validators' keys and the genesis, the last validator's at last.
func (n *Network) initChain() error {
	p := lifecycle.LocalParams()
	if n.opts.Params != nil {
		p = *n.opts.Params
	}
	g := app.GenesisConfig{Chain: chainID, Time: time.Now(), Params: p, Governance: app.Governance{Voting: votingTime, Deposit: votingDeposit}}
	for _, name := range n.members() {
		k, err := n.key(name)
		if err != nil {
			return err
		}
		balance := work.Amount(memberBalance)
		switch name {
		case ClientKey:
			balance = clientBalance
		case FaucetKey:
			balance = faucetBalance
		}
		g.Accounts = append(g.Accounts, app.Account{Address: k.Address, Balance: balance})
	}
	for i, name := range n.validators() {
		operator, err := n.key(name)
		if err != nil {
			return err
		}
		k, err := chainnode.MakeKeys(n.chainDir(i))
		if err != nil {
			return err
		}
		stake := work.Amount(validatorStake)
		if n.opts.Stake != nil {
			stake = n.opts.Stake(name)
		}
		g.Validators = append(g.Validators, k.Validator(operator.Address, stake))
	}
	for i := range n.validators() {
		if err := chainnode.WriteGenesis(n.chainDir(i), g); err != nil {
			return err
		}
	}
	return nil
}

// waitForBlocks returns once the chain makes blocks.
func (n *Network) waitForBlocks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	go func() {
		select {
		case <-n.chain.Failed():
			cancel()
		case <-ctx.Done():
		}
	}()
	l, err := n.ledgerOf()
	if err != nil {
		return err
	}
	st, err := l.Status(ctx)
	if err != nil {
		return fmt.Errorf("the chain does not answer: %w", err)
	}
	first := errors.New("a new block")
	err = l.Follow(ctx, st.Height+1, func(ledger.Block) error { return first })
	switch {
	case errors.Is(err, first):
		return nil
	case n.chain.Err() != nil:
		return n.chain.Err()
	}
	return fmt.Errorf("the chain makes no blocks: %w", err)
}

// ledgerOf gives a ledger that holds the keys of the named members.
func (n *Network) ledgerOf(names ...string) (*cosmos.Client, error) {
	l := cosmos.New(n.chain.Client())
	n.led = append(n.led, l)
	for _, name := range names {
		k, err := n.key(name)
		if err != nil {
			return nil, err
		}
		l.AddKey([32]byte(k.Secret()))
	}
	return l, nil
}

// measure takes the machine's speed and memory for the providers' offers.
func (n *Network) measure(ctx context.Context) (err error) {
	n.hardware = inventory.Read("/", n.home.Dir())
	n.memory = machineMemory() / 2 / uint64(max(n.state.Providers, 1))
	if n.opts.Runtime != nil {
		return nil // nothing is executed that could be measured
	}
	n.fuelPerSec, err = wasm.Benchmark(ctx, wasm.Config{Dir: n.home.Path("cache"), Log: n.opts.Log})
	return err
}

// machineMemory is the machine's memory in bytes.
func machineMemory() uint64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0 // unstated
	}
	return uint64(si.Totalram) * uint64(si.Unit)
}

// openMembers opens the indexer, then everybody else, and registers who is not.
func (n *Network) openMembers(ctx context.Context) error {
	own := make([]work.Address, n.state.Providers)
	for i := range own {
		k, err := n.key(providerName(i))
		if err != nil {
			return err
		}
		own[i] = k.Address
	}
	var err error
	if n.index, err = n.open(ctx, IndexerKey, func(c *node.Config) { c.Indexer = &node.Indexer{Own: own} }); err != nil {
		return err
	}
	for _, name := range n.validators() {
		judge, err := n.open(ctx, name, func(c *node.Config) { c.Referee = true })
		if err != nil {
			return err
		}
		n.judge = append(n.judge, judge)
	}
	for i := range n.state.Providers {
		if _, err := n.open(ctx, providerName(i), func(c *node.Config) {
			c.Provider = &node.Provider{Slots: 1, Price: n.opts.Price, FuelPerSec: n.fuelPerSec, MemoryBytes: n.memory, BatchTime: n.opts.BatchTime, Own: n.isClient,
				NoCommons: n.opts.NoCommons, Hardware: n.hardware}
			if i < n.opts.Cheaters {
				c.Provider.Wrap = adversary.CorruptRuntime
			}
		}); err != nil {
			return err
		}
	}
	for i := range n.state.Checkers {
		if _, err := n.open(ctx, checkerName(i), func(c *node.Config) { c.Checker = &node.Checker{Slots: 1} }); err != nil {
			return err
		}
	}
	return n.register(ctx)
}

// isClient reports whether an account may use tier none here.
func (n *Network) isClient(a work.Address) bool { return n.names[a] == ClientKey }

func (n *Network) open(ctx context.Context, name string, roles func(*node.Config)) (*node.Node, error) {
	k, err := n.key(name)
	if err != nil {
		return nil, err
	}
	pk, err := n.home.SeedKey("node", name, "peer.key")
	if err != nil {
		return nil, err
	}
	l, err := n.ledgerOf(name)
	if err != nil {
		return nil, err
	}
	c := node.Config{
		Dir: n.home.Path("node", name), Cache: n.home.Path("cache"), Chain: chainID, Account: k.Address, Key: pk,
		Ledger: l, Known: n.known, Log: n.opts.Log.With("node", name),
	}
	roles(&c)
	if n.opts.Runtime != nil && c.Indexer == nil {
		c.Runtime = n.opts.Runtime()
	}
	if n.opts.Change != nil {
		n.opts.Change(name, &c)
	}
	m, err := node.New(ctx, c)
	if err != nil {
		return nil, err
	}
	n.nodes = append(n.nodes, m)
	return m, nil
}

// known is everybody's way to the others: through the indexer.
func (n *Network) known() []p2p.Peer {
	if n.index == nil {
		return nil
	}
	return []p2p.Peer{n.index.Self()}
}

// register bonds the members that are not, founding those that came after the
// genesis.
func (n *Network) register(ctx context.Context) error {
	l, err := n.ledgerOf(n.members()...)
	if err != nil {
		return err
	}
	type member struct {
		name string
		role lifecycle.Role
		bond work.Amount
	}
	all := []member{{IndexerKey, lifecycle.RoleIndexer, indexerBond}}
	bond := n.opts.Bond
	if bond == nil {
		bond = func(string) work.Amount { return memberBond }
	}
	for i := range n.state.Providers {
		all = append(all, member{providerName(i), lifecycle.RoleProvider, bond(providerName(i))})
	}
	for i := range n.state.Checkers {
		all = append(all, member{checkerName(i), lifecycle.RoleChecker, bond(checkerName(i))})
	}
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, m := range all {
		wg.Go(func() { errs[i] = n.registerOne(ctx, l, m.name, m.role, m.bond) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (n *Network) registerOne(ctx context.Context, l ledger.Ledger, name string, role lifecycle.Role, bond work.Amount) error {
	k, err := n.key(name)
	if err != nil {
		return err
	}
	pk, err := n.home.SeedKey("node", name, "peer.key")
	if err != nil {
		return err
	}
	switch _, err := l.Party(ctx, role, k.Address); {
	case err == nil:
		return nil
	case !errors.Is(err, ledger.ErrNotFound):
		return fmt.Errorf("register %s: %w", name, err)
	}
	if has, err := l.Balance(ctx, k.Address); err != nil {
		return fmt.Errorf("register %s: %w", name, err)
	} else if has < bond {
		f, err := n.key(FaucetKey)
		if err != nil {
			return err
		}
		if _, err := l.Submit(ctx, f.Address, ledger.Send{To: k.Address, Amount: memberBalance}); err != nil {
			return fmt.Errorf("found %s: %w", name, err)
		}
	}
	if _, err := l.Submit(ctx, k.Address, ledger.Register{Role: role, Peer: pk.Public(), Bond: bond}); err != nil {
		return fmt.Errorf("register %s: %w", name, err)
	}
	return nil
}

// Run plays all roles until ctx ends or something fails, then stops everything.
// It calls ready once the network can be reached through its home.
func (n *Network) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
	)
	for _, m := range n.nodes {
		wg.Go(func() {
			defer cancel()
			if err := m.Run(ctx); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-n.chain.Failed():
			mu.Lock()
			errs = append(errs, n.chain.Err())
			mu.Unlock()
			if errors.Is(n.chain.Err(), app.ErrUpgrade) {
				n.awaitOthers(ctx)
			}
			cancel()
		}
	})
	if err := n.announce(ctx); err != nil {
		cancel()
		mu.Lock()
		errs = append(errs, err)
		mu.Unlock()
	} else if ready != nil && ctx.Err() == nil {
		ready()
	}
	wg.Wait()
	n.nodes = nil // each closed itself
	return errors.Join(append(errs, n.Close())...)
}

// upgradeWait bounds the wait for the other validators to get to an upgrade's height.
const upgradeWait = 10 * time.Second

// awaitOthers waits until the other validators have stopped for an upgrade too: one that
// was stopped a block before could be started by neither version.
func (n *Network) awaitOthers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, upgradeWait)
	defer cancel()
	for _, c := range n.other {
		select {
		case <-ctx.Done():
		case <-c.Failed():
		}
	}
}

// announce writes where the network answers, once it does.
func (n *Network) announce(ctx context.Context) error {
	select {
	case <-n.index.Serving():
	case <-ctx.Done():
		return nil
	}
	k, err := n.key(IndexerKey)
	if err != nil {
		return err
	}
	return n.home.WriteNetwork(home.Network{Chain: chainID, RPC: n.chain.RPC(), Indexer: n.index.Self(), IndexerOwner: k.Address, Referees: n.Referees(), Pid: os.Getpid()})
}

// Close ends what Open started. After Run there is nothing left to close.
func (n *Network) Close() error {
	var errs []error
	for _, m := range n.nodes {
		errs = append(errs, m.Close())
	}
	n.nodes = nil
	for _, l := range n.led {
		errs = append(errs, l.Close())
	}
	n.led = nil
	if n.chain != nil {
		errs = append(errs, n.chain.Stop())
		n.chain = nil
	}
	for _, c := range n.other {
		errs = append(errs, c.Stop())
	}
	n.other = nil
	if n.home != nil {
		errs = append(errs, n.home.Unlock())
	}
	return errors.Join(errs...)
}

// Home is the network's home.
func (n *Network) Home() *home.Home { return n.home }

// RPC is the URL of the chain's RPC server.
func (n *Network) RPC() string { return n.chain.RPC() }

// Chain is the chain's id.
func (n *Network) Chain() string { return chainID }

// Indexer is how the network's indexer is reached.
func (n *Network) Indexer() p2p.Peer { return n.index.Self() }

// Referees are how the network's referees are reached.
func (n *Network) Referees() (l []p2p.Peer) {
	for _, j := range n.judge {
		l = append(l, j.Self())
	}
	return l
}

// Conserved asks the chain to add up all its money: whether what accounts, escrows,
// bonds and pools hold is the supply.
func (n *Network) Conserved(ctx context.Context) (bool, error) {
	l, err := n.ledgerOf()
	if err != nil {
		return false, err
	}
	ok, _, err := l.Conserved(ctx)
	return ok, err
}

// Member is an account that plays a role.
type Member struct {
	Name    string
	Address work.Address
	Cheat   bool
}

// Members are the accounts of a local network.
type Members struct {
	Client, Indexer     work.Address
	Providers, Checkers []Member
}

// Members gives the accounts of all members.
func (n *Network) Members() (m Members) {
	m.Providers, m.Checkers = make([]Member, n.state.Providers), make([]Member, n.state.Checkers)
	for a, name := range n.names {
		switch name {
		case ClientKey:
			m.Client = a
		case IndexerKey:
			m.Indexer = a
		}
		for i := range m.Providers {
			if name == providerName(i) {
				m.Providers[i] = Member{name, a, i < n.opts.Cheaters}
			}
		}
		for i := range m.Checkers {
			if name == checkerName(i) {
				m.Checkers[i] = Member{name, a, false}
			}
		}
	}
	return m
}

// Ledger gives a ledger that holds the client's key, for a client in this process.
func (n *Network) Ledger() (ledger.Ledger, error) { return n.ledgerOf(ClientKey) }
