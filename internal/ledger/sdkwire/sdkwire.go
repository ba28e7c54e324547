// Package sdkwire holds the messages and records of the SDK's own modules (accounts,
// bank, governance, upgrade, staking) as far as a client of the chain uses them: generated
// from proto/gotong/sdkwire, with the SDK's field numbers. A program that only talks
// to a chain links these instead of the modules, which bring a whole node along.
//
// It promises that each message is, byte by byte, what the SDK's message of the same
// fields is, under the SDK's name; its test compares them. Fields that a client does
// not use are dropped when a record is read. It never does more than encode and
// decode.
package sdkwire

// States of a Proposal, choices of a MsgVote and the state of a Validator that counts.
const (
	ProposalDeposit  = 1
	ProposalVoting   = 2
	ProposalPassed   = 3
	ProposalRejected = 4
	ProposalFailed   = 5

	VoteYes = 1
	VoteNo  = 3

	ValidatorBonded = 3
)

// MaxMoniker is how many bytes a validator's name has at most.
const MaxMoniker = 70

// The names of the modules' stores.
const (
	AuthStore = "acc"
	BankStore = "bank"
	GovStore  = "gov"
)

// XXX_MessageName is the name under which the chain knows the message.

func (*BaseAccount) XXX_MessageName() string       { return "cosmos.auth.v1beta1.BaseAccount" }
func (*ModuleAccount) XXX_MessageName() string     { return "cosmos.auth.v1beta1.ModuleAccount" }
func (*MsgSend) XXX_MessageName() string           { return "cosmos.bank.v1beta1.MsgSend" }
func (*MsgSubmitProposal) XXX_MessageName() string { return "cosmos.gov.v1.MsgSubmitProposal" }
func (*MsgVote) XXX_MessageName() string           { return "cosmos.gov.v1.MsgVote" }
func (*MsgSoftwareUpgrade) XXX_MessageName() string {
	return "cosmos.upgrade.v1beta1.MsgSoftwareUpgrade"
}
func (*MsgCreateValidator) XXX_MessageName() string {
	return "cosmos.staking.v1beta1.MsgCreateValidator"
}
func (*MsgDelegate) XXX_MessageName() string   { return "cosmos.staking.v1beta1.MsgDelegate" }
func (*MsgUndelegate) XXX_MessageName() string { return "cosmos.staking.v1beta1.MsgUndelegate" }
func (*MsgUnjail) XXX_MessageName() string     { return "cosmos.slashing.v1beta1.MsgUnjail" }
func (*MsgWithdrawDelegatorReward) XXX_MessageName() string {
	return "cosmos.distribution.v1beta1.MsgWithdrawDelegatorReward"
}
