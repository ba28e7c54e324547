// Package app is the chain's application: the modules of the Cosmos SDK that it
// needs (accounts, bank, staking, slashing, distribution, governance, consensus
// parameters) and its own (registry, market, proof, reward, beacon), wired by hand in one
// readable list.
//
// It promises that the same blocks give the same state on every machine. It never
// does the network, keys' files or consensus: internal/chainnode runs it. Absent on
// purpose: inflation (no mint module: rewards follow useful work), contracts,
// bridges, dependency injection.
package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	abci "github.com/cometbft/cometbft/abci/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/gogoproto/proto"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	corestore "cosmossdk.io/core/store"
	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/baseapp/txnrunner"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/codec/address"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/std"
	pruningtypes "github.com/cosmos/cosmos-sdk/store/v2/pruning/types"
	"github.com/cosmos/cosmos-sdk/store/v2/snapshots"
	snapshottypes "github.com/cosmos/cosmos-sdk/store/v2/snapshots/types"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/x/auth"
	"github.com/cosmos/cosmos-sdk/x/auth/ante"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtx "github.com/cosmos/cosmos-sdk/x/auth/tx"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/bank"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/cosmos-sdk/x/consensus"
	consensuskeeper "github.com/cosmos/cosmos-sdk/x/consensus/keeper"
	consensustypes "github.com/cosmos/cosmos-sdk/x/consensus/types"
	distr "github.com/cosmos/cosmos-sdk/x/distribution"
	distrkeeper "github.com/cosmos/cosmos-sdk/x/distribution/keeper"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	"github.com/cosmos/cosmos-sdk/x/gov"
	govkeeper "github.com/cosmos/cosmos-sdk/x/gov/keeper"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	"github.com/cosmos/cosmos-sdk/x/slashing"
	slashingkeeper "github.com/cosmos/cosmos-sdk/x/slashing/keeper"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	"github.com/cosmos/cosmos-sdk/x/staking"
	stakingkeeper "github.com/cosmos/cosmos-sdk/x/staking/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
	txsigning "github.com/cosmos/cosmos-sdk/x/tx/signing"
	upgradekeeper "github.com/cosmos/cosmos-sdk/x/upgrade/keeper"
	upgradetypes "github.com/cosmos/cosmos-sdk/x/upgrade/types"

	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/beacon"
	beaconkeeper "github.com/gotong-network/gotong/x/beacon/keeper"
	beacontypes "github.com/gotong-network/gotong/x/beacon/types"
	"github.com/gotong-network/gotong/x/market"
	marketkeeper "github.com/gotong-network/gotong/x/market/keeper"
	markettypes "github.com/gotong-network/gotong/x/market/types"
	"github.com/gotong-network/gotong/x/proof"
	proofkeeper "github.com/gotong-network/gotong/x/proof/keeper"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	"github.com/gotong-network/gotong/x/registry"
	registrykeeper "github.com/gotong-network/gotong/x/registry/keeper"
	registrytypes "github.com/gotong-network/gotong/x/registry/types"
	"github.com/gotong-network/gotong/x/reward"
	rewardkeeper "github.com/gotong-network/gotong/x/reward/keeper"
	rewardtypes "github.com/gotong-network/gotong/x/reward/types"
)

// Prefixes of the text forms of keys and addresses.
func init() {
	c, p := sdk.GetConfig(), registrytypes.AddressPrefix
	c.SetBech32PrefixForAccount(p, p+"pub")
	c.SetBech32PrefixForValidator(p+"valoper", p+"valoperpub")
	c.SetBech32PrefixForConsensusNode(p+"valcons", p+"valconspub")
}

// moduleAccounts are the accounts that modules hold, with what each may do.
var moduleAccounts = map[string][]string{
	authtypes.FeeCollectorName:     nil,
	distrtypes.ModuleName:          nil,
	stakingtypes.BondedPoolName:    {authtypes.Burner, authtypes.Staking},
	stakingtypes.NotBondedPoolName: {authtypes.Burner, authtypes.Staking},
	govtypes.ModuleName:            {authtypes.Burner},
	markettypes.ModuleName:         {authtypes.Burner}, // escrows; burns the fee
	registrytypes.ModuleName:       {authtypes.Burner}, // bonds and unvested pay; burns slashes
	prooftypes.ModuleName:          {authtypes.Burner}, // stakes of disputes; burns lost ones
	rewardtypes.ModuleName:         {authtypes.Minter}, // pool of the commons; mints for paid work and for them
}

