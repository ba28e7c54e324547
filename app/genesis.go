package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/log/v2"
	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdked25519 "github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	govv1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	beacontypes "github.com/gotong-network/gotong/x/beacon/types"
	markettypes "github.com/gotong-network/gotong/x/market/types"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	registrytypes "github.com/gotong-network/gotong/x/registry/types"
	rewardkeeper "github.com/gotong-network/gotong/x/reward/keeper"
	rewardtypes "github.com/gotong-network/gotong/x/reward/types"
)

// GenesisConfig is what a new chain begins with.
type GenesisConfig struct {
	Chain      string
	Time       time.Time // not before it is the first block
	Params     lifecycle.Params
	Accounts   []Account   // balances, each account once
	Validators []Validator // at least one
	Governance Governance
}

// Governance is how proposals are voted on; what is zero is as on a public network.
type Governance struct {
	Voting  time.Duration // how long a proposal is voted on; 48 h
	Deposit work.Amount   // that a proposal needs; 100 gtg
}

// Account is an account with its balance.
type Account struct {
	Address work.Address
	Balance work.Amount
}

// Validator is a bonded validator.
type Validator struct {
	Operator  work.Address // the account that runs it and votes in disputes
	Consensus []byte       // ed25519 public key that signs blocks
	VRF       []byte       // public key of the beacon
	SelfBond  work.Amount  // staked, beside the operator's balance; 1 gtg is 1 of power
}

// maxBlockBytes bounds a block: several reveals of the largest batches fit.
const maxBlockBytes = 8 << 20

// Genesis builds a chain's genesis document.
func Genesis(c GenesisConfig) (*cmttypes.GenesisDoc, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	a, err := New(Options{Chain: c.Chain, DB: dbm.NewMemDB(), Log: log.NewNopLogger()})
	if err != nil {
		return nil, err
	}
	b := &builder{codec: a.codec, state: make(map[string]json.RawMessage)}
	b.accounts(c)
	b.validators(c)
	b.collections(beacontypes.ModuleName, map[string]any{"keys": beaconKeys(c.Validators), "values": none, "last": none, "skipped": none})
	b.collections(registrytypes.ModuleName, map[string]any{"parties": none, "held": zero, "vesting": none})
	b.collections(markettypes.ModuleName, map[string]any{"jobs": none, "by_client": none, "taken": none, "held": zero})
	b.collections(prooftypes.ModuleName, map[string]any{"params": []entry{{"item", c.Params}}, "batches": none, "by_job": none, "held": none,
		"court": none, "queue": none, "suspensions": none, "evidence": none, "events": none, "wake_jobs": none, "wake_batches": none, "wake_parties": none})
	b.collections(rewardtypes.ModuleName, map[string]any{"flows": []entry{{"item", rewardkeeper.Flows{Genesis: b.total}}}, "commons": none})
	state, err := b.done()
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	params := cmttypes.DefaultConsensusParams()
	params.Block.MaxBytes, params.Block.MaxGas = maxBlockBytes, -1
	doc := &cmttypes.GenesisDoc{ChainID: c.Chain, GenesisTime: c.Time.UTC(), InitialHeight: 1, ConsensusParams: params, AppState: state}
	return doc, doc.ValidateAndComplete()
}

