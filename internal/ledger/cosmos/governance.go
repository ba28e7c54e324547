package cosmos

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/types/address"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	"github.com/cosmos/cosmos-sdk/types/query"
	"github.com/cosmos/gogoproto/proto"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
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
	case ledger.ApproveCommons, ledger.Decide, ledger.SetParams, ledger.Upgrade:
	default:
		return nil, fmt.Errorf("%w: a proposal of %T: want ApproveCommons, Decide, SetParams or Upgrade", ledger.ErrRefused, m.Message)
	}
	inner, err := Message(work.Address(governance), m.Message)
	if err != nil {
		return nil, err
	}
	a, err := types.NewAnyWithValue(inner)
	if err != nil {
		return nil, fmt.Errorf("message %T: %w", m.Message, err)
	}
	v := &sdkwire.MsgSubmitProposal{Messages: []*types.Any{a}, Proposer: from, Title: m.Title, Summary: m.Title}
	if m.Deposit > 0 {
		v.InitialDeposit = coins(m.Deposit)
	}
	return v, nil
}

// Proposals implements ledger.Reader.
func (c *Client) Proposals(ctx context.Context) ([]ledger.Proposal, error) {
	var res sdkwire.QueryProposalsResponse
	req := &sdkwire.QueryProposalsRequest{Pagination: &query.PageRequest{Limit: maxProposals, Reverse: true}}
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
func (c *Client) proposal(ctx context.Context, p *sdkwire.Proposal) (ledger.Proposal, error) {
	v := ledger.Proposal{ID: p.Id, Title: p.Title, Status: proposalStatus[p.Status]}
	if p.VotingEndTime != nil {
		v.VotingEnd = *p.VotingEndTime
	}
	for _, m := range p.Messages {
		v.Messages = append(v.Messages, subject(m))
	}
	tally := p.FinalTallyResult
	if p.Status == sdkwire.ProposalVoting {
		var res sdkwire.QueryTallyResultResponse
		if _, err := c.query(ctx, "/cosmos.gov.v1.Query/TallyResult", &sdkwire.QueryTallyResultRequest{ProposalId: p.Id}, &res); err != nil {
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

var proposalStatus = map[uint32]string{
	sdkwire.ProposalDeposit: "deposit", sdkwire.ProposalVoting: "voting", sdkwire.ProposalPassed: "passed", sdkwire.ProposalRejected: "rejected",
	sdkwire.ProposalFailed: "failed",
}

// subject is a message that governance is to send. One that the chain would not take
// from us is Foreign, as is any other that we cannot show whole: voters are told.
func subject(m *types.Any) ledger.Msg {
	known, err := message(m)
	if err != nil || known == nil {
		return ledger.Foreign{Type: strings.TrimPrefix(m.TypeUrl, "/")}
	}
	return known
}

func message(m *types.Any) (ledger.Msg, error) {
	switch m.TypeUrl {
	case "/" + proto.MessageName(&reward.MsgApproveCommons{}):
		var a reward.MsgApproveCommons
		if err := a.Unmarshal(m.Value); err != nil {
			return nil, err
		}
		spec, err := work.DecodeJobSpec(a.Spec)
		if err != nil {
			return nil, err
		}
		return ledger.ApproveCommons{Spec: *spec}, nil
	case "/" + proto.MessageName(&prooftypes.MsgDecide{}):
		var d prooftypes.MsgDecide
		if err := d.Unmarshal(m.Value); err != nil {
			return nil, err
		}
		if len(d.Batch) != len(work.BatchID{}) {
			return nil, fmt.Errorf("a batch id of %d bytes", len(d.Batch))
		}
		return ledger.Decide{Batch: work.BatchID(d.Batch), Uphold: d.Uphold}, nil
	case "/" + proto.MessageName(&prooftypes.MsgUpdateParams{}):
		var u prooftypes.MsgUpdateParams
		if err := u.Unmarshal(m.Value); err != nil {
			return nil, err
		}
		p, err := prooftypes.DecodeParams(u.Params)
		return ledger.SetParams{Params: p}, err
	case "/" + proto.MessageName(&sdkwire.MsgSoftwareUpgrade{}):
		var u sdkwire.MsgSoftwareUpgrade
		if err := u.Unmarshal(m.Value); err != nil {
			return nil, err
		}
		return ledger.Upgrade{Name: u.Plan.Name, Height: u.Plan.Height, Info: u.Plan.Info}, nil
	}
	return nil, nil
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
