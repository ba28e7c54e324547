package wire

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Op is what a client asks an indexer on a p2p.ProtocolClient stream. A stream
// carries one request; the indexer answers with one or more Answers, the last of
// which has Done set, and closes.
type Op string

// The requests.
const (
	OpStatus  Op = "status"  // Answer.Status
	OpOffers  Op = "offers"  // Answer.Offers: valid offers it knows
	OpAccept  Op = "accept"  // serve Request.Job now; its spec and item list were pushed, and it is on chain or about to be
	OpWatch   Op = "watch"   // Answers with Updates and Counts until the job ends or the client closes; first all that is known
	OpResults Op = "results" // Answers with Updates for Request.Items, then Done
	OpExplain Op = "explain" // Answer.Notes: why items wait or failed
	OpRetry   Op = "retry"   // run host-failed items again now
	OpRelease Op = "release" // Answer.Release: signature that nothing of the job is outstanding; refused while something is
	OpForget  Op = "forget"  // the client has all it wants: blobs of the job may go
	OpPing    Op = "ping"    // nothing but Done, at once: it measures the round trip
	OpStandby Op = "standby" // keep a copy of Request.Job's program, list and inputs, from Request.Holders, to take the job over if its indexer dies
)

// Request is one request.
type Request struct {
	Op    Op            `json:"op"`
	Job   work.JobID    `json:"job,omitzero"`
	Spec  []byte        `json:"spec,omitempty"` // OpAccept, OpStandby: JobSpec.Encode
	Chunk Chunk         `json:"chunk,omitzero"` // OpAccept
	Items work.RangeSet `json:"items,omitempty"`
	Grant *Grant        `json:"grant,omitempty"` // needed for jobs whose spec names a client key
	// Holders serve the program and the inputs: with OpAccept besides the indexer.
	Holders []p2p.Peer `json:"holders,omitempty"`
}

// Grant lets a peer ask in the name of a client key: the client's processes have
// peer keys of their own, and a connection proves only those.
type Grant struct {
	Key       sign.PublicKey `json:"key"`
	Signature sign.Signature `json:"signature"`
}

const grantTag = "gotong/grant/1"

func grantBody(chain string, peer sign.PublicKey) []byte {
	var e work.Encoder
	e.String(chain)
	e.Raw(peer[:])
	return e.Bytes()
}

// NewGrant lets peer ask in the name of k.
func NewGrant(k sign.PrivateKey, chain string, peer sign.PublicKey) *Grant {
	return &Grant{k.Public(), k.Sign(grantTag, grantBody(chain, peer))}
}

// Verify checks that g lets peer ask in the name of g.Key.
func (g *Grant) Verify(chain string, peer sign.PublicKey) error {
	if err := g.Key.Verify(grantTag, grantBody(chain, peer), g.Signature); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	return nil
}

// Chunk is how many items a range should hold.
type Chunk struct {
	Items   uint64 `json:"items,omitempty"`   // fixed number; 0: automatic
	Seconds uint32 `json:"seconds,omitempty"` // automatic: wanted duration of a range
}

// ItemState is where an item stands for its client.
type ItemState uint8

// The states of an item.
const (
	ItemWaiting     ItemState = iota // in the queue
	ItemAssigned                     // given to a provider
	ItemProvisional                  // a receipt is in; not yet checked
	ItemVerified                     // its batch has settled
	ItemFailed                       // finally failed: refused program, or host failures on every provider
)

// String gives the state's name.
func (s ItemState) String() string {
	switch s {
	case ItemWaiting:
		return "waiting"
	case ItemAssigned:
		return "running"
	case ItemProvisional:
		return "provisional"
	case ItemVerified:
		return "verified"
	case ItemFailed:
		return "failed"
	}
	return "unknown"
}

// Update is what is new about one item. A later update of an item replaces an
// earlier one; results of void batches are taken back by a state below
// ItemProvisional.
type Update struct {
	Index    uint64       `json:"index"`
	State    ItemState    `json:"state"`
	Provider work.Address `json:"provider,omitempty"`
	Attempt  uint32       `json:"attempt,omitempty"`
	Batch    work.BatchID `json:"batch,omitzero"`   // once committed
	Result   *work.Result `json:"result,omitempty"` // ItemProvisional and ItemVerified
	Why      string       `json:"why,omitempty"`    // ItemFailed
}

