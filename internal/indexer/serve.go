package indexer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// requestTimeout bounds every request but a watch.
const requestTimeout = 30 * time.Second

// errUnknownJob is told to clients.
var errUnknownJob = errors.New("this indexer does not serve such a job: check the id, or hand the job over again")

// serve answers one client stream.
func (x *Indexer) serve(ctx context.Context, s p2p.Stream) {
	defer s.Close()
	if !x.enter() {
		return
	}
	defer x.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	x.spawn(func() {
		select {
		case <-x.quit:
			cancel()
			s.Close()
		case <-over:
		}
	})
	s.SetDeadline(time.Now().Add(requestTimeout))
	b, err := s.Receive()
	if err != nil {
		return
	}
	req, err := wire.DecodeRequest(b)
	if err == nil {
		err = x.answer(ctx, s, req)
	}
	if err != nil {
		x.log.Debug("request was not served", "err", err)
		s.SetDeadline(time.Now().Add(requestTimeout))
		if reply(s, &wire.Answer{Error: err.Error(), Done: true}) != nil {
			return
		}
	}
	s.CloseWrite()
}

func reply(s p2p.Stream, a *wire.Answer) error {
	b, err := wire.EncodeJSON(a)
	if err != nil {
		return err
	}
	if err := s.Send(b); err != nil {
		return err
	}
	return s.Flush()
}

// errNotYours is told to strangers.
var errNotYours = errors.New("this job belongs to another client: ask with the key that its spec names (client/key in the home that posted it)")

// authorize checks that the peer may ask about r's job: it holds a grant of the
// client key that the job's spec names.
func (x *Indexer) authorize(ctx context.Context, peer sign.PublicKey, r *wire.Request) error {
	var key sign.PublicKey
	switch r.Op {
	case wire.OpStatus, wire.OpOffers, wire.OpPing:
		return nil
	case wire.OpAccept, wire.OpStandby:
		spec, err := work.DecodeJobSpec(r.Spec)
		if err != nil {
			return err
		}
		key = spec.ClientKey
	default:
		commons := false
		if err := x.withJob(ctx, r.Job, func(j *job) error { key, commons = j.spec.ClientKey, j.rec.Commons; return nil }); err != nil {
			return err
		}
		if commons && !openOp(r.Op) {
			return errCommons
		}
		if commons {
			return nil
		}
	}
	switch {
	case key.IsZero():
		return nil
	case r.Grant == nil || r.Grant.Key != key || r.Grant.Verify(x.cfg.Chain, peer) != nil:
		return errNotYours
	}
	return nil
}

