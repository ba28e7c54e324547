// Package types holds the messages and queries of the commons (generated from
// proto/gotong/reward/v1), the module's names, and what it needs of its neighbours.
// It imports nothing of the keeper, so that clients stay small.
package types

import (
	"context"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/msgservice"

	"github.com/gotong-network/gotong/lifecycle"
)

// ModuleName names the module, its store and the account that mints and that holds
// the pool of the commons.
const ModuleName = "reward"

// Machine runs a transition of the protocol on the chain's state. If f fails, what
// it changed is dropped with its transaction.
type Machine interface {
	Do(ctx context.Context, f func(lifecycle.Machine) error) error
}

// BankKeeper makes, ends and counts money.
type BankKeeper interface {
	MintCoins(ctx context.Context, module string, amt sdk.Coins) error
	BurnCoins(ctx context.Context, module string, amt sdk.Coins) error
	GetSupply(ctx context.Context, denom string) sdk.Coin
}

// RegisterInterfaces makes the messages known to a codec.
func RegisterInterfaces(r codectypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), &MsgApproveCommons{})
	msgservice.RegisterMsgServiceDesc(r, &_Msg_serviceDesc)
}
