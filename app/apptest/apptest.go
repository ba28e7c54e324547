// Package apptest drives the chain's real application in memory, without consensus
// and network: blocks are made by hand, in virtual time, one second each. Tests and
// simulations use it where the rules must be those of the chain and not of a model.
//
// It promises what a node promises the application: signed transactions, the
// beacon's proof of the proposer, the votes of the validator set in effect, and that
// the same configuration and transactions give the same state. Every block checks
// that money is conserved. It never skips a step of a block, and it has no
// goroutine.
package apptest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/gogoproto/proto"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"cosmossdk.io/log/v2"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	"github.com/cosmos/cosmos-sdk/types/tx"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/work"
	registrytypes "github.com/gotong-network/gotong/x/registry/types"
)

// Config is what a chain begins with.
type Config struct {
	Genesis app.GenesisConfig // Validators and Time are filled in
	// Validators are the operators with their stakes; the first proposes every
	// block.
	Validators []Validator
	Seed       uint64 // of the validators' keys, and so of the beacon
	DB         dbm.DB // nil: in memory
	Log        log.Logger
}

// Validator is one of the genesis.
type Validator struct {
	Operator work.Address
	Stake    work.Amount
}

// Chain is the application with its blocks.
type Chain struct {
	app      *app.App
	options  app.Options
	last     *abci.RequestFinalizeBlock // the newest block that was begun
	id       string
	height   int64
	time     time.Time
	proposer []byte
	round    int32 // in which the last block was decided
	pending  [][]byte
	// sets are the validator sets of the last committed block, the next and the one
	// after: a change counts two blocks later.
	sets     [3][]abci.Validator
	accounts map[work.Address]*account
}

type account struct {
	key      *secp256k1.PrivKey
	number   uint64
	sequence uint64
	known    bool
}

// Result is how a transaction ended.
type Result struct {
	Code      uint32
	Codespace string
	Log       string
	Events    []abci.Event
}

// Block is what a block did.
type Block struct {
	Height  int64
	Time    time.Time
	Results []Result // of the transactions, in the order in which they were sent
	Events  []abci.Event
	Hash    []byte // of the state
}

const (
	gasLimit     = 1 << 40
	maxBlock     = 1 << 30
	blockSeconds = 1
)

// New makes a chain at height 0.
func New(c Config) (*Chain, error) {
	if c.Log == nil {
		c.Log = log.NewNopLogger()
	}
	if len(c.Validators) == 0 {
		return nil, errors.New("apptest: a chain needs a validator")
	}
	c.Genesis.Validators = nil
	ch := &Chain{id: c.Genesis.Chain, time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), accounts: make(map[work.Address]*account)}
	var vrf ed25519.PrivateKey
	for i, v := range c.Validators {
		consensus := cmted25519.GenPrivKeyFromSecret(seed(c.Seed, "consensus", i))
		k := ed25519.NewKeyFromSeed(seed(c.Seed, "vrf", i))
		c.Genesis.Validators = append(c.Genesis.Validators, app.Validator{Operator: v.Operator, Consensus: consensus.PubKey().Bytes(), VRF: k[32:], SelfBond: v.Stake})
		if i == 0 {
			vrf, ch.proposer = k, consensus.PubKey().Address()
		}
	}
	c.Genesis.Time = ch.time
	doc, err := app.Genesis(c.Genesis)
	if err != nil {
		return nil, err
	}
	ch.options = app.Options{Chain: ch.id, Log: c.Log, VRF: vrf, Conserve: true}
	if c.DB == nil {
		c.DB = dbm.NewMemDB()
	}
	if err := ch.start(doc, c.DB); err != nil {
		return nil, err
	}
	return ch, nil
}

// seed derives 32 bytes of a key.
func seed(n uint64, what string, i int) []byte {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte(what), n), uint64(i))
	h := sha256.Sum256(b)
	return h[:]
}

// start begins an application with a genesis, over an empty database.
func (c *Chain) start(doc *cmttypes.GenesisDoc, db dbm.DB) error {
	c.options.DB = db
	a, err := app.New(c.options)
	if err != nil {
		return err
	}
	c.app, c.height = a, doc.InitialHeight-1
	params := doc.ConsensusParams.ToProto()
	res, err := a.InitChain(&abci.RequestInitChain{Time: c.time, ChainId: c.id, ConsensusParams: &params, AppStateBytes: doc.AppState, InitialHeight: doc.InitialHeight})
	if err != nil {
		return fmt.Errorf("apptest: genesis: %w", err)
	}
	set, err := changed(nil, res.Validators)
	if err != nil {
		return err
	}
	c.sets = [3][]abci.Validator{nil, set, set}
	return nil
}

