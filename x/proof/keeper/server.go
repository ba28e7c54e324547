package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/field"
	"github.com/gotong-network/gotong/x/proof/types"
)

// MsgServer answers the messages about batches. Authority is the account that may
// change the parameters: governance.
type MsgServer struct {
	Keeper    Keeper
	Authority string
}

var _ types.MsgServer = MsgServer{}

// CommitBatch implements types.MsgServer.
func (s MsgServer) CommitBatch(ctx context.Context, m *types.MsgCommitBatch) (*types.MsgCommitBatchResponse, error) {
	var id work.BatchID
	err := s.Keeper.Do(ctx, func(mc lifecycle.Machine) error {
		sender, err := field.Account(m.Sender)
		if err != nil {
			return err
		}
		job, err := field.Hash("job id", m.Job)
		if err != nil {
			return err
		}
		parts, err := types.ToParts(m.Parts)
		if err != nil {
			return err
		}
		root, err := m.Root.Work()
		if err != nil {
			return err
		}
		id, err = mc.CommitBatch(sender, job, parts, root, work.Fuel(m.MaxItemFuel))
		return err
	})
	return &types.MsgCommitBatchResponse{Batch: id[:]}, err
}

// OpenBatch implements types.MsgServer.
func (s MsgServer) OpenBatch(ctx context.Context, m *types.MsgOpenBatch) (*types.MsgOpenBatchResponse, error) {
	return &types.MsgOpenBatchResponse{}, s.onBatch(ctx, m.Sender, m.Batch, func(mc lifecycle.Machine, sender work.Address, id work.BatchID) error {
		l, err := types.ToOpenings(m.Openings)
		if err != nil {
			return err
		}
		return mc.OpenBatch(sender, id, l)
	})
}

// CommitCheck implements types.MsgServer.
func (s MsgServer) CommitCheck(ctx context.Context, m *types.MsgCommitCheck) (*types.MsgCommitCheckResponse, error) {
	return &types.MsgCommitCheckResponse{}, s.onBatch(ctx, m.Sender, m.Batch, func(mc lifecycle.Machine, sender work.Address, id work.BatchID) error {
		c, err := field.Hash("commitment", m.Commitment)
		if err != nil {
			return err
		}
		return mc.CommitCheck(sender, id, c)
	})
}

// RevealBatch implements types.MsgServer.
func (s MsgServer) RevealBatch(ctx context.Context, m *types.MsgRevealBatch) (*types.MsgRevealBatchResponse, error) {
	return &types.MsgRevealBatchResponse{}, s.onBatch(ctx, m.Sender, m.Batch, revealing(m.Salt, m.Leaves, lifecycle.Machine.RevealBatch))
}

// RevealCheck implements types.MsgServer.
func (s MsgServer) RevealCheck(ctx context.Context, m *types.MsgRevealCheck) (*types.MsgRevealCheckResponse, error) {
	return &types.MsgRevealCheckResponse{}, s.onBatch(ctx, m.Sender, m.Batch, revealing(m.Salt, m.Leaves, lifecycle.Machine.RevealCheck))
}

// Challenge implements types.MsgServer.
func (s MsgServer) Challenge(ctx context.Context, m *types.MsgChallenge) (*types.MsgChallengeResponse, error) {
	return &types.MsgChallengeResponse{}, s.onBatch(ctx, m.Sender, m.Batch, func(mc lifecycle.Machine, sender work.Address, id work.BatchID) error {
		leaf, err := work.ParseLeaf(m.Leaf)
		if err != nil {
			return fmt.Errorf("leaf: %w", err)
		}
		return mc.Challenge(sender, id, m.Position, leaf)
	})
}

// ClaimDelivery implements types.MsgServer.
func (s MsgServer) ClaimDelivery(ctx context.Context, m *types.MsgClaimDelivery) (*types.MsgClaimDeliveryResponse, error) {
	return &types.MsgClaimDeliveryResponse{}, s.onBatch(ctx, m.Sender, m.Batch, func(mc lifecycle.Machine, sender work.Address, id work.BatchID) error {
		return mc.ClaimDelivery(sender, id, m.Position)
	})
}

// AnswerChallenge implements types.MsgServer.
func (s MsgServer) AnswerChallenge(ctx context.Context, m *types.MsgAnswerChallenge) (*types.MsgAnswerChallengeResponse, error) {
	return &types.MsgAnswerChallengeResponse{}, s.onBatch(ctx, m.Sender, m.Batch, func(mc lifecycle.Machine, sender work.Address, id work.BatchID) error {
		o, err := m.Opening.Lifecycle()
		if err != nil {
			return err
		}
		leaf, err := work.ParseLeaf(m.Leaf)
		if err != nil {
			return fmt.Errorf("leaf: %w", err)
		}
		return mc.AnswerChallenge(sender, id, o, leaf)
	})
}

// CommitVote implements types.MsgServer.
func (s MsgServer) CommitVote(ctx context.Context, m *types.MsgCommitVote) (*types.MsgCommitVoteResponse, error) {
	return &types.MsgCommitVoteResponse{}, s.onBatch(ctx, m.Sender, m.Batch, func(mc lifecycle.Machine, sender work.Address, id work.BatchID) error {
		c, err := field.Hash("commitment", m.Commitment)
		if err != nil {
			return err
		}
		return mc.CommitVote(sender, id, c)
	})
}

// RevealVote implements types.MsgServer.
func (s MsgServer) RevealVote(ctx context.Context, m *types.MsgRevealVote) (*types.MsgRevealVoteResponse, error) {
	return &types.MsgRevealVoteResponse{}, s.onBatch(ctx, m.Sender, m.Batch, revealing(m.Salt, m.Leaves, lifecycle.Machine.RevealVote))
}

