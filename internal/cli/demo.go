package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/demoscene"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// demoTimeout bounds the whole demo, on a machine many times slower than usual.
const demoTimeout = 15 * time.Minute

type demoOptions struct {
	out                 string
	json                bool
	providers, cheaters int
	seed                uint64
	keep                bool
}

func newDemoCommand(a *app) *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "Render a picture on a local network of which one provider cheats, and show who earned and lost what",
		Long: "Starts a real network in this process (validator, indexer, providers, checkers, client; its own keys in a\n" +
			"temporary home), renders a scene of 97,000 triangles as 80 items, catches the providers that corrupt their\n" +
			"results, has the items done again by others, and compares the picture with a direct run of the unmodified\n" +
			"program.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), a, o) },
	}
	f := c.Flags()
	f.StringVar(&o.out, "out", ".", "folder for demo.png")
	f.BoolVar(&o.json, "json", false, "print the result as one JSON object in the last line of stdout")
	f.IntVar(&o.providers, "providers", 4, "how many providers work")
	f.IntVar(&o.cheaters, "cheaters", 1, "how many of them corrupt every item (0 to 3)")
	f.Uint64Var(&o.seed, "seed", demoscene.Seed, "seed of the picture's samples and of the job")
	f.BoolVar(&o.keep, "keep", false, "keep the network's home and say where it is")
	return c
}

// writable makes a folder, if it is not there, and tries whether files can be made in it.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".demo-*.png")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func runDemo(ctx context.Context, a *app, o demoOptions) (err error) {
	switch {
	case o.cheaters < 0 || o.cheaters > 3:
		return usagef("--cheaters %d: want 0 to 3", o.cheaters)
	case o.providers < o.cheaters+1 || o.providers > localnet.MaxMembers:
		return usagef("--providers %d with %d cheaters: want at least one honest provider, and at most %d in all", o.providers, o.cheaters, localnet.MaxMembers)
	}
	if err := writable(o.out); err != nil { // said now, not when the work is done
		return usagef("--out: %w: name a folder that can be written to", err)
	}
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "gotong-demo-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Fprintln(a.errw, "The network's home is", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	d := &demo{app: a, opts: o, began: time.Now()}
	return d.run(ctx, dir)
}

// demo is one run of the demo.
type demo struct {
	app   *app
	opts  demoOptions
	began time.Time

	net    *localnet.Network
	led    ledger.Ledger
	client *client.Client
	job    work.JobID
	show   *demoShow
	tiles  [][]byte
	direct chan directRun
}

type directRun struct {
	img *image.NRGBA
	err error
}