func (x *Indexer) answer(ctx context.Context, s p2p.Stream, r *wire.Request) error {
	if err := x.authorize(ctx, s.Peer(), r); err != nil {
		return err
	}
	if r.Op == wire.OpWatch || r.Op == wire.OpRetry || r.Op == wire.OpRelease {
		err := x.withJob(ctx, r.Job, func(j *job) error {
			if j.moved {
				return errMoved
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if r.Op == wire.OpWatch {
		s.SetDeadline(time.Time{})
		return x.watch(ctx, s, r.Job)
	}
	if r.Op == wire.OpOffers {
		return x.giveOffers(ctx, s)
	}
	if r.Op == wire.OpResults {
		return x.giveResults(ctx, s, r.Job, r.Items)
	}
	a := &wire.Answer{Done: true}
	var err error
	switch r.Op {
	case wire.OpStatus:
		a.Status, err = x.status(ctx)
	case wire.OpPing:
	case wire.OpAccept:
		err = x.accept(ctx, r)
	case wire.OpStandby:
		err = x.standby(ctx, r)
	case wire.OpExplain:
		err = x.withJob(ctx, r.Job, func(j *job) error { a.Notes, a.Counts = x.explain(j), x.counts(j); return nil })
	case wire.OpRetry:
		err = x.withJob(ctx, r.Job, func(j *job) error { return x.retry(j, r.Items) })
	case wire.OpRelease:
		a.Release, err = x.release(ctx, r.Job)
	case wire.OpForget:
		err = x.forget(ctx, r.Job)
	default:
		err = fmt.Errorf("unknown request %q: this indexer may be of another version", r.Op)
	}
	if err != nil {
		return err
	}
	return reply(s, a)
}

// withJob runs f at the owner with the job, loading it if it is over.
func (x *Indexer) withJob(ctx context.Context, id work.JobID, f func(j *job) error) error {
	var err error
	asked := x.ask(ctx, func() {
		var j *job
		if j, err = x.find(id); err == nil && j == nil {
			err = errUnknownJob
		}
		if err == nil {
			err = f(j)
		}
	})
	return errors.Join(asked, err)
}

// find gives a job, loaded anew if it is over; nil if it is unknown.
func (x *Indexer) find(id work.JobID) (*job, error) {
	if j := x.jobs[id]; j != nil {
		return j, nil
	}
	b, err := x.db.get(jobKey(keyJob, id))
	if err != nil || b == nil {
		return nil, err
	}
	r, err := decodeJobRecord(b)
	if err != nil {
		return nil, err
	}
	j, err := x.replay(r)
	if err != nil {
		return nil, err
	}
	x.activate(j)
	return j, nil
}

// giveOffers sends the valid offers, in frames that surely fit.
func (x *Indexer) giveOffers(ctx context.Context, s p2p.Stream) error {
	var all [][]byte
	var seen []wire.Seen
	err := x.ask(ctx, func() {
		for _, p := range x.peers {
			if p.offer.ExpiresUnix >= time.Now().Unix() {
				all = append(all, p.raw)
				seen = append(seen, wire.Seen{Provider: p.addr, Up: p.up(), RTTMicros: uint64(p.rtt.best().Microseconds()), Network: p.seen})
			}
		}
	})
	for err == nil {
		n := min(len(all), 256)
		a := &wire.Answer{Offers: all[:n], Seen: seen[:n], Done: n == len(all)}
		all, seen = all[n:], seen[n:]
		if err = reply(s, a); a.Done {
			break
		}
	}
	return err
}

func (x *Indexer) status(ctx context.Context) (*wire.Status, error) {
	st := &wire.Status{Chain: x.cfg.Chain, Key: x.cfg.Key.Public(), Owner: x.cfg.Owner, FeePermille: x.cfg.FeePermille}
	connected := 0
	err := x.ask(ctx, func() {
		st.Height = x.height
		for _, p := range x.peers {
			if p.offer.ExpiresUnix >= time.Now().Unix() {
				st.Providers++
				if p.up() {
					connected++
				}
			}
		}
		for _, j := range x.active {
			if !j.rec.Over {
				st.Jobs++
			}
		}
	})
	if err != nil {
		return nil, err
	}
	chain, err := x.cfg.Ledger.Status(ctx)
	switch {
	case err != nil:
		st.Why = fmt.Sprintf("the chain cannot be reached: %v", err)
	case chain.CatchingUp:
		st.Why = fmt.Sprintf("the node is catching up with the chain, at height %d", chain.Height)
	case st.Providers == 0:
		st.Why = "no provider has a valid offer: wait for one, or start one"
	case connected == 0:
		st.Why = fmt.Sprintf("none of the %d providers with an offer can be reached", st.Providers)
	default:
		st.Ready = true
	}
	return st, nil
}

// accept takes a job on.
func (x *Indexer) accept(ctx context.Context, r *wire.Request) error {
	spec, err := work.DecodeJobSpec(r.Spec)
	if err != nil {
		return err
	}
	if err := x.checkSpec(ctx, spec, r); err != nil {
		return err
	}
	m := x.loadMaterial(spec)
	if m.list == nil {
		return fmt.Errorf("the item list %s is not here or cannot be used: push it first", spec.Items)
	}
	t := x.terms(spec.Tier)
	durable := make(chan struct{})
	var unposted error
	err = x.ask(ctx, func() { unposted = x.register(m, r, t, durable) })
	if err = errors.Join(err, unposted); err != nil {
		return err
	}
	if t.ledger {
		cj, err := x.cfg.Ledger.Job(ctx, m.id)
		var bs []*lifecycle.Batch
		if err == nil && x.inherited(cj) {
			bs, err = x.batchesOf(ctx, m.id, nil)
		}
		if err == nil {
			err = x.onChain(ctx, cj, bs, m)
		}
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			x.log.Warn("the chain could not be asked about an accepted job: its blocks will tell", "job", m.id.Short(), "err", err)
		}
	}
	select {
	case <-durable:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-x.quit:
		return ErrClosed
	}
}

func (x *Indexer) checkSpec(ctx context.Context, s *work.JobSpec, r *wire.Request) error {
	form := *s
	if s.Tier == work.TierNone { // no chain, no price, no deadline
		form.Tier, form.MaxPrice, form.Escrow, form.DeadlineHeight = work.TierEconomic, 1, 1, 1
		form.MaxCopies = max(form.MaxCopies, 1)
	}
	if err := form.Validate(); err != nil {
		return err
	}
	moved := s.Indexer != x.cfg.Key.Public() && s.Tier != work.TierNone && x.reassigned(ctx, s)
	switch {
	case s.ID() != r.Job:
		return fmt.Errorf("the spec is that of job %s, not %s", s.ID().Short(), r.Job.Short())
	case s.Chain != x.cfg.Chain:
		return fmt.Errorf("job is for chain %q: this indexer serves %q", s.Chain, x.cfg.Chain)
	case s.Tier != work.TierNone && s.IndexerPermille < x.cfg.FeePermille:
		return fmt.Errorf("the job pays its indexer %d thousandths of the pay: this one asks %d", s.IndexerPermille, x.cfg.FeePermille)
	case !moved && s.Indexer != x.cfg.Key.Public():
		return fmt.Errorf("job names indexer %s: this is %s", s.Indexer, x.cfg.Key.Public())
	case !moved && s.IndexerOwner != x.cfg.Owner:
		return fmt.Errorf("job says that %s owns this indexer: it is %s", s.IndexerOwner, x.cfg.Owner)
	case s.Tier == work.TierNone && len(x.cfg.Own) == 0 && !x.cfg.AllOwn:
		return errors.New("this indexer has no providers of its own for tier none: choose a checked tier")
	case len(r.Holders) > maxHolders:
		return fmt.Errorf("%d holders of inputs: at most %d", len(r.Holders), maxHolders)
	}
	return nil
}

// reassigned reports whether the chain has given a job that names another indexer to
// this one; its node may be some blocks behind the client's.
func (x *Indexer) reassigned(ctx context.Context, s *work.JobSpec) bool {
	for range 20 {
		cj, err := x.cfg.Ledger.Job(ctx, s.ID())
		if err == nil && x.mine(cj) {
			return true
		}
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(100 * time.Millisecond):
		}
	}
	return false
}

// register makes an accepted job known; durable is closed when it survives a
// crash.
func (x *Indexer) register(m *material, r *wire.Request, t terms, durable chan struct{}) error {
	j, err := x.find(m.id)
	if err != nil {
		return err
	}
	if j == nil {
		if t.ledger && x.unposted() >= maxUnposted {
			return fmt.Errorf("%d accepted jobs are not on the chain yet: post this one first, then hand it over", maxUnposted)
		}
		j = newJob(&jobRecord{Spec: m.spec, Since: time.Now().Unix()})
		x.activate(j)
	}
	if j.rec.Released || j.rec.Forgotten {
		return errors.New("the job was released or forgotten: nothing of it is handed out any more")
	}
	x.adopt(j, m)
	j.rec.Accepted, j.rec.Over, j.rec.Chunk, j.rec.Holders = true, j.state.done(), r.Chunk, r.Holders
	j.dirty = true
	x.log.Info("job is served", "job", j.id.Short(), "items", j.state.n)
	x.saveJob(j)
	x.durable = true
	x.outbox = append(x.outbox, outgoing{then: func() { close(durable) }})
	return nil
}

func (x *Indexer) unposted() (n int) {
	for _, j := range x.active {
		if x.terms(j.spec.Tier).ledger && !j.rec.OnLedger {
			n++
		}
	}
	return n
}

func (x *Indexer) counts(j *job) *wire.Counts {
	c := j.state.counts()
	c.Spent = j.spent
	if left := c.Waiting + c.Assigned; left > 0 && j.rate > 0 {
		c.EtaSeconds = math.Round(float64(left)/j.rate*10) / 10
	}
	return &c
}

// retry runs failed items again.
func (x *Indexer) retry(j *job, items work.RangeSet) error {
	failed := j.state.failed.set()
	if len(items) > 0 {
		failed = j.state.failed.within(items)
	}
	t := x.terms(j.spec.Tier)
	switch {
	case len(failed) == 0:
		return errors.New("none of these items has failed")
	case t.ledger && j.chain != lifecycle.JobOpen:
		return errors.New("the job is not open on the chain any more: run the command again, which makes a job of what is missing")
	case j.rec.Released || j.rec.Forgotten:
		return errors.New("the job was released: run the command again, which makes a job of what is missing")
	}
	if j.rec.Over {
		j.rec.Over = false
		x.saveJob(j)
	}
	x.record(j, &event{Kind: evRetry, Items: failed})
	j.hostWhy, j.stuck = nil, time.Time{}
	return nil
}

// release signs that nothing of a job is outstanding; from then on nothing is
// handed out.
func (x *Indexer) release(ctx context.Context, id work.JobID) (*sign.Signature, error) {
	durable := make(chan struct{})
	err := x.withJob(ctx, id, func(j *job) error {
		if why := x.outstanding(j, time.Now()); why != "" {
			return fmt.Errorf("the job cannot be released yet: %s", why)
		}
		j.rec.Released = true
		x.saveJob(j)
		x.durable = true
		x.outbox = append(x.outbox, outgoing{then: func() { close(durable) }})
		return nil
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-durable:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-x.quit:
		return nil, ErrClosed
	}
	s := x.cfg.Key.Sign(lifecycle.ReleaseTag, lifecycle.ReleaseMessage(x.cfg.Chain, id))
	return &s, nil
}

// outstanding says what a provider may still commit or is not paid for; empty if
// nothing. Copies of items that are verified do not count once their provider was
// told to stop, or is out of reach.
func (x *Indexer) outstanding(j *job, now time.Time) string {
	if n := len(j.state.open); n > 0 {
		return fmt.Sprintf("%d batches are not settled", n)
	}
	for _, s := range j.state.provs {
		if s.barred {
			continue
		}
		out := j.state.verified.without(s.out.set().Union(s.late.set()))
		if !j.drops.IsZero() && now.Sub(j.drops) > dropGrace {
			out = nil
		}
		held := s.have.set()
		if p := x.peers[s.addr]; p == nil || !p.up() && now.Sub(p.down) > x.cfg.Timing.Lost {
			held = j.state.verified.without(held)
		}
		if n := out.Len() + held.Len(); n > 0 && x.terms(j.spec.Tier).ledger {
			return fmt.Sprintf("%s has %d items that it may still commit", s.addr, n)
		}
	}
	return ""
}

// dropGrace is how long a provider that was told to stop may still bring what it
// was just finishing.
const dropGrace = 3 * time.Second

// forget lets go of a job's results.
func (x *Indexer) forget(ctx context.Context, id work.JobID) error {
	var provs uint32
	err := x.withJob(ctx, id, func(j *job) error {
		if j.rec.Forgotten {
			return nil
		}
		if why := x.outstanding(j, time.Now()); why != "" && !j.state.done() {
			return fmt.Errorf("the job cannot be forgotten yet: %s", why)
		}
		j.rec.Forgotten, j.rec.Over = true, true
		provs = uint32(len(j.state.provs))
		for _, s := range j.state.provs {
			x.drop(j, s.addr, s.out.set())
		}
		x.saveJob(j)
		x.unload(j)
		return nil
	})
	if err != nil {
		return err
	}
	// Outputs may be those of other jobs too: only what no other result names goes.
	x.spawn(func() {
		if err := x.dropOutputs(id, provs); err != nil {
			x.log.Warn("outputs of a forgotten job stay", "job", id.Short(), "err", err)
		}
	})
	return nil
}

func (x *Indexer) dropOutputs(id work.JobID, provs uint32) error {
	if c := x.claimer(); c != nil {
		if err := x.wipe(c, id); err != nil {
			return err
		}
		return x.dropRecords(id)
	}
	mine := map[work.BlobID]bool{}
	visit := func(of work.JobID, f func(b work.BlobID)) error {
		return x.db.each(jobKey(keyResult, of), func(_, v []byte) error {
			into := map[uint64]stored{}
			if err := decodeRun(v, 0, work.Range{Lo: 0, Hi: math.MaxUint64}, into); err != nil {
				return err
			}
			for _, r := range into {
				for _, b := range r.result.Output.Blobs() {
					f(b)
				}
			}
			return nil
		})
	}
	if err := visit(id, func(b work.BlobID) { mine[b] = true }); err != nil {
		return err
	}
	var others []work.JobID
	err := x.db.each([]byte{keyJob}, func(k, _ []byte) error {
		if o := work.JobID(k[1:]); o != id {
			others = append(others, o)
		}
		return nil
	})
	for _, o := range others {
		err = errors.Join(err, visit(o, func(b work.BlobID) { delete(mine, b) }))
	}
	if err != nil {
		return err
	}
	if err := x.cfg.Blobs.Delete(slices.Collect(keysOf(mine))...); err != nil {
		return err
	}
	return x.dropRecords(id)
}

// dropRecords forgets a job's log and results.
func (x *Indexer) dropRecords(id work.JobID) error {
	b := x.db.db.NewBatch()
	defer b.Close()
	for _, k := range []byte{keyLog, keyResult, keyEnded} {
		p := jobKey(k, id)
		if err := b.DeleteRange(p, after(p), nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.NoSync)
}

func keysOf(m map[work.BlobID]bool) func(func(work.BlobID) bool) {
	return func(yield func(work.BlobID) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
