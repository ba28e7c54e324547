package lifecycle

import (
	"errors"

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// What callers of the machine branch on; the text around them says the rest.
var (
	ErrNotFound = errors.New("not found")
	ErrRefused  = errors.New("refused")          // a rule of the protocol says no; nothing changed
	ErrFunds    = errors.New("not enough funds") // balance, escrow or bond
)

// State is the world as the machine sees it: the chain's store, or maps. A
// missing record is ErrNotFound. A record that was read may be changed freely and
// counts only once it is set. If a method of the Machine fails, its caller drops
// every change made since it was called.
type State interface {
	Chain() string
	Height() int64
	Params() (Params, error)
	// Beacon is the value of a past or the current height.
	Beacon(height int64) (work.Hash, error)
	// Skipped reports whether the block of a height before the current one was decided
	// after a proposer's turn had been skipped.
	Skipped(height int64) (bool, error)
	// Validators are the bonded validators with their power, by operator account,
	// in the order of their addresses.
	Validators() ([]ValidatorPower, error)

	Job(id work.JobID) (*Job, error)
	SetJob(j *Job) error
	Batch(id work.BatchID) (*Batch, error)
	SetBatch(b *Batch) error
	// Taken are the items of a job that a provider has ever committed: nobody is
	// paid twice for one item, and a convicted provider never gets it again.
	Taken(job work.JobID, provider work.Address) (work.RangeSet, error)
	SetTaken(job work.JobID, provider work.Address, items work.RangeSet) error
	Party(role Role, account work.Address) (*Party, error)
	SetParty(p *Party) error
	// Parties are all parties of a role, in the order of their accounts.
	Parties(role Role) ([]*Party, error)

	// Wake asks for an id to be in Due at a height; several wakes of one id are
	// independent. Due takes the ids of a height out, in the order of the ids.
	WakeJob(height int64, id work.JobID) error
	WakeBatch(height int64, id work.BatchID) error
	WakeParty(height int64, role Role, account work.Address) error
	Due(height int64) (Due, error)

	// Court is the queue of disputes; Queued is the batch of a number in it, and a
	// zero id takes the number out.
	Court() (Court, error)
	SetCourt(c Court) error
	Queued(number uint64) (work.BatchID, error)
	SetQueued(number uint64, id work.BatchID) error

	// Suspension of a program, by the root of its original module; ErrNotFound if
	// there is none. One without batches ends it.
	Suspension(program work.Hash) (*Suspension, error)
	SetSuspension(program work.Hash, s *Suspension) error

	Commons() (*Commons, error) // an empty one before the first epoch
	SetCommons(c *Commons) error

	// SetEvidence keeps the assignments that a batch used, for whoever looks for
	// equivocation. The machine never reads it.
	SetEvidence(id work.BatchID, parts []Part) error
	// SlashValidator burns a share of a validator's stake.
	SlashValidator(validator work.Address, permille uint64) error

	// Move executes a transfer of real money; a source without enough is ErrFunds.
	Move(job work.JobID, t Transfer) error
	Emit(e Event)
}

// Due is what wakes at a height.
type Due struct {
	Jobs    []work.JobID
	Batches []work.BatchID
	Parties []PartyKey
}

// PartyKey names a party.
type PartyKey struct {
	Role    Role
	Account work.Address
}

// ValidatorPower is a bonded validator, by its operator's account.
type ValidatorPower struct {
	Account work.Address
	Power   int64
}

// Part is the items a commit takes from one assignment.
type Part struct {
	Assignment work.Assignment
	Items      work.RangeSet // within Assignment.Ranges
}

// ItemOpening proves one item of a batch without saying its leaf.
type ItemOpening struct {
	Position uint64
	Node     work.Node
	Path     []work.Node
}

// EventKind says what happened.
type EventKind string

// The events.
const (
	EventJob      EventKind = "job"      // a job was posted or changed its state
	EventBatch    EventKind = "batch"    // a batch entered Phase, or a message of its phase came in
	EventParty    EventKind = "party"    // an account registered, bonded, unbonded, was convicted
	EventTransfer EventKind = "transfer" // money moved
	EventCommons  EventKind = "commons"  // an epoch of the commons began
	EventFault    EventKind = "fault"    // Account (a validator, an indexer) was proven at fault
)

// Event is one thing that happened. Fields that do not apply are zero.
type Event struct {
	Kind     EventKind      `json:"kind"`
	Job      work.JobID     `json:"job,omitzero"`
	Batch    work.BatchID   `json:"batch,omitzero"`
	JobState JobState       `json:"job_state,omitempty"`
	Phase    Phase          `json:"phase,omitempty"`
	Account  work.Address   `json:"account,omitempty"`  // client, provider or party concerned
	Indexer  sign.PublicKey `json:"indexer,omitzero"`   // of the job concerned
	Checkers []work.Address `json:"checkers,omitempty"` // drawn, when the phase is Checking
	Transfer *Transfer      `json:"transfer,omitempty"`
}

// ReleaseMessage is what an indexer signs, under ReleaseTag, to say that nothing
// of a job is outstanding.
func ReleaseMessage(chain string, job work.JobID) []byte {
	var e work.Encoder
	e.String(chain)
	e.Hash(job)
	return e.Bytes()
}

// ReleaseTag is the domain tag of a ReleaseMessage's signature.
const ReleaseTag = "gotong/release/1"
