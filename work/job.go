package work

import (
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/sign"
)

// Tier is how much checking a job buys.
type Tier uint8

// The tiers. None never reaches the chain: own providers only.
const (
	TierNone     Tier = iota
	TierEconomic      // min(N, 3) items of each batch, one checker each
	TierAssured       // min(N, 20) items, two checkers each
	TierFull          // every item of batches of at most 256, one checker each
)

var tierNames = [...]string{"none", "economic", "assured", "full"}

// String gives the tier's name.
func (t Tier) String() string {
	if int(t) < len(tierNames) {
		return tierNames[t]
	}
	return fmt.Sprintf("tier %d", uint8(t))
}

// MarshalText implements encoding.TextMarshaler.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Tier) UnmarshalText(b []byte) (err error) { *t, err = ParseTier(string(b)); return err }

// ParseTier reads a tier's name.
func ParseTier(s string) (Tier, error) {
	for t, n := range tierNames {
		if n == s {
			return Tier(t), nil
		}
	}
	return 0, fmt.Errorf("tier %q: want none, economic, assured or full", clip(s))
}

// MaxBatchItems bounds a batch: its reveal must fit into a block.
const MaxBatchItems = 1 << 20

// MaxAssignmentRanges bounds the ranges under one signature.
const MaxAssignmentRanges = 1024

// JobSpec is a job as the client posts it; its hash is the job's id.
type JobSpec struct {
	Chain  string  `json:"chain"`
	Client Address `json:"client"`
	Nonce  uint64  `json:"nonce"` // fresh per job of a client
	// ClientKey is who may ask the indexer about the job, and steer it: a key of the
	// client's, apart from the account's. Zero: whoever reaches the indexer.
	ClientKey sign.PublicKey `json:"client_key"`

	Program   BlobID `json:"program"` // the original module
	Profile   string `json:"profile"` // gw1 version that everyone rewrites it under
	Items     BlobID `json:"items"`   // an encoded ItemList
	ItemCount uint64 `json:"item_count"`
	Limits    Limits `json:"limits"`
	Seed      uint64 `json:"seed"`

	Tier         Tier           `json:"tier"`
	MaxPrice     Price          `json:"max_price"`    // ugtg per work unit
	Escrow       Amount         `json:"escrow"`       // for the work
	CheckEscrow  Amount         `json:"check_escrow"` // for the checks
	Indexer      sign.PublicKey `json:"indexer"`      // signs assignments; also its peer key
	IndexerOwner Address        `json:"indexer_owner"`
	// IndexerPermille is the fee of the indexer that signed a batch's assignments, in
	// thousandths of the batch's pay and on top of it; paid when the batch is.
	IndexerPermille uint32 `json:"indexer_permille"`
	MaxCopies       uint32 `json:"max_copies"`      // paid copies of one item
	DeadlineHeight  int64  `json:"deadline_height"` // last height at which the job is open

	Place Placement `json:"place,omitzero"` // where its items may run
}

// ID is the job's id.
func (s *JobSpec) ID() JobID { return Sum("gotong/job/2", s.Encode()) }

// ProgramID is the id under which the job's program is executed.
func (s *JobSpec) ProgramID() ProgramID { return Program(s.Program, s.Profile) }

// Encode gives the canonical bytes.
func (s *JobSpec) Encode() []byte {
	var e Encoder
	e.String(s.Chain)
	e.String(string(s.Client))
	e.U64(s.Nonce)
	e.Raw(s.ClientKey[:])
	e.Blob(s.Program)
	e.String(s.Profile)
	e.Blob(s.Items)
	e.U64(s.ItemCount)
	s.Limits.encode(&e)
	e.U64(s.Seed)
	e.U8(uint8(s.Tier))
	e.U64(uint64(s.MaxPrice))
	e.U64(uint64(s.Escrow))
	e.U64(uint64(s.CheckEscrow))
	e.Raw(s.Indexer[:])
	e.String(string(s.IndexerOwner))
	e.U32(s.IndexerPermille)
	e.U32(s.MaxCopies)
	e.U64(uint64(s.DeadlineHeight))
	s.Place.encode(&e)
	return e.Bytes()
}

// DecodeJobSpec reads canonical bytes.
func DecodeJobSpec(b []byte) (*JobSpec, error) {
	d := NewDecoder(b)
	s := &JobSpec{Chain: d.String(64), Client: Address(d.String(128)), Nonce: d.U64()}
	copy(s.ClientKey[:], d.Raw(32))
	s.Program, s.Profile, s.Items, s.ItemCount, s.Limits, s.Seed = d.Blob(), d.String(32), d.Blob(), d.U64(), decodeLimits(d), d.U64()
	s.Tier, s.MaxPrice, s.Escrow, s.CheckEscrow = Tier(d.U8()), Price(d.U64()), Amount(d.U64()), Amount(d.U64())
	copy(s.Indexer[:], d.Raw(32))
	s.IndexerOwner, s.IndexerPermille, s.MaxCopies, s.DeadlineHeight = Address(d.String(128)), d.U32(), d.U32(), int64(d.U64())
	s.Place = decodePlacement(d)
	if err := d.Done(); err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	return s, nil
}

