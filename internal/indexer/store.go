package indexer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// The keys of the store. Numbers are big-endian, so that their order is the
// order of the keys.
//
//	c                          → height of the last block taken in
//	o ‖ provider               → its newest offer
//	j ‖ job                    → jobRecord
//	l ‖ job ‖ sequence         → event
//	r ‖ job ‖ provider ‖ item  → results of a run of items from this one on
//	e ‖ job                    → when it ended, Unix seconds, until it is forgotten
const (
	keyCursor = 'c'
	keyOffer  = 'o'
	keyJob    = 'j'
	keyLog    = 'l'
	keyResult = 'r'
	keyEnded  = 'e'
)

// store is the indexer's durable state.
type store struct {
	db  *pebble.DB
	dir string
}

// quiet passes Pebble's own words on where only a developer looks.
type quiet struct{ log *slog.Logger }

func (q quiet) Infof(f string, a ...any)  { q.log.Debug("pebble: " + fmt.Sprintf(f, a...)) }
func (q quiet) Errorf(f string, a ...any) { q.log.Error("pebble: " + fmt.Sprintf(f, a...)) }
func (q quiet) Fatalf(f string, a ...any) { panic("indexer: store: " + fmt.Sprintf(f, a...)) }

func openStore(dir string, log *slog.Logger) (*store, error) {
	cache := pebble.NewCache(4 << 20)
	defer cache.Unref()
	db, err := pebble.Open(dir, &pebble.Options{
		Cache: cache, MemTableSize: 16 << 20, MemTableStopWritesThreshold: 4, L0CompactionThreshold: 4, L0StopWritesThreshold: 64,
		MaxConcurrentCompactions: func() int { return 1 }, BytesPerSync: 1 << 20, Logger: quiet{log},
	})
	if err != nil {
		return nil, fmt.Errorf("indexer: open its state in %s: %w", dir, err)
	}
	return &store{db, dir}, nil
}

func (s *store) close() error { return s.db.Close() }

func (s *store) get(key []byte) ([]byte, error) {
	v, c, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return append([]byte(nil), v...), nil
}