// Counts are a job's items by state, and its batches that came to an end.
type Counts struct {
	Items       uint64      `json:"items"`
	Waiting     uint64      `json:"waiting"`
	Assigned    uint64      `json:"assigned"`
	Provisional uint64      `json:"provisional"`
	Verified    uint64      `json:"verified"`
	Failed      uint64      `json:"failed"`
	Recomputed  uint64      `json:"recomputed"` // items of void batches accepted from another provider
	Settled     uint32      `json:"settled"`    // batches
	Void        uint32      `json:"void"`
	Spent       work.Amount `json:"spent"`
	EtaSeconds  float64     `json:"eta_seconds"` // rough, for people; 0: unknown
}

// Status is an indexer about itself.
type Status struct {
	Chain     string         `json:"chain"`
	Height    int64          `json:"height"`
	Key       sign.PublicKey `json:"key"`
	Owner     work.Address   `json:"owner"`
	Providers int            `json:"providers"` // with a valid offer
	Jobs      int            `json:"jobs"`      // being served
	// FeePermille is what it asks, in thousandths of a batch's pay and on top of it.
	FeePermille uint32 `json:"fee_permille"`
	Ready       bool   `json:"ready"` // a job posted now would be served
	Why         string `json:"why,omitempty"`
}

// Answer is one frame of an answer. JSON, except that frames of updates may be
// large: they hold at most 1,000 updates.
type Answer struct {
	Error   string          `json:"error,omitempty"`
	Done    bool            `json:"done,omitempty"`
	Status  *Status         `json:"status,omitempty"`
	Offers  [][]byte        `json:"offers,omitempty"` // encoded work.Offer
	Seen    []Seen          `json:"seen,omitempty"`   // of each of Offers, in their order
	Counts  *Counts         `json:"counts,omitempty"`
	Updates []Update        `json:"updates,omitempty"`
	Notes   []Note          `json:"notes,omitempty"`
	Release *sign.Signature `json:"release,omitempty"`
	Blobs   *p2p.Peer       `json:"blobs,omitempty"` // who serves the outputs' blobs, if not the indexer
}

// Seen is what an indexer sees of a provider that no offer can claim.
type Seen struct {
	Provider  work.Address `json:"provider"`
	Up        bool         `json:"up"`                   // its stream stands
	RTTMicros uint64       `json:"rtt_micros,omitempty"` // between indexer and provider; 0: not measured
	Network   string       `json:"network,omitempty"`    // that its connection comes from (/16 of IPv4, /32 of IPv6); empty: a relay's
}

// Note says why some items are where they are.
type Note struct {
	Items work.RangeSet `json:"items"`
	State ItemState     `json:"state"`
	Text  string        `json:"text"` // for people: what, why, what to do
}

// MaxUpdates bounds the updates of one Answer.
const MaxUpdates = 1000

// EncodeJSON gives a frame of a Request or Answer.
func EncodeJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err == nil && len(b) > p2p.MaxFrameBytes {
		err = fmt.Errorf("message of %d bytes: %w", len(b), p2p.ErrFrame)
	}
	return b, err
}

// What a frame of JSON may hold: an empty element takes three bytes of a frame and a
// hundred times that of memory.
const (
	maxRequestParts = 1 << 18
	maxAnswerParts  = 1 << 19
	maxSpecBytes    = 64 << 10
)

// decodeJSON reads a frame that has at most so many elements.
func decodeJSON(b []byte, v any, parts int) error {
	n := 0
	for _, c := range []string{",", "{", "["} {
		n += bytes.Count(b, []byte(c))
	}
	if n > parts {
		return fmt.Errorf("%w: about %d elements, at most %d", work.ErrMalformed, n, parts)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %v", work.ErrMalformed, err)
	}
	return nil
}

// DecodeRequest reads a Request; the frame is bounded by the stream.
func DecodeRequest(b []byte) (*Request, error) {
	var r Request
	if err := decodeJSON(b, &r, maxRequestParts); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if err := r.Items.Validate(); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if len(r.Spec) > maxSpecBytes || len(r.Holders) > maxHolders {
		return nil, fmt.Errorf("request: %w: a job of %d bytes with %d holders", work.ErrMalformed, len(r.Spec), len(r.Holders))
	}
	for _, h := range r.Holders {
		if len(h.Addrs) > maxHolderAddrs {
			return nil, fmt.Errorf("request: %w: a holder with %d addresses", work.ErrMalformed, len(h.Addrs))
		}
	}
	return &r, nil
}

// DecodeAnswer reads an Answer.
func DecodeAnswer(b []byte) (*Answer, error) {
	var a Answer
	if err := decodeJSON(b, &a, maxAnswerParts); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	if len(a.Updates) > MaxUpdates {
		return nil, fmt.Errorf("answer of %d updates: %w", len(a.Updates), work.ErrMalformed)
	}
	return &a, nil
}
