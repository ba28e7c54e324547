package hosts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gotong-network/gotong/e2e/books"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// job is one that a client posted: items number 1 to items, each of some rounds of mix.
type job struct {
	w      *world
	client *machine
	name   string
	id     work.JobID
	items  int
	rounds int
	dir    string // of the outputs
	before ledger.Supply
}

// post posts a job with more flags of map.
func (w *world) post(t *testing.T, client *machine, name string, items, rounds int, flags ...string) *job {
	t.Helper()
	j := &job{w: w, client: client, name: name, items: items, rounds: rounds, dir: filepath.Join(w.dir, "out", name)}
	var err error
	if j.before, err = w.ledger(t).Supply(t.Context()); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"map", "--detach", "--range", fmt.Sprint("1-", items), "--out", filepath.Join(j.dir, "{i}"), "--memory", "1MiB"}, flags...)
	out := client.run(t, 0, append(args, "--", w.program, "{i}-"+name, strconv.Itoa(rounds))...)
	id, err := work.ParseHash(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	j.id = id
	return j
}

// mix is what the program prints.
func mix(text string, rounds int) string {
	x := uint64(0xcbf29ce484222325)
	for _, c := range []byte(text) {
		x = (x ^ uint64(c)) * 0x100000001b3
	}
	x |= 1
	for range rounds {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return fmt.Sprintf("%016x\n", x)
}

// progress asks the indexer how many items are verified, and how many have results.
func (j *job) progress(ctx context.Context) (verified, done int, err error) {
	var v struct {
		Counts  *struct{ Provisional, Verified int }
		Problem string
	}
	if err := j.client.ask(ctx, &v, "job", "--json", j.id.String()); err != nil {
		return 0, 0, err
	}
	if v.Counts == nil {
		return 0, 0, errors.New(v.Problem)
	}
	return v.Counts.Verified, v.Counts.Verified + v.Counts.Provisional, nil
}

// started waits for a job's first result.
func (j *job) started(ctx context.Context, t *testing.T) {
	t.Helper()
	j.has(ctx, t, 1, patience)
}

// done waits for a job's last result.
func (j *job) done(ctx context.Context, t *testing.T) {
	t.Helper()
	j.has(ctx, t, j.items, left(ctx))
}

// has waits until so many items have results.
func (j *job) has(ctx context.Context, t *testing.T, want int, d time.Duration) {
	t.Helper()
	until(ctx, t, fmt.Sprintf("%d results", want), d, func() error {
		_, done, err := j.progress(ctx)
		if err == nil && done < want {
			err = fmt.Errorf("%d of %d items have one", done, j.items)
		}
		return err
	})
}

// follow runs `gotong watch` until it says that all is verified and written. It is
// started again when it is killed or loses the network.
func (j *job) follow(ctx context.Context, t *testing.T, each func(*process)) {
	t.Helper()
	for ctx.Err() == nil {
		p, err := j.client.launch(ctx, nil, "watch", j.id.String())
		if err != nil {
			t.Fatal(err)
		}
		if each != nil {
			each(p)
		}
		<-p.done
		if p.code == 0 {
			return
		}
		if p.code != -1 && p.code != exitUnreachable { // neither killed nor without the network
			t.Fatalf("gotong watch: exit code %d\n%s", p.code, tail(p.said()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	t.Fatalf("job %s: %v\n%s", j.name, ctx.Err(), j.explain())
}

// explain is what gotong says about a job that does not end.
func (j *job) explain() string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p, err := j.client.launch(ctx, nil, "explain", j.id.String())
	if err != nil {
		return err.Error()
	}
	<-p.done
	return p.out.String() + tail(p.said()) + j.w.batches(ctx, j.id)
}

// batches tells what is odd about a job's batches.
func (w *world) batches(ctx context.Context, id work.JobID) string {
	var out strings.Builder
	for _, v := range w.role("validator") {
		l, err := w.ledgerOf(v)
		if err != nil {
			continue
		}
		ids, err := l.Batches(ctx, id)
		if err != nil {
			continue
		}
		for _, id := range ids {
			if b, err := l.Batch(ctx, id); err == nil && (b.Phase != lifecycle.Settled || b.Dispute != nil) {
				text, err := json.Marshal(b)
				fmt.Fprintf(&out, "batch %.4000s %v\n", text, err)
			}
		}
		break
	}
	return out.String()
}

// right compares every output.
func (j *job) right(t *testing.T) {
	t.Helper()
	wrong := 0
	for i := 1; i <= j.items && wrong < 10; i++ {
		b, err := os.ReadFile(filepath.Join(j.dir, strconv.Itoa(i)))
		if want := mix(fmt.Sprintf("%d-%s", i, j.name), j.rounds); err != nil || string(b) != want {
			t.Errorf("item %d: %q, want %q (%v)", i, b, want, err)
			wrong++
		}
	}
}

// closed waits until the chain has closed the job.
func (j *job) closed(ctx context.Context, t *testing.T) {
	t.Helper()
	until(ctx, t, "job "+j.name+" is closed", patience, func() error {
		r, err := j.w.ledger(t).Job(ctx, j.id)
		if err == nil && r.State != lifecycle.JobClosed {
			err = fmt.Errorf("it is in state %d", r.State)
		}
		return err
	})
}

// settled waits until the chain has closed the job, and holds what must be true of the
// money then, if no other job is open: nobody lost anything, nothing is locked.
func (j *job) settled(ctx context.Context, t *testing.T) books.Books {
	t.Helper()
	j.closed(ctx, t)
	l := j.w.ledger(t)
	b := books.Read(ctx, t, l, j.id)
	b.Check(t)
	books.Conserved(ctx, t, l, j.before)
	b.Honest(ctx, t, l, bond)
	return b
}