// each calls f for every record under prefix, in order; the bytes are valid only
// within the call.
func (s *store) each(prefix []byte, f func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if err := f(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

// after is the first key behind all that start with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func jobKey(kind byte, id work.JobID) []byte { return append([]byte{kind}, id[:]...) }

func logKey(id work.JobID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(jobKey(keyLog, id), seq)
}

func provKey(id work.JobID, prov uint32) []byte {
	return binary.BigEndian.AppendUint32(jobKey(keyResult, id), prov)
}

func resultKey(id work.JobID, prov uint32, item uint64) []byte {
	return binary.BigEndian.AppendUint64(provKey(id, prov), item)
}

// jobRecord is what is known of a job besides its log.
type jobRecord struct {
	Spec      work.JobSpec
	Chunk     wire.Chunk
	Accepted  bool // by OpAccept; else found on the ledger
	OnLedger  bool
	Released  bool // signed that nothing is outstanding: nothing is signed any more
	Forgotten bool // the client has all it wants
	Over      bool // nothing more will happen: not loaded at start
	Commons   bool // its items are the beacon's to hand out, its results everybody's
	Inherited bool // from another indexer
	Since     int64
	Holders   []p2p.Peer
}

func (r *jobRecord) encode() []byte {
	var e work.Encoder
	e.U8(3)
	e.ByteString(r.Spec.Encode())
	e.U64(r.Chunk.Items)
	e.U32(r.Chunk.Seconds)
	for _, b := range []bool{r.Accepted, r.OnLedger, r.Released, r.Forgotten, r.Over, r.Commons, r.Inherited} {
		e.Bool(b)
	}
	e.U64(uint64(r.Since))
	e.U32(uint32(len(r.Holders)))
	for _, h := range r.Holders {
		e.Raw(h.Key[:])
		e.Strings(h.Addrs)
	}
	return e.Bytes()
}

func decodeJobRecord(b []byte) (*jobRecord, error) {
	d := work.NewDecoder(b)
	v := d.U8()
	if v < 1 || v > 3 { // 1 knew no commons, 2 no inheritance
		return nil, fmt.Errorf("job record of version %d: %w", v, work.ErrMalformed)
	}
	raw := d.ByteString(64 << 10)
	r := &jobRecord{Chunk: wire.Chunk{Items: d.U64(), Seconds: d.U32()}, Accepted: d.Bool(), OnLedger: d.Bool(),
		Released: d.Bool(), Forgotten: d.Bool(), Over: d.Bool(), Commons: v > 1 && d.Bool(), Inherited: v > 2 && d.Bool(), Since: int64(d.U64())}
	for range d.Count(maxHolders, 36) {
		var p p2p.Peer
		copy(p.Key[:], d.Raw(32))
		p.Addrs = d.Strings(16, 256)
		r.Holders = append(r.Holders, p)
	}
	if err := d.Done(); err != nil {
		return nil, fmt.Errorf("job record: %w", err)
	}
	s, err := work.DecodeJobSpec(raw)
	if err != nil {
		return nil, err
	}
	r.Spec = *s
	return r, nil
}

// run is results of adjacent items, as they are stored: a count, then attempt
// and encoded results.
type run struct {
	items work.Range
	enc   []byte   // the results' bytes, one after the other
	offs  []uint32 // where each starts, and the end
	fuel  []uint64
}

// record gives the value for the part of the run that is in sub.
func (r *run) record(attempt uint32, sub work.Range) []byte {
	lo, hi := sub.Lo-r.items.Lo, sub.Hi-r.items.Lo
	b := make([]byte, 0, 8+int(r.offs[hi]-r.offs[lo]))
	b = binary.BigEndian.AppendUint32(b, attempt)
	b = binary.BigEndian.AppendUint32(b, uint32(hi-lo))
	return append(b, r.enc[r.offs[lo]:r.offs[hi]]...)
}

// stored is a result with the attempt that gave it.
type stored struct {
	attempt uint32
	result  work.Result
}

// results calls f for each stored result of a provider within items, in order.
// A later record of an item hides an earlier one.
func (s *store) results(id work.JobID, prov uint32, items work.RangeSet, f func(stored) error) error {
	if len(items) == 0 {
		return nil
	}
	prefix := provKey(id, prov)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	defer it.Close()
	for _, r := range items {
		if err := eachIn(it, id, prov, r, f); err != nil {
			return err
		}
	}
	return it.Error()
}

// eachIn walks the records that may hold items of r. Records of one provider may
// overlap after an item came back to it: the one that starts last wins.
func eachIn(it *pebble.Iterator, id work.JobID, prov uint32, r work.Range, f func(stored) error) error {
	from := uint64(0)
	if r.Lo >= wire.MaxReceiptResults {
		from = r.Lo - wire.MaxReceiptResults + 1
	}
	found := map[uint64]stored{}
	next := r.Lo
	flush := func(upto uint64) error {
		for ; next < upto; next++ {
			if v, ok := found[next]; ok {
				delete(found, next)
				if err := f(v); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for ok := it.SeekGE(resultKey(id, prov, from)); ok; ok = it.Next() {
		k := it.Key()
		lo := binary.BigEndian.Uint64(k[len(k)-8:])
		if lo >= r.Hi {
			break
		}
		if err := flush(min(lo, r.Hi)); err != nil {
			return err
		}
		if err := decodeRun(it.Value(), lo, r, found); err != nil {
			return err
		}
	}
	return flush(r.Hi)
}

func decodeRun(b []byte, lo uint64, want work.Range, into map[uint64]stored) error {
	d := work.NewDecoder(b)
	attempt, n := d.U32(), uint64(d.U32())
	for i := lo; i < lo+n && i < want.Hi; i++ {
		r := work.DecodeResult(d)
		if err := d.Err(); err != nil {
			return fmt.Errorf("stored results: %w", err)
		}
		if i >= want.Lo {
			into[i] = stored{attempt, r}
		}
	}
	return nil
}