// Validate reports what is wrong with the spec by itself, whatever the chain's
// parameters are.
func (s *JobSpec) Validate() error {
	switch {
	case s.Chain == "":
		return errors.New("job names no chain")
	case s.Client == "" || s.IndexerOwner == "" || s.Indexer.IsZero():
		return errors.New("job names no client or no indexer")
	case s.Program.Size == 0 || s.Items.Size == 0 || s.Profile == "":
		return errors.New("job names no program, no profile or no item list")
	case s.ItemCount == 0 || s.ItemCount > MaxItems:
		return fmt.Errorf("job of %d items: want 1 to %d", s.ItemCount, uint64(MaxItems))
	case s.Tier < TierEconomic || s.Tier > TierFull:
		return fmt.Errorf("tier %s does not go on chain", s.Tier)
	case s.Limits.Fuel == 0 || s.Limits.MemoryBytes == 0 || s.Limits.OutputBytes == 0:
		return errors.New("job has no limit of fuel, memory or output")
	case s.MaxPrice == 0:
		return errors.New("job offers no price")
	case s.IndexerPermille > 1000:
		return fmt.Errorf("indexer's fee of %d thousandths: want at most 1000", s.IndexerPermille)
	case s.MaxCopies == 0 || s.MaxCopies > 8:
		return fmt.Errorf("job pays %d copies of an item: want 1 to 8", s.MaxCopies)
	case s.DeadlineHeight <= 0:
		return errors.New("job has no deadline")
	}
	return s.Place.Validate()
}

// Assignment hands items to a provider under one attempt, at a price, until a
// height. It is signed with the job's indexer key, and the chain accepts a
// commit only of assigned items. Signing one item to two providers under one
// attempt is equivocation.
type Assignment struct {
	Chain         string   `json:"chain"`
	Job           JobID    `json:"job"`
	Provider      Address  `json:"provider"`
	Attempt       uint32   `json:"attempt"`
	Ranges        RangeSet `json:"ranges"`
	Price         Price    `json:"price"`
	ExpiresHeight int64    `json:"expires_height"` // last height of a commit

	Signature sign.Signature `json:"-"`
}

const assignmentTag = "gotong/assignment/1"

func (a *Assignment) body() []byte {
	var e Encoder
	e.String(a.Chain)
	e.Hash(a.Job)
	e.String(string(a.Provider))
	e.U32(a.Attempt)
	a.Ranges.Encode(&e)
	e.U64(uint64(a.Price))
	e.U64(uint64(a.ExpiresHeight))
	return e.Bytes()
}

// Sign signs a with the indexer's key.
func (a *Assignment) Sign(k sign.PrivateKey) { a.Signature = k.Sign(assignmentTag, a.body()) }

// Verify checks the signature and the form.
func (a *Assignment) Verify(indexer sign.PublicKey) error {
	if len(a.Ranges) == 0 || len(a.Ranges) > MaxAssignmentRanges || a.Ranges.Validate() != nil {
		return fmt.Errorf("assignment: %w", ErrRanges)
	}
	if err := indexer.Verify(assignmentTag, a.body(), a.Signature); err != nil {
		return fmt.Errorf("assignment of job %s: %w", a.Job.Short(), err)
	}
	return nil
}

// Encode gives body and signature.
func (a *Assignment) Encode() []byte { return append(a.body(), a.Signature[:]...) }

// DecodeAssignment reads what Encode wrote; the signature is not checked.
func DecodeAssignment(b []byte) (*Assignment, error) {
	d := NewDecoder(b)
	a := &Assignment{Chain: d.String(64), Job: d.Hash(), Provider: Address(d.String(128)), Attempt: d.U32(),
		Ranges: DecodeRangeSet(d, MaxAssignmentRanges), Price: Price(d.U64()), ExpiresHeight: int64(d.U64())}
	copy(a.Signature[:], d.Raw(64))
	if err := d.Done(); err != nil {
		return nil, fmt.Errorf("assignment: %w", err)
	}
	return a, nil
}

// Result is one item as its provider reports it: provisional until its batch has
// settled.
type Result struct {
	Index  uint64 `json:"index"`
	Leaf   Leaf   `json:"leaf"`
	Output Output `json:"output"`
}

// Encode appends the canonical bytes.
func (r *Result) Encode(e *Encoder) {
	e.U64(r.Index)
	r.Leaf.Encode(e)
	r.Output.Encode(e)
}

// DecodeResult reads what Encode wrote.
func DecodeResult(d *Decoder) Result { return Result{d.U64(), DecodeLeaf(d), DecodeOutput(d)} }
