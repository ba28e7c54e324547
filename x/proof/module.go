// Package proof is the chain module of the batches: commits, checks, disputes, and
// the end of every block, where draws are made, deadlines pass and money is paid.
//
// It owns messages, queries and genesis of that; records and the machines' view of
// the store are the keeper's, rules are lifecycle's. Genesis is the collections'
// own form.
package proof

import (
	"context"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/appmodule"
	"google.golang.org/grpc"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/gotong-network/gotong/x/proof/keeper"
	"github.com/gotong-network/gotong/x/proof/types"
)

// Options are how the application wants the module.
type Options struct {
	// Authority may change the parameters.
	Authority string
	// Conserve halts the chain at the end of a block in which the modules' accounts
	// do not hold what the records say.
	Conserve bool
}

// Module is the proof module as the application wires it.
type Module struct {
	collections.Schema
	keeper  keeper.Keeper
	options Options
}

var (
	_ appmodule.HasServices   = Module{}
	_ appmodule.HasGenesis    = Module{}
	_ appmodule.HasEndBlocker = Module{}
)

// New makes the module.
func New(k keeper.Keeper, o Options) Module { return Module{k.Schema, k, o} }

// Name is the module's name.
func (Module) Name() string { return types.ModuleName }

// ConsensusVersion counts incompatible changes of the state.
func (Module) ConsensusVersion() uint64 { return 1 }

// RegisterServices implements appmodule.HasServices.
func (m Module) RegisterServices(r grpc.ServiceRegistrar) error {
	types.RegisterMsgServer(r, keeper.MsgServer{Keeper: m.keeper, Authority: m.options.Authority})
	types.RegisterQueryServer(r, keeper.QueryServer{Keeper: m.keeper})
	return nil
}

// EndBlock implements appmodule.HasEndBlocker.
func (m Module) EndBlock(ctx context.Context) error {
	if err := m.keeper.EndBlock(sdk.UnwrapSDKContext(ctx)); err != nil {
		return err
	}
	if m.options.Conserve {
		return m.keeper.Conserved(ctx)
	}
	return nil
}
