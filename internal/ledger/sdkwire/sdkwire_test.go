package sdkwire_test

import (
	"bytes"
	"testing"
	"time"

	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"
	auth "github.com/cosmos/cosmos-sdk/x/auth/types"
	bank "github.com/cosmos/cosmos-sdk/x/bank/types"
	distribution "github.com/cosmos/cosmos-sdk/x/distribution/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	gov "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	slashing "github.com/cosmos/cosmos-sdk/x/slashing/types"
	staking "github.com/cosmos/cosmos-sdk/x/staking/types"
	upgrade "github.com/cosmos/cosmos-sdk/x/upgrade/types"
	"github.com/cosmos/gogoproto/proto"

	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
)

func coins(n int64) sdk.Coins { return sdk.Coins{{Denom: "ugtg", Amount: math.NewInt(n)}} }

func key() *types.Any {
	a, err := types.NewAnyWithValue(&ed25519.PubKey{Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		panic(err)
	}
	return a
}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSameBytes: what a client sends is what the SDK's own message is, name and bytes.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	none := math.LegacyZeroDec()
	for _, c := range []struct {
		ours, sdks proto.Message
		named      bool // travels under its name
	}{
		{&sdkwire.MsgSend{FromAddress: "a", ToAddress: "b", Amount: coins(1 << 62)}, &bank.MsgSend{FromAddress: "a", ToAddress: "b", Amount: coins(1 << 62)}, true},
		{&sdkwire.MsgVote{ProposalId: 9, Voter: "v", Option: sdkwire.VoteYes}, &gov.MsgVote{ProposalId: 9, Voter: "v", Option: gov.OptionYes}, true},
		{&sdkwire.MsgVote{ProposalId: 9, Voter: "v", Option: sdkwire.VoteNo}, &gov.MsgVote{ProposalId: 9, Voter: "v", Option: gov.OptionNo}, true},
		{&sdkwire.MsgSubmitProposal{Messages: []*types.Any{key()}, InitialDeposit: coins(5), Proposer: "p", Title: "t", Summary: "s"},
			&gov.MsgSubmitProposal{Messages: []*types.Any{key()}, InitialDeposit: coins(5), Proposer: "p", Title: "t", Summary: "s"}, true},
		{&sdkwire.MsgSoftwareUpgrade{Authority: "a", Plan: sdkwire.Plan{Name: "n", Height: 7, Info: "i"}},
			&upgrade.MsgSoftwareUpgrade{Authority: "a", Plan: upgrade.Plan{Name: "n", Height: 7, Info: "i"}}, true},
		{&sdkwire.MsgCreateValidator{Description: sdkwire.Description{Moniker: "m"}, Commission: sdkwire.CommissionRates{Rate: "0", MaxRate: "0", MaxChangeRate: "0"},
			MinSelfDelegation: "1", ValidatorAddress: "v", Pubkey: key(), Value: coins(3)[0]},
			&staking.MsgCreateValidator{Description: staking.Description{Moniker: "m"}, Commission: staking.NewCommissionRates(none, none, none),
				MinSelfDelegation: math.OneInt(), ValidatorAddress: "v", Pubkey: key(), Value: coins(3)[0]}, true},
		{&sdkwire.MsgDelegate{DelegatorAddress: "d", ValidatorAddress: "v", Amount: coins(4)[0]}, &staking.MsgDelegate{DelegatorAddress: "d", ValidatorAddress: "v", Amount: coins(4)[0]}, true},
		{&sdkwire.MsgUndelegate{DelegatorAddress: "d", ValidatorAddress: "v", Amount: coins(4)[0]}, &staking.MsgUndelegate{DelegatorAddress: "d", ValidatorAddress: "v", Amount: coins(4)[0]}, true},
		{&sdkwire.MsgUnjail{ValidatorAddr: "v"}, &slashing.MsgUnjail{ValidatorAddr: "v"}, true},
		{&sdkwire.MsgWithdrawDelegatorReward{DelegatorAddress: "d", ValidatorAddress: "v"}, &distribution.MsgWithdrawDelegatorReward{DelegatorAddress: "d", ValidatorAddress: "v"}, true},
		{&sdkwire.BaseAccount{Address: "a", PubKey: key(), AccountNumber: 3, Sequence: 4}, &auth.BaseAccount{Address: "a", PubKey: key(), AccountNumber: 3, Sequence: 4}, true},
		{&sdkwire.ModuleAccount{BaseAccount: &sdkwire.BaseAccount{Address: "a"}}, &auth.ModuleAccount{BaseAccount: &auth.BaseAccount{Address: "a"}}, true},
		{&sdkwire.QueryAccountInfoRequest{Address: "a"}, &auth.QueryAccountInfoRequest{Address: "a"}, false},
		{&sdkwire.QueryBalanceRequest{Address: "a", Denom: "d"}, &bank.QueryBalanceRequest{Address: "a", Denom: "d"}, false},
		{&sdkwire.QueryProposalsRequest{Pagination: &query.PageRequest{Limit: 3, Reverse: true}}, &gov.QueryProposalsRequest{Pagination: &query.PageRequest{Limit: 3, Reverse: true}}, false},
		{&sdkwire.QueryTallyResultRequest{ProposalId: 3}, &gov.QueryTallyResultRequest{ProposalId: 3}, false},
		{&sdkwire.QueryValidatorRequest{ValidatorAddr: "v"}, &staking.QueryValidatorRequest{ValidatorAddr: "v"}, false},
		{&sdkwire.QueryDelegationRewardsRequest{DelegatorAddress: "d", ValidatorAddress: "v"}, &distribution.QueryDelegationRewardsRequest{DelegatorAddress: "d", ValidatorAddress: "v"}, false},
	} {
		if ours, sdks := encoded(t, c.ours), encoded(t, c.sdks); !bytes.Equal(ours, sdks) {
			t.Errorf("%T is %x, the SDK's is %x", c.ours, ours, sdks)
		}
		if ours, sdks := proto.MessageName(c.ours), proto.MessageName(c.sdks); c.named && ours != sdks {
			t.Errorf("%T has the name %s, the SDK's is %s", c.ours, ours, sdks)
		}
	}
}

