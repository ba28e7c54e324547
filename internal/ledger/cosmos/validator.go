package cosmos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
	"github.com/gotong-network/gotong/work"
	beacon "github.com/gotong-network/gotong/x/beacon/types"
)

// Validator is a validator as the chain knows it.
type Validator struct {
	Stake  work.Amount
	Power  uint64 // of its votes; 0: not in the set
	Jailed bool
	// BeaconKey is the VRF key that counts from BeaconHeight on; nil: none is
	// registered.
	BeaconKey    []byte
	BeaconHeight int64
	Rewards      work.Amount // of its operator's own stake, not withdrawn
}

// Validator asks about the validator of an operator; it is ledger.ErrNotFound if
// the account operates none. The node is believed: only an operator's own node is
// asked.
func (c *Client) Validator(ctx context.Context, operator work.Address) (*Validator, error) {
	text, err := operatorText(string(operator))
	if err != nil {
		return nil, err
	}
	var res sdkwire.QueryValidatorResponse
	if _, err := c.query(ctx, "/cosmos.staking.v1beta1.Query/Validator", &sdkwire.QueryValidatorRequest{ValidatorAddr: text}, &res); err != nil {
		return nil, err
	}
	if res.Validator == nil || res.Validator.ConsensusPubkey == nil {
		return nil, fmt.Errorf("validator of %s: the node answered nothing", operator)
	}
	stake, err := strconv.ParseUint(res.Validator.Tokens, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("stake of %s: %w", operator, err)
	}
	v := &Validator{Stake: work.Amount(stake), Jailed: res.Validator.Jailed}
	if res.Validator.Status == sdkwire.ValidatorBonded {
		v.Power = v.power()
	}
	if err := c.beaconKey(ctx, res.Validator, v); err != nil {
		return nil, err
	}
	var reward sdkwire.QueryDelegationRewardsResponse
	req := &sdkwire.QueryDelegationRewardsRequest{DelegatorAddress: string(operator), ValidatorAddress: text}
	if _, err := c.query(ctx, "/cosmos.distribution.v1beta1.Query/DelegationRewards", req, &reward); err == nil {
		v.Rewards = work.Amount(reward.Rewards.AmountOf(work.Denom).TruncateInt().Uint64())
	} else if !errors.Is(err, ledger.ErrNotFound) {
		return nil, err
	}
	return v, nil
}

func (v *Validator) power() uint64 { return uint64(v.Stake) / work.UgtgPerGtg }

// beaconKey reads the key from the beacon's store: by the address that its public
// key has among the validators.
func (c *Client) beaconKey(ctx context.Context, s *sdkwire.Validator, v *Validator) error {
	address, err := consensusAddress(s.ConsensusPubkey.Value)
	if err != nil {
		return err
	}
	r, err := c.node.Query(ctx, "/store/"+beacon.ModuleName+"/key", append([]byte{1}, address...))
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("beacon key: the node answered: %s", r.Log)
	}
	if len(r.Value) == 0 {
		return nil
	}
	var k beacon.Key
	if err := json.Unmarshal(r.Value, &k); err != nil {
		return fmt.Errorf("beacon key: %w", err)
	}
	v.BeaconKey, v.BeaconHeight = k.Public, 0
	if len(k.Next) > 0 {
		v.BeaconKey, v.BeaconHeight = k.Next, k.NextHeight
	}
	return nil
}

// consensusAddress is the address of an encoded ed25519 public key.
func consensusAddress(encoded []byte) ([]byte, error) {
	var k ed25519.PubKey
	if err := k.Unmarshal(encoded); err != nil {
		return nil, fmt.Errorf("consensus key: %w", err)
	}
	return k.Address(), nil
}
