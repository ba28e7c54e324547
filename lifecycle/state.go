package lifecycle

import (
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// JobState is where a job stands.
type JobState uint8

// The states of a job.
const (
	JobOpen    JobState = iota + 1
	JobClosing          // cancelled, or past its deadline: signed assignments may still commit
	JobClosed           // nothing is locked; the rest was returned
)

// Job is the chain's record of a job.
type Job struct {
	ID           work.JobID   `json:"id"`
	Spec         work.JobSpec `json:"spec"`
	State        JobState     `json:"state"`
	PostedHeight int64        `json:"posted_height"`
	ClosesHeight int64        `json:"closes_height"` // JobClosing: last height of a commit

	// The two escrows: free + locked + spent + returned = what the client put in.
	EscrowFree   work.Amount `json:"escrow_free"`
	EscrowLocked work.Amount `json:"escrow_locked"`
	CheckFree    work.Amount `json:"check_free"`
	CheckLocked  work.Amount `json:"check_locked"`
	PaidWork     work.Amount `json:"paid_work"` // provider + validators + fee burn
	PaidChecks   work.Amount `json:"paid_checks"`
	Refunded     work.Amount `json:"refunded"`

	OpenBatches uint32          `json:"open_batches"` // not yet settled, void or unpaid
	Copies      []work.RangeSet `json:"copies"`       // items committed and not void, by copy: at most Spec.MaxCopies sets
}

// Phase is what a batch waits for.
type Phase uint8

// The phases of a batch. Each but the last three has a deadline and a default.
const (
	Committed Phase = iota + 1 // the beacon of DrawHeight
	Opening                    // the provider opens the drawn items; default: void, slash
	Checking                   // the checkers commit; default: replaced, then the referee
	Revealing                  // provider and checkers reveal; default: as above
	Window                     // challenges; default: pay
	Answering                  // the provider opens a challenged item; default: void, slash
	Voting                     // validators commit their verdict
	Tallying                   // validators reveal it; default: one extension, then unpaid
	Settled                    // paid
	Void                       // convicted or silent: items return to the queue
	Unpaid                     // no verdict came: items return, nobody is slashed
)

var phaseNames = [...]string{"", "committed", "opening", "checking", "revealing", "window", "answering", "voting", "tallying", "settled", "void", "unpaid"}

// String gives the phase's name.
func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return "unknown"
}

// Final reports whether the phase is one of the last three.
func (p Phase) Final() bool { return p >= Settled }

// Batch is the chain's record of a batch.
type Batch struct {
	ID       work.BatchID  `json:"id"`
	Job      work.JobID    `json:"job"`
	Provider work.Address  `json:"provider"`
	Tier     work.Tier     `json:"tier"`
	Items    work.RangeSet `json:"items"` // of all attempts; position p of the tree is Items.At(p)
	N        uint64        `json:"n"`
	Root     work.Node     `json:"root"` // Root.Fuel is the total fuel
	// MaxItemFuel is the provider's own bound on any item's fuel: it bounds what
	// checks can cost; opening an item over it is a fault.
	MaxItemFuel work.Fuel   `json:"max_item_fuel"`
	Price       work.Price  `json:"price"` // highest of its assignments' prices is not enough: one batch has one price
	Pay         work.Amount `json:"pay"`   // locked in the job's escrow
	CheckBudget work.Amount `json:"check_budget"`
	// CheckFromEscrow is the part of CheckBudget that was taken from the work escrow.
	CheckFromEscrow work.Amount     `json:"check_from_escrow"`
	Bond            work.Amount     `json:"bond"`   // locked of the provider
	Placed          []work.RangeSet `json:"placed"` // items by copy, as placed in Job.Copies

	Phase        Phase `json:"phase"`
	CommitHeight int64 `json:"commit_height"`
	DrawHeight   int64 `json:"draw_height"` // 0 until the beacon of CommitHeight+2 fixes it
	Deadline     int64 `json:"deadline"`    // last height at which the awaited message counts

	Draws   []Draw    `json:"draws"`
	Checks  []Check   `json:"checks"`
	Salt    work.Hash `json:"salt"`              // revealed: item salts follow from it
	Dispute *Dispute  `json:"dispute,omitempty"` // the last one; in Answering only a challenge
	Round   uint32    `json:"round"`             // how often missing checkers were replaced
	// WindowLeft is how many blocks of the window remain after a challenge.
	WindowLeft int64 `json:"window_left"`

	Transfers []Transfer `json:"transfers,omitempty"` // all money the batch moved, at its end
	Why       string     `json:"why,omitempty"`       // of a void or unpaid batch, for people
}

