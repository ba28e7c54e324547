package cosmos

import (
	"encoding/json"
	"fmt"

	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	"github.com/cosmos/gogoproto/proto"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
	"github.com/gotong-network/gotong/work"
	beacon "github.com/gotong-network/gotong/x/beacon/types"
	market "github.com/gotong-network/gotong/x/market/types"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	registry "github.com/gotong-network/gotong/x/registry/types"
	reward "github.com/gotong-network/gotong/x/reward/types"
)

// encode turns the port's messages into the chain's.
func encode(from work.Address, msgs []ledger.Msg) ([]*types.Any, error) {
	l := make([]*types.Any, 0, len(msgs))
	for _, m := range msgs {
		v, err := Message(from, m)
		if err != nil {
			return nil, err
		}
		a, err := types.NewAnyWithValue(v)
		if err != nil {
			return nil, fmt.Errorf("message %T: %w", m, err)
		}
		l = append(l, a)
	}
	return l, nil
}

// Message is a message of the port as the chain knows it.
func Message(sender work.Address, m ledger.Msg) (proto.Message, error) {
	from := string(sender)
	switch m := m.(type) {
	case ledger.CreateJob:
		return &market.MsgCreateJob{Sender: from, Spec: m.Spec.Encode()}, nil
	case ledger.CancelJob:
		v := &market.MsgCancelJob{Sender: from, Job: m.Job[:]}
		if m.Release != nil {
			v.Release = m.Release[:]
		}
		return v, nil
	case ledger.CommitBatch:
		return &prooftypes.MsgCommitBatch{Sender: from, Job: m.Job[:], Parts: prooftypes.FromParts(m.Parts), Root: prooftypes.FromNode(m.Root),
			MaxItemFuel: uint64(m.MaxItemFuel)}, nil
	case ledger.OpenBatch:
		return &prooftypes.MsgOpenBatch{Sender: from, Batch: m.Batch[:], Openings: prooftypes.FromOpenings(m.Openings)}, nil
	case ledger.CommitCheck:
		return &prooftypes.MsgCommitCheck{Sender: from, Batch: m.Batch[:], Commitment: m.Commitment[:]}, nil
	case ledger.RevealBatch:
		return &prooftypes.MsgRevealBatch{Sender: from, Batch: m.Batch[:], Salt: m.Salt[:], Leaves: prooftypes.FromLeaves(m.Leaves)}, nil
	case ledger.RevealCheck:
		return &prooftypes.MsgRevealCheck{Sender: from, Batch: m.Batch[:], Salt: m.Salt[:], Leaves: prooftypes.FromLeaves(m.Leaves)}, nil
	case ledger.Challenge:
		return &prooftypes.MsgChallenge{Sender: from, Batch: m.Batch[:], Position: m.Position, Leaf: m.Leaf.Bytes()}, nil
	case ledger.AnswerChallenge:
		return &prooftypes.MsgAnswerChallenge{Sender: from, Batch: m.Batch[:], Opening: prooftypes.FromOpening(m.Opening), Leaf: m.Leaf.Bytes()}, nil
	case ledger.CommitVote:
		return &prooftypes.MsgCommitVote{Sender: from, Batch: m.Batch[:], Commitment: m.Commitment[:]}, nil
	case ledger.RevealVote:
		return &prooftypes.MsgRevealVote{Sender: from, Batch: m.Batch[:], Salt: m.Salt[:], Leaves: prooftypes.FromLeaves(m.Leaves)}, nil
	case ledger.ClaimDelivery:
		return &prooftypes.MsgClaimDelivery{Sender: from, Batch: m.Batch[:], Position: m.Position}, nil
	case ledger.ReportEquivocation:
		return &market.MsgReportEquivocation{Sender: from, Job: m.Job[:], A: m.A.Encode(), B: m.B.Encode()}, nil
	case ledger.TakeOver:
		return &market.MsgTakeOver{Sender: from, Job: m.Job[:]}, nil
	case ledger.KeepJob:
		return &market.MsgKeepJob{Sender: from, Job: m.Job[:]}, nil
	case ledger.Reassign:
		return &market.MsgReassign{Sender: from, Job: m.Job[:], Indexer: m.Indexer[:], Owner: string(m.Owner)}, nil
	case ledger.ApproveCommons: // refused by the chain unless from is governance
		return &reward.MsgApproveCommons{Authority: from, Spec: m.Spec.Encode()}, nil
	case ledger.Decide: // likewise
		return &prooftypes.MsgDecide{Authority: from, Batch: m.Batch[:], Uphold: m.Uphold}, nil
	case ledger.SetParams: // likewise
		b, err := json.Marshal(m.Params)
		return &prooftypes.MsgUpdateParams{Authority: from, Params: b}, err
	case ledger.Upgrade: // likewise
		return &sdkwire.MsgSoftwareUpgrade{Authority: from, Plan: sdkwire.Plan{Name: m.Name, Height: m.Height, Info: m.Info}}, nil
	case ledger.Propose:
		return proposal(from, m)
	case ledger.VoteProposal:
		option := uint32(sdkwire.VoteNo)
		if m.Yes {
			option = sdkwire.VoteYes
		}
		return &sdkwire.MsgVote{ProposalId: m.Proposal, Voter: from, Option: option}, nil
	case ledger.Register:
		return &registry.MsgRegister{Sender: from, Role: uint32(m.Role), Peer: m.Peer[:], Bond: uint64(m.Bond)}, nil
	case ledger.Unbond:
		return &registry.MsgUnbond{Sender: from, Role: uint32(m.Role), Amount: uint64(m.Amount)}, nil
	case ledger.Send:
		return &sdkwire.MsgSend{FromAddress: from, ToAddress: string(m.To), Amount: coins(m.Amount)}, nil
	}
	return validatorMessage(from, m)
}

