package indexer

import (
	"fmt"
	"slices"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// maxAttempts bounds how often one item is handed out.
const maxAttempts = 64

// jobState is where every item of a job stands. It changes only through apply,
// so that replaying the log gives the same state, and it holds intervals, never
// items.
//
// An item is verified, failed, waiting, provisional (a result is held) or, if
// none of these, assigned.
type jobState struct {
	n           uint64
	waiting     spans // to be handed out
	provisional spans // a result is held, none is verified
	verified    spans
	failed      spans
	used        []spans // used[k]: handed out under attempt k; each holds the next
	hostFailed  spans   // failed by some host, since the last retry
	voided      spans   // of void batches

	provs   []*provState // by number, in the order of their first assignment
	byAddr  map[work.Address]*provState
	open    map[work.BatchID]*batchState // committed, not final
	final   map[work.BatchID]*batchState // settled: what was won
	ended   map[work.BatchID]bool        // void, unpaid, or paid and not delivered
	why     []failNote
	refused map[work.Address]bool // providers that say the profile refuses the program

	recomputed        uint64
	settled, voidedBs uint32
	seq               uint64 // events applied
}

// provState is one provider's part of a job.
type provState struct {
	no         uint32
	addr       work.Address
	out        spans   // handed out, nothing came back yet
	late       spans   // not waited for any more, though a result is still welcome
	have       spans   // its result is held and not final
	committed  spans   // in batches that are not final
	won        spans   // its result is the verified one
	hostFailed spans   // never again here, until a retry
	unpaid     spans   // of its batches that are void, unpaid, or paid and not delivered
	under      []spans // under[k]: ever assigned to it under attempt k
	leases     []lease
	barred     bool
	why        string // barred
	items      uint64 // results received
	fuel       uint64 // of these
}

// lease is one assignment that has not expired or been used up.
type lease struct {
	attempt uint32
	items   work.RangeSet
	chunk   uint64
	price   work.Price
	expires int64
}

type batchState struct {
	prov  *provState
	items work.RangeSet
	phase string // for people
}

type failNote struct {
	items spans
	why   string
}

// eventKind says what happened to a job; the numbers are on disk.
type eventKind uint8

const (
	evAssign      eventKind = iota + 1 // Provider gets Items under Attempt
	evResults                          // Provider's results of Items are stored; Fuel is their sum
	evHostFail                         // Provider's host failed Items, or gave their results up; Refused: it says that the profile refuses
	evYield                            // Provider is not waited for any more: Items return to the queue unless another has them
	evResume                           // Provider is back: Items that still wait are its again
	evExpire                           // Provider can no longer commit Items, or will not
	evFail                             // Items failed finally
	evRetry                            // failed Items are tried again, on any provider
	evCommit                           // Provider committed Items as Batch
	evSettle                           // Batch is paid, and what was delivered is what was paid
	evVoid                             // Batch is void or unpaid
	evUndelivered                      // Batch is paid, but not for what was delivered
	evBar                              // Provider gets no more of this job
)

// event is one record of a job's log. Fields that do not apply are zero.
type event struct {
	Kind     eventKind
	Provider work.Address
	Attempt  uint32
	Items    work.RangeSet
	Chunk    uint64
	Price    work.Price
	Expires  int64
	Fuel     uint64
	Batch    work.BatchID
	Refused  bool
	Why      string
}

func newJobState(n uint64) *jobState {
	j := &jobState{n: n, byAddr: map[work.Address]*provState{}, open: map[work.BatchID]*batchState{},
		final: map[work.BatchID]*batchState{}, ended: map[work.BatchID]bool{}, refused: map[work.Address]bool{}}
	j.waiting.add(work.Range{Lo: 0, Hi: n})
	return j
}

// prov is a provider's part, made at first sight: numbers follow the log.
func (j *jobState) prov(a work.Address) *provState {
	p := j.byAddr[a]
	if p == nil {
		p = &provState{no: uint32(len(j.provs)), addr: a}
		j.byAddr[a] = p
		j.provs = append(j.provs, p)
	}
	return p
}

// apply takes one event in. It is the only place where the state changes.
func (j *jobState) apply(e *event) {
	j.seq++
	switch e.Kind {
	case evAssign:
		j.assign(e)
	case evResults:
		j.results(e)
	case evHostFail:
		p := j.prov(e.Provider)
		j.strip(p, e.Items)
		p.hostFailed.addAll(e.Items)
		j.hostFailed.addAll(e.Items)
		if e.Refused {
			j.refused[e.Provider] = true
		}
		j.orphans(e.Items)
	case evYield:
		p := j.prov(e.Provider)
		mine := p.out.within(e.Items)
		p.out.delAll(mine)
		p.late.addAll(mine)
		held := p.committed.without(p.have.within(e.Items))
		p.have.delAll(held)
		p.late.addAll(held)
		j.recount(held)
		j.orphans(e.Items)
	case evResume:
		p := j.prov(e.Provider)
		p.late.delAll(e.Items)
		p.out.addAll(e.Items)
		j.waiting.delAll(e.Items)
	case evExpire:
		j.strip(j.prov(e.Provider), e.Items)
		j.orphans(e.Items)
	case evFail:
		j.waiting.delAll(e.Items)
		for _, p := range j.provs {
			p.out.delAll(e.Items)
		}
		j.failed.addAll(e.Items)
		j.note(e.Items, e.Why)
	case evRetry:
		j.retry(e.Items)
	case evCommit:
		p := j.prov(e.Provider)
		p.committed.addAll(e.Items)
		j.waiting.delAll(e.Items) // its end on the chain says what becomes of them
		j.open[e.Batch] = &batchState{prov: p, items: e.Items, phase: "committed"}
	case evSettle:
		j.settle(e)
	case evVoid, evUndelivered:
		j.void(e)
	case evBar:
		p := j.prov(e.Provider)
		p.barred, p.why = true, e.Why
		gone := p.out.set().Union(p.have.set()).Union(p.late.set())
		j.strip(p, gone)
		j.orphans(gone)
	}
}

func (j *jobState) assign(e *event) {
	p := j.prov(e.Provider)
	for uint32(len(j.used)) <= e.Attempt {
		j.used = append(j.used, spans{})
	}
	for uint32(len(p.under)) <= e.Attempt {
		p.under = append(p.under, spans{})
	}
	if len(p.under[e.Attempt].within(e.Items)) > 0 { // a renewal replaces older leases of its items
		for i := range p.leases {
			p.leases[i].items = p.leases[i].items.Minus(e.Items)
		}
	}
	j.used[e.Attempt].addAll(e.Items)
	p.under[e.Attempt].addAll(e.Items)
	p.out.addAll(p.have.without(e.Items))
	p.late.delAll(e.Items)
	j.waiting.delAll(e.Items)
	p.leases = append(p.leases, lease{e.Attempt, e.Items, e.Chunk, e.Price, e.Expires})
}

func (j *jobState) results(e *event) {
	p := j.prov(e.Provider)
	p.out.delAll(e.Items)
	p.late.delAll(e.Items)
	p.have.addAll(e.Items)
	p.items += e.Items.Len()
	p.fuel += e.Fuel
	j.waiting.delAll(e.Items)
	j.failed.delAll(e.Items)
	j.provisional.addAll(j.verified.without(e.Items))
}

func (j *jobState) settle(e *event) {
	p := j.prov(e.Provider)
	for _, s := range []*spans{&p.committed, &p.have, &p.out, &p.late} {
		s.delAll(e.Items)
	}
	fresh := j.verified.without(e.Items)
	j.recomputed += j.voided.within(fresh).Len()
	for _, s := range []*spans{&j.provisional, &j.waiting, &j.failed} {
		s.delAll(fresh)
	}
	j.verified.addAll(fresh)
	p.won.addAll(fresh)
	delete(j.open, e.Batch)
	if !e.Batch.IsZero() {
		j.final[e.Batch] = &batchState{prov: p, items: fresh, phase: "settled"}
		j.settled++
	}
}

func (j *jobState) void(e *event) {
	p := j.prov(e.Provider)
	p.committed.delAll(e.Items)
	p.unpaid.addAll(e.Items)
	j.strip(p, e.Items)
	if e.Kind == evVoid {
		j.voided.addAll(j.verified.without(e.Items))
		j.voidedBs++
	} else {
		j.settled++
	}
	delete(j.open, e.Batch)
	j.ended[e.Batch] = true
	j.orphans(e.Items)
}

func (j *jobState) retry(items work.RangeSet) {
	j.failed.delAll(items)
	j.hostFailed.delAll(items)
	for _, p := range j.provs {
		p.hostFailed.delAll(items)
	}
	for i := range j.why {
		j.why[i].items.delAll(items)
	}
	j.why = slices.DeleteFunc(j.why, func(n failNote) bool { return n.items.size() == 0 })
	clear(j.refused)
	j.orphans(items)
}

// strip takes from p what it holds of items and has not committed.
func (j *jobState) strip(p *provState, items work.RangeSet) {
	p.out.delAll(items)
	p.late.delAll(items)
	held := p.committed.without(p.have.within(items))
	p.have.delAll(held)
	j.recount(held)
}

// recount finds which of items are still provisional.
func (j *jobState) recount(items work.RangeSet) {
	if len(items) == 0 {
		return
	}
	j.provisional.delAll(items)
	for _, p := range j.provs {
		j.provisional.addAll(j.verified.without(p.have.within(items)))
	}
}

// orphans puts the items that nobody has back into the queue.
func (j *jobState) orphans(items work.RangeSet) {
	items = j.failed.without(j.verified.without(items))
	for _, p := range j.provs {
		if len(items) == 0 {
			return
		}
		items = p.committed.without(p.have.without(p.out.without(items)))
	}
	j.waiting.addAll(items)
}

// maxFailNotes bounds the distinct reasons kept per job.
const maxFailNotes = 256

func (j *jobState) note(items work.RangeSet, why string) {
	k := slices.IndexFunc(j.why, func(n failNote) bool { return n.why == why })
	if k < 0 && len(j.why) == maxFailNotes {
		k = maxFailNotes - 1
	}
	if k < 0 {
		j.why = append(j.why, failNote{why: why})
		k = len(j.why) - 1
	}
	j.why[k].items.addAll(items)
}

// counts are the items by state.
func (j *jobState) counts() wire.Counts {
	c := wire.Counts{Items: j.n, Waiting: j.waiting.size(), Provisional: j.provisional.size(), Verified: j.verified.size(),
		Failed: j.failed.size(), Recomputed: j.recomputed, Settled: j.settled, Void: j.voidedBs}
	c.Assigned = j.n - c.Waiting - c.Provisional - c.Verified - c.Failed
	return c
}

// done reports whether every item is verified or finally failed.
func (j *jobState) done() bool { return j.verified.size()+j.failed.size() == j.n }

// turn is items that are handed out under one attempt.
type turn struct {
	attempt uint32
	items   work.RangeSet
}

// byAttempt splits items by the attempt under which they are to be handed out
// next.
func (j *jobState) byAttempt(items work.RangeSet) []turn {
	var out []turn
	for k := 0; len(items) > 0; k++ {
		if k == len(j.used) {
			return append(out, turn{uint32(k), items})
		}
		again := j.used[k].within(items)
		if fresh := items.Minus(again); len(fresh) > 0 {
			out = append(out, turn{uint32(k), fresh})
		}
		items = again
	}
	return out
}

// take gives up to n waiting items that p may get; nothing changes.
func (j *jobState) take(p *provState, n uint64) work.RangeSet {
	var out work.RangeSet
	for _, r := range j.waiting.view() {
		if n == 0 || len(out) >= work.MaxAssignmentRanges {
			break
		}
		free := work.RangeSet{r}
		if p != nil {
			free = j.mayGet(p, free)
		}
		got, _ := free.Take(n)
		n -= got.Len()
		out = append(out, got...)
	}
	if len(out) > work.MaxAssignmentRanges {
		out = out[:work.MaxAssignmentRanges]
	}
	return out
}

// takable is how many waiting items p may get.
func (j *jobState) takable(p *provState) uint64 {
	if p == nil || p.hostFailed.size()+p.late.size() == 0 {
		return j.waiting.size()
	}
	return j.mayGet(p, j.waiting.view()).Len()
}

// mayGet is the part of items that p neither has nor had in vain.
func (j *jobState) mayGet(p *provState, items work.RangeSet) work.RangeSet {
	for _, s := range []*spans{&p.hostFailed, &p.out, &p.have, &p.late, &p.committed} {
		if s.size() > 0 {
			items = s.without(items)
		}
	}
	return items
}

// holders is the number of providers that have, or may still bring, item i.
func (j *jobState) holders(i uint64) (n uint32) {
	for _, p := range j.provs {
		if !p.barred && (p.out.has(i) || p.have.has(i) || p.late.has(i)) {
			n++
		}
	}
	return n
}

// tried is the number of hosts that failed item i.
func (j *jobState) tried(i uint64) (n int) {
	for _, p := range j.provs {
		if p.hostFailed.has(i) {
			n++
		}
	}
	return n
}

// known reports whether p was ever assigned item i under attempt.
func (p *provState) known(attempt uint32, items work.RangeSet) bool {
	return attempt < uint32(len(p.under)) && len(p.under[attempt].without(items)) == 0
}

// outstanding are the items that p may still commit.
func (p *provState) outstanding() work.RangeSet {
	return p.out.set().Union(p.late.set()).Union(p.have.set()).Union(p.committed.set())
}

// stands is the state of items, run by run.
type stands struct {
	items work.Range
	state wire.ItemState
	prov  *provState
	batch work.BatchID
	why   string

	attempt uint32 // of assigned items
}

// describe gives the runs of items in order.
func (j *jobState) describe(items work.RangeSet) []stands {
	var out []stands
	emit := func(rs work.RangeSet, state wire.ItemState, p *provState) {
		for _, r := range rs {
			out = append(out, stands{items: r, state: state, prov: p})
		}
	}
	rest := items
	grab := func(s *spans, state wire.ItemState, p *provState) {
		in := s.within(rest)
		if len(in) > 0 {
			emit(in, state, p)
			rest = rest.Minus(in)
		}
	}
	for _, p := range j.provs {
		grab(&p.won, wire.ItemVerified, p)
	}
	failed := j.failed.within(rest)
	for _, n := range j.why {
		for _, r := range n.items.within(failed) {
			out = append(out, stands{items: r, state: wire.ItemFailed, why: n.why})
		}
	}
	rest = rest.Minus(failed)
	for _, p := range j.provs {
		grab(&p.have, wire.ItemProvisional, p)
	}
	for _, p := range j.provs {
		for k := len(p.under) - 1; k >= 0; k-- {
			for _, r := range p.under[k].within(p.out.within(rest)) {
				out = append(out, stands{items: r, state: wire.ItemAssigned, prov: p, attempt: uint32(k)})
				rest = rest.Minus(work.RangeSet{r})
			}
		}
	}
	emit(rest, wire.ItemWaiting, nil)
	out = j.withBatches(out)
	slices.SortFunc(out, func(a, b stands) int { return compare(a.items.Lo, b.items.Lo) })
	return out
}

// withBatches splits the runs by the batches that they are in.
func (j *jobState) withBatches(in []stands) []stands {
	var out []stands
	for _, s := range in {
		if s.prov == nil || s.state == wire.ItemAssigned {
			out = append(out, s)
			continue
		}
		left := work.RangeSet{s.items}
		books := j.open
		if s.state == wire.ItemVerified {
			books = j.final
		}
		for id, b := range books {
			if len(left) == 0 {
				break
			}
			if b.prov != s.prov || len(b.items) == 0 || b.items[0].Lo >= s.items.Hi || b.items[len(b.items)-1].Hi <= s.items.Lo {
				continue
			}
			in := left.Intersect(b.items)
			left = left.Minus(in)
			for _, r := range in {
				out = append(out, stands{items: r, state: s.state, prov: s.prov, batch: id})
			}
		}
		for _, r := range left {
			out = append(out, stands{items: r, state: s.state, prov: s.prov})
		}
	}
	return out
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

const eventVersion = 1

// encode gives the record of e.
func (e *event) encode() []byte {
	var w work.Encoder
	w.U8(eventVersion)
	w.U8(uint8(e.Kind))
	w.String(string(e.Provider))
	w.U32(e.Attempt)
	e.Items.Encode(&w)
	w.U64(e.Chunk)
	w.U64(uint64(e.Price))
	w.U64(uint64(e.Expires))
	w.U64(e.Fuel)
	w.Hash(e.Batch)
	w.Bool(e.Refused)
	w.String(e.Why)
	return w.Bytes()
}

func decodeEvent(b []byte) (*event, error) {
	d := work.NewDecoder(b)
	if v := d.U8(); v != eventVersion {
		return nil, fmt.Errorf("job log: record of version %d: %w", v, work.ErrMalformed)
	}
	e := &event{Kind: eventKind(d.U8()), Provider: work.Address(d.String(128)), Attempt: d.U32(), Items: work.DecodeRangeSet(d, 1<<24),
		Chunk: d.U64(), Price: work.Price(d.U64()), Expires: int64(d.U64()), Fuel: d.U64(), Batch: d.Hash(), Refused: d.Bool(), Why: d.String(4096)}
	if err := d.Done(); err != nil {
		return nil, fmt.Errorf("job log: %w", err)
	}
	return e, nil
}
