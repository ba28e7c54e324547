package beacon

import (
	"context"
	"errors"
	"fmt"

	abci "github.com/cometbft/cometbft/abci/types"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/ecvrf"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/x/beacon/keeper"
	"github.com/gotong-network/gotong/x/beacon/types"
)

// Prepare puts the proof in front of the transactions of a proposal, as many as
// fit beside it, decode, and pass the filter that fill gives for each proposal. key is
// this node's VRF key; without one it cannot propose, and its turn passes to the next
// validator.
func Prepare(k keeper.Keeper, key ed25519.PrivateKey, decode sdk.TxDecoder, fill func(sdk.Context) func(tx sdk.Tx, bytes int) bool) sdk.PrepareProposalHandler {
	return func(ctx sdk.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
		if key == nil {
			return nil, errors.New("this node has no VRF key: it cannot propose blocks")
		}
		input, err := k.Input(ctx, req.Height)
		if err != nil {
			return nil, err
		}
		txs := [][]byte{types.ProofTx(ecvrf.Prove(key, input))}
		room, fits := req.MaxTxBytes-size(txs[0]), fill(ctx)
		for _, raw := range req.Txs {
			if size(raw) > room {
				break
			}
			// An error here would make CometBFT propose the bare transactions,
			// which voters refuse: so what does not decode is left out.
			if tx, err := decode(raw); err == nil && fits(tx, len(raw)) {
				txs = append(txs, raw)
				room -= size(raw)
			}
		}
		return &abci.ResponsePrepareProposal{Txs: txs}, nil
	}
}

// size is what a transaction takes of a block's MaxTxBytes.
func size(tx []byte) int64 { return cmttypes.ComputeProtoSizeForTxs([]cmttypes.Tx{tx}) }

// Process refuses a proposal without its proposer's proof.
func Process(k keeper.Keeper) sdk.ProcessProposalHandler {
	return func(ctx sdk.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
		if _, err := k.Check(ctx, req.ProposerAddress, req.Height, req.Txs); err != nil {
			ctx.Logger().Error("refused a proposal", "height", req.Height, "err", err)
			return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
		}
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
	}
}

// PreBlock checks the proof again and stores the block's value, before any
// transaction runs.
func PreBlock(k keeper.Keeper, ctx sdk.Context, req *abci.RequestFinalizeBlock) error {
	v, err := k.Check(ctx, req.ProposerAddress, req.Height, req.Txs)
	if err != nil {
		return fmt.Errorf("block %d: %w", req.Height, err)
	}
	return k.Add(ctx, req.Height, v, req.DecidedLastCommit.Round > 0)
}

// Runner keeps the proof from the executor of transactions: its own result is
// success, at no cost.
type Runner struct{ Inner sdk.TxRunner }

// Run implements sdk.TxRunner.
func (r Runner) Run(ctx context.Context, ms storetypes.MultiStore, txs [][]byte, deliver sdk.DeliverTxFunc) ([]*abci.ExecTxResult, error) {
	if len(txs) == 0 || !types.IsProof(txs[0]) {
		return r.Inner.Run(ctx, ms, txs, deliver)
	}
	res, err := r.Inner.Run(ctx, ms, txs[1:], deliver)
	if err != nil {
		return nil, err
	}
	return append([]*abci.ExecTxResult{{Codespace: types.ModuleName, Log: "beacon proof"}}, res...), nil
}
