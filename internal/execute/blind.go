package execute

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Duty is what one account must re-execute of a batch.
type Duty struct {
	Positions []uint64 // places in the batch's tree, in the order of the leaves to commit
	Committed bool     // the chain has the commitment
	Revealed  bool     // the chain has the leaves: nothing is left to do
	Over      bool     // missed or decided: nothing can be done any more
	Deadline  int64    // last height at which the commitment counts
	// Delivery asks in place of a run whether the output of the one position can be
	// fetched: the leaf is its provider's.
	Delivery *work.Leaf
}

// Game is the commit–reveal play of one role: which phases of a batch concern
// it, and its two messages.
type Game struct {
	Name   string          // for the log: check, vote
	Commit lifecycle.Phase // in which commitments count
	Reveal lifecycle.Phase // in which leaves count
	// Concerns reports whether an event may bring a new duty for this account.
	Concerns func(e ledger.Event) bool
	// Duty is this account's part of b, false if it has none.
	Duty       func(b *lifecycle.Batch) (Duty, bool)
	Commitment func(batch work.BatchID, leaves []work.Leaf, salt work.Hash) work.Hash
	CommitMsg  func(batch work.BatchID, commitment work.Hash) ledger.Msg
	RevealMsg  func(batch work.BatchID, salt work.Hash, leaves []work.Leaf) ledger.Msg
}

// BlindConfig is what a Blind needs; every field but Log, Parallel and Poll is
// required.
type BlindConfig struct {
	Chain   string
	Account work.Address
	Ledger  ledger.Ledger
	Execute *Executor
	// Holders says who may have a job's program, list and inputs, and a batch's
	// outputs.
	Holders func(ctx context.Context, j *lifecycle.Job, b *lifecycle.Batch) []p2p.Peer
	// Deliver fetches the output of item i, which leaf names, from holders and keeps
	// it; nil for roles without Duty.Delivery.
	Deliver  func(ctx context.Context, j *lifecycle.Job, i uint64, leaf work.Leaf, holders []p2p.Peer) error
	Dir      string        // records; made if missing
	Parallel int           // items run at once; 0: the runtime's slots
	Poll     time.Duration // how often an open duty asks the chain without an event; 0: 5 s
	Retain   time.Duration // how long a job's data stays after it was seen to be closed; 0: 10 min
	Remember int           // leaves kept by input digest, so that one item runs once; 0: none
	Log      *slog.Logger
}

// Blind re-executes items without knowing anybody's leaves: it commits to what
// it got, and reveals when the chain asks. What it committed to is durable
// before the chain hears of it. What it could not fetch, after trying until three
// quarters of its time were over, it commits as lifecycle.Unavailable.
type Blind struct {
	BlindConfig
	game  Game
	store *Store
	slots chan struct{} // one per item that runs

	height atomic.Int64 // newest block seen
	wg     sync.WaitGroup

	keeping sync.RWMutex // held by Keep and Kept, and to close the store
	closed  bool         // the store is closed; guarded by keeping

	mu     sync.Mutex // guards the fields below
	duties map[work.BatchID]chan struct{}
	known  map[work.Hash]work.Leaf // by input digest, of items run here
}

// NewBlind opens the records in cfg.Dir; Run closes them.
func NewBlind(cfg BlindConfig, g Game) (*Blind, error) {
	if cfg.Chain == "" || cfg.Account == "" || cfg.Ledger == nil || cfg.Execute == nil || cfg.Holders == nil || cfg.Dir == "" {
		return nil, fmt.Errorf("%s: chain, account, ledger, executor, holders and folder are required", g.Name)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = max(1, cfg.Execute.Slots())
	}
	if cfg.Retain <= 0 {
		cfg.Retain = 10 * time.Minute
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 5 * time.Second
	}
	s, err := OpenStore(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, err
	}
	return &Blind{BlindConfig: cfg, game: g, store: s, slots: make(chan struct{}, cfg.Parallel), duties: map[work.BatchID]chan struct{}{}, known: map[work.Hash]work.Leaf{}}, nil
}

// Run plays until ctx ends, waits for what it started and closes the records. It
// is called once.
func (b *Blind) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		b.wg.Wait()
		b.keeping.Lock()
		defer b.keeping.Unlock()
		b.closed = true
		err = errors.Join(err, b.store.Close())
	}()
	if err := b.resume(ctx); err != nil {
		return err
	}
	b.wg.Go(func() { b.wiper(ctx) })
	return Follow(ctx, b.Ledger, b.store, b.Log, func(bl ledger.Block) error { return b.block(ctx, bl) }, func() { b.wakeAll() })
}

