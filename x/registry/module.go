// Package registry is the chain module of the bonded parties: who provides, who
// checks, who indexes, with which peer key, what bond and what unvested pay.
//
// It owns messages, queries and genesis of that; records and sums are the
// keeper's, rules are lifecycle's. Genesis is the collections' own form.
package registry

import (
	"cosmossdk.io/collections"
	"cosmossdk.io/core/appmodule"
	"google.golang.org/grpc"

	"github.com/gotong-network/gotong/x/registry/keeper"
	"github.com/gotong-network/gotong/x/registry/types"
)

// Module is the registry as the application wires it.
type Module struct {
	collections.Schema
	keeper  keeper.Keeper
	machine types.Machine
}

var (
	_ appmodule.HasServices = Module{}
	_ appmodule.HasGenesis  = Module{}
)

// New makes the module; m runs its messages.
func New(k keeper.Keeper, m types.Machine) Module { return Module{k.Schema, k, m} }

// Name is the module's name.
func (Module) Name() string { return types.ModuleName }

// ConsensusVersion counts incompatible changes of the state.
func (Module) ConsensusVersion() uint64 { return 1 }

// RegisterServices implements appmodule.HasServices.
func (m Module) RegisterServices(r grpc.ServiceRegistrar) error {
	types.RegisterMsgServer(r, keeper.MsgServer{Machine: m.machine})
	types.RegisterQueryServer(r, keeper.QueryServer{Keeper: m.keeper})
	return nil
}