// Options are how a node wants its application.
type Options struct {
	Chain string
	DB    dbm.DB
	Log   log.Logger
	// VRF is the validator's key of the beacon; nil in a node that proposes nothing.
	VRF ed25519.PrivateKey
	// Conserve halts the chain at the end of a block in which money was not
	// conserved.
	Conserve bool
	// Snapshots of the state, from which other nodes begin.
	Snapshots Snapshots
	// KeepBlocks is how many blocks CometBFT must keep, 0: all.
	KeepBlocks uint64
	// BlockWeight bounds the work of a block that this node proposes, in messages, and
	// with it what waits in its mempool; 0: nothing but their bytes does.
	BlockWeight int
	// Upgrades beside those of this version: of tests.
	Upgrades []Upgrade
}

// Snapshots is where snapshots of the state are kept, and received ones put together;
// without Dir there are none.
type Snapshots struct {
	Dir   string
	Every uint64 // blocks; 0: none are made
	Keep  uint32 // default 2
}

// option opens the snapshots.
func (s Snapshots) option() (func(*baseapp.BaseApp), error) {
	if s.Dir == "" {
		return func(*baseapp.BaseApp) {}, nil
	}
	if s.Keep == 0 {
		s.Keep = 2
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("app: snapshots: %w", err)
	}
	db, err := dbm.NewDB("metadata", dbm.GoLevelDBBackend, s.Dir)
	if err != nil {
		return nil, fmt.Errorf("app: snapshots: %w", err)
	}
	store, err := snapshots.NewStore(db, s.Dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("app: snapshots: %w", err), db.Close())
	}
	return baseapp.SetSnapshot(store, snapshottypes.NewSnapshotOptions(s.Every, s.Keep)), nil
}

// Bounds of what the store keeps and caches.
const (
	keepVersions   = 1000 // heights whose state can be queried and proved
	pruneInterval  = 50   // heights between two prunings
	iavlCacheNodes = 200_000
)

// App is the application.
type App struct {
	*baseapp.BaseApp
	codec   codec.Codec
	manager *module.Manager
	beacon  beaconkeeper.Keeper
	proof   proofkeeper.Keeper

	upgrades upgrader
}