// changed applies updates to a validator set.
func changed(set []abci.Validator, updates []abci.ValidatorUpdate) ([]abci.Validator, error) {
	set = slices.Clone(set)
	for _, u := range updates {
		key := u.PubKey.GetEd25519()
		if len(key) != cmted25519.PubKeySize {
			return nil, errors.New("apptest: a validator's key is not ed25519")
		}
		address := cmted25519.PubKey(key).Address()
		at := slices.IndexFunc(set, func(v abci.Validator) bool { return string(v.Address) == string(address) })
		switch {
		case at < 0 && u.Power > 0:
			set = append(set, abci.Validator{Address: address, Power: u.Power})
		case at >= 0 && u.Power > 0:
			set[at].Power = u.Power
		case at >= 0:
			set = slices.Delete(set, at, at+1)
		}
	}
	if len(set) == 0 {
		return nil, errors.New("apptest: no validator is left: the chain halts")
	}
	return set, nil
}

// Height is that of the last block.
func (c *Chain) Height() int64 { return c.height }

// AddKey lets the chain's driver sign as the account of a secret key, and gives the
// account.
func (c *Chain) AddKey(secret [32]byte) work.Address {
	a := Address(secret)
	if c.accounts[a] == nil {
		c.accounts[a] = &account{key: &secp256k1.PrivKey{Key: slices.Clone(secret[:])}}
	}
	return a
}

// Address is the account of a secret key.
func Address(secret [32]byte) work.Address {
	text, err := bech32.ConvertAndEncode(registrytypes.AddressPrefix, (&secp256k1.PrivKey{Key: secret[:]}).PubKey().Address())
	if err != nil {
		panic(fmt.Sprintf("apptest: an address of 20 bytes has no bech32 form: %v", err))
	}
	return work.Address(text)
}

// Send signs messages as from in one transaction of the next block. It fails only
// if it cannot be signed; how it ends the block says.
func (c *Chain) Send(from work.Address, msgs ...proto.Message) error {
	a := c.accounts[from]
	if a == nil {
		return fmt.Errorf("apptest: no key of %s", from)
	}
	if !a.known {
		var res authtypes.QueryAccountInfoResponse
		if err := c.Query("/cosmos.auth.v1beta1.Query/AccountInfo", &authtypes.QueryAccountInfoRequest{Address: string(from)}, &res); err != nil {
			return err
		}
		a.number, a.sequence, a.known = res.Info.AccountNumber, res.Info.Sequence, true
	}
	raw, err := c.sign(a, msgs)
	if err != nil {
		return fmt.Errorf("apptest: %w", err)
	}
	a.sequence++
	c.SendRaw(raw)
	return nil
}

// SendRaw puts bytes into the next block as a transaction, whatever they are.
func (c *Chain) SendRaw(raw []byte) { c.pending = append(c.pending, raw) }

func (c *Chain) sign(a *account, msgs []proto.Message) ([]byte, error) {
	body := &tx.TxBody{}
	for _, m := range msgs {
		v, err := codectypes.NewAnyWithValue(m)
		if err != nil {
			return nil, err
		}
		body.Messages = append(body.Messages, v)
	}
	public, err := codectypes.NewAnyWithValue(a.key.PubKey())
	if err != nil {
		return nil, err
	}
	bodyBytes, err1 := proto.Marshal(body)
	info, err2 := proto.Marshal(&tx.AuthInfo{
		SignerInfos: []*tx.SignerInfo{{PublicKey: public, Sequence: a.sequence,
			ModeInfo: &tx.ModeInfo{Sum: &tx.ModeInfo_Single_{Single: &tx.ModeInfo_Single{Mode: signing.SignMode_SIGN_MODE_DIRECT}}}}},
		Fee: &tx.Fee{GasLimit: gasLimit},
	})
	doc, err3 := proto.Marshal(&tx.SignDoc{BodyBytes: bodyBytes, AuthInfoBytes: info, ChainId: c.id, AccountNumber: a.number})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	sig, err := a.key.Sign(doc)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&tx.TxRaw{BodyBytes: bodyBytes, AuthInfoBytes: info, Signatures: [][]byte{sig}})
}

// SkipTurn has the last block be decided in its second round, as the next block will
// tell.
func (c *Chain) SkipTurn() { c.round = 1 }

