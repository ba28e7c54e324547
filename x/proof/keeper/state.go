package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	"github.com/gotong-network/gotong/x/internal/field"
	market "github.com/gotong-network/gotong/x/market/types"
	"github.com/gotong-network/gotong/x/proof/types"
	registry "github.com/gotong-network/gotong/x/registry/types"
	reward "github.com/gotong-network/gotong/x/reward/types"
)

// state is the chain's store as the machines see it, for one transition.
type state struct {
	ctx    sdk.Context
	k      Keeper
	dueNow lifecycle.Due // taken out before by EndBlock
}

var _ lifecycle.State = (*state)(nil)

func (s *state) Chain() string { return s.ctx.ChainID() }
func (s *state) Height() int64 { return s.ctx.BlockHeight() }

func (s *state) Params() (lifecycle.Params, error) { return s.k.Params(s.ctx) }

func (s *state) Beacon(height int64) (work.Hash, error) { return s.k.Beacon.Value(s.ctx, height) }
func (s *state) Skipped(height int64) (bool, error)     { return s.k.Beacon.Skipped(s.ctx, height) }

func (s *state) Validators() (l []lifecycle.ValidatorPower, err error) {
	err = s.k.Staking.IterateLastValidatorPowers(s.ctx, func(operator sdk.ValAddress, power int64) bool {
		l = append(l, lifecycle.ValidatorPower{Account: work.Address(sdk.AccAddress(operator).String()), Power: power})
		return false
	})
	slices.SortFunc(l, func(a, b lifecycle.ValidatorPower) int { return strings.Compare(string(a.Account), string(b.Account)) })
	return l, err
}

func (s *state) Job(id work.JobID) (*lifecycle.Job, error) { return s.k.Market.Job(s.ctx, id) }
func (s *state) SetJob(j *lifecycle.Job) error             { return s.k.Market.SetJob(s.ctx, j) }

func (s *state) Batch(id work.BatchID) (*lifecycle.Batch, error) { return s.k.Batch(s.ctx, id) }
func (s *state) SetBatch(b *lifecycle.Batch) error               { return s.k.setBatch(s.ctx, b) }

func (s *state) Taken(job work.JobID, provider work.Address) (work.RangeSet, error) {
	return s.k.Market.Taken(s.ctx, job, provider)
}

func (s *state) SetTaken(job work.JobID, provider work.Address, items work.RangeSet) error {
	return s.k.Market.SetTaken(s.ctx, job, provider, items)
}

func (s *state) Party(role lifecycle.Role, account work.Address) (*lifecycle.Party, error) {
	return s.k.Registry.Party(s.ctx, role, account)
}

func (s *state) SetParty(p *lifecycle.Party) error { return s.k.Registry.SetParty(s.ctx, p) }

func (s *state) Parties(role lifecycle.Role) ([]*lifecycle.Party, error) {
	return s.k.Registry.Parties(s.ctx, role)
}

func (s *state) WakeJob(height int64, id work.JobID) error {
	return s.k.wakeJobs.Set(s.ctx, collections.Join(uint64(height), id[:]))
}

func (s *state) WakeBatch(height int64, id work.BatchID) error {
	return s.k.wakeBatches.Set(s.ctx, collections.Join(uint64(height), id[:]))
}

func (s *state) WakeParty(height int64, role lifecycle.Role, account work.Address) error {
	return s.k.wakeParties.Set(s.ctx, collections.Join3(uint64(height), uint32(role), string(account)))
}

// Due gives what EndBlock took out of the store.
func (s *state) Due(height int64) (lifecycle.Due, error) {
	if height != s.Height() {
		return lifecycle.Due{}, fmt.Errorf("asked at height %d for what is due at %d", s.Height(), height)
	}
	return s.dueNow, nil
}

func (s *state) Court() (lifecycle.Court, error) {
	c, err := s.k.court.Get(s.ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return lifecycle.Court{}, nil
	}
	return c, err
}

func (s *state) SetCourt(c lifecycle.Court) error { return s.k.court.Set(s.ctx, c) }

func (s *state) Queued(number uint64) (work.BatchID, error) {
	b, err := s.k.queue.Get(s.ctx, number)
	if errors.Is(err, collections.ErrNotFound) {
		return work.BatchID{}, fmt.Errorf("place %d of the queue of disputes: %w", number, lifecycle.ErrNotFound)
	}
	if err != nil {
		return work.BatchID{}, err
	}
	return field.Hash("batch id", b)
}

func (s *state) SetQueued(number uint64, id work.BatchID) error {
	if id == (work.BatchID{}) {
		return s.k.queue.Remove(s.ctx, number)
	}
	return s.k.queue.Set(s.ctx, number, id[:])
}

func (s *state) Suspension(program work.Hash) (*lifecycle.Suspension, error) {
	v, err := s.k.suspensions.Get(s.ctx, program[:])
	if errors.Is(err, collections.ErrNotFound) {
		return nil, fmt.Errorf("suspension of program %s: %w", program, lifecycle.ErrNotFound)
	}
	return &v, err
}

