// Package client is the client's side of a job: it works out what a job costs,
// hands program and inputs to an indexer, posts the job, follows it, fetches
// outputs, and settles up. Commands, the demo and programs of others use it.
//
// It promises that an item counts as verified only when this process itself has
// recomputed the root that the chain paid for from the item's leaf (see verifier):
// what an indexer says moves a progress bar, never money or trust. Following a job
// survives an indexer that goes away and comes back.
//
// It keeps no state but what a caller asks it to (Records and Cache are files that
// several processes may use at once), never executes a program, and never decides
// who is trusted: tier none, which nobody checks, is for own providers.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// What callers branch on.
var (
	// ErrPrice reports a price cap or a budget that no provider or the chain takes.
	ErrPrice = errors.New("price or budget is too low")
	// ErrRequest reports a job that no network would take as it is.
	ErrRequest = errors.New("this job cannot be posted")
	// ErrRemote reports that the indexer refused a request; its words are wrapped.
	ErrRemote = errors.New("the indexer refused")
	// ErrNotReady reports a network that cannot serve a job now.
	ErrNotReady = errors.New("the network is not ready for jobs")
	// ErrPlace reports that no provider, or too few, are where the job may run.
	ErrPlace = errors.New("no provider fits where this job may run")
)

// answerTimeout bounds one request that is not a watch.
const answerTimeout = 45 * time.Second

// Config is what a client needs.
type Config struct {
	Chain   string
	Account work.Address // pays; Ledger holds its key
	// Key is named in jobs as the one that may ask the indexer about them. The zero
	// key lets whoever reaches the indexer do so.
	Key    sign.PrivateKey
	Ledger ledger.Ledger // the client's own way to the chain: what it says is believed
	Net    p2p.Network
	// Indexer says where the indexer is now. It is asked before every connection:
	// a network that was started again answers at other addresses.
	Indexer func() (p2p.Peer, error)
	// Where finds addresses of another indexer of the chain; nil: Net knows them.
	Where func(sign.PublicKey) []string
	// MoveAfter is how long the indexer of this client's job may be silent before Watch
	// names another; 30 s if zero.
	MoveAfter time.Duration
	// Stay keeps this client's jobs with their indexer, whatever it does.
	Stay bool
	// IndexerOwner is the account behind the indexer, named in jobs.
	IndexerOwner work.Address
	// Profile is the version of the execution profile that jobs name.
	Profile string
	// Dir holds unfinished large downloads; empty: the system's temporary folder.
	Dir string
	// Patience is how long Watch goes on without reaching the indexer; 10 minutes
	// if zero.
	Patience time.Duration
	// Holders are peers besides the indexer that may have outputs: the network's
	// referees, who give what a claim made them fetch. nil: none are known.
	Holders func() []p2p.Peer
	// NoClaims keeps Watch from claiming outputs that do not come (see guard).
	NoClaims bool
	// Lag is how long this client's node may need to see what the indexer saw,
	// before claims that the chain does not confirm are refuted; 30 s if zero.
	Lag time.Duration
	Log *slog.Logger
}

// Client is one client of an indexer. Safe for concurrent use.
type Client struct {
	cfg     Config
	log     *slog.Logger
	store   *store
	fetcher *blob.NetFetcher
	pushes  chan struct{} // a place for each push that is under way

	mu      sync.Mutex // guards the four below
	jobs    map[work.JobID]material
	indexed map[work.JobID]sign.PublicKey // who indexes them, as the chain said last
	posted  map[work.JobID]Request        // by this process: what they are made of is here
	givers  []p2p.Peer                    // providers that gave outputs themselves, the latest first
}

// maxPushes is how many jobs' inputs are sent at once. An indexer serves 64 streams of a
// peer and closes more at once, and outputs are fetched meanwhile.
const maxPushes = 16