func (c GenesisConfig) check() error {
	if len(c.Validators) == 0 {
		return fmt.Errorf("a chain needs a validator")
	}
	seen := make(map[work.Address]bool)
	for _, a := range c.Accounts {
		if _, err := sdk.AccAddressFromBech32(string(a.Address)); err != nil {
			return fmt.Errorf("account %q: %w", a.Address, err)
		}
		if seen[a.Address] {
			return fmt.Errorf("account %s twice", a.Address)
		}
		seen[a.Address] = true
	}
	for _, v := range c.Validators {
		if _, err := sdk.AccAddressFromBech32(string(v.Operator)); err != nil {
			return fmt.Errorf("operator %q: %w", v.Operator, err)
		}
		if len(v.Consensus) != cmted25519.PubKeySize || len(v.VRF) != beacontypes.KeyBytes {
			return fmt.Errorf("validator of %s: keys of %d and %d bytes, want 32", v.Operator, len(v.Consensus), len(v.VRF))
		}
		if v.SelfBond < work.UgtgPerGtg {
			return fmt.Errorf("validator of %s: self bond %s under 1gtg", v.Operator, v.SelfBond)
		}
	}
	if g := c.Governance; g.Voting < 0 || g.Voting > 0 && g.Voting < time.Second || g.Deposit > maxDeposit {
		return fmt.Errorf("governance: voting for %s with a deposit of %s: want at least 1s and at most %s", g.Voting, g.Deposit, work.Amount(maxDeposit))
	}
	return c.Params.Validate()
}

// maxDeposit bounds what a proposal may need.
const maxDeposit = 1_000_000 * work.UgtgPerGtg

// state is governance's genesis. Proposals that are expedited need five times the
// deposit for half the time.
func (g Governance) state() *govv1.GenesisState {
	if g.Deposit == 0 {
		g.Deposit = 100 * work.UgtgPerGtg
	}
	if g.Voting == 0 {
		g.Voting = govv1.DefaultPeriod
	}
	half := g.Voting / 2
	s := govv1.DefaultGenesisState()
	s.Params.MinDeposit, s.Params.ExpeditedMinDeposit = coins(g.Deposit), coins(5*g.Deposit)
	s.Params.VotingPeriod, s.Params.ExpeditedVotingPeriod, s.Params.MaxDepositPeriod = &g.Voting, &half, &g.Voting
	return s
}

// entry is one key with its value in a collection's genesis.
type entry struct {
	Key   any `json:"key"`
	Value any `json:"value"`
}

var none = []entry{}

// zero is the genesis of a sum. It is written, though a missing one would be read as
// zero, because nothing can be proved of a store that is empty, not even that it has
// no such key.
var zero = []entry{{"item", "0"}}

func beaconKeys(l []Validator) []entry {
	keys := make([]entry, 0, len(l))
	for _, v := range l {
		keys = append(keys, entry{[]byte(cmted25519.PubKey(v.Consensus).Address()), beacontypes.Key{Public: v.VRF}})
	}
	return keys
}

// builder collects the modules' genesis and the first error.
type builder struct {
	codec codec.Codec
	state map[string]json.RawMessage
	total work.Amount // supply
	err   error
}

func (b *builder) done() ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	return json.Marshal(b.state) // map keys are sorted
}

func (b *builder) fail(err error) {
	if b.err == nil && err != nil {
		b.err = err
	}
}

func (b *builder) proto(module string, m proto.Message) {
	raw, err := b.codec.MarshalJSON(m)
	b.fail(err)
	b.state[module] = raw
}

func (b *builder) collections(module string, m map[string]any) {
	raw, err := json.Marshal(m)
	b.fail(err)
	b.state[module] = raw
}

func coins(a work.Amount) sdk.Coins {
	return sdk.NewCoins(sdk.NewCoin(work.Denom, math.NewIntFromUint64(uint64(a))))
}

