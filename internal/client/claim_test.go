package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/lifecycle"
)

// keeper is a provider's network that delivers nothing: no receipt leaves.
type keeper struct {
	p2p.Network
	to gives
}

// gives says to whom a keeper gives an output when it is asked.
type gives string

const (
	toAll      gives = "all"
	toReferees gives = "referees"
	toNobody   gives = "nobody"
)

func (k keeper) Handle(proto p2p.Protocol, h p2p.Handler) {
	switch {
	case proto == p2p.ProtocolWork:
		k.Network.Handle(proto, func(ctx context.Context, s p2p.Stream) { h(ctx, silent{s}) })
	case proto == p2p.ProtocolOutput && k.to != toAll:
		k.Network.Handle(proto, func(ctx context.Context, s p2p.Stream) {
			frame, err := s.Receive()
			q, derr := wire.DecodeOutputRequest(frame)
			if err != nil || derr != nil || k.to == toNobody || q.Digest.IsZero() {
				_ = s.Close()
				return
			}
			h(ctx, &again{s, frame})
		})
	default:
		k.Network.Handle(proto, h)
	}
}

// again is a stream of which one frame was read.
type again struct {
	p2p.Stream
	frame []byte
}

func (a *again) Receive() ([]byte, error) {
	if f := a.frame; f != nil {
		a.frame = nil
		return f, nil
	}
	return a.Stream.Receive()
}

type silent struct{ p2p.Stream }

func (s silent) Send(frame []byte) error {
	if wire.Kind(frame[0]) == wire.KindReceipt {
		return nil
	}
	return s.Stream.Send(frame)
}

// TestOutputsThatDoNotComeAreClaimed lets a provider commit and deliver nothing. If it
// gives the client the outputs that it is asked for, nobody has lost anything. Else the
// client claims: whoever then gives the output is paid, and the client has it from the
// referee; whoever keeps it has its batch voided.
func TestOutputsThatDoNotComeAreClaimed(t *testing.T) {
	t.Parallel()
	for _, to := range []gives{toAll, toReferees, toNobody} {
		t.Run(string(to), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(p *lifecycle.Params) { p.WindowBlocks, p.VoteBlocks = 3200, 1500 })
			w.indexer()
			at := w.provider("a", &toy{}, func(n p2p.Network) p2p.Network { return keeper{n, to} })
			w.checker("check-1")
			referee := w.referee(at)
			c := w.clientWith("client", func(cfg *client.Config) {
				cfg.Holders = func() []p2p.Peer { return []p2p.Peer{referee} }
			})
			w.ready(c, 1)
			id, err := c.Post(t.Context(), request(4)) // no more than a new provider gets at first
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan *client.Outcome, 1)
			seen := make(chan client.Progress, 1024)
			go func() {
				out, err := c.Watch(ctx, id, func(p client.Progress) error {
					if to == toAll {
						seen <- p
					}
					return nil
				})
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("watch: %v", err)
				}
				done <- out
			}()
			var b *lifecycle.Batch
			for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				ids, err := w.chain.Batches(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if len(ids) > 0 {
					if b, err = w.chain.Batch(t.Context(), ids[0]); err != nil {
						t.Fatal(err)
					}
				}
				if b != nil && b.Phase.Final() {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("the batch does not end: %+v", b)
				}
			}
			if to == toAll {
				if b.Phase != lifecycle.Settled || b.Dispute != nil || len(b.Decided) > 0 {
					t.Errorf("the batch is %s (%s), decided %+v", b.Phase, b.Why, b.Decided)
				}
				// The indexer never hears of these results.
				for n := uint64(0); n < 4; {
					select {
					case p := <-seen:
						for _, u := range p.Changed {
							if u.State == wire.ItemVerified {
								n++
							}
						}
					case <-time.After(60 * time.Second):
						t.Fatalf("%d of 4 items are verified", n)
					}
				}
				cancel()
				<-done
				return
			}
			if to == toNobody {
				if b.Phase != lifecycle.Void {
					t.Errorf("the batch is %s", b.Phase)
				}
				cancel()
				<-done
				return
			}
			if b.Phase != lifecycle.Settled || len(b.Decided) != 1 || !b.Decided[0].Delivery {
				t.Fatalf("the batch is %s (%s), decided %+v", b.Phase, b.Why, b.Decided)
			}
			if _, err := c.Cancel(t.Context(), id, 0); err != nil {
				t.Error(err)
			}
			leaf := b.Decided[0].Leaf
			if o, err := c.FetchOutput(t.Context(), id, b.Items.At(b.Decided[0].Position), &leaf, 1<<20); err != nil || o.Digest(leaf.Outcome) != leaf.Output {
				t.Errorf("the output that the referee found: %+v, %v", o, err)
			}
			cancel()
			<-done
		})
	}
}
