// Package types holds the messages and queries about batches (generated from
// proto/gotong/proof/v1), their translation to and from the machines' own words,
// the refusals of the chain, and what the module needs of its neighbours. It
// imports nothing of the keeper, so that clients stay small.
package types

import (
	"context"
	"encoding/binary"
	"time"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/msgservice"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// ModuleName names the module, its store and the account that holds the stakes of
// disputes.
const ModuleName = "proof"

// What happened travels as events of one type with one attribute: the JSON of a
// lifecycle.Event.
const (
	EventType      = "gotong"
	EventAttribute = "event"
)

// KeepDigests is for how many heights the digest of events is kept: fourteen hours
// at two blocks a second.
const KeepDigests = 100_000

// NextDigest is the digest of events after one more of them, as the bytes of its
// attribute, at a height. Before a chain's first block the digest is zero.
func NextDigest(last work.Hash, height int64, event []byte) work.Hash {
	return work.Sum("gotong/events/1", last[:], binary.BigEndian.AppendUint64(nil, uint64(height)), event)
}

// CloseDigest is the digest of events at the end of a height, whose block has a time.
func CloseDigest(last work.Hash, height int64, at time.Time) work.Hash {
	b := binary.BigEndian.AppendUint64(nil, uint64(height))
	return work.Sum("gotong/eventsblock/1", last[:], binary.BigEndian.AppendUint64(b, uint64(at.UnixNano())))
}

// DigestPrefix is where the module's store has the digests of events.
const DigestPrefix = 13

// DigestKey is where the module's store has the digest of all events up to the end of
// a height.
func DigestKey(height int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{DigestPrefix}, uint64(height))
}

// BankKeeper moves and counts money. What is minted and burned goes through the
// RewardKeeper.
type BankKeeper interface {
	SendCoins(ctx context.Context, from, to sdk.AccAddress, amt sdk.Coins) error
	SendCoinsFromAccountToModule(ctx context.Context, from sdk.AccAddress, module string, amt sdk.Coins) error
	SendCoinsFromModuleToAccount(ctx context.Context, module string, to sdk.AccAddress, amt sdk.Coins) error
	SendCoinsFromModuleToModule(ctx context.Context, from, to string, amt sdk.Coins) error
	GetBalance(ctx context.Context, account sdk.AccAddress, denom string) sdk.Coin
	GetSupply(ctx context.Context, denom string) sdk.Coin
}

// MarketKeeper is the store of the jobs.
type MarketKeeper interface {
	Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error)
	SetJob(ctx context.Context, j *lifecycle.Job) error
	Taken(ctx context.Context, job work.JobID, provider work.Address) (work.RangeSet, error)
	SetTaken(ctx context.Context, job work.JobID, provider work.Address, items work.RangeSet) error
	Holder
}

// RegistryKeeper is the store of the parties.
type RegistryKeeper interface {
	Party(ctx context.Context, role lifecycle.Role, account work.Address) (*lifecycle.Party, error)
	SetParty(ctx context.Context, p *lifecycle.Party) error
	Parties(ctx context.Context, role lifecycle.Role) ([]*lifecycle.Party, error)
	Bonded(ctx context.Context) (work.Amount, error)
	Unvested(ctx context.Context) (work.Amount, error)
	Holder
}

// Holder knows what its records say that its module's account holds: as followed
// with every change, and by a walk over all records.
type Holder interface {
	Held(ctx context.Context) (work.Amount, error)
	Recount(ctx context.Context) (work.Amount, error)
}

// BeaconKeeper knows the beacon's values.
type BeaconKeeper interface {
	Value(ctx context.Context, height int64) (work.Hash, error)
	Skipped(ctx context.Context, height int64) (bool, error)
}

// RegisterInterfaces makes the messages known to a codec.
func RegisterInterfaces(r codectypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), &MsgCommitBatch{}, &MsgOpenBatch{}, &MsgCommitCheck{}, &MsgRevealBatch{}, &MsgRevealCheck{},
		&MsgChallenge{}, &MsgClaimDelivery{}, &MsgAnswerChallenge{}, &MsgCommitVote{}, &MsgRevealVote{}, &MsgDecide{}, &MsgUpdateParams{})
	msgservice.RegisterMsgServiceDesc(r, &_Msg_serviceDesc)
}
