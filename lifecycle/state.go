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
	ID    work.JobID   `json:"id"`
	Spec  work.JobSpec `json:"spec"`
	State JobState     `json:"state"`
	// Commons: approved by governance, paid from the emission, its items drawn by
	// the beacon. Money that is left goes to the commons pool, not to the client.
	Commons      bool  `json:"commons,omitempty"`
	PostedHeight int64 `json:"posted_height"`
	ClosesHeight int64 `json:"closes_height"` // JobClosing: last height of a commit

	// The two escrows: free + locked + spent + returned = what the client, or the
	// emission of the commons, put in.
	ToppedUp     work.Amount `json:"topped_up,omitempty"` // from the emission
	EscrowFree   work.Amount `json:"escrow_free"`
	EscrowLocked work.Amount `json:"escrow_locked"`
	CheckFree    work.Amount `json:"check_free"`
	CheckLocked  work.Amount `json:"check_locked"`
	PaidWork     work.Amount `json:"paid_work"` // provider + validators + fee burn + indexer
	PaidChecks   work.Amount `json:"paid_checks"`
	Fined        work.Amount `json:"fined,omitempty"` // for equivocation of the client's own indexer
	Refunded     work.Amount `json:"refunded"`

	// Its indexers, the present one last: see Signers. Takeover is a claim that its
	// indexer has not answered; Kept counts answers without a commit between them.
	Indexers     []Signer  `json:"indexers"`
	Takeover     *Takeover `json:"takeover,omitempty"`
	CommitHeight int64     `json:"commit_height,omitempty"` // of the last commit
	AnswerHeight int64     `json:"answer_height,omitempty"` // of the last answer to a claim, or change of the indexer
	Kept         uint32    `json:"kept,omitempty"`

	OpenBatches uint32          `json:"open_batches"` // not yet settled, void or unpaid
	Copies      []work.RangeSet `json:"copies"`       // items committed and not void, by copy: at most Spec.MaxCopies sets
}

// Phase is what a batch waits for.
type Phase uint8

// The phases of a batch. Each but Queued and the last three has a deadline and a
// default; the queue moves on with every dispute that ends.
const (
	Committed Phase = iota + 1 // the beacon of DrawHeight
	Opening                    // the provider opens the drawn items; default: void, slash
	Checking                   // the checkers commit; default: replaced, then the referee
	Looking                    // the beacon that says whether one draw gets a second look
	Revealing                  // provider and checkers reveal; default: as above
	Window                     // challenges and claims of non-delivery; default: pay
	Answering                  // the provider opens a challenged item; default: void, slash
	Queued                     // a free place among the open disputes
	Voting                     // validators commit their verdict
	Tallying                   // validators reveal it; default: one extension, then unpaid
	Frozen                     // governance, after checkers contradicted the referee; default: the verdict
	Settled                    // paid
	Void                       // convicted, silent or unavailable: items return to the queue
	Unpaid                     // no verdict came: items return, nobody is slashed
)

var phaseNames = [...]string{"", "committed", "opening", "checking", "looking", "revealing", "window", "answering", "queued", "voting", "tallying", "frozen", "settled", "void", "unpaid"}

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
	CheckFromEscrow work.Amount `json:"check_from_escrow"`
	// Indexer is the account whose indexer signed its assignments, IndexerFee what it
	// gets when the batch is paid: locked in the job's escrow.
	Indexer    work.Address `json:"indexer,omitempty"`
	IndexerFee work.Amount  `json:"indexer_fee,omitempty"`
	Bond       work.Amount  `json:"bond"` // what it asks of the provider's bond, and a first slash
	// Sample is how many items are drawn. If it is less than the tier's, Pledge of
	// the provider's unvested pay stands for what the missing draws would deter.
	Sample uint32          `json:"sample"`
	Pledge work.Amount     `json:"pledge,omitempty"`
	Placed []work.RangeSet `json:"placed"` // items by copy, as placed in Job.Copies

	Phase        Phase `json:"phase"`
	CommitHeight int64 `json:"commit_height"`
	DrawHeight   int64 `json:"draw_height"` // 0 until the beacon of CommitHeight+2 fixes it
	// Redraws is how often the draw began anew after a skipped turn.
	Redraws uint32 `json:"redraws,omitempty"`
	// Deadline is the last height at which the awaited message counts; 0 in the queue,
	// and in a window that is over while an older batch of the provider is undecided.
	Deadline int64 `json:"deadline"`

	Draws   []Draw    `json:"draws"`
	Checks  []Check   `json:"checks"`
	Salt    work.Hash `json:"salt"`              // revealed: item salts follow from it
	Dispute *Dispute  `json:"dispute,omitempty"` // the last one; in Answering only a challenge
	Round   uint32    `json:"round"`             // how often missing checkers were replaced
	Looked  bool      `json:"looked,omitempty"`  // the beacon has said whether there is a second look
	Decided []Decided `json:"decided,omitempty"` // by the referee: no item is judged twice
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
	Leaves       []work.Leaf  `json:"leaves"`            // by Draws
	Missed       bool         `json:"missed"`            // silent: replaced, fee lost
	Lost         bool         `json:"lost"`              // judged wrong: stake burned, fee lost
	Forfeit      bool         `json:"forfeit,omitempty"` // could not fetch what two thirds of the power could: fee lost
	Look         bool         `json:"look,omitempty"`    // the second look
	Stake        work.Amount  `json:"stake"`             // what it loses if it is judged wrong
}

