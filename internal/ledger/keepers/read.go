package keepers

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	proofkeeper "github.com/gotong-network/gotong/x/proof/keeper"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
)

// found maps a missing record for readers.
func found[T any](v T, err error) (T, error) {
	if errors.Is(err, lifecycle.ErrNotFound) {
		err = fmt.Errorf("%w: %v", ledger.ErrNotFound, err)
	}
	return v, err
}

// Job gives a job.
func (l *Ledger) Job(_ context.Context, id work.JobID) (*lifecycle.Job, error) {
	return found(l.market.Job(l.ctx, id))
}

// Batch gives a batch.
func (l *Ledger) Batch(_ context.Context, id work.BatchID) (*lifecycle.Batch, error) {
	return found(l.proof.Batch(l.ctx, id))
}

// Party gives a party.
func (l *Ledger) Party(_ context.Context, role lifecycle.Role, account work.Address) (*lifecycle.Party, error) {
	return found(l.registry.Party(l.ctx, role, account))
}

// Parties gives all parties of a role by account.
func (l *Ledger) Parties(_ context.Context, role lifecycle.Role) ([]*lifecycle.Party, error) {
	return l.registry.Parties(l.ctx, role)
}

// Commons gives the commons.
func (l *Ledger) Commons(context.Context) (*lifecycle.Commons, error) { return l.reward.Commons(l.ctx) }

// Balance gives an account's balance.
func (l *Ledger) Balance(_ context.Context, account work.Address) (work.Amount, error) {
	b, err := accountBytes(account)
	if err != nil {
		return 0, err
	}
	return work.Amount(l.bank.GetBalance(l.ctx, b, work.Denom).Amount.Uint64()), nil
}

// Supply gives what money there is.
func (l *Ledger) Supply(context.Context) (ledger.Supply, error) {
	v, err := (proofkeeper.QueryServer{Keeper: l.proof}).Supply(l.ctx, &prooftypes.QuerySupplyRequest{})
	if err != nil {
		return ledger.Supply{}, err
	}
	return ledger.Supply{Total: work.Amount(v.Total), FeeBurn: work.Amount(v.FeeBurn), SlashBurn: work.Amount(v.SlashBurn),
		Escrowed: work.Amount(v.Escrowed), Bonded: work.Amount(v.Bonded)}, nil
}
