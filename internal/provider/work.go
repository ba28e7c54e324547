package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gotong-network/gotong/internal/execute"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

const (
	// A worker takes as many items at once as fit into pieceTime, so that short
	// items cost little besides their run and long ones are spread evenly.
	pieceTime     = time.Millisecond
	maxPieceItems = 128
	// Outputs of at most wire.MaxInlineBytes travel in the receipt, and are kept in
	// its record, as long as one item's do not exceed this.
	maxItemInline = 256 << 10
	expireWhy     = "the assignment expired before the item ran"
)

// piece is a few items of one assignment in a worker's hands, then what they gave.
type piece struct {
	as     *assign
	items  []uint64
	ran    []ran
	failed []failed
}

type ran struct {
	result work.Result
	inline [][]byte
	bytes  int // rough size in a receipt
}

type failed struct {
	item    uint64
	refused bool
	why     string
	taken   bool // it was run, and all paid copies of it are in batches of others
}

// worker runs pieces until the provider ends.
func (p *Provider) worker(ctx context.Context) {
	for {
		pc := p.take()
		if pc == nil {
			return
		}
		work := p.run
		if pc.as.job.commons {
			work = p.runCommons
		}
		something := work(ctx, pc)
		p.mu.Lock()
		p.taken--
		p.mu.Unlock()
		if !something {
			continue
		}
		select {
		case p.done <- pc:
		case <-ctx.Done():
			return // not on disk: the next start runs it again
		}
	}
}

// take waits for the next piece, from the jobs in turn; nil at the end.
func (p *Provider) take() *piece {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.stopped {
			return nil
		}
		if p.taken < p.openSlotsLocked() {
			if pc := p.nextLocked(false); pc != nil {
				p.taken++
				p.busy++
				nudge(p.loadMoved)
				return pc
			}
			if p.queued == 0 {
				if pc := p.nextLocked(true); pc != nil {
					p.taken++
					return pc
				}
				nudge(p.idleSoon)
			}
		}
		p.ready.Wait()
	}
}

// nextLocked gives the next piece of the paid jobs, or of the commons.
func (p *Provider) nextLocked(commons bool) *piece {
	for range p.ring {
		p.turn = (p.turn + 1) % len(p.ring)
		j := p.ring[p.turn]
		if j.state != jobReady || j.queued == 0 || j.commons != commons || j.unpaid > 0 {
			continue
		}
		for ; j.first < len(j.assigns); j.first++ {
			as := j.assigns[j.first]
			if len(as.todo) == 0 {
				continue
			}
			if !j.offChain && as.a.ExpiresHeight <= p.height.Load() {
				todo := as.todo
				p.unqueueLocked(as, todo)
				p.rejectLocked(j, &as.a, todo, expireWhy, false)
				continue
			}
			return p.cutLocked(as)
		}
	}
	return nil
}

// cutLocked takes the first items of an assignment's queue.
func (p *Provider) cutLocked(as *assign) *piece {
	j, n := as.job, 1
	if j.itemSec > 0 {
		n = int(min(maxPieceItems, max(1, pieceTime.Seconds()/j.itemSec)))
	}
	// Leave something for the other slots.
	n = min(n, int(j.queued)/p.slots()+1)
	pc := &piece{as: as, items: make([]uint64, 0, n)}
	for len(as.todo) > 0 && len(pc.items) < n {
		r := &as.todo[0]
		pc.items = append(pc.items, r.Lo)
		if r.Lo++; r.Lo == r.Hi {
			as.todo = as.todo[1:]
		}
	}
	k := uint64(len(pc.items))
	j.queued -= k
	if !j.commons {
		p.queued -= k
	}
	j.running += k
	as.running += int(k)
	return pc
}

// run runs a piece's items one after the other, until a pause: what was not run
// then goes back to the indexer. What ctx cut short is in neither list. It reports
// whether there is anything to write.
func (p *Provider) run(ctx context.Context, pc *piece) bool {
	call, end := p.begin(ctx, pc)
	defer end()
	j := pc.as.job
	start, done := time.Now(), 0
	var fuel work.Fuel
	for _, i := range pc.items {
		r, err := p.runItem(call, j, i)
		if err != nil && call.Err() != nil {
			break
		}
		if err == nil {
			fuel += r.result.Leaf.Fuel
			pc.ran = append(pc.ran, r)
		} else {
			pc.failed = append(pc.failed, p.failure(j, i, err))
		}
		done++
	}
	if ctx.Err() != nil {
		return true // the writer ends too
	}
	took := time.Since(start)
	p.measure(fuel, took)
	p.mu.Lock()
	defer p.mu.Unlock()
	if done > 0 {
		sec := took.Seconds() / float64(done)
		if j.itemSec > 0 {
			sec = 0.8*j.itemSec + 0.2*sec
		}
		j.itemSec = sec
	}
	p.handBackLocked(pc, done)
	p.busy--
	nudge(p.loadMoved)
	return done > 0
}

func (p *Provider) runItem(ctx context.Context, j *job, i uint64) (ran, error) {
	r, err := j.prog.Run(ctx, i)
	if err != nil {
		return ran{}, err
	}
	out := ran{result: work.Result{Index: i, Leaf: r.Leaf, Output: r.Output}, bytes: work.LeafSize + 100}
	for _, f := range r.Output.Files {
		out.bytes += 48 + len(f.Path)
	}
	inline := 0
	for id, b := range r.Bytes {
		if len(b) <= wire.MaxInlineBytes && inline+len(b) <= maxItemInline {
			inline += len(b)
			out.inline = append(out.inline, b)
			continue
		}
		if err := p.execute.Claim(j.id, id); err != nil {
			return ran{}, &runtime.HostFault{Err: fmt.Errorf("keep output %s: %w", id, err)}
		}
		if _, err := p.Blobs.Put(b); err != nil {
			return ran{}, &runtime.HostFault{Err: fmt.Errorf("keep output %s: %w", id, err)}
		}
	}
	out.bytes += inline
	return out, nil
}

// failure tells what the client's program or list is at fault for from what this
// host is.
func (p *Provider) failure(j *job, i uint64, err error) failed {
	var refused *runtime.Refused
	final := errors.As(err, &refused) || errors.Is(err, execute.ErrBadList)
	if !final {
		p.log.Warn("item gave no result here", "job", j.id.Short(), "item", i, "err", err)
	}
	if refused != nil {
		p.mu.Lock()
		if j.state == jobReady {
			p.refuseLocked(j, refused.Error(), true)
		}
		p.mu.Unlock()
	}
	return failed{item: i, refused: final, why: err.Error()}
}