// Draw is one drawn item of a batch.
type Draw struct {
	ByIndex  bool      `json:"by_index"` // the whole batch is drawn: Position is fixed, Point unused
	Point    work.Fuel `json:"point"`    // in [0, total fuel)
	Position uint64    `json:"position"` // place in the tree; from the opening unless ByIndex
	Opened   bool      `json:"opened"`
	Node     work.Node `json:"node"` // opened: commits to fuel, leaf and salt
	Revealed bool      `json:"revealed"`
	Leaf     work.Leaf `json:"leaf"` // the provider's
}

// Check is one checker's part of a batch: all draws that fell to it.
type Check struct {
	Checker      work.Address `json:"checker"`
	Draws        []uint32     `json:"draws"` // places in Batch.Draws
	Deadline     int64        `json:"deadline"`
	Commitment   work.Hash    `json:"commitment"`
	CommitHeight int64        `json:"commit_height"` // 0: not yet
	Revealed     bool         `json:"revealed"`
	Leaves       []work.Leaf  `json:"leaves"` // by Draws
	Missed       bool         `json:"missed"` // silent: replaced, fee lost
	Lost         bool         `json:"lost"`   // judged wrong: stake burned, fee lost
	Stake        work.Amount  `json:"stake"`  // locked of the checker's bond until the batch ends
}

// CheckCommitment is what a checker commits to before it may see any leaf.
func CheckCommitment(chain string, batch work.BatchID, checker work.Address, leaves []work.Leaf, salt work.Hash) work.Hash {
	var e work.Encoder
	e.String(chain)
	e.Hash(batch)
	e.String(string(checker))
	e.U32(uint32(len(leaves)))
	for _, l := range leaves {
		l.Encode(&e)
	}
	e.Hash(salt)
	return work.Sum("gotong/check/1", e.Bytes())
}

// VoteCommitment is what a validator commits to in a dispute.
func VoteCommitment(chain string, batch work.BatchID, validator work.Address, leaves []work.Leaf, salt work.Hash) work.Hash {
	var e work.Encoder
	e.String(chain)
	e.Hash(batch)
	e.String(string(validator))
	e.U32(uint32(len(leaves)))
	for _, l := range leaves {
		l.Encode(&e)
	}
	e.Hash(salt)
	return work.Sum("gotong/vote/1", e.Bytes())
}

// Dispute is the referee's case about a batch: as many items as are needed to
// judge every claimant, each executed once by every validator.
type Dispute struct {
	OpenedHeight int64         `json:"opened_height"`
	Items        []DisputeItem `json:"items"`
	Challenger   work.Address  `json:"challenger,omitempty"`
	Stake        work.Amount   `json:"stake,omitempty"`
	TotalPower   int64         `json:"total_power"`
	Votes        []Vote        `json:"votes"` // one per validator of the opening's set
	Extended     bool          `json:"extended"`
}

// DisputeItem is one item that the referee executes.
type DisputeItem struct {
	Position uint64     `json:"position"`
	Claims   []Claim    `json:"claims"`
	Decided  *work.Leaf `json:"decided,omitempty"`
}

