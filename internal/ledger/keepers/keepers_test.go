package keepers

import (
	"errors"
	"testing"

	"github.com/cosmos/cosmos-sdk/types/bech32"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

const gtg = work.UgtgPerGtg

func account(t *testing.T, n byte) work.Address {
	t.Helper()
	s, err := bech32.ConvertAndEncode("gotong", []byte{n, 19: 1})
	if err != nil {
		t.Fatal(err)
	}
	return work.Address(s)
}

func newLedger(t *testing.T) *Ledger {
	t.Helper()
	l, err := New(Config{Chain: "test", Params: lifecycle.LocalParams(), Governance: account(t, 9),
		Genesis:    map[work.Address]work.Amount{account(t, 1): 100 * gtg},
		Validators: []lifecycle.ValidatorPower{{Account: account(t, 2), Power: 7}}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A bond moves real money, blocks keep it conserved, and it comes back.
func TestBondAndBack(t *testing.T) {
	t.Parallel()
	l, a := newLedger(t), account(t, 1)
	if _, err := l.Submit(t.Context(), a, ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 30 * gtg}); err != nil {
		t.Fatal(err)
	}
	l.Advance()
	if v, _ := l.Balance(t.Context(), a); v != 70*gtg {
		t.Errorf("balance beside a bond: %s", v)
	}
	if _, err := l.Submit(t.Context(), a, ledger.Unbond{Role: lifecycle.RoleChecker, Amount: 30 * gtg}); err != nil {
		t.Fatal(err)
	}
	for range lifecycle.LocalParams().UnbondBlocks + 1 {
		l.Advance()
	}
	if v, _ := l.Balance(t.Context(), a); v != 100*gtg {
		t.Errorf("balance after the bond came back: %s", v)
	}
	if err := l.Audit(); err != nil {
		t.Error(err)
	}
	if v := l.Stake(account(t, 2)); v != 7*gtg {
		t.Errorf("stake of a validator with power 7: %s", v)
	}
}

// A transaction of which one message fails changes nothing.
func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	l, a := newLedger(t), account(t, 1)
	good := ledger.Register{Role: lifecycle.RoleChecker, Peer: sign.PublicKey{1}, Bond: 30 * gtg}
	for name, c := range map[string]struct {
		bad  ledger.Msg
		want error
	}{
		"funds":   {ledger.Register{Role: lifecycle.RoleProvider, Peer: sign.PublicKey{1}, Bond: 500 * gtg}, ledger.ErrFunds},
		"refused": {ledger.Unbond{Role: lifecycle.RoleProvider, Amount: 1}, ledger.ErrRefused},
	} {
		if _, err := l.Submit(t.Context(), a, good, c.bad); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if v, _ := l.Balance(t.Context(), a); v != 100*gtg {
			t.Errorf("%s: a failed transaction left %s of 100 gtg", name, v)
		}
		if _, err := l.Party(t.Context(), lifecycle.RoleChecker, a); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s: a failed transaction registered a checker: %v", name, err)
		}
	}
}

// A record that gets stuck stops a trial, where the chain would go on without it.
func TestStuckRecordStops(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	err := l.proof.Do(l.ctx, func(m lifecycle.Machine) error { return m.S.WakeBatch(l.ctx.BlockHeight(), work.Hash{9}) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a block with a stuck record was closed")
		}
	}()
	l.Advance()
}
