package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// verifier decides which items are verified. It takes what an indexer says as a
// claim, and proves it:
//
//   - a result counts only if its leaf names this item's own input digest and its
//     output has the leaf's digest;
//   - it is verified only once a batch that the chain has settled holds it: the
//     tree over the leaves at hand, under the salt that the chain saw, must have
//     the root that was paid for.
//
// A leaf is what executing the item gives, so one leaf may prove an item in
// several batches (paid copies). Tier none has no chain: there the client's own
// providers are believed, and only the first check is made.
type verifier struct {
	id      work.JobID
	spec    work.JobSpec
	list    *work.ItemList
	program work.ProgramID
	log     func(msg string, args ...any)

	pages   map[uint64]*page
	results map[uint64]*wire.Update   // of items that are not proven yet
	batches map[work.BatchID]*pending // claimed to be settled
	done    map[work.BatchID]bool     // proven or refuted
	failed  map[uint64]string         // why
	proven  spanList
}

// pageItems is how many items one page of a verifier knows.
const pageItems = 1024

type page [pageItems]known

// known is what is kept of one item for good.
type known struct {
	leaf  work.Hash
	fuel  work.Fuel
	state wire.ItemState // ItemVerified: proven here
	have  bool           // leaf and fuel are set
	claim bool           // the indexer says that it is verified
}

// pending is a batch whose root is to be recomputed.
type pending struct {
	chain   *lifecycle.Batch // nil: not settled as far as our node knows
	missing uint64           // items without a claim
	asked   bool             // results were asked for once more
	// given are results of items that its provider, or a decided dispute, has proven to
	// be in its tree: they need no other leaf.
	given []*wire.Update
}

func newVerifier(spec work.JobSpec, list *work.ItemList, log func(string, ...any)) *verifier {
	return &verifier{
		id: spec.ID(), spec: spec, list: list, program: spec.ProgramID(), log: log,
		pages: map[uint64]*page{}, results: map[uint64]*wire.Update{}, batches: map[work.BatchID]*pending{},
		done: map[work.BatchID]bool{}, failed: map[uint64]string{},
	}
}

func (v *verifier) at(i uint64) *known {
	p := v.pages[i/pageItems]
	if p == nil {
		p = new(page)
		v.pages[i/pageItems] = p
	}
	return &p[i%pageItems]
}

// resolved reports whether every item is verified or failed.
func (v *verifier) resolved() bool {
	return v.proven.n+uint64(len(v.failed)) == v.spec.ItemCount
}

// apply takes claims in and gives what changed for the user. Nothing in it is
// ItemVerified, except in tier none.
func (v *verifier) apply(us []wire.Update) (changed []wire.Update) {
	for i := range us {
		u := us[i]
		if u.Index >= v.spec.ItemCount {
			v.log("the indexer speaks of an item that the job does not have", "item", u.Index)
			continue
		}
		if c, ok := v.take(&u); ok {
			changed = append(changed, c)
		}
	}
	return changed
}

func (v *verifier) take(u *wire.Update) (wire.Update, bool) {
	k := v.at(u.Index)
	if k.state == wire.ItemVerified {
		return *u, false
	}
	if u.State == wire.ItemProvisional || u.State == wire.ItemVerified {
		if err := v.fits(u); err != nil {
			v.log("a result was dropped", "item", u.Index, "provider", u.Provider, "err", err)
			u.State, u.Result = wire.ItemAssigned, nil
		}
	}
	before := k.state
	delete(v.failed, u.Index)
	switch u.State {
	case wire.ItemProvisional, wire.ItemVerified:
		leaf := u.Result.Leaf
		k.leaf, k.fuel, k.have = leaf.Hash(), leaf.Fuel, true
		k.state = wire.ItemProvisional
		v.results[u.Index] = u
		v.claim(u.Index, k, u.State == wire.ItemVerified)
		if u.State == wire.ItemProvisional {
			return *u, true
		}
		return v.claimed(u, k, before)
	case wire.ItemFailed:
		v.failed[u.Index] = u.Why
	}
	v.claim(u.Index, k, false)
	k.state = u.State
	delete(v.results, u.Index)
	return *u, u.State != before
}

// claimed notes the batch that an item is said to have settled with.
func (v *verifier) claimed(u *wire.Update, k *known, before wire.ItemState) (wire.Update, bool) {
	if v.spec.Tier == work.TierNone {
		return v.prove(u.Index, k, ""), true
	}
	if v.done[u.Batch] { // what it holds is proven already: this item is not in it
		return v.refuteOne(u.Index, u, refuted), before != wire.ItemFailed
	}
	if v.batches[u.Batch] == nil {
		v.batches[u.Batch] = &pending{}
	}
	shown := *u
	shown.State = wire.ItemProvisional
	return shown, before != wire.ItemProvisional
}

// claim keeps the counts of claims per batch.
func (v *verifier) claim(i uint64, k *known, now bool) {
	if k.claim == now {
		return
	}
	k.claim = now
	for _, b := range v.batches {
		if b.chain == nil || !b.chain.Items.Contains(i) {
			continue
		}
		if now {
			b.missing--
		} else {
			b.missing++
		}
	}
}

// fits checks a result by itself.
func (v *verifier) fits(u *wire.Update) error {
	r := u.Result
	if r == nil || r.Index != u.Index {
		return errors.New("it has no result, or another item's")
	}
	it, err := v.list.Item(u.Index)
	if err != nil {
		return err
	}
	if it.InputDigest(v.program, v.spec.Limits, v.spec.Seed) != r.Leaf.Input {
		return errors.New("it is the result of another input")
	}
	if r.Output.Digest(r.Leaf.Outcome) != r.Leaf.Output {
		return errors.New("its output is not the one that its leaf names")
	}
	return nil
}

