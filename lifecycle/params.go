package lifecycle

import "github.com/gotong-network/gotong/work"

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
	CheckerBond    work.Amount `json:"checker_bond"`    // least bond of a checker, and its stake in a dispute
	ChallengeStake work.Amount `json:"challenge_stake"` // locked by a challenge, burned if it is wrong
	UnbondBlocks   int64       `json:"unbond_blocks"`

	// Draws.
	DrawDelayBlocks  int64  `json:"draw_delay_blocks"`  // 3: at H+3+(R_{H+2} mod DrawSpread)
	DrawSpreadBlocks uint64 `json:"draw_spread_blocks"` // 8
	SampleEconomic   uint32 `json:"sample_economic"`
	SampleAssured    uint32 `json:"sample_assured"`
	MaxFullItems     uint32 `json:"max_full_items"`
	CheckersAssured  uint32 `json:"checkers_assured"` // k of tier assured; 1 in the other tiers

	// Waits, in blocks.
	OpenBlocks    int64     `json:"open_blocks"`
	CheckBlocks   int64     `json:"check_blocks"`   // least wait for a check commit
	WaitFactor    int64     `json:"wait_factor"`    // 4: times the estimate below
	FuelPerBlock  work.Fuel `json:"fuel_per_block"` // what a slow machine executes in a block: the estimate's divisor
	RevealBlocks  int64     `json:"reveal_blocks"`
	WindowBlocks  int64     `json:"window_blocks"`
	VoteBlocks    int64     `json:"vote_blocks"`    // least wait for the referee
	ClosingBlocks int64     `json:"closing_blocks"` // longest a signed assignment stays valid
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
	}
}