// Decide implements types.MsgServer.
func (s MsgServer) Decide(ctx context.Context, m *types.MsgDecide) (*types.MsgDecideResponse, error) {
	return &types.MsgDecideResponse{}, s.onBatch(ctx, m.Authority, m.Batch, func(mc lifecycle.Machine, sender work.Address, id work.BatchID) error {
		if string(sender) != s.Authority {
			return fmt.Errorf("%w: only %s, governance, decides about a frozen batch: propose it", lifecycle.ErrRefused, s.Authority)
		}
		return mc.Decide(id, m.Uphold)
	})
}

// UpdateParams implements types.MsgServer.
func (s MsgServer) UpdateParams(ctx context.Context, m *types.MsgUpdateParams) (*types.MsgUpdateParamsResponse, error) {
	if m.Authority != s.Authority {
		return nil, types.Refuse(fmt.Errorf("%w: only %s may change parameters", lifecycle.ErrRefused, s.Authority))
	}
	p, err := types.DecodeParams(m.Params)
	if err != nil {
		return nil, types.Refuse(err)
	}
	return &types.MsgUpdateParamsResponse{}, s.Keeper.params.Set(ctx, p)
}

// onBatch reads the two fields that most messages begin with.
func (s MsgServer) onBatch(ctx context.Context, sender string, batch []byte, f func(lifecycle.Machine, work.Address, work.BatchID) error) error {
	return s.Keeper.Do(ctx, func(mc lifecycle.Machine) error {
		account, err := field.Account(sender)
		if err != nil {
			return err
		}
		id, err := field.Hash("batch id", batch)
		if err != nil {
			return err
		}
		return f(mc, account, id)
	})
}

// revealing reads salt and leaves for one of the machine's reveals.
func revealing(salt []byte, leaves [][]byte, reveal func(lifecycle.Machine, work.Address, work.BatchID, work.Hash, []work.Leaf) error) func(lifecycle.Machine, work.Address, work.BatchID) error {
	return func(mc lifecycle.Machine, sender work.Address, id work.BatchID) error {
		v, err := field.Hash("salt", salt)
		if err != nil {
			return err
		}
		l, err := types.ToLeaves(leaves)
		if err != nil {
			return err
		}
		return reveal(mc, sender, id, v, l)
	}
}

// QueryServer answers the queries about batches, parameters and money.
type QueryServer struct{ Keeper Keeper }

var _ types.QueryServer = QueryServer{}

// Batch implements types.QueryServer.
func (s QueryServer) Batch(ctx context.Context, r *types.QueryBatchRequest) (*types.QueryBatchResponse, error) {
	id, err := field.Hash("batch id", r.Batch)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	v, err := s.Keeper.Batch(ctx, id)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	return &types.QueryBatchResponse{Batch: b}, err
}

// Batches implements types.QueryServer.
func (s QueryServer) Batches(ctx context.Context, r *types.QueryBatchesRequest) (*types.QueryBatchesResponse, error) {
	job, err := field.Hash("job id", r.Job)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	l, more, err := s.Keeper.batchesAfter(ctx, job, r.After)
	return &types.QueryBatchesResponse{Batches: l, More: more}, err
}

// Evidence implements types.QueryServer.
func (s QueryServer) Evidence(ctx context.Context, r *types.QueryEvidenceRequest) (*types.QueryEvidenceResponse, error) {
	id, err := field.Hash("batch id", r.Batch)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	b, err := s.Keeper.evidence.Get(ctx, id[:])
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Error(codes.NotFound, fmt.Sprintf("no assignments of batch %s: it is none, or one of the commons", id))
	}
	if err != nil {
		return nil, err
	}
	v := new(types.QueryEvidenceResponse)
	return v, v.Unmarshal(b)
}

// Params implements types.QueryServer.
func (s QueryServer) Params(ctx context.Context, _ *types.QueryParamsRequest) (*types.QueryParamsResponse, error) {
	p, err := s.Keeper.Params(ctx)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(p)
	return &types.QueryParamsResponse{Params: b}, err
}

// Supply implements types.QueryServer.
func (s QueryServer) Supply(ctx context.Context, _ *types.QuerySupplyRequest) (*types.QuerySupplyResponse, error) {
	total, err := amount(s.Keeper.Bank.GetSupply(ctx, work.Denom))
	if err != nil {
		return nil, err
	}
	flows, err := s.Keeper.Reward.Flows(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := s.Keeper.Reward.Held(ctx)
	if err != nil {
		return nil, err
	}
	escrows, err := s.Keeper.Market.Held(ctx)
	if err != nil {
		return nil, err
	}
	stakes, err := s.Keeper.Held(ctx)
	if err != nil {
		return nil, err
	}
	bonds, err := s.Keeper.Registry.Bonded(ctx)
	if err != nil {
		return nil, err
	}
	unvested, err := s.Keeper.Registry.Unvested(ctx)
	return &types.QuerySupplyResponse{Total: uint64(total), FeeBurn: uint64(flows.Fees), SlashBurn: uint64(flows.Slashes),
		Escrowed: uint64(escrows + stakes), Bonded: uint64(bonds), Minted: uint64(flows.Minted), MintedCommons: uint64(flows.Commons),
		Unvested: uint64(unvested), CommonsPool: uint64(pool)}, err
}

// Conserved implements types.QueryServer.
func (s QueryServer) Conserved(ctx context.Context, _ *types.QueryConservedRequest) (*types.QueryConservedResponse, error) {
	err := s.Keeper.Audit(ctx)
	if err != nil && !errors.Is(err, ErrNotConserved) {
		return nil, err
	}
	a := &types.QueryConservedResponse{Conserved: err == nil}
	if err != nil {
		a.Difference = err.Error()
	}
	return a, nil
}