// validatorMessage is a message of a validator's operator.
func validatorMessage(from string, m ledger.Msg) (proto.Message, error) {
	switch m := m.(type) {
	case ledger.CreateValidator:
		return createValidator(from, m)
	case ledger.SetBeaconKey:
		return &beacon.MsgSetKey{Sender: from, Key: m.Key[:]}, nil
	case ledger.Stake:
		v, err := operatorText(string(m.Operator))
		return &sdkwire.MsgDelegate{DelegatorAddress: from, ValidatorAddress: v, Amount: coins(m.Amount)[0]}, err
	case ledger.Unstake:
		v, err := operatorText(string(m.Operator))
		return &sdkwire.MsgUndelegate{DelegatorAddress: from, ValidatorAddress: v, Amount: coins(m.Amount)[0]}, err
	case ledger.Unjail:
		v, err := operatorText(from)
		return &sdkwire.MsgUnjail{ValidatorAddr: v}, err
	case ledger.WithdrawStakeReward:
		v, err := operatorText(string(m.Operator))
		return &sdkwire.MsgWithdrawDelegatorReward{DelegatorAddress: from, ValidatorAddress: v}, err
	}
	return nil, fmt.Errorf("no message of the chain for %T", m)
}

func createValidator(from string, m ledger.CreateValidator) (proto.Message, error) {
	operator, err := operatorText(from)
	if err != nil {
		return nil, err
	}
	key, err := types.NewAnyWithValue(&ed25519.PubKey{Key: m.Consensus[:]})
	if err != nil {
		return nil, fmt.Errorf("consensus key: %w", err)
	}
	const none = "0" // of commission, in 1e-18
	return &sdkwire.MsgCreateValidator{Description: sdkwire.Description{Moniker: operator[:min(len(operator), sdkwire.MaxMoniker)]},
		Commission: sdkwire.CommissionRates{Rate: none, MaxRate: none, MaxChangeRate: none}, MinSelfDelegation: "1", ValidatorAddress: operator,
		Pubkey: key, Value: coins(m.Stake)[0]}, nil
}

// operatorText is how the staking module writes the account of an operator.
func operatorText(account string) (string, error) {
	prefix, b, err := bech32.DecodeAndConvert(account)
	if err == nil && prefix != registry.AddressPrefix {
		err = fmt.Errorf("prefix %q", prefix)
	}
	if err != nil {
		return "", fmt.Errorf("operator %q: %w", account, err)
	}
	return bech32.ConvertAndEncode(registry.AddressPrefix+"valoper", b)
}

func coins(a work.Amount) sdk.Coins {
	return sdk.Coins{{Denom: work.Denom, Amount: math.NewIntFromUint64(uint64(a))}}
}
