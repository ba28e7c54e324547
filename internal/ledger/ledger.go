// Package ledger is the port to the chain: what a role may say to it, ask it and
// hear from it. Adapters are ledger/cosmos (the real chain) and ledger/fake (the
// same machines in memory).
//
// It promises that Submit returns only when the messages are included or surely
// refused, and that Follow gives every height once, in order, without a gap: a
// role stores the height together with what it did about it and resumes there.
// It owns no keys' files, no policy and no state of roles.
package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// What callers branch on.
var (
	ErrNotFound    = errors.New("not found on the chain")
	ErrRefused     = errors.New("refused by the chain") // final: the chain said no; the cause is wrapped as text
	ErrFunds       = errors.New("not enough funds")
	ErrNoKey       = errors.New("no key for this account here")
	ErrUnreachable = errors.New("chain cannot be reached")
	ErrPruned      = errors.New("this height is no longer kept by the node")
)

// Submitter sends messages as transactions.
type Submitter interface {
	// Submit signs msgs as from in one transaction and returns when it is
	// included. It re-sends until then, and gives ErrRefused (or ErrFunds) when
	// the chain executed or checked it and said no: nothing was changed then. A
	// cancelled ctx leaves it unknown whether the transaction will be included.
	// Safe for concurrent use: transactions of one account follow each other.
	Submit(ctx context.Context, from work.Address, msgs ...Msg) (Included, error)
}

// Included says where a transaction ended up.
type Included struct {
	Height int64
	TxHash string
}

// Reader asks the chain's latest state. Missing things are ErrNotFound.
type Reader interface {
	Status(ctx context.Context) (Status, error)
	Params(ctx context.Context) (lifecycle.Params, error)
	Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error)
	Jobs(ctx context.Context, client work.Address) ([]*lifecycle.Job, error) // of one client; all if empty
	Batch(ctx context.Context, id work.BatchID) (*lifecycle.Batch, error)
	Batches(ctx context.Context, job work.JobID) ([]work.BatchID, error)
	Party(ctx context.Context, role lifecycle.Role, account work.Address) (*lifecycle.Party, error)
	Parties(ctx context.Context, role lifecycle.Role) ([]*lifecycle.Party, error)
	Balance(ctx context.Context, account work.Address) (work.Amount, error)
	Supply(ctx context.Context) (Supply, error)
	// Evidence is the assignments that a batch used.
	Evidence(ctx context.Context, id work.BatchID) ([]BatchPart, error)
	Commons(ctx context.Context) (*lifecycle.Commons, error)
	Proposals(ctx context.Context) ([]Proposal, error) // of governance, newest first, at most 100
}

// Follower hears what happened.
type Follower interface {
	// Follow calls f once for each height from `from` on (≥ 1), in order, as
	// blocks come; it returns f's error, ctx's, or ErrPruned.
	Follow(ctx context.Context, from int64, f func(Block) error) error
}

// Ledger is the whole port.
type Ledger interface {
	Submitter
	Reader
	Follower
}

// Status is the chain as the node sees it.
type Status struct {
	Chain      string    `json:"chain"`
	Height     int64     `json:"height"`
	Time       time.Time `json:"time"`
	CatchingUp bool      `json:"catching_up"`
}

// Supply is the money there is and what became of it.
type Supply struct {
	Total     work.Amount `json:"total"`
	FeeBurn   work.Amount `json:"fee_burn"`   // since genesis
	SlashBurn work.Amount `json:"slash_burn"` // since genesis, stakes included
	// Minted for paid work and for the commons since genesis; the first is at most
	// MintPermille of FeeBurn.
	Minted        work.Amount `json:"minted"`
	MintedCommons work.Amount `json:"minted_commons"`
	Escrowed      work.Amount `json:"escrowed"`
	Bonded        work.Amount `json:"bonded"`   // of providers, checkers and indexers
	Unvested      work.Amount `json:"unvested"` // providers' pay that still vests
	CommonsPool   work.Amount `json:"commons_pool"`
}

