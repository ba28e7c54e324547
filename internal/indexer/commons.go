package indexer

import (
	"errors"
	"math"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Items of the commons are drawn by the chain's beacon: this indexer hands out none
// of them. It takes the results of whoever brings them, learns from the chain which
// were paid, and gives them to everybody.

// maxDrawn bounds the items of one job that a provider may have here and that are
// not verified: twice what two epochs can draw for it, and some more. What it invents
// is never paid, and must not fill the store.
func (x *Indexer) maxDrawn() uint64 {
	return 1024 + 4*lifecycle.CommonsDraws*min(x.params.CommonsChunkItems, 1<<20)
}

// drawn takes results of the commons as if their items had been assigned: whether
// they were drawn for the provider the chain says, when it commits. What failed on
// its host is nobody's business here.
func (x *Indexer) drawn(j *job, p *peer, d *delivery) {
	d.failures = nil
	s := j.state.byAddr[p.addr]
	if s != nil && j.state.verified.without(s.have.set()).Len() > x.maxDrawn() {
		d.runs = nil
	}
	if len(d.runs) == 0 {
		return
	}
	var items work.RangeSet
	for _, u := range d.runs {
		items = append(items, u.items)
	}
	items = work.NewRangeSet(items...)
	if s != nil {
		for _, had := range []*spans{&s.out, &s.have, &s.late, &s.won} {
			items = had.without(items)
		}
	}
	if len(items) > 0 {
		x.record(j, &event{Kind: evAssign, Provider: p.addr, Items: items, Expires: math.MaxInt64 / 4})
	}
}

// openOp is what everybody may ask about a job of the commons.
func openOp(op wire.Op) bool {
	return op == wire.OpWatch || op == wire.OpResults || op == wire.OpExplain
}

// errCommons is told to whoever wants to steer a job of the commons.
var errCommons = errors.New("this job belongs to the commons: the chain opens and closes it, and its results stay")
