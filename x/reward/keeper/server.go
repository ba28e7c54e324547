package keeper

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/field"
	"github.com/gotong-network/gotong/x/reward/types"
)

// MsgServer answers the messages about the commons. Authority is the account that
// may approve jobs: governance.
type MsgServer struct {
	Machine   types.Machine
	Authority string
}

var _ types.MsgServer = MsgServer{}

// ApproveCommons implements types.MsgServer.
func (s MsgServer) ApproveCommons(ctx context.Context, m *types.MsgApproveCommons) (*types.MsgApproveCommonsResponse, error) {
	var id work.JobID
	err := s.Machine.Do(ctx, func(mc lifecycle.Machine) error {
		if m.Authority != s.Authority {
			return fmt.Errorf("%w: only %s, governance, approves jobs of the commons: propose it", lifecycle.ErrRefused, s.Authority)
		}
		spec, err := work.DecodeJobSpec(m.Spec)
		if err != nil {
			return err
		}
		for _, a := range []work.Address{spec.Client, spec.IndexerOwner} {
			if _, err := field.Account(string(a)); err != nil {
				return err
			}
		}
		id, err = mc.ApproveCommons(*spec)
		return err
	})
	return &types.MsgApproveCommonsResponse{Job: id[:]}, err
}

// QueryServer answers the queries about the commons.
type QueryServer struct{ Keeper Keeper }

var _ types.QueryServer = QueryServer{}

// Commons implements types.QueryServer.
func (s QueryServer) Commons(ctx context.Context, _ *types.QueryCommonsRequest) (*types.QueryCommonsResponse, error) {
	c, err := s.Keeper.Commons(ctx)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(c)
	return &types.QueryCommonsResponse{Commons: b}, err
}
