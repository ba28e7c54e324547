package cosmos

import (
	"context"
	"fmt"
	"strconv"

	"github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/types/address"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	"github.com/cosmos/cosmos-sdk/types/query"
	gov "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	"github.com/cosmos/gogoproto/proto"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/work"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	registry "github.com/gotong-network/gotong/x/registry/types"
	reward "github.com/gotong-network/gotong/x/reward/types"
)

// maxProposals is how many proposals an answer has.
const maxProposals = 100

// governance is the account that proposals act as.
var governance = func() work.Address {
	text, err := bech32.ConvertAndEncode(registry.AddressPrefix, address.Module("gov"))
	if err != nil {
		panic(fmt.Sprintf("cosmos: the account of governance has no bech32 form: %v", err))
	}
	return work.Address(text)
}()

// proposal wraps a message that governance is to send.
func proposal(from string, m ledger.Propose) (proto.Message, error) {
	switch m.Message.(type) {
	case ledger.ApproveCommons, ledger.Decide:
	default:
		return nil, fmt.Errorf("%w: a proposal of %T: want ApproveCommons or Decide", ledger.ErrRefused, m.Message)
	}
	inner, err := Message(work.Address(governance), m.Message)
	if err != nil {
		return nil, err
	}
	a, err := types.NewAnyWithValue(inner)
	if err != nil {
		return nil, fmt.Errorf("message %T: %w", m.Message, err)
	}
	v := &gov.MsgSubmitProposal{Messages: []*types.Any{a}, Proposer: from, Title: m.Title, Summary: m.Title}
	if m.Deposit > 0 {
		v.InitialDeposit = coins(m.Deposit)
	}
	return v, nil
}

// Proposals implements ledger.Reader.
func (c *Client) Proposals(ctx context.Context) ([]ledger.Proposal, error) {
	var res gov.QueryProposalsResponse
	req := &gov.QueryProposalsRequest{Pagination: &query.PageRequest{Limit: maxProposals, Reverse: true}}
	if _, err := c.query(ctx, "/cosmos.gov.v1.Query/Proposals", req, &res); err != nil {
		return nil, err
	}
	var l []ledger.Proposal
	for _, p := range res.Proposals {
		v, err := c.proposal(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("proposal %d: %w", p.Id, err)
		}
		l = append(l, v)
	}
	return l, nil
}

// proposal reads one; the votes on it so far are asked for while it is voted on.
func (c *Client) proposal(ctx context.Context, p *gov.Proposal) (ledger.Proposal, error) {
	v := ledger.Proposal{ID: p.Id, Title: p.Title, Status: proposalStatus[p.Status]}
	if p.VotingEndTime != nil {
		v.VotingEnd = *p.VotingEndTime
	}
	for _, m := range p.Messages {
		if err := subject(&v, m); err != nil {
			return v, err
		}
	}
	tally := p.FinalTallyResult
	if p.Status == gov.StatusVotingPeriod {
		var res gov.QueryTallyResultResponse
		if _, err := c.query(ctx, "/cosmos.gov.v1.Query/TallyResult", &gov.QueryTallyResultRequest{ProposalId: p.Id}, &res); err != nil {
			return v, err
		}
		tally = res.Tally
	}
	if tally == nil {
		return v, nil
	}
	var err error
	if v.Yes, err = power(tally.YesCount); err == nil {
		v.No, err = power(tally.NoCount)
	}
	return v, err
}

var proposalStatus = map[gov.ProposalStatus]string{
	gov.StatusDepositPeriod: "deposit", gov.StatusVotingPeriod: "voting", gov.StatusPassed: "passed", gov.StatusRejected: "rejected",
	gov.StatusFailed: "failed",
}

// subject reads what a proposal is about, if it is about our messages.
func subject(v *ledger.Proposal, m *types.Any) error {
	switch m.TypeUrl {
	case "/" + proto.MessageName(&reward.MsgApproveCommons{}):
		var a reward.MsgApproveCommons
		if err := a.Unmarshal(m.Value); err != nil {
			return err
		}
		spec, err := work.DecodeJobSpec(a.Spec)
		if err != nil {
			return nil // whoever proposed it meant something else: it will fail
		}
		v.Spec = spec
	case "/" + proto.MessageName(&prooftypes.MsgDecide{}):
		var d prooftypes.MsgDecide
		if err := d.Unmarshal(m.Value); err != nil {
			return err
		}
		if len(d.Batch) == len(v.Batch) {
			v.Batch = work.BatchID(d.Batch)
		}
	}
	return nil
}

// power reads a count of votes, which is stake in ugtg, as power: 1 of each gtg. An
// empty count is none.
func power(count string) (uint64, error) {
	if count == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(count, 10, 64)
	return n / work.UgtgPerGtg, err
}