// Proposal is a proposal to governance.
type Proposal struct {
	ID     uint64
	Title  string
	Status string // deposit, voting, passed, rejected, failed
	// Messages are what governance sends if it passes, all of them or none: what
	// Propose takes, and Foreign ones of other programs.
	Messages []Msg
	// Shares of the votes cast so far, by power.
	Yes, No   uint64
	VotingEnd time.Time // zero before the vote
}

// Commons is the job that a proposal posts, or nil.
func (p Proposal) Commons() *work.JobSpec {
	for _, m := range p.Messages {
		if m, ok := m.(ApproveCommons); ok {
			return &m.Spec
		}
	}
	return nil
}

// Block is one height's events, in the order in which they happened.
type Block struct {
	Height int64
	Time   time.Time
	Events []Event
}

// The machines' own words, so that no adapter translates them.
type (
	Event     = lifecycle.Event
	BatchPart = lifecycle.Part
	Opening   = lifecycle.ItemOpening
)

// Msg is one message; the sender is the account that submits it.
type Msg interface{ ledgerMsg() }

// The messages.
type (
	// CreateJob posts a job and locks both escrows. Sender: the client.
	CreateJob struct{ Spec work.JobSpec }
	// CancelJob closes a job to new assignments. Release, if set, is the indexer's
	// signature that nothing is outstanding: the job closes at once.
	CancelJob struct {
		Job     work.JobID
		Release *sign.Signature
	}
	// CommitBatch commits results. Parts name the assignments used and the items
	// taken from each; all parts have one price. Sender: the provider.
	CommitBatch struct {
		Job         work.JobID
		Parts       []BatchPart
		Root        work.Node
		MaxItemFuel work.Fuel
	}
	// OpenBatch opens the drawn items, in the order of Batch.Draws.
	OpenBatch struct {
		Batch    work.BatchID
		Openings []Opening
	}
	// CommitCheck commits a checker's leaves. Sender: the checker.
	CommitCheck struct {
		Batch      work.BatchID
		Commitment work.Hash
	}
	// RevealBatch reveals the batch's salt and the drawn leaves, by Batch.Draws.
	RevealBatch struct {
		Batch  work.BatchID
		Salt   work.Hash
		Leaves []work.Leaf
	}
	// RevealCheck reveals a checker's leaves, by Check.Draws.
	RevealCheck struct {
		Batch  work.BatchID
		Salt   work.Hash
		Leaves []work.Leaf
	}
	// Challenge claims another leaf for an item of a batch in its window, under a
	// stake.
	Challenge struct {
		Batch    work.BatchID
		Position uint64
		Leaf     work.Leaf
	}
	// AnswerChallenge opens and reveals the challenged item. Sender: the provider.
	AnswerChallenge struct {
		Batch   work.BatchID
		Opening Opening
		Leaf    work.Leaf
	}
	// CommitVote commits a validator's verdict. Sender: the validator's operator.
	CommitVote struct {
		Batch      work.BatchID
		Commitment work.Hash
	}
	// RevealVote reveals it, by Dispute.Items.
	RevealVote struct {
		Batch  work.BatchID
		Salt   work.Hash
		Leaves []work.Leaf
	}
	// ClaimDelivery says, under a stake, that an item's output cannot be had.
	// Sender: the client.
	ClaimDelivery struct {
		Batch    work.BatchID
		Position uint64
	}
	// ReportEquivocation shows two assignments of one attempt, to two providers,
	// of overlapping items, signed by the job's indexer.
	ReportEquivocation struct {
		Job  work.JobID
		A, B work.Assignment
	}
	// TakeOver claims a job whose indexer is silent. Sender: the owner of a bonded
	// indexer.
	TakeOver struct{ Job work.JobID }
	// KeepJob answers such a claim. Sender: the owner of the job's indexer.
	KeepJob struct{ Job work.JobID }
	// Reassign names another indexer for a job. Sender: the client.
	Reassign struct {
		Job     work.JobID
		Indexer sign.PublicKey
		Owner   work.Address
	}
	// Propose puts a message before governance: an ApproveCommons, Decide, SetParams
	// or Upgrade.
	Propose struct {
		Title   string
		Message Msg
		Deposit work.Amount
	}
	// VoteProposal votes on it. Sender: whoever has stake.
	VoteProposal struct {
		Proposal uint64
		Yes      bool
	}
	// ApproveCommons posts a job that the emission pays. Only governance sends it.
	ApproveCommons struct{ Spec work.JobSpec }
	// Decide ends the freeze of a batch by the referee's verdict, or against it.
	// Only governance sends it.
	Decide struct {
		Batch  work.BatchID
		Uphold bool
	}
	// SetParams replaces all parameters, from the end of the block on. Only governance
	// sends it.
	SetParams struct{ Params lifecycle.Params }
	// Upgrade stops every node at a height unless its program has the change of this
	// name. Only governance sends it.
	Upgrade struct {
		Name   string
		Height int64
		Info   string // where the version that has it is to be had
	}
	// Foreign stands in a Proposal for a message that no port knows. Nobody sends it.
	Foreign struct{ Type string }
	// Register bonds the sender in a role, or adds to its bond.
	Register struct {
		Role lifecycle.Role
		Peer sign.PublicKey
		Bond work.Amount
	}
	// Unbond starts to return free bond.
	Unbond struct {
		Role   lifecycle.Role
		Amount work.Amount
	}
	// Send moves money between accounts.
	Send struct {
		To     work.Address
		Amount work.Amount
	}
	// CreateValidator makes the sender the operator of a validator whose blocks a
	// consensus key (ed25519) signs, with a first stake. A stake under 1 gtg has no
	// power yet.
	CreateValidator struct {
		Consensus [32]byte
		Stake     work.Amount
	}
	// SetBeaconKey registers the VRF key of the sender's validator; it counts after
	// a delay.
	SetBeaconKey struct{ Key [32]byte }
	// Stake adds to the stake of an operator's validator.
	Stake struct {
		Operator work.Address
		Amount   work.Amount
	}
	// Unstake takes from it; the money comes back after the unbonding time.
	Unstake struct {
		Operator work.Address
		Amount   work.Amount
	}
	// Unjail lets the sender's validator sign again after it was absent too long.
	Unjail struct{}
	// WithdrawStakeReward pays out what the sender's stake with an operator earned.
	WithdrawStakeReward struct{ Operator work.Address }
)

