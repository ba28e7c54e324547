// Package types holds the beacon's messages and queries (generated from
// proto/gotong/beacon/v1), and the form of a proof in a block. Clients of the
// chain link it: it imports no module.
package types

import (
	"bytes"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/ecvrf"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/msgservice"

	"github.com/gotong-network/gotong/work"
)

// ModuleName names the module and its store.
const ModuleName = "beacon"

// KeyBytes is the length of a VRF public key.
const KeyBytes = 32

// KeepHeights is how many of the latest values are kept: longer than any wait
// between a commit and its draw.
const KeepHeights = 4096

// KeyDelayBlocks is how long after its registration a key that replaces another
// begins to count.
const KeyDelayBlocks = 1200

// mark starts a proof's pseudo-transaction. A transaction cannot begin with it: 0
// is no protobuf tag, so CheckTx refuses one that somebody sends.
var mark = []byte{0, 'v', 'r', 'f', 1}

// IsProof reports whether a block's transaction is a proof, well-formed or not.
func IsProof(tx []byte) bool { return bytes.HasPrefix(tx, mark) }

// ProofTx puts a VRF proof into the form that blocks carry.
func ProofTx(proof []byte) []byte { return append(bytes.Clone(mark), proof...) }

// Proof takes the proof out of a block's transactions: it is the first one and the
// only one of its kind.
func Proof(txs [][]byte) ([]byte, error) {
	if len(txs) == 0 || !IsProof(txs[0]) {
		return nil, fmt.Errorf("block without a beacon proof in front")
	}
	if n := len(txs[0]) - len(mark); n != ecvrf.ProofSize {
		return nil, fmt.Errorf("beacon proof of %d bytes: want %d", n, ecvrf.ProofSize)
	}
	for _, tx := range txs[1:] {
		if IsProof(tx) {
			return nil, fmt.Errorf("block with a second beacon proof")
		}
	}
	return txs[0][len(mark):], nil
}

// Input is what the proposer of a height feeds its VRF: nobody can choose it.
func Input(chain string, height int64, last work.Hash) []byte {
	var e work.Encoder
	e.String("gotong/beacon-input/1")
	e.String(chain)
	e.U64(uint64(height))
	e.Hash(last)
	return e.Bytes()
}

// Next is the value after last, given the VRF's output (never its proof, which is
// not unique).
func Next(last work.Hash, output []byte) work.Hash {
	return work.Sum("gotong/beacon/1", last[:], output)
}

// Origin is the value before the first block.
func Origin(chain string) work.Hash { return work.Sum("gotong/beacon-origin/1", []byte(chain)) }

// Key is a validator's registered VRF key.
type Key struct {
	Public []byte `json:"public"`
	// Next replaces Public from NextHeight on; 0: none.
	Next       []byte `json:"next,omitempty"`
	NextHeight int64  `json:"next_height"`
}

// At is the key that counts at a height.
func (k Key) At(height int64) []byte {
	if k.NextHeight != 0 && height >= k.NextHeight {
		return k.Next
	}
	return k.Public
}

// RegisterInterfaces makes the messages known to a codec.
func RegisterInterfaces(r codectypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), &MsgSetKey{})
	msgservice.RegisterMsgServiceDesc(r, &_Msg_serviceDesc)
}
