package provider

import (
	"fmt"

	"github.com/gotong-network/gotong/work"
)

// An assignment is renewed by another one of the same items, attempt and price that
// is valid for longer: by the indexer that signed the first, or by the one that took
// the job over. What is queued goes on under it, and what has run is committed with
// it.

// renews reports whether a is a renewal of o for some items.
func renews(a, o *work.Assignment) bool {
	return a.Attempt == o.Attempt && a.Price == o.Price && a.ExpiresHeight > o.ExpiresHeight
}

// renewsLocked reports whether a renews an assignment of which something is queued,
// runs, or waits to be committed.
func (j *job) renewsLocked(a *work.Assignment) bool {
	for _, as := range j.assigns {
		if renews(a, &as.a) && (len(as.todo.Intersect(a.Ranges)) > 0 || as.running > 0 && len(as.a.Ranges.Intersect(a.Ranges)) > 0) {
			return true
		}
	}
	for _, c := range j.loose {
		if renews(a, &c.as.a) && len(c.items.Minus(a.Ranges)) == 0 {
			return true
		}
	}
	return false
}

// renewLocked moves queued items to the assignment that renews theirs.
func (j *job) renewLocked(as *assign) {
	for _, o := range j.assigns {
		if !renews(&as.a, &o.a) {
			continue
		}
		moved := o.todo.Intersect(as.a.Ranges)
		o.todo = o.todo.Minus(moved)
		as.todo = as.todo.Union(moved)
	}
}

// renewLoose lets finished chunks be committed with the assignment that is valid
// longest.
func (p *Provider) renewLoose(j *job) error {
	type swap struct {
		c  *chunk
		to *assign
	}
	var swaps []swap
	p.mu.Lock()
	for _, c := range j.loose {
		best := c.as
		for _, as := range j.assigns {
			if as.by == j.indexer && renews(&as.a, &best.a) && len(c.items.Minus(as.a.Ranges)) == 0 {
				best = as
			}
		}
		if best != c.as {
			swaps = append(swaps, swap{c, best})
		}
	}
	p.mu.Unlock()
	if len(swaps) == 0 {
		return nil
	}
	w := p.store.NewBatch()
	for _, s := range swaps {
		raw, err := p.store.Get(chunkKey(j.id, s.c.seq))
		if err != nil {
			return fmt.Errorf("%w: %w", errRecords, err)
		}
		frame, err := chunkFrame(raw)
		if err != nil {
			return fmt.Errorf("%w: %w", errRecords, err)
		}
		w.Set(chunkKey(j.id, s.c.seq), encodeChunk(&chunk{as: s.to, since: s.c.since}, frame))
	}
	if err := w.Commit(); err != nil {
		return fmt.Errorf("%w: %w", errRecords, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range swaps {
		s.c.as = s.to
	}
	return nil
}