func (d *demo) run(ctx context.Context, dir string) (err error) {
	fmt.Fprintf(d.app.errw, "Starting a network: 1 validator, 1 indexer, %d providers (%d of them corrupt every result), 3 checkers, 1 client\n",
		d.opts.providers, d.opts.cheaters)
	log, err := os.Create(filepath.Join(dir, "demo.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.net, err = localnet.Open(ctx, localnet.Options{
		Dir: filepath.Join(dir, "home"), Providers: d.opts.providers, Checkers: 3, Cheaters: d.opts.cheaters,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		return err
	}
	members := d.net.Members()
	if d.led, err = d.net.Ledger(); err != nil {
		return errors.Join(err, d.net.Close())
	}

	ctx, stop := context.WithCancel(ctx)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		err := d.net.Run(ctx, func() { close(ready) })
		stop() // nothing can go on without the network
		ended <- err
	}()
	defer func() {
		stop()
		if nerr := <-ended; nerr != nil {
			err = errors.Join(nerr, err)
		}
	}()
	select {
	case <-ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	return d.play(ctx, members)
}

// play does the client's part, and reports.
func (d *demo) play(ctx context.Context, members localnet.Members) error {
	before, err := d.led.Supply(ctx)
	if err != nil {
		return err
	}
	closeClient, err := d.openClient(ctx, members)
	if err != nil {
		return err
	}
	defer closeClient()
	if err := d.post(ctx); err != nil {
		return err
	}
	d.show = newDemoShow(d.app.errw, d.job, members)
	outcome, err := d.follow(ctx)
	d.show.done()
	if err != nil {
		return err
	}
	cost, err := d.client.WaitClosed(ctx, d.job, time.Minute)
	if err != nil {
		return err
	}
	img, err := demoscene.Assemble(d.tiles)
	if err != nil {
		return err
	}
	path := filepath.Join(d.opts.out, "demo.png")
	if err := writePNG(path, img); err != nil {
		return err
	}
	rep, err := d.report(ctx, members, before, outcome, cost, img)
	if err != nil {
		return err
	}
	faults := rep.faults()
	fmt.Fprintln(d.app.errw, "Comparing with a direct run of the unmodified program in one process…")
	faults = append(faults, d.compare(ctx, img)...)
	rep.Seconds = time.Since(d.began).Seconds()
	rep.print(d.app.errw, path, len(faults) == 0)
	if d.opts.json {
		if err := d.app.printJSON(rep); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(d.app.out, path)
	}
	if len(faults) > 0 {
		return fmt.Errorf("the demo did not hold: %w", errors.Join(faults...))
	}
	return nil
}

func (d *demo) openClient(ctx context.Context, members localnet.Members) (func(), error) {
	key, err := sign.NewKey()
	if err != nil {
		return nil, err
	}
	net, err := libp2p.New(ctx, libp2p.Config{Key: key})
	if err != nil {
		return nil, err
	}
	indexer := d.net.Indexer()
	d.client, err = client.New(client.Config{
		Chain: d.net.Chain(), Account: members.Client, Key: key, Ledger: d.led, Net: net, IndexerOwner: members.Indexer, Profile: gw1.Version,
		Indexer: func() (p2p.Peer, error) { return indexer, nil }, Holders: d.net.Referees,
	})
	if err != nil {
		return nil, errors.Join(err, net.Close())
	}
	return func() { _, _ = d.client.Close(), net.Close() }, nil
}

// post waits until every provider has made its offer, so that the cheats get their
// share of the work too, and posts the job.
func (d *demo) post(ctx context.Context) error {
	for {
		st, err := d.client.Status(ctx)
		if err != nil {
			return err
		}
		if st.Ready && st.Providers >= d.opts.providers {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	r, err := demoRequest(d.opts.seed)
	if err != nil {
		return err
	}
	d.job, err = d.client.Post(ctx, r)
	return err
}

// demoRequest is the demo's job: one item per tile.
func demoRequest(seed uint64) (client.Request, error) {
	program, err := demoscene.Program()
	if err != nil {
		return client.Request{}, err
	}
	scene, err := demoscene.Scene()
	if err != nil {
		return client.Request{}, err
	}
	sources := client.Sources{}
	id, err := sources.Add(client.BytesSource(scene))
	if err != nil {
		return client.Request{}, err
	}
	return client.Request{
		Program: client.BytesSource(program), Sources: sources, Seed: seed, Tier: work.TierEconomic,
		List: &work.ItemList{
			Args: demoscene.Args("{i}", seed), Source: work.SourceRange, Range: work.Range{Lo: 0, Hi: demoscene.Tiles},
			Shared: []work.File{{Path: demoscene.ScenePath, Blob: id}},
		},
		Limits:      work.Limits{MemoryBytes: 256 << 20, Fuel: 100_000_000_000, OutputBytes: 16 << 20},
		FuelPerItem: 2_000_000_000,
	}, nil
}

// follow watches the job to its end, fetching each tile once it is verified.
func (d *demo) follow(ctx context.Context) (*client.Outcome, error) {
	d.tiles = make([][]byte, demoscene.Tiles)
	results := make([]*work.Result, demoscene.Tiles)
	fctx, stop := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() {
		followed <- d.led.Follow(fctx, 1, func(b ledger.Block) error { d.show.block(b); return nil })
	}()
	defer func() { stop(); <-followed }()

	outcome, err := d.client.Watch(ctx, d.job, func(p client.Progress) error {
		for _, u := range p.Changed {
			if u.State == wire.ItemVerified {
				results[u.Index] = u.Result
			}
		}
		// The direct run needs a core for some seconds; while the last batches wait
		// for their blocks, one is free.
		if d.direct == nil && p.Counts.Provisional+p.Verified == p.Items {
			d.startDirect(ctx)
		}
		d.show.progress(p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if n := outcome.Verified.Len(); n != demoscene.Tiles {
		return nil, fmt.Errorf("%d of %d items were verified: %v", n, demoscene.Tiles, outcome.Failed)
	}
	err = d.client.Deliver(ctx, results, func(r *work.Result, open client.Opener) error {
		for _, f := range r.Output.Files {
			if f.Path != demoscene.OutputPath {
				continue
			}
			o, err := open(f.Blob)
			if err != nil {
				return err
			}
			defer o.Close()
			d.tiles[r.Index], err = io.ReadAll(o)
			return err
		}
		return fmt.Errorf("item %d has no file %s", r.Index, demoscene.OutputPath)
	})
	return outcome, err
}

func (d *demo) startDirect(ctx context.Context) {
	d.direct = make(chan directRun, 1)
	go func() {
		img, err := demoscene.RenderDirect(ctx, d.opts.seed)
		d.direct <- directRun{img, err}
	}()
}

// compare waits for the direct run and compares every pixel.
func (d *demo) compare(ctx context.Context, img *image.NRGBA) []error {
	if d.direct == nil {
		d.startDirect(ctx)
	}
	r := <-d.direct
	if r.err != nil {
		return []error{r.err}
	}
	if demoscene.Digest(r.img) != demoscene.Digest(img) {
		return []error{errors.New("the picture differs from a direct run of the unmodified program")}
	}
	return nil
}

func writePNG(path string, img image.Image) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".demo-*.png")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	err = png.Encode(f, img)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// report collects what happened, from the chain's own records.
func (d *demo) report(ctx context.Context, members localnet.Members, before ledger.Supply, outcome *client.Outcome, cost client.Cost, img *image.NRGBA) (*demoReport, error) {
	r := newDemoReport(members)
	ids, err := d.led.Batches(ctx, d.job)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		b, err := d.led.Batch(ctx, id)
		if err != nil {
			return nil, err
		}
		r.add(b)
	}
	after, err := d.led.Supply(ctx)
	if err != nil {
		return nil, err
	}
	conserved, err := d.net.Conserved(ctx)
	if err != nil {
		return nil, err
	}
	r.Items, r.Verified, r.Recomputed = outcome.Items, outcome.Verified.Len(), outcome.Counts.Recomputed
	r.Client.Escrowed, r.Client.Paid, r.Client.Refunded = baseUnits(cost.Escrowed), baseUnits(cost.Paid()), baseUnits(cost.Refunded)
	burned := after.FeeBurn + after.SlashBurn - before.FeeBurn - before.SlashBurn
	minted := after.Minted + after.MintedCommons - before.Minted - before.MintedCommons
	r.Supply = supplyReport{
		Before: baseUnits(before.Total), After: baseUnits(after.Total), Burned: baseUnits(burned), Minted: baseUnits(minted),
		Conserved: conserved && before.Total-burned+minted == after.Total,
	}
	digest := demoscene.Digest(img)
	r.OutputDigest = hex.EncodeToString(digest[:])
	return r, nil
}
