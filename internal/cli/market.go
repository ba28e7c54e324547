package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// Where a price comes from.
const (
	priceFromOffers  = "offers"
	priceFromDefault = "default"
)

// marketPrice is what a work unit costs now.
type marketPrice struct {
	price work.Price
	from  string
}

// marketPrice asks the home's network for the median of its offers; without one,
// or without an answer soon, it is the default price.
func (a *app) marketPrice(ctx context.Context) marketPrice {
	none := marketPrice{defaultPrice, priceFromDefault}
	ctx, cancel := context.WithTimeout(ctx, askPriceTimeout)
	defer cancel()
	s, err := a.reach(ctx, withPeers)
	if err != nil {
		return none
	}
	defer s.Close()
	offers, err := s.offers(ctx)
	if err != nil || len(offers) == 0 {
		return none
	}
	prices := make([]work.Price, len(offers))
	for i, o := range offers {
		prices[i] = o.Price
	}
	slices.Sort(prices)
	return marketPrice{prices[len(prices)/2], priceFromOffers}
}

// offers are the offers that the indexer knows and that are valid now.
func (s *session) offers(ctx context.Context) ([]*work.Offer, error) {
	var out []*work.Offer
	err := s.ask(ctx, wire.Request{Op: wire.OpOffers}, func(w *wire.Answer) error {
		for _, b := range w.Offers {
			o, err := work.DecodeOffer(b)
			if err != nil {
				return fmt.Errorf("the indexer's offers: %w", err)
			}
			if o.ExpiresUnix > time.Now().Unix() {
				out = append(out, o)
			}
		}
		return nil
	})
	return out, err
}

// indexerStatus is the indexer about itself.
func (s *session) indexerStatus(ctx context.Context) (*wire.Status, error) {
	var st *wire.Status
	err := s.ask(ctx, wire.Request{Op: wire.OpStatus}, func(w *wire.Answer) error {
		if w.Status != nil {
			st = w.Status
		}
		return nil
	})
	if err == nil && st == nil {
		err = errors.New("the indexer answered without its status")
	}
	return st, err
}

// ask sends one request to the indexer and gives every answer to f.
func (s *session) ask(ctx context.Context, r wire.Request, f func(*wire.Answer) error) error {
	st, err := s.Net.Dial(ctx, s.Network.Indexer, p2p.ProtocolClient)
	if err != nil {
		return fmt.Errorf("the indexer: %w", err)
	}
	defer st.Close()
	stop := context.AfterFunc(ctx, func() { _ = st.SetDeadline(time.Unix(1, 0)) }) // ends a blocked call
	defer stop()
	b, err := wire.EncodeJSON(r)
	if err != nil {
		return err
	}
	if err := errors.Join(st.Send(b), st.Flush(), st.CloseWrite()); err != nil {
		return fmt.Errorf("ask the indexer: %w", err)
	}
	for {
		b, err := st.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return fmt.Errorf("the indexer ended its answer early: %w", p2p.ErrUnreachable)
		case err != nil:
			return fmt.Errorf("hear the indexer: %w", err)
		}
		w, err := wire.DecodeAnswer(b)
		if err != nil {
			return err
		}
		if w.Error != "" {
			return fmt.Errorf("the indexer: %s", w.Error)
		}
		if err := f(w); err != nil {
			return err
		}
		if w.Done {
			return nil
		}
	}
}
