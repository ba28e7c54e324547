package chainnode

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/consensus"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/proxy"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	"github.com/cometbft/cometbft/rpc/client/local"
	rpccore "github.com/cometbft/cometbft/rpc/core"
	rpcserver "github.com/cometbft/cometbft/rpc/jsonrpc/server"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"

	"github.com/gotong-network/gotong/app"
)

// ErrInUse reports a home that another process has open.
var ErrInUse = errors.New("home of the chain node is in use by another process")

// Config is how a node runs; zero values give the defaults.
type Config struct {
	RPC       string        // host:port of the RPC server; port 0 takes a free one; empty: no server
	P2P       string        // host:port for CometBFT's peers; default 127.0.0.1:0
	BlockTime time.Duration // wait between a block's commit and the next height; default 500 ms
	Conserve  bool          // halt the chain if money is not conserved
	Log       *slog.Logger  // default: none

	// Peers are nodes to stay connected to, Seeds nodes that know others, both as
	// id@host:port. External is the host:port at which others reach this node, if it
	// is not P2P: of a translator of addresses, or of a name.
	Peers, Seeds []string
	External     string
	// Exchange lets the node tell and learn the addresses of others. Of a public
	// network only routable addresses count.
	Exchange, Public bool

	// Every so many blocks a snapshot of the state is made, from which new nodes
	// begin, and Snapshots of them are kept; 0: none, and nobody can begin from here.
	SnapshotEvery uint64
	Snapshots     uint32 // default 2
	// KeepBlocks is how many blocks with their results stay at least; 0: all. Never
	// fewer than evidence of signing twice may be old, nor than a node that begins
	// from a snapshot asks for.
	KeepBlocks uint64
	// Sync lets a home without blocks begin from a snapshot of others.
	Sync *StateSync
	// Watch keeps the node from signing while another one does with the same key; nil:
	// it signs at once, as a network in one home may.
	Watch *Watch
	// Wrap changes the application as consensus sees it, for dishonest validators of
	// tests; nil: nothing is changed.
	Wrap func(abci.Application) abci.Application
	// Upgrades beside those of this version of the program, for tests.
	Upgrades []app.Upgrade
}

// StateSync is where a node without blocks takes its first state from. It is verified
// against the trusted header, as a light client does it; what lies below it is never
// there: such a node cannot serve old blocks.
type StateSync struct {
	RPCs        []string // http://host:port of at least one node; two that do not collude are better
	TrustHeight int64
	TrustHash   []byte
	Period      time.Duration // how old the trusted header may be; default 14 days
}

// Bounds of what strangers can make the node hold.
const (
	maxTxBytes   = 4 << 20
	mempoolTxs   = 20_000
	mempoolBytes = 256 << 20
	rpcBodyBytes = 16 << 20
	// The work of blocks that this node proposes, in messages: see app.Options.
	weightPerSec     = 1000
	leastBlockWeight = 400
	rpcStopTimeout   = 2 * time.Second
	proposeTimeout   = time.Second
	minGossipPause   = 10 * time.Millisecond
	maxGossipPause   = 100 * time.Millisecond
	defaultInterval  = 500 * time.Millisecond
	defaultPeriod    = 14 * 24 * time.Hour
	// snapshotSearch is how long offers of snapshots are collected: CometBFT takes no
	// less than 5 s.
	snapshotSearch = 5 * time.Second
	// snapshotPatience is how long Stop waits for a snapshot.
	snapshotPatience = 2 * time.Minute
	snapshotPause    = 50 * time.Millisecond
)

// Node is an opened node.
type Node struct {
	config Config
	id     string
	chain  string
	app    *app.App
	comet  *cmtnode.Node
	local  *guarded
	rpc    *http.Server
	addr   string // of the RPC server
	dbs    databases

	stop    sync.Once
	serving sync.WaitGroup

	signer  *signer // nil without a watch
	others  []*rpchttp.HTTP
	endLook context.CancelFunc
	looking sync.WaitGroup

	fail   sync.Once
	failed chan struct{}
	cause  error // set before failed is closed
}

