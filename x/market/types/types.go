// Package types holds the market's messages and queries (generated from
// proto/gotong/market/v1), its names, and what it needs of its neighbours. It
// imports nothing of the keeper, so that clients stay small.
package types

import (
	"context"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/msgservice"

	"github.com/gotong-network/gotong/lifecycle"
)

// ModuleName names the module, its store and the account that holds the escrows.
const ModuleName = "market"

// Machine runs a transition of the protocol on the chain's state. If f fails, what
// it changed is dropped with its transaction.
type Machine interface {
	Do(ctx context.Context, f func(lifecycle.Machine) error) error
}

// RegisterInterfaces makes the messages known to a codec.
func RegisterInterfaces(r codectypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), &MsgCreateJob{}, &MsgCancelJob{}, &MsgReportEquivocation{},
		&MsgTakeOver{}, &MsgKeepJob{}, &MsgReassign{})
	msgservice.RegisterMsgServiceDesc(r, &_Msg_serviceDesc)
}
