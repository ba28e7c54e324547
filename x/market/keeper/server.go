package keeper

import (
	"context"
	"encoding/json"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/field"
	"github.com/gotong-network/gotong/x/market/types"
)

// MsgServer answers the market's messages.
type MsgServer struct{ Machine types.Machine }

var _ types.MsgServer = MsgServer{}

// CreateJob implements types.MsgServer.
func (s MsgServer) CreateJob(ctx context.Context, m *types.MsgCreateJob) (*types.MsgCreateJobResponse, error) {
	var id work.JobID
	err := s.Machine.Do(ctx, func(mc lifecycle.Machine) error {
		sender, err := field.Account(m.Sender)
		if err != nil {
			return err
		}
		spec, err := work.DecodeJobSpec(m.Spec)
		if err != nil {
			return err
		}
		if _, err := field.Account(string(spec.IndexerOwner)); err != nil {
			return err
		}
		id, err = mc.CreateJob(sender, *spec)
		return err
	})
	return &types.MsgCreateJobResponse{Job: id[:]}, err
}

// CancelJob implements types.MsgServer.
func (s MsgServer) CancelJob(ctx context.Context, m *types.MsgCancelJob) (*types.MsgCancelJobResponse, error) {
	return &types.MsgCancelJobResponse{}, s.Machine.Do(ctx, func(mc lifecycle.Machine) error {
		sender, err := field.Account(m.Sender)
		if err != nil {
			return err
		}
		id, err := field.Hash("job id", m.Job)
		if err != nil {
			return err
		}
		var release *sign.Signature
		if len(m.Release) > 0 {
			sig, err := field.Signature("release", m.Release)
			if err != nil {
				return err
			}
			release = &sig
		}
		return mc.CancelJob(sender, id, release)
	})
}

// ReportEquivocation implements types.MsgServer.
func (s MsgServer) ReportEquivocation(ctx context.Context, m *types.MsgReportEquivocation) (*types.MsgReportEquivocationResponse, error) {
	return &types.MsgReportEquivocationResponse{}, s.Machine.Do(ctx, func(mc lifecycle.Machine) error {
		sender, err := field.Account(m.Sender)
		if err != nil {
			return err
		}
		id, err := field.Hash("job id", m.Job)
		if err != nil {
			return err
		}
		a, err := work.DecodeAssignment(m.A)
		if err != nil {
			return err
		}
		b, err := work.DecodeAssignment(m.B)
		if err != nil {
			return err
		}
		return mc.ReportEquivocation(sender, id, *a, *b)
	})
}

// TakeOver implements types.MsgServer.
func (s MsgServer) TakeOver(ctx context.Context, m *types.MsgTakeOver) (*types.MsgTakeOverResponse, error) {
	return &types.MsgTakeOverResponse{}, s.ofJob(ctx, m.Sender, m.Job, lifecycle.Machine.TakeOver)
}

// KeepJob implements types.MsgServer.
func (s MsgServer) KeepJob(ctx context.Context, m *types.MsgKeepJob) (*types.MsgKeepJobResponse, error) {
	return &types.MsgKeepJobResponse{}, s.ofJob(ctx, m.Sender, m.Job, lifecycle.Machine.KeepJob)
}

// Reassign implements types.MsgServer.
func (s MsgServer) Reassign(ctx context.Context, m *types.MsgReassign) (*types.MsgReassignResponse, error) {
	return &types.MsgReassignResponse{}, s.ofJob(ctx, m.Sender, m.Job, func(mc lifecycle.Machine, sender work.Address, id work.JobID) error {
		key, err := field.PublicKey("indexer", m.Indexer)
		if err != nil {
			return err
		}
		owner, err := field.Account(m.Owner)
		if err != nil {
			return err
		}
		return mc.Reassign(sender, id, key, owner)
	})
}

// ofJob gives a message of a sender about a job to the machine.
func (s MsgServer) ofJob(ctx context.Context, from string, job []byte, do func(lifecycle.Machine, work.Address, work.JobID) error) error {
	return s.Machine.Do(ctx, func(mc lifecycle.Machine) error {
		sender, err := field.Account(from)
		if err != nil {
			return err
		}
		id, err := field.Hash("job id", job)
		if err != nil {
			return err
		}
		return do(mc, sender, id)
	})
}

// QueryServer answers the market's queries.
type QueryServer struct{ Keeper Keeper }

var _ types.QueryServer = QueryServer{}

// Job implements types.QueryServer.
func (s QueryServer) Job(ctx context.Context, r *types.QueryJobRequest) (*types.QueryJobResponse, error) {
	id, err := field.Hash("job id", r.Job)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	j, err := s.Keeper.Job(ctx, id)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(j)
	return &types.QueryJobResponse{Job: b}, err
}

// Jobs implements types.QueryServer.
func (s QueryServer) Jobs(ctx context.Context, r *types.QueryJobsRequest) (*types.QueryJobsResponse, error) {
	l, more, err := s.Keeper.jobsAfter(ctx, r.Client, r.After)
	if err != nil {
		return nil, err
	}
	a := &types.QueryJobsResponse{More: more}
	for i := range l {
		b, err := json.Marshal(&l[i])
		if err != nil {
			return nil, err
		}
		a.Jobs = append(a.Jobs, b)
	}
	return a, nil
}
