// Package beacon is the chain module of the random beacon: the messages and
// queries, the genesis, and the three places of a block's life where the proof is
// made, checked and stored (proposal.go).
//
// Values and keys are the keeper's. What draws are made of them is lifecycle's.
package beacon

import (
	"cosmossdk.io/collections"
	"cosmossdk.io/core/appmodule"
	"google.golang.org/grpc"

	"github.com/gotong-network/gotong/x/beacon/keeper"
	"github.com/gotong-network/gotong/x/beacon/types"
)

// Module is the beacon as the application wires it.
type Module struct {
	collections.Schema
	keeper keeper.Keeper
}

var (
	_ appmodule.HasServices = Module{}
	_ appmodule.HasGenesis  = Module{}
)

// New makes the module.
func New(k keeper.Keeper) Module { return Module{k.Schema, k} }

// Name is the module's name.
func (Module) Name() string { return types.ModuleName }

// ConsensusVersion counts incompatible changes of the state.
func (Module) ConsensusVersion() uint64 { return 1 }

// RegisterServices implements appmodule.HasServices.
func (m Module) RegisterServices(r grpc.ServiceRegistrar) error {
	types.RegisterMsgServer(r, keeper.MsgServer{Keeper: m.keeper})
	types.RegisterQueryServer(r, keeper.QueryServer{Keeper: m.keeper})
	return nil
}