// Unavailable is the leaf of an item that whoever commits, reveals or votes it
// could not fetch. No item has it: every item costs fuel.
var Unavailable work.Leaf

// Decided is the referee's word on an item.
type Decided struct {
	Position uint64    `json:"position"`
	Leaf     work.Leaf `json:"leaf"`
	Delivery bool      `json:"delivery,omitempty"` // its output was there; it was not executed
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
	Delivery     bool          `json:"delivery,omitempty"` // the client says that it cannot get the item's output
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
	RoleIndexer // Party.Peer is the key that signs assignments
)

// Party is the registry's record of a bonded account in one role.
type Party struct {
	Account          work.Address   `json:"account"`
	Role             Role           `json:"role"`
	Peer             sign.PublicKey `json:"peer"`
	Bond             work.Amount    `json:"bond"`   // all of it
	Locked           work.Amount    `json:"locked"` // for unsettled batches (see Open), or for open checks
	Unbonding        work.Amount    `json:"unbonding"`
	UnbondHeight     int64          `json:"unbond_height"`
	RegisteredHeight int64          `json:"registered_height"`
	Convictions      uint32         `json:"convictions"`
	Settled          uint64         `json:"settled"` // batches, or checks
	Missed           uint64         `json:"missed"`

	// PriorWeight is the weight before the owner last changed its bond, in the block
	// ChangedHeight and perhaps the one before it: see Weight.
	ChangedHeight int64       `json:"changed_height"`
	PriorWeight   work.Amount `json:"prior_weight"`

	// Of a checker: its parts in batches that have not ended. One stake is locked for
	// all of them, so that nobody can use up its bond by keeping batches open.
	Checks uint32 `json:"checks,omitempty"`

	// Of a provider.
	Open            []OpenBatch `json:"open,omitempty"`     // unsettled batches: Locked is the largest bond
	Unvested        work.Amount `json:"unvested,omitempty"` // sum of Vesting: pay that a second conviction takes
	Pledged         work.Amount `json:"pledged,omitempty"`  // of Unvested: stands for draws that were saved
	Vesting         []Tranche   `json:"vesting,omitempty"`  // by height
	ConvictedHeight int64       `json:"convicted_height,omitempty"`
	VoidBefore      int64       `json:"void_before,omitempty"` // batches committed up to here are never paid
}

// OpenBatch is an unsettled batch of a provider.
type OpenBatch struct {
	ID     work.BatchID `json:"id"`
	Bond   work.Amount  `json:"bond"`
	Height int64        `json:"height"` // of its commit
	// Cleared: its window is over and nobody accuses it, or it is frozen. It holds up
	// no younger batch.
	Cleared bool `json:"cleared,omitempty"`
}

// Tranche is pay that vests at a height.
type Tranche struct {
	Height int64       `json:"height"`
	Amount work.Amount `json:"amount"`
}

// Court is the queue of disputes: numbers of [Head, Tail) wait, Open are judged.
type Court struct {
	Open uint32 `json:"open"`
	Head uint64 `json:"head"`
	Tail uint64 `json:"tail"`
}

// Suspension keeps a program from new jobs while Batches of it are frozen.
type Suspension struct {
	Batches []work.BatchID `json:"batches"`
}

// Commons is what the beacon drew for the jobs that governance approved, of the
// present epoch and the one before.
type Commons struct {
	Jobs    []work.JobID   `json:"jobs"` // open ones, in the order of their approval
	Epochs  []CommonsEpoch `json:"epochs"`
	Emitted work.Amount    `json:"emitted"` // minted for the commons since genesis
	Pool    work.Amount    `json:"pool"`    // what ended jobs left over: the next top-up takes it first
}

// CommonsEpoch is one epoch's draw.
type CommonsEpoch struct {
	Number int64           `json:"number"`
	Height int64           `json:"height"` // its first block, whose beacon draws
	Beacon work.Hash       `json:"beacon"`
	Jobs   []work.JobID    `json:"jobs"`
	Items  []work.RangeSet `json:"items"` // of Jobs: open when the epoch began
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
	PotVesting                    // an account's unvested pay
	PotMint                       // enters the supply
	PotCommons                    // what commons jobs left over
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
	ReasonVested     Reason = "vested"       // vesting pay that became free
	ReasonMint       Reason = "reward"       // minted for paid work
	ReasonEmission   Reason = "emission"     // minted for the commons
	ReasonReferee    Reason = "referee"      // to validators that voted what was decided
	ReasonFee        Reason = "fee"          // of a batch whose data or output nobody could fetch
	ReasonFine       Reason = "fine"         // of an indexer that equivocated
	ReasonIndexer    Reason = "indexer"      // an indexer's fee
	ReasonClaim      Reason = "claim"        // stake of an indexer that claimed a job whose indexer works
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
