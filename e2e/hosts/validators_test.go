package hosts

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// oneCut cuts one validator of four off: blocks go on without it, and it catches up when
// it is back.
func oneCut(w *world, t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	lost, rest := w.by["validator3"], w.by["validator0"]
	j := w.post(t, w.by["client0"], "one-cut", pick(200, 1000), 300_000)
	w.cut(t, lost)
	stood := w.settledHeight(ctx, t, lost)
	w.grows(ctx, t, rest, pick(int64(20), 100))
	if h := w.at(ctx, t, lost); h != stood {
		t.Errorf("the validator that is cut off went from height %d to %d", stood, h)
	}
	if j.done(ctx, t); *full {
		j.follow(ctx, t, nil)
	}
	w.heal(t)
	began := time.Now()
	until(ctx, t, "catch up", patience, func() error {
		mine, err := w.height(lost)
		if err != nil {
			return err
		}
		others, err := w.height(rest)
		if err == nil && mine < others-2 {
			err = fmt.Errorf("at height %d of %d", mine, others)
		}
		return err
	})
	t.Logf("caught up in %s", time.Since(began).Round(100*time.Millisecond))
	j.follow(ctx, t, nil)
	j.right(t)
	j.settled(ctx, t)
}

// twoCut cuts two validators of four off: the chain halts, for nobody may decide alone;
// what runs goes on running, and is settled when the validators are back.
func twoCut(w *world, t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	j := w.post(t, w.by["client0"], "two-cut", pick(600, 3000), 1_000_000)
	j.started(ctx, t)
	w.cut(t, w.by["validator2"], w.by["validator3"])
	stood := w.settledHeight(ctx, t, w.by["validator0"])
	before := 0
	until(ctx, t, "the indexer says how far the job is", patience, func() (err error) {
		_, before, err = j.progress(ctx)
		return err
	})
	pids := w.pids()
	until(ctx, t, "work goes on while the chain halts", patience, func() error {
		_, done, err := j.progress(ctx)
		if err == nil && done <= before && done < j.items {
			err = fmt.Errorf("%d of %d items have results, as many as when it halted", done, j.items)
		}
		return err
	})
	halt := pick(10*time.Second, 60*time.Second)
	time.Sleep(halt) // nothing must happen in it
	for _, v := range []string{"validator0", "validator1"} {
		if h := w.at(ctx, t, w.by[v]); h > stood {
			t.Errorf("%s made blocks with half of the power: from height %d to %d", v, stood, h)
		}
	}
	for name, pid := range w.pids() {
		if pids[name] != pid {
			t.Errorf("the process of %s ended while the chain stood", name)
		}
	}
	w.heal(t)
	began := time.Now()
	w.grows(ctx, t, w.by["validator0"], 1)
	t.Logf("halted for more than %s; the next block came %s after healing", halt, time.Since(began).Round(100*time.Millisecond))
	j.follow(ctx, t, nil)
	j.right(t)
	j.settled(ctx, t)
}

// cut cuts machines off from all others; the row's end heals them.
func (w *world) cut(t *testing.T, ms ...*machine) {
	t.Helper()
	hosts := hostsOf(ms)
	if err := w.lab.Cut(hosts...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.heal(t) })
}

func (w *world) heal(t *testing.T) {
	t.Helper()
	if err := w.lab.Heal(); err != nil {
		t.Fatal(err)
	}
}

// settledHeight waits until a validator makes no more blocks, and gives its height.
func (w *world) settledHeight(ctx context.Context, t *testing.T, v *machine) int64 {
	t.Helper()
	last, since := int64(-1), time.Now()
	until(ctx, t, v.Name()+" stands", patience, func() error {
		h, err := w.height(v)
		if err != nil {
			return err
		}
		if h != last {
			last, since = h, time.Now()
		}
		if d := time.Since(since); d < 5*time.Second {
			return fmt.Errorf("at height %d for %s", h, d)
		}
		return nil
	})
	return last
}

// grows waits until a validator has so many more blocks.
func (w *world) grows(ctx context.Context, t *testing.T, v *machine, blocks int64) {
	t.Helper()
	from := int64(0)
	until(ctx, t, v.Name()+" makes blocks", patience, func() error {
		h, err := w.height(v)
		switch {
		case err != nil:
			return err
		case from == 0:
			from = h
		}
		if h < from+blocks {
			return fmt.Errorf("from height %d to %d", from, h)
		}
		return nil
	})
}

// pids are the processes that run homes.
func (w *world) pids() map[string]int {
	out := map[string]int{}
	for _, m := range w.all {
		if p := m.running(); p != nil {
			select {
			case <-p.done:
				out[m.Name()] = -1
			default:
				out[m.Name()] = p.cmd.Process.Pid
			}
		}
	}
	return out
}
