package trial

import (
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// griefing is attack 7: a client that costs others more than itself. What only a
// runtime can see (NaN bits, fuel, recursion, bombs) is tried in gw1 and
// internal/runtime.
func griefing() (l []Attack) {
	add := func(a Attack) {
		a.ID, a.Most = fmt.Sprintf("7%c", 'a'+len(l)), 5000
		l = append(l, a)
	}
	// customers is a world whose client is the attacker.
	customers := func(w *World, providers int) *Job {
		w.honestNetwork(5, 4)
		j := w.job("client", evil, work.TierEconomic, uint64(providers)*24, dear)
		for i := range providers {
			w.provider(fmt.Sprint("worker", i), honest, j, 3, 8).Every = 8
		}
		return j
	}
	add(Attack{Name: "client signs its escrow away ten times over", Describe: func(w *World, cheat bool) {
		j := customers(w, 10)
		w.Ended = worth(j)
		if cheat {
			j.Spec.Escrow, j.Spec.CheckEscrow = j.Spec.Escrow/20, j.Spec.CheckEscrow/20
		}
	}})
	add(Attack{Name: "client cancels at a moment of the seed's choice", Harmless: true, Describe: func(w *World, cheat bool) {
		j := customers(w, 4)
		w.Ended = worth(j)
		at := 2 + int64(w.Seed%60)
		w.EachBlock = func(w *World) {
			if w.height < at {
				return
			}
			w.EachBlock = nil
			if cheat {
				j.next = j.Spec.ItemCount // hands out no more
				if err := w.send(j.actor, ledger.CancelJob{Job: j.ID}); err != nil && !errors.Is(err, ledger.ErrRefused) {
					w.fault("cancel: %w", err)
				}
			}
		}
	}})
	add(Attack{Name: "client's own worker commits garbage for every item first", Describe: func(w *World, cheat bool) {
		j := customers(w, 4)
		w.Ended = worth(j)
		own := w.provider("own", evil, j, 0, 8)
		if cheat {
			own.Compute = all
			w.EachBlock = func(w *World) {
				if w.height == 2 {
					for lo := uint64(0); lo < j.Spec.ItemCount; lo += 8 {
						w.commit(own, j, work.NewRangeSet(work.Range{Lo: lo, Hi: lo + 8}))
					}
					w.EachBlock = nil
				}
			}
		}
	}})
	add(Attack{Name: "client posts at price 1 and with items over the cap", Harmless: true, Describe: func(w *World, cheat bool) {
		j := customers(w, 2)
		w.Ended = worth(j)
		w.EachBlock = func(w *World) {
			w.EachBlock = nil
			if !cheat {
				return
			}
			for i, change := range []func(*work.JobSpec){
				func(s *work.JobSpec) { s.MaxPrice = 1 },
				func(s *work.JobSpec) { s.Limits.Fuel = w.P.MaxItemFuel + 1 },
				func(s *work.JobSpec) { s.DeadlineHeight = 1 << 40 },
			} {
				s := j.Spec
				s.Nonce = uint64(100 + i)
				change(&s)
				if err := w.send(j.actor, ledger.CreateJob{Spec: s}); !errors.Is(err, ledger.ErrRefused) {
					w.fault("job %d that no chain may take: %v", i, err)
				}
			}
		}
	}})
	return l
}

// worth books what the results of a paid batch are worth to its client.
func worth(j *Job) func(*Batch) {
	return func(b *Batch) {
		if b.Job == j && b.now.Phase == lifecycle.Settled && len(b.False) == 0 {
			j.gained += b.now.Pay * valuePermille / 1000
		}
	}
}

// farm is attack 8: 50 identities that own every role and work for themselves with
// free compute, three jobs in turn. What it owns must fall with each.
func farm() []Attack {
	return []Attack{{
		ID: "8a", Name: "farm of 50 identities that own all roles, free compute: falls with each job", Most: 3000,
		Describe: func(w *World, cheat bool) {
			for i := range 20 {
				w.checker(fmt.Sprint("farmchecker", i), evil, 50*gtg)
			}
			for i := range 4 {
				w.validator(fmt.Sprint("farmvalidator", i), evil, 10_000)
			}
			w.free, w.pool = true, true
			j := w.job("farmclient", evil, work.TierEconomic, 26*4, dear)
			j.funds *= 3
			for i := range 26 {
				p := w.provider(fmt.Sprint("farm", i), evil, j, 1, 4)
				if p.funds = 1000 * gtg; !cheat {
					p.Left = 0
				}
			}
			last := int64(1) << 62
			w.EachBlock = func(w *World) {
				if w.height < 20 || len(w.open) > 0 {
					return
				}
				w.release(j)
				now := w.books(evil) + w.pooled()
				if cheat && now >= last {
					w.fault("the farm grew from %d to %d ugtg with a job of its own", last, now)
				}
				if last = now; j.Spec.Nonce == 3 {
					w.EachBlock = nil
					return
				}
				j.Spec.Nonce++
				j.Closed, j.next = false, 0
				if err := w.post(j); err != nil {
					w.fault("job of the farm: %w", err)
				}
				for _, p := range w.Providers {
					if cheat {
						p.Left = 1
					}
				}
			}
		},
	}, commons()}
}

// spam is attack 10: false challenges by many accounts.
func spam() (l []Attack) {
	for i, v := range []struct {
		name string
		leaf func(j *Job, item uint64) work.Leaf
	}{
		{"100 Sybils challenge honest batches with lies", func(j *Job, i uint64) work.Leaf { return j.lie(i) }},
		{"100 Sybils challenge honest batches with the truth", func(j *Job, i uint64) work.Leaf { l, _ := j.truth(i); return l }},
	} {
		l = append(l, Attack{ID: fmt.Sprintf("10%c", 'a'+i), Name: v.name, Most: 8000, Describe: func(w *World, cheat bool) {
			w.honestNetwork(5, 4)
			j := w.job("client", honest, work.TierEconomic, 240, dear)
			for i := range 4 {
				w.provider(fmt.Sprint("worker", i), honest, j, 5, 12)
			}
			var sybils []*actor
			for i := range 100 {
				sybils = append(sybils, w.actor(fmt.Sprint("sybil", i), evil, 100*gtg))
			}
			if !cheat {
				return
			}
			next := 0
			w.EachBlock = func(w *World) {
				for _, b := range w.open {
					if next < len(sybils) && b.refresh() && b.now.Phase == lifecycle.Window {
						at := w.rng.Uint64N(b.now.N)
						if w.send(sybils[next], ledger.Challenge{Batch: b.ID, Position: at, Leaf: v.leaf(j, b.Items.At(at))}) == nil {
							next++
							b.dirty = true
						}
					}
				}
				if next == len(sybils) || w.height > 40 && len(w.open) == 0 {
					w.EachBlock = nil
				}
			}
		}})
	}
	l = append(l, Attack{ID: "10c", Name: "worker answers challenges of its lies with forged paths", Most: 8000, Describe: func(w *World, cheat bool) {
		p := single(w, work.TierEconomic, 10, 24)
		watcher := w.actor("watcher", honest, 1000*gtg)
		if !cheat {
			return
		}
		p.Compute = first(1)
		p.Answers = func(b *Batch) bool {
			forged := b.answer().(ledger.AnswerChallenge)
			forged.Leaf, _ = p.Job.truth(b.Items.At(0))
			if err := w.send(p.actor, forged); err == nil {
				w.fault("a forged answer was taken")
			}
			forged.Opening.Path = forged.Opening.Path[1:]
			if err := w.send(p.actor, forged); err == nil {
				w.fault("a short path was taken")
			}
			return false
		}
		w.EachBlock = func(w *World) {
			for _, b := range w.open {
				if b.refresh() && b.now.Phase == lifecycle.Window {
					leaf, _ := p.Job.truth(b.Items.At(0))
					w.duty(b, watcher, ledger.Challenge{Batch: b.ID, Leaf: leaf})
				}
			}
			if p.Left == 0 && len(w.open) == 0 {
				w.EachBlock = nil
			}
		}
	}})
	return l
}

// indexers is attack 11: whoever hands out items signs one attempt twice, or keeps
// items back.
func indexers() (l []Attack) {
	for i, v := range []struct {
		name     string
		hired    bool // the indexer is not the client's own
		withhold bool
	}{
		{"client as its own indexer signs one attempt to two workers", false, false},
		{"hired indexer signs one attempt to two workers", true, false},
		{"hired indexer hands out nothing", true, true},
	} {
		l = append(l, Attack{ID: fmt.Sprintf("11%c", 'a'+i), Name: v.name, Most: 3000, Harmless: v.withhold, Describe: func(w *World, cheat bool) {
			w.honestNetwork(5, 4)
			owner := evil
			if v.hired {
				owner = honest
			}
			j := w.job("client", owner, work.TierEconomic, 48, dear)
			if v.hired {
				w.indexer("indexer", evil, 5*gtg, j)
			}
			one := w.provider("one", honest, j, 4, 12)
			two := w.provider("two", honest, j, 0, 12)
			if !cheat {
				return
			}
			if v.withhold {
				one.Left = 0
				return
			}
			w.EachBlock = func(w *World) {
				if w.height != 4 {
					return
				}
				w.EachBlock = nil
				items := work.NewRangeSet(work.Range{Lo: 0, Hi: 12}) // one has committed them
				w.commit(two, j, items)
				a, b := j.assign(one.Account, items, 1, w.height), j.assign(two.Account, items, 1, w.height)
				if err := w.send(two.actor, ledger.ReportEquivocation{Job: j.ID, A: a, B: b}); err != nil {
					w.fault("equivocation was not fined: %w", err)
				}
				if err := w.send(one.actor, ledger.ReportEquivocation{Job: j.ID, A: a, B: b}); err == nil {
					w.fault("equivocation was fined twice")
				}
			}
		}})
	}
	return l
}

// referee is attack 12: a validator that does not judge by its own execution.
func referee() (l []Attack) {
	for i, v := range []struct {
		name   string
		change func(v *Validator)
	}{
		{"validator echoes the first checker's answer", func(v *Validator) { v.Judges = echo }},
		{"validator votes against its own execution", func(v *Validator) {
			v.Judges = func(_ *Validator, b *Batch, at uint64) (work.Leaf, work.Fuel) {
				l := b.Job.lie(b.Items.At(at))
				return l, l.Fuel
			}
		}},
		{"validator with 1/3 of the power is absent from disputes", func(v *Validator) { v.Commits = func(*Batch) bool { return false } }},
	} {
		l = append(l, Attack{ID: fmt.Sprintf("12%c", 'a'+i), Name: v.name, Most: 5000, Describe: judging(v.change)})
	}
	return l
}

// judging is a world with work for the referee, and one validator of the attacker's
// with a third of the power.
func judging(change func(v *Validator)) func(w *World, cheat bool) {
	return func(w *World, cheat bool) {
		w.honestNetwork(6, 4)
		bad := w.validator("referee", evil, 20_000)
		j := w.job("client", honest, work.TierEconomic, 240, dear)
		p := w.provider("garbage", "accomplice", j, 10, 12) // work for the referee
		p.Compute = share(w, 300)
		w.provider("worker", honest, j, 10, 12)
		liar := w.checker("liar", "accomplice", 300*gtg)
		liar.Finds = func(_ *Checker, b *Batch, at uint64) (work.Leaf, work.Fuel) { return b.Job.lie(b.Items.At(at)), 0 }
		if cheat {
			change(bad)
		}
	}
}

// echo votes what the first checker of the item said.
func echo(_ *Validator, b *Batch, at uint64) (work.Leaf, work.Fuel) {
	for _, it := range b.now.Dispute.Items {
		if it.Position == at {
			return it.Claims[len(it.Claims)-1].Leaf, 0
		}
	}
	panic("trial: no such item in dispute")
}
