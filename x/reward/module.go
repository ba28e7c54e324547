// Package reward is the chain module of the supply: what is minted for paid work
// and for the commons, what was burned, and the jobs of the commons that governance
// approved.
//
// It owns messages, queries and genesis of that; records and counts are the
// keeper's, rules are lifecycle's. Genesis is the collections' own form.
package reward

import (
	"cosmossdk.io/collections"
	"cosmossdk.io/core/appmodule"
	"google.golang.org/grpc"

	"github.com/gotong-network/gotong/x/reward/keeper"
	"github.com/gotong-network/gotong/x/reward/types"
)

// Module is the reward module as the application wires it.
type Module struct {
	collections.Schema
	keeper    keeper.Keeper
	machine   types.Machine
	authority string
}

var (
	_ appmodule.HasServices = Module{}
	_ appmodule.HasGenesis  = Module{}
)

// New makes the module; m runs its messages, authority may approve commons.
func New(k keeper.Keeper, m types.Machine, authority string) Module {
	return Module{k.Schema, k, m, authority}
}

// Name is the module's name.
func (Module) Name() string { return types.ModuleName }

// ConsensusVersion counts incompatible changes of the state.
func (Module) ConsensusVersion() uint64 { return 1 }

// RegisterServices implements appmodule.HasServices.
func (m Module) RegisterServices(r grpc.ServiceRegistrar) error {
	types.RegisterMsgServer(r, keeper.MsgServer{Machine: m.machine, Authority: m.authority})
	types.RegisterQueryServer(r, keeper.QueryServer{Keeper: m.keeper})
	return nil
}
