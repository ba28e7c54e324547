package member

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// FaucetKey is the name of the key that founds the members of a private network.
const FaucetKey = "faucet"

// FaucetGrant is what the faucet gives a member that has less than it needs.
const FaucetGrant = 10_000 * work.UgtgPerGtg

// defaultBond is what a member bonds in a role if its owner says nothing and the
// chain asks no more.
const defaultBond = 100 * work.UgtgPerGtg

// onChain are the roles that the chain's registry knows.
var onChain = map[string]lifecycle.Role{
	home.RoleProvider: lifecycle.RoleProvider, home.RoleChecker: lifecycle.RoleChecker, home.RoleIndexer: lifecycle.RoleIndexer,
}

// register bonds the home's roles that are not registered yet, or under another
// peer key. It waits for money.
func (n *Node) register(ctx context.Context) error {
	var todo []ledger.Msg
	var need work.Amount
	for _, name := range n.home.Info().Roles {
		role, ok := onChain[name]
		if !ok {
			continue
		}
		m, err := n.registration(ctx, role)
		if err != nil {
			return fmt.Errorf("register as %s: %w", name, err)
		}
		if m != nil {
			todo = append(todo, *m)
			if need, err = need.Add(m.Bond); err != nil {
				return err
			}
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if err := n.waitForFunds(ctx, need); err != nil {
		return err
	}
	in, err := n.ledger.Submit(ctx, n.opts.Key.Address, todo...)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	n.waiting("")
	n.log.Info("registered", "account", n.opts.Key.Address, "roles", n.home.Info().Roles, "bond", need, "height", in.Height)
	return nil
}

// registration is the message that a role lacks; nil if it lacks none.
func (n *Node) registration(ctx context.Context, role lifecycle.Role) (*ledger.Register, error) {
	m := &ledger.Register{Role: role, Peer: n.peerKey.Public()}
	switch p, err := n.ledger.Party(ctx, role, n.opts.Key.Address); {
	case err == nil && p.Peer == sign.PublicKey(m.Peer):
		return nil, nil
	case err == nil:
		return m, nil // another machine's key: the bond stays
	case !errors.Is(err, ledger.ErrNotFound):
		return nil, err
	}
	var err error
	m.Bond, err = n.bond(ctx, role)
	return m, err
}

// bond is what the member bonds in a role.
func (n *Node) bond(ctx context.Context, role lifecycle.Role) (work.Amount, error) {
	p, err := n.ledger.Params(ctx)
	if err != nil {
		return 0, err
	}
	least := p.MinBond
	switch role {
	case lifecycle.RoleChecker:
		least = p.CheckerBond
	case lifecycle.RoleIndexer:
		least = p.IndexerBond
	}
	if n.settings.Bond == "" {
		return max(least, defaultBond), nil
	}
	bond, err := work.ParseAmount(n.settings.Bond)
	if err != nil {
		return 0, fmt.Errorf("%s: bond: %w", n.home.Path("node.json"), err)
	}
	if bond < least {
		return 0, fmt.Errorf("%s: a bond of %s is too small: the chain asks at least %s", n.home.Path("node.json"), bond, least)
	}
	return bond, nil
}

// waitForFunds returns once the account has the amount; a private network's faucet
// gives it.
func (n *Node) waitForFunds(ctx context.Context, need work.Amount) error {
	for {
		has, err := n.ledger.Balance(ctx, n.opts.Key.Address)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			n.waiting(fmt.Sprintf("the chain: %v", err))
		case has >= need:
			return nil
		default:
			switch err := Fund(ctx, n.home, n.ledger, n.opts.Key.Address, need-has); {
			case err == nil:
				continue
			case ctx.Err() != nil:
				return ctx.Err()
			case !errors.Is(err, home.ErrNoKey):
				return err
			}
			n.waiting(fmt.Sprintf("money: the bond is %s and %s has %s; send it at least %s, and it goes on by itself", need, n.opts.Key.Address, has, need-has))
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// Fund gives an account money of a private network's faucet: FaucetGrant, or more
// if it lacks more. It is home.ErrNoKey if the home has no faucet.
func Fund(ctx context.Context, h *home.Home, l Ledger, to work.Address, lacks work.Amount) error {
	f, err := h.LoadKey(FaucetKey, func() (string, error) { return "", fmt.Errorf("the faucet's key is encrypted: %w", home.ErrNoKey) })
	if err != nil {
		return err
	}
	from := l.AddKey([32]byte(f.Secret()))
	if _, err := l.Submit(ctx, from, ledger.Send{To: to, Amount: max(lacks, FaucetGrant)}); err != nil {
		return fmt.Errorf("money from the faucet %s: %w", from, err)
	}
	return nil
}
