package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/membercmd"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/p2p/libp2p"
	"github.com/gotong-network/gotong/sign"
)

// answerTimeout is how long the chain and the indexer may take to answer first.
const answerTimeout = 10 * time.Second

// session is an open way to the network of the home.
type session struct {
	Home    *home.Home
	Network home.Network
	Key     *home.Key // nil without an account (see reach)
	Ledger  ledger.Ledger
	Net     p2p.Network // nil without peers (see reach)

	closers []func() error
}

// Close ends the session's connections.
func (s *session) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// What a session is made for.
const (
	withKey   = 1 << iota // sign as the account
	withPeers             // speak to the indexer
)

// connect opens the chain, the account and the way to the indexer.
func (a *app) connect(ctx context.Context) (*session, error) { return a.reach(ctx, withKey|withPeers) }

// reach opens the chain, and what else the needs say.
func (a *app) reach(ctx context.Context, needs int) (_ *session, err error) {
	s := &session{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Home, err = home.Open(a.homeDir); err != nil {
		return nil, err
	}
	s.Network, err = s.Home.ReadNetwork()
	switch {
	case errors.Is(err, home.ErrAbsent):
		return nil, a.howToStart(&absent{"the network of " + s.Home.Dir() + " never ran and"})
	case err != nil:
		return nil, err
	}
	if needs&withKey != 0 {
		if s.Key, err = a.loadKey(ctx, s.Home); err != nil {
			return nil, err
		}
	}
	if err := a.openLedger(ctx, s); err != nil {
		return nil, err
	}
	if needs&withPeers != 0 {
		if err := a.openPeers(ctx, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// openLedger speaks to the chain and makes sure that it is the home's.
func (a *app) openLedger(ctx context.Context, s *session) error {
	if s.Home.Info().Kind == home.Member {
		return a.openMemberLedger(ctx, s)
	}
	l, err := cosmos.Dial(s.Network.RPC)
	if err != nil {
		return err
	}
	s.Ledger = l
	s.closers = append(s.closers, l.Close)
	call, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	st, err := l.Status(call)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return a.howToStart(unanswered("the chain at "+s.Network.RPC, err))
	case st.Chain != s.Home.Info().Chain:
		return a.howToStart(fmt.Errorf("%s answers for the chain %q and this home belongs to %q: %w", s.Network.RPC, st.Chain, s.Home.Info().Chain, ledger.ErrUnreachable))
	}
	if s.Key != nil {
		l.AddKey([32]byte(s.Key.Secret()))
	}
	return nil
}

// openPeers starts a peer of its own, with a key for this process only, and
// connects it to the indexer.
func (a *app) openPeers(ctx context.Context, s *session) error {
	k, err := sign.NewKey()
	if err != nil {
		return err
	}
	c := libp2p.Config{Key: k, Log: a.log()}
	if s.Home.Info().Kind == home.Member {
		c.Chain, c.Bootstrap = s.Network.Chain, func() []p2p.Peer { return s.Network.Bootstrap }
	}
	n, err := libp2p.New(ctx, c)
	if err != nil {
		return err
	}
	s.Net = n
	s.closers = append(s.closers, n.Close)
	if s.Home.Info().Kind == home.Member {
		return s.findIndexer(ctx)
	}
	call, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := n.Connect(call, s.Network.Indexer); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return a.howToStart(unanswered("the indexer", err))
	}
	return nil
}

// absent is a network that does not answer, in one sentence: how the attempt failed
// inside helps nobody.
type absent struct{ what string }

// Error implements error.
func (e *absent) Error() string { return e.what + " does not answer" }

// Unwrap lets it count as unreachable.
func (e *absent) Unwrap() error { return ledger.ErrUnreachable }

// unanswered makes a failed first call an unreachable network. A cause that is not
// the connection's own stays to be read.
func unanswered(what string, err error) error {
	if errors.Is(err, ledger.ErrUnreachable) || errors.Is(err, p2p.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded) {
		return &absent{what}
	}
	return fmt.Errorf("%w: %v", &absent{what}, err)
}

func (a *app) howToStart(err error) error {
	return fmt.Errorf("%w: start the network with `gotong up --home %s`, or choose another --home", err, a.homeDir)
}

// loadKey loads the account that --key names, or the home's default one.
func (a *app) loadKey(ctx context.Context, h *home.Home) (*home.Key, error) {
	name := a.keyName
	if name == "" {
		name = h.Info().Key
	}
	if name == "" {
		return nil, usagef("%s has no default key: name one with --key", h.Dir())
	}
	return h.LoadKey(name, func() (string, error) { return a.passphrase(ctx, "Passphrase of key "+name+": ", false) })
}

// passphrase reads --passphrase-file, or asks at the terminal without showing what
// is typed; twice if it is a new one.
func (a *app) passphrase(ctx context.Context, prompt string, isNew bool) (string, error) {
	file := a.passphraseFile
	if file == "" && a.terminal() == nil {
		file = membercmd.Credential()
	}
	return membercmd.Ask(ctx, a.in, a.errw, file, prompt, isNew)
}

// terminal is where a person can be asked; nil if there is none.
func (a *app) terminal() *os.File { return membercmd.Terminal(a.in) }
