package localnet

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// BareChain is a chain of validators without any members.
type BareChain struct {
	Dir        string // its homes, which must not have been used
	Chain      string
	Params     lifecycle.Params
	BlockTime  time.Duration
	Accounts   []work.Address // each begins with Balance; the first ones operate the validators
	Balance    work.Amount
	Validators int // default 1

	addresses, peers []string
}

// Start makes and starts the chain, for measuring it alone; stop the nodes after
// use.
func (c *BareChain) Start() (nodes []*chainnode.Node, err error) {
	c.Validators = max(c.Validators, 1)
	g := app.GenesisConfig{Chain: c.Chain, Time: time.Now(), Params: c.Params}
	for _, a := range c.Accounts {
		g.Accounts = append(g.Accounts, app.Account{Address: a, Balance: c.Balance})
	}
	for i := range c.Validators {
		k, err := chainnode.MakeKeys(c.home(i))
		if err != nil {
			return nil, err
		}
		g.Validators = append(g.Validators, k.Validator(c.Accounts[i], validatorStake))
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		c.addresses, c.peers = append(c.addresses, address), append(c.peers, k.Peer+"@"+address)
	}
	for i := range c.Validators {
		if err = chainnode.WriteGenesis(c.home(i), g); err != nil {
			break
		}
		var n *chainnode.Node
		if n, err = c.Open(i); err != nil {
			break
		}
		nodes = append(nodes, n)
	}
	if err != nil {
		for _, n := range nodes {
			err = errors.Join(err, n.Stop())
		}
		return nil, err
	}
	return nodes, nil
}

func (c *BareChain) home(i int) string { return filepath.Join(c.Dir, strconv.Itoa(i)) }

// Open starts a validator, also again after it was stopped.
func (c *BareChain) Open(i int) (*chainnode.Node, error) {
	n, err := chainnode.Open(c.home(i), chainnode.Config{BlockTime: c.BlockTime, P2P: c.addresses[i], Peers: slices.Concat(c.peers[:i], c.peers[i+1:])})
	if err != nil {
		return nil, err
	}
	if err := n.Start(); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return n, nil
}

// freeAddress is one that nobody listens at yet: validators must know each other's
// before the first of them starts.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
