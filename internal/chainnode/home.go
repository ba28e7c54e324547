package chainnode

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/work"
)

// ErrDamaged reports a home whose files cannot be read as what they are.
var ErrDamaged = errors.New("home of the chain node is damaged")

// ErrExists reports a home that was initialised before.
var ErrExists = errors.New("home of a chain node exists already")

// InitConfig is what a new chain of one validator begins with.
type InitConfig struct {
	Genesis  app.GenesisConfig // Validators is filled in
	Operator work.Address
	SelfBond work.Amount // staked, beside the operator's balance
}

// Init makes a home of a chain with this node as its one validator: keys and
// genesis. It gives ErrExists if there is one.
func Init(home string, c InitConfig) error {
	if Exists(home) {
		return fmt.Errorf("%s: %w", home, ErrExists)
	}
	k, err := MakeKeys(home)
	if err != nil {
		return err
	}
	c.Genesis.Validators = []app.Validator{k.Validator(c.Operator, c.SelfBond)}
	return WriteGenesis(home, c.Genesis)
}

// Exists reports whether a home has a genesis: it is written last.
func Exists(home string) bool { return exists(genesisFile(home)) }

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// Keys are the public keys of a node.
type Keys struct {
	Consensus []byte // ed25519, signs blocks
	VRF       []byte // makes the beacon
	Peer      string // the node's id for CometBFT's peers
}

// Validator is the node as a validator of a genesis.
func (k Keys) Validator(operator work.Address, selfBond work.Amount) app.Validator {
	return app.Validator{Operator: operator, Consensus: k.Consensus, VRF: k.VRF, SelfBond: selfBond}
}

// MakeKeys makes the keys of a home, or reads those it has.
func MakeKeys(home string) (Keys, error) {
	for _, d := range []string{"config", "data"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o700); err != nil {
			return Keys{}, fmt.Errorf("chain node: %w", err)
		}
	}
	if !exists(validatorFile(home)) || !exists(stateFile(home)) && !Exists(home) {
		// A key that may have signed is never used without the state of its last
		// vote; before there is a genesis it has signed nothing.
		privval.NewFilePV(cmted25519.GenPrivKey(), validatorFile(home), stateFile(home)).Save()
	}
	if !exists(vrfFile(home)) {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return Keys{}, fmt.Errorf("chain node: VRF key: %w", err)
		}
		if err := writeFile(vrfFile(home), []byte(hex.EncodeToString(k.Seed())+"\n"), 0o600); err != nil {
			return Keys{}, fmt.Errorf("chain node: VRF key: %w", err)
		}
	}
	if _, err := p2p.LoadOrGenNodeKey(peerFile(home)); err != nil {
		return Keys{}, fmt.Errorf("chain node: peer key %s: %w: %v", peerFile(home), ErrDamaged, err)
	}
	k, err := loadKeys(home)
	if err != nil {
		return Keys{}, err
	}
	return Keys{Consensus: k.validator.Key.PubKey.Bytes(), VRF: k.vrf[32:], Peer: string(k.peer.ID())}, nil
}

// WriteGenesis writes the genesis of a home.
func WriteGenesis(home string, c app.GenesisConfig) error {
	b, err := EncodeGenesis(c)
	if err != nil {
		return err
	}
	return PutGenesis(home, b)
}

// EncodeGenesis builds the genesis file of a chain.
func EncodeGenesis(c app.GenesisConfig) ([]byte, error) {
	doc, err := app.Genesis(c)
	if err != nil {
		return nil, err
	}
	return encodeGenesis(doc)
}

func encodeGenesis(doc *cmttypes.GenesisDoc) ([]byte, error) {
	b, err := cmtjson.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return b, nil
}

// GenesisHash names a genesis file: its SHA-256 in hex.
func GenesisHash(file []byte) string {
	h := sha256.Sum256(file)
	return hex.EncodeToString(h[:])
}

// PutGenesis writes a genesis file into a home, which has its keys.
func PutGenesis(home string, b []byte) error {
	if err := writeFile(genesisFile(home), b, 0o644); err != nil {
		return fmt.Errorf("chain node: genesis: %w", err)
	}
	return nil
}

