package hosts

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gotong-network/gotong/lifecycle"
)

// kills runs a job while every few seconds some process of every role is killed with -9
// and started again: all items are right, none is paid too often, nobody honest loses.
func kills(w *world, t *testing.T) {
	items, every := pick(2000, 10_000), pick(5*time.Second, 10*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), pick(10*time.Minute, 20*time.Minute))
	defer cancel()
	r := draws(t)
	j := w.post(t, w.by["client0"], "kills", items, 300_000)
	watching := make(chan *process, 1)
	over := make(chan struct{})
	killed := make(chan map[string]int, 1)
	go func() { killed <- killer{w, r, every, j, watching}.run(ctx, t, over) }()
	began := time.Now()
	j.follow(ctx, t, func(p *process) {
		select {
		case <-watching:
		default:
		}
		watching <- p
	})
	took := time.Since(began)
	close(over)
	count := <-killed
	w.whole(t)
	j.right(t)
	b := j.settled(ctx, t)
	t.Logf("%d items in %s and %d batches; killed: %v", items, took.Round(time.Second), len(b.Batches), count)
	for _, role := range []string{"validator", "indexer", "checker", "provider", "client"} {
		if count[role] == 0 {
			t.Errorf("no %s was killed: the job was over too soon to mean anything", role)
		}
	}
}

// killer kills.
type killer struct {
	w        *world
	r        *rand.Rand
	every    time.Duration
	job      *job
	watching chan *process // the client's process
}

// run kills and restarts until over is closed, and says how often whom. Nobody is killed
// twice on end: a process needs some seconds to be of use again, and a role of two would
// now and then be without one of them for a minute. The client is left alone when the
// chain has closed its job: then it fetches and proves all of it in one life, and how
// long that takes is the machine's affair.
func (k killer) run(ctx context.Context, t *testing.T, over <-chan struct{}) map[string]int {
	count, last := map[string]int{}, map[string]int{}
	for {
		select {
		case <-over:
			return count
		case <-ctx.Done():
			return count
		case <-time.After(k.every):
		}
		for _, role := range []string{"validator", "indexer", "checker", "provider"} {
			of := k.w.role(role)
			last[role] = (last[role] + 1 + k.r.IntN(len(of)-1)) % len(of)
			m := of[last[role]]
			if role == "validator" && !k.spare(ctx, m) {
				continue // a chain of four bears the loss of one, not of two
			}
			m.kill()
			m.start(t)
			count[role]++
		}
		if k.closed(ctx) {
			continue
		}
		select {
		case p := <-k.watching:
			p.kill()
			count["client"]++
		default:
		}
	}
}

// closed reports whether a validator says that the job is closed.
func (k killer) closed(ctx context.Context) bool {
	for _, v := range k.w.role("validator") {
		l, err := k.w.ledgerOf(v)
		if err != nil {
			continue
		}
		if r, err := l.Job(ctx, k.job.id); err == nil {
			return r.State == lifecycle.JobClosed
		}
	}
	return false
}

// spare reports whether all validators but one sign blocks, so that this one can be
// missed. One that was started again first looks whether another node signs with its
// key; who kills the next one meanwhile halts the chain.
func (k killer) spare(ctx context.Context, one *machine) bool {
	for _, v := range k.w.role("validator") {
		if v != one && (v.ready() != nil || k.w.signed(ctx, v) != nil) {
			return false
		}
	}
	return true
}
