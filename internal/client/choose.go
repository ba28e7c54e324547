package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// AnyIndexer, as Request.Indexer, lets the client choose one.
const AnyIndexer work.Address = "any"

// DefaultIndexerPermille is the most that an indexer may ask of a job whose client does
// not say, in thousandths of the pay.
const DefaultIndexerPermille = 100

// Bounds of the choice of an indexer.
const (
	maxAsked   = 64 // indexers; of more, so many by chance
	maxOthers  = 3  // that are remembered to fall back to
	askIndexer = 8 * time.Second
	moveAfter  = 30 * time.Second // an indexer is silent: the job gets another one
)

// Indexer is one that could serve a job.
type Indexer struct {
	Key         sign.PublicKey `json:"key"`
	Owner       work.Address   `json:"owner"`
	FeePermille uint32         `json:"fee_permille"` // of the pay, on top of it
	RTT         time.Duration  `json:"rtt"`          // of a question, connecting included
	Status      *wire.Status   `json:"-"`
}

// Indexers asks the bonded indexers of the chain about themselves and gives those
// that would serve a job, the cheapest first, and of equal ones the nearest.
func (c *Client) Indexers(ctx context.Context) ([]Indexer, error) {
	params, err := c.cfg.Ledger.Params(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.cfg.Ledger.Parties(ctx, lifecycle.RoleIndexer)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(q *lifecycle.Party) bool { return q.Bond-min(q.Bond, q.Unbonding) < params.IndexerBond })
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	all = all[:min(len(all), maxAsked)]
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex // guards out
		out []Indexer
	)
	for _, q := range all {
		wg.Go(func() {
			x, err := c.askAbout(ctx, q.Peer)
			if err != nil || x.Owner != q.Account || !x.Status.Ready {
				c.log.Debug("an indexer is left out", "owner", q.Account, "err", err)
				return
			}
			mu.Lock()
			out = append(out, x)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.SortFunc(out, func(a, b Indexer) int {
		return cmp.Or(cmp.Compare(a.FeePermille, b.FeePermille), cmp.Compare(a.RTT, b.RTT), cmp.Compare(a.Owner, b.Owner))
	})
	return out, ctx.Err()
}

// askAbout asks an indexer about itself.
func (c *Client) askAbout(ctx context.Context, key sign.PublicKey) (Indexer, error) {
	ctx, cancel := context.WithTimeout(ctx, askIndexer)
	defer cancel()
	began := time.Now()
	st, err := c.statusOf(ctx, c.at(key))
	switch {
	case err != nil:
		return Indexer{}, err
	case st.Chain != c.cfg.Chain || st.Key != key:
		return Indexer{}, fmt.Errorf("%w: it speaks for another key or chain", ErrRemote)
	}
	return Indexer{Key: key, Owner: st.Owner, FeePermille: st.FeePermille, RTT: time.Since(began), Status: st}, nil
}

// choose gives the indexer that a request asks for, and others to fall back to if it
// leaves the choice to the client. ErrPrice means that it asks too high a fee.
func (c *Client) choose(ctx context.Context, r *Request) (x Indexer, others []Indexer, err error) {
	if x, others, err = c.find(ctx, r); err != nil {
		return x, nil, err
	}
	most := uint32(DefaultIndexerPermille)
	if r.MaxIndexerPermille != nil {
		most = *r.MaxIndexerPermille
	}
	switch {
	case x.FeePermille <= most || r.Tier == work.TierNone:
		return x, slices.DeleteFunc(others, func(o Indexer) bool { return o.FeePermille > most }), nil
	case r.Indexer == AnyIndexer:
		return x, nil, fmt.Errorf("%w: the cheapest indexer, %s, asks %d thousandths of the pay on top of it, and the job pays at most %d: give a higher --max-indexer-fee",
			ErrPrice, x.Owner, x.FeePermille, most)
	}
	return x, nil, fmt.Errorf("%w: the indexer %s asks %d thousandths of the pay on top of it, and the job pays at most %d: give a higher --max-indexer-fee, or take another one with --indexer any",
		ErrPrice, x.Owner, x.FeePermille, most)
}

// find gives the indexer that a request asks for, whatever its fee; for AnyIndexer the
// cheapest, and others.
func (c *Client) find(ctx context.Context, r *Request) (Indexer, []Indexer, error) {
	switch r.Indexer {
	case "":
		st, err := c.Status(ctx)
		if err != nil {
			return Indexer{}, nil, err
		}
		return Indexer{Key: st.Key, Owner: cmp.Or(c.cfg.IndexerOwner, st.Owner), FeePermille: st.FeePermille, Status: st}, nil, nil
	case AnyIndexer:
		l, err := c.Indexers(ctx)
		if err != nil {
			return Indexer{}, nil, err
		}
		if len(l) == 0 {
			return Indexer{}, nil, fmt.Errorf("%w: none of the chain's indexers answers and is ready", ErrNotReady)
		}
		return l[0], l[1:min(len(l), 1+maxOthers)], nil
	}
	q, err := c.cfg.Ledger.Party(ctx, lifecycle.RoleIndexer, r.Indexer)
	if errors.Is(err, ledger.ErrNotFound) {
		return Indexer{}, nil, fmt.Errorf("%w: %s is no indexer of this chain: `--indexer any` takes one that is", ErrRequest, r.Indexer)
	}
	if err != nil {
		return Indexer{}, nil, err
	}
	x, err := c.askAbout(ctx, q.Peer)
	x.Owner = r.Indexer
	return x, nil, err
}

// others are indexers that take a job for the fee that it pays, besides those in not.
func (c *Client) others(ctx context.Context, spec *work.JobSpec, not ...sign.PublicKey) []Indexer {
	l, err := c.Indexers(ctx)
	if err != nil {
		c.log.Debug("no other indexer was found", "err", err)
	}
	l = slices.DeleteFunc(l, func(x Indexer) bool { return x.FeePermille > spec.IndexerPermille || slices.Contains(not, x.Key) })
	return l[:min(len(l), maxOthers)]
}

// at is where a peer can be reached, as far as that is known here.
func (c *Client) at(key sign.PublicKey) p2p.Peer {
	if p, err := c.cfg.Indexer(); err == nil && p.Key == key {
		return p
	}
	p := p2p.Peer{Key: key}
	if c.cfg.Where != nil {
		p.Addrs = c.cfg.Where(key)
	}
	return p
}

// indexerOf is the indexer of a job as the chain names it; the client's usual one for
// what is no job, or is not on the chain.
func (c *Client) indexerOf(ctx context.Context, job work.JobID) (p2p.Peer, error) {
	if job.IsZero() {
		return c.cfg.Indexer()
	}
	c.mu.Lock()
	key, ok := c.indexed[job]
	c.mu.Unlock()
	if !ok {
		if _, err := c.refresh(ctx, job); err != nil {
			return c.cfg.Indexer()
		}
		c.mu.Lock()
		key = c.indexed[job]
		c.mu.Unlock()
	}
	return c.at(key), nil
}

// refresh asks the chain who indexes a job, and reports whether that changed.
func (c *Client) refresh(ctx context.Context, job work.JobID) (changed bool, err error) {
	c.mu.Lock()
	m, ok := c.jobs[job]
	c.mu.Unlock()
	if ok && m.spec.Tier == work.TierNone {
		return false, nil
	}
	j, err := c.cfg.Ledger.Job(ctx, job)
	if err != nil {
		return false, err
	}
	return c.setIndexer(job, j.Indexer().Key), nil
}

// setIndexer notes who indexes a job, and reports whether that is news.
func (c *Client) setIndexer(job work.JobID, key sign.PublicKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, ok := c.indexed[job]
	c.indexed[job] = key
	return ok && was != key
}

// sources are who may have blobs: the indexers of the jobs that this client dealt
// with, its usual one, and other holders.
func (c *Client) sources() (l []p2p.Peer) {
	add := func(p p2p.Peer) {
		if !slices.ContainsFunc(l, func(o p2p.Peer) bool { return o.Key == p.Key }) {
			l = append(l, p)
		}
	}
	c.mu.Lock()
	var keys []sign.PublicKey
	for _, k := range c.indexed {
		if len(keys) < maxAsked && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	c.mu.Unlock()
	for _, k := range keys {
		add(c.at(k))
	}
	if p, err := c.cfg.Indexer(); err == nil {
		add(p)
	}
	return l
}

// Move gives a job of this client's another indexer, at the fee that it pays: its own
// refuses it or is gone. The job's escrow stays where it is. A job that has ended gets
// one that collects its results from the providers.
func (c *Client) Move(ctx context.Context, job work.JobID) (Indexer, error) {
	j, err := c.cfg.Ledger.Job(ctx, job)
	if err != nil {
		return Indexer{}, err
	}
	if j.Spec.Client != c.cfg.Account || j.Commons {
		return Indexer{}, fmt.Errorf("%w: job %s is not this client's to move", ErrRequest, job.Short())
	}
	errs := []error{fmt.Errorf("%w: no other indexer takes job %s for the fee that it pays", ErrNotReady, job.Short())}
	for _, x := range c.others(ctx, &j.Spec, j.Indexer().Key) {
		if err := c.moveTo(ctx, &j.Spec, x); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", x.Owner, err))
			continue
		}
		return x, nil
	}
	return Indexer{}, errors.Join(errs...)
}

// follow looks whether a job has another indexer, and gives it one if its own is
// given up and this client may.
func (c *Client) follow(ctx context.Context, id work.JobID, givenUp bool, spec *work.JobSpec) (moved bool, err error) {
	if moved, err = c.refresh(ctx, id); moved || err != nil || !givenUp {
		return moved, err
	}
	if c.cfg.Stay || spec.Tier == work.TierNone || spec.Client != c.cfg.Account {
		return false, nil
	}
	_, err = c.Move(ctx, id)
	return err == nil, err
}

// bytesSoon fetches a blob that an indexer is about to have.
func (c *Client) bytesSoon(ctx context.Context, b work.BlobID) (data []byte, err error) {
	for end := time.Now().Add(moveAfter); ; {
		if data, err = c.Bytes(ctx, b); err == nil || time.Now().After(end) || !pause(ctx, time.Second) {
			return data, err
		}
	}
}

// moveAfter is how long a job's indexer may be silent.
func (c *Config) moveAfter() time.Duration {
	if c.MoveAfter > 0 {
		return c.MoveAfter
	}
	return moveAfter
}

// moveTo names x for a job, and hands it over if this process has what it is made of;
// else x fetches that from who has it.
func (c *Client) moveTo(ctx context.Context, spec *work.JobSpec, x Indexer) error {
	id := spec.ID()
	c.mu.Lock()
	r, posted := c.posted[id]
	c.mu.Unlock()
	if posted {
		if err := c.push(ctx, c.at(x.Key), r); err != nil {
			return err
		}
	}
	if _, err := c.cfg.Ledger.Submit(ctx, c.cfg.Account, ledger.Reassign{Job: id, Indexer: x.Key, Owner: x.Owner}); err != nil {
		return err
	}
	c.setIndexer(id, x.Key)
	c.log.Info("the job has another indexer", "job", id.Short(), "indexer", x.Owner)
	if !posted {
		return nil
	}
	return c.handOver(ctx, acceptRequest(spec, r))
}

// standBy asks the first of others to keep a copy of what a job needs, which it
// fetches from the job's indexer: so it can take the job over when nobody else has it.
func (c *Client) standBy(ctx context.Context, spec *work.JobSpec, others []Indexer) {
	id := spec.ID()
	for _, x := range others {
		if x.FeePermille > spec.IndexerPermille {
			continue
		}
		err := c.askAt(ctx, c.at(x.Key), &wire.Request{Op: wire.OpStandby, Job: id, Spec: spec.Encode(), Holders: []p2p.Peer{c.at(spec.Indexer)}},
			func(*wire.Answer) error { return nil })
		if err == nil {
			c.log.Info("an indexer stands by", "job", id.Short(), "indexer", x.Owner)
			return
		}
		c.log.Debug("an indexer does not stand by", "job", id.Short(), "indexer", x.Owner, "err", err)
	}
}
