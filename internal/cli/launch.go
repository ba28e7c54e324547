package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// How long map waits for the end of a job after its last item.
const (
	closeWait   = 45 * time.Second // the chain pays the last batch and returns the rest
	releaseWait = 15 * time.Second // the indexer signs that nothing is outstanding
)

// How long a job waits to be posted for a network that is not ready, and how often it
// looks.
const (
	readyWait = 20 * time.Second
	readyPoll = 500 * time.Millisecond
)

// probeFuel and probeTime bound the local run of the first item, which tells what
// items cost and whether the program is refused.
const (
	probeFuel work.Fuel = 5_000_000_000
	probeTime           = 30 * time.Second
)

func (a *app) records() client.Records {
	return client.Records{Dir: filepath.Join(a.homeDir, "client", "jobs")}
}

func (a *app) cache() client.Cache {
	return client.Cache{Dir: filepath.Join(a.homeDir, "client", "results")}
}

// launch runs a job that a command line or a record describes: what is known
// already is used again, the rest is posted and followed.
type launch struct {
	a        *app
	rec      *client.Record
	json     bool
	detach   bool
	dryRun   bool
	fresh    bool
	deadline time.Duration
	indexer  work.Address // client.AnyIndexer, an account, or empty
	maxFee   *uint32      // of the indexer, in thousandths; nil: the client's default

	began   time.Time
	seconds float64 // the first item's, here; 0: unknown
	where   client.Outputs
	known   map[uint64]*work.Result // verified before, by item of rec.List
	present work.RangeSet           // of those, outputs are where they belong
	sum     mapSummary
}

// mapSummary is the last line of map --json.
type mapSummary struct {
	Job      string  `json:"job"` // empty if nothing was posted
	Items    uint64  `json:"items"`
	Verified uint64  `json:"verified"` // and ended well
	Failed   uint64  `json:"failed"`
	Reused   uint64  `json:"reused"`
	Paid     string  `json:"paid"`     // ugtg
	Refunded string  `json:"refunded"` // ugtg
	Seconds  float64 `json:"seconds"`
	// Readers are who can read what was posted; null if nothing was.
	Readers *client.Readers `json:"readers"`
}

func (l *launch) run(ctx context.Context) error {
	l.began = time.Now()
	l.sum = mapSummary{Items: l.rec.List.Len(), Paid: "0", Refunded: "0"}
	l.where = client.Outputs{Template: l.rec.Out, Stdout: l.rec.Stdout, List: l.rec.List}
	if !l.fresh {
		if err := l.lookup(); err != nil {
			return err
		}
	}
	if l.dryRun {
		return l.dry(ctx)
	}
	out := &tally{a: l.a, where: l.where}
	out.count(l.known, l.present)
	if l.present.Len() == l.sum.Items { // nothing to fetch or to compute
		l.sum.Reused = l.present.Len()
		return l.report(out, nil)
	}
	probed := make(chan error, 1)
	go func() { probed <- l.probe(ctx) }()
	s, c, err := l.a.openClient(ctx)
	if err != nil {
		if perr := <-probed; errors.As(perr, new(usageError)) { // the input is at fault first
			return perr
		}
		return err
	}
	defer s.Close()
	defer c.Close()
	if err := <-probed; err != nil {
		return err
	}
	missing, err := l.refetch(ctx, c, out)
	if err != nil {
		return err
	}
	l.sum.Reused = l.sum.Items - missing.Len()
	if len(missing) == 0 {
		return l.report(out, nil)
	}
	return l.compute(ctx, c, out, missing)
}

// lookup finds items whose verified results are known.
func (l *launch) lookup() (err error) {
	spec := l.rec.Spec
	if l.known, err = l.a.cache().Lookup(&spec, l.rec.List); err != nil {
		return err
	}
	var present []work.Range
	for i, r := range l.known {
		if l.rec.Out == "" || !r.Leaf.Outcome.OK() || l.where.Present(r) {
			present = append(present, work.Range{Lo: i, Hi: i + 1})
		}
	}
	l.present = work.NewRangeSet(present...)
	return nil
}