// Open opens a home and replays what its last process left unfinished. A node that
// was opened must be stopped, started or not.
func Open(home string, c Config) (*Node, error) {
	c = c.withDefaults()
	doc, err := loadGenesis(home)
	if err != nil {
		return nil, err
	}
	keys, err := loadKeys(home)
	if err != nil {
		return nil, err
	}
	n := &Node{config: c, id: string(keys.peer.ID()), chain: doc.ChainID, failed: make(chan struct{})}
	var signs cmttypes.PrivValidator = keys.validator
	if c.Watch != nil {
		if n.others, err = c.Watch.dial(); err != nil {
			return nil, err
		}
		n.signer = n.newSigner(home, keys)
		signs = n.signer
	}
	if err := clearUnborn(home); err != nil {
		return nil, err
	}
	db, err := dbm.NewDB("application", dbm.GoLevelDBBackend, filepath.Join(home, "data"))
	if err != nil {
		return nil, openError(home, err)
	}
	n.app, err = app.New(app.Options{Chain: doc.ChainID, DB: db, Log: sdkLog{cometLog{c.Log}}, VRF: keys.vrf, Conserve: c.Conserve, BlockWeight: c.blockWeight(),
		Snapshots: app.Snapshots{Dir: filepath.Join(home, "data", "snapshots"), Every: c.SnapshotEvery, Keep: c.Snapshots}, KeepBlocks: c.KeepBlocks, Upgrades: c.Upgrades})
	if err != nil {
		return nil, err // it closed the database
	}
	f, err := c.comet(home)
	if err != nil {
		return nil, errors.Join(err, n.app.Close())
	}
	var seen abci.Application = abciApp{n.app, n.halt}
	if c.Wrap != nil {
		seen = c.Wrap(seen)
	}
	n.comet, err = cmtnode.NewNode(f, signs, keys.peer, proxy.NewLocalClientCreator(seen),
		func() (*cmttypes.GenesisDoc, error) { return doc, nil }, n.dbs.open, cmtnode.DefaultMetricsProvider(&cmtcfg.InstrumentationConfig{}), cometLog{c.Log})
	if err != nil {
		if n.Err() != nil { // CometBFT passes on its text only
			err = n.Err()
		}
		return nil, errors.Join(openError(home, err), n.app.Close(), n.dbs.close())
	}
	n.local = &guarded{Local: local.New(n.comet)}
	return n, nil
}

func (c Config) withDefaults() Config {
	if c.P2P == "" {
		c.P2P = "127.0.0.1:0"
	}
	if c.BlockTime == 0 {
		c.BlockTime = defaultInterval
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// blockWeight is how many messages this node proposes in a block: so many a second that
// executing them takes a part of the interval, on a machine of two slow cores.
func (c Config) blockWeight() int {
	return max(leastBlockWeight, int(c.BlockTime*weightPerSec/time.Second))
}

// comet is the configuration of CometBFT.
func (c Config) comet(home string) (*cmtcfg.Config, error) {
	f := cmtcfg.DefaultConfig().SetRoot(home)
	f.DBBackend = string(cmtdb.GoLevelDBBackend)
	f.Consensus.TimeoutCommit, f.Consensus.TimeoutPropose = c.BlockTime, proposeTimeout
	f.Consensus.PeerGossipSleepDuration = gossipPause(c.BlockTime)
	f.Mempool.Size, f.Mempool.MaxTxsBytes, f.Mempool.MaxTxBytes, f.Mempool.CacheSize = mempoolTxs, mempoolBytes, maxTxBytes, 2*mempoolTxs
	f.TxIndex.Indexer = "null" // results are read by height
	f.RPC.ListenAddress = ""   // served by Node, which knows its port
	f.RPC.MaxBodyBytes = rpcBodyBytes
	f.P2P.ListenAddress = "tcp://" + c.P2P
	f.P2P.PersistentPeers, f.P2P.Seeds = strings.Join(c.Peers, ","), strings.Join(c.Seeds, ",")
	f.P2P.ExternalAddress = c.External
	f.P2P.PexReactor, f.P2P.AddrBookStrict, f.P2P.AllowDuplicateIP = c.Exchange, c.Public, !c.Public
	f.P2P.FlushThrottleTimeout = 10 * time.Millisecond
	if s := c.Sync; s != nil {
		y := f.StateSync
		y.Enable, y.RPCServers, y.TrustPeriod = true, s.RPCs, s.Period
		if len(y.RPCServers) == 1 {
			y.RPCServers = append(y.RPCServers, s.RPCs[0]) // CometBFT wants a witness
		}
		if y.TrustPeriod == 0 {
			y.TrustPeriod = defaultPeriod
		}
		y.TrustHeight, y.TrustHash, y.DiscoveryTime = s.TrustHeight, hex.EncodeToString(s.TrustHash), snapshotSearch
	}
	for _, part := range []interface{ ValidateBasic() error }{f.P2P, f.StateSync} {
		if err := part.ValidateBasic(); err != nil {
			return nil, fmt.Errorf("chain node: %w", err)
		}
	}
	return f, nil
}

// gossipPause is how long CometBFT waits before it looks again for something that a
// peer lacks. A block takes several such waits, one for each proposal and vote on its
// way: with the default of 100 ms a chain of several validators cannot have blocks of
// 100 ms.
func gossipPause(blockTime time.Duration) time.Duration {
	return min(max(blockTime/10, minGossipPause), maxGossipPause)
}

func openError(home string, err error) error {
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), syscall.EAGAIN.Error()) {
		return fmt.Errorf("%s: %w", home, ErrInUse)
	}
	return fmt.Errorf("chain node in %s: %w", home, err)
}