// New makes a client; Close it. The network stays the caller's.
func New(c Config) (*Client, error) {
	if c.Chain == "" || c.Ledger == nil || c.Net == nil || c.Indexer == nil || c.Profile == "" {
		return nil, errors.New("client: chain, ledger, network, indexer and profile must be given")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Patience == 0 {
		c.Patience = 10 * time.Minute
	}
	if c.Lag == 0 {
		c.Lag = 30 * time.Second
	}
	dir := os.TempDir()
	if c.Dir != "" {
		dir = filepath.Join(c.Dir, "tmp")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
	}
	s := newStore(dir)
	return &Client{cfg: c, log: c.Log, store: s, fetcher: blob.NewFetcher(c.Net, s, blob.FetcherOptions{Log: c.Log}), pushes: make(chan struct{}, maxPushes),
		jobs: map[work.JobID]material{}, indexed: map[work.JobID]sign.PublicKey{}, posted: map[work.JobID]Request{}}, nil
}

// Close ends fetching and drops what was fetched.
func (c *Client) Close() error { return errors.Join(c.fetcher.Close(), c.store.close()) }

// Account is who pays.
func (c *Client) Account() work.Address { return c.cfg.Account }

// Status asks the indexer about itself.
func (c *Client) Status(ctx context.Context) (*wire.Status, error) {
	p, err := c.cfg.Indexer()
	if err != nil {
		return nil, err
	}
	return c.statusOf(ctx, p)
}

func (c *Client) statusOf(ctx context.Context, p p2p.Peer) (*wire.Status, error) {
	var st *wire.Status
	err := c.askAt(ctx, p, &wire.Request{Op: wire.OpStatus}, func(a *wire.Answer) error { st = a.Status; return nil })
	if err == nil && st == nil {
		err = fmt.Errorf("%w: a status without content", ErrRemote)
	}
	return st, err
}

// Standing is an offer and what its indexer sees of the provider.
type Standing struct {
	Offer    *work.Offer
	Attested []work.Attestation // of the offer, with true signatures
	Seen     wire.Seen          // the indexer's word; zero if it says nothing
}

// Offers gives the signed offers that the indexer knows and that this chain's
// clients may use: valid signatures, not expired. Whether a peer speaks for its
// account the chain checks when it commits.
func (c *Client) Offers(ctx context.Context) ([]*work.Offer, error) {
	all, err := c.Standings(ctx)
	out := make([]*work.Offer, len(all))
	for i := range all {
		out[i] = all[i].Offer
	}
	return out, err
}

// Standings is Offers with what the indexer sees of each provider.
func (c *Client) Standings(ctx context.Context) ([]Standing, error) {
	var out []Standing
	now := time.Now().Unix()
	err := c.ask(ctx, &wire.Request{Op: wire.OpOffers}, func(a *wire.Answer) error {
		for i, b := range a.Offers {
			o, err := work.DecodeOffer(b)
			if err == nil {
				err = o.Verify()
			}
			if err != nil || o.Chain != c.cfg.Chain || o.ExpiresUnix < now {
				c.log.Debug("an offer that the indexer gave is not valid", "err", err)
				continue
			}
			if len(out) == maxOffers {
				return fmt.Errorf("%w: it gives more than %d offers", ErrRemote, maxOffers)
			}
			s := Standing{Offer: o, Attested: o.Attested()}
			if i < len(a.Seen) && a.Seen[i].Provider == o.Provider {
				s.Seen = a.Seen[i]
			}
			out = append(out, s)
		}
		return nil
	})
	return out, err
}

// maxOffers bounds what an indexer may list.
const maxOffers = 1 << 20

// ask sends one request to the indexer of its job and gives each answer to f until
// the last. If the job has another indexer meanwhile, that one is asked.
func (c *Client) ask(ctx context.Context, r *wire.Request, f func(*wire.Answer) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := c.stream(ctx, r, f)
	if err == nil || r.Job.IsZero() || !errors.Is(err, ErrRemote) && !errors.Is(err, p2p.ErrUnreachable) {
		return err
	}
	if moved, _ := c.refresh(ctx, r.Job); moved {
		return c.stream(ctx, r, f)
	}
	return err
}

// askAt is ask of one peer.
func (c *Client) askAt(ctx context.Context, peer p2p.Peer, r *wire.Request, f func(*wire.Answer) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return c.streamAt(ctx, peer, r, f)
}

// stream is ask without a bound of time.
func (c *Client) stream(ctx context.Context, r *wire.Request, f func(*wire.Answer) error) error {
	peer, err := c.indexerOf(ctx, r.Job)
	if err != nil {
		return err
	}
	return c.streamAt(ctx, peer, r, f)
}

func (c *Client) streamAt(ctx context.Context, peer p2p.Peer, r *wire.Request, f func(*wire.Answer) error) error {
	s, err := c.cfg.Net.Dial(ctx, peer, p2p.ProtocolClient)
	if err != nil {
		return fmt.Errorf("indexer: %w", err)
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	r.Grant = c.grant()
	b, err := wire.EncodeJSON(r)
	if err != nil {
		return err
	}
	if err := errors.Join(s.Send(b), s.Flush()); err != nil {
		return lost(ctx, err)
	}
	for {
		b, err := s.Receive()
		if err != nil {
			return lost(ctx, err)
		}
		a, err := wire.DecodeAnswer(b)
		if err != nil {
			return fmt.Errorf("indexer: %w", err)
		}
		if a.Error != "" {
			return fmt.Errorf("%w: %s", ErrRemote, a.Error)
		}
		if err := f(a); err != nil || a.Done {
			return err
		}
	}
}

// grant lets this peer ask in the client's name; nil if the client has no key.
func (c *Client) grant() *wire.Grant {
	if c.cfg.Key.IsZero() {
		return nil
	}
	return wire.NewGrant(c.cfg.Key, c.cfg.Chain, c.cfg.Net.Self().Key)
}

// lost is a connection that ended too early.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("indexer: %w", ctx.Err())
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("indexer: %w: %v", p2p.ErrUnreachable, err)
}
