package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/work"
)

// Params are the chain's parameters, changeable by governance. Waits are in
// blocks, shares in permille.
type Params struct {
	// Market.
	MinPrice     work.Price `json:"min_price"`      // floor of checked tiers, ugtg per work unit
	MaxItemFuel  work.Fuel  `json:"max_item_fuel"`  // cap of Limits.Fuel
	MaxJobBlocks int64      `json:"max_job_blocks"` // longest a job may stay open

	// Shares of a batch's pay; the rest is the fee burn.
	ProviderPermille  uint64 `json:"provider_permille"`
	ValidatorPermille uint64 `json:"validator_permille"`
	// A check pays this share of the checked fuel × price.
	CheckPermille uint64 `json:"check_permille"`

	// Bonds and slashes.
	MinBond        work.Amount `json:"min_bond"`        // B_min: bond per unsettled batch at least, and least slash
	SlashPermille  uint64      `json:"slash_permille"`  // of the batch's pay
	FinderPermille uint64      `json:"finder_permille"` // of a slash; the rest after client and finder is burned
	ClientPermille uint64      `json:"client_permille"`
	// RefereePermille of what a wrong party loses goes to the validators that voted
	// right; VoteSlashPermille of its stake is what a validator loses that voted
	// another leaf than the decided one.
	RefereePermille   uint64 `json:"referee_permille"`
	VoteSlashPermille uint64 `json:"vote_slash_permille"`
	// VoteMissPermille is what one loses that revealed no vote in a dispute that two
	// thirds of the power decided.
	VoteMissPermille uint64      `json:"vote_miss_permille"`
	CheckerBond      work.Amount `json:"checker_bond"` // least bond of a checker, and its least stake in a check
	// CheckStakeFactor is how many times its fee a checker stakes, as far as its bond
	// goes: to copy a leaf that the provider leaked saves at most the fee, and a second
	// look finds it with a chance of LookPermille at most.
	CheckStakeFactor uint64      `json:"check_stake_factor"`
	ChallengeStake   work.Amount `json:"challenge_stake"` // least stake of a challenge or claim, burned if it is wrong
	IndexerBond      work.Amount `json:"indexer_bond"`    // least bond of an indexer, and the fine for equivocation
	UnavailableFee   work.Amount `json:"unavailable_fee"` // least fee of a batch that nobody could fetch, burned
	// A job in which nothing was committed for TakeoverIdleBlocks may be claimed by
	// another indexer, under a stake; its own has TakeoverAnswerBlocks to answer.
	TakeoverIdleBlocks   int64       `json:"takeover_idle_blocks"`
	TakeoverAnswerBlocks int64       `json:"takeover_answer_blocks"`
	TakeoverStake        work.Amount `json:"takeover_stake"`
	// ConvictionBlocks is how long a conviction makes the next one a second one.
	ConvictionBlocks int64 `json:"conviction_blocks"`
	UnbondBlocks     int64 `json:"unbond_blocks"`

	// Draws.
	DrawDelayBlocks  int64  `json:"draw_delay_blocks"`  // 3: at H+3+(R_{H+2} mod DrawSpread)
	DrawSpreadBlocks uint64 `json:"draw_spread_blocks"` // 8
	SampleEconomic   uint32 `json:"sample_economic"`
	SampleAssured    uint32 `json:"sample_assured"`
	MaxFullItems     uint32 `json:"max_full_items"`
	CheckersAssured  uint32 `json:"checkers_assured"` // k of tier assured; 1 in the other tiers
	LookPermille     uint64 `json:"look_permille"`    // p₂: chance of a second look
	LookDelayBlocks  int64  `json:"look_delay_blocks"`
	// RerollPermille is the share of voting power that is assumed to skip blocks in
	// favour of a cheat.
	RerollPermille uint64 `json:"reroll_permille"`

	// Vesting and rewards.
	VestPermille uint64 `json:"vest_permille"` // of a provider's share
	VestBlocks   int64  `json:"vest_blocks"`   // 0: paid at once
	MintPermille uint64 `json:"mint_permille"` // κ: of the fee burn of a checked batch

	// Commons.
	CommonsPrice         work.Price  `json:"commons_price"`
	CommonsEmission      work.Amount `json:"commons_emission"`       // of an epoch at first
	CommonsHalvingEpochs int64       `json:"commons_halving_epochs"` // the emission halves after so many
	CommonsEpochBlocks   int64       `json:"commons_epoch_blocks"`
	CommonsChunkItems    uint64      `json:"commons_chunk_items"` // items of one draw

	// Waits, in blocks.
	OpenBlocks    int64     `json:"open_blocks"`
	CheckBlocks   int64     `json:"check_blocks"`   // least wait for a check commit
	WaitFactor    int64     `json:"wait_factor"`    // 4: times the estimate below
	FuelPerBlock  work.Fuel `json:"fuel_per_block"` // what a slow machine executes in a block: the estimate's divisor
	RevealBlocks  int64     `json:"reveal_blocks"`
	WindowBlocks  int64     `json:"window_blocks"`
	VoteBlocks    int64     `json:"vote_blocks"`    // least wait for the referee
	ClosingBlocks int64     `json:"closing_blocks"` // longest a signed assignment stays valid
	// MaxDisputes are judged at a time; GovernanceBlocks is how long governance may
	// take about a frozen one.
	MaxDisputes      uint32 `json:"max_disputes"`
	GovernanceBlocks int64  `json:"governance_blocks"`
}

