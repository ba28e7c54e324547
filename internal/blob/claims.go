package blob

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble"

	"github.com/gotong-network/gotong/work"
)

// Keep says what becomes of a blob when its last claim ends.
type Keep uint8

// The ways to keep.
const (
	Wipe  Keep = iota // it is deleted at once: inputs, lists, outputs
	Cache             // it stays until its space is needed: programs, which are public
)

// Claimer is a Local that knows for whom it keeps blobs. What nobody ever claimed
// stays until it is deleted.
type Claimer interface {
	// Claim keeps blobs, here or about to come, for who: a role and a job, such as
	// "provider/" and the job's id. It is durable before the blobs can be.
	Claim(who string, keep Keep, bs ...work.BlobID) error
	// Release ends a claim and wipes what nobody else claims. It goes on after a crash
	// when the store opens, and is no error twice.
	Release(who string) error
	// Claims names the claims that start with prefix, in no order.
	Claims(prefix string) ([]string, error)
}

var _ Claimer = (*FileStore)(nil)

const (
	// pushClaim is the prefix of what was pushed and no job has claimed yet: then the
	// hour, and who pushed it.
	pushClaim = "push/"
	// pushLife is how long that waits for its job.
	pushLife = 24 * time.Hour
	// sweepEvery is how often what waited too long is looked for.
	sweepEvery = 10 * time.Minute
	// claimStep is how many blobs are released at once: others wait meanwhile.
	claimStep = 256
)

// Keys beside the small blobs: a claim is
//
//	'n' ‖ id                state, time of the first claim (8), name
//	'o' ‖ id ‖ blob         nothing: what it claims
//	'c' ‖ blob ‖ id         keep: who claims a blob
//	'l' ‖ blob              time of the last release (8): a cached blob
//
// where id is the hash of the name and a blob is root ‖ size. Times are Unix
// milliseconds.
const (
	claimHeld     = 0
	claimReleased = 1
)

func claimID(who string) []byte {
	h := work.Sum("gotong/blob/claim", []byte(who))
	return h[:]
}

func joined(kind byte, parts ...[]byte) []byte {
	return append([]byte{kind}, bytes.Join(parts, nil)...)
}

func blobKey(b work.BlobID) []byte { return smallKey(b)[1:] }

func blobOfKey(k []byte) (b work.BlobID, ok bool) {
	if len(k) != len(b.Root)+8 {
		return b, false
	}
	copy(b.Root[:], k)
	b.Size = binary.BigEndian.Uint64(k[len(b.Root):])
	return b, true
}

func nowMillis() []byte { return binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli())) }

// Claim implements Claimer.
func (s *FileStore) Claim(who string, keep Keep, bs ...work.BlobID) error {
	s.claiming.Lock()
	defer s.claiming.Unlock()
	return s.small.use(func(db *pebble.DB) error {
		batch := db.NewBatch()
		defer batch.Close()
		id := claimID(who)
		sync := false
		for _, b := range bs {
			if b == empty {
				continue
			}
			if there, err := exists(db, joined('c', blobKey(b), id)); err != nil || there {
				if err != nil {
					return err
				}
				continue
			}
			batch.Set(joined('c', blobKey(b), id), []byte{byte(keep)}, nil)
			batch.Set(joined('o', id, blobKey(b)), nil, nil)
			batch.Delete(joined('l', blobKey(b)), nil)
			// A small blob is synced in the same log after its claim; a file is not.
			sync = sync || b.Size > smallBytes
		}
		if batch.Empty() {
			return nil
		}
		if there, err := exists(db, joined('n', id)); err != nil {
			return err
		} else if !there {
			batch.Set(joined('n', id), joined(claimHeld, nowMillis(), []byte(who)), nil)
		}
		return claimError(batch.Commit(&pebble.WriteOptions{Sync: sync}))
	})
}

func claimError(err error) error {
	if err != nil {
		return fmt.Errorf("keep who claims blobs: %w", diskError(err))
	}
	return nil
}

func exists(db *pebble.DB, key []byte) (bool, error) {
	_, c, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, claimError(err)
	}
	return true, c.Close()
}

