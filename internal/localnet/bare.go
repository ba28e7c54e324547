package localnet

import (
	"errors"
	"time"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// BareChain is a chain of one validator without any members.
type BareChain struct {
	Dir       string // its home, which must not have been used
	Chain     string
	Params    lifecycle.Params
	BlockTime time.Duration
	Accounts  []work.Address // each begins with Balance; the first operates the validator
	Balance   work.Amount
}

// Start makes and starts the chain, for measuring it alone; stop the node after
// use.
func (c BareChain) Start() (*chainnode.Node, error) {
	g := app.GenesisConfig{Chain: c.Chain, Time: time.Now(), Params: c.Params}
	for _, a := range c.Accounts {
		g.Accounts = append(g.Accounts, app.Account{Address: a, Balance: c.Balance})
	}
	if err := chainnode.Init(c.Dir, chainnode.InitConfig{Genesis: g, Operator: c.Accounts[0], SelfBond: validatorStake}); err != nil {
		return nil, err
	}
	n, err := chainnode.Open(c.Dir, chainnode.Config{BlockTime: c.BlockTime})
	if err != nil {
		return nil, err
	}
	if err := n.Start(); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return n, nil
}