// Start begins to make or follow blocks and serves RPC.
func (n *Node) Start() error {
	if n.config.RPC != "" {
		if err := n.serve(); err != nil {
			return err
		}
	}
	if n.signer != nil {
		n.signer.blocks = n.comet.BlockStore()
	}
	if err := n.comet.Start(); err != nil {
		return fmt.Errorf("chain node: %w", err)
	}
	if n.signer != nil {
		return n.startLookOut()
	}
	return nil
}

// startLookOut starts lookOut; close ends it.
func (n *Node) startLookOut() error {
	env, err := n.comet.ConfigureRPC()
	if err != nil {
		return fmt.Errorf("chain node: %w", err)
	}
	state, is := env.ConsensusState.(*consensus.State)
	if !is {
		return fmt.Errorf("chain node: consensus is a %T: %w", env.ConsensusState, errors.ErrUnsupported)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.endLook = cancel
	n.looking.Go(func() { n.lookOut(ctx, state) })
	n.looking.Go(func() { n.askAround(ctx) })
	return nil
}

// serve starts the RPC server.
func (n *Node) serve() error {
	env, err := n.comet.ConfigureRPC()
	if err != nil {
		return fmt.Errorf("chain node: RPC: %w", err)
	}
	l, err := net.Listen("tcp", n.config.RPC)
	if err != nil {
		return fmt.Errorf("chain node: RPC address %s: %w", n.config.RPC, err)
	}
	n.addr = l.Addr().String()
	n.rpc = &http.Server{Handler: n.handler(env), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(n.config.Log.Handler(), slog.LevelDebug)}
	n.serving.Go(func() {
		if err := n.rpc.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			n.config.Log.Error("RPC server ended", "err", err)
		}
	})
	return nil
}

func (n *Node) handler(env *rpccore.Environment) http.Handler {
	routes, log, mux := env.GetRoutes(), cometLog{n.config.Log}, http.NewServeMux()
	ws := rpcserver.NewWebsocketManager(routes, rpcserver.ReadLimit(rpcBodyBytes), rpcserver.OnDisconnect(func(remote string) {
		// Nothing to end is no fault.
		_ = n.comet.EventBus().UnsubscribeAll(context.Background(), remote)
	}))
	ws.SetLogger(log)
	mux.HandleFunc("/websocket", ws.WebsocketHandler)
	rpcserver.RegisterRPCFuncs(mux, routes, log)
	return http.MaxBytesHandler(mux, rpcBodyBytes)
}

// Stop ends the node and closes its home. It may be called more than once; only
// the first gives an error.
func (n *Node) Stop() (err error) {
	n.stop.Do(func() { err = n.close() })
	return err
}

func (n *Node) close() error {
	var errs []error
	n.local.close()
	if n.endLook != nil {
		n.endLook()
		n.looking.Wait()
	}
	if n.rpc != nil {
		ctx, cancel := context.WithTimeout(context.Background(), rpcStopTimeout)
		defer cancel()
		if n.rpc.Shutdown(ctx) != nil {
			errs = append(errs, n.rpc.Close())
		}
		n.serving.Wait()
	}
	if n.comet.IsRunning() {
		errs = append(errs, n.comet.Stop())
		n.comet.Wait()
		endOrphans(n.config.P2P)
	}
	n.awaitSnapshot()
	errs = append(errs, n.app.Close(), n.dbs.close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stopping the chain node: %w", err)
	}
	return nil
}

// awaitSnapshot lets a snapshot that is being made end: it reads the database. Only one
// operation on snapshots runs at a time, so that a harmless one tells.
func (n *Node) awaitSnapshot() {
	m := n.app.SnapshotManager()
	if m == nil {
		return
	}
	for range int(snapshotPatience / snapshotPause) {
		if _, err := m.Prune(m.GetKeepRecent()); !errors.Is(err, storetypes.ErrConflict) {
			return
		}
		time.Sleep(snapshotPause)
	}
}

// Chain is the chain's id.
func (n *Node) Chain() string { return n.chain }

// ID is the node's id for CometBFT's peers.
func (n *Node) ID() string { return n.id }

// RPC is the URL of the RPC server, empty without one. It is known once the node
// started.
func (n *Node) RPC() string {
	if n.addr == "" {
		return ""
	}
	return "http://" + n.addr
}

// Client speaks to the node without a network; after Stop it answers ErrStopped.
func (n *Node) Client() rpcclient.Client { return n.local }

// Failed is closed when the application refused a block that consensus had decided, so
// that the node makes no more blocks, or when another node signs with its key
// (ErrSignsElsewhere), so that it signs no more; Err says why.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err is why the node failed, nil if it did not.
func (n *Node) Err() error {
	select {
	case <-n.failed:
		return n.cause
	default:
		return nil
	}
}

// halt fails a node whose application cannot go on.
func (n *Node) halt(err error) { n.failWith(fmt.Errorf("the chain halted: %w", err)) }

func (n *Node) failWith(err error) {
	n.fail.Do(func() {
		n.cause = err
		close(n.failed)
		n.config.Log.Error("the node of the chain ends", "err", err)
	})
}
