package chainnode

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/gotong-network/gotong/app"
)

// abciApp lends the application to CometBFT and tells when it refuses a decided
// block, which CometBFT itself only logs.
type abciApp struct {
	*app.App
	failed func(error)
}

var _ abci.Application = abciApp{}

func (a abciApp) FinalizeBlock(_ context.Context, r *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	res, err := a.App.FinalizeBlock(r)
	if err != nil {
		a.failed(err)
	}
	return res, err
}

func (a abciApp) Commit(context.Context, *abci.RequestCommit) (*abci.ResponseCommit, error) {
	res, err := a.App.Commit()
	if err != nil {
		a.failed(err)
	}
	return res, err
}

func (a abciApp) Info(_ context.Context, r *abci.RequestInfo) (*abci.ResponseInfo, error) {
	return a.App.Info(r)
}

func (a abciApp) CheckTx(_ context.Context, r *abci.RequestCheckTx) (*abci.ResponseCheckTx, error) {
	return a.App.CheckTx(r)
}

func (a abciApp) InsertTx(_ context.Context, r *abci.RequestInsertTx) (*abci.ResponseInsertTx, error) {
	return a.App.InsertTx(r)
}

func (a abciApp) ReapTxs(_ context.Context, r *abci.RequestReapTxs) (*abci.ResponseReapTxs, error) {
	return a.App.ReapTxs(r)
}

func (a abciApp) InitChain(_ context.Context, r *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	return a.App.InitChain(r)
}

func (a abciApp) PrepareProposal(_ context.Context, r *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	return a.App.PrepareProposal(r)
}

func (a abciApp) ProcessProposal(_ context.Context, r *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	return a.App.ProcessProposal(r)
}

func (a abciApp) VerifyVoteExtension(_ context.Context, r *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	return a.App.VerifyVoteExtension(r)
}

func (a abciApp) ListSnapshots(_ context.Context, r *abci.RequestListSnapshots) (*abci.ResponseListSnapshots, error) {
	return a.App.ListSnapshots(r)
}

func (a abciApp) OfferSnapshot(_ context.Context, r *abci.RequestOfferSnapshot) (*abci.ResponseOfferSnapshot, error) {
	return a.App.OfferSnapshot(r)
}

func (a abciApp) LoadSnapshotChunk(_ context.Context, r *abci.RequestLoadSnapshotChunk) (*abci.ResponseLoadSnapshotChunk, error) {
	return a.App.LoadSnapshotChunk(r)
}

func (a abciApp) ApplySnapshotChunk(_ context.Context, r *abci.RequestApplySnapshotChunk) (*abci.ResponseApplySnapshotChunk, error) {
	return a.App.ApplySnapshotChunk(r)
}