func (s *state) SetSuspension(program work.Hash, v *lifecycle.Suspension) error {
	if len(v.Batches) == 0 {
		return s.k.suspensions.Remove(s.ctx, program[:])
	}
	return s.k.suspensions.Set(s.ctx, program[:], *v)
}

func (s *state) Commons() (*lifecycle.Commons, error)  { return s.k.Reward.Commons(s.ctx) }
func (s *state) SetCommons(c *lifecycle.Commons) error { return s.k.Reward.SetCommons(s.ctx, c) }

// maxEvidenceBytes bounds what a batch's assignments take of the store: some 16,000
// ranges.
const maxEvidenceBytes = 256 << 10

func (s *state) SetEvidence(id work.BatchID, parts []lifecycle.Part) error {
	b, err := (&types.QueryEvidenceResponse{Parts: types.FromParts(parts)}).Marshal()
	if err != nil {
		return err
	}
	if len(b) > maxEvidenceBytes {
		return fmt.Errorf("%w: the assignments of the batch have %d bytes, the chain keeps at most %d: commit less at once", lifecycle.ErrRefused, len(b), maxEvidenceBytes)
	}
	return s.k.evidence.Set(s.ctx, id[:], b)
}

// Emit tells what happened, to whoever reads the block's results and to the digest
// that proves them.
func (s *state) Emit(e lifecycle.Event) {
	b, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("proof: event %+v has no JSON: %v", e, err))
	}
	if err := s.k.digest(s.ctx, b); err != nil {
		panic(fmt.Sprintf("proof: event %s: %v", b, err))
	}
	s.ctx.EventManager().EmitEvent(sdk.NewEvent(types.EventType, sdk.NewAttribute(types.EventAttribute, string(b))))
}

// moduleOf is the account behind a pot that no single account owns.
func moduleOf(p lifecycle.Pot) string {
	switch p {
	case lifecycle.PotEscrow, lifecycle.PotCheckEscrow:
		return market.ModuleName
	case lifecycle.PotBond, lifecycle.PotVesting:
		return registry.ModuleName
	case lifecycle.PotCommons, lifecycle.PotMint:
		return reward.ModuleName
	case lifecycle.PotStake:
		return types.ModuleName
	case lifecycle.PotValidators:
		return authtypes.FeeCollectorName
	}
	return ""
}

// Move executes a transfer in the bank. How much of a module's account belongs to
// which job or party only the records say.
func (s *state) Move(_ work.JobID, t lifecycle.Transfer) error {
	err := s.move(t)
	if errors.Is(err, sdkerrors.ErrInsufficientFunds) {
		return fmt.Errorf("%w: %v", lifecycle.ErrFunds, err)
	}
	return err
}

func (s *state) move(t lifecycle.Transfer) error {
	if t.FromPot == lifecycle.PotMint {
		// What is minted begins in the module that mints, and goes on from there.
		if err := s.k.Reward.Mint(s.ctx, t.Amount, t.Reason); err != nil {
			return err
		}
	}
	coins := sdk.NewCoins(sdk.NewCoin(work.Denom, math.NewIntFromUint64(uint64(t.Amount))))
	from, to := moduleOf(t.FromPot), moduleOf(t.ToPot)
	switch {
	case t.FromPot == lifecycle.PotAccount && t.ToPot == lifecycle.PotAccount:
		a, b, err := accounts(t.From, t.To)
		if err != nil {
			return err
		}
		return s.k.Bank.SendCoins(s.ctx, a, b, coins)
	case t.FromPot == lifecycle.PotAccount && to != "":
		a, _, err := accounts(t.From, t.From)
		if err != nil {
			return err
		}
		return s.k.Bank.SendCoinsFromAccountToModule(s.ctx, a, to, coins)
	case from != "" && t.ToPot == lifecycle.PotAccount:
		b, _, err := accounts(t.To, t.To)
		if err != nil {
			return err
		}
		return s.k.Bank.SendCoinsFromModuleToAccount(s.ctx, from, b, coins)
	case from != "" && t.ToPot == lifecycle.PotBurn:
		p, err := s.Params()
		if err != nil {
			return err
		}
		return s.k.Reward.Burn(s.ctx, from, t.Amount, t.Reason, p.MintPermille)
	case from != "" && to != "" && from != to:
		return s.k.Bank.SendCoinsFromModuleToModule(s.ctx, from, to, coins)
	case from != "" && from == to:
		return nil // between the two escrows, two bonds, or bond and unvested pay: the records say it all
	}
	return fmt.Errorf("no way for money from pot %d to pot %d", t.FromPot, t.ToPot)
}

func accounts(from, to work.Address) (a, b []byte, err error) {
	if a, err = field.AccountBytes(from); err != nil {
		return nil, nil, err
	}
	b, err = field.AccountBytes(to)
	return a, b, err
}