func (CreateJob) ledgerMsg()           {}
func (CancelJob) ledgerMsg()           {}
func (CommitBatch) ledgerMsg()         {}
func (OpenBatch) ledgerMsg()           {}
func (CommitCheck) ledgerMsg()         {}
func (RevealBatch) ledgerMsg()         {}
func (RevealCheck) ledgerMsg()         {}
func (Challenge) ledgerMsg()           {}
func (AnswerChallenge) ledgerMsg()     {}
func (CommitVote) ledgerMsg()          {}
func (RevealVote) ledgerMsg()          {}
func (Register) ledgerMsg()            {}
func (ClaimDelivery) ledgerMsg()       {}
func (ReportEquivocation) ledgerMsg()  {}
func (TakeOver) ledgerMsg()            {}
func (KeepJob) ledgerMsg()             {}
func (Reassign) ledgerMsg()            {}
func (Propose) ledgerMsg()             {}
func (VoteProposal) ledgerMsg()        {}
func (ApproveCommons) ledgerMsg()      {}
func (Decide) ledgerMsg()              {}
func (SetParams) ledgerMsg()           {}
func (Upgrade) ledgerMsg()             {}
func (Foreign) ledgerMsg()             {}
func (Unbond) ledgerMsg()              {}
func (Send) ledgerMsg()                {}
func (CreateValidator) ledgerMsg()     {}
func (SetBeaconKey) ledgerMsg()        {}
func (Stake) ledgerMsg()               {}
func (Unstake) ledgerMsg()             {}
func (Unjail) ledgerMsg()              {}
func (WithdrawStakeReward) ledgerMsg() {}
