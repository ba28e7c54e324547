package keeper

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/beacon/types"
	"github.com/gotong-network/gotong/x/internal/field"
)

// MsgServer answers the beacon's messages.
type MsgServer struct{ Keeper Keeper }

var _ types.MsgServer = MsgServer{}

// SetKey implements types.MsgServer.
func (s MsgServer) SetKey(ctx context.Context, m *types.MsgSetKey) (*types.MsgSetKeyResponse, error) {
	operator, err := field.AccountBytes(work.Address(m.Sender))
	if err != nil {
		return nil, err
	}
	if len(m.Key) != types.KeyBytes {
		return nil, fmt.Errorf("VRF key of %d bytes: want %d", len(m.Key), types.KeyBytes)
	}
	v, err := s.Keeper.staking.GetValidator(ctx, operator)
	if err != nil {
		return nil, fmt.Errorf("%s operates no validator: %w", m.Sender, err)
	}
	consensus, err := v.GetConsAddr()
	if err != nil {
		return nil, err
	}
	height, err := s.Keeper.setKey(sdk.UnwrapSDKContext(ctx), consensus, m.Key)
	return &types.MsgSetKeyResponse{Height: height}, err
}

// QueryServer answers the beacon's queries.
type QueryServer struct{ Keeper Keeper }

var _ types.QueryServer = QueryServer{}

// Value implements types.QueryServer.
func (s QueryServer) Value(ctx context.Context, r *types.QueryValueRequest) (*types.QueryValueResponse, error) {
	height := r.Height
	if height == 0 {
		height = sdk.UnwrapSDKContext(ctx).BlockHeight()
	}
	v, err := s.Keeper.Value(ctx, height)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	return &types.QueryValueResponse{Height: height, Value: v[:]}, err
}