// TestReads: what the SDK writes is read with the fields that count.
func TestReads(t *testing.T) {
	t.Parallel()
	end := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	var proposals sdkwire.QueryProposalsResponse
	read(t, &gov.QueryProposalsResponse{Proposals: []*gov.Proposal{{Id: 4, Messages: []*types.Any{key()}, Status: gov.StatusPassed, Title: "t", Metadata: "m",
		SubmitTime: &end, VotingEndTime: &end, TotalDeposit: coins(2), FinalTallyResult: &gov.TallyResult{YesCount: "5", AbstainCount: "1", NoCount: "6", NoWithVetoCount: "2"}}},
		Pagination: &query.PageResponse{Total: 1}}, &proposals)
	p := proposals.Proposals[0]
	if p.Id != 4 || !p.Messages[0].Equal(key()) || p.Status != sdkwire.ProposalPassed || p.Title != "t" || !p.VotingEndTime.Equal(end) ||
		p.FinalTallyResult.YesCount != "5" || p.FinalTallyResult.NoCount != "6" {
		t.Errorf("a proposal was read as %v", p)
	}
	var v sdkwire.QueryValidatorResponse
	read(t, &staking.QueryValidatorResponse{Validator: staking.Validator{OperatorAddress: "o", ConsensusPubkey: key(), Jailed: true, Status: staking.Bonded,
		Tokens: math.NewInt(77), DelegatorShares: math.LegacyOneDec(), MinSelfDelegation: math.OneInt(), Commission: staking.NewCommission(math.LegacyZeroDec(), math.LegacyZeroDec(), math.LegacyZeroDec())}}, &v)
	if w := v.Validator; w.OperatorAddress != "o" || !w.ConsensusPubkey.Equal(key()) || !w.Jailed || w.Status != sdkwire.ValidatorBonded || w.Tokens != "77" {
		t.Errorf("a validator was read as %v", w)
	}
	var rewards sdkwire.QueryDelegationRewardsResponse
	read(t, &distribution.QueryDelegationRewardsResponse{Rewards: sdk.NewDecCoinsFromCoins(coins(8)...)}, &rewards)
	if got := rewards.Rewards.AmountOf("ugtg").TruncateInt64(); got != 8 {
		t.Errorf("rewards were read as %d", got)
	}
	var account sdkwire.QueryAccountInfoResponse
	read(t, &auth.QueryAccountInfoResponse{Info: &auth.BaseAccount{Address: "a", PubKey: key(), AccountNumber: 5, Sequence: 6}}, &account)
	if b := account.Info; b.Address != "a" || b.AccountNumber != 5 || b.Sequence != 6 {
		t.Errorf("an account was read as %v", b)
	}
	var balance sdkwire.QueryBalanceResponse
	read(t, &bank.QueryBalanceResponse{Balance: &coins(12)[0]}, &balance)
	if balance.Balance.Denom != "ugtg" || balance.Balance.Amount.Int64() != 12 {
		t.Errorf("a balance was read as %v", balance.Balance)
	}
	var tally sdkwire.QueryTallyResultResponse
	read(t, &gov.QueryTallyResultResponse{Tally: &gov.TallyResult{YesCount: "3", NoCount: "4"}}, &tally)
	if tally.Tally.YesCount != "3" || tally.Tally.NoCount != "4" {
		t.Errorf("a tally was read as %v", tally.Tally)
	}
}

func read(t *testing.T, from, to proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(encoded(t, from), to); err != nil {
		t.Fatal(err)
	}
}

// TestConstants: stores, bounds and states are the SDK's.
func TestConstants(t *testing.T) {
	t.Parallel()
	if sdkwire.AuthStore != auth.StoreKey || sdkwire.BankStore != bank.StoreKey || sdkwire.GovStore != govtypes.StoreKey {
		t.Error("a store has another name")
	}
	if sdkwire.MaxMoniker != staking.MaxMonikerLength || sdkwire.ValidatorBonded != int(staking.Bonded) {
		t.Error("staking has other constants")
	}
	for ours, sdks := range map[int]gov.ProposalStatus{sdkwire.ProposalDeposit: gov.StatusDepositPeriod, sdkwire.ProposalVoting: gov.StatusVotingPeriod,
		sdkwire.ProposalPassed: gov.StatusPassed, sdkwire.ProposalRejected: gov.StatusRejected, sdkwire.ProposalFailed: gov.StatusFailed} {
		if ours != int(sdks) {
			t.Errorf("state %d of a proposal is %d in the SDK", ours, sdks)
		}
	}
}

// FuzzDecode reads what a stranger's node may answer.
func FuzzDecode(f *testing.F) {
	for _, m := range []proto.Message{&auth.BaseAccount{Address: "a", PubKey: key()}, &gov.QueryProposalsResponse{Proposals: []*gov.Proposal{{Id: 4, Messages: []*types.Any{key()}}}},
		&bank.QueryBalanceResponse{Balance: &coins(12)[0]}} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, m := range []proto.Message{new(sdkwire.ModuleAccount), new(sdkwire.QueryAccountInfoResponse), new(sdkwire.QueryBalanceResponse),
			new(sdkwire.QueryProposalsResponse), new(sdkwire.QueryValidatorResponse), new(sdkwire.QueryDelegationRewardsResponse)} {
			_ = proto.Unmarshal(b, m)
		}
	})
}