// Claim is what one party says the item's leaf is. The provider of a draw that no
// checker could check has the only claim.
type Claim struct {
	Account work.Address `json:"account"`
	Leaf    work.Leaf    `json:"leaf"`
	Height  int64        `json:"height"` // of the commitment: the earliest right accuser is the finder
}

// Vote is one validator's part of a dispute. Validator is the operator's account.
type Vote struct {
	Validator  work.Address `json:"validator"`
	Power      int64        `json:"power"`
	Commitment work.Hash    `json:"commitment"`
	Committed  bool         `json:"committed"`
	Revealed   bool         `json:"revealed"`
	Leaves     []work.Leaf  `json:"leaves"` // by Dispute.Items
}

// Role is what an account is bonded as.
type Role uint8

// The bonded roles.
const (
	RoleProvider Role = iota + 1
	RoleChecker
)

// Party is the registry's record of a bonded account in one role.
type Party struct {
	Account          work.Address   `json:"account"`
	Role             Role           `json:"role"`
	Peer             sign.PublicKey `json:"peer"`
	Bond             work.Amount    `json:"bond"`   // all of it
	Locked           work.Amount    `json:"locked"` // for unsettled batches, or stakes in open checks
	Unbonding        work.Amount    `json:"unbonding"`
	UnbondHeight     int64          `json:"unbond_height"`
	RegisteredHeight int64          `json:"registered_height"`
	Convictions      uint32         `json:"convictions"`
	Settled          uint64         `json:"settled"` // batches, or checks
	Missed           uint64         `json:"missed"`

	// PriorWeight is the weight before the block ChangedHeight, in which the owner
	// last changed its bond: see Weight.
	ChangedHeight int64       `json:"changed_height"`
	PriorWeight   work.Amount `json:"prior_weight"`
}

// Free is the bond that can still be locked.
func (p *Party) Free() work.Amount {
	if used := p.Locked + p.Unbonding; used < p.Bond {
		return p.Bond - used
	}
	return 0
}

// Pot is where money comes from or goes to.
type Pot uint8

// The pots.
const (
	PotAccount     Pot = iota + 1 // an account's balance
	PotEscrow                     // a job's work escrow
	PotCheckEscrow                // a job's check escrow
	PotBond                       // an account's bond in Transfer.Role
	PotStake                      // a challenger's stake in a dispute
	PotValidators                 // the fee pool of the validators
	PotBurn                       // leaves the supply
)

// Reason is why money moves.
type Reason string

// The reasons.
const (
	ReasonWork       Reason = "work"         // provider's share of a batch
	ReasonValidators Reason = "validators"   // validators' share of a batch
	ReasonFeeBurn    Reason = "fee burn"     // burned share of a batch
	ReasonCheck      Reason = "check"        // a checker's fee
	ReasonSlash      Reason = "slash burn"   // burned part of a slash
	ReasonBounty     Reason = "bounty"       // finder's part of a slash
	ReasonDamages    Reason = "damages"      // client's part of a slash
	ReasonStakeIn    Reason = "stake"        // a challenger into its stake
	ReasonStake      Reason = "stake burn"   // a wrong challenger's stake
	ReasonEscrow     Reason = "escrow"       // client into escrow
	ReasonRefund     Reason = "refund"       // escrow back to the client
	ReasonBond       Reason = "bond"         // account into bond
	ReasonUnbond     Reason = "unbond"       // bond back to the account
	ReasonReturn     Reason = "stake return" // an upheld challenger's stake
)

// Transfer moves money once. Accounts are set where the pot belongs to one; for a
// job's escrows From or To is the client.
type Transfer struct {
	FromPot Pot          `json:"from_pot"`
	From    work.Address `json:"from,omitempty"`
	ToPot   Pot          `json:"to_pot"`
	To      work.Address `json:"to,omitempty"`
	Role    Role         `json:"role,omitempty"` // of the bond concerned
	Amount  work.Amount  `json:"amount"`
	Reason  Reason       `json:"reason"`
}
