package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/work"
)

// Validator is a validator as the chain knows it.
type Validator = cosmos.Validator

// DefaultStake is what a new validator of a private network stakes if its owner
// says nothing.
const DefaultStake = 1_000 * work.UgtgPerGtg

// firstStake makes a validator without power: it proposes no blocks before its
// beacon key counts.
const firstStake = 1

// becomeValidator makes the account a validator if it is none: it registers with a
// stake that has no power, sets the beacon key, waits until that counts, and then
// stakes the rest. A validator of the genesis has nothing to do.
func (n *Node) becomeValidator(ctx context.Context) error {
	stake, err := n.stake()
	if err != nil {
		return err
	}
	consensus, beacon := n.chain.Keys()
	me := n.opts.Key.Address
	v, err := n.chain.Validator(ctx, me)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		if err := n.waitForFunds(ctx, stake); err != nil {
			return err
		}
		if _, err := n.ledger.Submit(ctx, me, ledger.CreateValidator{Consensus: consensus, Stake: firstStake}, ledger.SetBeaconKey{Key: beacon}); err != nil {
			return fmt.Errorf("become a validator: %w", err)
		}
		n.log.Info("registered as a validator", "operator", me)
	case err != nil:
		return fmt.Errorf("become a validator: %w", err)
	case !bytes.Equal(v.BeaconKey, beacon[:]):
		if _, err := n.ledger.Submit(ctx, me, ledger.SetBeaconKey{Key: beacon}); err != nil {
			return fmt.Errorf("set the beacon key: %w", err)
		}
	case v.Stake >= work.UgtgPerGtg:
		return nil
	}
	if v, err = n.waitForBeaconKey(ctx); err != nil {
		return err
	}
	if v.Stake >= work.UgtgPerGtg {
		return nil
	}
	if err := n.waitForFunds(ctx, stake); err != nil {
		return err
	}
	in, err := n.ledger.Submit(ctx, me, ledger.Stake{Operator: me, Amount: stake})
	if err != nil {
		return fmt.Errorf("stake: %w", err)
	}
	n.waiting("")
	n.log.Info("staked: this is a validator from the block after the next", "stake", stake, "height", in.Height)
	return nil
}

// stake is what a new validator stakes.
func (n *Node) stake() (work.Amount, error) {
	if n.settings.Stake == "" {
		return DefaultStake, nil
	}
	s, err := work.ParseAmount(n.settings.Stake)
	if err == nil && s < work.UgtgPerGtg {
		err = errors.New("a stake under 1gtg has no power")
	}
	if err != nil {
		return 0, fmt.Errorf("%s: stake: %w", n.home.Path("node.json"), err)
	}
	return s, nil
}

// waitForBeaconKey returns once the beacon key counts.
func (n *Node) waitForBeaconKey(ctx context.Context) (*cosmos.Validator, error) {
	for {
		v, err := n.chain.Validator(ctx, n.opts.Key.Address)
		st, serr := n.ledger.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil || serr != nil:
			n.waiting(fmt.Sprintf("the chain: %v", errors.Join(err, serr)))
		case len(v.BeaconKey) > 0 && st.Height >= v.BeaconHeight:
			return v, nil
		default:
			n.waiting(fmt.Sprintf("height %d, from which on this validator's beacon key counts", v.BeaconHeight))
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return nil, err
		}
	}
}