// New wires the application over a database and loads its latest state; without a
// committed height the database is emptied first. The database is closed with the
// application, or if there is an error: ErrUpgrade if this program is not the one that
// the next block needs.
func New(o Options) (_ *App, err error) {
	end := o.DB.Close
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	if err := clearUncommitted(o.DB); err != nil {
		return nil, err
	}
	// Codec.
	account := address.NewBech32Codec(registrytypes.AddressPrefix)
	validator := address.NewBech32Codec(registrytypes.AddressPrefix + "valoper")
	consensusAddress := address.NewBech32Codec(registrytypes.AddressPrefix + "valcons")
	interfaces, err := codectypes.NewInterfaceRegistryWithOptions(codectypes.InterfaceRegistryOptions{
		ProtoFiles:     proto.HybridResolver,
		SigningOptions: txsigning.Options{AddressCodec: account, ValidatorAddressCodec: validator},
	})
	if err != nil {
		return nil, fmt.Errorf("app: interface registry: %w", err)
	}
	cdc, amino := codec.NewProtoCodec(interfaces), codec.NewLegacyAmino()
	std.RegisterInterfaces(interfaces)
	std.RegisterLegacyAminoCodec(amino)
	txConfig := authtx.NewTxConfig(cdc, authtx.DefaultSignModes)

	// Base.
	withSnapshots, err := o.Snapshots.option()
	if err != nil {
		return nil, err
	}
	base := baseapp.NewBaseApp("gotong", o.Log, wholeDB{o.DB}, txConfig.TxDecoder(), withSnapshots, baseapp.SetMinRetainBlocks(o.KeepBlocks),
		baseapp.SetChainID(o.Chain), baseapp.SetIAVLCacheSize(iavlCacheNodes), baseapp.SetIAVLSyncPruning(true),
		baseapp.SetPruning(pruningtypes.NewCustomPruningOptions(keepVersions, pruneInterval)))
	end = base.Close // the database and the snapshots
	base.SetInterfaceRegistry(interfaces)
	base.SetTxEncoder(txConfig.TxEncoder())
	keys := storetypes.NewKVStoreKeys(authtypes.StoreKey, banktypes.StoreKey, stakingtypes.StoreKey, distrtypes.StoreKey, slashingtypes.StoreKey,
		govtypes.StoreKey, consensustypes.StoreKey, registrytypes.ModuleName, markettypes.ModuleName, prooftypes.ModuleName, rewardtypes.ModuleName,
		beacontypes.ModuleName, upgradetypes.StoreKey)
	store := func(name string) corestore.KVStoreService { return runtime.NewKVStoreService(keys[name]) }
	authority := authtypes.NewModuleAddress(govtypes.ModuleName).String()

	// Keepers of the SDK.
	consensusK := consensuskeeper.NewKeeper(cdc, store(consensustypes.StoreKey), authority, runtime.EventService{})
	base.SetParamStore(consensusK.ParamsStore)
	authK := authkeeper.NewAccountKeeper(cdc, store(authtypes.StoreKey), authtypes.ProtoBaseAccount, moduleAccounts, account, registrytypes.AddressPrefix, authority)
	bankK := bankkeeper.NewBaseKeeper(cdc, store(banktypes.StoreKey), authK, closedToSends(), authority, o.Log)
	rewardK, err := rewardkeeper.New(store(rewardtypes.ModuleName), bankK)
	if err != nil {
		return nil, fmt.Errorf("app: reward: %w", err)
	}
	counted := countedBank{bankK, rewardK}
	stakingK := stakingkeeper.NewKeeper(cdc, store(stakingtypes.StoreKey), authK, counted, authority, validator, consensusAddress)
	distrK := distrkeeper.NewKeeper(cdc, store(distrtypes.StoreKey), authK, bankK, stakingK, authtypes.FeeCollectorName, authority)
	slashingK := slashingkeeper.NewKeeper(cdc, amino, store(slashingtypes.StoreKey), stakingK, authority)
	stakingK.SetHooks(stakingtypes.NewMultiStakingHooks(distrK.Hooks(), slashingK.Hooks()))
	govK := govkeeper.NewKeeper(cdc, store(govtypes.StoreKey), authK, counted, distrK, base.MsgServiceRouter(), govtypes.DefaultConfig(), authority,
		govkeeper.NewDefaultCalculateVoteResultsAndVotingPower(stakingK))

	// Keepers of ours.
	registryK, err := registrykeeper.New(store(registrytypes.ModuleName))
	if err != nil {
		return nil, fmt.Errorf("app: registry: %w", err)
	}
	marketK, err := marketkeeper.New(store(markettypes.ModuleName))
	if err != nil {
		return nil, fmt.Errorf("app: market: %w", err)
	}
	beaconK, err := beaconkeeper.New(store(beacontypes.ModuleName), stakingK)
	if err != nil {
		return nil, fmt.Errorf("app: beacon: %w", err)
	}
	proofK, err := proofkeeper.New(store(prooftypes.ModuleName), proofkeeper.Neighbours{
		Bank: bankK, Staking: stakingK, Market: marketK, Registry: registryK, Reward: rewardK, Beacon: beaconK,
	})
	if err != nil {
		return nil, fmt.Errorf("app: proof: %w", err)
	}

	// Modules and their order.
	m := module.NewManager(
		auth.NewAppModule(cdc, authK, nil, nil),
		bank.NewAppModule(cdc, bankK, authK, nil),
		staking.NewAppModule(cdc, stakingK, authK, bankK, nil),
		distr.NewAppModule(cdc, distrK, authK, bankK, stakingK, nil),
		slashing.NewAppModule(cdc, slashingK, authK, bankK, stakingK, nil, interfaces),
		gov.NewAppModule(cdc, govK, authK, bankK, nil),
		consensus.NewAppModule(cdc, consensusK),
	)
	upgradeK := upgradekeeper.NewKeeper(nil, store(upgradetypes.StoreKey), cdc, "", base, authority)
	m.Modules[upgradetypes.ModuleName] = upgradeModule{upgradeK}
	m.Modules[registrytypes.ModuleName] = registry.New(registryK, proofK)
	m.Modules[markettypes.ModuleName] = market.New(marketK, proofK)
	m.Modules[prooftypes.ModuleName] = proof.New(proofK, proof.Options{Authority: authority, Conserve: o.Conserve})
	m.Modules[rewardtypes.ModuleName] = reward.New(rewardK, proofK, authority)
	m.Modules[beacontypes.ModuleName] = beacon.New(beaconK)
	genesisOrder := []string{authtypes.ModuleName, banktypes.ModuleName, distrtypes.ModuleName, stakingtypes.ModuleName, slashingtypes.ModuleName,
		govtypes.ModuleName, consensustypes.ModuleName, beacontypes.ModuleName, registrytypes.ModuleName, markettypes.ModuleName, prooftypes.ModuleName,
		rewardtypes.ModuleName}
	m.SetOrderInitGenesis(genesisOrder...)
	m.SetOrderExportGenesis(genesisOrder...)
	m.SetOrderPreBlockers(authtypes.ModuleName)
	m.SetOrderBeginBlockers(distrtypes.ModuleName, slashingtypes.ModuleName, stakingtypes.ModuleName)
	// What governance enacts may wake at this very height: the protocol's turn follows.
	m.SetOrderEndBlockers(govtypes.ModuleName, prooftypes.ModuleName, banktypes.ModuleName, stakingtypes.ModuleName)
	registerInterfaces(m, interfaces, amino)
	config := module.NewConfigurator(cdc, base.MsgServiceRouter(), base.GRPCQueryRouter())
	if err := m.RegisterServices(config); err != nil {
		return nil, fmt.Errorf("app: services: %w", err)
	}

	// The steps of a block.
	a := &App{BaseApp: base, codec: cdc, manager: m, beacon: beaconK, proof: proofK}
	a.upgrades = newUpgrader(upgradeK, m, config, append(o.Upgrades, upgrades...), Keepers{registryK, marketK, proofK, rewardK})
	anteHandler, err := ante.NewAnteHandler(ante.HandlerOptions{AccountKeeper: authK, BankKeeper: bankK,
		SignModeHandler: txConfig.SignModeHandler(), SigGasConsumer: ante.DefaultSigVerificationGasConsumer})
	if err != nil {
		return nil, fmt.Errorf("app: ante handler: %w", err)
	}
	g := newGate(o.BlockWeight, func(ctx sdk.Context, who sdk.AccAddress) bool {
		if _, err := stakingK.GetValidator(ctx, sdk.ValAddress(who)); err == nil {
			return true
		}
		bonded, err := registryK.HasBond(ctx, work.Address(who.String()))
		return err == nil && bonded
	})
	base.MountKVStores(keys)
	base.SetInitChainer(a.initChain)
	base.SetPrepareProposal(beacon.Prepare(beaconK, o.VRF, txConfig.TxDecoder(), g.fill))
	base.SetProcessProposal(beacon.Process(beaconK))
	base.SetPreBlocker(a.preBlock)
	base.SetBeginBlocker(m.BeginBlock)
	base.SetAnteHandler(g.ante(anteHandler))
	base.SetPrepareCheckStater(func(sdk.Context) { g.reset() })
	base.SetBlockSTMTxRunner(beacon.Runner{Inner: txnrunner.NewDefaultRunner(txConfig.TxDecoder())})
	base.SetEndBlocker(m.EndBlock)
	if err := base.LoadLatestVersion(); err != nil {
		return nil, fmt.Errorf("app: state: %w", err)
	}
	if h := base.LastBlockHeight(); h > 0 { // said now, not when other nodes have made a block
		if _, err := a.upgrades.due(base.NewContext(true), h+1); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// closedToSends are the accounts of modules that nobody may send money to: their
// balance equals what records say.
func closedToSends() map[string]bool {
	closed := make(map[string]bool, len(moduleAccounts))
	for name := range moduleAccounts {
		closed[authtypes.NewModuleAddress(name).String()] = name != govtypes.ModuleName
	}
	return closed
}

func registerInterfaces(m *module.Manager, r codectypes.InterfaceRegistry, amino *codec.LegacyAmino) {
	for _, v := range m.Modules {
		if b, ok := v.(module.AppModuleBasic); ok {
			b.RegisterInterfaces(r)
			b.RegisterLegacyAminoCodec(amino)
		}
	}
	registerUpgrades(r)
	registrytypes.RegisterInterfaces(r)
	markettypes.RegisterInterfaces(r)
	prooftypes.RegisterInterfaces(r)
	rewardtypes.RegisterInterfaces(r)
	beacontypes.RegisterInterfaces(r)
}

func (a *App) initChain(ctx sdk.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	var state map[string]json.RawMessage
	if err := json.Unmarshal(req.AppStateBytes, &state); err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	if err := a.upgrades.begin(ctx); err != nil {
		return nil, err
	}
	return a.manager.InitGenesis(ctx, a.codec, state)
}

// preBlock does an upgrade that is due, then stores the beacon before anything else
// can ask for it.
func (a *App) preBlock(ctx sdk.Context, req *abci.RequestFinalizeBlock) (*sdk.ResponsePreBlock, error) {
	upgraded, err := a.upgrades.preBlock(ctx)
	if err != nil {
		return nil, err
	}
	if err := beacon.PreBlock(a.beacon, ctx, req); err != nil {
		return nil, err
	}
	res, err := a.manager.PreBlock(ctx)
	if err == nil && upgraded {
		res.ConsensusParamsChanged = true
	}
	return res, err
}