// prove makes an item verified.
func (v *verifier) prove(i uint64, k *known, provider work.Address) wire.Update {
	u := *v.results[i]
	u.State = wire.ItemVerified
	if provider != "" {
		u.Provider = provider
	}
	delete(v.results, i)
	delete(v.failed, i)
	k.state = wire.ItemVerified
	v.proven.add(i)
	return u
}

// settle looks claimed batches up on the chain and proves those whose items are
// all claimed. again are items whose results should be asked for once more.
func (v *verifier) settle(ctx context.Context, chain ledger.Reader) (changed []wire.Update, again work.RangeSet, err error) {
	for id, b := range v.batches {
		if b.chain == nil {
			if err := v.look(ctx, chain, id, b); err != nil {
				return changed, again, err
			}
		}
		if b.chain != nil {
			changed = append(changed, v.proveGiven(b)...)
		}
		if b.chain == nil || b.missing > 0 {
			continue
		}
		switch fits := v.root(b.chain); {
		case fits:
			changed = append(changed, v.proveBatch(b.chain)...)
			v.forget(id)
		case !b.asked:
			b.asked = true
			again = again.Union(b.chain.Items)
		default:
			changed = append(changed, v.refute(id, refuted)...)
		}
	}
	return changed, again, nil
}

// deliver takes a result that is proven to be an item's in an open batch. It counts
// once the batch is settled.
func (v *verifier) deliver(u *wire.Update) {
	if v.done[u.Batch] || v.at(u.Index).state == wire.ItemVerified {
		return
	}
	b := v.batches[u.Batch]
	if b == nil {
		b = &pending{}
		v.batches[u.Batch] = b
	}
	b.given = append(b.given, u)
}

// proveGiven makes the items verified that a settled batch's provider gave itself.
func (v *verifier) proveGiven(b *pending) (changed []wire.Update) {
	for _, u := range b.given {
		k := v.at(u.Index)
		if k.state == wire.ItemVerified {
			continue
		}
		k.leaf, k.fuel, k.have = u.Result.Leaf.Hash(), u.Result.Leaf.Fuel, true
		v.claim(u.Index, k, true)
		v.results[u.Index] = u
		changed = append(changed, v.prove(u.Index, k, u.Provider))
	}
	b.given = nil
	return changed
}

func (v *verifier) forget(id work.BatchID) {
	delete(v.batches, id)
	v.done[id] = true
}

// look reads a batch; one that is not settled yet stays unknown.
func (v *verifier) look(ctx context.Context, chain ledger.Reader, id work.BatchID, b *pending) error {
	c, err := chain.Batch(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("batch %s: %w", id.Short(), err)
	}
	if c.Job != v.id || c.Phase != lifecycle.Settled || c.N != c.Items.Len() || len(c.Items) == 0 || c.Items[len(c.Items)-1].Hi > v.spec.ItemCount {
		return nil
	}
	b.chain = c
	for _, r := range c.Items {
		for i := r.Lo; i < r.Hi; i++ {
			if !v.at(i).claim {
				b.missing++
			}
		}
	}
	return nil
}

// root reports whether the leaves at hand make the root that was paid for.
func (v *verifier) root(b *lifecycle.Batch) bool {
	nodes := make([]work.Node, 0, b.N)
	for _, r := range b.Items {
		for i := r.Lo; i < r.Hi; i++ {
			k := v.at(i)
			if !k.have {
				return false
			}
			nodes = append(nodes, work.ItemNode(k.fuel, k.leaf, work.ItemSalt(b.Salt, v.id, uint64(len(nodes)))))
		}
	}
	root, err := work.Root(nodes)
	return err == nil && root == b.Root
}

func (v *verifier) proveBatch(b *lifecycle.Batch) (changed []wire.Update) {
	for _, r := range b.Items {
		for i := r.Lo; i < r.Hi; i++ {
			if k := v.at(i); k.state != wire.ItemVerified {
				changed = append(changed, v.prove(i, k, b.Provider))
			}
		}
	}
	return changed
}

// refute fails the items that are claimed under a batch which does not hold them.
func (v *verifier) refute(id work.BatchID, why string) (changed []wire.Update) {
	for i, u := range v.results {
		if u.Batch != id || !v.at(i).claim {
			continue
		}
		changed = append(changed, v.refuteOne(i, u, why))
	}
	v.forget(id)
	return changed
}

const refuted = "its result is not the one that was checked and paid: the indexer or its store is at fault; retry it"

func (v *verifier) refuteOne(i uint64, u *wire.Update, why string) wire.Update {
	k := v.at(i)
	v.claim(i, k, false)
	k.state = wire.ItemFailed
	v.failed[i] = why
	delete(v.results, i)
	return wire.Update{Index: i, State: wire.ItemFailed, Provider: u.Provider, Attempt: u.Attempt, Batch: u.Batch, Why: why}
}

// refuteAll fails everything that is claimed and not proven.
func (v *verifier) refuteAll(why string) (changed []wire.Update) {
	for id := range v.batches {
		changed = append(changed, v.refute(id, why)...)
	}
	return changed
}

// spanList collects item numbers that mostly come in order.
type spanList struct {
	spans []work.Range
	n     uint64
}

func (s *spanList) add(i uint64) {
	s.n++
	if k := len(s.spans); k > 0 && s.spans[k-1].Hi == i {
		s.spans[k-1].Hi++
		return
	}
	s.spans = append(s.spans, work.Range{Lo: i, Hi: i + 1})
}

func (s *spanList) set() work.RangeSet { return work.NewRangeSet(s.spans...) }