// block takes the events of a block in.
func (b *Blind) block(ctx context.Context, bl ledger.Block) error {
	b.height.Store(bl.Height)
	for _, e := range bl.Events {
		if e.Kind != lifecycle.EventBatch {
			continue
		}
		if err := b.hear(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

var dutyPrefix = []byte("d/")

func dutyKey(id work.BatchID) []byte { return append(bytes.Clone(dutyPrefix), id[:]...) }

// resume takes up the duties that were open when the role stopped.
func (b *Blind) resume(ctx context.Context) error {
	return b.store.Scan(dutyPrefix, func(k, _ []byte) error {
		var id work.BatchID
		if len(k) != len(dutyPrefix)+len(id) {
			return fmt.Errorf("%s: %w", b.game.Name, ErrDamaged)
		}
		copy(id[:], k[len(dutyPrefix):])
		b.start(ctx, id)
		return nil
	})
}

// hear notes a duty, or wakes the one that is open. The note is written before the duty
// begins, and not with the block: it would take the place of leaves that were sealed
// meanwhile. What is written later, the height of the block too, is not durable before it.
func (b *Blind) hear(ctx context.Context, e ledger.Event) error {
	if b.wake(e.Batch) || !b.game.Concerns(e) {
		return nil
	}
	w := b.store.NewBatch()
	w.Set(dutyKey(e.Batch), nil)
	if err := w.CommitLazy(); err != nil {
		return err
	}
	b.start(ctx, e.Batch)
	return nil
}

func (b *Blind) wake(id work.BatchID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch, ok := b.duties[id]
	if ok {
		nudge(ch)
	}
	return ok
}

func (b *Blind) wakeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ch := range b.duties {
		nudge(ch)
	}
}

func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (b *Blind) start(ctx context.Context, id work.BatchID) {
	ch := make(chan struct{}, 1)
	b.mu.Lock()
	b.duties[id] = ch
	b.mu.Unlock()
	b.wg.Go(func() {
		for {
			b.play(ctx, id, ch)
			if ctx.Err() != nil {
				return // still open: the next run goes on
			}
			if b.finish(id, ch) {
				return
			}
		}
	})
}

// finish forgets a duty, unless an event about it came in meanwhile.
func (b *Blind) finish(id work.BatchID, ch <-chan struct{}) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-ch:
		return false
	default:
	}
	delete(b.duties, id)
	w := b.store.NewBatch()
	w.Delete(dutyKey(id))
	if err := w.CommitLazy(); err != nil {
		b.Log.Error("cannot forget a finished duty", "duty", b.game.Name, "batch", id.Short(), "err", err)
	}
	return true
}

// play sees one duty through: until it is done, over, or ctx ends.
func (b *Blind) play(ctx context.Context, id work.BatchID, wake <-chan struct{}) {
	wait := 200 * time.Millisecond
	t := &try{leaves: map[uint64]work.Leaf{}}
	for ctx.Err() == nil {
		done, err := b.step(ctx, id, t)
		if done || ctx.Err() != nil {
			return
		}
		pause := b.Poll
		if err != nil {
			b.Log.Warn(b.game.Name+" failed: trying again until its deadline", "batch", id.Short(), "err", err)
			pause, wait = wait, min(2*wait, 2*time.Second)
		}
		b.pause(ctx, pause, wake, t, err)
	}
}

// pause waits: for an event, for the time given, and if something could not be
// fetched also for the height at which it is tried for the last time.
func (b *Blind) pause(ctx context.Context, d time.Duration, wake <-chan struct{}, t *try, err error) {
	last := context.Background()
	if errors.Is(err, ErrUnavailable) {
		var cancel context.CancelFunc
		last, cancel = b.until(ctx, t.last)
		defer cancel()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	case <-last.Done():
	case <-ctx.Done():
	}
}

