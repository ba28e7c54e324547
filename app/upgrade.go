package app

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/core/appmodule"
	"google.golang.org/grpc"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	upgradekeeper "github.com/cosmos/cosmos-sdk/x/upgrade/keeper"
	upgradetypes "github.com/cosmos/cosmos-sdk/x/upgrade/types"

	marketkeeper "github.com/gotong-network/gotong/x/market/keeper"
	proofkeeper "github.com/gotong-network/gotong/x/proof/keeper"
	registrykeeper "github.com/gotong-network/gotong/x/registry/keeper"
	rewardkeeper "github.com/gotong-network/gotong/x/reward/keeper"
)

// ErrUpgrade reports a program that is not the one that a height needs.
var ErrUpgrade = errors.New("the chain needs another version of this program")

// Upgrade is a change of the state that governance schedules by its name: the version
// of the program that has it goes on at the height, every other one stops there.
type Upgrade struct {
	Name    string
	Migrate func(sdk.Context, Keepers) error
}

// Keepers are what an upgrade may change.
type Keepers struct {
	Registry registrykeeper.Keeper
	Market   marketkeeper.Keeper
	Proof    proofkeeper.Keeper
	Reward   rewardkeeper.Keeper
}

// upgrades are those that this version of the program can do (docs/upgrade.md). The
// last one stays until the next: a chain that did it runs no program without it.
var upgrades []Upgrade

// upgradeModule is the SDK's keeper of upgrades as a module. The SDK's own module
// brings a command that downloads programs, and with it the clients of two clouds.
type upgradeModule struct{ keeper *upgradekeeper.Keeper }

var _ appmodule.HasServices = upgradeModule{}

// IsOnePerModuleType and IsAppModule mark a module.
func (upgradeModule) IsOnePerModuleType() {}
func (upgradeModule) IsAppModule()        {}

// Name is the module's name.
func (upgradeModule) Name() string { return upgradetypes.ModuleName }

// ConsensusVersion is that of the SDK's module.
func (upgradeModule) ConsensusVersion() uint64 { return 3 }

// RegisterServices implements appmodule.HasServices.
func (m upgradeModule) RegisterServices(r grpc.ServiceRegistrar) error {
	upgradetypes.RegisterMsgServer(r, upgradekeeper.NewMsgServerImpl(m.keeper))
	upgradetypes.RegisterQueryServer(r, m.keeper)
	return nil
}

// upgrader does upgrades at their heights.
type upgrader struct {
	keeper  *upgradekeeper.Keeper
	manager *module.Manager
	config  module.Configurator
}

func newUpgrader(k *upgradekeeper.Keeper, m *module.Manager, c module.Configurator, known []Upgrade, keepers Keepers) upgrader {
	u := upgrader{k, m, c}
	for _, one := range known {
		k.SetUpgradeHandler(one.Name, func(ctx context.Context, _ upgradetypes.Plan, from module.VersionMap) (module.VersionMap, error) {
			if err := one.Migrate(sdk.UnwrapSDKContext(ctx), keepers); err != nil {
				return nil, fmt.Errorf("upgrade %s: %w", one.Name, err)
			}
			return m.RunMigrations(ctx, c, from)
		})
	}
	return u
}

// preBlock does the upgrade that is due, before anything else of the block, and
// reports whether there was one.
func (u upgrader) preBlock(ctx sdk.Context) (done bool, err error) {
	plan, err := u.due(ctx, ctx.BlockHeight())
	if err != nil || plan == nil {
		return false, err
	}
	ctx.Logger().Info("upgrading", "name", plan.Name, "height", plan.Height)
	return true, u.keeper.ApplyUpgrade(ctx.WithBlockGasMeter(storetypes.NewInfiniteGasMeter()), *plan)
}

// due is the upgrade that the block of a height begins with, nil without one. That this
// program lacks it, or has one that is not due yet, is an error: it would make another
// state than the others.
func (u upgrader) due(ctx sdk.Context, height int64) (*upgradetypes.Plan, error) {
	last, _, err := u.keeper.GetLastCompletedUpgrade(ctx)
	if err != nil {
		return nil, err
	}
	if last != "" && !u.keeper.HasHandler(last) {
		return nil, fmt.Errorf("%w: the upgrade %q was done and this program is older: install the newer version", ErrUpgrade, last)
	}
	plan, err := u.keeper.GetUpgradePlan(ctx)
	if errors.Is(err, upgradetypes.ErrNoUpgradePlanFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	due, known := plan.ShouldExecute(height), u.keeper.HasHandler(plan.Name)
	switch {
	case due && !known:
		return nil, fmt.Errorf("%w: the upgrade %q is due at height %d: install the version that has it and start again: %s", ErrUpgrade, plan.Name, plan.Height, plan.Info)
	case !due && known:
		return nil, fmt.Errorf("%w: the upgrade %q is due at height %d only: run the version before until then", ErrUpgrade, plan.Name, plan.Height)
	case due:
		return &plan, nil
	}
	return nil, nil
}

// begin notes the versions of the modules of a new chain.
func (u upgrader) begin(ctx sdk.Context) error {
	return u.keeper.SetModuleVersionMap(ctx, u.manager.GetVersionMap())
}

func registerUpgrades(r codectypes.InterfaceRegistry) { upgradetypes.RegisterInterfaces(r) }
