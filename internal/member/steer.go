package member

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/internal/home"
)

// ErrNotProvider reports a command to a provider where none runs.
var ErrNotProvider = errors.New("no provider runs in this home")

// Pause stops the provider's work at once, also after a restart, until Resume.
func (n *Node) Pause() error { return n.setPaused(true) }

// Resume takes up work again after Pause or Drain.
func (n *Node) Resume() error { return n.setPaused(false) }

// setPaused remembers what the owner wants before it is done.
func (n *Node) setPaused(paused bool) error {
	if !n.has(home.RoleProvider) {
		return ErrNotProvider
	}
	n.mu.Lock()
	s := n.settings
	s.Paused = paused
	err := n.home.WriteSettings(s)
	if err == nil {
		n.settings = s
	}
	n.mu.Unlock()
	if err != nil {
		return err
	}
	if !paused {
		n.stopDrain()
	}
	n.steer()
	return nil
}

// held reports whether the provider may not work, for any reason of this package.
func (n *Node) held() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.settings.Paused || n.machine.Low
}

// steer brings the provider to where owner and disk want it.
func (n *Node) steer() {
	held := n.held()
	n.mu.Lock()
	m, draining := n.node, n.draining != nil
	n.mu.Unlock()
	if m == nil || m.Provider() == nil {
		return
	}
	switch p := m.Provider(); {
	case held:
		p.Pause()
	case !draining: // what is drained stays so
		p.Resume()
	}
}

// Drain lets the provider finish what it has and take nothing new, until Resume; it
// returns at once. After a restart it works again.
func (n *Node) Drain() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.node == nil || n.node.Provider() == nil {
		return fmt.Errorf("%w: %s", ErrNotProvider, n.home.Dir())
	}
	if n.settings.Paused {
		return errors.New("the provider is paused: resume it first, so that it can finish what it has")
	}
	if n.draining != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.draining = cancel
	p := n.node.Provider()
	n.drains.Go(func() {
		if err := p.Drain(ctx); err != nil {
			n.log.Info("the drain ended early", "err", err)
			return
		}
		n.log.Info("drained: the provider may be switched off")
	})
	return nil
}

// stopDrain ends the wait of a drain; the provider itself is resumed by steer.
func (n *Node) stopDrain() {
	n.mu.Lock()
	if n.draining != nil {
		n.draining()
		n.draining = nil
	}
	n.mu.Unlock()
	n.drains.Wait()
}
