package app

import (
	"errors"
	"fmt"
	"testing"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"google.golang.org/protobuf/proto"

	"cosmossdk.io/log/v2"

	cryptotypes "github.com/cosmos/cosmos-sdk/crypto/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
)

// gateTx is a transaction of some messages of one account.
type gateTx struct {
	from string
	n    int
}

func (t gateTx) GetMsgs() []sdk.Msg                              { return make([]sdk.Msg, t.n) }
func (t gateTx) GetMsgsV2() ([]proto.Message, error)             { return nil, nil }
func (t gateTx) GetSigners() ([][]byte, error)                   { return [][]byte{[]byte(t.from)}, nil }
func (t gateTx) GetPubKeys() ([]cryptotypes.PubKey, error)       { return nil, nil }
func (t gateTx) GetSignaturesV2() ([]signing.SignatureV2, error) { return nil, nil }

// gateOf is a gate for blocks of weight 40, in which accounts that begin with a v have
// standing, and a check of transactions through it that takes all others for good.
func gateOf() (*gate, func(gateTx) error) {
	g := newGate(40, func(_ sdk.Context, who sdk.AccAddress) bool { return who[0] == 'v' })
	ante := g.ante(func(ctx sdk.Context, _ sdk.Tx, _ bool) (sdk.Context, error) { return ctx, nil })
	ctx := sdk.NewContext(nil, cmtproto.Header{}, true, log.NewNopLogger())
	return g, func(t gateTx) error { _, err := ante(ctx, t, false); return err }
}

// TestGateLeavesRoom holds that no crowd of greedy accounts keeps the next account out
// of the mempool, nor the bonded ones, and that after a block it may send again.
func TestGateLeavesRoom(t *testing.T) {
	t.Parallel()
	g, check := gateOf()
	accounts := 8
	for i := range accounts {
		for range 100 {
			if err := check(gateTx{fmt.Sprint("s", i), 1}); err != nil && !errors.Is(err, sdkerrors.ErrMempoolIsFull) {
				t.Fatal(err)
			}
		}
	}
	if most := g.room(false); g.total[false] > most {
		t.Errorf("strangers have %d messages in the mempool, their part is %d", g.total[false], most)
	}
	if err := check(gateTx{"newcomer", 1}); err != nil {
		t.Errorf("a newcomer: %v", err)
	}
	if err := check(gateTx{"validator", 1}); err != nil {
		t.Errorf("a validator: %v", err)
	}
	if err := check(gateTx{"s0", 1}); !errors.Is(err, sdkerrors.ErrMempoolIsFull) {
		t.Errorf("a greedy account: %v", err)
	}
	g.reset()
	if err := check(gateTx{"s0", 1}); err != nil {
		t.Errorf("after a block that took everything: %v", err)
	}
	if err := check(gateTx{"other", 11}); !errors.Is(err, sdkerrors.ErrTxTooLarge) {
		t.Errorf("a stranger's transaction of more than its part of a block: %v", err)
	}
}

// TestGateFillsBlocks holds that a block has no more work than it may, that strangers
// get their part of it and no more, and that no account's transactions change their
// order.
func TestGateFillsBlocks(t *testing.T) {
	t.Parallel()
	g, _ := gateOf()
	fits := g.fill(sdk.NewContext(nil, cmtproto.Header{}, false, log.NewNopLogger()))
	got := map[string]int{}
	for i := range 100 {
		if fits(gateTx{fmt.Sprint("s", i%7), 1}, 100) {
			got["strangers"]++
		}
	}
	for range 100 {
		if fits(gateTx{"v", 1}, 100) {
			got["validator"]++
		}
	}
	if got["strangers"] != 10 || got["validator"] != 30 {
		t.Errorf("a block of 40 has %v, want 10 of strangers and 30 of the validator", got)
	}
	fits = g.fill(sdk.Context{})
	for _, c := range []struct {
		tx   gateTx
		size int
		want bool
	}{
		{gateTx{"v", 1}, 30 * weightBytes, true},
		{gateTx{"v", 1}, 11 * weightBytes, false}, // over the block
		{gateTx{"v", 1}, 100, false},              // fits, but comes after the one that did not
		{gateTx{"s", 1}, 100, true},
	} {
		if got := fits(c.tx, c.size); got != c.want {
			t.Errorf("%v of %d bytes fits: %t", c.tx, c.size, got)
		}
	}
	if fits = g.fill(sdk.Context{}); !fits(gateTx{"v", 1}, 1000*weightBytes) {
		t.Error("a large transaction alone in a block must fit, or it waits for ever")
	}
}