func validatorFile(home string) string {
	return filepath.Join(home, "config", "priv_validator_key.json")
}
func stateFile(home string) string   { return filepath.Join(home, "data", "priv_validator_state.json") }
func peerFile(home string) string    { return filepath.Join(home, "config", "node_key.json") }
func vrfFile(home string) string     { return filepath.Join(home, "config", "vrf_key") }
func genesisFile(home string) string { return filepath.Join(home, "config", "genesis.json") }

// writeFile writes a file whole or not at all.
func writeFile(name string, b []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// secrets are the private keys of a home.
type secrets struct {
	validator *privval.FilePV
	peer      *p2p.NodeKey
	vrf       ed25519.PrivateKey
}

// loadKeys reads the keys. It does not use CometBFT's own loader of the
// validator's, which ends the process on a damaged file.
func loadKeys(home string) (s secrets, err error) {
	var key privval.FilePVKey
	if err := loadJSON(validatorFile(home), &key); err != nil {
		return s, err
	}
	if key.PrivKey == nil {
		return s, fmt.Errorf("%s holds no key: %w", validatorFile(home), ErrDamaged)
	}
	s.validator = privval.NewFilePV(key.PrivKey, validatorFile(home), stateFile(home))
	if err := loadJSON(stateFile(home), &s.validator.LastSignState); err != nil {
		return s, err
	}
	if s.peer, err = p2p.LoadNodeKey(peerFile(home)); err != nil {
		return s, fmt.Errorf("%s: %w: %v", peerFile(home), ErrDamaged, err)
	}
	text, err := os.ReadFile(vrfFile(home))
	if err != nil {
		return s, unreadable(err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return s, fmt.Errorf("%s: want %d hex digits: %w", vrfFile(home), 2*ed25519.SeedSize, ErrDamaged)
	}
	s.vrf = ed25519.NewKeyFromSeed(seed)
	return s, nil
}

func loadJSON(name string, v any) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return unreadable(err)
	}
	if err := cmtjson.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w: %v", name, ErrDamaged, err)
	}
	return nil
}

func loadGenesis(home string) (*cmttypes.GenesisDoc, error) {
	b, err := os.ReadFile(genesisFile(home))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s has no genesis: make the network first: %w", home, err)
	}
	if err != nil {
		return nil, fmt.Errorf("chain node: genesis: %w", err)
	}
	doc, err := cmttypes.GenesisDocFromJSON(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %v", genesisFile(home), ErrDamaged, err)
	}
	return doc, nil
}

// ReadKeys reads the public keys of a home.
func ReadKeys(home string) (Keys, error) {
	k, err := loadKeys(home)
	if err != nil {
		return Keys{}, err
	}
	return Keys{Consensus: k.validator.Key.PubKey.Bytes(), VRF: k.vrf[32:], Peer: string(k.peer.ID())}, nil
}

// CheckGenesis reads a genesis file that somebody gave: it must have the hash and be
// of the chain.
func CheckGenesis(b []byte, chain, hash string) error {
	if got := GenesisHash(b); hash != "" && got != hash {
		return fmt.Errorf("genesis with hash %s, and the invite says %s: it is of another network", got, hash)
	}
	doc, err := cmttypes.GenesisDocFromJSON(b)
	if err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	if doc.ChainID != chain {
		return fmt.Errorf("genesis of the chain %q, want %q", doc.ChainID, chain)
	}
	return nil
}

// FetchGenesis asks an RPC server for the chain's genesis file.
func FetchGenesis(ctx context.Context, url string) ([]byte, error) {
	c, err := rpchttp.NewWithTimeout(url, "/websocket", uint(fetchTimeout/time.Second))
	if err != nil {
		return nil, fmt.Errorf("chain at %s: %w", url, err)
	}
	r, err := c.Genesis(ctx)
	if err != nil {
		return nil, fmt.Errorf("genesis from %s: %w", url, err)
	}
	return encodeGenesis(r.Genesis)
}

// fetchTimeout bounds the fetch of a genesis.
const fetchTimeout = 30 * time.Second

// unreadable tells a file that is not there from one that this user may not read.
func unreadable(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: %w: run the node as the user who owns it, or give it back (chown, chmod 600)", ErrDamaged, err)
	}
	return fmt.Errorf("%w: %v", ErrDamaged, err)
}