// Advance makes a block of what was sent since the last one. An error means that
// the chain would have halted.
func (c *Chain) Advance() (Block, error) {
	height, at := c.height+1, c.time.Add(blockSeconds*time.Second)
	sent := c.pending
	c.pending = nil
	// The proposer leaves out what does not decode; a faulty one would not.
	proposal, err := c.app.PrepareProposal(&abci.RequestPrepareProposal{MaxTxBytes: maxBlock, Height: height, Time: at, ProposerAddress: c.proposer})
	if err != nil {
		return Block{}, fmt.Errorf("block %d: proposal: %w", height, err)
	}
	txs := append(slices.Clone(proposal.Txs), sent...)
	verdict, err := c.app.ProcessProposal(&abci.RequestProcessProposal{Txs: txs, Height: height, Time: at, ProposerAddress: c.proposer})
	if err != nil || verdict.Status != abci.ResponseProcessProposal_ACCEPT {
		return Block{}, fmt.Errorf("block %d: proposal refused: %v", height, err)
	}
	c.last = &abci.RequestFinalizeBlock{Txs: txs, Height: height, Time: at, ProposerAddress: c.proposer, DecidedLastCommit: c.lastCommit()}
	res, err := c.app.FinalizeBlock(c.last)
	if err != nil {
		return Block{}, fmt.Errorf("block %d: %w", height, err)
	}
	if _, err := c.app.Commit(); err != nil {
		return Block{}, fmt.Errorf("block %d: commit: %w", height, err)
	}
	next, err := changed(c.sets[2], res.ValidatorUpdates)
	if err != nil {
		return Block{}, fmt.Errorf("block %d: %w", height, err)
	}
	c.height, c.time, c.round, c.sets = height, at, 0, [3][]abci.Validator{c.sets[1], c.sets[2], next}
	b := Block{Height: height, Time: at, Events: res.Events, Hash: res.AppHash}
	for _, r := range res.TxResults[len(proposal.Txs):] {
		b.Results = append(b.Results, Result{Code: r.Code, Codespace: r.Codespace, Log: r.Log, Events: r.Events})
		if r.Code != 0 && r.Codespace == "sdk" {
			// It may have failed before its sequence number was used.
			for _, a := range c.accounts {
				a.known = false
			}
		}
	}
	return b, nil
}

// lastCommit has everybody in the set of the last block sign it.
func (c *Chain) lastCommit() abci.CommitInfo {
	info := abci.CommitInfo{Round: c.round}
	for _, v := range c.sets[0] {
		info.Votes = append(info.Votes, abci.VoteInfo{Validator: v, BlockIdFlag: 2}) // commit
	}
	return info
}

// Query asks the state of the last block; path is a gRPC method.
func (c *Chain) Query(path string, req, res proto.Message) error {
	data, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	r, err := c.app.Query(context.Background(), &abci.RequestQuery{Path: path, Data: data})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if r.Code != 0 {
		return &QueryError{Code: r.Code, Codespace: r.Codespace, Log: r.Log}
	}
	return proto.Unmarshal(r.Value, res)
}

// Read reads a key of a store as it is after the last block, nil if it is not there.
func (c *Chain) Read(store string, key []byte) ([]byte, error) {
	r, err := c.app.Query(context.Background(), &abci.RequestQuery{Path: "/store/" + store + "/key", Data: key})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", store, err)
	}
	if r.Code != 0 {
		return nil, &QueryError{Code: r.Code, Codespace: r.Codespace, Log: r.Log}
	}
	return r.Value, nil
}

// QueryError is an answer that is a refusal.
type QueryError struct {
	Code      uint32
	Codespace string
	Log       string
}

// Error gives the chain's own sentence.
func (e *QueryError) Error() string { return e.Log }

// Restart replaces the program by one that can do some upgrades, over the same state.
func (c *Chain) Restart(can ...app.Upgrade) error {
	o := c.options
	o.Upgrades = can
	a, err := app.New(o)
	if err == nil {
		c.app = a
	}
	return err
}

// Recover does what a node does that was killed while Advance executed or committed a
// block: a new application over the same database is given that block again, unless it
// has it. It gives the hash of the state; the chain makes no further blocks.
func (c *Chain) Recover() ([]byte, error) {
	if err := c.Restart(); err != nil {
		return nil, err
	}
	if c.app.LastBlockHeight() < c.last.Height {
		if _, err := c.app.FinalizeBlock(c.last); err != nil {
			return nil, err
		}
		if _, err := c.app.Commit(); err != nil {
			return nil, err
		}
	}
	return c.app.LastCommitID().Hash, nil
}

// Fork replaces the application by a new one that begins, at the height that
// follows, with the exported state of this one.
func (c *Chain) Fork() error {
	state, err := c.app.Export()
	if err != nil {
		return err
	}
	params := cmttypes.DefaultConsensusParams()
	params.Block.MaxGas = -1
	sets := c.sets
	if err := c.start(&cmttypes.GenesisDoc{InitialHeight: c.height + 1, ConsensusParams: params, AppState: state}, dbm.NewMemDB()); err != nil {
		return err
	}
	c.sets = sets
	for _, a := range c.accounts {
		a.known = false
	}
	return nil
}
