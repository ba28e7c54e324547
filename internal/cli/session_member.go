package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/lifecycle"
)

// openMemberLedger speaks to the chain through the nodes that a member's home knows.
func (a *app) openMemberLedger(ctx context.Context, s *session) error {
	l, err := member.Dial(ctx, s.Home, a.log())
	if err != nil {
		if errors.Is(err, ledger.ErrUnreachable) {
			return fmt.Errorf("%w: is this machine online, and does the network run? `network.json` of the home names its nodes", err)
		}
		return err
	}
	s.Ledger = l
	s.closers = append(s.closers, l.Close)
	if s.Key != nil {
		l.AddKey([32]byte(s.Key.Secret()))
	}
	return nil
}

// maxIndexers bounds the indexers that are tried.
const maxIndexers = 16

// findIndexer connects to an indexer of the network: the one used last if it
// answers, or any that the chain's registry names.
func (s *session) findIndexer(ctx context.Context) error {
	parties, err := s.Ledger.Parties(ctx, lifecycle.RoleIndexer)
	if err != nil {
		return fmt.Errorf("the network's indexers: %w", err)
	}
	if len(parties) == 0 {
		return fmt.Errorf("%w: no indexer is registered on %s yet: one joins with `gotong network join INVITE --as indexer`", ledger.ErrUnreachable, s.Network.Chain)
	}
	last := s.Network.Indexer.Key
	slices.SortStableFunc(parties, func(a, b *lifecycle.Party) int {
		switch {
		case a.Peer == last:
			return -1
		case b.Peer == last:
			return 1
		}
		return 0
	})
	var errs []error
	for _, q := range parties[:min(len(parties), maxIndexers)] {
		p := s.whereIs(q)
		call, cancel := context.WithTimeout(ctx, answerTimeout)
		err := s.Net.Connect(call, p)
		cancel()
		if err == nil {
			s.Network.Indexer, s.Network.IndexerOwner = p, q.Account
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %s says nothing for %s", p2p.ErrUnreachable, q.Account, answerTimeout)
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("none of the network's %d indexer(s) answers: %w", len(parties), errors.Join(errs...))
}

// whereIs is an indexer with the addresses that the home knows.
func (s *session) whereIs(q *lifecycle.Party) p2p.Peer {
	for _, p := range append(slices.Clone(s.Network.Bootstrap), s.Network.Indexer) {
		if p.Key == q.Peer {
			return p
		}
	}
	return p2p.Peer{Key: q.Peer}
}

// indexer is where the session's indexer is now: that of a local network may have
// been started again elsewhere.
func (s *session) indexer() (p2p.Peer, error) {
	if s.Home.Info().Kind == home.Member {
		return s.Network.Indexer, nil
	}
	n, err := s.Home.ReadNetwork()
	return n.Indexer, err
}