// Release implements Claimer.
func (s *FileStore) Release(who string) error {
	id := claimID(who)
	s.claiming.Lock()
	found := false
	err := s.small.use(func(db *pebble.DB) (err error) {
		if found, err = exists(db, joined('n', id)); err != nil || !found {
			return err
		}
		// From here on it is released, whatever happens.
		return claimError(db.Set(joined('n', id), joined(claimReleased, nowMillis(), []byte(who)), pebble.Sync))
	})
	s.claiming.Unlock()
	if err != nil || !found {
		return err
	}
	if err := s.wipe(id); err != nil {
		return fmt.Errorf("wipe what was kept for %s: %w", who, err)
	}
	return s.boundCache()
}

// wipe takes a released claim away, step by step.
func (s *FileStore) wipe(id []byte) error {
	for more := true; more; {
		var err error
		if more, err = s.wipeStep(id); err != nil {
			return err
		}
	}
	return nil
}

func (s *FileStore) wipeStep(id []byte) (more bool, err error) {
	s.claiming.Lock()
	defer s.claiming.Unlock()
	var gone, left []work.BlobID
	err = s.small.use(func(db *pebble.DB) error {
		prefix := joined('o', id)
		return scan(db, prefix, func(k, _ []byte) (bool, error) {
			b, ok := blobOfKey(k[len(prefix):])
			if !ok {
				return false, fmt.Errorf("%w: a claim's key of %d bytes", ErrCorrupt, len(k))
			}
			keep, others, err := otherClaims(db, b, id)
			switch {
			case err != nil:
				return false, err
			case others:
			case keep == Cache:
				left = append(left, b)
			default:
				gone = append(gone, b)
			}
			more = len(gone)+len(left) >= claimStep
			return !more, nil
		})
	})
	if err != nil {
		return false, err
	}
	// The content first: if we die here, the claim says what is still to go.
	if err := s.Delete(gone...); err != nil {
		return false, err
	}
	return more, s.small.use(func(db *pebble.DB) error {
		batch := db.NewBatch()
		defer batch.Close()
		for _, b := range append(gone, left...) {
			batch.Delete(joined('o', id, blobKey(b)), nil)
			batch.Delete(joined('c', blobKey(b), id), nil)
		}
		for _, b := range left {
			batch.Set(joined('l', blobKey(b)), nowMillis(), nil)
		}
		if !more { // what others claim too
			prefix := joined('o', id)
			err := scan(db, prefix, func(k, _ []byte) (bool, error) {
				batch.Delete(joined('c', k[len(prefix):], id), nil)
				return true, nil
			})
			if err != nil {
				return err
			}
			batch.DeleteRange(prefix, after(prefix), nil)
			batch.Delete(joined('n', id), nil)
		}
		return claimError(batch.Commit(pebble.NoSync))
	})
}

// otherClaims reports whether somebody besides id claims a blob, and how id does.
func otherClaims(db *pebble.DB, b work.BlobID, id []byte) (keep Keep, others bool, err error) {
	prefix := joined('c', blobKey(b))
	err = scan(db, prefix, func(k, v []byte) (bool, error) {
		if !bytes.Equal(k[len(prefix):], id) {
			others = true
			return false, nil
		}
		if len(v) == 1 {
			keep = Keep(v[0])
		}
		return true, nil
	})
	return keep, others, err
}