// LocalParams are the parameters of a local network with blocks of 500 ms.
func LocalParams() Params {
	return Params{
		MinPrice: 10, MaxItemFuel: 1_000_000_000_000, MaxJobBlocks: 2 * 60 * 60 * 24 * 30,
		ProviderPermille: 920, ValidatorPermille: 20, CheckPermille: 1300,
		MinBond: 1 * work.UgtgPerGtg, SlashPermille: 600, FinderPermille: 300, ClientPermille: 200,
		CheckerBond: 5 * work.UgtgPerGtg, ChallengeStake: 1 * work.UgtgPerGtg, UnbondBlocks: 1200,
		DrawDelayBlocks: 3, DrawSpreadBlocks: 8, SampleEconomic: 3, SampleAssured: 20, MaxFullItems: 256, CheckersAssured: 2,
		OpenBlocks: 40, CheckBlocks: 30, WaitFactor: 4, FuelPerBlock: 100_000_000, RevealBlocks: 30, WindowBlocks: 8,
		VoteBlocks: 30, ClosingBlocks: 1200,
		RefereePermille: 100, VoteSlashPermille: 10, VoteMissPermille: 1, CheckStakeFactor: 50, IndexerBond: 5 * work.UgtgPerGtg, UnavailableFee: work.UgtgPerGtg / 2,
		TakeoverIdleBlocks: 40, TakeoverAnswerBlocks: 20, TakeoverStake: work.UgtgPerGtg / 2,
		ConvictionBlocks: 2 * 60 * 60 * 24 * 30, LookPermille: 100, LookDelayBlocks: 1, RerollPermille: 100,
		VestPermille: 500, VestBlocks: 0, MintPermille: 500,
		CommonsPrice: 1000, CommonsEmission: 10 * work.UgtgPerGtg, CommonsHalvingEpochs: 1_000_000, CommonsEpochBlocks: 120, CommonsChunkItems: 64,
		MaxDisputes: 8, GovernanceBlocks: 240,
	}
}

// PublicParams are the parameters of a public network with blocks of 5 s.
func PublicParams() Params {
	const minute, hour, day = 12, 12 * 60, 12 * 60 * 24
	p := LocalParams()
	p.MaxJobBlocks, p.UnbondBlocks, p.ConvictionBlocks, p.VestBlocks = 30*day, 21*day, 30*day, 30*day
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.WindowBlocks = 5*minute, 2*minute, 2*minute, hour
	p.VoteBlocks, p.ClosingBlocks, p.GovernanceBlocks = 10*minute, 10*minute, 7*day
	p.TakeoverIdleBlocks, p.TakeoverAnswerBlocks = 5*minute, 2*minute
	p.FuelPerBlock = 1_000_000_000
	// A third of the power, which may also own the height that fixes the draw: 1 −
	// (2/3)², rounded up.
	p.RerollPermille = 600
	p.CommonsEpochBlocks, p.CommonsHalvingEpochs = hour, 2*365*24
	return p
}

// Set reads parameters from a JSON object and leaves those alone that it does not name.
// A name that there is not is an error, as is anything behind the object. It does not
// validate: several changes may only work together.
func (p *Params) Set(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the parameters")
	}
	return nil
}

// burnPermille is the share of a slash that burns.
func (p Params) burnPermille() uint64 {
	return 1000 - p.FinderPermille - p.ClientPermille - p.RefereePermille
}