// accounts writes auth and bank: balances, and the pool that holds the stakes.
func (b *builder) accounts(c GenesisConfig) {
	var accounts []authtypes.GenesisAccount
	var balances []banktypes.Balance
	add := func(address work.Address, balance work.Amount) {
		raw, err := sdk.AccAddressFromBech32(string(address))
		b.fail(err)
		accounts = append(accounts, authtypes.NewBaseAccount(raw, nil, uint64(len(accounts)), 0))
		if balance > 0 {
			balances = append(balances, banktypes.Balance{Address: string(address), Coins: coins(balance)})
		}
	}
	for _, a := range c.Accounts {
		add(a.Address, a.Balance)
	}
	var staked, total work.Amount
	for _, v := range c.Validators {
		if !slices.ContainsFunc(c.Accounts, func(a Account) bool { return a.Address == v.Operator }) {
			add(v.Operator, 0)
		}
		var err error
		staked, err = staked.Add(v.SelfBond)
		b.fail(err)
	}
	total = staked
	for _, a := range c.Accounts {
		var err error
		total, err = total.Add(a.Balance)
		b.fail(err)
	}
	balances = append(balances, banktypes.Balance{Address: authtypes.NewModuleAddress(stakingtypes.BondedPoolName).String(), Coins: coins(staked)})
	slices.SortFunc(balances, func(x, y banktypes.Balance) int { return bytes.Compare([]byte(x.Address), []byte(y.Address)) })
	b.total = total
	b.proto(authtypes.ModuleName, authtypes.NewGenesisState(authtypes.DefaultParams(), accounts))
	b.proto(banktypes.ModuleName, banktypes.NewGenesisState(banktypes.DefaultParams(), balances, coins(total), []banktypes.Metadata{{
		Base: work.Denom, Display: "gtg", Name: "Gotong", Symbol: "GTG", Description: "The token of the Gotong network",
		DenomUnits: []*banktypes.DenomUnit{{Denom: work.Denom, Exponent: 0}, {Denom: "gtg", Exponent: 6}},
	}}, nil))
}

// validators writes staking, slashing, distribution and governance.
func (b *builder) validators(c GenesisConfig) {
	var validators []stakingtypes.Validator
	var delegations []stakingtypes.Delegation
	var infos []slashingtypes.SigningInfo
	for _, v := range c.Validators {
		key, err := codectypes.NewAnyWithValue(&sdked25519.PubKey{Key: v.Consensus})
		b.fail(err)
		raw, err := sdk.AccAddressFromBech32(string(v.Operator))
		b.fail(err)
		operator := sdk.ValAddress(raw).String()
		tokens := math.NewIntFromUint64(uint64(v.SelfBond))
		validators = append(validators, stakingtypes.Validator{OperatorAddress: operator, ConsensusPubkey: key, Status: stakingtypes.Bonded,
			Tokens: tokens, DelegatorShares: math.LegacyNewDecFromInt(tokens), MinSelfDelegation: math.OneInt(),
			Description: stakingtypes.Description{Moniker: operator[:min(len(operator), 64)]},
			Commission:  stakingtypes.NewCommission(math.LegacyZeroDec(), math.LegacyZeroDec(), math.LegacyZeroDec())})
		delegations = append(delegations, stakingtypes.NewDelegation(string(v.Operator), operator, math.LegacyNewDecFromInt(tokens)))
		consensus := sdk.ConsAddress(cmted25519.PubKey(v.Consensus).Address())
		infos = append(infos, slashingtypes.SigningInfo{Address: consensus.String(),
			ValidatorSigningInfo: slashingtypes.NewValidatorSigningInfo(consensus, 0, 0, time.Unix(0, 0).UTC(), false, 0)})
	}
	staking := stakingtypes.DefaultParams()
	staking.BondDenom, staking.HistoricalEntries = work.Denom, 0
	b.proto(stakingtypes.ModuleName, stakingtypes.NewGenesisState(staking, validators, delegations))

	slashing := slashingtypes.DefaultParams()
	// A validator that was switched off for the night is not punished: it lost its
	// income. Signing twice is.
	slashing.SignedBlocksWindow, slashing.MinSignedPerWindow = 100_000, math.LegacyNewDecWithPrec(1, 2)
	slashing.SlashFractionDowntime = math.LegacyZeroDec()
	b.proto(slashingtypes.ModuleName, slashingtypes.NewGenesisState(slashing, infos, nil))

	distribution := distrtypes.DefaultGenesisState()
	distribution.Params.CommunityTax = math.LegacyZeroDec() // the validators' share is theirs
	b.proto(distrtypes.ModuleName, distribution)

	b.proto(govtypes.ModuleName, c.Governance.state())
}