// scan calls f for the records with a prefix until it says false; the slices are
// f's only until it returns.
func scan(db *pebble.DB, prefix []byte, f func(k, v []byte) (bool, error)) (err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return claimError(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return claimError(err)
		}
		if more, err := f(it.Key(), v); err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// after is the first key behind all that start with prefix, which is not all 0xff.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// Claims implements Claimer.
func (s *FileStore) Claims(prefix string) (names []string, err error) {
	err = s.eachClaim(func(c claim) {
		if !c.released && strings.HasPrefix(c.who, prefix) {
			names = append(names, c.who)
		}
	})
	return names, err
}

// claim is one record of a claimant.
type claim struct {
	who      string
	released bool
	since    time.Time
}

func (s *FileStore) eachClaim(f func(claim)) error {
	return s.small.use(func(db *pebble.DB) error {
		return scan(db, []byte{'n'}, func(_, v []byte) (bool, error) {
			if len(v) < 9 {
				return false, fmt.Errorf("%w: a claim of %d bytes", ErrCorrupt, len(v))
			}
			f(claim{string(v[9:]), v[0] == claimReleased, time.UnixMilli(int64(binary.BigEndian.Uint64(v[1:])))})
			return true, nil
		})
	})
}

// finishWipes goes on with what a killed process was wiping.
func (s *FileStore) finishWipes() error {
	var open []string
	err := s.eachClaim(func(c claim) {
		if c.released {
			open = append(open, c.who)
		}
	})
	for _, who := range open {
		err = errors.Join(err, s.wipe(claimID(who)))
	}
	return err
}

// sweep wipes what was pushed and never became a job's, and unfinished blobs that
// nobody came back for.
func (s *FileStore) sweep(now time.Time) error {
	var old []string
	err := s.eachClaim(func(c claim) {
		if strings.HasPrefix(c.who, pushClaim) && now.Sub(c.since) > pushLife {
			old = append(old, c.who)
		}
	})
	for _, who := range old {
		err = errors.Join(err, s.Release(who))
	}
	s.parting.Lock()
	s.boundParts()
	s.parting.Unlock()
	return err
}

// sweeper sweeps from time to time until the store closes.
func (s *FileStore) sweeper() {
	defer close(s.swept)
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-s.small.stop:
			return
		case now := <-t.C:
			if err := s.sweep(now); err != nil && !errors.Is(err, errStoreClosed) {
				s.log.Error("cannot wipe old blobs: trying again", "err", err)
			}
		}
	}
}

// cached are the blobs without a claim that stay while there is room, the one that
// was released longest ago first.
func (s *FileStore) cached() (out []work.BlobID, total uint64, err error) {
	type entry struct {
		b    work.BlobID
		used uint64
	}
	var all []entry
	err = s.small.use(func(db *pebble.DB) error {
		return scan(db, []byte{'l'}, func(k, v []byte) (bool, error) {
			if b, ok := blobOfKey(k[1:]); ok && len(v) == 8 {
				all = append(all, entry{b, binary.BigEndian.Uint64(v)})
				total += b.Size
			}
			return true, nil
		})
	})
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.used, b.used) })
	for _, e := range all {
		out = append(out, e.b)
	}
	return out, total, err
}

// boundCache keeps the cache within its bound.
func (s *FileStore) boundCache() error {
	s.claiming.Lock()
	defer s.claiming.Unlock()
	old, total, err := s.cached()
	for _, b := range old {
		if err != nil || total <= s.maxCache {
			return err
		}
		err = s.uncache(b)
		total -= b.Size
	}
	return err
}

// uncache deletes a cached blob; s.claiming is held.
func (s *FileStore) uncache(b work.BlobID) error {
	if err := s.Delete(b); err != nil {
		return err
	}
	return s.small.use(func(db *pebble.DB) error { return claimError(db.Delete(joined('l', blobKey(b)), pebble.NoSync)) })
}

// makeRoom frees at least n bytes if that can be done without harm: cached programs
// first, then unfinished blobs that nobody fetches, then what was pushed and belongs
// to no job, the largest pusher's first. It reports whether it freed anything.
func (s *FileStore) makeRoom(n uint64) bool {
	before := s.space.used()
	enough := func() bool { return before >= s.space.used()+n }
	s.claiming.Lock()
	old, _, err := s.cached()
	for _, b := range old {
		if err != nil || enough() {
			break
		}
		err = s.uncache(b)
	}
	s.claiming.Unlock()
	if !enough() {
		s.parting.Lock()
		for _, p := range s.idleParts() {
			if !enough() {
				s.forgetPart(p)
			}
		}
		s.parting.Unlock()
	}
	for err == nil && !enough() {
		var who string
		if who, err = s.largestPush(); who == "" {
			break
		}
		err = errors.Join(err, s.Release(who))
	}
	if err != nil {
		s.log.Error("cannot make room for blobs", "err", err)
	}
	return s.space.used() < before
}

// largestPush is the claim of pushed blobs with the most bytes; empty if there is
// none.
func (s *FileStore) largestPush() (who string, err error) {
	names, err := s.Claims(pushClaim)
	var most uint64
	for _, name := range names {
		var n uint64
		prefix := joined('o', claimID(name))
		err = errors.Join(err, s.small.use(func(db *pebble.DB) error {
			return scan(db, prefix, func(k, _ []byte) (bool, error) {
				if b, ok := blobOfKey(k[len(prefix):]); ok {
					n += b.Size
				}
				return true, nil
			})
		}))
		if n >= most {
			who, most = name, n
		}
	}
	return who, err
}
