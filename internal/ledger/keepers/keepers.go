// Package keepers is the chain's own modules in memory: the keepers and message
// servers of x/ with the SDK's accounts and bank, over memory stores, with blocks
// that a trial makes by hand. It is what the fake ledger is to lifecycle, for x/.
//
// It promises the real message servers, records, bank transfers and end of block;
// that a failed message changes nothing; and that Advance panics if the modules'
// accounts do not hold what the records say, or if a record got stuck.
//
// It has no consensus, no transactions, keys, fees or network, and its validators
// and their beacon are given to it: internal/chainnode runs those.
package keepers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/gogoproto/proto"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	corestore "cosmossdk.io/core/store"
	"cosmossdk.io/log/v2"
	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/codec/address"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/store/v2"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	txsigning "github.com/cosmos/cosmos-sdk/x/tx/signing"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	beaconkeeper "github.com/gotong-network/gotong/x/beacon/keeper"
	beacontypes "github.com/gotong-network/gotong/x/beacon/types"
	marketkeeper "github.com/gotong-network/gotong/x/market/keeper"
	markettypes "github.com/gotong-network/gotong/x/market/types"
	proofkeeper "github.com/gotong-network/gotong/x/proof/keeper"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	registrykeeper "github.com/gotong-network/gotong/x/registry/keeper"
	registrytypes "github.com/gotong-network/gotong/x/registry/types"
	rewardkeeper "github.com/gotong-network/gotong/x/reward/keeper"
	rewardtypes "github.com/gotong-network/gotong/x/reward/types"
)

// Prefixes of the text forms of addresses, as the application sets them.
func init() {
	c, p := sdk.GetConfig(), registrytypes.AddressPrefix
	c.SetBech32PrefixForAccount(p, p+"pub")
	c.SetBech32PrefixForValidator(p+"valoper", p+"valoperpub")
	c.SetBech32PrefixForConsensusNode(p+"valcons", p+"valconspub")
}

// origin mints the balances of genesis, and stakes holds the validators' stakes; no
// module of the application does either.
const (
	origin = "genesis"
	stakes = "stakes"
)

// moduleAccounts are the accounts of modules, with what each may do.
var moduleAccounts = map[string][]string{
	origin:                     {authtypes.Minter},
	stakes:                     {authtypes.Burner},
	rewardtypes.ModuleName:     {authtypes.Minter, authtypes.Burner},
	authtypes.FeeCollectorName: nil,
	markettypes.ModuleName:     {authtypes.Burner},
	registrytypes.ModuleName:   {authtypes.Burner},
	prooftypes.ModuleName:      {authtypes.Burner},
}

// Config is a chain's genesis. Accounts are real addresses of the chain.
type Config struct {
	Chain      string
	Params     lifecycle.Params
	Genesis    map[work.Address]work.Amount
	Validators []lifecycle.ValidatorPower
	Governance work.Address // may change parameters
	Seed       uint64       // of the beacon
	// Steer, if set, may replace a block's beacon value as the block begins. It must
	// not call the ledger.
	Steer func(height int64, value work.Hash) (work.Hash, bool)
}

// Ledger is the modules over memory stores. It is for one goroutine.
type Ledger struct {
	ctx    sdk.Context // of the block being made
	config Config
	last   work.Hash // beacon
	// skipped is whether the block being made comes after a skipped turn.
	skipped bool
	router  *baseapp.MsgServiceRouter
	stuck   *watch
	txs     uint64

	bank     bankkeeper.BaseKeeper
	registry registrykeeper.Keeper
	market   marketkeeper.Keeper
	beacon   beaconkeeper.Keeper
	proof    proofkeeper.Keeper
	reward   rewardkeeper.Keeper
	staking  *staking
}

var _ ledger.Submitter = (*Ledger)(nil)