// step asks the chain where the batch stands and does what is due.
func (b *Blind) step(ctx context.Context, id work.BatchID, t *try) (done bool, err error) {
	batch, err := b.Ledger.Batch(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	d, mine := b.game.Duty(batch)
	if !mine || d.Revealed || d.Over || batch.Phase.Final() {
		return true, nil
	}
	switch {
	case batch.Phase == b.game.Commit && !d.Committed:
		if b.height.Load() > d.Deadline {
			b.Log.Error(b.game.Name+" missed: its deadline has passed", "batch", id.Short(), "deadline", d.Deadline)
			return true, nil
		}
		return b.commit(ctx, batch, d, t)
	case batch.Phase == b.game.Reveal && d.Committed:
		return b.reveal(ctx, batch)
	case batch.Phase > b.game.Reveal || batch.Phase > b.game.Commit && !d.Committed:
		b.Log.Warn(b.game.Name+" came too late", "batch", id.Short(), "phase", batch.Phase.String())
		return true, nil
	}
	return false, nil
}

// commit re-executes, stores and commits.
func (b *Blind) commit(ctx context.Context, batch *lifecycle.Batch, d Duty, t *try) (done bool, err error) {
	leaves, salt, err := b.sealed(batch.ID)
	if err != nil {
		return false, err
	}
	if len(leaves) != len(d.Positions) {
		if leaves, err = b.run(ctx, batch, d, t); err != nil {
			return false, err
		}
		if salt, err = NewSalt(); err != nil {
			return false, err
		}
		if err := b.seal(batch.ID, leaves, salt); err != nil {
			return false, err
		}
	}
	_, err = b.Ledger.Submit(ctx, b.Account, b.game.CommitMsg(batch.ID, b.game.Commitment(batch.ID, leaves, salt)))
	if refused(err) {
		// Our own earlier message may have been included, or the wait is over: what
		// the chain says now decides.
		b.Log.Warn(b.game.Name+" refused by the chain", "job", batch.Job.Short(), "batch", batch.ID.Short(), "err", err)
	}
	if err == nil {
		b.Log.Info(b.game.Name+" committed", "job", batch.Job.Short(), "batch", batch.ID.Short(), "items", len(leaves))
	}
	return false, err
}

// reveal says what was committed to. It is called only in the revealing phase.
func (b *Blind) reveal(ctx context.Context, batch *lifecycle.Batch) (done bool, err error) {
	leaves, salt, err := b.sealed(batch.ID)
	if err != nil {
		return false, err
	}
	if leaves == nil {
		b.Log.Error("the leaves behind our own "+b.game.Name+" are gone: was the folder replaced?", "batch", batch.ID.Short())
		return true, nil
	}
	if _, err := b.Ledger.Submit(ctx, b.Account, b.game.RevealMsg(batch.ID, salt, leaves)); err != nil {
		return false, err
	}
	b.Log.Info(b.game.Name+" revealed", "job", batch.Job.Short(), "batch", batch.ID.Short())
	return true, nil
}

// seal stores what will be committed to, before anybody hears of it.
func (b *Blind) seal(id work.BatchID, leaves []work.Leaf, salt work.Hash) error {
	var e work.Encoder
	e.Hash(salt)
	e.U32(uint32(len(leaves)))
	for _, l := range leaves {
		e.Bool(l == lifecycle.Unavailable)
		if l != lifecycle.Unavailable {
			l.Encode(&e)
		}
	}
	w := b.store.NewBatch()
	w.Set(dutyKey(id), e.Bytes())
	return w.Commit()
}

// sealed gives what seal stored, nil leaves if nothing was.
func (b *Blind) sealed(id work.BatchID) (leaves []work.Leaf, salt work.Hash, err error) {
	raw, err := b.store.Get(dutyKey(id))
	if err != nil || len(raw) == 0 {
		return nil, work.Hash{}, err
	}
	d := work.NewDecoder(raw)
	salt = d.Hash()
	for range d.Count(len(raw), 1) {
		if d.Bool() {
			leaves = append(leaves, lifecycle.Unavailable)
		} else {
			leaves = append(leaves, work.DecodeLeaf(d))
		}
	}
	if d.Done() != nil {
		return nil, work.Hash{}, fmt.Errorf("%s of batch %s: %w", b.game.Name, id.Short(), ErrDamaged)
	}
	return leaves, salt, nil
}

// Keep stores a record of the role's own under a key that starts with "o/"; beyond
// most of them others go. Kept gives it, nil if there is none.
func (b *Blind) Keep(key, value []byte, most int) error {
	b.keeping.Lock()
	defer b.keeping.Unlock()
	w := b.store.NewBatch()
	n := 0
	err := b.store.Scan([]byte("o/"), func(k, _ []byte) error {
		if n++; n >= most && !bytes.Equal(k, key) {
			w.Delete(bytes.Clone(k))
		}
		return nil
	})
	if err != nil {
		w.Drop()
		return err
	}
	w.Set(key, value)
	return w.Commit()
}

// Kept gives what Keep stored.
func (b *Blind) Kept(key []byte) ([]byte, error) {
	b.keeping.RLock()
	defer b.keeping.RUnlock()
	if b.closed {
		return nil, nil
	}
	return b.store.Get(key)
}

func refused(err error) bool {
	return errors.Is(err, ledger.ErrRefused) || errors.Is(err, ledger.ErrFunds)
}

// NewSalt draws 32 secret random bytes.
func NewSalt() (h work.Hash, err error) {
	if _, err := rand.Read(h[:]); err != nil {
		return h, fmt.Errorf("draw a salt: %w", err)
	}
	return h, nil
}