// Rules are the parameters that the formulas of incentive use.
func (p Params) Rules() incentive.Rules {
	return incentive.Rules{
		SampleEconomic: p.SampleEconomic, SampleAssured: p.SampleAssured, MaxFullItems: p.MaxFullItems, CheckersAssured: p.CheckersAssured,
		MinBond: p.MinBond, SlashPermille: p.SlashPermille, FinderPermille: p.FinderPermille, ClientPermille: p.ClientPermille,
		CheckPermille: p.CheckPermille, RefereePermille: p.RefereePermille, LookPermille: p.LookPermille, RerollPermille: p.RerollPermille,
	}
}

// Bounds of parameters: they keep every product of the machine inside 64 bits.
const (
	maxBlocks   = 1 << 32
	maxItemFuel = 1 << 48
	maxSample   = 1024
	maxEmission = 1 << 48
)

// Validate reports parameters under which the machine could not keep its
// promises: a wait of no blocks, shares over the whole, a draw of nothing.
func (p Params) Validate() error {
	for _, w := range []struct {
		name   string
		blocks int64
	}{
		{"max_job_blocks", p.MaxJobBlocks}, {"unbond_blocks", p.UnbondBlocks}, {"draw_delay_blocks", p.DrawDelayBlocks},
		{"draw_spread_blocks", int64(min(p.DrawSpreadBlocks, math.MaxInt64))}, {"open_blocks", p.OpenBlocks},
		{"check_blocks", p.CheckBlocks}, {"wait_factor", p.WaitFactor}, {"reveal_blocks", p.RevealBlocks},
		{"window_blocks", p.WindowBlocks}, {"vote_blocks", p.VoteBlocks}, {"closing_blocks", p.ClosingBlocks},
		{"look_delay_blocks", p.LookDelayBlocks}, {"conviction_blocks", p.ConvictionBlocks}, {"governance_blocks", p.GovernanceBlocks},
		{"takeover_idle_blocks", p.TakeoverIdleBlocks}, {"takeover_answer_blocks", p.TakeoverAnswerBlocks},
		{"vest_blocks + 1", p.VestBlocks + 1}, {"commons_epoch_blocks", p.CommonsEpochBlocks}, {"commons_halving_epochs", p.CommonsHalvingEpochs},
	} {
		if w.blocks < 1 || w.blocks > maxBlocks {
			return fmt.Errorf("parameter %s is %d: want 1 to %d", w.name, w.blocks, int64(maxBlocks))
		}
	}
	for _, n := range []uint32{p.SampleEconomic, p.SampleAssured, p.MaxFullItems, p.CheckersAssured, p.MaxDisputes} {
		if n < 1 || n > maxSample {
			return fmt.Errorf("a sample, or a number of checkers or disputes, is %d: want 1 to %d", n, maxSample)
		}
	}
	switch {
	case p.ProviderPermille+p.ValidatorPermille > 1000 || p.ProviderPermille > 1000 || p.ValidatorPermille > 1000:
		return errors.New("shares of a batch's pay are over 1000 permille")
	case p.FinderPermille > 1000 || p.ClientPermille > 1000 || p.RefereePermille > 1000 || p.FinderPermille+p.ClientPermille+p.RefereePermille >= 1000:
		return errors.New("finder, client and referees take the whole slash: some of it must burn")
	case p.LookPermille > 1000 || p.VestPermille > 1000 || p.VoteSlashPermille > 1000 || p.VoteMissPermille > 1000:
		return errors.New("a chance or share is over 1000 permille")
	case p.MintPermille >= 1000:
		return errors.New("who works for himself must lose: less than the whole fee burn may be minted")
	case p.RerollPermille >= 1000:
		return errors.New("who proposes every block chooses every draw: no bond deters him")
	case p.SlashPermille > 1000*1000 || p.CheckPermille > 1000*1000 || p.CheckStakeFactor > 1000*1000:
		return errors.New("slash or check fee is over 1000 times the pay, or a check's stake over a million times its fee")
	case p.MinBond == 0 || p.CheckerBond == 0 || p.ChallengeStake == 0 || p.IndexerBond == 0 || p.UnavailableFee == 0 || p.TakeoverStake == 0:
		return errors.New("bonds and stakes must not be zero")
	case p.MinPrice == 0 || p.CommonsPrice == 0 || p.CommonsChunkItems == 0 || p.CommonsEmission > maxEmission:
		return fmt.Errorf("floor price, commons price and chunk must not be zero, an epoch's emission at most %d ugtg", uint64(maxEmission))
	case p.MaxItemFuel == 0 || p.MaxItemFuel > maxItemFuel || p.FuelPerBlock == 0:
		return fmt.Errorf("fuel per item must be 1 to %d and fuel per block not zero", uint64(maxItemFuel))
	}
	return nil
}