// New starts a chain at height 0.
func New(c Config) (*Ledger, error) {
	account := address.NewBech32Codec(registrytypes.AddressPrefix)
	interfaces, err := codectypes.NewInterfaceRegistryWithOptions(codectypes.InterfaceRegistryOptions{
		ProtoFiles:     proto.HybridResolver,
		SigningOptions: txsigning.Options{AddressCodec: account, ValidatorAddressCodec: address.NewBech32Codec(registrytypes.AddressPrefix + "valoper")},
	})
	if err != nil {
		return nil, fmt.Errorf("keepers: interface registry: %w", err)
	}
	authtypes.RegisterInterfaces(interfaces)
	banktypes.RegisterInterfaces(interfaces)
	registrytypes.RegisterInterfaces(interfaces)
	markettypes.RegisterInterfaces(interfaces)
	prooftypes.RegisterInterfaces(interfaces)
	rewardtypes.RegisterInterfaces(interfaces)
	cdc := codec.NewProtoCodec(interfaces)

	keys := storetypes.NewKVStoreKeys(authtypes.StoreKey, banktypes.StoreKey, registrytypes.ModuleName, markettypes.ModuleName,
		prooftypes.ModuleName, beacontypes.ModuleName, rewardtypes.ModuleName)
	db := dbm.NewMemDB()
	stores := store.NewCommitMultiStore(db, log.NewNopLogger())
	for _, k := range keys {
		stores.MountStoreWithDB(k, storetypes.StoreTypeDB, nil)
	}
	if err := stores.LoadLatestVersion(); err != nil {
		return nil, fmt.Errorf("keepers: stores: %w", err)
	}
	service := func(name string) corestore.KVStoreService { return runtime.NewKVStoreService(keys[name]) }

	l := &Ledger{config: c, last: seed(c), stuck: &watch{Logger: log.NewNopLogger()}, router: baseapp.NewMsgServiceRouter()}
	authority := string(c.Governance)
	authK := authkeeper.NewAccountKeeper(cdc, service(authtypes.StoreKey), authtypes.ProtoBaseAccount, moduleAccounts, account, registrytypes.AddressPrefix, authority)
	l.bank = bankkeeper.NewBaseKeeper(cdc, service(banktypes.StoreKey), authK, nil, authority, log.NewNopLogger())
	var errs [5]error
	l.registry, errs[0] = registrykeeper.New(service(registrytypes.ModuleName))
	l.market, errs[1] = marketkeeper.New(service(markettypes.ModuleName))
	l.beacon, errs[2] = beaconkeeper.New(service(beacontypes.ModuleName), nil)
	l.reward, errs[4] = rewardkeeper.New(service(rewardtypes.ModuleName), l.bank)
	l.staking = &staking{bank: l.bank, flows: l.reward}
	l.proof, errs[3] = proofkeeper.New(service(prooftypes.ModuleName), proofkeeper.Neighbours{
		Bank: l.bank, Staking: l.staking, Market: l.market, Registry: l.registry, Reward: l.reward, Beacon: l.beacon})
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("keepers: %w", err)
	}
	l.router.SetInterfaceRegistry(interfaces)
	banktypes.RegisterMsgServer(l.router, bankkeeper.NewMsgServerImpl(l.bank))
	registrytypes.RegisterMsgServer(l.router, registrykeeper.MsgServer{Machine: l.proof})
	markettypes.RegisterMsgServer(l.router, marketkeeper.MsgServer{Machine: l.proof})
	server := proofkeeper.MsgServer{Keeper: l.proof, Authority: authority}
	prooftypes.RegisterMsgServer(l.router, server)
	rewardtypes.RegisterMsgServer(l.router, rewardkeeper.MsgServer{Machine: l.proof, Authority: authority})

	l.ctx = sdk.NewContext(stores, cmtproto.Header{ChainID: c.Chain}, false, l.stuck)
	if err := l.genesis(server); err != nil {
		return nil, fmt.Errorf("keepers: genesis: %w", err)
	}
	return l, l.begin(1)
}

func seed(c Config) work.Hash {
	var e work.Encoder
	e.String(c.Chain)
	e.U64(c.Seed)
	return work.Sum("gotong/keepersbeacon/1", e.Bytes())
}

