package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/internal/blob"
	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/localnet"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// rig is a local network that runs in this process, and a client of it with a peer
// of its own: chain, indexer, providers and checkers are those of `gotong up`,
// durable, on loopback.
type rig struct {
	led     ledger.Ledger
	net     p2p.Network
	at      p2p.Peer // the indexer
	client  *client.Client
	account work.Address

	closers []func() error
}

// patience bounds everything that a row waits for.
const patience = 8 * time.Minute

func openRig(ctx context.Context, o localnet.Options, log *slog.Logger) (_ *rig, err error) {
	r := &rig{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if o.Dir, err = os.MkdirTemp("", "gotong-bench-"); err != nil {
		return nil, err
	}
	r.closers = append(r.closers, func() error { return os.RemoveAll(o.Dir) })
	o.Log = log
	n, err := localnet.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	r.led, err = n.Ledger()
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if err := r.run(n); err != nil {
		return nil, err
	}
	home := n.Home()
	k, err := home.LoadKey(localnet.ClientKey, func() (string, error) { return "", errors.New("a local key is not encrypted") })
	if err != nil {
		return nil, err
	}
	at, err := home.ReadNetwork()
	if err != nil {
		return nil, err
	}
	r.account, r.at = k.Address, at.Indexer
	if err := r.openClient(ctx, at.Chain, at.IndexerOwner); err != nil {
		return nil, err
	}
	return r, r.untilReady(ctx, o.Providers)
}

// run starts the network; Close stops it and waits.
func (r *rig) run(n *localnet.Network) error {
	ctx, cancel := context.WithCancel(context.Background())
	ready, over := make(chan struct{}), make(chan error, 1)
	go func() { over <- n.Run(ctx, func() { close(ready) }) }()
	r.closers = append(r.closers, func() error { cancel(); return <-over })
	select {
	case <-ready:
		return nil
	case err := <-over:
		over <- nil
		return fmt.Errorf("the network ended: %w", err)
	}
}

func (r *rig) openClient(ctx context.Context, chain string, owner work.Address) error {
	k, err := sign.NewKey()
	if err != nil {
		return err
	}
	n, err := libp2p.New(ctx, libp2p.Config{Key: k})
	if err != nil {
		return err
	}
	r.net = n
	r.closers = append(r.closers, n.Close)
	r.client, err = client.New(client.Config{Chain: chain, Account: r.account, Ledger: r.led, Net: n,
		Indexer: func() (p2p.Peer, error) { return r.at, nil }, IndexerOwner: owner, Profile: gw1.Version})
	if err == nil {
		r.closers = append(r.closers, r.client.Close)
	}
	return err
}

// Close stops everything and removes its files.
func (r *rig) Close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	r.closers = nil
	return errors.Join(errs...)
}

// untilReady waits until the indexer knows so many providers.
func (r *rig) untilReady(ctx context.Context, providers int) error {
	return poll(ctx, 20*time.Millisecond, func() (bool, error) {
		st, err := r.client.Status(ctx)
		return err == nil && st.Ready && st.Providers >= providers, err
	})
}

// poll asks until it is done, fails, or patience is over.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("what was waited for did not come: %w", ctx.Err())
		case <-t.C:
		}
	}
}

// post puts a job on the chain and its blobs at the indexer, which is not yet
// asked to serve it.
func (r *rig) post(ctx context.Context, q client.Request) (*work.JobSpec, error) {
	p, err := r.client.Plan(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := r.push(ctx, q); err != nil {
		return nil, err
	}
	if p.Spec.Tier != work.TierNone {
		if _, err := r.led.Submit(ctx, r.account, ledger.CreateJob{Spec: p.Spec}); err != nil {
			return nil, err
		}
	}
	return &p.Spec, nil
}

// push gives the indexer program and list.
func (r *rig) push(ctx context.Context, q client.Request) error {
	blobs := blob.NewMem()
	var ids []work.BlobID
	for _, b := range [][]byte{q.Program.Data, q.List.Encode()} {
		id, err := blobs.Put(b)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	return blob.Push(ctx, r.net, r.at, blobs, ids)
}

// accept has the indexer serve a posted job.
func (r *rig) accept(ctx context.Context, s *work.JobSpec, c wire.Chunk) error {
	return r.ask(ctx, &wire.Request{Op: wire.OpAccept, Job: s.ID(), Spec: s.Encode(), Chunk: c}, func(*wire.Answer) (bool, error) { return true, nil })
}

// ask sends a request and gives the answers to f until it has enough.
func (r *rig) ask(ctx context.Context, q *wire.Request, f func(*wire.Answer) (enough bool, err error)) error {
	s, err := r.net.Dial(ctx, r.at, p2p.ProtocolClient)
	if err != nil {
		return err
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(patience))
	b, err := wire.EncodeJSON(q)
	if err != nil {
		return err
	}
	if err := errors.Join(s.Send(b), s.Flush()); err != nil {
		return err
	}
	for {
		b, err := s.Receive()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: the indexer said no more: %w", q.Op, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		a, err := wire.DecodeAnswer(b)
		if err != nil {
			return err
		}
		if a.Error != "" {
			return fmt.Errorf("%s: %s", q.Op, a.Error)
		}
		if enough, err := f(a); enough || err != nil {
			return err
		}
	}
}

// until waits for a job's counts, asked for every few milliseconds.
func (r *rig) until(ctx context.Context, id work.JobID, enough func(wire.Counts) bool) error {
	return poll(ctx, 20*time.Millisecond, func() (ok bool, err error) {
		_, c, err := r.client.Explain(ctx, id)
		if err == nil && c.Failed > 0 {
			err = fmt.Errorf("%d items failed", c.Failed)
		}
		return enough(c), err
	})
}

// stored says that every item's receipt is stored at the indexer.
func stored(c wire.Counts) bool { return c.Items > 0 && c.Provisional+c.Verified == c.Items }

// verified says that every item's batch has settled.
func verified(c wire.Counts) bool { return c.Items > 0 && c.Verified == c.Items }

// noopModule is a WebAssembly command that returns at once: one page of memory and
// an empty _start.
var noopModule = []byte{0, 'a', 's', 'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1,
	7, 19, 2, 6, '_', 's', 't', 'a', 'r', 't', 0, 0, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0, 10, 4, 1, 2, 0, 0x0b}

// rangeJob is a job of n numbered items.
func rangeJob(module []byte, n uint64, t work.Tier, fuel work.Fuel) client.Request {
	return client.Request{Program: client.BytesSource(module), List: &work.ItemList{Args: []string{"{i}"}, Source: work.SourceRange, Range: work.Range{Lo: 1, Hi: n + 1}},
		Limits: work.Limits{MemoryBytes: 1 << 20, Fuel: 100 * fuel, OutputBytes: 1 << 20}, FuelPerItem: fuel, Tier: t}
}
