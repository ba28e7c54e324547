package indexer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// material is what is needed to check receipts of a job; it does not change once
// the job is being served.
type material struct {
	id      work.JobID
	spec    work.JobSpec
	program work.ProgramID
	list    *work.ItemList // nil: the client has not handed it over
}

// delivery is a checked receipt whose outputs are here.
type delivery struct {
	job      work.JobID
	attempt  uint32
	runs     []*run
	failures []wire.Failure
}

// fetchPatience is how long outputs may take to arrive before they count as a
// failure of the host.
const fetchPatience = 2 * time.Minute

// receive checks a receipt, brings its outputs here and delivers it. Errors end
// the stream. It may block while many outputs are on their way: then the provider
// waits too.
func (x *Indexer) receive(ctx context.Context, l *link, r *wire.Receipt) error {
	if r.Provider != l.provider {
		return fmt.Errorf("%w: receipt of %s on the stream of %s", errNonsense, r.Provider, l.provider)
	}
	v, ok := x.lists.Load(r.Job)
	if !ok {
		return nil // of a job that is over
	}
	m := v.(*material)
	if m.list == nil {
		return nil
	}
	if err := m.check(r); err != nil {
		return fmt.Errorf("%w: job %s: %w", errNonsense, r.Job.Short(), err)
	}
	if err := x.claimOutputs(r.Job, r.Results); err != nil {
		return err
	}
	missing, err := x.keepInline(m, r)
	if err != nil {
		return err
	}
	here := r.Results
	if len(missing) > 0 {
		var away []work.Result
		here, away = nil, nil
		for _, res := range r.Results {
			if slices.ContainsFunc(res.Output.Blobs(), func(b work.BlobID) bool { return missing[b] }) {
				away = append(away, res)
			} else {
				here = append(here, res)
			}
		}
		if err := x.bring(ctx, l, r, away, missing); err != nil {
			return err
		}
	}
	x.deliver(l, &delivery{job: r.Job, attempt: r.Attempt, runs: runsOf(here), failures: r.Failures})
	return nil
}

// check compares what a receipt says with what its items are.
func (m *material) check(r *wire.Receipt) error {
	slices.SortFunc(r.Results, func(a, b work.Result) int { return compare(a.Index, b.Index) })
	for k := range r.Results {
		res := &r.Results[k]
		if k > 0 && r.Results[k-1].Index == res.Index {
			return fmt.Errorf("item %d twice", res.Index)
		}
		if err := m.checkResult(res); err != nil {
			return fmt.Errorf("item %d: %w", res.Index, err)
		}
	}
	for _, f := range r.Failures {
		if n := len(f.Items); n == 0 || f.Items[n-1].Hi > m.spec.ItemCount {
			return errors.New("a failure names items that the job does not have")
		}
	}
	return nil
}

func (m *material) checkResult(r *work.Result) error {
	if r.Index >= m.spec.ItemCount {
		return work.ErrItem
	}
	it, err := m.list.Item(r.Index)
	if err != nil {
		return err
	}
	if it.InputDigest(m.program, m.spec.Limits, m.spec.Seed) != r.Leaf.Input {
		return errors.New("the leaf is of another input")
	}
	if r.Leaf.Fuel == 0 || r.Leaf.Fuel > m.spec.Limits.Fuel {
		return fmt.Errorf("%d fuel: the limit is %d", r.Leaf.Fuel, m.spec.Limits.Fuel)
	}
	if silent(r) {
		return nil
	}
	if r.Output.Digest(r.Leaf.Outcome) != r.Leaf.Output {
		return errors.New("the output is not the one of the leaf")
	}
	var bytes uint64
	for _, b := range r.Output.Blobs() {
		if b.Size > m.spec.Limits.OutputBytes-bytes {
			return fmt.Errorf("over %d bytes of output", m.spec.Limits.OutputBytes)
		}
		bytes += b.Size
	}
	return nil
}

// silence is leaving no bytes, and silentOutput the digest of that and exiting
// with 0.
var (
	silence      = work.Output{Stdout: work.BlobOf(nil), Stderr: work.BlobOf(nil)}
	silentOutput = silence.Digest(work.Outcome{Kind: work.Exited})
)

// silent reports a result without any output whose digest is known to fit.
func silent(r *work.Result) bool {
	o := &r.Output
	return len(o.Files) == 0 && o.Stdout == silence.Stdout && o.Stderr == silence.Stderr && r.Leaf.Outcome.OK() && r.Leaf.Output == silentOutput
}