func (l *Ledger) genesis(server proofkeeper.MsgServer) error {
	if err := l.bank.SetParams(l.ctx, banktypes.DefaultParams()); err != nil {
		return err
	}
	for a, v := range l.config.Genesis {
		if v == 0 {
			continue
		}
		to, err := accountBytes(a)
		if err != nil {
			return err
		}
		coins := sdk.NewCoins(sdk.NewCoin(work.Denom, math.NewIntFromUint64(uint64(v))))
		if err := l.bank.MintCoins(l.ctx, origin, coins); err != nil {
			return err
		}
		if err := l.bank.SendCoinsFromModuleToAccount(l.ctx, origin, to, coins); err != nil {
			return err
		}
	}
	if err := l.staking.bond(l.ctx, l.config.Validators); err != nil {
		return err
	}
	if err := l.reward.Begin(l.ctx); err != nil {
		return err
	}
	params, err := json.Marshal(l.config.Params)
	if err != nil {
		return err
	}
	_, err = server.UpdateParams(l.ctx, &prooftypes.MsgUpdateParams{Authority: server.Authority, Params: params})
	return err
}

func accountBytes(a work.Address) (sdk.AccAddress, error) {
	_, b, err := bech32.DecodeAndConvert(string(a))
	if err != nil {
		return nil, fmt.Errorf("account %q: %w", a, err)
	}
	return b, nil
}

// begin begins the block of a height with its beacon.
func (l *Ledger) begin(height int64) error {
	l.ctx = l.ctx.WithBlockHeight(height).WithBlockTime(time.Unix(height, 0)).WithEventManager(sdk.NewEventManager())
	var e work.Encoder
	e.U64(uint64(height))
	l.last = beacontypes.Next(l.last, e.Bytes())
	before := l.skipped
	if l.config.Steer != nil {
		l.last, l.skipped = l.config.Steer(height, l.last)
	}
	return l.beacon.Add(l.ctx, height, l.last, before)
}

// Advance closes the block being made and gives its height.
func (l *Ledger) Advance() int64 {
	h := l.ctx.BlockHeight()
	err := l.proof.EndBlock(l.ctx)
	if err == nil {
		err = l.proof.Conserved(l.ctx)
	}
	if err == nil {
		err = l.stuck.err
	}
	if err == nil {
		err = l.begin(h + 1)
	}
	if err != nil {
		panic(fmt.Sprintf("keepers: end of block %d: %v", h, err))
	}
	return h
}

// Height is the last closed height.
func (l *Ledger) Height() int64 { return l.ctx.BlockHeight() - 1 }

// Audit compares what the modules' accounts hold with a walk over every record.
func (l *Ledger) Audit() error { return l.proof.Audit(l.ctx) }

// Submit executes msgs as one transaction into the block being made.
func (l *Ledger) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	if err := ctx.Err(); err != nil {
		return ledger.Included{}, err
	}
	inner, write := l.ctx.CacheContext()
	for _, m := range msgs {
		v, err := cosmos.Message(from, m)
		if err != nil {
			return ledger.Included{}, err
		}
		if s, ok := v.(*sdkwire.MsgSend); ok { // the module knows its own type only
			v = &banktypes.MsgSend{FromAddress: s.FromAddress, ToAddress: s.ToAddress, Amount: s.Amount}
		}
		handler := l.router.Handler(v)
		if handler == nil {
			return ledger.Included{}, fmt.Errorf("keepers: nobody handles %T", v)
		}
		if _, err := handler(inner, v); err != nil {
			return ledger.Included{}, cosmos.Refusal(err)
		}
	}
	write()
	l.txs++
	return ledger.Included{Height: l.ctx.BlockHeight(), TxHash: fmt.Sprintf("%064X", l.txs)}, nil
}

// watch keeps the first error that the modules log: a record that got stuck.
type watch struct {
	log.Logger
	err error
}

// Error implements log.Logger.
func (w *watch) Error(msg string, keyVals ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%s: %v", msg, keyVals)
	}
}

// With implements log.Logger.
func (w *watch) With(...any) log.Logger { return w }
