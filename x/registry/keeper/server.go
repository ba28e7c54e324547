package keeper

import (
	"context"
	"encoding/json"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/field"
	"github.com/gotong-network/gotong/x/registry/types"
)

// MsgServer answers the registry's messages.
type MsgServer struct{ Machine types.Machine }

var _ types.MsgServer = MsgServer{}

// Register implements types.MsgServer.
func (s MsgServer) Register(ctx context.Context, m *types.MsgRegister) (*types.MsgRegisterResponse, error) {
	return &types.MsgRegisterResponse{}, s.Machine.Do(ctx, func(mc lifecycle.Machine) error {
		sender, err := field.Account(m.Sender)
		if err != nil {
			return err
		}
		role, err := role(m.Role)
		if err != nil {
			return err
		}
		peer, err := field.PublicKey("peer key", m.Peer)
		if err != nil {
			return err
		}
		return mc.Register(sender, role, peer, work.Amount(m.Bond))
	})
}

// Unbond implements types.MsgServer.
func (s MsgServer) Unbond(ctx context.Context, m *types.MsgUnbond) (*types.MsgUnbondResponse, error) {
	return &types.MsgUnbondResponse{}, s.Machine.Do(ctx, func(mc lifecycle.Machine) error {
		sender, err := field.Account(m.Sender)
		if err != nil {
			return err
		}
		role, err := role(m.Role)
		if err != nil {
			return err
		}
		return mc.Unbond(sender, role, work.Amount(m.Amount))
	})
}

func role(r uint32) (lifecycle.Role, error) {
	if r < uint32(lifecycle.RoleProvider) || r > uint32(lifecycle.RoleIndexer) {
		return 0, errors.New("role: want 1 (provider), 2 (checker) or 3 (indexer)")
	}
	return lifecycle.Role(r), nil
}

// QueryServer answers the registry's queries.
type QueryServer struct{ Keeper Keeper }

var _ types.QueryServer = QueryServer{}

// Party implements types.QueryServer.
func (s QueryServer) Party(ctx context.Context, r *types.QueryPartyRequest) (*types.QueryPartyResponse, error) {
	role, err := role(r.Role)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	p, err := s.Keeper.Party(ctx, role, work.Address(r.Account))
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(p)
	return &types.QueryPartyResponse{Party: b}, err
}

// Parties implements types.QueryServer.
func (s QueryServer) Parties(ctx context.Context, r *types.QueryPartiesRequest) (*types.QueryPartiesResponse, error) {
	l, more, err := s.Keeper.partiesAfter(ctx, r.Role, r.After)
	if err != nil {
		return nil, err
	}
	a := &types.QueryPartiesResponse{More: more}
	for _, p := range l {
		b, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		a.Parties = append(a.Parties, b)
	}
	return a, nil
}
