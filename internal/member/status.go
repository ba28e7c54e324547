package member

import (
	"context"
	"os"
	"time"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/version"
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
}

// Status says how the node is.
func (n *Node) Status(ctx context.Context) Status {
	n.mu.Lock()
	m, phase := n.node, n.phase
	n.mu.Unlock()
	s := Status{
		Chain: n.home.Info().Chain, Home: n.home.Dir(), Account: n.opts.Key.Address, Roles: n.home.Info().Roles, Running: m != nil,
		Waiting: phase, Pid: os.Getpid(), Uptime: time.Since(n.started).Seconds(), Version: version.String(),
	}
	if n.chain != nil {
		s.RPC = n.chain.RPC()
	}
	if m != nil {
		s.Peer = m.Self()
	}
	call, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if st, err := n.ledger.Status(call); err != nil {
		s.ChainErr = err.Error()
	} else {
		s.Height, s.Time = st.Height, st.Time
	}
	return s
}

// statusTimeout bounds what a status waits for.
const statusTimeout = 5 * time.Second
