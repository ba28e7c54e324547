package provider

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

func key(kind byte, job work.JobID, rest ...uint64) []byte {
	k := append([]byte{kind, '/'}, job[:]...)
	for _, n := range rest {
		k = binary.BigEndian.AppendUint64(k, n)
	}
	return k
}

func chunkKey(job work.JobID, seq uint64) []byte { return key('c', job, seq) }

// kinds are the records of one job.
const kinds = "jacxb"

// Flags of a job's record.
const (
	jobFlush   = 1
	jobCommons = 2
	jobMoved   = 4 // the key of its indexer follows
)

func (p *Provider) saveJob(j *job) error {
	var e work.Encoder
	var flags uint8
	if j.flush {
		flags |= jobFlush
	}
	if j.commons {
		flags |= jobCommons
	}
	if j.indexer != j.spec.Indexer {
		flags |= jobMoved
	}
	e.U8(flags)
	e.ByteString(j.spec.Encode())
	e.U32(uint32(len(j.holders)))
	for _, h := range j.holders {
		e.Raw(h.Key[:])
		e.Strings(h.Addrs)
	}
	if flags&jobMoved != 0 {
		e.Raw(j.indexer[:])
	}
	return p.lazily(key('j', j.id), e.Bytes())
}

func (p *Provider) saveAssign(as *assign) error {
	return p.lazily(key('a', as.job.id, as.id), append(as.by[:], as.bytes...))
}

func (p *Provider) saveDrop(j *job, items work.RangeSet) error {
	var e work.Encoder
	items.Encode(&e)
	return p.lazily(key('x', j.id, p.nextID.Add(1)), e.Bytes())
}

// lazily writes a record that the next durable one takes along.
func (p *Provider) lazily(k, v []byte) error {
	w := p.store.NewBatch()
	w.Set(k, v)
	return w.CommitLazy()
}

// encodeChunk is the chunk's assignment and time, before its receipt's frame.
func encodeChunk(c *chunk, frame []byte) []byte {
	b := make([]byte, 0, 16+len(frame))
	b = binary.BigEndian.AppendUint64(b, c.as.id)
	b = binary.BigEndian.AppendUint64(b, uint64(c.since.UnixMilli()))
	return append(b, frame...)
}

func chunkFrame(raw []byte) ([]byte, error) {
	if len(raw) < 16 {
		return nil, fmt.Errorf("chunk: %w", execute.ErrDamaged)
	}
	return raw[16:], nil
}

// receipt reads a chunk's receipt.
func (p *Provider) receipt(job work.JobID, seq uint64) (*wire.Receipt, error) {
	raw, err := p.store.Get(chunkKey(job, seq))
	if err != nil {
		return nil, err
	}
	return decodeChunk(raw)
}

func decodeChunk(raw []byte) (*wire.Receipt, error) {
	frame, err := chunkFrame(raw)
	if err != nil {
		return nil, err
	}
	r, err := wire.ReadReceipt(frame)
	if err != nil {
		return nil, fmt.Errorf("chunk: %w: %v", execute.ErrDamaged, err)
	}
	return r, nil
}

// batchState is how far a batch got.
type batchState uint8

const (
	batchOpen    batchState = iota + 1 // written; on the chain or about to be
	batchSettled                       // paid
	batchLost                          // void or unpaid
)

// batch is what was committed together.
type batch struct {
	seq     uint64
	id      work.BatchID
	job     *job
	state   batchState
	salt    work.Hash
	root    work.Node
	maxFuel work.Fuel
	price   work.Price
	items   work.RangeSet
	parts   []part
	chunks  []*chunk
	need    need // what it locks, until the chain has it

	nodes []work.Node   // by position, kept until the draws are opened; nil after a restart
	seen  bool          // on the chain
	wake  chan struct{} // an event about it
}

type part struct {
	as    *assign
	items work.RangeSet
}

