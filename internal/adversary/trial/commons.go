package trial

import (
	"errors"
	"fmt"
	"math"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// buckets is into how many parts the drawn chunks of the commons are counted.
const buckets = 10

// Drawn counts where the draws of the commons fell, of the attacker's identities
// and of all, and where they are expected to.
type Drawn struct{ Evil, Expected [buckets]float64 }

func (d *Drawn) add(o Drawn) {
	for i := range d.Evil {
		d.Evil[i] += o.Evil[i]
		d.Expected[i] += o.Expected[i]
	}
}

// chiSquare99_9 is the value that χ² with buckets−1 = 9 degrees of freedom exceeds
// with p = 0.001.
const chiSquare99_9 = 27.877

// chiSquare compares the counts with what is expected.
func (d *Drawn) chiSquare() (v float64) {
	for i, want := range d.Expected {
		if want > 0 {
			v += math.Pow(d.Evil[i]-want, 2) / want
		}
	}
	return v
}

// commons is the second part of attack 8: 50 identities of the farm draw from the
// commons and fake a fifth of what they commit.
func commons() Attack {
	return Attack{
		ID: "8b", Name: "farm of 50 identities fakes 20 % of the commons; its draws are even", Most: 3000, Slow: true,
		Describe: func(w *World, cheat bool) {
			w.P.CommonsEpochBlocks, w.P.CommonsChunkItems, w.P.CommonsEmission = 15, 8, 10*gtg
			w.honestNetwork(5, 4)
			j := w.job("curator", honest, work.TierEconomic, 8000, w.P.CommonsPrice)
			w.Jobs, j.commons = nil, true
			j.Spec.Escrow, j.Spec.CheckEscrow = 0, 0
			for i := range 50 {
				p := w.provider(fmt.Sprint("farm", i), evil, j, 0, 8)
				if p.funds = 100 * gtg; cheat {
					p.Compute = share(w, 200)
				}
			}
			epochs := int64(0)
			w.EachBlock = func(w *World) {
				if w.height == 2 {
					w.approve(j)
				}
				c, err := w.chain.Commons(w.ctx)
				if err != nil {
					w.fault("commons: %w", err)
					return
				}
				if len(c.Epochs) == 0 || c.Epochs[0].Height != w.height-1 {
					return
				}
				w.drawCommons(j, &c.Epochs[0])
				if epochs++; epochs == 3 {
					w.EachBlock = nil
				}
			}
		},
		Check: func(p Pair) error {
			if p.Cheat.False == 0 || p.Twin.Settled == 0 {
				return errors.New("nobody worked on the commons")
			}
			return nil
		},
	}
}

// drawCommons counts an epoch's draws of all identities, and lets some of them
// commit what they drew.
func (w *World) drawCommons(j *Job, e *lifecycle.CommonsEpoch) {
	slots := int((e.Items[0].Len() + w.P.CommonsChunkItems - 1) / w.P.CommonsChunkItems)
	for i, p := range w.Providers {
		for draw := range uint32(lifecycle.CommonsDraws) {
			items := e.Slot(j.ID, p.Account, draw, w.P.CommonsChunkItems)
			at, ok := e.Items[0].Position(items.At(0))
			if !ok {
				w.fault("a draw of the commons gave item %d, which was not open", items.At(0))
				continue
			}
			w.drawn.Evil[int(at/w.P.CommonsChunkItems)*buckets/slots]++
			for b := range buckets {
				in := (slots*(b+1)+buckets-1)/buckets - (slots*b+buckets-1)/buckets
				w.drawn.Expected[b] += float64(in) / float64(slots)
			}
			if draw == 0 && i%10 == int(e.Number)%10 {
				w.commit(p, j, items)
			}
		}
	}
}

// approve lets governance approve a job of the commons: by its account, or by the
// vote of all validators.
func (w *World) approve(j *Job) {
	j.ID = j.Spec.ID()
	m := ledger.ApproveCommons{Spec: j.Spec}
	if w.send(&actor{Account: Account("governance")}, m) == nil {
		return
	}
	if err := w.send(j.actor, ledger.Propose{Title: "commons", Message: m, Deposit: gtg}); err != nil {
		w.fault("proposal: %w", err)
	}
	for _, v := range w.Validators {
		if err := w.send(v.actor, ledger.VoteProposal{Proposal: 1, Yes: true}); err != nil && !errors.Is(err, ledger.ErrRefused) {
			w.fault("vote of %s: %w", v.Name, err)
		}
	}
}