// keepInline stores the outputs that came with the receipt and gives those that
// are not here.
func (x *Indexer) keepInline(m *material, r *wire.Receipt) (map[work.BlobID]bool, error) {
	var want map[work.BlobID]bool
	for i := range r.Results {
		o := &r.Results[i].Output
		if o.Stdout.Size == 0 && o.Stderr.Size == 0 && len(o.Files) == 0 {
			continue
		}
		for _, b := range o.Blobs() {
			if !x.cfg.Blobs.Has(b) {
				if want == nil {
					want = map[work.BlobID]bool{}
				}
				want[b] = true
			}
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	var g sync.WaitGroup
	var mu sync.Mutex
	var first error
	gate := make(chan struct{}, 8)
	for _, b := range r.Inline {
		id := work.BlobOf(b)
		if !want[id] {
			continue
		}
		delete(want, id)
		gate <- struct{}{}
		g.Go(func() {
			defer func() { <-gate }()
			if _, err := x.cfg.Blobs.Put(b); err != nil {
				mu.Lock()
				first = err
				mu.Unlock()
			}
		})
	}
	g.Wait()
	if first != nil {
		return nil, fmt.Errorf("store outputs of job %s: %w", m.id.Short(), first)
	}
	return want, nil
}

// bring fetches outputs from the provider, in the background, and delivers their
// results; what cannot be fetched counts as a failure of the host.
func (x *Indexer) bring(ctx context.Context, l *link, r *wire.Receipt, away []work.Result, missing map[work.BlobID]bool) error {
	select {
	case x.fetch <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	from := []p2p.Peer{l.at}
	l.mu.Unlock()
	x.spawn(func() {
		defer func() { <-x.fetch }()
		ctx, cancel := context.WithTimeout(ctx, fetchPatience)
		defer cancel()
		var here []work.Result
		d := &delivery{job: r.Job, attempt: r.Attempt}
		for _, res := range away {
			var err error
			for _, b := range res.Output.Blobs() {
				if missing[b] && err == nil {
					err = x.cfg.Fetcher.Fetch(ctx, b, from)
				}
			}
			if err == nil {
				here = append(here, res)
				continue
			}
			if ctx.Err() != nil && ctx.Err() != context.DeadlineExceeded {
				return // the stream ended: the receipt comes again
			}
			d.failures = append(d.failures, wire.Failure{Items: work.RangeSet{{Lo: res.Index, Hi: res.Index + 1}},
				Why: fmt.Sprintf("its output could not be fetched from %s: %v", l.provider, err)})
		}
		d.runs = runsOf(here)
		x.deliver(l, d)
	})
	return nil
}

// runsOf joins sorted results into runs of adjacent items.
func runsOf(rs []work.Result) []*run {
	var out []*run
	var e work.Encoder
	for i := range rs {
		n := len(out)
		if n == 0 || out[n-1].items.Hi != rs[i].Index {
			if n > 0 {
				out[n-1].enc = e.Bytes()
			}
			e = work.Encoder{}
			e.Grow(224 * (len(rs) - i))
			out = append(out, &run{items: work.Range{Lo: rs[i].Index, Hi: rs[i].Index}, offs: []uint32{0}})
		}
		u := out[len(out)-1]
		rs[i].Encode(&e)
		u.items.Hi++
		u.offs = append(u.offs, uint32(len(e.Bytes())))
		u.fuel = append(u.fuel, uint64(rs[i].Leaf.Fuel))
	}
	if n := len(out); n > 0 {
		out[n-1].enc = e.Bytes()
	}
	return out
}

func (x *Indexer) deliver(l *link, d *delivery) {
	x.post(func() { x.take(l.peer, d, time.Now()) })
}

// take lets a delivery count: what the provider was given under this attempt and
// has not returned.
func (x *Indexer) take(p *peer, d *delivery, now time.Time) {
	j := x.jobs[d.job]
	if j == nil {
		return
	}
	if j.rec.Commons {
		x.drawn(j, p, d)
	}
	s := j.state.byAddr[p.addr]
	if j.rec.Inherited { // what it held was not asked for yet, or is not believed
		d.known(s)
	}
	if s == nil && j.rec.Inherited {
		return
	}
	if s == nil {
		x.cut(p, "a receipt of a job that it was not given")
		return
	}
	for _, u := range d.runs {
		if !s.known(d.attempt, work.RangeSet{u.items}) {
			x.cut(p, fmt.Sprintf("a receipt of items %s, which it was not given under attempt %d", u.items, d.attempt))
			return
		}
	}
	for _, f := range d.failures {
		if !s.known(d.attempt, f.Items) {
			x.cut(p, "a failure of items that it was not given")
			return
		}
	}
	x.takeResults(j, p, s, d, now)
	for _, f := range d.failures {
		p.dealing(j.id).disappointed(f.Unrun, now)
		x.takeFailure(j, s, f, now)
	}
	if s.out.size() == 0 {
		p.dealing(j.id).busy = false
	}
}

// known leaves of d what its provider was given.
func (d *delivery) known(s *provState) {
	if s == nil {
		d.runs, d.failures = nil, nil
		return
	}
	d.runs = slices.DeleteFunc(d.runs, func(u *run) bool { return !s.known(d.attempt, work.RangeSet{u.items}) })
	d.failures = slices.DeleteFunc(d.failures, func(f wire.Failure) bool { return !s.known(d.attempt, f.Items) })
}

// How long a provider that sends items back gets no others of the job: a second
// if it never began them; if it failed, twice as long each time until something
// succeeds there, so that a broken host does not eat the queue.
const (
	unrunPause     = time.Second
	firstFailPause = 50 * time.Millisecond
	lastFailPause  = 30 * time.Second
)

func (d *dealing) disappointed(unrun bool, now time.Time) {
	if unrun {
		d.pause = now.Add(unrunPause)
		return
	}
	d.failPause = min(max(2*d.failPause, firstFailPause), lastFailPause)
	d.pause = now.Add(d.failPause)
}

func (x *Indexer) takeResults(j *job, p *peer, s *provState, d *delivery, now time.Time) {
	var items work.RangeSet
	var fuel uint64
	for _, u := range d.runs {
		for _, sub := range s.welcome(work.RangeSet{u.items}) {
			x.set(resultKey(j.id, s.no, sub.Lo), u.record(d.attempt, sub))
			for _, f := range u.fuel[sub.Lo-u.items.Lo : sub.Hi-u.items.Lo] {
				fuel += f
			}
			items = append(items, sub)
		}
	}
	if len(items) == 0 {
		return
	}
	items = work.NewRangeSet(items...)
	p.dealing(j.id).failPause = 0
	x.record(j, &event{Kind: evResults, Provider: s.addr, Attempt: d.attempt, Items: items, Fuel: fuel})
	if sec := p.dealing(j.id).returned(items.Len(), s.out.size(), p.offer.Slots, now); sec > 0 {
		j.sample(sec)
	}
	if !x.terms(j.spec.Tier).ledger {
		x.verified(j, &event{Kind: evSettle, Provider: s.addr, Items: items})
		return
	}
	for id, w := range j.settling { // a paid batch may have waited for these
		if (w.missing || w.running) && w.batch.Provider == s.addr && len(w.batch.Items.Intersect(items)) > 0 {
			x.settleSoon(j, id)
		}
	}
}

// welcome are the items of which a result of this provider is taken: those that it was
// given and has not returned, and those that it committed. A batch that is paid is paid
// whatever was said of its items before.
func (s *provState) welcome(items work.RangeSet) work.RangeSet {
	committed := s.have.without(s.committed.within(items))
	return s.out.within(items).Union(s.late.within(items)).Union(committed)
}

func (j *job) sample(seconds float64) {
	const keep = 256
	if len(j.samples) < keep {
		j.samples = append(j.samples, seconds)
		return
	}
	j.samples[j.sampleAt%keep] = seconds
	j.sampleAt++
}

func (x *Indexer) takeFailure(j *job, s *provState, f wire.Failure, now time.Time) {
	// What it has reported and not committed it may take back, say because its bond has
	// gone: nobody would ever be paid for it.
	held := s.committed.without(s.have.within(f.Items))
	items := s.out.within(f.Items).Union(s.late.within(f.Items)).Union(held)
	if len(items) == 0 {
		return
	}
	dropped := j.state.verified.within(items) // it was told to stop
	if f.Unrun || !j.serving(x.terms(j.spec.Tier)) {
		dropped = items
	}
	for _, l := range s.leases { // nor is it its fault that an assignment expired
		if l.expires <= x.height {
			dropped = dropped.Union(items.Intersect(l.items))
		}
	}
	if len(dropped) > 0 {
		x.record(j, &event{Kind: evExpire, Provider: s.addr, Items: dropped})
		items = items.Minus(dropped)
	}
	if len(items) == 0 {
		return
	}
	why := f.Why
	if f.Refused {
		why = "the program is refused by its profile: " + why
	}
	x.log.Info("a host failed items", "job", j.id.Short(), "provider", s.addr, "items", items.Len(), "why", why)
	x.record(j, &event{Kind: evHostFail, Provider: s.addr, Items: items, Refused: f.Refused, Why: why})
	j.said(items, why)
	x.judge(j, now)
}

// said keeps what hosts said about items; the newest word counts.
func (j *job) said(items work.RangeSet, why string) {
	for i := range j.hostWhy {
		j.hostWhy[i].items.delAll(items)
	}
	j.hostWhy = slices.DeleteFunc(j.hostWhy, func(n failNote) bool { return n.items.size() == 0 })
	if k := slices.IndexFunc(j.hostWhy, func(n failNote) bool { return n.why == why }); k >= 0 {
		j.hostWhy[k].items.addAll(items)
		return
	}
	if len(j.hostWhy) == maxFailNotes {
		why = j.hostWhy[maxFailNotes-1].why
		j.hostWhy[maxFailNotes-1].items.addAll(items)
		return
	}
	n := failNote{why: why}
	n.items.addAll(items)
	j.hostWhy = append(j.hostWhy, n)
}
