package cosmos

import (
	"errors"
	"testing"

	"github.com/cosmos/cosmos-sdk/codec/types"

	gov "github.com/cosmos/cosmos-sdk/x/gov/types/v1"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/work"
)

// What is proposed is read back.
func TestProposalSubject(t *testing.T) {
	t.Parallel()
	spec := work.JobSpec{Chain: "c", Client: "a", Profile: "gw1", IndexerOwner: "b"}
	for _, m := range []ledger.Msg{ledger.ApproveCommons{Spec: spec}, ledger.Decide{Batch: work.Hash{3}}} {
		p, err := proposal("me", ledger.Propose{Title: "t", Message: m, Deposit: 5})
		if err != nil {
			t.Fatal(err)
		}
		var v ledger.Proposal
		if err := subject(&v, p.(*gov.MsgSubmitProposal).Messages[0]); err != nil {
			t.Fatal(err)
		}
		if _, ok := m.(ledger.Decide); ok != (v.Batch == work.Hash{3}) || ok == (v.Spec != nil && v.Spec.ID() == spec.ID()) {
			t.Errorf("%T was read as %+v", m, v)
		}
	}
	if _, err := proposal("me", ledger.Propose{Message: ledger.Send{}}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("a proposal to send money: %v", err)
	}
}

// FuzzSubject reads proposals that strangers made.
func FuzzSubject(f *testing.F) {
	for _, m := range []ledger.Msg{ledger.ApproveCommons{}, ledger.Decide{}} {
		p, err := proposal("me", ledger.Propose{Message: m})
		if err != nil {
			f.Fatal(err)
		}
		a := p.(*gov.MsgSubmitProposal).Messages[0]
		f.Add(a.TypeUrl, a.Value, "7000000")
	}
	f.Fuzz(func(_ *testing.T, url string, value []byte, count string) {
		var v ledger.Proposal
		_ = subject(&v, &types.Any{TypeUrl: url, Value: value})
		_, _ = power(count)
	})
}
