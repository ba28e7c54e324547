// Package referee is a validator's process beside the consensus: it re-executes
// the items of a dispute and votes what their leaves are.
//
// It promises to run every item itself, once, to keep its vote and salt on disk
// before the chain hears of it, and to reveal only when the chain counts. What
// nobody gives it in time, or no machine can run, it votes lifecycle.Unavailable.
// Where a client claims that it cannot get an output, it fetches the output in place
// of running the item, votes the provider's leaf only if the output is the one that
// the leaf names, and then gives it to whoever asks (Output).
//
// It never votes what others claim, and never touches consensus: a referee that
// is down costs its validator a fee, not the chain a block.
package referee

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// remembered is how many leaves are kept in memory, about 150 bytes each: several
// disputes about one item then cost one run.
const remembered = 1 << 15

// kept is how many outputs of claims a referee gives; beyond, older ones go.
const kept = 4096

// Config is what a referee needs. Log, Holders, Parallel, Poll and Retain may be
// left out.
type Config struct {
	Chain   string
	Account work.Address // the validator's operator; Ledger holds its key
	Ledger  ledger.Ledger
	Net     p2p.Network // asks holders for outputs
	Blobs   blob.Store
	Fetcher blob.Fetcher
	Runtime runtime.Runtime
	Dir     string // records; made if missing

	// Holders says who may have a job's program, list and inputs, and a batch's
	// outputs; nil: the job's indexer, by its key alone.
	Holders  func(ctx context.Context, j *lifecycle.Job, b *lifecycle.Batch) []p2p.Peer
	Parallel int           // items run at once; 0: the runtime's slots
	Poll     time.Duration // how often an open vote asks the chain without an event; 0: 5 s
	Retain   time.Duration // how long a closed job's data stays; 0: 10 min
	Log      *slog.Logger
}

// Referee is the role.
type Referee struct {
	cfg   Config
	blind *execute.Blind
}

// New opens the records in cfg.Dir.
func New(cfg Config) (*Referee, error) {
	if cfg.Runtime == nil || cfg.Net == nil || cfg.Blobs == nil || cfg.Fetcher == nil {
		return nil, errors.New("referee: runtime, network, blobs and fetcher are required")
	}
	if cfg.Holders == nil {
		cfg.Holders = func(_ context.Context, j *lifecycle.Job, _ *lifecycle.Batch) []p2p.Peer {
			return []p2p.Peer{{Key: j.Indexer().Key}}
		}
	}
	r := &Referee{cfg: cfg}
	b, err := execute.NewBlind(execute.BlindConfig{
		Chain: cfg.Chain, Account: cfg.Account, Ledger: cfg.Ledger, Execute: execute.New(cfg.Runtime, cfg.Blobs, cfg.Fetcher).ClaimFor("referee"),
		Holders: cfg.Holders, Deliver: r.deliver, Dir: cfg.Dir, Parallel: cfg.Parallel, Poll: cfg.Poll, Retain: cfg.Retain, Remember: remembered, Log: cfg.Log,
	}, game(cfg.Chain, cfg.Account))
	if err != nil {
		return nil, err
	}
	r.blind = b
	return r, nil
}

// Run judges until ctx ends, and closes the records; call it once.
func (r *Referee) Run(ctx context.Context) error { return r.blind.Run(ctx) }

func outputKey(digest work.Hash) []byte { return append([]byte("o/"), digest[:]...) }

// deliver fetches the output that a leaf names, and keeps what it is made of, so
// that Output can give it.
func (r *Referee) deliver(ctx context.Context, j *lifecycle.Job, i uint64, leaf work.Leaf, holders []p2p.Peer) error {
	q := wire.OutputRequest{Job: j.ID, Item: i, Digest: leaf.Output}
	o, err := wire.FetchOutput(ctx, r.cfg.Net, r.cfg.Blobs, r.cfg.Fetcher, q, &leaf, j.Spec.Limits.OutputBytes, holders, func(o *work.Output) error { return r.blind.Execute.Claim(j.ID, o.Blobs()...) })
	if err != nil {
		return err
	}
	var e work.Encoder
	o.Encode(&e)
	return r.blind.Keep(outputKey(leaf.Output), e.Bytes(), kept)
}

// Output gives an output that this referee found for a claim of non-delivery, nil
// if it has none of that digest.
func (r *Referee) Output(_ context.Context, _ sign.PublicKey, q wire.OutputRequest) *wire.Output {
	raw, err := r.blind.Kept(outputKey(q.Digest))
	if err != nil || raw == nil {
		return nil
	}
	d := work.NewDecoder(raw)
	o := &wire.Output{Output: work.DecodeOutput(d)}
	if d.Done() != nil {
		return nil
	}
	for _, b := range o.Output.Blobs() {
		if !r.cfg.Blobs.Has(b) {
			return nil
		}
	}
	return o
}

// game is judging as the chain sees it.
func game(chain string, me work.Address) execute.Game {
	return execute.Game{
		Name:     "vote",
		Commit:   lifecycle.Voting,
		Reveal:   lifecycle.Tallying,
		Concerns: func(e ledger.Event) bool { return e.Phase == lifecycle.Voting },
		Duty:     func(b *lifecycle.Batch) (execute.Duty, bool) { return duty(b, me) },
		Commitment: func(batch work.BatchID, leaves []work.Leaf, salt work.Hash) work.Hash {
			return lifecycle.VoteCommitment(chain, batch, me, leaves, salt)
		},
		CommitMsg: func(batch work.BatchID, c work.Hash) ledger.Msg {
			return ledger.CommitVote{Batch: batch, Commitment: c}
		},
		RevealMsg: func(batch work.BatchID, salt work.Hash, leaves []work.Leaf) ledger.Msg {
			return ledger.RevealVote{Batch: batch, Salt: salt, Leaves: leaves}
		},
	}
}

// duty is me's vote in b's dispute: every item of it.
func duty(b *lifecycle.Batch, me work.Address) (execute.Duty, bool) {
	if b.Dispute == nil {
		return execute.Duty{}, false
	}
	for _, v := range b.Dispute.Votes {
		if v.Validator != me {
			continue
		}
		d := execute.Duty{Committed: v.Committed, Revealed: v.Revealed, Deadline: b.Deadline}
		for _, it := range b.Dispute.Items {
			d.Positions = append(d.Positions, it.Position)
		}
		if b.Dispute.Delivery && len(b.Dispute.Items) == 1 && len(b.Dispute.Items[0].Claims) > 0 {
			d.Delivery = &b.Dispute.Items[0].Claims[0].Leaf
		}
		return d, true
	}
	return execute.Duty{}, false
}
