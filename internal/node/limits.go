package node

import (
	goruntime "runtime"

	"github.com/gotong-network/gotong/internal/limits"
	"github.com/gotong-network/gotong/internal/limits/host"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/internal/runtime/wasm"
)

// Limits is the governor of the node's machine; nil without limits.
func (n *Node) Limits() *limits.Governor { return n.governor }

// owned is what the machine's owner limits; nil: nothing.
func (c *Config) owned() *limits.Config {
	if c.Provider == nil {
		return nil
	}
	return c.Provider.Limits
}

// withDefaults fills in the slots that an owner's limits make: the governor opens
// as many of them as the limits allow.
func (p *Provider) withDefaults() *Provider {
	c := *p
	if c.Slots <= 0 && c.Limits != nil {
		c.Slots = goruntime.NumCPU()
	}
	return &c
}

// diskLimit bounds the blobs; 0: as the store does by itself.
func (c *Config) diskLimit() uint64 {
	l := c.owned()
	if l == nil {
		return 0
	}
	return l.Disk.Of(host.New(host.Config{Dir: c.Dir}).Read().Disk.Total)
}

// addLimits makes the governor, which bounds the workers of all roles and pauses the
// provider: a checker and a referee have duties with deadlines.
func (n *Node) addLimits() error {
	l := n.cfg.owned()
	if l == nil {
		return nil
	}
	o := limits.Options{
		Config: *l, Slots: n.cfg.Provider.Slots, Own: host.CPUTime, Log: n.cfg.Log,
		Sensors: host.New(host.Config{Dir: n.cfg.Dir, Used: n.blobs.Size}),
	}
	if rt, ok := n.rt.(*wasm.Runtime); ok {
		o.Workers = rt
	}
	g, err := limits.New(o)
	if err != nil {
		return err
	}
	n.governor = g
	n.roles = append(n.roles, role{"limits", g.Run})
	return nil
}

// governed says to the provider what the governor allows.
type governed struct{ g *limits.Governor }

// Now implements provider.Governor.
func (x governed) Now() (provider.Allowance, <-chan struct{}) {
	a, changed := x.g.Now()
	return provider.Allowance(a), changed
}
