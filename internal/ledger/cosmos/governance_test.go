package cosmos

import (
	"errors"
	"reflect"
	"testing"

	"github.com/cosmos/cosmos-sdk/codec/types"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// subjects are one message of each kind that governance takes.
func subjects() []ledger.Msg {
	spec := work.JobSpec{Chain: "c", Client: "a", Profile: "gw1", IndexerOwner: "b"}
	return []ledger.Msg{ledger.ApproveCommons{Spec: spec}, ledger.Decide{Batch: work.Hash{3}, Uphold: true},
		ledger.SetParams{Params: lifecycle.PublicParams()}, ledger.Upgrade{Name: "keys", Height: 7, Info: "version 2"}}
}

// TestProposalSubject reads back what is proposed, and hides nothing that it does not
// know.
func TestProposalSubject(t *testing.T) {
	t.Parallel()
	for _, m := range subjects() {
		p, err := proposal("me", ledger.Propose{Title: "t", Message: m, Deposit: 5})
		if err != nil {
			t.Fatal(err)
		}
		inner := p.(*sdkwire.MsgSubmitProposal).Messages[0]
		if got := subject(inner); !reflect.DeepEqual(got, m) {
			t.Errorf("%T was read as %+v", m, got)
		}
		broken := &types.Any{TypeUrl: inner.TypeUrl, Value: inner.Value[:len(inner.Value)-1]}
		if got, ok := subject(broken).(ledger.Foreign); !ok || "/"+got.Type != inner.TypeUrl {
			t.Errorf("a broken %T was read as %+v", m, got)
		}
	}
	if got := subject(&types.Any{TypeUrl: "/cosmos.bank.v1beta1.MsgSend"}); got != (ledger.Foreign{Type: "cosmos.bank.v1beta1.MsgSend"}) {
		t.Errorf("a foreign message was read as %+v", got)
	}
	if _, err := proposal("me", ledger.Propose{Message: ledger.Send{}}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("a proposal to send money: %v", err)
	}
}

// FuzzSubject reads proposals that strangers made.
func FuzzSubject(f *testing.F) {
	for _, m := range subjects() {
		p, err := proposal("me", ledger.Propose{Message: m})
		if err != nil {
			f.Fatal(err)
		}
		a := p.(*sdkwire.MsgSubmitProposal).Messages[0]
		f.Add(a.TypeUrl, a.Value, "7000000")
	}
	f.Fuzz(func(_ *testing.T, url string, value []byte, count string) {
		subject(&types.Any{TypeUrl: url, Value: value})
		_, _ = power(count)
	})
}
