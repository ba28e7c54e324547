package indexer

import (
	"fmt"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// maxNotes bounds one explanation.
const maxNotes = 200

// explain says why items are where they are, in sentences for people.
func (x *Indexer) explain(j *job) []wire.Note {
	var out []wire.Note
	add := func(items work.RangeSet, s wire.ItemState, f string, a ...any) {
		if len(items) > 0 && len(out) < maxNotes {
			out = append(out, wire.Note{Items: items, State: s, Text: fmt.Sprintf(f, a...)})
		}
	}
	add(j.state.waiting.set(), wire.ItemWaiting, "%s", x.whyWaiting(j))
	for _, s := range j.state.provs {
		add(s.out.set(), wire.ItemAssigned, "%s", x.whyRunning(s))
	}
	x.explainHeld(j, add)
	for _, n := range j.state.why {
		add(j.state.failed.within(n.items.view()), wire.ItemFailed, "%s", n.why)
	}
	return out
}

func (x *Indexer) whyWaiting(j *job) string {
	t := x.terms(j.spec.Tier)
	switch {
	case j.rec.Forgotten || j.rec.Released:
		return "the job was released by its indexer: nothing is handed out any more"
	case j.list == nil:
		return "the job's item list is not here: its client must hand it over (run the command again)"
	case t.ledger && j.chain == 0:
		return "the job is not on the chain yet: it is handed out once its posting is included in a block"
	case t.ledger && j.chain != lifecycle.JobOpen:
		return "the job is closing or closed on the chain: nothing is handed out any more"
	case j.rec.Commons:
		return "the beacon draws items of the commons each epoch, for providers with nothing paid to do (see `gotong commons list`)"
	case !j.serving(t):
		return "the job was found on the chain and is about to be handed out"
	case j.broke:
		return fmt.Sprintf("the escrow is exhausted for now: %s are free, less than the next items may cost; what running batches do not use comes back when they settle", j.free)
	}
	j.rankedAt = time.Time{}
	ranked := x.rank(j, time.Now())
	if len(ranked) == 0 {
		return x.request(j, time.Now()).Explain(0, j.excluded)
	}
	up, failed, full := 0, 0, 0
	for _, r := range ranked {
		if p := x.peers[r.Offer.Provider]; p.up() {
			up++
			if !x.partLeft(j, p, 1) {
				full++
			}
		}
		if s := j.state.byAddr[r.Offer.Provider]; s != nil && len(s.hostFailed.within(j.state.waiting.view())) > 0 {
			failed++
		}
	}
	switch {
	case up == 0:
		return fmt.Sprintf("%d providers fit and none can be reached now: they are dialled again and again", len(ranked))
	case failed == len(ranked):
		return fmt.Sprintf("these items failed on all %d providers that fit; waiting for another one before giving up", failed)
	}
	if full == up {
		return fmt.Sprintf("the owners or networks of all %d providers that fit have as large a part of the job as it allows (--max-per-owner, --max-per-prefix): providers of others are waited for", up)
	}
	return fmt.Sprintf("in the queue: the %d providers that fit are busy", up)
}

func (x *Indexer) whyRunning(s *provState) string {
	p := x.peers[s.addr]
	if p == nil || !p.up() {
		return fmt.Sprintf("given to %s, which cannot be reached now; others get the items after %s", s.addr, x.cfg.Timing.Lost)
	}
	return fmt.Sprintf("running at %s", s.addr)
}

func (x *Indexer) explainHeld(j *job, add func(work.RangeSet, wire.ItemState, string, ...any)) {
	in := map[string]work.RangeSet{}
	var texts []string
	put := func(text string, items work.RangeSet) {
		if _, ok := in[text]; !ok {
			texts = append(texts, text)
		}
		in[text] = in[text].Union(items)
	}
	for id, b := range j.state.open {
		text := fmt.Sprintf("results of %s are committed (%s): waiting for %s", b.prov.addr, b.phase, awaits[b.phase])
		if w := j.settling[id]; w != nil && w.missing {
			text = fmt.Sprintf("%s was paid for these and has not delivered all of them; others get them after %s", b.prov.addr, x.cfg.Timing.Undelivered)
		}
		put(text, j.state.provisional.within(b.items))
	}
	for _, s := range j.state.provs {
		put(fmt.Sprintf("results of %s are here and not committed to the chain yet", s.addr), j.state.provisional.within(s.committed.without(s.have.set())))
	}
	slices.Sort(texts)
	for _, t := range texts {
		add(in[t], wire.ItemProvisional, "%s", t)
	}
}

// awaits says in plain words what a batch waits for, by its phase.
var awaits = map[string]string{
	lifecycle.Committed.String(): "the beacon to draw the items that are checked",
	lifecycle.Opening.String():   "its provider to open the drawn items",
	lifecycle.Checking.String():  "the checkers to execute the drawn items again",
	lifecycle.Revealing.String(): "provider and checkers to reveal their results",
	lifecycle.Window.String():    "the end of the time for challenges",
	lifecycle.Answering.String(): "its provider to answer a challenge",
	lifecycle.Voting.String():    "the validators to execute a disputed item",
	lifecycle.Tallying.String():  "the validators to reveal their verdict",
	lifecycle.Settled.String():   "its results to be compared with what was paid",
}