func (b *batch) encode() []byte {
	var e work.Encoder
	e.U8(uint8(b.state))
	e.Hash(b.id)
	e.Hash(b.salt)
	e.U64(uint64(b.root.Fuel))
	e.Hash(b.root.Hash)
	e.U64(uint64(b.maxFuel))
	e.U64(uint64(b.price))
	e.U32(uint32(len(b.parts)))
	for _, pt := range b.parts {
		e.U64(pt.as.id)
		pt.items.Encode(&e)
	}
	e.U32(uint32(len(b.chunks)))
	for _, c := range b.chunks {
		e.U64(c.seq)
	}
	return e.Bytes()
}

func (p *Provider) decodeBatch(j *job, seq uint64, assigns map[uint64]*assign, raw []byte) (*batch, error) {
	d := work.NewDecoder(raw)
	b := &batch{seq: seq, job: j, wake: make(chan struct{}, 1), state: batchState(d.U8()), id: d.Hash(), salt: d.Hash(),
		root: work.Node{Fuel: work.Fuel(d.U64()), Hash: d.Hash()}, maxFuel: work.Fuel(d.U64()), price: work.Price(d.U64())}
	var all []work.Range
	for range d.Count(len(raw), 12) {
		pt := part{assigns[d.U64()], work.DecodeRangeSet(d, work.MaxBatchItems)}
		if pt.as == nil {
			return nil, fmt.Errorf("batch of a lost assignment: %w", execute.ErrDamaged)
		}
		b.parts = append(b.parts, pt)
		all = append(all, pt.items...)
	}
	b.items = work.NewRangeSet(all...)
	for range d.Count(len(raw), 8) {
		c := j.chunks[d.U64()]
		if c == nil {
			if b.state == batchOpen {
				return nil, fmt.Errorf("batch of a lost chunk: %w", execute.ErrDamaged)
			}
			continue
		}
		c.batch, c.lost = b, b.state == batchLost
		b.chunks = append(b.chunks, c)
	}
	return b, d.Done()
}

// load rebuilds the state from the records.
func (p *Provider) load() error {
	err := p.store.Scan([]byte("j/"), func(_, v []byte) error {
		d := work.NewDecoder(v)
		flags, raw := d.U8(), d.ByteString(len(v))
		var holders []p2p.Peer
		for range d.Count(len(v), 36) {
			var k sign.PublicKey
			copy(k[:], d.Raw(32))
			holders = append(holders, p2p.Peer{Key: k, Addrs: d.Strings(16, 256)})
		}
		var moved sign.PublicKey
		if flags&jobMoved != 0 {
			copy(moved[:], d.Raw(32))
		}
		if err := d.Done(); err != nil {
			return fmt.Errorf("job: %w: %v", execute.ErrDamaged, err)
		}
		if flags > jobFlush|jobCommons|jobMoved {
			return fmt.Errorf("job of unknown kind %d: %w", flags, execute.ErrDamaged)
		}
		spec, err := work.DecodeJobSpec(raw)
		if err != nil {
			return fmt.Errorf("job: %w: %v", execute.ErrDamaged, err)
		}
		j := newJob(*spec, holders)
		j.flush, j.commons = flags&jobFlush != 0, flags&jobCommons != 0
		if flags&jobMoved != 0 {
			j.indexer = moved
		}
		p.jobs[j.id] = j
		return nil
	})
	if err != nil {
		return err
	}
	for _, j := range p.jobs {
		if err := p.loadJob(j); err != nil {
			return fmt.Errorf("job %s: %w", j.id.Short(), err)
		}
	}
	return nil
}