// probe runs the first item that is not known here, to tell a refused program
// before anything is posted and to learn what an item costs.
func (l *launch) probe(ctx context.Context) (err error) {
	first := uint64(0)
	for l.known[first] != nil {
		if first++; first == l.sum.Items {
			return nil
		}
	}
	dir, err := l.a.cacheDir()
	if err != nil {
		return err
	}
	blobs := l.rec.Sources()
	blobs[l.rec.Spec.Program] = client.FileSource(l.rec.Program)
	limits := l.rec.Spec.Limits
	limits.Fuel = min(limits.Fuel, probeFuel)
	rt, err := wasm.New(wasm.Config{Dir: dir, Blobs: blobs, OutputBytes: limits.OutputBytes, Log: l.a.log()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	item, err := l.rec.List.Item(first)
	if err != nil {
		return usageError{err}
	}
	call, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	run, err := wasm.RunLocal(call, rt, runtime.Task{Program: l.rec.Spec.Program, Profile: gw1.Version, Limits: limits, Seed: l.rec.Spec.Seed, Item: item})
	var refused *runtime.Refused
	switch {
	case errors.As(err, &refused):
		return runFault(l.rec.Command[0], err)
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil: // providers may do better
		l.a.log().Warn("the first item could not be run here", "err", err)
		return nil
	}
	if run.Leaf.Outcome.Kind != work.OutOfFuel || limits.Fuel == l.rec.Spec.Limits.Fuel {
		l.rec.Fuel, l.seconds = max(run.Leaf.Fuel, 1), run.Seconds
	}
	return nil
}

// refetch brings outputs of known items to where they belong; what cannot be had
// any more is missing like what was never computed.
func (l *launch) refetch(ctx context.Context, c *client.Client, out *tally) (missing work.RangeSet, err error) {
	all := work.RangeSet{{Lo: 0, Hi: l.sum.Items}}
	missing = all.Minus(l.present)
	var away []*work.Result
	for i, r := range l.known {
		if !l.present.Contains(i) {
			away = append(away, r)
		}
	}
	if len(away) == 0 {
		return missing, nil
	}
	slices.SortFunc(away, func(a, b *work.Result) int { return int(int64(a.Index) - int64(b.Index)) })
	out.c = c
	for len(away) > 0 {
		n := min(len(away), 256)
		group := away[:n]
		away = away[n:]
		got, err := out.write(ctx, group)
		if err != nil {
			return nil, err
		}
		for _, r := range got {
			out.ok++
			missing = missing.Minus(work.RangeSet{{Lo: r.Index, Hi: r.Index + 1}})
		}
	}
	return missing, nil
}

// plan is the client's plan, after some patience with a network that is just starting:
// its providers' first offers come a moment after its indexer answers.
func (l *launch) plan(ctx context.Context, c *client.Client, r client.Request) (*client.Plan, error) {
	for end, told := time.Now().Add(readyWait), false; ; {
		p, err := c.Plan(ctx, r)
		waits := errors.Is(err, client.ErrNotReady) || err == nil && p.Ready != nil && !p.Ready.Ready
		if !waits || ctx.Err() != nil || time.Now().After(end) {
			return p, err
		}
		if !told {
			told = true
			why := fmt.Sprint(err)
			if err == nil {
				why = p.Ready.Why
			}
			fmt.Fprintf(l.a.errw, "Waiting up to %s for the network: %s\n", readyWait, why)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(readyPoll):
		}
	}
}

// compute posts the missing items as a job of their own and follows it.
func (l *launch) compute(ctx context.Context, c *client.Client, out *tally, missing work.RangeSet) error {
	list := *l.rec.List
	if missing.Len() < list.Len() || len(list.Pick) > 0 {
		base := make([]work.Range, 0, len(missing))
		for _, r := range missing {
			for i := r.Lo; i < r.Hi; i++ {
				b := list.Base(i)
				base = append(base, work.Range{Lo: b, Hi: b + 1})
			}
		}
		list.Pick = work.NewRangeSet(base...)
	}
	rec := *l.rec
	rec.List = &list
	request, err := l.request(ctx, c, &rec)
	if err != nil {
		return err
	}
	plan, err := l.plan(ctx, c, request)
	if err != nil {
		return jobError(err)
	}
	rec.Spec, rec.Created = plan.Spec, time.Now()
	rec.Job = rec.Spec.ID()
	if err := l.a.records().Save(&rec); err != nil {
		return err
	}
	l.sum.Job, l.sum.Readers = rec.Job.String(), &plan.Readers
	l.a.sayReaders(plan.Readers)
	if err := l.post(ctx, c, request, plan, rec.Job); err != nil {
		return err
	}
	terms := "on own providers, unchecked and unpaid"
	if rec.Spec.Tier != work.TierNone {
		terms = fmt.Sprintf("tier %s, up to %s in escrow (what is not used comes back)", rec.Spec.Tier, rec.Spec.Escrow+rec.Spec.CheckEscrow)
	}
	fmt.Fprintf(l.a.errw, "job %s: %d item(s), %s\n", rec.Job, rec.Spec.ItemCount, terms)
	if l.detach {
		if l.json {
			return l.a.printJSON(l.sum)
		}
		fmt.Fprintf(l.a.errw, "It runs by itself. Follow it with `gotong%s watch %s`.\n", homeFlag(l.a.homeDir), rec.Job.Short())
		_, err := fmt.Fprintln(l.a.out, rec.Job)
		return err
	}
	ended, err := l.a.follow(ctx, c, &rec, out)
	if err != nil {
		return err
	}
	l.sum.Paid, l.sum.Refunded = ugtg(ended.Paid), ugtg(ended.Refunded)
	ended.Reused, ended.Seconds = l.sum.Reused, time.Since(l.began).Seconds()
	rec.Ended = ended
	return l.report(out, l.a.records().Save(&rec))
}

// sayReaders says who will be able to read a job, before anything of it is sent.
func (a *app) sayReaders(r client.Readers) {
	fmt.Fprintln(a.errw, "Able to read program, inputs and outputs:")
	for _, line := range r.Lines() {
		fmt.Fprintln(a.errw, "  "+line)
	}
}

func (l *launch) request(ctx context.Context, c *client.Client, rec *client.Record) (client.Request, error) {
	r := client.Request{
		Program: client.FileSource(rec.Program), List: rec.List, Sources: rec.Sources(), Limits: rec.Spec.Limits, Seed: rec.Spec.Seed,
		Tier: rec.Spec.Tier, Place: rec.Spec.Place, MaxPrice: rec.MaxPrice, Budget: rec.Budget, FuelPerItem: rec.Fuel, Chunk: rec.Chunk, MaxCopies: rec.Spec.MaxCopies,
		Indexer: l.indexer, MaxIndexerPermille: l.maxFee,
	}
	if l.deadline > 0 {
		pace, err := c.BlockTime(ctx)
		if err != nil {
			return r, err
		}
		r.DeadlineBlocks = blocksIn(l.deadline, pace)
	}
	return r, nil
}

// post posts the job. When it is interrupted the job may exist, and its id is told.
func (l *launch) post(ctx context.Context, c *client.Client, r client.Request, p *client.Plan, id work.JobID) error {
	_, err := c.PostPlan(ctx, r, p)
	var posted *client.Posted
	switch {
	case err == nil:
		return nil
	case errors.As(err, &posted):
		fmt.Fprintf(l.a.errw, "job %s is posted and its indexer does not serve it yet: %v\n", id, posted.Err)
		if ctx.Err() != nil {
			return l.a.goesOn(id)
		}
		return jobError(err)
	case ctx.Err() != nil:
		fmt.Fprintf(l.a.errw, "interrupted while job %s was being posted: see `gotong%s job %s`\n", id, homeFlag(l.a.homeDir), id.Short())
		return &exitError{code: exitInterrupted}
	}
	if rerr := l.a.records().Remove(id); rerr != nil {
		l.a.log().Warn("the record of a job that was not posted stays", "err", rerr)
	}
	return jobError(err)
}

// report ends the command.
func (l *launch) report(out *tally, err error) error {
	l.sum.Seconds = time.Since(l.began).Seconds()
	l.sum.Verified = out.ok
	l.sum.Failed = l.sum.Items - out.ok
	out.complain(l.a)
	if l.json {
		err = errors.Join(err, l.a.printJSON(l.sum))
	} else {
		fmt.Fprintf(l.a.errw, "%d of %d items verified, %d reused, %d failed · paid %sugtg, returned %sugtg · %.1f s\n",
			l.sum.Verified, l.sum.Items, l.sum.Reused, l.sum.Failed, l.sum.Paid, l.sum.Refunded, l.sum.Seconds)
	}
	if err != nil {
		return err
	}
	if l.sum.Failed > 0 {
		return &exitError{code: exitItems}
	}
	return nil
}

func ugtg(a work.Amount) string { return fmt.Sprint(uint64(a)) }

// jobError gives errors of the client their exit code.
func jobError(err error) error {
	for _, k := range []struct {
		is   error
		code int
	}{
		{client.ErrPrice, exitFunds}, {ledger.ErrFunds, exitFunds}, {client.ErrNotReady, exitUnreachable}, {client.ErrPlace, exitUnreachable},
		{client.ErrRequest, exitUsage}, {client.ErrTemplate, exitUsage}, {client.ErrNoRecord, exitUsage},
		{ledger.ErrRefused, exitUsage}, {blob.ErrCorrupt, exitUsage}, {client.ErrRecord, exitHome},
	} {
		if errors.Is(err, k.is) {
			return &exitError{k.code, err}
		}
	}
	return err
}

// openClient connects to the home's network as a client of its indexer.
func (a *app) openClient(ctx context.Context) (*session, *client.Client, error) {
	s, err := a.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	key, err := s.Home.ClientKey()
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	moving := &movingLedger{Ledger: s.Ledger, s: s, rpc: s.Network.RPC}
	s.closers = append(s.closers, moving.close)
	c, err := client.New(client.Config{
		Chain: s.Network.Chain, Account: s.Key.Address, Key: key, Ledger: moving, Net: s.Net, IndexerOwner: s.Network.IndexerOwner, Profile: gw1.Version,
		Dir: s.Home.Path("client"), Log: a.log(),
		Indexer: func() (p2p.Peer, error) {
			return s.indexer()
		},
		Holders: func() []p2p.Peer {
			n, _ := s.Home.ReadNetwork() // none without it
			return n.Referees
		},
	})
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, c, nil
}

// movingLedger is the chain of a home whose network may be stopped and started
// again at another address meanwhile. What a long command needs follows it there.
type movingLedger struct {
	ledger.Ledger // where it was first
	s             *session

	mu  sync.Mutex // guards what follows
	rpc string
	now *cosmos.Client // nil: still where it was first
}

// at is the chain where it is now.
func (m *movingLedger) at() ledger.Ledger {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.s.Home.Info().Kind != home.Local {
		return m.Ledger // it knows several nodes itself
	}
	if n, err := m.s.Home.ReadNetwork(); err == nil && n.RPC != m.rpc && n.Chain == m.s.Network.Chain {
		if c, err := cosmos.Dial(n.RPC); err == nil {
			c.AddKey([32]byte(m.s.Key.Secret()))
			old := m.now
			m.now, m.rpc = c, n.RPC
			if old != nil {
				_ = old.Close() // nothing is lost with it
			}
		}
	}
	if m.now != nil {
		return m.now
	}
	return m.Ledger
}

func (m *movingLedger) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil {
		return nil
	}
	return m.now.Close()
}

// Submit implements ledger.Submitter.
func (m *movingLedger) Submit(ctx context.Context, from work.Address, msgs ...ledger.Msg) (ledger.Included, error) {
	return m.at().Submit(ctx, from, msgs...)
}

// Status implements ledger.Reader.
func (m *movingLedger) Status(ctx context.Context) (ledger.Status, error) { return m.at().Status(ctx) }

// Job implements ledger.Reader.
func (m *movingLedger) Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error) {
	return m.at().Job(ctx, id)
}

// Batch implements ledger.Reader.
func (m *movingLedger) Batch(ctx context.Context, id work.BatchID) (*lifecycle.Batch, error) {
	return m.at().Batch(ctx, id)
}

// goesOn tells that a job runs without this process.
func (a *app) goesOn(id work.JobID) error {
	flag := homeFlag(a.homeDir)
	fmt.Fprintf(a.errw, "interrupted: job %s goes on. `gotong%s watch %s` follows it, `gotong%s get %s` fetches its outputs, `gotong%s cancel %s` ends it.\n",
		id, flag, id.Short(), flag, id.Short(), flag, id.Short())
	return &exitError{code: exitInterrupted}
}

// diskHint says what to do about a full disk.
func diskHint(err error, dir string) error {
	if errors.Is(err, os.ErrPermission) {
		return usageError{fmt.Errorf("%w: choose another --out", err)}
	}
	if isDiskFull(err) {
		return fmt.Errorf("%w: make room on the disk of %s and run the command again: verified items are kept", err, dir)
	}
	return err
}
