package member

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/ledger/light"
	"github.com/gotong-network/gotong/internal/limits"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/version"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Status is what a running home says about itself.
type Status struct {
	Chain    string       `json:"chain"`
	Home     string       `json:"home"`
	Account  work.Address `json:"account"`
	Roles    []string     `json:"roles"`
	Running  bool         `json:"running"`           // all roles play
	Waiting  string       `json:"waiting,omitempty"` // for what, if not
	Pid      int          `json:"pid"`
	Uptime   float64      `json:"uptime_seconds"`
	Version  string       `json:"version"`
	Height   int64        `json:"height"`
	Time     time.Time    `json:"time,omitzero"` // of that block
	ChainErr string       `json:"chain_error,omitempty"`
	RPC      string       `json:"rpc,omitempty"` // of its own node of the chain
	Peer     p2p.Peer     `json:"peer,omitzero"` // how others reach it
	Peers    int          `json:"peers"`         // connected
	Reach    p2p.Reach    `json:"reach,omitzero"`

	ClockKnown   bool    `json:"clock_known"`
	ClockSkew    float64 `json:"clock_skew_seconds"` // this machine's clock less the network's
	ClockWrong   bool    `json:"clock_wrong"`
	DiskFree     uint64  `json:"disk_free"` // bytes
	DiskLow      bool    `json:"disk_low"`  // no new work is taken
	PausedByUser bool    `json:"paused_by_user"`

	Parties   []*lifecycle.Party `json:"parties,omitempty"` // the account in its roles, as the chain has it
	Balance   work.Amount        `json:"balance"`           // ugtg
	Provider  *provider.Status   `json:"provider,omitempty"`
	Indexer   *IndexerStatus     `json:"indexer,omitempty"`
	Limits    *limits.Status     `json:"limits,omitempty"` // what of the machine is given, and used
	Nodes     []light.NodeStatus `json:"nodes,omitempty"`  // of the chain, as it thinks of them
	Validator *cosmos.Validator  `json:"validator,omitempty"`
	Metrics   string             `json:"metrics,omitempty"`
}

// IndexerStatus is what an indexer asks, whom it hears, and what it has in hand.
type IndexerStatus struct {
	FeePermille uint32   `json:"fee_permille"`   // thousandths of a job's pay, on top of it
	Hear        []string `json:"hear,omitempty"` // countries whose providers it hears; none: all
	Providers   int      `json:"providers"`      // with an offer that holds
	Connected   int      `json:"connected"`      // of these
	Jobs        int      `json:"jobs"`           // being served
}

// Status says how the node is.
func (n *Node) Status(ctx context.Context) Status {
	n.mu.Lock()
	m, phase, seen, paused := n.node, n.phase, n.machine, n.settings.Paused
	n.mu.Unlock()
	s := Status{
		Chain: n.home.Info().Chain, Home: n.home.Dir(), Account: n.opts.Key.Address, Roles: n.home.Info().Roles, Running: m != nil,
		Waiting: phase, Pid: os.Getpid(), Uptime: time.Since(n.started).Seconds(), Version: version.String(),
		ClockKnown: seen.Asked > 0, ClockSkew: seen.Skew.Seconds(), ClockWrong: off(seen.Skew), DiskFree: seen.Free, DiskLow: seen.Low, PausedByUser: paused,
	}
	if n.chain != nil {
		s.RPC = n.chain.RPC()
	}
	if n.has(home.RoleIndexer) {
		s.Indexer = &IndexerStatus{FeePermille: n.settings.FeePermille, Hear: n.settings.Hear}
	}
	if n.figures != nil {
		s.Metrics = "http://" + n.figures.l.Addr().String() + "/metrics"
	}
	if m != nil {
		s.Peer, s.Peers, s.Reach = m.Self(), m.Peers(), m.Reach()
		if p := m.Provider(); p != nil {
			st := p.Status()
			s.Provider = &st
		}
		if g := m.Limits(); g != nil {
			st := g.Status()
			s.Limits = &st
		}
	}
	if l, ok := n.ledger.(*light.Client); ok {
		s.Nodes = l.Nodes()
	}
	call, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if m != nil && m.Indexer() != nil {
		if now, err := m.Indexer().Snapshot(call); err == nil { // else it begins or ends
			s.Indexer.Providers, s.Indexer.Connected, s.Indexer.Jobs = now.Offers, now.Connected, now.Jobs
		}
	}
	if st, err := n.ledger.Status(call); err != nil {
		s.ChainErr = err.Error()
		return s
	} else {
		s.Height, s.Time = st.Height, st.Time
	}
	if err := n.money(call, &s); err != nil {
		s.ChainErr = err.Error()
	}
	return s
}

// money adds what the chain has of the account.
func (n *Node) money(ctx context.Context, s *Status) (err error) {
	if s.Balance, err = n.ledger.Balance(ctx, s.Account); err != nil {
		return err
	}
	for _, name := range s.Roles {
		role, ok := onChain[name]
		if !ok {
			continue
		}
		p, err := n.ledger.Party(ctx, role, s.Account)
		switch {
		case err == nil:
			s.Parties = append(s.Parties, p)
		case !errors.Is(err, ledger.ErrNotFound):
			return err
		}
	}
	if n.chain == nil {
		return nil
	}
	v, err := n.chain.Validator(ctx, s.Account)
	if err == nil {
		s.Validator = v
	} else if !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	return nil
}

// statusTimeout bounds what a status waits for.
const statusTimeout = 5 * time.Second