func (p *Provider) loadJob(j *job) error {
	assigns := map[uint64]*assign{}
	each := func(kind byte, f func(seq uint64, v []byte) error) error {
		prefix := key(kind, j.id)
		return p.store.Scan(prefix, func(k, v []byte) error {
			if len(k) != len(prefix)+8 {
				return execute.ErrDamaged
			}
			seq := binary.BigEndian.Uint64(k[len(prefix):])
			p.nextID.Store(max(p.nextID.Load(), seq))
			return f(seq, v)
		})
	}
	err := each('a', func(id uint64, v []byte) error {
		var by sign.PublicKey
		if len(v) < len(by) {
			return execute.ErrDamaged
		}
		copy(by[:], v)
		v = v[len(by):]
		a, err := work.DecodeAssignment(v)
		if err != nil {
			return err
		}
		as := &assign{id: id, job: j, a: *a, by: by, bytes: slices.Clone(v), todo: a.Ranges}
		assigns[id] = as
		j.assigns = append(j.assigns, as)
		j.byBytes[work.Sum("gotong/provider/assignment", as.bytes)] = true
		return nil
	})
	if err != nil {
		return err
	}
	// What failed or was taken back is not run again under the same assignment; what
	// has a result is had.
	err = each('c', func(seq uint64, v []byte) error {
		r, err := decodeChunk(v)
		if err != nil {
			return err
		}
		as := assigns[binary.BigEndian.Uint64(v)]
		if as == nil {
			return fmt.Errorf("chunk of a lost assignment: %w", execute.ErrDamaged)
		}
		c := newChunk(seq, as, r.Results, time.UnixMilli(int64(binary.BigEndian.Uint64(v[8:]))))
		j.chunks[seq] = c
		as.todo = as.todo.Minus(c.items)
		j.have.add(c.items)
		for _, f := range r.Failures {
			as.todo = as.todo.Minus(f.Items)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = each('x', func(seq uint64, v []byte) error {
		d := work.NewDecoder(v)
		items := work.DecodeRangeSet(d, len(v))
		for _, as := range j.assigns {
			if as.id < seq { // later assignments came after the drop
				as.todo = as.todo.Minus(items)
			}
		}
		return d.Done()
	})
	if err != nil {
		return err
	}
	err = each('b', func(seq uint64, v []byte) error {
		b, err := p.decodeBatch(j, seq, assigns, v)
		if err == nil && b.state == batchOpen {
			p.batches[b.id] = b
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, as := range j.assigns { // an item belongs to its first assignment that is left
		as.todo = j.have.missing(as.todo)
		j.have.add(as.todo)
		j.queued += as.todo.Len()
		if !j.commons {
			p.queued += as.todo.Len()
		}
	}
	for _, as := range j.assigns {
		j.renewLocked(as)
	}
	for _, c := range j.chunks {
		if c.batch == nil && len(c.items) > 0 && !j.offChain {
			j.loose = append(j.loose, c)
		}
	}
	sortLoose(j.loose)
	return nil
}

func sortLoose(l []*chunk) {
	slices.SortFunc(l, func(a, b *chunk) int {
		switch {
		case a.seq < b.seq:
			return -1
		case a.seq > b.seq:
			return 1
		}
		return 0
	})
}

// takeUp goes on with what load found.
func (p *Provider) takeUp(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.jobs {
		p.spawnLocked(func() { p.prepare(ctx, j) })
	}
	for _, b := range p.batches {
		p.spawnLocked(func() { p.tend(ctx, b) })
	}
}

// cleanLocked forgets a job and its records.
func (p *Provider) cleanLocked(j *job) error {
	w := p.store.NewBatch()
	for _, k := range []byte(kinds) {
		if k == 'j' {
			w.Delete(key(k, j.id))
			continue
		}
		w.DeletePrefix(key(k, j.id))
	}
	if err := w.CommitLazy(); err != nil {
		return err
	}
	delete(p.jobs, j.id)
	p.ring = slices.DeleteFunc(p.ring, func(o *job) bool { return o == j })
	if !j.commons {
		p.queued -= j.queued
	}
	p.execute.Forget(j.id)
	p.spawnLocked(func() { p.wipe(j.id) })
	return nil
}

// wipe lets go of what a job that is forgotten here kept in the blob store.
func (p *Provider) wipe(id work.JobID) {
	if err := p.execute.Wipe(id); err != nil {
		p.log.Error("cannot wipe the data of a job that is over: trying again at the next start", "job", id.Short(), "err", err)
	}
}

// wipeLeft wipes what jobs left that were forgotten just before this provider died.
func (p *Provider) wipeLeft() {
	claimed, err := p.execute.Claimed()
	p.logIf(err)
	for _, id := range claimed {
		p.mu.Lock()
		known := p.jobs[id] != nil
		p.mu.Unlock()
		if !known {
			p.wipe(id)
		}
	}
}
