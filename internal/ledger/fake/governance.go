package fake

import (
	"context"
	"fmt"
	"maps"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Governance in memory: a proposal is voted on at once, whatever its deposit is; it
// passes at the end of the block in which more than half of the validators' power
// has voted yes, and is rejected if half of it votes no or votingBlocks pass. Its
// deposit comes back then. Only validators' votes have power.

// votingBlocks is how long a proposal may be voted on: 20 s of a local network.
const votingBlocks = 40

// maxProposals bounds the answer of Proposals.
const maxProposals = 100

// proposal is never changed: votes and ends replace it.
type proposal struct {
	ledger.Proposal
	proposer work.Address
	message  ledger.Msg
	deposit  work.Amount
	ends     int64 // height
	votes    map[work.Address]bool
}

func (l *Ledger) propose(from work.Address, m ledger.Propose) error {
	p := &proposal{proposer: from, message: m.Message, deposit: m.Deposit, ends: l.s.height + votingBlocks,
		Proposal: ledger.Proposal{ID: uint64(len(l.s.proposals)) + 1, Title: m.Title, Status: "voting", Messages: []ledger.Msg{m.Message}, VotingEnd: timeOf(l.s.height + votingBlocks)}}
	switch m.Message.(type) {
	case ledger.ApproveCommons, ledger.Decide, ledger.SetParams, ledger.Upgrade:
	default:
		return fmt.Errorf("%w: a proposal of %T: want ApproveCommons, Decide, SetParams or Upgrade", lifecycle.ErrRefused, m.Message)
	}
	if m.Title == "" {
		return fmt.Errorf("%w: a proposal without a title", lifecycle.ErrRefused)
	}
	in := lifecycle.Transfer{FromPot: lifecycle.PotAccount, From: from, ToPot: potDeposit, To: from, Amount: m.Deposit}
	if err := l.s.Move(work.JobID{}, in); err != nil {
		return err
	}
	put(l.s, l.s.proposals, p.ID, p)
	return nil
}

func (l *Ledger) vote(from work.Address, m ledger.VoteProposal) error {
	old := l.s.proposals[m.Proposal]
	if old == nil || old.Status != "voting" {
		return fmt.Errorf("%w: proposal %d is not voted on", lifecycle.ErrRefused, m.Proposal)
	}
	p := *old
	p.votes = maps.Clone(old.votes)
	if p.votes == nil {
		p.votes = map[work.Address]bool{}
	}
	p.votes[from] = m.Yes
	l.tally(&p)
	put(l.s, l.s.proposals, p.ID, &p)
	return nil
}

// tally counts the votes and gives all power.
func (l *Ledger) tally(p *proposal) (total uint64) {
	p.Yes, p.No = 0, 0
	for _, v := range l.s.validators {
		power := uint64(max(v.Power, 0))
		total += power
		if yes, voted := p.votes[v.Account]; voted && yes {
			p.Yes += power
		} else if voted {
			p.No += power
		}
	}
	return total
}

// govern ends the proposals that are decided, in the order in which they were made.
func (l *Ledger) govern() {
	for id := uint64(1); id <= uint64(len(l.s.proposals)); id++ {
		if l.s.proposals[id].Status != "voting" {
			continue
		}
		p := *l.s.proposals[id]
		total := l.tally(&p)
		switch {
		case p.Yes > total/2:
			p.Status = l.enact(p.message)
		case total > 0 && p.No >= total-total/2 || l.s.height >= p.ends:
			p.Status = "rejected"
		default:
			continue
		}
		l.s.beginFinal()
		back := lifecycle.Transfer{FromPot: potDeposit, From: p.proposer, ToPot: lifecycle.PotAccount, To: p.proposer, Amount: p.deposit}
		if err := l.s.Move(work.JobID{}, back); err != nil {
			panic(fmt.Sprintf("fake: deposit of proposal %d: %v", id, err))
		}
		l.s.proposals[id] = &p
	}
}

// enact executes a proposal's message, whole or not at all.
func (l *Ledger) enact(m ledger.Msg) string {
	l.s.begin()
	var err error
	switch v := m.(type) {
	case ledger.ApproveCommons:
		_, err = l.m.ApproveCommons(v.Spec)
	case ledger.Decide:
		err = l.m.Decide(v.Batch, v.Uphold)
	case ledger.SetParams:
		if err = v.Params.Validate(); err == nil {
			l.s.params = v.Params
		}
	case ledger.Upgrade: // this program has no other version
		err = fmt.Errorf("%w: a chain in memory is not upgraded", lifecycle.ErrRefused)
	}
	if err != nil {
		l.s.rollback()
		return "failed"
	}
	return "passed"
}

// Proposals gives the latest proposals.
func (l *Ledger) Proposals(ctx context.Context) ([]ledger.Proposal, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []ledger.Proposal
	for id := uint64(len(l.s.proposals)); id > 0 && len(out) < maxProposals; id-- {
		out = append(out, l.s.proposals[id].Proposal)
	}
	return out, ctx.Err()
}
